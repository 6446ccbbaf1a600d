"""`pai diff` as people and CI use it: in any clone, with its exit codes, and with hostile text in manifests."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support import BAD, PAI, Done, Git, Site, agent, binding, run
from tests.support_tokens import day, record, reserved, settled


@pytest.fixture
def clone(tmp_path: Path) -> Git:
    """Give a git repository that no workspace knows."""
    folder = tmp_path / "clone"
    folder.mkdir()
    git = Git(folder, Site(tmp_path).environment)
    git("init", "--quiet", "--initial-branch=main")
    return git


def diff(clone: Git, *words: str) -> Done:
    """Run `pai diff` in the clone."""
    return run([PAI, "diff", *words], clone.environment, clone.folder)


def test_diff_says_object_by_object_and_field_by_field_what_changes(clone: Git) -> None:
    """The text that a reviewer reads, whole."""
    clone.commit(
        {
            "models/flash.yaml": binding("flash", 1_000_000),
            "models/old.yaml": binding("old", 5),
            "models/far.yaml": binding("far", None),
            "agents.yaml": agent("coder", "flash", "far"),
        }
    )
    clone.commit(
        {
            "models/flash.yaml": binding("flash", 2_500_000),
            "models/old.yaml": None,
            "models/far.yaml": None,
            "models/near.yaml": binding("far", None),
            "models/new.yaml": binding("new", 40, provider="openai", model="gpt-4o"),
        }
    )
    done = diff(clone, "HEAD~1")
    assert (done.code, done.err) == (0, "")
    body, _, rest = done.out.partition("\nagents affected")
    assert body == EXPECTED
    agents, budgets, last = rest.split("\n\n")
    assert agents == ": 1\n    coder   flash"
    assert [re.split(r" {3,}", line) for line in budgets.splitlines()] == [
        ["budgets in tokens", "a day", "a year"],
        ["gemini", *(f"{before} and 1 unlimited -> {after}" for before, after in GEMINI)],
        ["openai", "0 -> 40 (+40)", "0 -> 14,600 (+14,600)"],
        ["all", *(f"{before} and 1 unlimited -> {after}" for before, after in ALL)],
    ]
    assert last == "1 created, 1 changed, 1 deleted, 1 moved\n"


EXPECTED = """\
> model far moved   models/far.yaml:1 -> models/near.yaml:1
~ model flash changed   models/flash.yaml:1
    maxTokensPerDay   1,000,000 -> 2,500,000   models/flash.yaml:8
+ model new created   models/new.yaml:1
    apiKeySecretRef   {name: gemini-key, key: api-key}   models/new.yaml:9
    maxTokensPerDay   40   models/new.yaml:8
    model             gpt-4o   models/new.yaml:7
    provider          openai   models/new.yaml:6
- model old deleted   models/old.yaml:1
    apiKeySecretRef   {name: gemini-key, key: api-key}   models/old.yaml:9
    maxTokensPerDay   5   models/old.yaml:8
    model             gemini-2.0-flash   models/old.yaml:7
    provider          gemini   models/old.yaml:6
