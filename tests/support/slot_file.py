"""Reads the slot file of a data directory, written from the table of bytes in src/keys/slot_format.h."""

import struct
from typing import List, NamedTuple

from crc32c import crc32c

PAGE_BYTES = 4096
SLOT_BYTES = 32


class Slot(NamedTuple):
    number: int
    generation: int
    secret: bytes
    state: str  # "live", "erased", "damaged"


def read_slots(content: bytes) -> List[Slot]:
    """All slots that were ever written. AssertionError when slot_format.h says otherwise."""
    assert content[:12] == b"MAYFSLOT\x00\x00\x00\x01", "slot file begins otherwise"
    assert struct.unpack_from(">I", content, 28)[0] == crc32c(content[:28]), "identity's checksum"
    assert len(content) % PAGE_BYTES == 0, "slot file is not made of pages"
    slot_count = (len(content) - 3 * PAGE_BYTES) // SLOT_BYTES
    records = [content[page * PAGE_BYTES :][:40] for page in (1, 2)]
    valid = [each for each in records if struct.unpack(">I", each[36:])[0] == crc32c(each[:36])]
    assert valid, "neither record's checksum"
    assert struct.unpack(">QQQQI", max(valid)[:36])[4] <= slot_count, "slot file is shorter"
    slots = []
    for offset in range(3 * PAGE_BYTES, len(content), SLOT_BYTES):
        slot = content[offset : offset + SLOT_BYTES]
        if not any(slot):
            continue
        number = (offset - 3 * PAGE_BYTES) // SLOT_BYTES
        generation, secret, checksum = struct.unpack(">Q20sI", slot)
        live = crc32c(slot[:28] + struct.pack(">I", number))
        state = "damaged"
        if checksum == live:
            state = "live"
        elif checksum == live ^ 0xFFFFFFFF and not any(secret):
            state = "erased"
        slots.append(Slot(number, generation, secret, state))
    return slots
