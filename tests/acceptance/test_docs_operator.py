"""The pages for operators show what happens: their commands are run in order, on what each page assumes."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from tests.support import Git, Site, until
from tests.support_docs import DOCS, ROOT, Step, run_steps, steps

VOLATILE = (
    (re.compile(r"key-[a-z2-7]{12}"), "KEY"),
    (re.compile(r"127\.0\.0\.1:\d+"), "ADDRESS"),
    (re.compile(r"\b[0-9a-f]{40}\b|\b[0-9a-f]{7}\b"), "COMMIT"),
    (re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d"), "TIME"),
    (re.compile(r"^ *\d+(?=  TIME)", re.MULTILINE), "SEQ"),
    (re.compile(r" +$", re.MULTILINE), ""),
)
FIRST = "d1c5140"
"""The first revision, as docs/rollback.md calls it."""


def same(text: str) -> str:
    """Make equal what differs from run to run."""
    for pattern, word in VOLATILE:
        text = pattern.sub(word, text)
    return text.strip("\n")


def team_of(folder: Path) -> tuple[Site, Git]:
    """Make a workspace `team` in the folder, with the example manifests pushed to it from a clone."""
    site = Site(folder)
    site.root = folder / "team"
    site.pai("init", site.root)
    clone = site.clone("seed")
    shutil.copytree(ROOT / "manifests", clone.folder, dirs_exist_ok=True)
    clone.pushed({}, "Bindings for the team")
    return site, clone


def check(site: Site, folder: Path, page: str, replaced: dict[str, str], *, prepare: str = "", first: int = 0) -> None:
    """Run the page's commands from the number `first` on, with texts replaced, and compare what they print."""
    wanted = steps(DOCS / page)[first:]
    commands = [Step(step.command, []) for step in wanted]
    for old, new in replaced.items():
        commands = [Step(step.command.replace(old, new), []) for step in commands]
    environment = {**site.environment, "PAI_WORKSPACE": str(site.root)}
    outputs = run_steps(commands, folder, environment, prepare=prepare, then=then)
    for step, output in zip(wanted, outputs, strict=True):
        assert same(output) == same("\n".join(step.shown)), step.command


def then(step: Step) -> str:
    """Wait until a push is in force, as whoever looks at the log next does."""
    waits = "git push" in step.command and "Typo" not in step.command
    return "until pai log type:revision --limit 1 | grep -q Halve; do sleep 0.05; done\n" if waits else ""


def test_rollback_page_shows_what_its_commands_print(tmp_path: Path) -> None:
    """Every console command of docs/rollback.md, on a team whose second revision saved too much money."""
    site, clone = team_of(tmp_path)
    first = clone.head
    site.pai("reconcile")
    flash = clone.folder / "models" / "gemini-flash.yaml"
    flash.write_text(flash.read_text().replace("maxTokensPerDay: 1000000", "maxTokensPerDay: 100000"))
    clone("commit", "--quiet", "--all", "--author", "Carol <carol@example.com>", "-m", "Save money on gemini-flash")
    assert clone.push().code == 0
    site.pai("reconcile")

    check(site, clone.folder, "rollback.md", {FIRST: first[:7]})


def test_push_page_shows_what_its_commands_print(tmp_path: Path) -> None:
    """Every console command of docs/push.md, with a daemon that takes pushes."""
    site, seed = team_of(tmp_path)
    with site.daemon() as daemon:
        until("the first push", lambda: site.state().revision == seed.head)

        check(site, tmp_path, "push.md", {"127.0.0.1:8001": f"127.0.0.1:{daemon.port}"})


def test_webhooks_page_shows_what_its_commands_print(tmp_path: Path) -> None:
    """The delivery that docs/webhooks.md signs by hand is taken by a daemon whose secret was stored as it says."""
    site, _ = team_of(tmp_path)
    (tmp_path / "secret.txt").write_text("long and random\n")
    store = steps(DOCS / "webhooks.md")[0].command
    environment = {**site.environment, "PAI_WORKSPACE": str(site.root)}
    assert run_steps([Step(store, [])], tmp_path, environment) == ["secret/hooks created\n"]
    with site.daemon(env={"PAI_WEBHOOKS_GENERIC": "hooks"}) as daemon:
        check(site, tmp_path, "webhooks.md", {"127.0.0.1:8001": f"127.0.0.1:{daemon.port}"}, first=1)
