"""The lines of an upload, read on access from the file that the child process wrote: memory stays flat."""

from __future__ import annotations

import json
import weakref
from array import array
from collections.abc import Sequence
from typing import IO, overload

from certs.uploads.line import Line
from certs.uploads.sandbox.protocol import line_from_wire


class KeptLines(Sequence[Line]):
    """A sequence of lines in a file, which is closed with this object. For one thread at a time."""

    def __init__(self, file: IO[bytes], places: array[int]) -> None:
        self._file, self._places = file, places
        weakref.finalize(self, file.close)

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, at: int) -> Line: ...
    @overload
    def __getitem__(self, at: slice) -> list[Line]: ...
    def __getitem__(self, at: int | slice) -> Line | list[Line]:
        if isinstance(at, slice):
            return [self._read(place) for place in self._places[at]]
        return self._read(self._places[at])

    def _read(self, place: int) -> Line:
        self._file.seek(place)
        return line_from_wire(json.loads(self._file.readline()))
