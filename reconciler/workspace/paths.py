"""The workspace as a folder: how it is found, where everything in it lies, and how it is made.

Making it twice is safe: an existing file is never changed and an existing key never replaced; modes are repaired and
what is missing is added. `pai.toml` marks a workspace, so it is written last.

It opens neither the log nor the repository nor a secret, and makes none of them.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler import durable
from reconciler.core.errors import UsageError, WorkspaceError
from reconciler.log.url import is_address
from reconciler.workspace.settings import Settings, read_settings, template
from reconciler.workspace.values import display, is_remote

if TYPE_CHECKING:
    from reconciler.log.store import Log

CONFIG_NAME = "pai.toml"
MASTER_KEY_BYTES = 32
_INIT_HINT = "make one with: pai init"


class _InData:
    """A file or a folder in the private folder of a workspace."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, workspace: Workspace, _: type[Workspace]) -> Path:
        return workspace.data / self._name


class Workspace:
    """A workspace that was found: its folder (absolute) and its settings."""

    socket = _InData("pai.sock")
    """The daemon's control socket."""
    master_key = _InData("master.key")
    """The key that secrets are encrypted under."""
    secrets = _InData("secrets")
    """The folder of encrypted secrets."""
    signing_key = _InData("signing.key")
    """The private key of the log's checkpoints."""
    vkey = _InData("vkey")
    """The public key that verifies the log's checkpoints, in C2SP note notation."""
    checkpoint = _InData("checkpoint")
    """The newest checkpoint of the log that was signed, the workspace's own copy."""
    index_file = _InData("index.msgpack")
    """What was read of the config repository, kept for the hook and the next start; may be removed at any time."""
    forge_cursor = _InData("forge.cursor")
    """How far the log's outcomes were told to the forge."""
    admin_token = _InData("admin.token")
    """The token for the admin listener."""
    mirror = _InData("source.git")
    """The bare repository that follows a remote, where checkpoints are kept then."""

    def __init__(self, root: Path, settings: Settings) -> None:
        self.root = root
        self.settings = settings

    @classmethod
    def find(
        cls, explicit: Path | None = None, environment: Mapping[str, str] | None = None, cwd: Path | None = None
    ) -> Workspace:
        """Find the workspace: `explicit`, else PAI_WORKSPACE, else the nearest parent of `cwd` with pai.toml.

        Raises WorkspaceError if there is none, if nobody named it and it is another user's, or if its settings are
        wrong; UsageError for an address.
        """
        environment = os.environ if environment is None else environment
        return cls.open(_locate(explicit, environment, cwd), environment)

    @classmethod
    def open(
        cls, root: Path, environment: Mapping[str, str] | None = None, needed: Collection[str] | None = None
    ) -> Workspace:
        """Read the settings of the workspace in `root`; see `read_settings`. Raises WorkspaceError."""
        root = _absolute(root)
        config = root / CONFIG_NAME
        try:
            data = config.read_bytes()
        except OSError as error:
            raise WorkspaceError(f"{config} cannot be read: {error.strerror}", "check its owner and mode") from error
        return cls(root, read_settings(data, config, os.environ if environment is None else environment, needed))

    @classmethod
    def create(cls, root: Path, environment: Mapping[str, str] | None = None) -> Workspace:
        """Make a workspace in `root`, or complete one: settings, data folder, master key. Safe to run twice.

        Raises WorkspaceError if the folder cannot be made, existing settings are wrong, or the master key of stored
        secrets is lost.
        """
        root = _absolute(root)
        config, data = root / CONFIG_NAME, root / "data"
        _require_place(root)
        try:
            root.mkdir(parents=True, exist_ok=True)
            _make_private_folder(data)
            _make_private_folder(data / "secrets")
            _make_master_key(data / "master.key", data / "secrets")
            _repair_modes(data)
            durable.create(config, template().encode(), 0o644)
        except OSError as error:
            where = error.filename or root
            raise WorkspaceError(
                f"the workspace cannot be made: {where}: {error.strerror}", "check the folder's owner and mode"
            ) from error
        return cls.open(root, environment)

    @property
    def data(self) -> Path:
        """The private folder of everything that Pai keeps."""
        return self.root / "data"

    @property
    def log_file(self) -> Path | None:
        """The log's file, or None if it is in Postgres."""
        return self._log_file(self.settings.log_database)

    def _log_file(self, url: str) -> Path | None:
        return None if is_address(url) else self.root / url.removeprefix("sqlite:")

    @property
    def keeper(self) -> int:
        """The user whose daemon serves the workspace: the owner of `data`, unless others could have put that there."""
        folder = self.root.stat()
        with contextlib.suppress(OSError):
            if not folder.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
                return self.data.stat().st_uid
        return folder.st_uid

    def log(self, url: str = "") -> Log:
        """Give the log, or the one that another value of `log.database` names.

        What keeps it is imported here, since most commands that find a workspace open no log.
        """
        from reconciler.log.open import log_at, log_of

        file = self._log_file(url or self.settings.log_database)
        if file is not None:
            return log_at(file)
        folder = None if url else self.data  # whose one lock file is that of the log in use
        password = self.file(self.settings.log_password_secret_file)
        return log_of(url or self.settings.log_database, folder, password)

    @property
    def repository(self) -> Path | None:
        """The config repository's folder, or None if it is a URL."""
        repo = self.settings.source_repo
        return None if is_remote(repo) else self.root / Path(repo).expanduser()

    def local_repository(self) -> Path:
        """Give the folder where commits are read: the config repository, or the mirror of a remote one."""
        return self.repository or self.mirror

    def file(self, setting: str) -> Path | None:
        """Give the absolute path that a setting's value means, relative ones from this folder; None for ""."""
        return self.root / Path(setting).expanduser() if setting else None

    def without_places(self, text: str) -> str:
        """Write a message for who reads it elsewhere: files by their path in this folder, or by the setting's name."""
        settings = self.settings.shown.items()
        places = [(value, name) for name, value in settings if value.startswith("/") and value.strip("/")]
        if self.repository is not None:
            places.append((str(self.repository), "source.repo"))
        for root in {str(self.root), os.path.realpath(self.root)}:
            places += [(f"{root}/", ""), (root, "the workspace")]
        for place, name in sorted(places, key=lambda each: len(each[0]), reverse=True):
            text = text.replace(place, name)
        return text

    @property
    def secrets_directory(self) -> Path | None:
        """The folder of NAME/KEY files, or None if none is set."""
        return self.file(self.settings.secrets_directory)