"""
GEMINI = [
    ("1,000,005", "2,500,000 and 1 unlimited (+1,499,995)"),
    ("365,001,825", "912,500,000 and 1 unlimited (+547,498,175)"),
]
ALL = [
    ("1,000,005", "2,500,040 and 1 unlimited (+1,500,035)"),
    ("365,001,825", "912,514,600 and 1 unlimited (+547,512,775)"),
]


def test_json_has_the_promised_shape_and_no_more(clone: Git) -> None:
    """Numbers as numbers, kinds as manifests name them, absent values as null."""
    clone.commit({"a.yaml": binding("a", 1000)})
    clone.commit({"a.yaml": "# why\n" + binding("a", 2000), "b.yaml": agent("b", "a")})
    done = diff(clone, "HEAD~1", "HEAD", "-o", "json")
    assert done.json == {
        "changes": [
            {
                "kind": "ModelBinding",
                "name": "a",
                "change": "changed",
                "path": "a.yaml",
                "line": 2,
                "fields": [{"field": "maxTokensPerDay", "old": 1000, "new": 2000}],
            },
            {
                "kind": "AgentWorkload",
                "name": "b",
                "change": "created",
                "path": "b.yaml",
                "line": 1,
                "fields": [{"field": "modelBindings", "old": None, "new": ["a"]}],
            },
        ]
    }


def test_exit_codes(clone: Git) -> None:
    """0 and nothing to say, 1 if asked or if the head would be refused, 2 for usage, 3 for what is not there."""
    clone.commit({"a.yaml": binding("a", 1000)})
    clone.commit({"a.yaml": binding("a", 2000)})
    clone.commit({"bad.yaml": BAD})
    assert diff(clone, "HEAD~2", "HEAD~1").code == 0
    assert diff(clone, "HEAD~2", "HEAD~1", "--exit-code").code == 1
    assert diff(clone, "HEAD~2..HEAD~1", "--exit-code").code == 1
    same = diff(clone, "HEAD~1", "HEAD~1", "--exit-code")
    assert (same.code, same.out) == (0, "no object changes\n")
    refused = diff(clone, "HEAD~1")
    assert refused.code == 1
    assert "bad.yaml:8:3: error PAI2" in refused.err
    assert f"error: {clone.head[:7]} would be refused: 1 problem\n" in refused.err
    assert diff(clone).code == 2
    assert diff(clone, "HEAD~1..HEAD", "HEAD").code == 2
    missing = diff(clone, "no-such-branch")
    assert missing.code == 3
    assert missing.err.startswith("error: no commit 'no-such-branch' in ")
    outside = run([PAI, "diff", "HEAD"], clone.environment, clone.folder.parent)
    assert (outside.code, outside.err.splitlines()[1]) == (3, "hint: run it inside a clone")


@pytest.mark.parametrize("form", ["text", "json", "markdown"])
def test_base_that_would_be_refused_is_said_in_every_form(clone: Git, form: str) -> None:
    """JSON has no place for it, so it stands beside it."""
    clone.commit({"a.yaml": BAD})
    clone.commit({"a.yaml": binding("bad")})
    done = diff(clone, "HEAD~1", "-o", form)
    assert done.code == 0
    assert "would itself be refused (1 problem)" in (done.err if form == "json" else done.out)
    assert "created" in done.out


def test_three_dots_compare_with_the_fork(clone: Git) -> None:
    """What the base branch got since is not this change's doing."""
    clone.commit({"a.yaml": binding("a", 1000)})
    clone("branch", "feature")
    clone.commit({"b.yaml": binding("b", 1)})
    clone("checkout", "--quiet", "feature")
    clone.commit({"a.yaml": binding("a", 2000)})
    two, three = diff(clone, "main", "feature", "-o", "json").json, diff(clone, "main...", "-o", "json").json
    assert [change["name"] for change in two["changes"]] == ["a", "b"]
    assert [change["name"] for change in three["changes"]] == ["a"]


def test_shallow_clone_says_what_is_missing(clone: Git, tmp_path: Path) -> None:
    """CI clones one commit by default, and must be told how to get the other."""
    clone.commit({"a.yaml": binding("a", 1000)})
    base = clone.head
    clone.commit({"a.yaml": binding("a", 2000)})
    clone("clone", "--quiet", "--depth=1", f"file://{clone.folder}", str(tmp_path / "shallow"))
    shallow = Git(tmp_path / "shallow", clone.environment)
    done = diff(shallow, base)
    assert done.code == 3
    assert "hint: the clone is shallow: fetch the whole history (fetch-depth: 0, GIT_DEPTH: 0)" in done.err


def test_folder_of_the_manifests_is_an_option_or_the_setting(clone: Git) -> None:
    """Files outside of it are no manifests."""
    clone.commit({"llm/a.yaml": binding("a", 1000), "other.yaml": "x: y\n"})
    clone.commit({"llm/a.yaml": binding("a", 2000)})
    assert diff(clone, "HEAD~1").code == 1
    done = diff(clone, "HEAD~1", "--path", "llm", "-o", "json")
    assert (done.code, done.json["changes"][0]["path"]) == (0, "llm/a.yaml")
    clone.environment["PAI_SOURCE_PATH"] = "llm"
    assert diff(clone, "HEAD~1").code == 0


HOSTILE = """\
apiVersion: pai.io/v1
kind: AgentWorkload
metadata:
  name: a
  annotations:
    note: "</code>`` ` ``` @team [x](http://evil) <!-- pai-review --> ![](http://evil/x.png) \\e[2J\\n\\n# Title | x"
spec:
  modelBindings: [m]
  "*b*<img src=x>|\\u202e": 1
"""


def test_text_of_manifests_steers_no_terminal(clone: Git) -> None:
    """Escape sequences and reordering characters are shown, not sent."""
    clone.commit({"m.yaml": binding("m")})
    clone.commit({"a.yaml": HOSTILE})
    for form in ("text", "markdown"):
        out = diff(clone, "HEAD~1", "-o", form).out
        assert "\\x1b[2J\\n\\n# Title" in out
        assert not set(out) & set("\x1b\u202e")


def test_text_of_manifests_is_no_markup(clone: Git) -> None:
    """Whatever a manifest says stands inside code spans on its own line, and holds no comment's beginning."""
    clone.commit({"m.yaml": binding("m")})
    clone.commit({"a.yaml": HOSTILE, "@everyone.yaml": binding("e"), "`x`.yaml": binding("x")})
    out = diff(clone, "HEAD~1", "-o", "markdown").out
    (note,) = (line for line in out.splitlines() if "evil" in line)
    assert note.startswith("  - `metadata.annotations.note`: ````</code>`` ` ``` @team")
    assert note.count("````") == 2
    assert "<!--" not in out
    assert "`@everyone.yaml:1`" in out
    assert "`` `x`.yaml:1 ``" in out
    outside = [part for line in out.splitlines() for part in _outside_code(line)]
    assert not any(character in part for part in outside for character in "@<[")


