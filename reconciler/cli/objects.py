"""What the verbs about the versions of one object share: `pai history` and `pai blame`."""

from __future__ import annotations

import argparse


def about_object(parser: argparse.ArgumentParser) -> None:
    """Declare which object is meant, and how it is shown."""
    parser.add_argument("kind", choices=("model", "agent"), metavar="model|agent")
    parser.add_argument("name", metavar="NAME")
    parser.add_argument("-o", "--output", choices=("table", "json"), default="table")
