"""Comparing two commits by what differs says what judging both in full says; and what is said is what happens."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from reconciler.review.compare import Comparison, _by_what_differs, compare, in_full
from reconciler.review.findings import review
from reconciler.source.bare import init_bare
from reconciler.source.git import Author, Repository
from reconciler.verdict import Judge
from tests.support import BAD, agent, binding

NAMES = ["a", "b", "c", "d"]
WARNED = binding("w", model="of-tomorrow")


class History:
    """A repository that is written commit by commit."""

    def __init__(self, folder: Path) -> None:
        init_bare(folder / "config.git", "main")
        self.repository = Repository.open(folder / "config.git")
        self.tip: str | None = None

    def commit(self, files: Mapping[str, str | None], message: str = "change") -> str:
        """Write files (None deletes) and give the commit."""
        return self.commit_bytes(
            {path: None if text is None else text.encode() for path, text in files.items()}, message
        )

    def commit_bytes(self, content: Mapping[str, bytes | None], message: str = "change") -> str:
        """Write files as bytes."""
        self.tip = self.repository.write("main", self.tip, content, message, Author("A", "a@example.com"))
        return self.tip


@pytest.fixture
def history(tmp_path: Path) -> History:
    """Give an empty repository."""
    return History(tmp_path)


def _said(comparison: Comparison) -> object:
    sides = [
        (
            side.commit,
            dict(side.objects),
            sorted(map(repr, [*comparison.common, *side.own])),
            side.diagnostics,
            side.accepted,
        )
        for side in (comparison.base, comparison.head)
    ]
    return sides, comparison.paths, comparison.unjudged, comparison.judged, review(comparison)


def _change(dice: random.Random, files: dict[str, str]) -> dict[str, str | None]:
    """Give a commit: mostly an edit that is fine, now and then anything."""
    if files and dice.random() < 0.7:
        path = dice.choice(sorted(files))
        pattern, new = dice.choice(
            [
                (r"PerDay: \d+", f"PerDay: {dice.randint(1, 99)}"),
                (r"model: .*", "model: " + dice.choice(["of-tomorrow", "gemini-2.0-flash"])),
                (r"  - .*", "  - " + dice.choice([*NAMES, "nobody"])),
                (r"^", "# a comment\n"),
                (r"name: (\w)$", dice.choice(["name: e", "nam: e"])),
            ]
        )
        return {path: re.sub(pattern, new, files[path], count=1, flags=re.MULTILINE)}
    name, path = dice.choice(NAMES), f"{dice.choice('xyz')}{dice.randint(0, 3)}/f.yaml"
    text = dice.choice([binding(name), agent(name, dice.choice(NAMES)), WARNED, BAD, "", None, "é: x", ".paiignore"])
    if text == ".paiignore":
        return {".paiignore": dice.choice(["x*\n", "y1\n", ""])}
    return {path: text} if text is not None or path in files else {"README.md": str(dice.random())}


@pytest.mark.parametrize("seed", range(4))
def test_quick_comparison_equals_judging_in_full(history: History, seed: int) -> None:
    """Over random histories, between any two commits near to each other, in both directions."""
    dice = random.Random(seed)  # noqa: S311
    start = {f"m/{name}.yaml": binding(name) for name in NAMES} | {f"n/{name}.yaml": agent(name, name) for name in "ab"}
    commits = [history.commit(start)]
    files, quick = dict(start), 0
    for _ in range(30):
        change = _change(dice, files) if dice.random() < 0.6 else {**dict.fromkeys(files, None), **start}
        commits.append(history.commit(change))
        files = {path: text for path, text in (files | change).items() if text is not None}
        base, head = commits[-1 - dice.randint(1, min(3, len(commits) - 1))], commits[-1]
        if dice.random() < 0.3:
            base, head = head, base
        whole = in_full(history.repository, ".", base, head)
        assert _said(compare(history.repository, ".", base, head)) == _said(whole)
        quick += _is_quick(history.repository, base, head)
    assert quick > 4, "hardly anything was quick"


CORPUS = sorted((Path(__file__).parents[1] / "unit" / "corpus").rglob("*.y*ml"))


def test_every_file_of_the_corpus_is_compared_as_judging_in_full_does(history: History) -> None:
    """As a file that did not change, that came, and that went, beside one that changed."""
    known: list[str] = []
    assert len(CORPUS) > 50
    for path in CORPUS:
        text = path.read_bytes()
        clear = history.commit(dict.fromkeys(known) | {"a.yaml": binding("a-name-of-its-own", 1)})
        known = ["z/corpus.yaml"]
        came = history.commit_bytes({"z/corpus.yaml": text, "a.yaml": binding("a-name-of-its-own", 2).encode()})
        stayed = history.commit({"a.yaml": binding("a-name-of-its-own", 3)})
        for base, head in ((clear, came), (came, stayed), (came, clear)):
            whole = in_full(history.repository, ".", base, head)
            assert _said(compare(history.repository, ".", base, head)) == _said(whole), path


def _is_quick(repository: Repository, base: str, head: str) -> bool:
    return _by_what_differs(Judge(repository), ".", base, head) is not None


@pytest.mark.parametrize(
    ("before", "after", "refused"),
    [
        ({"a.yaml": binding("a"), "u.yaml": BAD}, {"a.yaml": binding("a", 5)}, True),
        ({"a.yaml": binding("a"), "u.yaml": agent("u", "a")}, {"a.yaml": binding("b")}, True),
        ({"a.yaml": binding("a"), "u.yaml": binding("u")}, {"a.yaml": binding("u")}, True),
        ({"a.yaml": binding("a"), "u.yaml": agent("u", "a")}, {"b.yaml": binding("a"), "a.yaml": None}, False),
        ({f"{n}.yaml": binding(n) for n in NAMES}, dict.fromkeys(("a.yaml", "b.yaml", "c.yaml")), True),
    ],
    ids=["broken elsewhere", "still used", "twice", "moved", "mass deletion"],
)
def test_what_other_files_say_counts(
    history: History, before: Mapping[str, str], after: Mapping[str, str | None], refused: bool
) -> None:
    """A change is refused for what it does to files that it does not touch, and for those that were broken before."""
    base, head = history.commit(before), history.commit(after)
    assert review(compare(history.repository, ".", base, head)).refused is refused


def test_trailer_allows_mass_deletion(history: History) -> None:
    """As the hook does: with the trailer on the way, many may go."""
    base = history.commit({f"{name}.yaml": binding(name) for name in NAMES})
    head = history.commit(dict.fromkeys(("a.yaml", "b.yaml", "c.yaml")), "tidy up\n\nPai-Allow-Deletions: yes\n")
    found = review(compare(history.repository, ".", base, head))
    assert not found.refused
    assert [(c.name, c.change) for c in found.changes] == [("a", "deleted"), ("b", "deleted"), ("c", "deleted")]


def test_agents_and_budgets_of_files_that_did_not_change_are_counted(history: History) -> None:
    """Who is concerned, and the sums of each provider, over all files; labels concern nobody."""
    base = history.commit(
        {
            "m/a.yaml": binding("a", 100),
            "m/b.yaml": binding("b", None),
            "m/c.yaml": binding("c", 7, provider="openai", model="gpt-4o"),
            "n.yaml": agent("one", "b", "a") + "---\n" + agent("two", "c"),
        }
    )
    head = history.commit({"m/a.yaml": binding("a", 300)})
    labelled = history.commit({"m/a.yaml": binding("a", 300).replace("name: a", "name: a\n  labels:\n    x: y")})
    found = review(compare(history.repository, ".", base, head))
    assert found.agents == (("one", ("a",)),)
    assert found.budgets == (("gemini", (100, 1), (300, 1)), ("openai", (7, 0), (7, 0)))
    assert review(compare(history.repository, ".", head, labelled)).agents == ()


def test_ignoring_files_is_said_and_shows_what_goes(history: History) -> None:
    """Objects that vanish by an edited ignore file are deleted, whatever lies at their place."""
    files = {"m/a.yaml": binding("a"), "m/b.yaml": binding("b"), "n/c.yaml": binding("c"), "n/d.yaml": binding("d")}
    base, head = history.commit(files), history.commit({".paiignore": "n/d.yaml\n"})
    found = review(compare(history.repository, ".", base, head))
    assert found.notices == ("This change edits .paiignore. 1 file is no longer judged: n/d.yaml.",)
    assert [(c.name, c.change, c.unjudged) for c in found.changes] == [("d", "deleted", True)]
    back = review(compare(history.repository, ".", head, base))
    assert back.notices == ("This change edits .paiignore. 1 file is now judged: n/d.yaml.",)
    assert [(c.name, c.change) for c in back.changes] == [("d", "created")]


@pytest.mark.parametrize(
    "path",
    [
        ".github/workflows/pai.yml",
        ".gitlab-ci.yml",
        ".gitea/workflows/x.yaml",
        ".forgejo/workflows/x.yaml",
        ".gitea/CODEOWNERS",
        ".forgejo/CODEOWNERS",
    ],
)
def test_edited_ci_is_said(history: History, path: str) -> None:
    """Also where the manifests lie in a folder of their own."""
    base = history.commit({"llm/a.yaml": binding("a")})
    head = history.commit({path: "jobs: {}\n"})
    found = review(compare(history.repository, "llm", base, head))
    assert found.changes == ()
    assert found.notices == (
        f"This change edits {path}: what checks changes, or who must approve them, is itself changed.",
    )


def test_objects_in_files_that_the_head_broke_are_left_out(history: History) -> None:
    """Nobody knows what becomes of them, so they are neither deleted nor created."""
    base = history.commit({"a.yaml": binding("a"), "b.yaml": binding("b")})
    head = history.commit({"a.yaml": "{", "b.yaml": binding("b", 7)})
    found = review(compare(history.repository, ".", base, head))
    assert found.refused
    assert [(c.name, c.change) for c in found.changes] == [("b", "changed")]
    assert "1 object in files that the head has broken left out." in found.notices
    mended = review(compare(history.repository, ".", head, base))
    assert not mended.refused
    assert mended.notices[0].startswith(f"The base {head[:7]} would itself be refused (1 problem)")
    assert [(c.name, c.change) for c in mended.changes] == [("a", "created"), ("b", "changed")]


LARGE = binding("large", 900_000_000)


@pytest.mark.parametrize(
    ("base", "head", "changes"),
    [
        ({"l.yaml": LARGE.replace("900000000", '"900000000"')}, {"l.yaml": LARGE}, [("large", "created")]),
        ({"l.yaml": "kind: ["}, {"l.yaml": LARGE}, [("large", "created")]),
        ({"l.yaml": LARGE + "---\nkind: ["}, {"l.yaml": LARGE}, [("large", "created")]),
        ({"l.yaml": LARGE + "---\n" + BAD}, {"l.yaml": LARGE}, [("large", "created")]),
        ({"l.yaml": LARGE + "---\n" + BAD}, {"l.yaml": None, "new.yaml": LARGE}, [("large", "created")]),
        ({"a.yaml": agent("x", "large")}, {"l.yaml": LARGE}, [("large", "created"), ("x", "created")]),
        ({"a.yaml": binding("large", 5), "l.yaml": LARGE}, {"a.yaml": None}, [("large", "changed")]),
        (
            {".paiignore": "*\n" * 100_000, "l.yaml": LARGE},
            {".paiignore": None},
            [("keep", "created"), ("large", "created")],
        ),
    ],
    ids=["type", "syntax", "second", "field", "moved", "reference", "twice", "ignore"],
)
def test_nothing_of_the_head_is_left_out_where_the_base_is_broken(
    history: History, base: dict[str, str], head: dict[str, str | None], changes: list[tuple[str, str]]
) -> None:
    """What was in a broken file was not in force, so what the head has in its place is new, and its budget is shown."""
    before = history.commit({"keep.yaml": binding("keep")} | base)
    after = history.commit(head)
    found = review(compare(history.repository, ".", before, after))
    assert not found.refused
    assert [(c.name, c.change) for c in found.changes] == changes
    assert any(field.new == 900_000_000 for change in found.changes for field in change.fields)


def test_rename_is_seen_where_the_name_alone_changed(history: History) -> None:
    """A name is what budgets count by, so a rename is a new object; whoever reviews is told."""
    base, head = history.commit({"a.yaml": binding("a")}), history.commit({"a.yaml": binding("b")})
    found = review(compare(history.repository, ".", base, head))
    assert [(c.name, c.change, c.like) for c in found.changes] == [("a", "deleted", ""), ("b", "created", "a")]


def test_line_of_another_object_is_no_change(history: History) -> None:
    """A comment above is nothing to review; another file is."""
    base = history.commit({"a.yaml": binding("a")})
    same = history.commit({"a.yaml": "# why\n" + binding("a")})
    moved = history.commit({"a.yaml": None, "b.yaml": "# why\n" + binding("a")})
    assert review(compare(history.repository, ".", base, same)).changes == ()
    (change,) = review(compare(history.repository, ".", base, moved)).changes
    assert (change.change, change.path, change.line, change.was) == ("moved", "b.yaml", 2, "a.yaml:1")
