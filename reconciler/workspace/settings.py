"""All settings in one table, and how `pai.toml` and `PAI_<SECTION>_<KEY>` become values.

Every value is checked, whichever way it came; an error names `file:line` or the variable. In `pai.toml` an unknown
section or key is an error. In the environment it is not: container platforms put variables there by themselves (a
Kubernetes service `pai-gateway` becomes `PAI_GATEWAY_PORT`). Credentials are in no message and not in `shown`.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

from reconciler.core.errors import WorkspaceError
from reconciler.workspace import values
from reconciler.workspace.values import Address, Bad, display, is_remote

__all__ = ["SETTINGS", "Address", "Setting", "Settings", "display", "is_remote", "read_settings", "template"]


class Setting(NamedTuple):
    """One line of `pai.toml`. `section` may be dotted; `check` gives the value in its final form or raises Bad."""

    section: str
    key: str
    default: str | int | bool
    check: Callable[[object], object]
    comment: str
    field: str

    @property
    def name(self) -> str:
        """`section.key`, as messages and documents say."""
        return f"{self.section}.{self.key}"

    @property
    def variable(self) -> str:
        """The environment variable that overrides it."""
        return "PAI_" + self.name.replace(".", "_").upper()


class Settings(NamedTuple):
    """The settings in force, checked. `shown` has every one by name as text without secrets, for the log."""

    source_repo: str
    source_branch: str
    source_path: str
    source_interval_s: float
    source_timeout_s: float
    source_max_transfer_bytes: int
    source_secret: str
    source_ca_file: str
    source_push: bool
    source_rewrite: Literal["accept", "hold"]
    source_require_signatures: Literal["off", "head", "all"]
    source_allowed_signers: str
    source_gnupg_home: str
    gateway_listen: Address
    gateway_default_max_output_tokens: int
    gateway_hosts: tuple[str, ...]
    gateway_connect_timeout_s: float
    gateway_read_timeout_s: float
    gateway_head_timeout_s: float
    gateway_drain_timeout_s: float
    admin_listen: Address
    webhooks_github: str
    webhooks_gitlab: str
    webhooks_gitea: str
    webhooks_bitbucket: str
    webhooks_generic: str
    log_database: str
    openai_base_url: str
    anthropic_base_url: str
    gemini_base_url: str
    openrouter_base_url: str
    secrets_directory: str
    forge_kind: str
    forge_api_url: str
    forge_repo: str
    forge_secret: str
    shown: Mapping[str, str]


SETTINGS = (
    Setting(
        "source",
        "repo",
        "config.git",
        values.repository,
        "The config repository: a path (from this folder; bare or with a work tree: commits count, uncommitted files "
        "do not) or an https or ssh URL (http only for this machine).",
        "source_repo",
    ),
    Setting("source", "branch", "main", values.branch, "The branch whose tip comes into force.", "source_branch"),
    Setting(
        "source", "path", ".", values.folder, "The folder inside the repository that holds manifests.", "source_path"
    ),
    Setting(
        "source",
        "interval",
        "15s",
        values.duration_s,
        "How often a remote is polled: 500ms, 15s, 1m.",
        "source_interval_s",
    ),
    Setting(
        "source",
        "timeout",
        "30s",
        values.duration_s,
        "How long one fetch from a remote, or one push to it, may take in all.",
        "source_timeout_s",
    ),
    Setting(
        "source",
        "max_transfer_bytes",
        1073741824,
        values.integer,
        "The largest pack that is taken from a remote.",
        "source_max_transfer_bytes",
    ),
    Setting(
        "source",
        "secret",
        "",
        values.secret,
        "The stored secret that a remote is spoken to with. https: its key token, or username and password; ssh: its "
        "keys ssh-key and known-hosts. Empty for none.",
        "source_secret",
    ),
    Setting(
        "source",
        "ca_file",
        "",
        values.directory,
        "Certificates (PEM) of the authorities that an https remote may be signed by; empty for the system's own.",
        "source_ca_file",
    ),
    Setting(
        "source",
        "push",
        False,
        values.boolean,
        "Whether Pai may push to a remote: commits of pai add, apply and delete to the branch, and checkpoints to "
        "refs/pai/checkpoints.",
        "source_push",
    ),
    Setting(
        "source",
        "rewrite",
        "accept",
        values.one_of("accept", "hold"),
        "What a force-push does: accept puts the new tip in force, hold keeps the last state until an operator says "
        "pai reconcile --accept-rewrite.",
        "source_rewrite",
    ),
    Setting(
        "source",
        "require_signatures",
        "off",
        values.one_of("off", "head", "all"),
        "Whose signature a revision needs: off for none, head for the branch's tip, all for every commit since the "
        "revision in force.",
        "source_require_signatures",
    ),
    Setting(
        "source",
        "allowed_signers",
        "",
        values.directory,
        "A file of ssh keys that may sign, in the form of git's gpg.ssh.allowedSignersFile.",
        "source_allowed_signers",
    ),
    Setting(
        "source",
        "gnupg_home",
        "",
        values.directory,
        "A GnuPG folder whose public keys may sign; empty for none.",
        "source_gnupg_home",
    ),
    Setting("gateway", "listen", "127.0.0.1:8000", values.address, "What agents talk to.", "gateway_listen"),
    Setting(
        "gateway",
        "default_max_output_tokens",
        16384,
        values.integer,
        "Put into a request that names no output limit and whose binding has a budget.",
        "gateway_default_max_output_tokens",
    ),
    Setting(
        "gateway",
        "hosts",
        "",
        values.hosts,
        "Names under which agents reach the gateway, with commas between; addresses and this machine's own names are "
        "known.",
        "gateway_hosts",
    ),
    Setting(
        "gateway",
        "connect_timeout",
        "10s",
        values.duration_s,
        "How long a provider may take to accept a connection.",
        "gateway_connect_timeout_s",
    ),
    Setting(
        "gateway",
        "read_timeout",
        "10m",
        values.duration_s,
        "The longest silence of a provider, before its answer begins and within it.",
        "gateway_read_timeout_s",
    ),
    Setting(
        "gateway",
        "head_timeout",
        "20s",
        values.duration_s,
        "How long a client may take to send the head of a request, and the rest of one that was refused.",
        "gateway_head_timeout_s",
    ),
    Setting(
        "gateway",
        "drain_timeout",
        "30s",
        values.duration_s,
        "How long open requests may take to end when the daemon stops; what is open then is forfeited.",
        "gateway_drain_timeout_s",
    ),
    Setting(
        "admin",
        "listen",
        "127.0.0.1:8001",
        values.address,
        "What people and tools talk to; never the agents' port.",
        "admin_listen",
    ),
    *(
        Setting(
            "webhooks",
            forge,
            "",
            values.secret_key,
            f"The stored secret, SECRET:KEY, that webhooks of {title} are signed with; empty for none: then there is "
            f"no /webhooks/{forge}.",
            f"webhooks_{forge}",
        )
        for forge, title in (
            ("github", "GitHub"),
            ("gitlab", "GitLab"),
            ("gitea", "Gitea and Forgejo"),
            ("bitbucket", "Bitbucket"),
            ("generic", "anything else"),
        )
    ),
    Setting("log", "database", "sqlite:data/log.db", values.database, "The log: sqlite:PATH.", "log_database"),
    *(
        Setting(
            f"providers.{provider}",
            "base_url",
            url,
            values.origin,
            f"Where {title} is reached: the origin only.",
            f"{provider}_base_url",
        )
        for provider, title, url in (
            ("openai", "OpenAI", "https://api.openai.com"),
            ("anthropic", "Anthropic", "https://api.anthropic.com"),
            ("gemini", "Gemini", "https://generativelanguage.googleapis.com"),
            ("openrouter", "OpenRouter", "https://openrouter.ai"),
        )
    ),
    Setting(
        "secrets",
        "directory",
        "",
        values.directory,
        "A folder of NAME/KEY files, as Kubernetes mounts secrets; empty for none. Secrets stored by `pai add secret` "
        "come first.",
        "secrets_directory",
    ),
    Setting(
        "forge",
        "kind",
        "",
        values.forge,
        "Where each commit gets its status (in force, refused, superseded): github, gitlab or gitea (also Forgejo); "
        "empty for nowhere.",
        "forge_kind",
    ),
    Setting(
        "forge",
        "api_url",
        "",
        values.api,
        "Its API: https://api.github.com, https://HOST/api/v3 (GitHub Enterprise), https://HOST/api/v4 (GitLab) or "
        "https://HOST/api/v1 (Gitea).",
        "forge_api_url",
    ),
    Setting(
        "forge", "repo", "", values.text, "The repository there: OWNER/NAME, or GitLab's path or number.", "forge_repo"
    ),
    Setting(
        "forge",
        "secret",
        "",
        values.text,
        "The secret that holds the token, NAME or NAME:KEY (the key `token`); it may set commit statuses.",
        "forge_secret",
    ),
)

_BY_NAME = {setting.name: setting for setting in SETTINGS}
_SECTIONS = {
    ".".join(parts[:n]) for parts in (s.section.split(".") for s in SETTINGS) for n in range(1, len(parts) + 1)
}
_HEADER = re.compile(r"\s*\[\s*([^\[\]#]+?)\s*\]")
_ASSIGNMENT = re.compile(r"""\s*([A-Za-z0-9_."'\- ]+?)\s*=""")
_TOML_PLACE = re.compile(r"\s*\(at (?:line (\d+), column (\d+)|end of document)\)")


def read_settings(data: bytes, path: Path, environment: Mapping[str, str]) -> Settings:
    """Read the bytes of `pai.toml` and the variables that override it.

    `path` is for messages. Raises WorkspaceError for the first thing that is wrong.
    """
    source = _File(data, path)
    found: dict[str, Any] = {}
    origins: dict[str, str] = {}
    given = dict(source.settings())
    for setting in SETTINGS:
        value: object = given.get(setting.name, setting.default)
        origin = source.place(setting.name)
        if setting.variable in environment:
            value, origin = environment[setting.variable], setting.variable
            if type(setting.default) is int and re.fullmatch(r"[0-9]{1,19}", value):
                value = int(value)
        try:
            found[setting.field] = setting.check(value)
        except Bad as bad:
            raise WorkspaceError(f"{origin}: {setting.name} {bad}", bad.hint) from None
        origins[setting.field] = origin
    settings = Settings(**found, shown={s.name: _shown(s, found[s.field]) for s in SETTINGS})
    _check_listeners(settings, origins)
    _check_forge(settings, origins)
    _check_signers(settings, origins)
    return settings


def _shown(setting: Setting, value: object) -> str:
    if setting.check is values.repository:
        return display(str(value))
    if setting.check is values.hosts and isinstance(value, tuple):
        return ", ".join(value)
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}s" if isinstance(value, float) else str(value)


