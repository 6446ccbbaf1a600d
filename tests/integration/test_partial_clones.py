"""Partial clones: what they lack is brought for those who ask for a verdict, and by no program that a clone names."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

import pytest

from tests.support import PAI, Done, Git, Site, binding, run
from tests.support_remotes import HttpRemote, bare_remote, clone_of

A, B = "~ model a changed", "+ model b created"
FILTERS = ("blob:none", "tree:0", "blob:limit=10")


@pytest.fixture
def server(site: Site) -> Iterator[HttpRemote]:
    """Serve a repository with three commits over http, with filters."""
    remote = bare_remote(site.folder / "srv", site.environment)
    for key in ("uploadpack.allowFilter", "uploadpack.allowAnySHA1InWant"):
        remote("config", key, "true")
    work = clone_of(remote)
    work.commit({"models/a.yaml": binding("a", 1), "noise/n.bin": "1" * 50})
    work.commit({"models/a.yaml": binding("a", 2), "noise/n.bin": "2" * 50})
    work.pushed({"models/b.yaml": binding("b", 3)})
    with HttpRemote(remote.folder.parent, site.environment) as serving:
        yield serving


def cloned(site: Site, url: str, *words: str) -> Git:
    """Make a clone outside of the workspace."""
    Git(site.folder, site.environment)("clone", "--quiet", *words, url, "part")
    return Git(site.folder / "part", site.environment)


def pai(git: Git, *words: str, **variables: str) -> Done:
    """Run `pai` in the clone."""
    return run([PAI, *words], {**git.environment, **variables}, git.folder)


def files_of(git: Git) -> dict[str, int]:
    """Give what the clone holds, with the times of change."""
    return {str(path): path.stat().st_mtime_ns for path in git.folder.rglob("*")}


@pytest.mark.parametrize("where", ["http", "file", "path"])
@pytest.mark.parametrize("how", [["--bare"], [], ["--no-checkout"]], ids=["bare", "files", "no checkout"])
@pytest.mark.parametrize("spec", FILTERS)
def test_verbs_bring_what_a_partial_clone_lacks(
    site: Site, server: HttpRemote, spec: str, how: list[str], where: str
) -> None:
    """The verdict is that of a whole clone, and the clone is as it was."""
    path = server.folder / "team.git"
    url = {"http": f"{server.url}/team.git", "file": f"file://{path}", "path": f"file://{path}"}[where]
    git = cloned(site, url, f"--filter={spec}", *how)
    if where == "path":
        git("config", "remote.origin.url", "../srv/team")
    before = files_of(git)
    done = pai(git, "diff", "HEAD~2")
    assert (done.code, A in done.out, B in done.out) == (0, True, True), done
    done = pai(git, "validate", "--rev", "HEAD~1", *([] if "--bare" in how else ["models"]))
    assert (done.code, done.err) == (0, "ok: 1 object\n")
    words = ("--forge", "github", "--api-url", "https://127.0.0.1:1", "--repo", "a/b")
    assert B in pai(git, "review", "HEAD~1", *words).out
    assert files_of(git) == before


def test_headers_of_the_clone_are_sent_and_never_shown(site: Site, server: HttpRemote) -> None:
    """A CI's checkout keeps its token as a header in the clone; a wrong one is told without it."""
    git = cloned(site, f"{server.url}/team.git", "--filter=blob:none", "--bare")
    server.login = ("x", "canary-token")
    done = pai(git, "diff", "HEAD~1", GIT_TERMINAL_PROMPT="0")
    assert done.code == 3
    assert "is a partial clone, and what it lacks cannot be fetched" in done.err
    git("config", f"http.{server.url}/.extraheader", "Authorization: Basic eDpjYW5hcnktdG9rZW4=")
    assert B in pai(git, "diff", "HEAD~1").out
    git("config", "remote.origin.url", f"http://x:canary-token@127.0.0.1:{server.port}/nothing.git")
    done = pai(git, "diff", "HEAD~2")
    assert done.code == 3
    assert "canary-token" not in done.out + done.err


