"""CRC-32C (RFC 3720) of payloads, by the crc32c package: in hardware where that can."""

from __future__ import annotations

import crc32c as _crc32c


def crc32c(data: bytes | bytearray | memoryview, before: int = 0) -> int:
    """Of `data`, which follows on bytes whose checksum is `before`."""
    return int(_crc32c.crc32c(data, before))
