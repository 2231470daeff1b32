"""Payloads of any size to the server, a segment at a time, going on where a broken stream ended."""

from __future__ import annotations

import collections
import threading
import time
from typing import Any, BinaryIO, Iterable, Iterator, Protocol

from mayfly.backoff import Backoff
from mayfly.checksum import crc32c
from mayfly.connection import Connection
from mayfly.contract import SEGMENT_BYTES, new_token
from mayfly.errors import Error, InvalidArgument, NotFound, ProtocolError, TimedOut, Unavailable
from mayfly.v1 import function_io_pb2 as pb

# What an iterator gave cannot be asked for again, so it is kept until the server has it.
KEPT_SEGMENTS_MAX = 32

Data = bytes | bytearray | memoryview | BinaryIO | Iterable[bytes]


class Source(Protocol):
    """Where the segments of a payload come from."""

    size_bytes: int | None

    def read(self, offset: int) -> bytes:
        """The segment at `offset`, shorter than SEGMENT_BYTES at the end only."""

    def kept_segments(self) -> int:
        """How many it keeps because they could not be read again."""

    def forget_before(self, offset: int) -> None:
        """The server has these."""


class BytesSource:
    def __init__(self, data: bytes | bytearray | memoryview) -> None:
        self._view = memoryview(data).cast("B")
        self.size_bytes: int | None = len(self._view)

    def read(self, offset: int) -> bytes:
        return bytes(self._view[offset : offset + SEGMENT_BYTES])

    def kept_segments(self) -> int:
        return 0

    def forget_before(self, offset: int) -> None:
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
            raise InvalidArgument(f"the iterator gave {type(piece).__name__}, wanted are bytes")
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
        """None: there is not enough yet. LookupError: it was forgotten."""
        index, rest = divmod(offset - self._kept_from, SEGMENT_BYTES)
        if index < 0:
            raise LookupError
        if index < len(self._kept):
            return self._kept[index][rest:]
        return b"" if self._ended else None

    def kept_segments(self) -> int:
        return len(self._kept)

    def forget_before(self, offset: int) -> None:
        while self._kept and self._kept_from + len(self._kept[0]) <= offset:
            self._kept_from += len(self._kept.popleft())


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
    if not hasattr(data, "read"):
        if isinstance(data, str):
            raise InvalidArgument("data is str, wanted are bytes, a binary file or an iterator")
        return IteratorSource(data)
    seekable = getattr(data, "seekable", None)
    if seekable is not None and seekable():
        return FileSource(data)  # type: ignore[arg-type]
    file: BinaryIO = data  # type: ignore[assignment]
    return IteratorSource(iter(lambda: file.read(SEGMENT_BYTES), b""))


def _read_fully(file: BinaryIO) -> bytes:
    data = file.read(SEGMENT_BYTES)
    if not isinstance(data, bytes):
        raise InvalidArgument("the file reads text, wanted is one that was opened in binary mode")
    while 0 < len(data) < SEGMENT_BYTES:
        more = file.read(SEGMENT_BYTES - len(data))
        if not more:
            break
        data += more
    return data


class Transmission:
    """One upload, over all streams it takes. No I/O. `item` is what is put, without data."""

    def __init__(self, item: pb.InputItem | pb.OutputItem, source: Source | SegmentBuffer) -> None:
        self.source = source
        self.committed_bytes = 0  # where the next stream begins
        self.moved_on = False  # since this was last set to False
        self._upload_id = new_token()
        self._item = item
        self._item.payload.ClearField("crc32c")
        self._crc32c_before = [0]  # of all before a segment; one more than were read
        self._size_bytes = source.size_bytes
        self._whole_was_read = False
        # The segment that cannot be had any more: only an upload that is complete goes on.
        self.source_is_gone = False

    def header(self) -> pb.UploadRequest:
        header = pb.UploadHeader(upload_id=self._upload_id, offset_bytes=self.committed_bytes)
        if isinstance(self._item, pb.InputItem):
            header.input.CopyFrom(self._item)
        else:
            header.output.CopyFrom(self._item)
        if self._size_bytes is not None:
            header.size_bytes = self._size_bytes
        if self._whole_was_read:
            # A payload whose answer was lost is recognised before it is sent again.
            is_input = isinstance(self._item, pb.InputItem)
            payload = header.input.payload if is_input else header.output.payload
            payload.crc32c = self._crc32c_before[-1]
        return pb.UploadRequest(header=header)

    def segment(self, offset: int, data: bytes) -> pb.UploadRequest:
        """InvalidArgument: the source reads otherwise than before."""
        index = offset // SEGMENT_BYTES
        checksum = crc32c(data, self._crc32c_before[index])
        if len(self._crc32c_before) == index + 1:
            self._crc32c_before.append(checksum)
        elif self._crc32c_before[index + 1] != checksum:
            raise InvalidArgument(f"the source reads otherwise than before at {offset} bytes")
        self.moved_on = True
        return pb.UploadRequest(segment=pb.UploadSegment(offset_bytes=offset, data=data))

    def finish(self, size_bytes: int) -> pb.UploadRequest:
        self._size_bytes = size_bytes
        self._whole_was_read = True
        finish = pb.UploadFinish(size_bytes=size_bytes, crc32c=self._crc32c_before[-1])
        return pb.UploadRequest(finish=finish)

    def query(self) -> pb.QueryUploadRequest:
        return pb.QueryUploadRequest(upload_id=self._upload_id)

    def go_on_from(self, committed_bytes: int) -> None:
        """As QueryUpload told."""
        sent = (len(self._crc32c_before) - 1) * SEGMENT_BYTES
        if self._whole_was_read and self._size_bytes is not None:
            sent = self._size_bytes
        if committed_bytes > sent:
            raise ProtocolError(f"the server kept {committed_bytes} bytes of {sent}")
        self.committed_bytes = committed_bytes

    def may_go_on(self, error: Error) -> bool:
        """An upload that has ended either way is unknown; what it was is found by putting again."""
        return not self.source_is_gone and (
            isinstance(error, Unavailable)
            or error.reason in ("offset_mismatch", "upload_unknown")
        )


