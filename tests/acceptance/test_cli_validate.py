"""`pai validate`: the hook's verdict on folders, files and commits, with no workspace needed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support import BAD, PAI, Git, Site, agent, binding, run


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Give an empty folder outside any workspace."""
    folder = tmp_path / "manifests"
    folder.mkdir()
    return folder


def write(folder: Path, **files: str) -> None:
    """Write files; `__` in a name stands for a slash."""
    for name, text in files.items():
        path = folder / (name.replace("__", "/") + ".yaml")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_good_folder_is_ok(tmp_path: Path, place: Path) -> None:
    """Exit 0, nothing on stdout, the number of objects on stderr; this folder is the default."""
    write(place, models__a=binding("a"), agents__b=agent("b", "a"))
    site = Site(tmp_path)
    done = site.pai("validate", cwd=place)
    assert (done.out, done.err) == ("", "ok: 2 objects\n")
    assert site.pai("validate", place, cwd=tmp_path).err == "ok: 2 objects\n"
    assert site.pai("validate", place, "-o", "json", cwd=tmp_path).json == {"diagnostics": []}


def test_every_problem_is_told_sorted_with_its_place(tmp_path: Path, place: Path) -> None:
    """Text is path:line:col: error RULE message, relative to the folder; all problems at once; exit 1."""
    write(place, models__bad=BAD, models__a=binding("a", "1_000"), agents__b=agent("b", "nobody"))
    lines = Site(tmp_path).pai("validate", place, code=1, cwd=tmp_path).out.splitlines()
    assert [line.partition(" ")[0] for line in lines] == [
        "agents/b.yaml:7:5:",
        "models/a.yaml:8:20:",
        "models/bad.yaml:8:3:",
    ]
    assert [line.split()[1:3] for line in lines] == [["error", "PAI302"], ["error", "PAI214"], ["error", "PAI209"]]


def test_json_has_the_contracts_shape(tmp_path: Path, place: Path) -> None:
    """{"diagnostics": [{path, line, column, severity, rule, message, hint, text}]} on stdout, nothing else."""
    write(place, bad=BAD)
    done = Site(tmp_path).pai("validate", place, "-o", "json", code=1, cwd=tmp_path)
    (found,) = done.json["diagnostics"]
    assert set(found) == {"path", "line", "column", "severity", "rule", "message", "hint", "text"}
    assert (found["path"], found["line"], found["column"]) == ("bad.yaml", 8, 3)
    assert (found["severity"], found["rule"], found["text"]) == ("error", "PAI209", "maxTokenPerDay")
    assert "maxTokensPerDay" in found["hint"]


def test_json_is_what_the_rejected_event_carries(site: Site) -> None:
    """The same array stands in revision.rejected."""
    (site.root / "config.git" / "hooks" / "pre-receive").unlink()
    clone = site.clone()
    sha = clone.pushed({"models/bad.yaml": BAD, "agents/b.yaml": agent("b", "x")})
    site.pai("reconcile", code=1)
    said = site.pai("validate", "-o", "json", code=1, cwd=clone.folder).json["diagnostics"]
    assert site.rows("type:revision.rejected")[0]["data"]["diagnostics"] == said
    by_commit = site.pai("validate", "--rev", sha, "-o", "json", code=1, cwd=clone.folder).json["diagnostics"]
    assert by_commit == said


def test_rev_judges_a_commit_and_not_the_files(tmp_path: Path, place: Path) -> None:
    """--rev takes any revision of the repository around this folder; uncommitted files do not count."""
    site = Site(tmp_path)
    git = Git(place, site.environment)
    git("init", "--quiet", "--initial-branch=main")
    git.commit({"a.yaml": binding("a")})
    bad = git.commit({"bad.yaml": BAD})
    git.write({"bad.yaml": binding("b"), "worse.yaml": BAD})
    assert "bad.yaml:8:3" in site.pai("validate", "--rev", "HEAD", cwd=place, code=1).out
    assert "bad.yaml:8:3" in site.pai("validate", "--rev", bad[:9], cwd=place, code=1).out
    assert site.pai("validate", "--rev", "HEAD~1", cwd=place).err == "ok: 1 object\n"
    assert "nowhere" in site.pai("validate", "--rev", "nowhere", cwd=place, code=1).err


