"""One verdict: the hook, CI, the daemon and `pai apply` say the same of the same tree, byte for byte.

The trees are the corpus of good and bad files, in folders of a few, and what only a whole tree can do wrong. Each is a
commit, one after the other. A door is a way to ask about all of them; what `pai validate --rev` says is the measure.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest

from reconciler.core.diagnostics import Diagnostic, format_line
from reconciler.manifests.reading import read_manifests
from reconciler.manifests.rules import RULES
from tests.support import BAD, Git, Site, agent, binding, copied

CORPUS = Path(__file__).parent.parent / "unit" / "corpus"
A_TREE = 8
"""Files of the corpus in one tree."""
TRAILER = "Pai-Allow-Deletions: yes"
PAST_THE_HOOK = "--receive-pack=git -c core.hooksPath=/dev/null receive-pack"
FILE, LINK, MODULE = "100644", "120000", "160000"
Tree = dict[bytes, tuple[str, bytes]]
"""What lies at each path: mode, and content or commit."""


def text(files: dict[str, str]) -> Tree:
    """Give a tree of plain files."""
    return {path.encode(): (FILE, content.encode()) for path, content in files.items()}


def corpus(kind: str) -> Iterator[tuple[str, Tree]]:
    """Put the files of a part of the corpus into trees; no two good ones of a tree define the same name."""
    waiting = sorted((CORPUS / kind).glob("*.yaml"))
    number = 0
    while waiting:
        names: set[tuple[str, str]] = set()
        tree: Tree = {}
        for path in list(waiting):
            data = path.read_bytes()
            own = {(m.kind, m.name) for m in read_manifests(data).manifests}
            if len(tree) < A_TREE and (kind == "bad" or not own & names):
                tree[f"{kind}/{path.name}".encode()] = (FILE, data)
                names |= own
                waiting.remove(path)
        yield f"{kind}-{number}", tree
        number += 1


GOOD = text({"models/a.yaml": binding("a"), "agents/b.yaml": agent("b", "a")})
SPECIAL: dict[str, Tree] = {
    "nothing": {},
    "no-manifest": text({"README.md": "# Team\n"}),
    "good": GOOD,
    "warning": text({"a.yaml": binding("a", model="gemini-99")}),
    "duplicates": text({"a.yaml": binding("a"), "b/a.yml": binding("a"), "c.yaml": binding("a", "x")}),
    "missing": text({"agents/b.yaml": agent("b", "a", "nobody")}),
    "deleted-but-used": {b"agents/b.yaml": GOOD[b"agents/b.yaml"]},
    "link": {**GOOD, b"link.yaml": (LINK, b"models/a.yaml"), b"linked": (LINK, b"models")},
    "module": {**GOOD, b"vendor/tool": (MODULE, b"1" * 40)},
    "not-utf8": {**GOOD, b"latin.yaml": (FILE, binding("m").encode() + b"# caf\xe9\n")},
    "odd-paths": {
        path: (FILE, binding(f"m{number}").encode())
        for number, path in enumerate((b"caf\xe9.yaml", b"two\nlines.yaml", b"back\\slash.yaml", "ü/ä b.yaml".encode()))
    },
    "ignored": {**GOOD, b".paiignore": (FILE, b"charts/\n"), b"charts/x.yaml": (FILE, BAD.encode())},
    "ignore-too-long": {**GOOD, b".paiignore": (FILE, b"#" * 70_000)},
    "ignore-too-many": {**GOOD, b".paiignore": (FILE, b"x\n" * 1001)},
    "ignore-is-a-link": {b".paiignore": (LINK, b"models/a.yaml"), b"bad.yaml": (FILE, BAD.encode())},
    "dot-folders": {**GOOD, b".github/x.yaml": (FILE, BAD.encode()), b".dot.yaml": (FILE, BAD.encode())},
    "large": {**GOOD, b"large.yaml": (FILE, b"# " + b"x" * (1 << 20))},
    "inline-key": text({"a.yaml": f"{binding('a')}  token: sk-ant-api03-{'Qx7' * 30}\n"}),
    "many-problems": text({"many.yaml": "--- a\n" * 1500, "other.yaml": BAD}),
}
NOT_ON_DISK = {"module"}
"""A checkout of these is not the tree: git leaves an empty folder where a submodule was not fetched."""


def trees() -> dict[str, Tree]:
    """Give all trees by name, in the order of their commits."""
    return {**dict(corpus("bad")), **SPECIAL, **dict(corpus("good"))}


def stream(all_trees: dict[str, Tree]) -> bytes:
    """Write the commits as git's fast-import reads them."""
    message = f"Make a tree\n\n{TRAILER}\n".encode()
    parts = []
    for tree in all_trees.values():
        parts.append(b"commit refs/heads/main\ncommitter Bob <bob@example.com> 1700000000 +0000\n")
        parts.append(b"data %d\n%sdeleteall\n" % (len(message), message))
        for path, (mode, content) in tree.items():
            quoted = b'"%s"' % path.replace(b"\\", b"\\\\").replace(b"\n", b"\\n")
            if mode == MODULE:
                parts.append(b"M %s %s %s\n" % (mode.encode(), content, quoted))
            else:
                parts.append(b"M %s inline %s\ndata %d\n%s\n" % (mode.encode(), quoted, len(content), content))
    return b"".join(parts)


