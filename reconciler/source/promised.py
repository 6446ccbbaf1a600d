"""What a partial clone was promised, brought for one command (git's Documentation/technical/partial-clone.txt).

Git itself fetches such objects whenever it misses one, by whatever the clone's configuration names: programs too. Here
only the address of the promising remote and the headers for it are taken from there; all else, such as credential
helpers and ssh, is what the user's own configuration says. The objects go to a folder that lives as long as the
process, and the clone stays as it is. Nothing is fetched for what nobody asked to be judged: `staging`, the daemon and
the hook tell that an object is missing.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pygit2

from reconciler.core.errors import SourceUnavailable
from reconciler.source import git_refusals
from reconciler.source.bare import init_bare
from reconciler.source.git import ObjectMissing, Repository, TreeEntry
from reconciler.source.gitrun import git
from reconciler.source.mapping import mapped
from reconciler.source.tree_walk import Wanted

TIMEOUT_S = 300
ROUNDS_MAX = 256
"""Fetches for the folders of one commit; nearly always one is enough."""
_PROTOCOLS = "http:https:ssh:git"
_OF_PUSHES = ("GIT_NAMESPACE", "GIT_QUARANTINE_PATH")
_OF_USERS = {"GIT_CONFIG", "GIT_CONFIG_PARAMETERS", "GIT_CONFIG_COUNT"}
"""Variables about one repository that git does not name as such, and variables named so that hold settings of users."""
_SETTINGS = {
    "core.hooksPath": os.devnull,
    "fetch.fsckObjects": "false",  # of parts of trees; the verdict looks at what it reads
    "fetch.negotiationAlgorithm": "noop",
    "gc.auto": "0",
    "maintenance.auto": "false",
}


def bring(repository: Repository, commits: Sequence[str], path: str, wanted: Wanted) -> None:
    """Make readable what a partial clone lacks of commits: all folders, and the files below `path` that are `wanted`.

    Does nothing for another repository, or if GIT_NO_LAZY_FETCH forbids it. Raises SourceUnavailable, CouldNotRun.
    """
    name = repository.promisor
    if not name or os.environ.get("GIT_NO_LAZY_FETCH", "0") not in ("0", "false", "no", "off", ""):
        return
    remote = _Remote(repository, name)
    missing: dict[str, None] = {}
    for commit in commits:
        for entry in _folders(repository, remote, commit, wanted):
            below = path == "." or entry.path.startswith(f"{path}/")
            if below and entry.kind == "file" and not repository.holds(entry.oid):
                missing[entry.oid] = None
    if missing:
        remote.fetch(missing)


def _folders(repository: Repository, remote: _Remote, commit: str, wanted: Wanted) -> list[TreeEntry]:
    for turn in range(ROUNDS_MAX):
        try:
            return list(repository.entries(commit, ".", wanted))
        except ObjectMissing as error:
            remote.fetch([error.oid] if turn else [repository.root(commit)])
    return []  # whoever reads them says what is missing


class _Remote:
    """The remote that promised what a clone lacks."""

    def __init__(self, repository: Repository, name: str) -> None:
        self._repository = repository
        self._name = name
        self._url = repository.configured(f"remote.{name}.url")
        self._beside: Path | None = None

    def fetch(self, oids: Iterable[str]) -> None:
        """Bring objects; of folders all that is below them but the files."""
        local = self._local()
        if local is None:
            self._run(oids)
        elif self._beside is None:
            self._beside = Repository.open(local).git_dir / "objects"
            self._repository.see(self._beside)

    def _local(self) -> Path | None:
        """Give the folder of a remote on this machine: its objects can be read, and no program runs for it."""
        parts = urlsplit(self._url)
        if parts.scheme == "file":
            return _repository_at(Path(unquote(parts.path)))
        if "://" in self._url or "::" in self._url or ":" in self._url.partition("/")[0] or not self._url:
            return None
        return _repository_at((self._repository.work_tree or self._repository.git_dir) / self._url)

    def _run(self, oids: Iterable[str]) -> None:
        beside = self._beside or self._prepared()
        settings = [word for key, value in _SETTINGS.items() for word in ("-c", f"{key}={value}")]
        words = ("--no-tags", "--no-write-fetch-head", "--recurse-submodules=no", "--filter=blob:none", "--stdin")
        local = {*git(["rev-parse", "--local-env-vars"], os.environ, TIMEOUT_S).stdout.decode().split(), *_OF_PUSHES}
        environment = {name: text for name, text in os.environ.items() if name not in local - _OF_USERS}
        environment.setdefault("GIT_ALLOW_PROTOCOL", _PROTOCOLS)
        command = [f"--git-dir={beside}", *settings, "fetch", "--quiet", "origin", *words]
        done = git(command, environment, TIMEOUT_S, given="".join(f"{oid}\n" for oid in oids).encode())
        if done.returncode:
            said = git_refusals.reason(done.stderr.decode("utf-8", "replace").replace(self._url, self._name))
            raise SourceUnavailable(
                f"{self._repository.path} is a partial clone, and what it lacks cannot be fetched: {said}",
                self._repository.hint_to_complete,
            )

    def _prepared(self) -> Path:
        """Make the place for what comes, with the address and the headers of the clone's remote and nothing else."""
        folder = Path(tempfile.mkdtemp(prefix="pai-promised-"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        init_bare(folder, "main")
        with mapped(folder):
            config = pygit2.Config(str(folder / "config"))
            config["remote.origin.url"] = self._url
            config["remote.origin.promisor"] = "true"
            config["remote.origin.partialclonefilter"] = "blob:none"
            for key, value in self._repository.all_configured():
                if key.startswith("http.") and key.endswith(".extraheader"):
                    config.set_multivar(key, "^$", value)
        self._beside = folder
        self._repository.see(folder / "objects")
        return folder


def _repository_at(place: Path) -> Path | None:
    """Find where git would look for a repository that is named by its path."""
    found = (place / ".git", place, place.with_name(f"{place.name}.git"))
    return next((each for each in found if (each / "HEAD").is_file() or each.is_file()), None)
