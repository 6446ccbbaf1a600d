"""`pai env`: the lines that point the provider SDKs at the gateway. The same with and without a running daemon."""

from __future__ import annotations

import contextlib
import http.client
import http.server
import re
import shlex
import sys
import threading
from collections.abc import Iterator, Mapping

import pytest

from reconciler.core.keys import digest
from tests.support import DEADLINE_S, Site, run

KEY = "pak_0123456789abcdefghijklmnopqrstuvwxyzABCDEFG"
LISTEN = {"PAI_GATEWAY_LISTEN": "127.0.0.1:9000"}
REAL = "the-provider's-own"
ELSEWHERE = "http://127.0.0.1:9"
INHERITED = {
    "GOOGLE_API_KEY": REAL,
    "ANTHROPIC_AUTH_TOKEN": REAL,
    "ANTHROPIC_API_URL": ELSEWHERE,
    "ANTHROPIC_API_BASE": ELSEWHERE,
    "ANTHROPIC_PROXY": ELSEWHERE,
    "ANTHROPIC_UNIX_SOCKET": "/nowhere",
    "CLAUDE_CODE_USE_BEDROCK": "1",
    "CLAUDE_CODE_USE_VERTEX": "1",
    "CLAUDE_CODE_USE_FOUNDRY": "1",
    "CLAUDE_CODE_USE_MANTLE": "1",
    "CLAUDE_CODE_USE_ANTHROPIC_AWS": "1",
    "CLAUDE_CODE_USE_ANTHROPIC_GOOGLE_CLOUD": "1",
    "CLAUDE_CODE_USE_GATEWAY": "1",
    "GEMINI_API_BASE": ELSEWHERE,
    "GOOGLE_GENAI_USE_VERTEXAI": "true",
    "GOOGLE_GENAI_USE_ENTERPRISE": "true",
    "GOOGLE_GENAI_USE_GCA": "true",
    "LANGSMITH_GATEWAY": "true",
    "OPENAI_API_BASE": ELSEWHERE,
    "OPENAI_API_TYPE": "azure",
    "OPENAI_ORG_ID": REAL,
    "OPENAI_ORGANIZATION": REAL,
    "OPENAI_PROJECT_ID": REAL,
    "OPENAI_PROXY": ELSEWHERE,
}
"""What a developer's shell may hold already, and a client would listen to."""

CLIENTS = """
import anthropic, openai
from google import genai
chat = [{"role": "user", "content": "hello"}]
google = genai.Client()
for ask in (
    lambda: openai.OpenAI(max_retries=0).chat.completions.create(model="flash", messages=chat),
    lambda: anthropic.Anthropic(max_retries=0).messages.create(model="flash", messages=chat, max_tokens=9),
    lambda: google.models.generate_content(model="flash", contents="hello"),
):
    try:
        ask()
    except Exception as error:
        print(type(error).__name__)
"""


def exported(text: str) -> dict[str, str]:
    """Read export lines as a shell would, but for variables."""
    return {name: shlex.split(value)[0] for name, value in re.findall(r"^export (\w+)=(.*)$", text, re.MULTILINE)}


def in_shell(site: Site, lines: str, command: str, env: Mapping[str, str]) -> str:
    """Evaluate lines in a shell, run a command there, and give what it prints."""
    done = run(["bash", "-euc", f"{lines}\n{command}"], {**site.environment, **env}, site.folder)
    assert done.code == 0, done
    return done.out


def test_lines_name_the_gateway_and_the_shells_own_key(team: Site) -> None:
    """OpenAI's address ends in /v1, the others' do not; the key is the text $PAI_KEY, for the shell to fill in."""
    out = team.pai("env", "my-agent", env=LISTEN).out

    exports = "".join(line for line in out.splitlines(keepends=True) if not line.startswith("unset "))
    assert exports == (
        "export OPENAI_BASE_URL=http://127.0.0.1:9000/v1\n"
        "export OPENAI_API_BASE=http://127.0.0.1:9000/v1\n"
        'export OPENAI_API_KEY="$PAI_KEY"\n'
        "export OPENAI_AGENTS_DISABLE_TRACING=1\n"
        "export ANTHROPIC_BASE_URL=http://127.0.0.1:9000\n"
        "export ANTHROPIC_API_URL=http://127.0.0.1:9000\n"
        "export ANTHROPIC_API_BASE=http://127.0.0.1:9000\n"
        'export ANTHROPIC_API_KEY="$PAI_KEY"\n'
        "export GOOGLE_GEMINI_BASE_URL=http://127.0.0.1:9000\n"
        "export GEMINI_API_BASE=http://127.0.0.1:9000\n"
        'export GEMINI_API_KEY="$PAI_KEY"\n'
        'export GOOGLE_API_KEY="$PAI_KEY"\n'
    )
    assert in_shell(team, out, "echo $GEMINI_API_KEY", {"PAI_KEY": KEY}) == f"{KEY}\n"


@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_nothing_that_leads_elsewhere_is_left(team: Site, shell: str) -> None:
    """Whatever the shell held, exported or not, after the lines no variable names another way, account or key."""
    out = team.pai("env", "my-agent", "--key", KEY, env=LISTEN).out
    held = "".join(f"{name}={shlex.quote(value)}\n" for name, value in INHERITED.items())
    for before, env in (("", INHERITED), (held, {}), (held, INHERITED), ("", {})):
        done = run([shell, "-euc", f"{before}{out}set"], {**team.environment, **env}, team.folder)
        assert done.code == 0, done
        left = set(re.findall(r"^(\w+)=(.*)$", done.out, re.MULTILINE))
        assert not [pair for pair in left if REAL in pair[1] or pair[1].strip("'") in (ELSEWHERE, "/nowhere")]
        assert not {name for name, _ in left} & {*INHERITED}.difference(exported(out))