def _absolute(path: Path) -> Path:
    return Path(os.path.abspath(require_folder_name(path).expanduser()))


def require_folder_name(path: Path) -> Path:
    """Give a folder's name back. Raises UsageError for a URL, from which the system would make folders."""
    if _ADDRESS.match(str(path)):
        typed = display(str(path).replace(":/", "://", 1))
        raise UsageError(
            f"{typed} is an address, and a folder is needed",
            "this version works on folders of this machine alone: run pai where that folder is",
        )
    return path


_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:(/|\Z)")
"""A Path has one slash there, however many were typed."""


def _locate(explicit: Path | None, environment: Mapping[str, str], cwd: Path | None) -> Path:
    variable = environment.get("PAI_WORKSPACE")
    named = explicit if explicit is not None or not variable else Path(variable)
    by = " (PAI_WORKSPACE)" if variable and named == Path(variable) else ""
    if named is not None:
        root = _absolute(named)
        if root.exists() and not root.is_dir():
            raise WorkspaceError(
                f"{named}{by} is a file, and a workspace is a folder", f"name its folder: {root.parent}"
            )
        if not os.path.lexists(root / CONFIG_NAME):
            raise WorkspaceError(f"{named}{by} is not a workspace: it has no {CONFIG_NAME}", f"{_INIT_HINT} {named}")
        return root
    try:
        start = _absolute(cwd or Path.cwd())
    except FileNotFoundError:
        raise WorkspaceError("the current folder no longer exists", "cd to another one") from None
    folder = nearest(start)
    if folder is not None:
        _require_own(folder)
        return folder
    raise WorkspaceError(
        f"no workspace here: neither {start} nor a folder above it has {CONFIG_NAME}",
        f"{_INIT_HINT}, or name one with --workspace DIR or PAI_WORKSPACE",
    )


