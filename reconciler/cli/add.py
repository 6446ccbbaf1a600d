"""Add a model, an agent, a secret or a key.

A model or an agent is a commit to the config repository and in force when the command returns; one that exists is
refused (pai apply changes it). A secret goes to the encrypted store; its value is never printed again. A key, which an
agent authenticates with, is printed once, alone on stdout; only its digest is kept.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Callable
from datetime import UTC, datetime

from reconciler.cli.place import find_workspace, workspace_option
from reconciler.cli.targets import KIND_OF, name_of
from reconciler.core.errors import CouldNotRun, Refused, UsageError
from reconciler.core.objects import API_VERSION, MANIFEST_OF_KIND, AgentSpec, BindingSpec, Kind, SecretReference
from reconciler.providers import PROVIDERS
from reconciler.workspace import Workspace

DEFAULT_KEY = "api-key"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `pai add`."""
    kinds = parser.add_subparsers(dest="kind", required=True, metavar="model|agent|secret|key")
    model = kinds.add_parser("model", help="write and commit a ModelBinding")
    model.add_argument("name", metavar="NAME")
    model.add_argument("--provider", required=True, choices=sorted(PROVIDERS))
    model.add_argument("--model", metavar="M", help="the provider's model id")
    model.add_argument("--api-key", required=True, metavar="SECRET[:KEY]", help="the secret (KEY: api-key)")
    model.add_argument("--max-tokens-day", type=_digits, metavar="N", help="hard budget, resets 00:00 UTC")
    model.add_argument("--max-tokens-request", type=_digits, metavar="N", help="input and output of one request")
    agent = kinds.add_parser("agent", help="write and commit an AgentWorkload")
    agent.add_argument("name", metavar="NAME")
    agent.add_argument("--model", required=True, action="append", metavar="BINDING", help="may be repeated, in order")
    secret = kinds.add_parser("secret", help="store a secret")
    secret.add_argument("name", metavar="NAME")
    secret.add_argument("--from-literal", action="append", default=[], metavar="K=V", help="K=- reads stdin")
    secret.add_argument("--from-file", action="append", default=[], metavar="K=PATH")
    secret.add_argument("--from-env", action="append", default=[], metavar="K=VAR")
    key = kinds.add_parser("key", help="make a key for an agent, or with --admin for a person")
    key.add_argument("agent", metavar="AGENT")
    key.add_argument("--admin", action="store_true", help="for the admin listener only; AGENT names a person")
    key.add_argument("--expires", metavar="WHEN", help="12h, 90d, 2w, a date or a time (default: never)")
    key.add_argument("--cidr", action="append", default=[], metavar="C", help="taken from here only; may be several")
    for child in (model, agent, secret, key):
        workspace_option(child, "workspace_here")


def preprocess(words: list[str]) -> list[str]:
    """Put the kind first, by its usual name, whatever options stand before it; all but --admin have a value.

    Several networks after one --cidr get one each.
    """
    if "--cidr" in words:
        words = _one_option_each(words)
    for place, word in enumerate(words):
        valued = place and words[place - 1].startswith("-") and "=" not in words[place - 1]
        if word.lower() in KIND_OF and not (valued and words[place - 1] != "--admin"):
            return [KIND_OF[word.lower()], *words[:place], *words[place + 1 :]]
    return words


def _one_option_each(words: list[str]) -> list[str]:
    from reconciler.cli.keys import is_network

    split: list[str] = []
    for word in words:
        if split[-2:-1] == ["--cidr"] and is_network(word):
            split.append("--cidr")
        split.append(word)
    return split


def _digits(text: str) -> int:
    """Read a budget as manifests do: in plain digits. Whether it is in range, the verdict says."""
    if not re.fullmatch(r"-?[0-9]{1,20}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number in plain digits, such as 1000000")
    return int(text)


def run(args: argparse.Namespace) -> int:
    """Carry out `pai add KIND`."""
    workspace = find_workspace(args.workspace_here or args.workspace, strict=True)
    if args.kind != "key":
        args.name = name_of(args.name, args.kind)
    if args.kind == "secret":
        return _secret(workspace, args)
    if args.kind == "key":
        args.agent = args.agent if args.admin else name_of(args.agent, "agent")
        return _key(workspace, args)
    kind: Kind = args.kind
    return _object(
        workspace,
        kind,
        args.name,
        _binding(args) if kind == "model" else AgentSpec([name_of(each, "model") for each in args.model]),
    )