def _check_listeners(settings: Settings, origins: Mapping[str, str]) -> None:
    if settings.admin_listen.overlaps(settings.gateway_listen):
        raise WorkspaceError(
            f"{origins['admin_listen']}: admin.listen {settings.admin_listen} is the agents' address too "
            f"({origins['gateway_listen']}: gateway.listen {settings.gateway_listen})",
            "people and agents need two ports, so that no agent reaches the admin pages",
        )


def _check_forge(settings: Settings, origins: Mapping[str, str]) -> None:
    if not settings.forge_kind:
        return
    for name in ("api_url", "repo", "secret"):
        if not getattr(settings, f"forge_{name}"):
            raise WorkspaceError(
                f"{origins['forge_kind']}: forge.kind is {settings.forge_kind}, but forge.{name} is empty",
                f"set forge.{name}, or leave forge.kind empty",
            )


def _check_signers(settings: Settings, origins: Mapping[str, str]) -> None:
    wanted = settings.source_require_signatures
    if wanted != "off" and not settings.source_allowed_signers and not settings.source_gnupg_home:
        raise WorkspaceError(
            f"{origins['source_require_signatures']}: source.require_signatures is {wanted}, and nobody may sign",
            "set source.allowed_signers (ssh keys), source.gnupg_home (OpenPGP keys), or both",
        )


