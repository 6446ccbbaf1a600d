"""A push that is small on the wire and large as a tree is refused, with one verdict, and takes nothing from others.

Its cost is the pusher's: the hook judges it in its own process, whose memory is bounded too. What the daemon held
before stays as it was.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.core.diagnostics import SHOWN_MAX
from tests.acceptance.test_http_push import Served, refusal
from tests.support import PAI, Site, agent, binding, copied, run, until
from tests.support_bombs import BOMBS, Objects, deep, grid

GROWTH_BYTES_MAX = 100 * 1024 * 1024
TIP_GROWTH_BYTES_MAX = 30 * 1024 * 1024
JUDGE_BYTES_MAX = 250 * 1024 * 1024
"""What judging any push may take in a process of its own."""


@pytest.fixture(scope="module")
def served(team_template: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Give a workspace whose daemon takes pushes."""
    site = copied(team_template, tmp_path_factory.mktemp("bombs"))
    with site.daemon() as daemon:
        yield Served(site, daemon)


def most_memory(pid: int) -> int:
    """Give the most memory that a process has held since it was last asked for, in bytes."""
    status = Path(f"/proc/{pid}/status").read_text()
    peak = next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM:"))
    Path(f"/proc/{pid}/clear_refs").write_text("5")
    return peak


@pytest.mark.parametrize("name", BOMBS)
def test_bomb_is_refused_and_the_daemon_stays_as_it_was(served: Served, name: str) -> None:
    """The daemon grows by little, nothing comes into force, and file, HTTP and `pai validate` say the same."""
    site, pid = served.site, served.daemon.process.pid
    clone = site.clone(f"clone-{name}")
    tip = clone.head
    sha = Objects(clone).commit(BOMBS[name](Objects(clone)), tip)
    most_memory(pid)
    before = most_memory(pid)
    by_file = clone.run("push", "--quiet", "origin", f"{sha}:refs/heads/main")
    over_http = clone.run("push", "--quiet", served.url(served.first), f"{sha}:refs/heads/main")
    grown = most_memory(pid) - before
    assert by_file.code != 0
    assert refusal(by_file), by_file
    assert refusal(over_http) == refusal(by_file)
    assert grown < GROWTH_BYTES_MAX, f"{grown:,}"
    assert site.bare("rev-parse", "main") == tip
    limited = ["sh", "-c", f'ulimit -d {JUDGE_BYTES_MAX // 1024} && exec "$@"', "sh"]
    said = run([*limited, PAI, "validate", "--rev", sha], site.environment, clone.folder)
    assert said.code == 1, said.err
    errors = [line for line in said.out.splitlines() if ": error PAI" in line]
    shown = [line for line in refusal(by_file) if ": error PAI" in line]
    assert shown == errors[: len(shown)]
    assert len(shown) == min(len(errors), SHOWN_MAX)


def test_edit_that_says_too_much_is_refused_alike_by_all(site: Site) -> None:
    """Who judges the edits alone and who reads the whole tree refuse it at one place: hook, daemon, validate, apply."""
    with site.daemon(ready=False):
        clone = site.clone("clone-that-says-much")

        def said(length: int) -> dict[str, str]:
            return {f"much/{n:02}.yaml": f"{agent(f'much{n}', 'a')}  text: {'x' * length}\n" for n in range(17)}

        before = clone.commit({"much/a.yaml": binding("a"), **said(950_000)})
        assert clone.push().code == 0
        until("the much that it may be", lambda: site.state().revision == before)
        sha = clone.commit(said(1_000_000))
        by_file = clone.push()
        assert by_file.code != 0
        (line,) = [line for line in refusal(by_file) if ": error PAI115" in line]
        assert line.startswith("much/00.yaml:1:1:")
        assert "16,777,216 bytes" in line
        assert line in site.run("validate", "--rev", sha, cwd=clone.folder).out
        applied = site.run("apply", "-f", str(clone.folder / "much"))
        assert applied.code == 1
        assert "error PAI115 the revision's objects say more than 16,777,216 bytes" in applied.err
        clone.run(
            "push", "--quiet", "--receive-pack=git -c core.hooksPath=/dev/null receive-pack", "origin", "HEAD:main"
        )
        assert line in site.run("reconcile").err
        assert site.state().revision == before


def test_long_paths_of_what_is_no_manifest_are_nobodys_business(served: Served) -> None:
    """They are not judged, come in, and cost the daemon nothing either, when they come and when they go."""
    site, pid = served.site, served.daemon.process.pid
    clone = site.clone("clone-of-texts")
    objects = Objects(clone)
    most_memory(pid)
    before = most_memory(pid)
    bomb = objects.commit(deep(objects, grid(objects, b"x", b".txt")), clone.head, clone("rev-parse", "HEAD^{tree}"))
    assert clone.run("push", "--quiet", "origin", f"{bomb}:refs/heads/main").code == 0
    until("the push to be in force", lambda: site.state().revision == bomb)
    back = clone("commit-tree", "HEAD^{tree}", "-p", bomb, "-m", "back")
    assert clone.run("push", "--quiet", "origin", f"{back}:refs/heads/main").code == 0
    until("the way back to be in force", lambda: site.state().revision == back)
    assert most_memory(pid) - before < GROWTH_BYTES_MAX


def test_dense_tip_that_came_past_the_hook_leaves_the_daemon_as_it_was(served: Served) -> None:
    """As what is fetched from a remote does: the daemon judges it itself, and leaves the file to another process."""
    site, pid = served.site, served.daemon.process.pid
    clone = site.clone("clone-of-a-dense-tip")
    most_memory(pid)
    before = most_memory(pid)
    sha = clone.commit({"dense.yaml": agent("dense").rstrip() + f" [{','.join(['A'] * 500_000)}]\n"})
    clone.run("push", "--quiet", "--receive-pack=git -c core.hooksPath=/dev/null receive-pack", "origin", "HEAD:main")
    assert site.run("reconcile").code == 1
    (told,) = [row["data"] for row in site.rows("type:revision.rejected") if row["data"]["commit"] == sha]
    assert most_memory(pid) - before < TIP_GROWTH_BYTES_MAX
    said = json.loads(site.run("validate", "--rev", sha, "-o", "json", cwd=clone.folder).out)["diagnostics"]
    assert told["diagnostics"] == said[:1000]
