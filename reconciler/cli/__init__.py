"""The `pai` command line: one module a verb, found by `main`.

Commands live shortly, so what they import is a good part of the time that they take. Three things are set here before
anything else is imported: the collector seldom runs, since commands keep what they make; at the end it looks at nothing
of that; and msgspec does without typing_extensions, which it takes if it is there and needs nothing of on this Python.
"""

import atexit
import gc
import sys

gc.set_threshold(100_000, 50, 50)
atexit.register(gc.freeze)

if "typing_extensions" not in sys.modules:
    sys.modules["typing_extensions"] = None  # type: ignore[assignment] # how Python says that it cannot be imported
    try:
        import msgspec  # noqa: F401
    finally:
        del sys.modules["typing_extensions"]
