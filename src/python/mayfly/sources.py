"""Where the data of an upload comes from: memory, a file or an iterator."""

from __future__ import annotations

import collections
import os
from typing import AbstractSet as Set
from typing import BinaryIO, Iterable, Mapping, Protocol

from mayfly import arguments
from mayfly.contract import SEGMENT_BYTES

# An iterator cannot be rewound, so its bytes are kept until the server has them.
KEPT_SEGMENTS_MAX = 32

Data = bytes | bytearray | memoryview | BinaryIO | os.PathLike[str] | Iterable[bytes]


class Forgotten(Exception):
    """What is to be read was forgotten, or the source is at another place. Not an error that a
    source of the caller's can raise."""


class Source(Protocol):
    """Where the segments of a payload come from."""

    size_bytes: int | None

    def read(self, offset: int) -> bytes:
        """The segment at `offset`, shorter than SEGMENT_BYTES at the end only."""

    def kept_segments(self) -> int:
        """How many it keeps because they could not be read again."""

    def forget_before(self, offset: int) -> None:
        """The server has these."""

    def close(self) -> None:
        """Nothing is read any more."""


class BytesSource:
    def __init__(self, data: bytes | bytearray | memoryview) -> None:
        view = memoryview(data)
        self._view = (view if view.c_contiguous else memoryview(bytes(view))).cast("B")
        self.size_bytes: int | None = len(self._view)

    def read(self, offset: int) -> bytes:
        return bytes(self._view[offset : offset + SEGMENT_BYTES])

    def kept_segments(self) -> int:
        return 0

    def forget_before(self, offset: int) -> None:
        pass

    def close(self) -> None:
        pass


class FileSource:
    """From where the file stands; it has to be seekable."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._start = file.tell()
        self.size_bytes: int | None = None

    def read(self, offset: int) -> bytes:
        self._file.seek(self._start + offset)
        return _read_fully(self._file)

    def kept_segments(self) -> int:
        return 0

    def forget_before(self, offset: int) -> None:
        pass

    def close(self) -> None:
        pass


class PathSource(FileSource):
    """The file of this name, which it opens and closes."""

    def __init__(self, path: os.PathLike[str]) -> None:
        self._own = open(path, "rb")
        super().__init__(self._own)

    def close(self) -> None:
        self._own.close()


class SegmentBuffer:
    """Makes segments of pieces of any size, and keeps them until they are forgotten."""

    def __init__(self) -> None:
        self.size_bytes: int | None = None
        self._kept: collections.deque[bytes] = collections.deque()
        self._kept_from = 0
        self._loose = bytearray()
        self._ended = False

    def add(self, piece: bytes) -> None:
        if not isinstance(piece, (bytes, bytearray, memoryview)):
            raise arguments.wrong_type("a piece of data", piece, arguments.BUFFER)
        self._loose += piece
        while len(self._loose) >= SEGMENT_BYTES:
            self._kept.append(bytes(self._loose[:SEGMENT_BYTES]))
            del self._loose[:SEGMENT_BYTES]

    def end(self) -> None:
        self._ended = True
        if self._loose:
            self._kept.append(bytes(self._loose))
            self._loose.clear()

    def get(self, offset: int) -> bytes | None:
        """None: there is not enough yet. Forgotten."""
        index, rest = divmod(offset - self._kept_from, SEGMENT_BYTES)
        if index < 0:
            raise Forgotten
        if index < len(self._kept):
            return self._kept[index][rest:]
        return b"" if self._ended else None

    def kept_segments(self) -> int:
        return len(self._kept)

    def forget_before(self, offset: int) -> None:
        while self._kept and self._kept_from + len(self._kept[0]) <= offset:
            self._kept_from += len(self._kept.popleft())

    def close(self) -> None:
        pass


class IteratorSource(SegmentBuffer):
    def __init__(self, pieces: Iterable[bytes]) -> None:
        super().__init__()
        self._pieces = iter(pieces)

    def read(self, offset: int) -> bytes:
        while (segment := self.get(offset)) is None:
            piece = next(self._pieces, None)
            if piece is None:
                self.end()
            else:
                self.add(piece)
        return segment


def source_of(data: Data) -> Source:
    if isinstance(data, (bytes, bytearray, memoryview)):
        return BytesSource(data)
    if isinstance(data, os.PathLike):
        return PathSource(data)
    if not hasattr(data, "read"):
        if isinstance(data, (str, Mapping, Set)) or not isinstance(data, Iterable):
            raise arguments.wrong_type("data", data, arguments.DATA)
        return IteratorSource(data)  # type: ignore[arg-type]
    seekable = getattr(data, "seekable", None)
    if seekable is not None and seekable():
        return FileSource(data)  # type: ignore[arg-type]
    file: BinaryIO = data  # type: ignore[assignment]
    return IteratorSource(iter(lambda: file.read(SEGMENT_BYTES), b""))


def _read_fully(file: BinaryIO) -> bytes:
    data = file.read(SEGMENT_BYTES)
    if not isinstance(data, bytes):
        raise arguments.wrong_type(
            "data read from the file", data, "bytes, of a file opened in binary mode"
        )
    while 0 < len(data) < SEGMENT_BYTES:
        more = file.read(SEGMENT_BYTES - len(data))
        if not more:
            break
        data += more
    return data
