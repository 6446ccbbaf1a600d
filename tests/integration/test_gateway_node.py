"""Which machine answered: told to whoever has a key, in every answer, and to nobody else."""

from __future__ import annotations

import socket
from pathlib import Path

from tests.support import Site
from tests.support_gateway import Bench, opened


def test_answers_name_the_machine_to_who_has_a_key(bench: Bench) -> None:
    """To answers and refusals alike; without a valid key there is no such header."""
    name = socket.gethostname()
    assert bench.ask("chat", "openai").headers["x-pai-node"] == name
    assert bench.ask("chat", "no-such-binding").headers["x-pai-node"] == name
    assert "x-pai-node" not in bench.ask("chat", "openai", key="pak_" + "A" * 43).headers
    (started,) = bench.site.rows("type:daemon.started")[-1:]
    assert started["subject"] == f"daemon/{name}"


def test_machine_is_called_as_the_setting_says(gateway_template: Site, tmp_path: Path) -> None:
    """In answers and on the log."""
    with opened(gateway_template, tmp_path, PAI_NODE_NAME="eu-1") as bench:
        assert bench.ask("chat", "openai").headers["x-pai-node"] == "eu-1"
        assert bench.site.rows("type:daemon.started")[-1]["subject"] == "daemon/eu-1"
