"""A power cut at any moment: what a disk may hold then is put together from what a writer wrote and synced.

A writer runs under strace, which records every write, truncation, sync and removal of the log's files. A disk keeps
what was synced, and of the rest whatever it likes: an image takes a moment, everything up to the last sync of each
file, and a random part of what came after, some of it torn between sectors. Every image must hold all that had been
acknowledged at that moment, be sound, and take new events.

PAI_IMAGES sets how many images are made (default 300). Planted once: with `synchronous=NORMAL` in the store nine of ten
images lose acknowledged events, with callers answered before the commit all do.
"""

from __future__ import annotations

import os
import random
import re
import shutil
from pathlib import Path
from typing import NamedTuple

import pytest

from reconciler.log.sqlite.store import SqliteBackend
from reconciler.recorder import Recorder
from tests.integration.test_log_faults import assert_nothing_lost, run_writer
from tests.support_log import decide, new_log, secret

IMAGES = int(os.environ.get("PAI_IMAGES", "300"))
SECTOR = 512
FILES = ("log.db", "log.db-wal")
CALL = re.compile(
    r"""^\d+\s+(?:
        (?P<name>pwrite64|write|ftruncate|fdatasync|fsync)
        \(\d+<(?P<path>[^>]*)>(?:,\ "(?P<data>[^"]*)")?(?P<numbers>[^)]*)
      | (?P<unlink>unlink)\("(?P<gone>[^"]*)"
    )""",
    re.VERBOSE,
)
RESUMED = re.compile(r"^(\d+) +<\.\.\. (?:fdatasync|fsync) resumed>")


class Step(NamedTuple):
    """One thing that the writer did: to a file of the log, or ("ack") to those who wait for an answer."""

    call: str
    file: str
    offset: int = 0
    data: bytes = b""


class Recording(NamedTuple):
    """The files before, the acknowledgements before, and every step from then on."""

    files: dict[str, bytes]
    acknowledged: bytes
    steps: list[Step]


def plain(text: str) -> bytes:
    """Read what `strace -xx` writes."""
    return bytes.fromhex(text.replace("\\x", ""))


def steps_of(trace: Path) -> list[Step]:
    """Read the steps from a trace; a sync counts when it has returned."""
    steps: list[Step] = []
    syncing: dict[str, Step] = {}
    for line in trace.read_text().splitlines():
        if (resumed := RESUMED.match(line)) and resumed[1] in syncing:
            steps.append(syncing.pop(resumed[1]))
        if not (found := CALL.match(line)):
            continue
        file = Path(os.fsdecode(plain(found["path"] or found["gone"]))).name
        if file == "acks":
            steps.append(Step("ack", file, data=plain(found["data"])))
        elif file not in FILES:
            continue
        elif found["unlink"]:
            steps.append(Step("unlink", file))
        elif found["name"] in ("fdatasync", "fsync"):
            if line.endswith("<unfinished ...>"):
                syncing[line.split()[0]] = Step("sync", file)
            else:
                steps.append(Step("sync", file))
        else:
            offset = int(re.findall(r"\d+", found["numbers"])[-1])
            data = b"" if found["data"] is None else plain(found["data"])
            steps.append(Step("truncate" if found["name"] == "ftruncate" else "write", file, offset, data))
    return steps


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    """A writer that finds the WAL of a killed one, writes, and closes: recovery, commits and checkpoints."""
    folder = tmp_path_factory.mktemp("recorded")
    path, acks, trace = new_log(folder), folder / "acks", folder / "trace"
    kill = ("-e", "trace=pwrite64", "-e", "inject=pwrite64:signal=SIGKILL:when=90")
    run_writer(path, acks, 0, strace=("-o", "/dev/null", *kill))
    files = {name: (folder / name).read_bytes() for name in FILES}
    before = acks.read_bytes()
    assert before
    assert files["log.db-wal"]
    calls = "trace=pwrite64,write,ftruncate,fdatasync,fsync,unlink"
    assert run_writer(path, acks, 25, strace=("-y", "-xx", "-s", "70000", "-o", str(trace), "-e", calls)) == 0
    steps = steps_of(trace)
    assert {step.call for step in steps} == {"write", "truncate", "sync", "unlink", "ack"}
    assert before + b"".join(step.data for step in steps if step.call == "ack") == acks.read_bytes()
    return Recording(files, before, steps)