def test_no_program_that_the_clone_names_is_run(site: Site, server: HttpRemote) -> None:
    """Whoever unpacks a stranger's repository and asks for a verdict runs nothing of it."""
    git = cloned(site, f"{server.url}/team.git", "--filter=blob:none", "--bare")
    program = site.folder / "program"
    program.write_text(f'#!/bin/sh\ntouch "{site.folder}/ran"\nexit 1\n')
    program.chmod(0o755)
    for key in ("remote.origin.uploadpack", "core.sshCommand", "core.gitProxy", "core.askPass", "core.fsmonitor"):
        git("config", key, str(program))
    git("config", "credential.helper", f"!{program}")
    git("config", "core.hooksPath", str(site.folder))
    git("config", "remote.origin.vcs", "evil")
    for protocol in ("", "ext.", "file."):
        git("config", f"protocol.{protocol}allow", "always")
    server.login = ("x", "y")
    evil = cloned_evil(site, program)
    for url in (
        f"{server.url}/team.git",
        f"ext::{program}",
        f"{program}::x",
        "ssh://127.0.0.1:1/x",
        "git://127.0.0.1:1/x",
        str(evil.folder),
        f"file://{evil.folder}",
    ):
        git("config", "remote.origin.url", url)
        done = pai(git, "diff", "HEAD~1", GIT_TERMINAL_PROMPT="0", GIT_SSH_COMMAND="false")
        assert (done.code, done.out) == (3, ""), (url, done)
        assert "hint: " in done.err
    assert not (site.folder / "ran").exists()


def cloned_evil(site: Site, program: object) -> Git:
    """Make a repository that would have a git that serves it run a program."""
    Git(site.folder, site.environment)("init", "--quiet", "--bare", "evil.git")
    evil = Git(site.folder / "evil.git", site.environment)
    evil("config", "core.repositoryFormatVersion", "1")
    evil("config", "extensions.partialClone", "origin")
    evil("config", "remote.origin.url", str(site.folder / "srv" / "team.git"))
    evil("config", "remote.origin.uploadPack", str(program))
    evil("config", "uploadpack.packObjectsHook", str(program))
    return evil


def test_who_forbids_fetching_is_told_what_is_missing_and_how_to_get_it(site: Site, server: HttpRemote) -> None:
    """The same for a workspace whose source is a partial clone; the hint works when it is typed."""
    git = cloned(site, f"{server.url}/team.git", "--filter=blob:none", "--bare")
    done = pai(git, "diff", "HEAD~1", GIT_NO_LAZY_FETCH="1")
    assert done.code == 3
    site.environment["PAI_SOURCE_REPO"] = str(git.folder)
    source = site.pai("reconcile", code=3)
    for said in (done.err, source.err):
        assert "is missing\nhint: it is a partial clone; fetch the rest: git -C " in said
    typed = shlex.split(source.err[source.err.index("git -C") :])
    assert run(typed, site.environment, site.folder).code == 0
    site.pai("reconcile")
    assert site.state().revision == git("rev-parse", "main")
    assert B in pai(git, "diff", "HEAD~1", GIT_NO_LAZY_FETCH="1").out


def test_sparse_partial_clone_judges_what_is_staged_without_fetching(site: Site, server: HttpRemote) -> None:
    """What lies outside of the sparse checkout is promised, and no part of the verdict."""
    git = cloned(site, f"{server.url}/team.git", "--filter=blob:none", "--sparse")
    git("sparse-checkout", "set", "models")
    git.write({"models/c.yaml": binding("c")})
    git("add", ".")
    asked = len(server.seen)
    done = pai(git, "validate", "--staged")
    assert (done.code, done.err) == (0, "ok: 3 objects\n")
    assert len(server.seen) == asked


@pytest.mark.parametrize("name", ["origin", "--upload-pack=touch ran", "a\x1b[31m\nb"])
def test_partial_clone_of_an_older_git_is_one_too(site: Site, server: HttpRemote, name: str) -> None:
    """It names its remote by an extension; a name that is none gets nowhere, on no terminal and in no command."""
    git = cloned(site, f"{server.url}/team.git", "--filter=blob:none", "--bare")
    git("config", "core.repositoryFormatVersion", "1")
    git("config", "--unset", "remote.origin.promisor")
    git("config", "--unset", "remote.origin.partialclonefilter")
    git("config", "extensions.partialClone", "origin")
    if name == "origin":
        assert B in pai(git, "diff", "HEAD~1").out
        return
    text = (git.folder / "config").read_text()
    quoted = name.replace("\n", "\\n")
    (git.folder / "config").write_text(text.replace("partialClone = origin", f'partialClone = "{quoted}"'))
    done = pai(git, "diff", "HEAD~1")
    assert done.code == 3
    assert "\x1b" not in done.err
    assert "upload-pack" not in done.err.partition("hint: ")[2]
