"""Payloads of any size to the server, a segment at a time, going on where a broken stream ended."""

from __future__ import annotations

import asyncio
from typing import Any, AsyncIterable, AsyncIterator

from mayfly.aio.connection import AsyncConnection
from mayfly.backoff import Backoff
from mayfly.errors import Error, NotFound, TimedOut
from mayfly.upload import (
    KEPT_SEGMENTS_MAX,
    Data,
    SegmentBuffer,
    Source,
    Transmission,
    source_of,
)
from mayfly.v1 import function_io_pb2 as pb

AsyncData = Data | AsyncIterable[bytes]


class _AsyncIteratorSource(SegmentBuffer):
    def __init__(self, pieces: AsyncIterable[bytes]) -> None:
        super().__init__()
        self._pieces = pieces.__aiter__()

    async def read_async(self, offset: int) -> bytes:
        while (segment := self.get(offset)) is None:
            piece = await anext(self._pieces, None)
            if piece is None:
                self.end()
            else:
                self.add(piece)
        return segment


class AsyncSource:
    """Any source; files and blocking iterators are read on a thread."""

    def __init__(self, data: AsyncData) -> None:
        self.source: Source | _AsyncIteratorSource
        if isinstance(data, AsyncIterable) and not hasattr(data, "read"):
            self.source = _AsyncIteratorSource(data)
        else:
            self.source = source_of(data)  # type: ignore[arg-type]

    async def read(self, offset: int) -> bytes:
        if isinstance(self.source, _AsyncIteratorSource):
            return await self.source.read_async(offset)
        return await asyncio.to_thread(self.source.read, offset)


class _Stream:
    """The requests of one stream, which a task of gRPC takes."""

    def __init__(
        self,
        upload: Transmission,
        source: AsyncSource,
        connection: AsyncConnection,
        reading: asyncio.Lock,
    ) -> None:
        self._upload = upload
        self._source = source
        self._connection = connection
        self._reading = reading
        self.source_error: Exception | None = None
        self.steps = 0
        self.in_source = False
        self.is_over = False

    async def requests(self) -> AsyncIterator[pb.UploadRequest]:
        try:
            yield self._upload.header()
            offset = self._upload.committed_bytes
            while (request := await self._next(offset)) is not None:
                self.steps += 1
                yield request
                if request.HasField("finish"):
                    return
                offset += len(request.segment.data)
        except Exception as error:
            self.source_error = error
            raise  # gRPC cancels the stream: what was sent must not look like the whole

    async def _next(self, offset: int) -> pb.UploadRequest | None:
        # A task of an older stream may still be in the source when this one begins.
        async with self._reading:
            if self.is_over:
                return None
            source = self._source.source
            if source.kept_segments() >= KEPT_SEGMENTS_MAX:
                source.forget_before(await _query_committed(self._upload, self._connection))
            self.in_source = True
            try:
                data = await self._source.read(offset)
            except LookupError:
                self._upload.source_is_gone = True
                return None
            finally:
                self.in_source = False
            return self._upload.segment(offset, data) if data else self._upload.finish(offset)


async def upload(
    connection: AsyncConnection, transmission: Transmission, source: AsyncSource
) -> None:
    backoff = Backoff(connection.settings, connection.deadline())
    reading = asyncio.Lock()
    while True:
        transmission.moved_on = False
        try:
            stream = _Stream(transmission, source, connection, reading)
            await _send(connection, stream)
            return
        except Error as error:
            if not transmission.may_go_on(error):
                raise
            if transmission.moved_on:
                backoff.progressed(connection.deadline())
            await asyncio.sleep(backoff.pause_after(error))
        transmission.go_on_from(await _query_committed(transmission, connection))


async def _send(connection: AsyncConnection, stream: _Stream) -> None:
    call: Any = None
    try:
        async with connection.stub(large=True) as stub:
            call = stub.Upload(stream.requests())
            steps = -1
            answer = asyncio.ensure_future(_answer(call))
            while not (await asyncio.wait([answer], timeout=connection.settings.timeout))[0]:
                # A source may take its time.
                if stream.steps == steps and not stream.in_source:
                    raise TimedOut("no progress in time")
                steps = stream.steps
            answer.result()
    except (Error, asyncio.CancelledError):
        if stream.source_error is not None:
            raise stream.source_error from None
        raise
    finally:
        stream.is_over = True
        if call is not None:
            call.cancel()


async def _answer(call: Any) -> Any:
    return await call


async def _query_committed(transmission: Transmission, connection: AsyncConnection) -> int:
    try:
        response = await connection.invoke(
            "QueryUpload", transmission.query(), connection.deadline()
        )
    except NotFound as error:
        if error.reason != "upload_unknown":
            raise
        return 0
    return int(response.committed_bytes)
