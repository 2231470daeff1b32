"""One upload, over all streams it takes. No I/O."""

from __future__ import annotations

from mayfly.checksum import crc32c
from mayfly.contract import SEGMENT_BYTES, new_token
from mayfly.errors import Error, InvalidArgument, ProtocolError, Unavailable
from mayfly.v1 import function_io_pb2 as pb


class Transmission:
    """`item` is what is put, without data. Without `size_bytes` its end tells the size."""

    def __init__(self, item: pb.InputItem | pb.OutputItem, size_bytes: int | None) -> None:
        self.committed_bytes = 0  # where the next stream begins
        self.moved_on = False  # since this was last set to False
        self._upload_id = new_token()
        self._item = item
        self._item.payload.ClearField("crc32c")
        self._crc32c_before = [0]  # of all before a segment; one more than were read
        self._size_bytes = size_bytes
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
            or error.reason in ("OFFSET_MISMATCH", "UPLOAD_UNKNOWN")
        )
