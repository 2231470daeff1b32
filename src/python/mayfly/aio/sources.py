"""Where the data of an upload comes from: what mayfly.sources has, and asynchronous iterators."""

from __future__ import annotations

import asyncio
from typing import AsyncIterable, Protocol

from mayfly import sources
from mayfly.sources import Data, SegmentBuffer

AsyncData = Data | AsyncIterable[bytes]


class AsyncSource(Protocol):
    """As Source."""

    size_bytes: int | None

    async def read(self, offset: int) -> bytes: ...

    def kept_segments(self) -> int: ...

    def forget_before(self, offset: int) -> None: ...

    def close(self) -> None: ...


class _OnThread:
    """Reads files and blocking iterators on a thread."""

    def __init__(self, source: sources.Source) -> None:
        self._source = source
        self.size_bytes = source.size_bytes

    async def read(self, offset: int) -> bytes:
        return await asyncio.to_thread(self._source.read, offset)

    def kept_segments(self) -> int:
        return self._source.kept_segments()

    def forget_before(self, offset: int) -> None:
        self._source.forget_before(offset)

    def close(self) -> None:
        self._source.close()


class _AsyncIteratorSource(SegmentBuffer):
    def __init__(self, pieces: AsyncIterable[bytes]) -> None:
        super().__init__()
        self._pieces = pieces.__aiter__()

    async def read(self, offset: int) -> bytes:
        while (segment := self.get(offset)) is None:
            piece = await anext(self._pieces, None)
            if piece is None:
                self.end()
            else:
                self.add(piece)
        return segment


def source_of(data: AsyncData) -> AsyncSource:
    if isinstance(data, AsyncIterable) and not hasattr(data, "read"):
        return _AsyncIteratorSource(data)
    return _OnThread(sources.source_of(data))  # type: ignore[arg-type]