def _binding(args: argparse.Namespace) -> BindingSpec:
    model = args.model or PROVIDERS[args.provider].default_model
    if not model:
        raise UsageError(f"provider {args.provider} needs --model", "for example --model anthropic/claude-sonnet-4-6")
    secret, colon, key = args.api_key.partition(":")
    secret = name_of(secret, "secret") if "/" in secret else secret
    if not secret or (colon and not key):
        raise UsageError(f"--api-key {args.api_key} lacks a part", "write SECRET, or SECRET:KEY")
    reference = SecretReference(secret, key or DEFAULT_KEY)
    return BindingSpec(args.provider, model, args.max_tokens_day, args.max_tokens_request, reference)


def _object(workspace: Workspace, kind: Kind, name: str, spec: BindingSpec | AgentSpec) -> int:
    from reconciler.authoring import Actions, Document, Proposal
    from reconciler.cli.change import commit_and_enforce, print_actions

    document: Document = {
        "apiVersion": API_VERSION,
        "kind": MANIFEST_OF_KIND[kind],
        "metadata": {"name": name},
        "spec": spec.written(),
    }

    def edit(proposal: Proposal) -> Actions:
        if proposal.manifest((kind, name)) is not None:
            raise Refused(f"{kind} {name} exists already", "change it with pai apply, or choose another name")
        return [((kind, name), proposal.put((kind, name), document))]

    print_actions(commit_and_enforce(workspace, edit, lambda _: f"Add {kind} {name}"))
    return 0


def _secret(workspace: Workspace, args: argparse.Namespace) -> int:
    from reconciler.cli.actor import order
    from reconciler.operations.orders import StoreSecret

    stored = order(workspace, StoreSecret(args.name, _values(args)))
    print(f"secret/{args.name} {stored.action}")
    return 0


def _key(workspace: Workspace, args: argparse.Namespace) -> int:
    from reconciler.cli.keys import announce, issue, parse_expiry, parse_networks

    expires = parse_expiry(args.expires, datetime.now(UTC)) if args.expires is not None else ""
    networks = parse_networks(args.cidr)
    if args.admin and not re.fullmatch(r"[\w.@+-]{1,253}", args.agent):
        raise UsageError(f"{args.agent!r} names nobody", "write a name or an e-mail address without blanks")
    made = issue(workspace, args.agent, expires, networks, admin=args.admin)
    announce(made.name, args.agent + " (admin)" * args.admin, expires, networks)
    print(made.key)
    return 0


def _values(args: argparse.Namespace) -> dict[str, bytes]:
    values: dict[str, bytes] = {}
    sources: tuple[tuple[list[str], Callable[[str], bytes]], ...] = (
        (args.from_literal, _literal),
        (args.from_file, _file),
        (args.from_env, _variable),
    )
    for given, read in sources:
        for pair in given:
            key, equals, source = pair.partition("=")
            if not equals or not key:
                raise UsageError(
                    "a secret's value is given as KEY=...", "for example --from-env api-key=GEMINI_API_KEY"
                )
            if key in values:
                raise UsageError(f"key {key} is given twice", "give each key once")
            values[key] = read(source)
    if not values:
        raise UsageError("a secret needs a value", "give --from-literal K=-, --from-file K=PATH or --from-env K=VAR")
    for key, value in values.items():
        if not value:
            raise UsageError(f"the value of key {key} is empty", "check where it comes from")
    return values


def _literal(text: str) -> bytes:
    if text == "-":
        return _without_newline(sys.stdin.buffer.read())
    return os.fsencode(text)


def _file(path: str) -> bytes:
    try:
        with open(path, "rb") as stream:
            return _without_newline(stream.read())
    except OSError as error:
        raise CouldNotRun(f"cannot read {path}: {error.strerror}", "check the path and its permissions") from error


def _variable(name: str) -> bytes:
    value = os.environb.get(os.fsencode(name))
    if value is None:
        raise UsageError(f"the environment has no {name}", f"export {name}=... first")
    return value


def _without_newline(data: bytes) -> bytes:
    """Drop the one newline that an editor or echo puts at the end."""
    return data.removesuffix(b"\n").removesuffix(b"\r") if data.endswith(b"\n") else data
