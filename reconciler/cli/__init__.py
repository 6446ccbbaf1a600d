"""The `pai` command line: one module a verb, found by `main`.

Commands live shortly, so what they import is a good part of the time that they take.
"""

from reconciler import quick

quick.command()
