"""Completion for a shell, also of objects' names.

bash: source <(pai completion bash); zsh: the same with zsh; fish: pai completion fish | source. The shell asks `pai
__complete` for what may stand next.
"""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

from reconciler.cli.targets import AGENT, ALL, KIND_OF, KINDS, MODEL, OBJECTS
from reconciler.core.errors import PaiError

_BASH = """\
_pai() {
    local line
    COMPREPLY=()
    while IFS= read -r line; do COMPREPLY+=("$line"); done \\
        < <(pai __complete -- "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
    if [ ${#COMPREPLY[@]} -eq 0 ]; then compopt -o default 2>/dev/null; fi
}
complete -F _pai pai
"""
_ZSH = """\
#compdef pai
_pai() {
    local -a found
    found=("${(@f)$(pai __complete -- "${(@)words[2,CURRENT]}" 2>/dev/null)}")
    if [[ -n "$found" ]]; then compadd -- "${found[@]}"; else _files; fi
}
if [ "$funcstack[1]" = "_pai" ]; then _pai "$@"; else compdef _pai pai; fi
"""
_FISH = """\
function __pai_complete
    set -l words (commandline -opc) (commandline -ct)
    pai __complete -- $words[2..-1] 2>/dev/null
end
complete -c pai -f -a '(__pai_complete)'
"""
SCRIPTS = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}
_TARGETED = {"get": KINDS, "delete": KINDS, "describe": OBJECTS, "history": OBJECTS, "blame": OBJECTS}
"""The verbs that take TYPE and NAME, and of which kinds."""
_OF_AGENT = ("status", "env")
_WORKSPACE = ("-w", "--workspace")
_PATHS = ("-f", "--filename", *_WORKSPACE)
_Options = Mapping[str, Sequence[str] | None]
"""A parser's options: None for one without a value, else the values that it takes, if they are few."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `pai completion`."""
    parser.add_argument("shell", choices=tuple(SCRIPTS), metavar="bash|zsh|fish")


def run(args: argparse.Namespace) -> int:
    """Print the shell's script."""
    print(SCRIPTS[args.shell], end="")
    return 0


def complete(words: Sequence[str]) -> int:
    """Print what the last of the words after `pai` may become, a line each."""
    *before, current = words or [""]
    for each in dict.fromkeys(_Words(before, current).candidates()):
        if each.startswith(current):
            print(each)
    return 0


class _Words:
    """The words of a command line before the cursor, and the beginning of the one that stands there."""

    def __init__(self, before: Sequence[str], current: str) -> None:
        self._before = before
        self._current = current
        named = [value for option, value in pairwise(before) if option in _WORKSPACE]
        self._workspace = Path(named[-1]) if named else None

    def candidates(self) -> Iterable[str]:
        """Give what may stand there, whatever its beginning is."""
        from reconciler.cli.main import VERBS, parser_for

        place = next((n for n, word in enumerate(self._before) if word in VERBS and not self._is_workspace(n)), None)
        if self._before and self._before[-1] in _PATHS:
            return ()
        if place is None or self._before[place] == "help":
            return ("--help", "--version", "--workspace") if self._current.startswith("-") else VERBS
        verb, given = self._before[place], self._before[place + 1 :]
        return self._of_add(given) if verb == "add" else self._of_verb(verb, given, _options(parser_for(verb)))

    def _is_workspace(self, number: int) -> bool:
        return number > 0 and self._before[number - 1] in _WORKSPACE

    def _of_verb(self, verb: str, given: Sequence[str], options: _Options) -> Iterable[str]:
        if given and options.get(given[-1]) is not None:
            return options[given[-1]] or ()
        if self._current.startswith("-"):
            return options
        named = [
            word
            for number, word in enumerate(given)
            if not word.startswith("-") and not (number and options.get(given[number - 1]) is not None)
        ]
        if verb in _TARGETED:
            return self._of_targets(named, _TARGETED[verb])
        if verb in _OF_AGENT:
            return () if named else self._names(AGENT)
        return {"explain": OBJECTS, "completion": tuple(SCRIPTS)}.get(verb, ())

    def _of_add(self, given: Sequence[str]) -> Iterable[str]:
        from reconciler.cli.main import parser_for

        kind = next((word for word in given if word in KINDS), None)
        if kind is None:
            return KINDS
        actions = parser_for("add")._actions
        (kinds,) = (action for action in actions if isinstance(action, argparse._SubParsersAction))
        options = _options(kinds.choices[kind])
        if given[-1] == "--model" and kind == AGENT:
            return self._names(MODEL)
        if options.get(given[-1]) is not None:
            return options[given[-1]] or ()
        if self._current.startswith("-"):
            return options
        return self._names(AGENT) if kind == "key" else ()

    def _of_targets(self, named: Sequence[str], kinds: Sequence[str]) -> Iterator[str]:
        before, slash, _ = self._current.partition("/")
        if slash:
            kind = KIND_OF.get(before.lower(), "")
            yield from (f"{before}/{name}" for name in (self._names(kind) if kind in kinds else ()))
        elif not named:
            yield from (f"{kind}s" for kind in kinds)
            yield from kinds
            yield ALL
        elif (kind := KIND_OF.get(named[0].lower(), "")) in kinds:
            yield from (name for name in self._names(kind) if name not in named)

    def _names(self, kind: str) -> list[str]:
        """Give the names of what is in force; nothing if that cannot be read: a shell does not want to know why."""
        from reconciler.cli.reading import read_state
        from reconciler.workspace import Workspace

        with contextlib.suppress(PaiError, OSError):
            state = read_state(Workspace.find(self._workspace))
            if kind == MODEL:
                return sorted(state.models)
            if kind == AGENT:
                return sorted(state.agents)
            return sorted(state.secrets) if kind == "secret" else [key.name for key in state.issued()]
        return []


def _options(parser: argparse.ArgumentParser) -> _Options:
    found: dict[str, Sequence[str] | None] = {}
    for action in parser._actions:
        for option in action.option_strings:
            found[option] = None if action.nargs == 0 else [str(choice) for choice in action.choices or ()]
    return found
