"""docs/audit.md shows what happens: its commands are run in order on the README's team, its SQL on the same log."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import socket
import sqlite3
from pathlib import Path

from reconciler.simulator import Simulator
from tests.support import Site
from tests.support_docs import DOCS, ROOT, Step, after, blocks, plain, run_steps, steps

PAGE = DOCS / "audit.md"
VOLATILE = (
    (re.compile(r"pai/[0-9a-f]{16}"), "ORIGIN"),
    (re.compile(r"req_[0-9A-Z]{26}"), "REQUEST"),
    (re.compile(r"\b[0-9a-f]{7}([0-9a-f]{33})?\b"), "COMMIT"),
    (re.compile(r"key-[a-z2-7]{12}"), "KEY"),
    (re.compile(r"\d{4}-\d\d-\d\d"), "DAY"),
    (re.compile(r"after \d+ ms"), "after N ms"),
)
PREPARE = """
pai init team >/dev/null
export PAI_WORKSPACE=$PWD/team
pai serve >/dev/null 2>serve.log &
until [ -S "$PAI_WORKSPACE/data/pai.sock" ]; do sleep 0.05; done
git clone -q team/config.git config 2>/dev/null && cp -R manifests/. config && cd config
git add . && git commit -qm "Bindings for the team" && git push -q origin HEAD:main
pai add secret gemini-key --from-literal api-key=not-a-real-key >/dev/null
until pai get agent my-agent >/dev/null 2>&1; do sleep 0.05; done
export PAI_KEY=$(pai add key my-agent 2>/dev/null)
eval "$(pai env my-agent)"
"""
AFTER_PUSH = "until pai get model gemini-flash 2>/dev/null | grep -q 500,000; do sleep 0.05; done\n"


def same(text: str, home: str) -> str:
    """Make equal what differs from run to run; columns may then differ in width."""
    return re.sub(r" {2,}", "  ", plain(text, home, VOLATILE))


def then(step: Step) -> str:
    """Wait until what was pushed is in force."""
    return AFTER_PUSH if "git push" in step.command else after(step)


def outputs(folder: Path) -> list[str]:
    """Run the page's commands and give what each printed."""
    shutil.copytree(ROOT / "manifests", folder / "manifests")
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    environment = {**Site(folder).environment, "PAI_ADMIN_LISTEN": address}
    wanted = [Step(step.command.replace("127.0.0.1:8001", address), step.shown) for step in steps(PAGE)]
    with Simulator(keys={"gemini": {"not-a-real-key"}}) as simulator:
        return run_steps(wanted, folder, {**environment, **simulator.environment}, prepare=PREPARE, then=then)


def answers(database: Path) -> list[list[str]]:
    """Run the page's SQL, read-only, and give its rows as sqlite3 prints them."""
    with contextlib.closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as db:
        queries = ["\n".join(lines) for lines in blocks(PAGE, "sql")]
        return [["|".join(map(str, row)) for row in db.execute(query)] for query in queries]


def test_audit_page_shows_what_its_commands_print(tmp_path: Path) -> None:
    """Every console command of docs/audit.md prints the lines below it, every SQL example the rows below it."""
    printed = outputs(tmp_path)

    wanted = steps(PAGE)
    assert len(printed) == len(wanted), printed
    for step, output in zip(wanted, printed, strict=True):
        shown = same("\n".join(step.shown), "/home/alice")
        assert same(output, str(tmp_path)) == shown, step.command
    found = answers(tmp_path / "team" / "data" / "log.db")
    assert [same("\n".join(rows), str(tmp_path)) for rows in found] == [
        same("\n".join(b), str(tmp_path)) for b in blocks(PAGE, "text")
    ]
    assert json.loads(printed[-3])["usage"]
