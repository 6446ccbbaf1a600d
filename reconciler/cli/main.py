"""The `pai` command: finds the verb, imports only that verb's module, turns errors into messages and exit codes.

A verb's module has `arguments(parser)` and `run(args) -> int`. Exit codes: 0 done, 1 findings or a refusal, 2 wrong
usage, 3 could not run.
"""

from __future__ import annotations

import argparse
import importlib
import os
import re
import sys
from collections.abc import Iterator, Sequence
from itertools import islice, zip_longest
from pathlib import Path
from typing import NoReturn

from reconciler import __version__
from reconciler.cli.output import open_streams, print_error
from reconciler.cli.place import warn_of_variables, workspace_option
from reconciler.core.errors import CouldNotRun, PaiError, UsageError
from reconciler.core.text import nearest

VERBS = {
    "init": "make a workspace: settings, config repository with its hook, log, secrets",
    "serve": "run the daemon: watch, reconcile, answer on the admin listener",
    "reconcile": "bring the log up to the branch's tip once, without a daemon",
    "demo": "a tour without keys or network: push, refusal, audit trail",
    "add": "add a model, an agent, a secret or a key",
    "get": "list models, agents, secrets or keys",
    "describe": "everything about models or agents",
    "delete": "remove models, agents, secrets or keys",
    "apply": "commit manifests from files, a folder or stdin",
    "rollback": "put an earlier revision's manifests back by a commit, or pin it where that cannot be",
    "pin": "put an earlier revision in force and keep it, whatever is pushed",
    "unpin": "follow the branch again after a pin",
    "suspend": "stop the reconciling; what is in force stays",
    "resume": "let the reconciling go on",
    "status": "what is in force, and whether it can serve",
    "validate": "judge manifests as the hook and the daemon do; no workspace needed",
    "diff": "what would change between two commits, for review; no workspace needed",
    "review": "post that as one comment on the pull request, and set the commit's status",
    "env": "print the export lines that point the provider SDKs at the gateway",
    "log": "query the log, newest first",
    "history": "every version of one model or agent",
    "blame": "each field of one model or agent, with the commit that set it",
    "usage": "tokens spent, by day, model or agent",
    "why": "one request's story: decision, budget, binding version, commit",
    "verify": "recompute everything from the stored bytes and compare",
    "prove": "print a proof that one event is in the log, checkable offline",
    "export": "write the log as files that anybody can verify, or as rows for other tools",
    "prune": "export the beginning of the log, then drop it",
    "database": "make the schema for a log in Postgres, or move the log there or back",
    "explain": "what a kind or a field of it is for, from the schema",
    "completion": "completion for bash, zsh or fish",
    "version": "the version of this command, and of the daemon",
    "help": "this, or what a command does",
}
"""Each verb, which is the name of its module, and its line of `pai --help`."""

COMPLETE = "__complete"
"""What shells call to learn what may stand next."""


class _Parser(argparse.ArgumentParser):
    """argparse with Pai's errors; abbreviated options are refused, as they change meaning when options are added."""

    def __init__(self, **options: object) -> None:
        super().__init__(**(options | {"allow_abbrev": False}))  # type: ignore[arg-type] # argparse's own signature

    def error(self, message: str) -> NoReturn:
        message = message.replace("unrecognized arguments: -- ", "unrecognized arguments: ")
        if found := _CHOICE.fullmatch(message):
            raise UsageError(f"{found['option']}: there is no {found['given']!r}", _nearest_choice(**found.groupdict()))
        near = _nearest_option(self, message)
        if message.startswith("unrecognized arguments: -"):
            message = f"unknown option {message.split()[2]}"
        elif message.startswith("unrecognized arguments: "):
            message = f"there is a word too many: {message.partition(': ')[2]}"
        elif message.startswith(_LACKS):
            message = f"{self.prog} needs {message.removeprefix(_LACKS)}"
            usage = " ".join(self.format_usage().removeprefix("usage: ").replace(" [-h]", "").split())
            raise UsageError(message, usage if len(usage) <= _USAGE_MAX else f"see {self.prog} --help")
        raise UsageError(message, f"did you mean {near}?" if near else f"see {self.prog} --help")


