"""Payloads of any size to the server, a segment at a time, going on where a broken stream ended."""

from __future__ import annotations

import contextlib
from typing import AsyncIterator

from mayfly.aio.concurrency import Lock
from mayfly.aio.connection import AsyncConnection
from mayfly.aio.sources import AsyncData, AsyncSource, source_of
from mayfly.aio.streams import Answer
from mayfly.backoff import Backoff
from mayfly.contract import MESSAGE_DATA_BYTES_MAX, SEGMENT_BYTES
from mayfly.errors import Error, NotFound, TimedOut, Unavailable
from mayfly.sources import KEPT_SEGMENTS_MAX, Forgotten
from mayfly.transmission import Transmission
from mayfly.v1 import function_io_pb2 as pb


async def upload(
    connection: AsyncConnection, item: pb.InputItem | pb.OutputItem, source: AsyncSource
) -> None:
    """Puts `item` with the data of `source`."""
    transmission = Transmission(item, source.size_bytes)
    backoff = Backoff(connection.settings, connection.deadline())
    reading = Lock()
    while True:
        transmission.moved_on = False
        try:
            await _send(connection, _Requests(connection, transmission, source, reading))
            return
        except _SourceFailed as failed:
            raise failed.error from None
        except Error as error:
            if transmission.moved_on:
                backoff.progressed(connection.deadline())
            if not transmission.may_go_on(error):
                raise backoff.final(error) from None
            await connection.closing.sleep(backoff.pause_after(error))
        transmission.go_on_from(
            await _query_committed(connection, transmission, backoff.unavailable)
        )


class _SourceFailed(Exception):
    """`error` is that of the caller's source, which is not read again: it may be an Error too."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error


class _Requests:
    """The requests of one stream, which a thread or task of gRPC takes.

    That of an older stream may still be in `source` when this one begins; `reading` lets one in.
    """

    def __init__(
        self,
        connection: AsyncConnection,
        transmission: Transmission,
        source: AsyncSource,
        reading: Lock,
    ) -> None:
        self._connection = connection
        self._transmission = transmission
        self._source = source
        self._reading = reading
        self.source_error: Exception | None = None
        self.steps = 0
        self.in_source = False
        self.is_over = False

    async def iterate(self) -> AsyncIterator[pb.UploadRequest]:
        try:
            yield self._transmission.header()
            offset = self._transmission.committed_bytes
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
        async with self._reading:
            if self.is_over:
                return None
            if self._source.kept_segments() >= KEPT_SEGMENTS_MAX:
                committed_bytes = await _query_committed(self._connection, self._transmission)
                self._source.forget_before(committed_bytes)
            self.in_source = True
            try:
                data = await self._source.read(offset)
            except Forgotten:
                self._transmission.source_is_gone = True
                return None
            finally:
                self.in_source = False
            # Not by length: a segment that was committed in part is shorter.
            if not data:
                return self._transmission.finish(offset)
            return self._transmission.segment(offset, data)


async def _send(connection: AsyncConnection, requests: _Requests) -> None:
    try:
        async with connection.stub(large=True) as stub:
            answer = Answer(stub.Upload, requests.iterate())
            try:
                steps = -1
                while not await answer.wait(connection.settings.timeout):
                    # A source may take its time.
                    if requests.steps == steps and not requests.in_source:
                        raise TimedOut("no progress in time")
                    steps = requests.steps
                answer.check()
            finally:
                answer.cancel()
    except Error:
        if requests.source_error is not None:
            raise _SourceFailed(requests.source_error) from None
        raise
    finally:
        requests.is_over = True


async def _query_committed(
    connection: AsyncConnection, transmission: Transmission, unavailable: Unavailable | None = None
) -> int:
    """`unavailable` is the error of the stream before, if it was that."""
    backoff = Backoff(connection.settings, connection.deadline(), unavailable)
    try:
        response = await connection.invoke("QueryUpload", transmission.query(), backoff)
    except NotFound as error:
        if error.reason != "UPLOAD_UNKNOWN":
            raise
        return 0
    return int(response.committed_bytes)


@contextlib.asynccontextmanager
async def reading(data: AsyncData) -> AsyncIterator[tuple[bytes, AsyncSource | None]]:
    """The data of a put: the whole when it fits a message, otherwise its source, closed at the end."""
    if isinstance(data, (bytes, bytearray, memoryview)):
        if memoryview(data).nbytes <= MESSAGE_DATA_BYTES_MAX:
            yield bytes(data), None
            return
    source = source_of(data)
    try:
        head = await source.read(0)
        if len(head) < SEGMENT_BYTES or not await source.read(SEGMENT_BYTES):
            yield head, None
        else:
            yield b"", source
    finally:
        source.close()