class _File:
    """A parsed `pai.toml` that still knows its lines."""

    def __init__(self, data: bytes, path: Path) -> None:
        self._path = path
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = data.count(b"\n", 0, error.start) + 1
            raise WorkspaceError(f"{path}:{line}: not UTF-8 text", "save the file as UTF-8") from None
        self._lines = _lines(text)
        try:
            self._tree: dict[str, object] = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise self._syntax(str(error), text) from None
        except RecursionError:
            raise WorkspaceError(f"{path}: nested too deeply") from None

    def settings(self) -> Iterator[tuple[str, object]]:
        """Give every setting of the file by name. Raises WorkspaceError for one that does not exist."""
        return self._walk(self._tree, "")

    def place(self, name: str) -> str:
        """Give `path:line` of a setting, else of the nearest section around it, else only `path`."""
        while name:
            if name in self._lines:
                return f"{self._path}:{self._lines[name]}"
            name = name.rpartition(".")[0]
        return str(self._path)

    def _walk(self, table: Mapping[str, object], prefix: str) -> Iterator[tuple[str, object]]:
        for key, value in table.items():
            name = prefix + key
            if name in _BY_NAME:
                yield name, value
            elif name in _SECTIONS:
                if not isinstance(value, dict):
                    raise WorkspaceError(f"{self.place(name)}: {name} is a section", f"write [{name}]")
                yield from self._walk(value, f"{name}.")
            else:
                what = "section" if isinstance(value, dict) else "setting"
                raise WorkspaceError(f"{self.place(name)}: there is no {what} {name}", _meant(name, what))

    def _syntax(self, message: str, text: str) -> WorkspaceError:
        place = _TOML_PLACE.search(message)
        line, column = (place[1], place[2]) if place and place[1] else (str(text.count("\n") + 1), "1")
        reason = _TOML_PLACE.sub("", message)
        return WorkspaceError(f"{self._path}:{line}:{column}: {reason[:1].lower()}{reason[1:]}", 'write key = "value"')


