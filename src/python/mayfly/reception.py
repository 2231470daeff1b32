"""What was received of a payload, and whether that is the whole. No I/O."""

from __future__ import annotations

from mayfly.calls import Claim, Claimed, Input
from mayfly.checksum import crc32c
from mayfly.contract import input_of, metadata_of, outcome_of
from mayfly.errors import (
    ClaimLost,
    PayloadDamaged,
    PayloadTooLarge,
    ProtocolError,
    Unavailable,
)
from mayfly.v1 import function_io_pb2 as pb


class Reception:
    """Of one payload, over all streams it takes."""

    def __init__(
        self, call_id: str, claimed: Claimed | None = None, data_bytes_max: int | None = None
    ) -> None:
        self.call_id = call_id
        self._data_bytes_max = data_bytes_max  # None: it is not read into memory
        self.claimed = claimed  # None: an input
        self.header: pb.DownloadHeader | None = None
        self.offset_bytes = 0
        self.crc32c = 0
        self.finished = False

    def request(self) -> pb.DownloadRequest:
        request = pb.DownloadRequest(
            call_id=self.call_id, kind=pb.PAYLOAD_KIND_INPUT, offset_bytes=self.offset_bytes
        )
        if self.claimed is not None:
            request.kind = pb.PAYLOAD_KIND_OUTPUT
            request.claim_token = self.claimed.claim.token
            request.fence = self.claimed.claim.fence
        return request

    def take(self, response: pb.DownloadResponse) -> bytes:
        """The data that came, maybe none. PayloadDamaged: it is not what was stored.
        PayloadTooLarge: it would not fit into memory. ClaimLost: it is another payload now."""
        step = response.WhichOneof("step")
        if step == "header":
            self._take_header(response.header)
        elif step == "segment":
            return self._take_segment(response.segment)
        elif step == "finish":
            self._take_finish(response.finish)
        return b""

    def check_finished(self) -> None:
        """At the end of a stream, which without its finish is only a part."""
        if not self.finished:
            raise Unavailable("the download ended before its finish", "", self.call_id)

    def _take_header(self, header: pb.DownloadHeader) -> None:
        check_fits_memory(self.call_id, header.size_bytes, self._data_bytes_max)
        before = self.header
        self.header = header
        if before is None or self.offset_bytes == 0:
            return
        same = (
            header.size_bytes == before.size_bytes
            and header.attempt == before.attempt
            and header.payload.crc32c == before.payload.crc32c
        )
        if not same:
            # What was handed out already cannot be taken back.
            raise ClaimLost("a later attempt replaced the output", "CLAIM_LOST", self.call_id)

    def _take_segment(self, segment: pb.DownloadSegment) -> bytes:
        if self.header is None or self.finished:
            raise ProtocolError("the server sent a segment where none belongs", "", self.call_id)
        data = segment.data
        left = self.header.size_bytes - self.offset_bytes
        if segment.offset_bytes != self.offset_bytes or len(data) > left:
            raise ProtocolError(
                f"the server sent {len(data)} bytes at {segment.offset_bytes}, wanted are "
                f"{left} at {self.offset_bytes}", "", self.call_id
            )
        self.crc32c = crc32c(data, self.crc32c)
        self.offset_bytes += len(data)
        return data

    def _take_finish(self, finish: pb.DownloadFinish) -> None:
        if self.header is None:
            raise ProtocolError("the server sent a finish where none belongs", "", self.call_id)
        if finish.size_bytes != self.offset_bytes or self.header.size_bytes != self.offset_bytes:
            raise PayloadDamaged(
                f"{self.offset_bytes} bytes arrived of {finish.size_bytes}",
                "CHECKSUM_MISMATCH", self.call_id
            )
        if finish.crc32c != self.crc32c or self.header.payload.crc32c != self.crc32c:
            raise PayloadDamaged(
                f"{self.offset_bytes} bytes arrived damaged", "CHECKSUM_MISMATCH", self.call_id
            )
        self.finished = True

    def received_input(self, data: bytes) -> Input:
        """Of an input, after its finish."""
        assert self.header is not None
        return input_of(self.call_id, data, self.header.payload)

    def received_output(self) -> Claimed:
        """Of an output, after its finish: with the checksum that the ack is to verify."""
        assert self.claimed is not None and self.header is not None
        claim = self.claimed.claim
        return Claimed(
            claim=Claim(claim.call_id, claim.token, claim.fence, self.crc32c),
            attempt=self.header.attempt,
            outcome=outcome_of(self.header.outcome),
            size_bytes=self.offset_bytes,
            metadata=metadata_of(self.header.payload),
            data=None,
        )


def check_fits_memory(call_id: str, size_bytes: int, bytes_max: int | None) -> None:
    if bytes_max is not None and size_bytes > bytes_max:
        raise PayloadTooLarge(
            f"payload is {size_bytes} bytes, data_bytes_max is {bytes_max}",
            "PAYLOAD_TOO_LARGE", call_id,
        )