@pytest.mark.parametrize("option", [["--rev", "HEAD"], ["--staged"]], ids=["rev", "staged"])
def test_path_beside_a_commit_is_the_folder_of_its_manifests(tmp_path: Path, place: Path, option: list[str]) -> None:
    """With --rev and --staged PATH is the source path, meant from here; a folder that is not there is no empty one."""
    site = Site(tmp_path)
    git = Git(place, site.environment)
    git("init", "--quiet", "--initial-branch=main")
    git.commit({"team/a.yaml": binding("a"), "team/.paiignore": "charts\n", "team/charts/x.yaml": BAD, "pod.yaml": BAD})
    assert "pod.yaml:8:3" in site.pai("validate", *option, cwd=place, code=1).out
    for path, cwd in (("team", place), (".", place / "team"), (place / "team", tmp_path / "manifests")):
        assert site.pai("validate", *option, path, cwd=cwd).err == "ok: 1 object\n"
    git.commit({"team/b.yaml": BAD})
    assert site.pai("validate", *option, "team", cwd=place, code=1).out.startswith("team/b.yaml:8:3: error PAI209")
    assert "no folder tema in" in site.pai("validate", *option, "tema", cwd=place, code=3).err
    assert "PAI115" in site.pai("validate", *option, "pod.yaml", cwd=place, code=1).out
    assert "not inside" in site.pai("validate", *option, tmp_path, cwd=place, code=2).err
    assert "one PATH" in site.pai("validate", *option, "team", "pod.yaml", cwd=place, code=2).err


def test_rev_in_a_workspace_is_the_config_repository(team: Site) -> None:
    """Outside a clone the workspace's own repository is meant, with its source path."""
    assert team.pai("-w", team.root, "validate", "--rev", "main", cwd=team.folder).err.startswith("ok: 3 objects")


def test_files_and_folders_are_judged_together(tmp_path: Path, place: Path) -> None:
    """Several paths are one revision: references across them hold, names used twice are found."""
    write(place, one__a=binding("a"), two__b=agent("b", "a"))
    site = Site(tmp_path)
    assert "PAI302" in site.pai("validate", "two", cwd=place, code=1).out
    site.pai("validate", "one", "two", cwd=place)
    site.pai("validate", "one/a.yaml", "two/b.yaml", cwd=place)
    (place / "again").mkdir()
    (place / "again" / "c.yaml").write_text(binding("a"))
    out = site.pai("validate", "one", "again", cwd=place, code=1).out
    assert "PAI301" in out
    assert "one/a.yaml" in out
    assert "again/c.yaml" in out
    assert "error:" in site.pai("validate", "no/such/path", cwd=place, code=3).err


def test_paiignore_and_dot_folders_are_skipped(tmp_path: Path, place: Path) -> None:
    """Gitignore syntax; a file named on the command line is judged all the same."""
    write(place, models__a=binding("a"), charts__values=BAD, dot=BAD)
    (place / ".github").mkdir()
    (place / "dot.yaml").rename(place / ".github" / "dot.yaml")
    (place / "notes.txt").write_text("no manifest")
    site = Site(tmp_path)
    assert "charts/values.yaml" in site.pai("validate", cwd=place, code=1).out
    (place / ".paiignore").write_text("# generated\ncharts/\n")
    assert site.pai("validate", cwd=place).err == "ok: 1 object\n"
    site.pai("validate", "charts/values.yaml", cwd=place, code=1)


