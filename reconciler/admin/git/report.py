"""What git says became of one ref of a push: its report, read as it passes by on its way to the client.

The report is lines of pkt-line, inside the first band of a side band if the client asked for one (gitprotocol-pack(5)).
A client may also not have asked for a report; then nothing is known.
"""

from __future__ import annotations

from collections.abc import Iterator


class PushReport:
    """The report of a push that is read in pieces; no more than a line is kept."""

    def __init__(self, ref: str) -> None:
        self._ref = ref.encode("utf-8", "surrogateescape")
        self._outer = bytearray()
        self._inner = bytearray()
        self.moved: bool | None = None
        """Whether git moved the ref, None as long as it has not said so."""

    def hear(self, data: bytes) -> None:
        """Read the next piece of git's answer, whatever it is."""
        self._outer += data
        for line in _lines(self._outer):
            if line[:1] == b"\1":
                self._inner += line[1:]
                for inner in _lines(self._inner):
                    self._read(inner)
            else:
                self._read(line)

    def _read(self, line: bytes) -> None:
        word, _, rest = line.rstrip(b"\n").partition(b" ")
        if word == b"ok" and rest == self._ref:
            self.moved = True
        elif word == b"ng" and rest.partition(b" ")[0] == self._ref:
            self.moved = False


def _lines(data: bytearray) -> Iterator[bytes]:
    """Take all whole lines from the beginning of what was read; what is none at all is dropped."""
    while len(data) >= 4:
        try:
            size = max(4, int(data[:4], 16))
        except ValueError:
            data.clear()
            return
        if len(data) < size:
            return
        line = bytes(data[4:size])
        del data[:size]
        yield line