class Scene(NamedTuple):
    """A workspace with nothing in force, a clone whose branch holds the trees, their commits, what CI says of each."""

    site: Site
    clone: Git
    commits: dict[str, str]
    measure: dict[str, str]

    def other(self, folder: Path) -> Scene:
        """Give the same with a workspace of its own."""
        site = copied(self.site, folder)
        return self._replace(site=site, clone=Git(self.clone.folder, site.environment))

    def diagnostics(self, name: str) -> list[Diagnostic]:
        """Give what CI says of a tree as values."""
        return msgspec.convert(json.loads(self.measure[name])["diagnostics"], list[Diagnostic])

    def errors(self, name: str) -> list[str]:
        """Give the lines that refuse a tree."""
        return [format_line(d) for d in self.diagnostics(name) if d.severity == "error"]

    def push(self, commit: str, *options: str, url: str = "") -> str:
        """Push a commit as the branch, by path if no URL is given, and give what the other side said."""
        url = url or str(self.site.root / "config.git")
        said = self.clone.run("push", "--quiet", "--force", *options, url, f"{commit}:refs/heads/main").err
        lines = re.findall(r"^remote: ?(.*?) *$", said, re.MULTILINE)
        return "".join(f"{line}\n" for line in lines if line)


@pytest.fixture(scope="module")
def scene(empty_template: Site, tmp_path_factory: pytest.TempPathFactory) -> Scene:
    """Make the commits, and ask `pai validate --rev` about each."""
    site = copied(empty_template, tmp_path_factory.mktemp("verdict"))
    clone = site.clone()
    all_trees = trees()
    clone("fast-import", "--quiet", "--date-format=raw", stdin=stream(all_trees))
    commits = dict(zip(all_trees, clone("rev-list", "--reverse", "main").split(), strict=True))
    measure = {
        name: site.run("validate", "--rev", commit, "-o", "json", cwd=clone.folder).out
        for name, commit in commits.items()
    }
    return Scene(site, clone, commits, measure)


def staged(scene: Scene) -> Iterator[tuple[str, str, str]]:
    """Put each tree into the index; the work tree has nothing of it."""
    for name, commit in scene.commits.items():
        scene.clone("read-tree", commit)
        yield (
            name,
            scene.site.run("validate", "--staged", "-o", "json", cwd=scene.clone.folder).out,
            scene.measure[name],
        )


def checked_out(scene: Scene) -> Iterator[tuple[str, str, str]]:
    """Check each tree out and judge the files."""
    for name, commit in scene.commits.items():
        if name not in NOT_ON_DISK:
            scene.clone("checkout", "--quiet", "--force", "--detach", commit)
            scene.clone("clean", "--quiet", "-ffdx")
            said = scene.site.run("validate", "-o", "json", cwd=scene.clone.folder).out
            yield name, said, scene.measure[name]


def daemon_log(scene: Scene) -> Iterator[tuple[str, str, str]]:
    """Let all commits in at once, past the hook; the log, whose JSON is in order of names, has the outcome of each."""
    scene.push(list(scene.commits.values())[-1], PAST_THE_HOOK)
    scene.site.run("reconcile")
    events = {row["data"]["commit"]: row for row in scene.site.rows("type:revision")}
    for name, commit in scene.commits.items():
        data = events[commit]["data"]
        accepted = events[commit]["type"] == "revision.accepted.v1"
        told = [data["commit"], accepted, data.get("warnings" if accepted else "diagnostics", [])]
        wanted = [commit, not scene.errors(name), json.loads(scene.measure[name])["diagnostics"][:1000]]
        yield name, json.dumps(told, sort_keys=True), json.dumps(wanted, sort_keys=True)


def terminal(scene: Scene, name: str) -> str:
    """Give what the pusher of a tree has to read."""
    errors = scene.errors(name)
    shown = errors or [format_line(d) for d in scene.diagnostics(name)]
    more = [f"... and {len(shown) - 100:,} more"] if len(shown) > 100 else []
    end = [
        f"error: Pai refuses {scene.commits[name][:7]}: {len(errors)} problem{'s' * (len(errors) != 1)}",
        "hint: correct the places above and push again",
    ]
    return "".join(f"{line}\n" for line in [*shown[:100], *more, *(end if errors else [])])


def hook(scene: Scene, url: str = "") -> Iterator[tuple[str, str, str]]:
    """Push each tree as the branch, with the hook."""
    for name, commit in scene.commits.items():
        yield name, scene.push(commit, url=url), terminal(scene, name)