_CHOICE = re.compile(
    r"argument (?P<option>\S+): invalid choice: '(?P<given>.*)' \(choose from (?P<known>.*)\)", re.DOTALL
)


_LACKS = "the following arguments are required: "
_USAGE_MAX = 200
"""Characters of a usage that is a hint."""


def _nearest_choice(option: str, given: str, known: str) -> str:
    """Name the value that was meant, of those that argparse lists, or all of them."""
    names = [name.strip("' ") for name in known.split(",")]
    near, said = nearest(given.lower(), names), option.rpartition("/")[2]
    return f"did you mean {said + ' ' if said.startswith('-') else ''}{near}?" if near else f"one of {', '.join(names)}"


def _nearest_option(parser: argparse.ArgumentParser, message: str) -> str:
    """Name the option that an unknown one in argparse's message was meant to be, "" if there is none."""
    unknown = [word.partition("=")[0] for word in message.split() if word.startswith("--")]
    if not unknown or not message.startswith("unrecognized"):
        return ""
    return nearest(unknown[0], [option for action in _actions(parser) for option in action.option_strings])


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """Give the options and words of a parser and of its subparsers."""
    for action in parser._actions:
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for child in action.choices.values():
                yield from _actions(child)


def parser_for(verb: str) -> argparse.ArgumentParser:
    """Build the argument parser of one verb."""
    module = importlib.import_module(f"reconciler.cli.{verb}")
    parser = _Parser(prog=f"pai {verb}", description=module.__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    module.arguments(parser)
    workspace_option(parser)
    return parser


def help_text() -> str:
    """Give the text of `pai --help`."""
    width = max(map(len, VERBS)) + 2
    verbs = "\n".join(f"  {verb.ljust(width)}{told}" for verb, told in VERBS.items())
    return (
        "usage: pai [--version] [--workspace DIR] COMMAND ...\n\n"
        "LLM bindings and budgets as YAML in git; every change on one append-only log.\n\n"
        f"commands:\n{verbs}\n\n"
        "options:\n"
        "  -w, --workspace DIR  the workspace (else PAI_WORKSPACE, else the nearest parent folder with pai.toml)\n"
        "  --version            print the version\n"
        "  -h, --help           print this; `pai help COMMAND` says more\n"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and give its exit code."""
    _open_missing_streams()
    open_streams()
    try:
        code = _run(list(sys.argv[1:] if argv is None else argv))
        sys.stdout.flush()
    except PaiError as error:
        _flush()
        print_error(error)
        return error.exit_code
    except BrokenPipeError:
        _silence_stdout()  # the reader has gone (`pai log | head`); nothing is left to say
        return 0
    except KeyboardInterrupt:
        return 130
    except OSError as error:
        _print_lost(error)
        return 3
    return code


def _flush() -> None:
    """Write what was printed before an error is: a log has both in one file."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        _silence_stdout()
    except OSError as error:
        _print_lost(error)


def _print_lost(error: OSError) -> None:
    """Say what of the machine failed: a full disk, a file that may not be read; no bug, so no stack trace."""
    _silence_stdout()
    place = os.fsdecode(error.filename) if error.filename else "the output, or what is needed for it"
    print_error(CouldNotRun(f"{place}: {error.strerror or error}", "check the disk and the permissions"))


def _open_missing_streams() -> None:
    """Open the streams that the caller closed (`>&-`): Python leaves None there, and the log might take their place."""
    for descriptor, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            nowhere = os.open(os.devnull, os.O_RDWR)
            if nowhere != descriptor:
                os.dup2(nowhere, descriptor)
                os.close(nowhere)
            setattr(sys, name, open(descriptor, "w" if descriptor else "r", encoding="utf-8"))  # noqa: SIM115


def _silence_stdout() -> None:
    """Keep the interpreter from failing once more when it flushes stdout at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _run(argv: list[str]) -> int:
    if argv[:1] == [COMPLETE]:
        from reconciler.cli.completion import complete

        return complete(argv[2:])
    words = _verb_first(argv)
    if not words:
        print(help_text(), end="", file=sys.stderr)
        return 2
    if words[0] in ("-h", "--help"):
        print(help_text(), end="")
        return 0
    if words[0] == "--version":
        print(f"pai {__version__}")
        return 0
    require_verb(words[0])
    parser = parser_for(words[0])
    module = importlib.import_module(f"reconciler.cli.{words[0]}")
    words = module.preprocess(words[1:]) if hasattr(module, "preprocess") else words[1:]
    args = parser.parse_args(_options_first(parser, words))
    _check_filled(parser, words)
    _place(args)
    code: int = module.run(args)
    return code


def _place(args: argparse.Namespace) -> None:
    """Let every verb have the workspace that was named, by whatever means; warn of what is no setting of it."""
    warn_of_variables()
    if (args.workspace or getattr(args, "workspace_here", None)) is None and (named := os.environ.get("PAI_WORKSPACE")):
        args.workspace = Path(named)


def _verb_first(argv: list[str]) -> list[str]:
    """Put the verb before the options that stand before it, of which those of `pai` alone end the search."""
    for place, word in enumerate(argv):
        if word in VERBS and not (place and argv[place - 1] in ("-w", "--workspace")):
            return [word, *argv[:place], *argv[place + 1 :]]
        if word in ("-h", "--help", "--version"):
            return [word]
        if not word.startswith("-") and (not place or not argv[place - 1].startswith("-") or "=" in argv[place - 1]):
            return [word, *argv[:place], *argv[place + 1 :]]
    if argv:
        hint = "name a command; see pai --help"
        raise UsageError(f"there is no command after {' '.join(argv)}", hint)
    return []


def _options_first(parser: argparse.ArgumentParser, words: Sequence[str]) -> list[str]:
    """Put options, with their values, before all other words: argparse takes those only in one piece."""
    if any(isinstance(action, argparse._SubParsersAction) for action in parser._actions):
        return list(words)
    valued = {option for action in parser._actions if action.nargs != 0 for option in action.option_strings}
    options: list[str] = []
    others: list[str] = []
    left = iter(words)
    for word in left:
        if word == "--":
            others += left
        elif word.startswith("-") and word != "-":
            options += [word, *islice(left, int(word in valued))]
        else:
            others.append(word)
    return [*options, "--", *others] if others else options


def _check_filled(parser: argparse.ArgumentParser, words: Sequence[str]) -> None:
    """Refuse an option or a path that is given empty: it is no way to ask for the default. Raises UsageError."""
    valued, paths, before = dict[str, str](), False, ""
    for action in _actions(parser):
        if action.nargs != 0:
            valued |= dict.fromkeys(action.option_strings, f"; else give {action.help}" if action.help else "")
            paths = paths or (not action.option_strings and action.type is not None)
    for word, value in zip_longest(words, words[1:], fillvalue="-"):
        if word == "--":
            return
        if (word in valued and not value.strip()) or (word.endswith("=") and word[:-1] in valued):
            option = word.removesuffix("=")
            raise UsageError(f"{option} is given an empty value", f"leave it out for the default{valued[option]}")
        if paths and not word.strip() and before not in valued:
            raise UsageError(f"{parser.prog} is given an empty path", "is a variable of the shell empty?")
        before = word


def require_verb(name: str) -> None:
    """See that there is a verb of a name. Raises UsageError with the nearest one."""
    if name not in VERBS:
        near = nearest(name, VERBS)
        raise UsageError(f"unknown command {name!r}", f"did you mean pai {near}?" if near else "see pai --help")


if __name__ == "__main__":
    sys.exit(main())