def apply(content: bytearray, step: Step, dice: random.Random, *, torn: bool) -> None:
    """Do to a file's content what a step did, or if it is torn, only to some of its sectors."""
    if step.call == "truncate":
        content.extend(bytes(max(0, step.offset - len(content))))
        del content[step.offset :]
        return
    content.extend(bytes(max(0, step.offset + len(step.data) - len(content))))
    at = step.offset
    while at < step.offset + len(step.data):
        end = min(step.offset + len(step.data), at // SECTOR * SECTOR + SECTOR)
        if not torn or dice.random() < 0.5:
            content[at:end] = step.data[at - step.offset : end - step.offset]
        at = end


def write_image(folder: Path, recording: Recording, moment: int, dice: random.Random) -> Path:
    """Write what a disk may hold after the first `moment` steps; give the log's path."""
    contents = {name: bytearray(data) for name, data in recording.files.items()}
    done = recording.steps[:moment]
    synced = {step.file: number for number, step in enumerate(done) if step.call == "sync"}
    acknowledged = recording.acknowledged
    for number, step in enumerate(done):
        sure = number < synced.get(step.file, -1)
        if step.call == "ack":
            acknowledged += step.data
        elif step.call == "sync" or not (sure or dice.random() < 0.5):
            continue
        elif step.call == "unlink":
            contents.pop(step.file, None)
        else:
            apply(contents[step.file], step, dice, torn=not sure and dice.random() < 0.2)
    folder.mkdir()
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    (folder / "acks").write_bytes(acknowledged)
    return folder / "log.db"


def moments(recording: Recording, count: int, dice: random.Random) -> list[int]:
    """Choose moments: half of them just after an acknowledgement, the others anywhere."""
    answered = [number + 1 for number, step in enumerate(recording.steps) if step.call == "ack"]
    return [dice.choice(answered) if n % 2 else dice.randrange(len(recording.steps) + 1) for n in range(count)]


def assert_image_is_whole(folder: Path, recording: Recording, moment: int, dice: random.Random) -> None:
    """Open an image as a reader and as a writer; everything that was acknowledged is there, and more can follow."""
    path = write_image(folder, recording, moment, dice)
    assert_nothing_lost(path, folder / "acks")
    with Recorder(SqliteBackend(path)) as recorder:
        recorder.record(decide(secret("after"), secret("after")))
    assert_nothing_lost(path, folder / "acks")
    shutil.rmtree(folder)


def test_power_cut_at_any_moment_loses_nothing_acknowledged(recording: Recording, tmp_path: Path) -> None:
    """Whatever the disk kept of what was not synced, the log is whole and has every acknowledged event."""
    dice = random.Random(os.environ.get("PAI_SEED", "20"))  # noqa: S311
    for number, moment in enumerate(moments(recording, IMAGES, dice)):
        assert_image_is_whole(tmp_path / str(number), recording, moment, dice)


def test_images_find_a_writer_that_does_not_sync(recording: Recording, tmp_path: Path) -> None:
    """The same images, had the WAL not been synced between acknowledgements, lose events: the test above can fail."""
    dice = random.Random(os.environ.get("PAI_SEED", "20"))  # noqa: S311
    steps = [step for step in recording.steps if (step.call, step.file) != ("sync", "log.db-wal")]
    careless = recording._replace(steps=steps)
    lost = 0
    for number, moment in enumerate(moments(careless, 20, dice)):
        try:
            assert_image_is_whole(tmp_path / str(number), careless, moment, dice)
        except Exception:
            lost += 1
    assert lost >= 5