@pytest.mark.parametrize("content", ["#" * 70_000, "x\n" * 1001], ids=["bytes", "patterns"])
def test_ignore_file_has_the_bounds_of_the_hook(tmp_path: Path, place: Path, content: str) -> None:
    """A `.paiignore` that is too long is refused with the same words on disk, in a commit and in the index."""
    site = Site(tmp_path)
    git = Git(place, site.environment)
    git("init", "--quiet", "--initial-branch=main")
    git.commit({".paiignore": content, "a.yaml": BAD})
    said = [site.pai("validate", *words, cwd=place, code=1).out for words in ([], ["--rev", "HEAD"], ["--staged"])]
    assert said[0].startswith(".paiignore:1:1: error PAI115 .paiignore has more than ")
    assert said[1:] == said[:1] * 2


def test_ignore_file_that_is_a_link_ignores_nothing(tmp_path: Path, place: Path) -> None:
    """A commit does not follow it either: it is refused as any link."""
    write(place, a=BAD)
    (tmp_path / "elsewhere").write_text("*.yaml\n")
    (place / ".paiignore").symlink_to(tmp_path / "elsewhere")
    rules = [line.split()[2] for line in Site(tmp_path).pai("validate", cwd=place, code=1).out.splitlines()]
    assert rules == ["PAI105", "PAI209"]


def test_repository_inside_is_refused_as_the_submodule_that_it_would_be(tmp_path: Path, place: Path) -> None:
    """Its files are not judged: a commit would not hold them."""
    write(place, a=binding("a"), vendor__tool__bad=BAD)
    site = Site(tmp_path)
    Git(place / "vendor" / "tool", site.environment)("init", "--quiet")
    assert site.pai("validate", cwd=place, code=1).out.startswith("vendor/tool:1:1: error PAI106")
    (place / ".paiignore").write_text("vendor\n")
    assert site.pai("validate", cwd=place).err == "ok: 1 object\n"
    assert "bad.yaml" in site.pai("validate", "vendor/tool", cwd=place, code=1).out


def test_file_above_this_folder_can_be_named(tmp_path: Path, place: Path) -> None:
    """Dots in what is typed are no part of the file's own path."""
    write(place, a=binding("a"))
    (place / "sub").mkdir()
    assert Site(tmp_path).pai("validate", "../a.yaml", cwd=place / "sub").err == "ok: 1 object\n"


def test_warnings_alone_exit_0(tmp_path: Path, place: Path) -> None:
    """A warning is printed and does not refuse."""
    write(place, a=binding("a", model="gemini-99"))
    done = Site(tmp_path).pai("validate", cwd=place)
    assert "warning PAI251" in done.out
    assert "1 warning" in done.err


def test_inline_key_is_masked(tmp_path: Path, place: Path) -> None:
    """The key that is complained of is not repeated, in neither format."""
    key = "sk-ant-api03-" + "Qx7" * 30
    write(place, a=binding("a") + f"  token: {key}\n")
    site = Site(tmp_path)
    for words in (["-o", "text"], ["-o", "json"]):
        done = site.pai("validate", *words, cwd=place, code=1)
        assert "PAI114" in done.out
        assert key not in done.out + done.err


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        (b"a: " + b"[" * 40_000, "PAI108"),
        (b"a: &a [x]\nb: &b [*a,*a]\n" + b"".join(b"c%d: [*b,*b]\n" % n for n in range(60)), "PAI109"),
        (b"\xff\xfe\x00", "PAI102"),
        (b"x: " + b"y" * (1 << 20), "PAI104"),
        (b"a: b\x00c\n", "PAI103"),
        (b"kind: [unclosed\n", "PAI101"),
        (b"a: 1\na: 2\n", "PAI110"),
        (b"a: !!python/object/apply:os.system [id]\n", "PAI111"),
    ],
    ids=["deep", "aliases", "not-utf8", "large", "nul", "syntax", "twice", "tag"],
)
def test_hostile_files_are_refused_quickly(tmp_path: Path, place: Path, content: bytes, rule: str) -> None:
    """Bombs and broken bytes end with a rule and a place, never with a crash."""
    (place / "x.yaml").write_bytes(content)
    done = Site(tmp_path).pai("validate", cwd=place, code=1)
    assert f" {rule} " in done.out, done.out[:2000]
    assert all(line.startswith("x.yaml:") for line in done.out.splitlines())


