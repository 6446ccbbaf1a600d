"""Reading a large tree with the help of other processes says what reading it alone says, whatever becomes of them."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from reconciler import helped_reading
from reconciler.source.bare import init_bare
from reconciler.source.git import Author, Repository
from reconciler.verdict import Judge, TreeIndex
from tests.support import BAD, agent, binding

pytestmark = pytest.mark.usefixtures("quickly")

FILES = 60


@pytest.fixture
def tip(tmp_path: Path) -> str:
    """Make a repository of good, broken, repeated, ignored and foreign files; give its commit."""
    files = {f"m/{number:03}.yaml": binding(f"b{number}", number + 1) for number in range(FILES)}
    files |= {f"n/{number:03}.yml": agent(f"a{number}", f"b{number}") for number in range(FILES)}
    files |= {"n/bad.yaml": BAD, "n/huge.yaml": "#" * (1 << 20) + "\n#", "z/copy.yaml": files["n/059.yml"]}
    files |= {
        "a/copy.txt": files["n/059.yml"],
        "a/skipped.yaml": files["n/058.yml"],
        "z/..odd.yaml": files["m/000.yaml"],
    }
    files[".paiignore"] = "a/\n"
    init_bare(tmp_path / "config.git", "main")
    repository = Repository.open(tmp_path / "config.git")
    content = {path: text.encode() for path, text in files.items()}
    return repository.write("main", None, content, "all", Author("A", "a@example.com"))


@pytest.fixture
def alone(tip: str, tmp_path: Path) -> TreeIndex:
    """Read it with no help: it is too small."""
    return Judge(Repository.open(tmp_path / "config.git")).read(tip)


@pytest.fixture
def helped(monkeypatch: pytest.MonkeyPatch, alone: TreeIndex) -> list[int]:
    """From now on ask for help with small trees too; give the list of how many facts each helper gave."""
    assert len(alone.files) > FILES
    given: list[int] = []
    ask = helped_reading.ReadingHelper.facts

    def counted(helper: helped_reading.ReadingHelper, timeout_s: float) -> dict[str, helped_reading.Facts]:
        facts = ask(helper, timeout_s)
        given.append(len(facts))
        return facts

    monkeypatch.setattr(helped_reading.ReadingHelper, "facts", counted)
    monkeypatch.setattr(helped_reading, "HELPED_FROM", 2)
    monkeypatch.setattr(helped_reading, "HEAD_START", 0)
    monkeypatch.setattr(helped_reading, "_cpus", lambda: 3)
    return given


def test_helped_reading_gives_the_index_of_reading_alone(
    tmp_path: Path, tip: str, alone: TreeIndex, helped: list[int]
) -> None:
    """Two helpers read a third each, and the index is the same to its order."""
    judge = Judge(Repository.open(tmp_path / "config.git"))
    index = judge.read(tip)

    assert sorted(helped) == [39, 40], "the file that is too large is refused unread"
    assert index == alone
    assert list(index.files) == list(alone.files)


@pytest.mark.parametrize(
    "program",
    [
        "import os; os.kill(os.getpid(), 9)",
        "import time; time.sleep(600)",
        "print('no answer')",
        "from reconciler import helped_reading as it; it.VERSION = 'another'; it.help_reading()",
        helped_reading._HELPER + "; sys.exit(1)",
        "",
    ],
    ids=["killed", "hangs", "garbage", "replaced", "failed", "silent"],
)
def test_broken_helper_costs_time_and_nothing_else(
    program: str, tmp_path: Path, tip: str, alone: TreeIndex, helped: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a helper does not say is read by the process that asked."""
    monkeypatch.setattr(helped_reading, "_HELPER", program)
    monkeypatch.setattr(helped_reading, "HELPER_TIMEOUT_S", 0.5)

    assert Judge(Repository.open(tmp_path / "config.git")).read(tip) == alone
    assert helped == [0, 0]