class _Stream:
    """The requests of one stream, which gRPC takes from a thread of its own.

    A thread of an older stream may still be in `source` when this one begins; `reading` lets one in.
    """

    def __init__(
        self, upload: Transmission, connection: Connection, reading: threading.Lock
    ) -> None:
        self._upload = upload
        self._connection = connection
        self._reading = reading
        self.source_error: Exception | None = None
        self.steps = 0
        self.in_source = False
        self.over = False

    def requests(self) -> Iterator[pb.UploadRequest]:
        try:
            yield self._upload.header()
            offset = self._upload.committed_bytes
            while True:
                request = self._next(offset)
                if request is None:
                    return
                self.steps += 1
                yield request
                if request.HasField("finish"):
                    return
                offset += len(request.segment.data)
        except Exception as error:
            self.source_error = error
            raise  # gRPC cancels the stream: what was sent must not look like the whole

    def _next(self, offset: int) -> pb.UploadRequest | None:
        with self._reading:
            if self.over:
                return None
            source = self._upload.source
            if source.kept_segments() >= KEPT_SEGMENTS_MAX:
                source.forget_before(_query_committed(self._upload, self._connection))
            self.in_source = True
            try:
                data = source.read(offset)  # type: ignore[union-attr]
            except LookupError:
                self._upload.source_is_gone = True
                return None
            finally:
                self.in_source = False
            # Not by length: a segment that was committed in part is shorter.
            return self._upload.segment(offset, data) if data else self._upload.finish(offset)


def upload(connection: Connection, transmission: Transmission) -> None:
    settings = connection.settings
    backoff = Backoff(settings, time.monotonic() + settings.timeout)
    reading = threading.Lock()
    while True:
        transmission.moved_on = False
        try:
            _send(connection, transmission, reading)
            return
        except Error as error:
            if not transmission.may_go_on(error):
                raise
            if transmission.moved_on:
                backoff.progressed(time.monotonic() + settings.timeout)
            time.sleep(backoff.pause_after(error))
        committed_bytes = _query_committed(transmission, connection)
        transmission.go_on_from(committed_bytes)


def _send(connection: Connection, transmission: Transmission, reading: threading.Lock) -> None:
    stream = _Stream(transmission, connection, reading)
    timeout = connection.settings.timeout
    try:
        with connection.calling(large=True):
            call = connection.stub(large=True).Upload.future(stream.requests())
            steps = -1
            while not _is_done(call, timeout):
                # A source may take its time.
                if stream.steps == steps and not stream.in_source:
                    call.cancel()
                    raise TimedOut("no progress in time")
                steps = stream.steps
            call.result()
    except Error:
        if stream.source_error is not None:
            raise stream.source_error from None
        raise
    finally:
        stream.over = True


def _is_done(call: Any, timeout: float) -> bool:
    done = threading.Event()
    call.add_done_callback(lambda _: done.set())
    return done.wait(timeout)


def _query_committed(transmission: Transmission, connection: Connection) -> int:
    deadline = time.monotonic() + connection.settings.timeout
    try:
        response = connection.invoke("QueryUpload", transmission.query(), deadline)
    except NotFound as error:
        if error.reason != "upload_unknown":
            raise
        return 0
    return int(response.committed_bytes)