def hook_of_a_daemon(scene: Scene) -> Iterator[tuple[str, str, str]]:
    """Push each tree as the branch while a daemon runs, which the hook asks."""
    with scene.site.daemon():
        yield from hook(scene)


def smart_http(scene: Scene) -> Iterator[tuple[str, str, str]]:
    """Push each tree to the daemon over HTTP."""
    with scene.site.daemon() as daemon:
        token = (scene.site.root / "data" / "admin.token").read_text().strip()
        yield from hook(scene, f"http://git:{token}@127.0.0.1:{daemon.port}/git/config.git")


def apply(scene: Scene) -> Iterator[tuple[str, str, str]]:
    """Try to apply a manifest to each tree as the tip: what is wrong with the tip keeps it from being committed."""
    scene.push(list(scene.commits.values())[-1], PAST_THE_HOOK)
    end = [
        "error: the config repository would be refused, so nothing was committed",
        "hint: correct this first",
    ]
    for name, commit in scene.commits.items():
        scene.site.bare("update-ref", "refs/heads/main", commit)
        done = scene.site.run("apply", "--dry-run", "-f", "-", stdin=binding("applied"))
        errors = scene.errors(name)
        assert done.code == bool(errors), (name, done)
        yield name, done.err, "".join(f"{line}\n" for line in [*errors, *end]) if errors else ""


DOORS: list[Callable[[Scene], Iterator[tuple[str, str, str]]]] = [
    staged,
    checked_out,
    daemon_log,
    hook,
    hook_of_a_daemon,
    smart_http,
    apply,
]
"""Every way to a verdict. It yields a tree's name, what was said of it, and what has to be said by the measure."""


def test_trees_are_good_and_bad_and_break_nearly_every_rule(scene: Scene) -> None:
    """The comparison is worth something: many rules are broken, and some trees are accepted."""
    rules = {d.rule for name in scene.commits for d in scene.diagnostics(name)}
    assert {name for name in scene.commits if not scene.errors(name)} >= {
        "nothing", "no-manifest", "good", "warning", "ignored", "good-0",
    }  # fmt: skip
    assert RULES.keys() - rules == {"PAI303", "PAI305", "PAI351"}  # the guard and signatures have their own tests


@pytest.mark.parametrize("door", DOORS, ids=lambda door: door.__name__)
def test_door_says_what_ci_says(
    scene: Scene, tmp_path: Path, door: Callable[..., Iterator[tuple[str, str, str]]]
) -> None:
    """Of every tree, byte for byte."""
    asked = list(door(scene.other(tmp_path)))

    assert len(asked) >= len(scene.commits) - len(NOT_ON_DISK)
    for name, said, wanted in asked:
        assert said == wanted, name


def test_deletion_guard_is_the_same_wherever_something_is_in_force(team_of_five: Site) -> None:
    """CI knows of nothing in force; hook, daemon and `pai apply` refuse in the same words."""
    site, clone = team_of_five, Git(team_of_five.folder / "clone", team_of_five.environment)
    commit = clone.commit({f"m{number}.yaml": None for number in range(3)})
    assert site.pai("validate", "--rev", commit, cwd=clone.folder).err == "ok: 2 objects\n"
    hook_said = clone.push().err
    clone.run("push", "--quiet", PAST_THE_HOOK, "origin", "HEAD:main")
    applied = site.pai("apply", "--dry-run", "-f", "-", stdin=binding("m3", 7), code=1).err.splitlines()[0]
    (told,) = site.rows("type:revision.rejected")[-1]["data"]["diagnostics"]
    assert format_line(msgspec.convert(told, Diagnostic)) == applied
    assert applied.startswith(".:1:1: error PAI303 the revision deletes 3 of 5 objects")
    assert f"remote: {applied}" in hook_said


def test_log_keeps_the_errors_of_a_revision_with_many_warnings(site: Site) -> None:
    """An event lists a thousand problems; that which refuses the revision is among them, wherever it stands."""
    clone = site.clone()
    files = {f"m{number}.yaml": binding(f"m{number}", model="gemini-99") for number in range(1100)}
    clone.commit({**files, "z.yaml": BAD})
    clone.run("push", "--quiet", PAST_THE_HOOK, "origin", "HEAD:main")
    assert "z.yaml:8:3: error PAI209" in site.pai("reconcile", code=1).err
    (event,) = site.rows("type:revision.rejected")
    assert [d["severity"] for d in event["data"]["diagnostics"]] == ["warning"] * 999 + ["error"]
    assert event["data"]["omitted"] == 101


@pytest.fixture
def team_of_five(site: Site) -> Site:
    """Give a workspace with five models in force, and its clone."""
    site.clone().pushed({f"m{number}.yaml": binding(f"m{number}") for number in range(5)})
    site.pai("reconcile")
    return site
