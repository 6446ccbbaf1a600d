"""All settings in one table, and how `pai.toml` and `PAI_<SECTION>_<KEY>` become values.

Every value is checked, whichever way it came; an error names `file:line` or the variable. What `pai.toml` has beside
these settings is listed in `unknown`, for a newer program may have written it: the daemon and what changes something do
not start with it; the hook and what only reads warn of it and go on. A variable that is no setting is not listed:
container platforms set some by themselves (a Kubernetes service `pai-gateway` becomes `PAI_GATEWAY_PORT`). Credentials
are in no message and not in `shown`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

from reconciler.core.errors import WorkspaceError
from reconciler.providers import PROVIDERS
from reconciler.workspace import values
from reconciler.workspace.toml_file import TomlFile
from reconciler.workspace.values import Address, BadValue, Network, display


class Setting(NamedTuple):
    """One line of `pai.toml`. `name` is `section.key`; `check` gives the value in its final form or raises BadValue."""

    name: str
    default: str | int | bool
    check: Callable[[object], object]
    comment: str

    @property
    def section(self) -> str:
        """The section it stands in, which may be dotted."""
        return self.name.rpartition(".")[0]

    @property
    def variable(self) -> str:
        """The environment variable that overrides it."""
        return "PAI_" + self.name.replace(".", "_").upper()

    @property
    def field(self) -> str:
        """What it is called in `Settings`, which says the unit of a duration."""
        return self.name.replace(".", "_") + "_s" * (self.check is values.duration_s)


class Settings(NamedTuple):
    """The settings in force, checked. `shown` has every one by name as text without secrets, for the log.

    `base_urls` are those of the providers, by name; `webhooks` has the secret that each forge signs with, "" for none.
    `unknown` has an error for everything in `pai.toml` that was passed over.
    """

    source_repo: str
    source_branch: str
    source_path: str
    source_interval_s: float
    source_timeout_s: float
    source_max_transfer_bytes: int
    source_max_memory_bytes: int
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
    gateway_trusted_proxies: tuple[Network, ...]
    gateway_connect_timeout_s: float
    gateway_read_timeout_s: float
    gateway_head_timeout_s: float
    gateway_drain_timeout_s: float
    gateway_left_timeout_s: float
    admin_listen: Address
    admin_hosts: tuple[str, ...]
    admin_trusted_proxies: tuple[Network, ...]
    webhooks: Mapping[str, str]
    log_database: str
    log_password_secret_file: str
    node_name: str
    base_urls: Mapping[str, str]
    secrets_directory: str
    forge_kind: str
    forge_api_url: str
    forge_repo: str
    forge_secret: str
    shown: Mapping[str, str]
    unknown: tuple[WorkspaceError, ...]


_SENDERS = {
    "github": "GitHub",
    "gitlab": "GitLab",
    "gitea": "Gitea and Forgejo",
    "bitbucket": "Bitbucket",
    "generic": "anything else",
}
SETTINGS = (
    Setting(
        "source.repo",
        "config.git",
        values.repository,
        "The config repository: a path (from this folder; bare or with a work tree: commits count, uncommitted files "
        "do not) or an https or ssh URL (http only for this machine).",
    ),
    Setting("source.branch", "main", values.branch, "The branch whose tip comes into force."),
    Setting("source.path", ".", values.folder, "The folder inside the repository that holds manifests."),
    Setting("source.interval", "15s", values.duration_s, "How often a remote is polled: 500ms, 15s, 1m."),
    Setting(
        "source.timeout",
        "30s",
        values.duration_s,
        "How long one fetch from a remote, or one push to it, may take in all.",
    ),
    Setting("source.max_transfer_bytes", 1073741824, values.integer, "The largest pack that is taken from a remote."),
    Setting(
        "source.max_memory_bytes",
        67108864,
        values.integer,
        "What one git process may hold in memory for a remote or a client of /git/; large repositories need more.",
    ),
    Setting(
        "source.secret",
        "",
        values.secret,
        "The stored secret that a remote is spoken to with. https: its key token, or username and password; ssh: its "
        "keys ssh-key and known-hosts. Empty for none.",
    ),
    Setting(
        "source.ca_file",
        "",
        values.directory,
        "Certificates (PEM) of the authorities that an https remote may be signed by; empty for the system's own.",
    ),
    Setting(
        "source.push",
        False,
        values.boolean,
        "Whether Pai may push to a remote: commits of pai add, apply and delete to the branch, and checkpoints to "
        "refs/pai/checkpoints.",
    ),
    Setting(
        "source.rewrite",
        "accept",
        values.one_of("accept", "hold"),
        "What a force-push does: accept puts the new tip in force, hold keeps the last state until an operator says "
        "pai reconcile --accept-rewrite.",
    ),
    Setting(
        "source.require_signatures",
        "off",
        values.one_of("off", "head", "all"),
        "Whose signature a revision needs: off for none, head for the branch's tip, all for every commit since the "
        "revision in force.",
    ),
    Setting(
        "source.allowed_signers",
        "",
        values.directory,
        "A file of ssh keys that may sign, in the form of git's gpg.ssh.allowedSignersFile.",
    ),
    Setting("source.gnupg_home", "", values.directory, "A GnuPG folder whose public keys may sign; empty for none."),
    Setting("gateway.listen", "127.0.0.1:8000", values.address, "What agents talk to."),
    Setting(
        "gateway.default_max_output_tokens",
        16384,
        values.integer,
        "Put into a request that names no output limit and whose binding has a budget.",
    ),
    Setting(
        "gateway.hosts",
        "",
        values.hosts,
        "Names under which agents reach the gateway, with commas between; addresses and this machine's own names are "
        "known.",
    ),
    Setting(
        "gateway.trusted_proxies",
        "",
        values.networks,
        "Addresses and networks of reverse proxies in front of the gateway, with commas between; only theirs is "
        "X-Forwarded-For believed. Empty for none.",
    ),
    Setting(
        "gateway.connect_timeout", "10s", values.duration_s, "How long a provider may take to accept a connection."
    ),
    Setting(
        "gateway.read_timeout",
        "10m",
        values.duration_s,
        "The longest silence of a provider, before its answer begins and within it.",
    ),
    Setting(
        "gateway.head_timeout",
        "20s",
        values.duration_s,
        "How long a client of either port may take to send the head of a request, and the rest of one that was "
        "answered.",
    ),
    Setting(
        "gateway.drain_timeout",
        "30s",
        values.duration_s,
        "How long open requests may take to end when the daemon stops; what is open then is forfeited.",
    ),
    Setting(
        "gateway.left_timeout",
        "60s",
        values.duration_s,
        "How long an answer is read on, for what it cost, whose client has left.",
    ),
    Setting("admin.listen", "127.0.0.1:8001", values.address, "What people and tools talk to; never the agents' port."),
    Setting(
        "admin.hosts",
        "",
        values.hosts,
        "Names under which people, forges and tools reach it, with commas between; addresses and this machine's own "
        "names are known.",
    ),
    Setting(
        "admin.trusted_proxies",
        "",
        values.networks,
        "Addresses and networks of reverse proxies in front of it, as gateway.trusted_proxies.",
    ),
    *(
        Setting(
            f"webhooks.{forge}",
            "",
            values.secret_key,
            f"The stored secret, SECRET:KEY, that webhooks of {title} are signed with; empty for none: then there is "
            f"no /webhooks/{forge}.",
        )
        for forge, title in _SENDERS.items()
    ),
    Setting(
        "log.database",
        "sqlite:data/log.db",
        values.database,
        "The log: sqlite:PATH, or postgresql://USER@HOST/DATABASE.",
    ),
    Setting(
        "log.password_secret_file",
        "",
        values.directory,
        "A file with the password of the database's user; empty where the URL, PGPASSFILE or nothing has it.",
    ),
    Setting(
        "node.name",
        "",
        values.node,
        "What this machine is called on the log and in answers; empty for the host's name.",
    ),
    *(
        Setting(
            f"providers.{provider.name}.base_url",
            provider.origin,
            values.origin,
            f"Where {provider.title} is reached: the origin only.",
        )
        for provider in PROVIDERS.values()
    ),
    Setting(
        "secrets.directory",
        "",
        values.directory,
        "A folder of NAME/KEY files, as Kubernetes mounts secrets; empty for none. Secrets stored by `pai add secret` "
        "come first.",
    ),
    Setting(
        "forge.kind",
        "",
        values.forge,
        "Where each commit gets its status (in force, refused, superseded): github, gitlab or gitea (also Forgejo); "
        "empty for nowhere.",
    ),
    Setting(
        "forge.api_url",
        "",
        values.api,
        "Its API: https://api.github.com, https://HOST/api/v3 (GitHub Enterprise), https://HOST/api/v4 (GitLab) or "
        "https://HOST/api/v1 (Gitea).",
    ),
    Setting("forge.repo", "", values.text, "The repository there: OWNER/NAME, or GitLab's path or number."),
    Setting(
        "forge.secret",
        "",
        values.text,
        "The secret that holds the token, NAME or NAME:KEY (the key `token`); it may set commit statuses.",
    ),
)

OF_THE_HOOK = (
    "source.branch",
    "source.path",
    "source.require_signatures",
    "source.allowed_signers",
    "source.gnupg_home",
    "log.database",
    "log.password_secret_file",
)
"""What judging a push without a daemon depends on."""

_BY_NAME = {setting.name: setting for setting in SETTINGS}


def read_settings(
    data: bytes, path: Path, environment: Mapping[str, str], needed: Collection[str] | None = None
) -> Settings:
    """Read the bytes of `pai.toml` and the variables that override it.

    `path` is for messages. Raises WorkspaceError for the first value that is wrong; of settings that are not `needed`
    (None: all are) a wrong value is passed over and the default stands in its place.
    """
    source = TomlFile(data, path, _BY_NAME)
    found: dict[str, Any] = {}
    origins: dict[str, str] = {}
    given = source.settings()
    unknown = source.unknown
    for setting in SETTINGS:
        value: object = given.get(setting.name, setting.default)
        origin = source.place(setting.name)
        if setting.variable in environment:
            value, origin = environment[setting.variable], setting.variable
            if type(setting.default) is int and re.fullmatch(r"[0-9]{1,19}", value):
                value = int(value)
        try:
            found[setting.field] = setting.check(value)
        except BadValue as bad:
            wrong = WorkspaceError(f"{origin}: {setting.name} {bad}", bad.hint)
            if needed is None or setting.name in needed:
                raise wrong from None
            unknown.append(wrong)
            found[setting.field] = setting.check(setting.default)
        origins[setting.field] = origin
    shown = {s.name: _shown(s, found[s.field]) for s in SETTINGS}
    base_urls = {name: found.pop(f"providers_{name}_base_url") for name in PROVIDERS}
    webhooks = {forge: found.pop(f"webhooks_{forge}") for forge in _SENDERS}
    settings = Settings(**found, base_urls=base_urls, webhooks=webhooks, shown=shown, unknown=tuple(unknown))
    _check_signers(settings, origins)
    if needed is None:
        _check_listeners(settings, origins)
        _check_forge(settings, origins)
    return settings


def _shown(setting: Setting, value: object) -> str:
    if setting.check is values.repository:
        return display(str(value))
    if setting.check is values.database:
        return values.shown_database(str(value))
    if isinstance(value, tuple) and not isinstance(value, Address):
        return ", ".join(map(str, value))
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
        lines.append(f"{setting.name.rpartition('.')[2]} = {value}")
    return "\n".join(lines) + "\n"