def test_links_and_special_files_do_not_hang(tmp_path: Path, place: Path) -> None:
    """A symbolic link is refused as in a push; a pipe, which git cannot hold, is passed over."""
    write(place, models__a=binding("a"))
    (place / "link.yaml").symlink_to("/etc/passwd")
    assert "link.yaml:1:1: error PAI105" in Site(tmp_path).pai("validate", cwd=place, code=1).out
    (place / "link.yaml").unlink()
    os.mkfifo(place / "pipe.yaml")
    assert Site(tmp_path).pai("validate", cwd=place).err == "ok: 1 object\n"


def test_same_verdict_as_the_hook(site: Site, place: Path) -> None:
    """What validate says of a folder is what the pusher of the same files reads."""
    files = {"models/bad.yaml": BAD, "agents/b.yaml": agent("b", "x", "x"), "c.yaml": "kind: Pod\n"}
    clone = site.clone()
    clone.commit(dict(files))
    for name, text in files.items():
        write(place, **{name.removesuffix(".yaml").replace("/", "__"): text})
    said = site.pai("validate", place, code=1).out.splitlines()
    pushed = clone.push().err
    assert len(said) >= 4
    for line in said:
        assert f"remote: {line}" in pushed


AS_ANYBODY = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-dac_override,-dac_read_search"]
"""Lets root be refused as others are; without it root reads everything."""


@pytest.mark.parametrize(
    ("closed", "mode", "said"),
    [
        (".", 0o311, "manifests"),
        ("models", 0, "manifests/models"),
        ("models", 0o444, "manifests/models/a.yaml"),
        ("models/a.yaml", 0, "manifests/models/a.yaml"),
        (".paiignore", 0, "manifests/.paiignore"),
    ],
    ids=["the-folder", "a-folder-in-it", "names-only", "a-file", "the-ignore-file"],
)
def test_what_cannot_be_read_is_never_ok(tmp_path: Path, place: Path, closed: str, mode: int, said: str) -> None:
    """Exit 3 and the path, instead of a verdict on the rest."""
    write(place, models__a=binding("a"), b=binding("b"))
    (place / ".paiignore").write_text("c.yaml\n")
    (place / closed).chmod(mode)
    before = AS_ANYBODY if os.geteuid() == 0 else []
    try:
        done = run([*before, PAI, "validate", str(place)], Site(tmp_path).environment, tmp_path)
    finally:
        (place / closed).chmod(0o755)
    assert done.code == 3, done
    assert done.out == ""
    assert done.err.startswith(f"error: cannot read {tmp_path / said}: Permission denied\nhint: ")


@pytest.mark.parametrize(
    "names",
    [
        ["a.yaml", "a.yaml"],
        ["a.yaml", "./a.yaml"],
        [".", "a.yaml"],
        ["a.yaml", "."],
        [".", "sub"],
        ["sub", "sub/../sub/b.yaml"],
        ["a.yaml", "link.yml"],
        ["sub", "linked"],
    ],
    ids=" ".join,
)
def test_what_is_named_twice_is_judged_once(tmp_path: Path, place: Path, names: list[str]) -> None:
    """However a file is named, it is no second definition of what it holds; other files still are."""
    write(place, a=binding("a"), sub__b=binding("b"))
    site = Site(tmp_path)
    if "link.yml" in names or "linked" in names:
        (place / "link.yml").symlink_to("a.yaml")
        (place / "linked").symlink_to("sub")
    site.pai("validate", *names, cwd=place)
    write(place, sub__copy=binding("b"), copy=binding("a"))
    assert "PAI301" in site.pai("validate", *names, "sub", "copy.yaml", "a.yaml", cwd=place, code=1).out