def test_helper_that_cannot_start_is_done_without(
    tmp_path: Path, tip: str, alone: TreeIndex, helped: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No interpreter to start: everything is read here."""
    monkeypatch.setattr(sys, "executable", str(tmp_path / "gone"))

    assert Judge(Repository.open(tmp_path / "config.git")).read(tip) == alone
    assert helped == []


def test_helper_stops_at_an_unreadable_blob_and_is_believed_up_to_there(tmp_path: Path, tip: str) -> None:
    """A blob that the helper cannot read is left to the process that asked, with all after it."""
    repository = Repository.open(tmp_path / "config.git")
    oids = [entry.oid for entry in repository.entries(tip, "m")]
    helper = helped_reading.ReadingHelper(repository.path, [oids[0], oids[1], "0" * 40, oids[2]])
    try:
        assert list(helper.facts(30)) == oids[:2]
    finally:
        helper.close()


def test_objects_of_a_quarantine_are_read_without_help(tmp_path: Path, tip: str, helped: list[int]) -> None:
    """Other processes do not see what only this one was told of."""
    empty = tmp_path / "empty.git"
    init_bare(empty, "main")
    judge = Judge(Repository.open(empty, [os.fspath(tmp_path / "config.git" / "objects")]))

    assert len(judge.read(tip).files) > FILES
    assert helped == []


@pytest.mark.usefixtures("helped")
def test_unreadable_repository_leaves_no_process_behind(
    tmp_path: Path, tip: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If reading fails here, the helpers are ended."""
    monkeypatch.setattr(helped_reading, "_HELPER", "import time; time.sleep(600)")
    started: list[helped_reading.ReadingHelper] = []
    add = helped_reading.Helped.add
    monkeypatch.setattr(
        helped_reading.Helped, "add", lambda self, helper, *rest: (started.append(helper), add(self, helper, *rest))
    )
    repository = Repository.open(tmp_path / "config.git")
    first = next(entry.oid for entry in repository.entries(tip, "m"))
    (tmp_path / "config.git" / "objects" / first[:2] / first[2:]).unlink()

    with pytest.raises(helped_reading.SourceUnavailable):
        Judge(Repository.open(tmp_path / "config.git")).read(tip)

    assert [helper._process.returncode for helper in started] == [-9, -9]


class Counting(Repository):
    """A repository that tells which blobs were read by this process."""

    def blob(self, oid: str) -> bytes:
        """Give the content of a file."""
        blobs_read.append(oid)
        return super().blob(oid)


blobs_read: list[str] = []
LONG = "several words " * 10
DEAR = {
    "large.yaml": agent("large", "b0") + f"  x: [{','.join([LONG] * 600)}]\n",
    "dense.yaml": agent("dense", "b0") + f"  x: [{'a,' * 3000}]\n",
    "broken.yaml": "--- a\n" * 15_000,
}
USUAL = {
    "long.yaml": agent("long", "b0") + f"  x: [{','.join([LONG] * 300)}]\n",
    "vast.yaml": "x" * (1 << 20) + "\n",
    "skipped/dense.yaml": DEAR["dense.yaml"],
}
"""Too small, too large to be read at all, and not to be read."""


@pytest.mark.parametrize("whole", [True, False], ids=["tree", "changes"])
def test_process_that_serves_reads_no_dear_file_itself(tmp_path: Path, whole: bool) -> None:
    """A helper does, in a tree and in what changes of one; index and what counts as read are those of reading alone."""
    init_bare(tmp_path / "config.git", "main")
    repository = Counting.open(tmp_path / "config.git")
    files = {".paiignore": "skipped/\n", "b0.yaml": binding("b0")}
    first = repository.write("main", None, {p: t.encode() for p, t in files.items()}, "a", Author("A", "a@example.com"))
    changed = {p: t.encode() for p, t in (DEAR | USUAL).items()}
    tip = repository.write("main", first, changed, "b", Author("A", "a@example.com"))
    by_name = {entry.path: entry.oid for entry in repository.entries(tip)}
    alone, serving = Judge(repository), Judge(repository, serves=True)
    for judge in (alone, serving):
        if not whole:
            judge.read(first)
    index, before = alone.read(tip), len(blobs_read)

    assert serving.read(tip) == index
    here = blobs_read[before:]
    assert not {by_name["large.yaml"], by_name["broken.yaml"]} & set(here)
    assert here.count(by_name["dense.yaml"]) <= 1, "it is looked at, and read elsewhere"
    assert serving.size_read == alone.size_read
