"""What is printed as YAML is read back as the same values, by Pai and by other readers."""

from __future__ import annotations

import json

import pytest
import yaml
from hypothesis import given, settings

from reconciler.cli.output import print_yaml
from reconciler.manifests.edit import load_documents
from tests.unit.test_manifests_edit import ODD_TEXTS, VALUES

NUMBERS = ["0o14", "1e3", "1E5", "+1e3", "1e-3", "1e+3", ".5", "5.", "0x1F", "1.", "-0", "00", "+.INF", ".NaN", "0b1"]


@settings(max_examples=60, deadline=None)
@given(VALUES)
def test_printed_yaml_is_read_back(value: object) -> None:
    """Whatever a manifest may hold."""
    assert_same({"value": value})


@pytest.mark.parametrize("text", [*ODD_TEXTS, *NUMBERS])
def test_text_that_looks_like_something_else_stays_text(text: str) -> None:
    """As a value, an item and a key."""
    assert_same({"value": text, "items": [text], "keys": {text: 1}})


def assert_same(value: dict[str, object]) -> None:
    """Print a value and read it back, by YAML 1.2 and by YAML 1.1."""
    capture = pytest.MonkeyPatch()
    printed: list[str] = []
    with capture.context() as patch:
        patch.setattr("reconciler.cli.output._shows_unicode", lambda: True)
        patch.setattr("sys.stdout.write", printed.append, raising=False)
        print_yaml(value)
    text = "".join(printed)
    assert json.dumps(load_documents(text.encode())[0].value) == json.dumps(value)
    assert repr(yaml.load(text, yaml.CSafeLoader)) == repr(value)
