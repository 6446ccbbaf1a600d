"""Print the lines that point SDKs and what is built on them at the gateway: eval "$(pai env AGENT)".

Without --key or --new-key the lines take the key from the variable PAI_KEY of the shell that reads them. What would win
over these lines, and so go past the gateway or take the key elsewhere, is unset. No key is put into a variable whose
readers know of no address to go with it: they would send it to the provider.
"""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Iterator

from reconciler.audit.views import not_found
from reconciler.cli.place import find_workspace
from reconciler.cli.reading import or_what_waits, read_state
from reconciler.cli.targets import name_of
from reconciler.core.addresses import read_address
from reconciler.core.errors import CouldNotRun
from reconciler.operations.asking import ask_daemon
from reconciler.operations.orders import Ping
from reconciler.workspace import Address, Workspace
from reconciler.workspace.values import address

KEY_OF_SHELL = '"$PAI_KEY"'
OVERRIDING = (
    # sent beside ANTHROPIC_API_KEY by older SDKs, two credentials in one request; another way to Anthropic
    ("ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_UNIX_SOCKET"),
    # Claude Code goes to another cloud
    ("CLAUDE_CODE_USE_BEDROCK", "CLAUDE_CODE_USE_VERTEX", "CLAUDE_CODE_USE_FOUNDRY", "CLAUDE_CODE_USE_MANTLE"),
    ("CLAUDE_CODE_USE_ANTHROPIC_AWS", "CLAUDE_CODE_USE_ANTHROPIC_GOOGLE_CLOUD", "CLAUDE_CODE_USE_GATEWAY"),
    # lead to other addresses than GOOGLE_GEMINI_BASE_URL
    ("GOOGLE_GENAI_USE_ENTERPRISE", "GOOGLE_GENAI_USE_VERTEXAI", "GOOGLE_GENAI_USE_GCA"),
    # Azure or Bedrock instead; accounts, which are sent along, and which the provider compares with the key
    ("OPENAI_API_TYPE", "OPENAI_ORG_ID", "OPENAI_ORGANIZATION", "OPENAI_PROJECT_ID"),
    # LangChain's other ways out: a gateway of LangSmith's, and proxies, which see the key
    ("LANGSMITH_GATEWAY", "OPENAI_PROXY", "ANTHROPIC_PROXY"),
)
"""What is unset, a line each. Read out of the clients of the table in docs/gateway.md, as of November 2026."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `pai env`."""
    parser.add_argument("agent", metavar="AGENT")
    key = parser.add_mutually_exclusive_group()
    key.add_argument("--key", metavar="K", help="the agent's key (default: the text $PAI_KEY)")
    key.add_argument("--new-key", action="store_true", help="make a key, as pai add key does")


def run(args: argparse.Namespace) -> int:
    """Print the lines."""
    workspace = find_workspace(args.workspace, strict=args.new_key)
    agents = read_state(workspace).agents
    args.agent = name_of(args.agent, "agent")
    if args.agent not in agents:
        with or_what_waits(workspace):
            raise not_found("agent", args.agent, agents)
    origin = f"http://{_reachable(_bound(workspace))}"
    if args.new_key:
        from reconciler.cli.keys import announce, issue

        made = issue(workspace, args.agent)
        announce(made.name, args.agent)
        key = shlex.quote(made.key)
    else:
        key = KEY_OF_SHELL if args.key is None else shlex.quote(args.key)
    for line in _lines(origin, key):
        print(line)
    return 0


def _bound(workspace: Workspace) -> Address:
    """Give the address that the running daemon's gateway is bound to, or will be."""
    running = ask_daemon(workspace, Ping())
    if running is not None:
        return address(running.addresses["gateway.listen"])
    listen = workspace.settings.gateway_listen
    if listen.port == 0:
        message = "gateway.listen takes any free port, and no daemon runs that has one"
        raise CouldNotRun(message, "start pai serve, or set gateway.listen to a port")
    return listen


def _reachable(listen: Address) -> Address:
    """Give the address to call for one to listen on: a listener on every interface is called on this machine's own."""
    host = read_address(listen.host)
    if host is None or not host.is_unspecified:
        return listen
    return Address("127.0.0.1" if host.version == 4 else "::1", listen.port)


def _lines(origin: str, key: str) -> Iterator[str]:
    """Give the lines; `key` is quoted for the shell already."""
    for names in OVERRIDING:
        yield f"unset {' '.join(names)}"
    openai, base = shlex.quote(f"{origin}/v1"), shlex.quote(origin)
    for name, value in (
        ("OPENAI_BASE_URL", openai),
        ("OPENAI_API_BASE", openai),  # LangChain, LiteLLM and LlamaIndex prefer it, or know no other
        ("OPENAI_API_KEY", key),
        ("OPENAI_AGENTS_DISABLE_TRACING", "1"),  # traces would take the key to api.openai.com
        ("ANTHROPIC_BASE_URL", base),
        ("ANTHROPIC_API_URL", base),  # LangChain prefers it
        ("ANTHROPIC_API_BASE", base),  # LiteLLM prefers it
        ("ANTHROPIC_API_KEY", key),
        ("GOOGLE_GEMINI_BASE_URL", base),
        ("GEMINI_API_BASE", base),  # LiteLLM knows no other, and would take GEMINI_API_KEY to Google
        ("GEMINI_API_KEY", key),
        ("GOOGLE_API_KEY", key),  # wins over GEMINI_API_KEY, and might be the provider's own
    ):
        yield f"export {name}={value}"