def _outside_code(line: str) -> list[str]:
    """Give the parts of a line that are outside of code spans, as CommonMark reads them."""
    parts, at = [], 0
    while (start := line.find("`", at)) >= 0:
        parts.append(line[at:start])
        fence = line[start : start + len(line[start:]) - len(line[start:].lstrip("`"))]
        end = start + len(fence)
        while True:
            end = line.index("`", end)
            run_length = len(line[end:]) - len(line[end:].lstrip("`"))
            if run_length == len(fence):
                break
            end += run_length
        at = end + len(fence)
    return [*parts, line[at:]]


def test_refused_head_is_said_in_markdown(clone: Git) -> None:
    """The comment says what is wrong, and where."""
    clone.commit({"a.yaml": binding("a")})
    clone.commit({"bad.yaml": BAD})
    done = diff(clone, "HEAD~1", "-o", "markdown")
    assert done.code == 1
    assert "**Would be refused**: 1 problem" in done.out
    assert "- `bad.yaml:8:3` PAI" in done.out


def test_last_weeks_requests_are_replayed_against_the_proposed_limits(team: Site) -> None:
    """With a workspace at hand: on how many days it would have been exhausted, and since when."""
    spent = [
        draft
        for ago, tokens in ((9, 5000), (5, 900), (3, 2000), (2, 400))
        for number in range(2)
        for request in [f"r{ago}-{number}"]
        for draft in (
            reserved(request, on=day(ago), input=300, output=tokens - 300),
            settled(request, on=day(ago), input=300, output=tokens - 400),
        )
    ]
    record(team, *spent)
    clone = team.clone()
    (clone.folder / "models/flash.yaml").write_text(binding("flash", 1500))
    clone.commit({"agents/new.yaml": agent("new", "sonnet"), "models/later.yaml": binding("later", 5)})

    done = team.run("diff", "HEAD~1", cwd=clone.folder, env={"PAI_WORKSPACE": str(team.root)})
    assert (done.code, done.err) == (0, "")
    (line, *days) = done.out.partition("flash with 1,500")[2].splitlines()[:3]
    now = r"first at \d\d:\d\d UTC on \d{4}-\d\d-\d\d"  # the requests were recorded just now, for days before
    assert re.fullmatch(rf" tokens a day would have been exhausted on 2 of the last 7 days, {now}", line), done.out
    assert [re.sub(r"\d\d:\d\d", "HH:MM", each) for each in days] == [
        f"    {day(5)} at HH:MM UTC: 1 of 2 requests do not fit",
        f"    {day(3)} at HH:MM UTC: 2 of 2 requests do not fit",
    ]
    assert "new" not in done.out.partition("flash with 1,500")[2]
    assert "later with" not in done.out

    markdown = team.run("diff", "HEAD~1", "-o", "markdown", cwd=clone.folder, env={"PAI_WORKSPACE": str(team.root)})
    assert "would have been exhausted on 2 of the last 7 days" in markdown.out

    (clone.folder / "models/flash.yaml").write_text(binding("flash", 9000))
    clone.commit()
    enough = team.run("diff", "HEAD~1", cwd=clone.folder, env={"PAI_WORKSPACE": str(team.root)})
    assert f"would not have been exhausted in the last 7 days: at most 3,800 were used, on {day(3)}\n" in enough.out


def test_workspaces_repository_is_compared_where_there_is_no_clone(team: Site) -> None:
    """The same as `pai validate --rev`; and a clone's own revisions are found with -w too."""
    clone = team.clone()
    first = clone.head
    clone.pushed({"models/flash.yaml": binding("flash", 7)})
    done = team.pai("-w", team.root, "diff", first, "main", "-o", "json", cwd=team.folder)
    assert [change["name"] for change in done.json["changes"]] == ["flash"]
    clone.commit({"models/flash.yaml": binding("flash", 8)})
    local = team.pai("-w", team.root, "diff", "HEAD~1", clone.head, "-o", "json", cwd=clone.folder)
    assert local.json["changes"][0]["fields"] == [{"field": "maxTokensPerDay", "old": 7, "new": 8}]


def test_damaged_log_hides_no_verdict(team: Site) -> None:
    """The review is given all the same, and it is said why it lacks last week's use."""
    clone = team.clone()
    clone.commit({"models/flash.yaml": binding("flash", 7)})
    team.database.write_bytes(b"no database")
    done = team.run("diff", "HEAD~1", cwd=clone.folder, env={"PAI_WORKSPACE": str(team.root)})
    assert done.code == 0
    assert done.err.startswith("note: the log says nothing of last week's use: ")
    assert "~ model flash changed" in done.out