def nearest(start: Path) -> Path | None:
    """Give the nearest folder from `start` up that has a pai.toml, None if there is none."""
    return next((folder for folder in (start, *start.parents) if (folder / CONFIG_NAME).is_file()), None)


def _require_own(root: Path) -> None:
    """See that a workspace that nobody named is no other user's: secrets are kept there, and sent to its daemon.

    As git has it for repositories, what root put there is anybody's, and root works under sudo for who called it too.
    Raises WorkspaceError.
    """
    trusted = {0, os.geteuid()}
    if os.geteuid() == 0 and os.environ.get("SUDO_UID", "").isdecimal():
        trusted.add(int(os.environ["SUDO_UID"]))
    for place in (root, root / CONFIG_NAME, root / "data"):
        with contextlib.suppress(FileNotFoundError):
            if place.lstat().st_uid not in trusted:  # no link is followed: whoever made it chose what it leads to
                raise WorkspaceError(
                    f"{root} is a workspace, and {place} belongs to another user",
                    f"if it is the one that you mean, name it: --workspace {root}",
                )


def _require_place(root: Path) -> None:
    """See that a workspace is not made out of a file, nor inside what another one or git keeps for itself.

    Raises WorkspaceError.
    """
    if root.exists() and not root.is_dir():
        raise WorkspaceError(
            f"{root} is a file, and a workspace is a folder", "name a folder, new or not: pai init DIR"
        )
    if (root / CONFIG_NAME).exists():
        return
    for folder in (root, *root.parents):
        if folder.name == "data" and (folder.parent / CONFIG_NAME).is_file():
            raise WorkspaceError(
                f"{root} lies in what the workspace {folder.parent} keeps", f"pai init {folder.parent}"
            )
        if all((folder / name).exists() for name in ("HEAD", "objects", "refs")):
            raise WorkspaceError(f"{root} lies in the git repository {folder}", "name a folder outside of it")


def hide_from_git(data: Path) -> None:
    """Keep a private folder out of a git repository around the workspace, where `git add --all` would take its keys."""
    durable.create(data / ".gitignore", b"*\n", 0o600)


def _make_private_folder(path: Path) -> None:
    path.mkdir(mode=0o700, exist_ok=True)
    _set_mode(path, 0o700)


def _make_master_key(path: Path, stored: Path) -> None:
    if os.path.lexists(path):
        return
    names = sorted(name for name in os.listdir(stored) if not name.startswith("."))
    if names:
        raise WorkspaceError(
            f"{path} is missing, and without it the stored secrets ({', '.join(names[:3])}) cannot be read",
            f"restore it from a backup, or remove {stored} and store the secrets again",
        )
    durable.create(path, os.urandom(MASTER_KEY_BYTES), 0o600)


def _repair_modes(data: Path) -> None:
    """Take from everybody else what lies directly in `data` and the stored secrets."""
    for folder in (data, data / "secrets"):
        with os.scandir(folder) as entries:
            for entry in entries:
                with contextlib.suppress(FileNotFoundError):  # a running daemon's files come and go
                    if entry.is_file(follow_symlinks=False):
                        _set_mode(Path(entry.path), 0o600)


def _set_mode(path: Path, mode: int) -> None:
    if stat.S_IMODE(path.stat().st_mode) != mode:
        path.chmod(mode)