def test_key_stands_only_where_an_address_goes_with_it(team: Site) -> None:
    """A client that reads a key, and knows of no address from here, would take it to the provider."""
    found = exported(team.pai("env", "my-agent", "--key", KEY, env=LISTEN).out)
    keyed = {name for name, value in found.items() if value == KEY}
    assert keyed == {"OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY", "GOOGLE_API_KEY"}
    assert {value for name, value in found.items() if name not in keyed} == {
        "http://127.0.0.1:9000",
        "http://127.0.0.1:9000/v1",
        "1",
    }


def test_running_daemon_says_where_it_listens(team: Site) -> None:
    """With any free port only the daemon knows which, and it answers there, whatever this command's settings are."""
    with team.daemon():
        url = exported(team.pai("env", "my-agent", env=LISTEN).out)["ANTHROPIC_BASE_URL"]
        port = int(url.removeprefix("http://127.0.0.1:"))
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE_S)
        with contextlib.closing(connection):
            connection.request("GET", "/healthz")
            with connection.getresponse() as answer:
                assert answer.status == 200


def test_given_key_is_quoted_for_the_shell(team: Site) -> None:
    """Whatever the key is, the shell reads it back unchanged, and no key is made."""
    for key in (KEY, 'it\'s $HOME `id` "x"\\'):
        out = team.pai("env", "my-agent", "--key", key, env=LISTEN).out
        assert in_shell(team, out, 'printf %s "$OPENAI_API_KEY$GOOGLE_API_KEY"', {}) == key * 2
    assert team.types("type:key") == []


def test_new_key_is_recorded_as_by_add_key(either: Site) -> None:
    """The key in the lines is in force; its id is told on stderr."""
    done = either.pai("env", "my-agent", "--new-key", env=LISTEN)

    (kept,) = either.state().keys.values()
    found = exported(done.out)
    assert {digest(found[name]) for name in found if name.endswith("_KEY")} == {kept.digest}
    assert (kept.agent, kept.expires, kept.networks) == ("my-agent", "", [])
    assert f"key/{kept.name} created for my-agent" in done.err


@pytest.mark.parametrize(
    ("listen", "origin"),
    [
        ("0.0.0.0:9000", "http://127.0.0.1:9000"),
        ("[::]:9000", "http://[::1]:9000"),
        ("[2001:db8::7]:80", "http://[2001:db8::7]:80"),
        ("gateway.example.com:8443", "http://gateway.example.com:8443"),
    ],
)
def test_address_is_one_that_can_be_called(team: Site, listen: str, origin: str) -> None:
    """A listener on every interface is called on this machine's own; every other address is as it was set."""
    found = exported(team.pai("env", "my-agent", env={"PAI_GATEWAY_LISTEN": listen}).out)

    assert found["OPENAI_BASE_URL"] == f"{origin}/v1"
    assert found["ANTHROPIC_BASE_URL"] == found["GOOGLE_GEMINI_BASE_URL"] == origin


def test_mistakes_print_no_lines(team: Site) -> None:
    """An unknown agent is not found, two keys are wrong usage, an unknown port is no address; no key is made."""
    done = team.pai("env", "my-agnt", "--new-key", code=1)
    assert (done.out, done.err) == ("", "error: there is no agent my-agnt\nhint: did you mean my-agent?\n")
    for words in (["--key", KEY, "--new-key"], ["--key", ""]):
        done = team.pai("env", "my-agent", *words, code=2, env=LISTEN)
        assert done.out == ""
        assert KEY not in done.err
    done = team.pai("env", "my-agent", "--new-key", code=3)
    assert done.out == ""
    assert "gateway.listen" in done.err
    assert team.types("type:key") == []


@contextlib.contextmanager
def listener() -> Iterator[tuple[int, list[tuple[str, str]]]]:
    """Answer every request with 400; give the port and what came: path and all credentials."""
    seen: list[tuple[str, str]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("content-length", 0)))
            names = ("authorization", "x-api-key", "x-goog-api-key", "openai-organization", "openai-project")
            found = {self.headers[name].removeprefix("Bearer ") for name in names if name in self.headers}
            seen.append((self.path, " ".join(sorted(found))))
            self.send_response(400)
            self.send_header("content-length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port, seen
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("inherited", [{}, INHERITED], ids=["clean", "inherited"])
def test_official_sdks_need_nothing_else(team: Site, inherited: dict[str, str]) -> None:
    """OpenAI's, Anthropic's and Google's SDK reach the gateway with this key alone, whatever the shell held before."""
    with listener() as (port, seen):
        env = {**inherited, "PAI_GATEWAY_LISTEN": f"127.0.0.1:{port}"}
        lines = team.pai("env", "my-agent", "--key", KEY, env=env).out
        in_shell(team, lines, shlex.join([sys.executable, "-c", CLIENTS]), env)

    assert [(re.sub(r"^/v1(beta)?/models", "/MODELS", path), key) for path, key in seen] == [
        ("/v1/chat/completions", KEY),
        ("/v1/messages", KEY),
        ("/MODELS/flash:generateContent", KEY),
    ]