def _lines(text: str) -> dict[str, int]:
    """Find the line of each section header and key; good enough for messages, tomllib alone decides what is there."""
    lines: dict[str, int] = {}
    section = ""
    for number, line in enumerate(text.split("\n"), 1):
        if header := _HEADER.match(line):
            section = _dotted(header[1])
            lines.setdefault(section, number)
        elif assignment := _ASSIGNMENT.match(line):
            name = _dotted(assignment[1])
            lines.setdefault(f"{section}.{name}" if section else name, number)
    return lines


def _dotted(name: str) -> str:
    return ".".join(part.strip().strip("\"'") for part in name.split("."))


def _meant(name: str, what: str) -> str:
    from difflib import get_close_matches

    section, _, last = name.rpartition(".")
    if what == "section":
        known, close = sorted(_SECTIONS), get_close_matches(name, sorted(_SECTIONS), 1)
    else:
        known = [s.name for s in SETTINGS if s.section == section] or sorted(_BY_NAME)
        keys = get_close_matches(last, [n.rpartition(".")[2] for n in known], 1)
        close = [n for n in _BY_NAME if n.rpartition(".")[2] == last] or [
            n for n in known if n.rpartition(".")[2] in keys
        ]
    return f"did you mean {' or '.join(close)}?" if close else f"there are {', '.join(known)}"


def template() -> str:
    """Give the text of a new `pai.toml`: every setting with its comment and default."""
    import textwrap

    lines = [
        "# Settings of this Pai workspace; `pai serve` reads them when it starts.",
        "# Each can be overridden by a variable: source.repo by PAI_SOURCE_REPO, and so on.",
    ]
    section = ""
    for setting in SETTINGS:
        if setting.section != section:
            section = setting.section
            lines += ["", f"[{section}]"]
        lines += textwrap.wrap(setting.comment, 100, initial_indent="# ", subsequent_indent="# ")
        value = str(setting.default).lower() if isinstance(setting.default, int) else f'"{setting.default}"'
        lines.append(f"{setting.key} = {value}")
    return "\n".join(lines) + "\n"
