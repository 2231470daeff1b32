"""Reads a copy of a data directory the way somebody would who found it, and the root key with it.

Written from ARCHITECTURE.md, "Byte formats". The keyring is read by tests/support/keyring.py, the
slot file by tests/support/slot_file.py, and decrypted is with tests/crypto/decrypt.py, all likewise
written from what is published about them. Nothing here runs code of the store, so a difference
between those pages and the truth fails the test that uses this.

RocksDB's files are searched byte by byte instead of being read through RocksDB: what it deleted but
left on the disk must be found too. Only its write-ahead log is put together first, because it
splits what is written across blocks of 32 KiB.
"""

import hashlib
import hmac
import os
import struct
import sys
from typing import Dict, Iterable, Iterator, List, NamedTuple, Optional, Set, Tuple

TESTS_DIR = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
sys.path[:0] = [os.path.join(TESTS_DIR, folder) for folder in ("crypto", "support")]

import decrypt
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from keyring import SECONDS_PER_HOUR, Keyring, due_second, expand, extract, place_of_second
from slot_file import read_slots

ROW_HEADER_BYTES = 64
SEGMENT_BYTES = 1 << 20
SEGMENT_ALIGNMENT = 4096
INPUT, OUTPUT = 1, 2
ROW_VERSION = 2
# The leaves that are tried with secrets of other rows are those of seconds so near to a row's own.
WINDOW_S = 60


def join_log(content: bytes) -> bytes:
    """RocksDB's write-ahead log without its framing: blocks of 32 KiB, of fragments with a header
    of 7 bytes: CRC (4), length (2, little-endian), type (1 to 4: full, first, middle, last)."""
    block_bytes, header_bytes = 32 << 10, 7
    joined = bytearray()
    for block in range(0, len(content), block_bytes):
        end = min(block + block_bytes, len(content))
        offset = block
        while offset + header_bytes <= end:
            length, kind = struct.unpack_from("<HB", content, offset + 4)
            if not 1 <= kind <= 4:
                break  # what was allocated and not written
            offset += header_bytes
            joined += content[offset : offset + length]
            offset += length
    return bytes(joined)


class Row(NamedTuple):
    """A row header and where its ciphertext begins."""

    text: bytes  # all of the file that it is in
    offset: int
    hour_key: int  # the number
    slot: int
    generation: int
    attempt: int
    segment_count: int
    size_bytes: int
    stored_ms: int
    deadline_ms: int
    fingerprint: bytes

    @property
    def due_s(self) -> int:
        return due_second(self.deadline_ms)


class Payload(NamedTuple):
    data: bytes
    outcome: int
    checksum: int
    content_type: str
    labels: Dict[str, str]
    fingerprint: bytes


class Call(NamedTuple):
    """Whose row it is; tenant numbers are small, so whoever does not know them tries."""

    call_id: bytes
    tenant: int
    kind: int

    def context(self, row: Row) -> bytes:
        return (
            b"\x11mayfly payload v2"
            + struct.pack(">I16sBI", self.tenant, self.call_id, self.kind, row.attempt)
            + struct.pack(">QIIQ", row.deadline_ms, row.hour_key, row.slot, row.generation)
        )

    def segment_key(self, row: Row, number: int) -> bytes:
        return self.call_id + struct.pack(">IIQI", self.tenant, row.slot, row.generation, number)


class Extent(NamedTuple):
    """Where a segment's row says that it lies."""

    file: str
    offset: int
    size_bytes: int
    checksum: int


class DataCopy:
    """Every byte of every file below a directory."""

    def __init__(self, directory: str, root_key: bytes):
        self.files: Dict[str, bytes] = {}
        for parent, _, names in os.walk(directory):
            for name in names:
                path = os.path.join(parent, name)
                with open(path, "rb") as file:
                    self.files[os.path.relpath(path, directory)] = file.read()
        # Where rows are looked for.
        self.texts = {
            name: join_log(content) if name.endswith(".log") else content
            for name, content in self.files.items()
        }
        self._segment_places = [
            place
            for name, content in self.files.items()
            if name.startswith("segments/")
            for place in _segments_in(content)
        ]
        self.keyring = Keyring(self.files["keys/keyring"], root_key)
        self.slots = read_slots(self.files["keys/slots"])

    def places_of(self, needle: bytes) -> List[str]:
        """The files that hold these bytes, as they lie there or in the joined log."""
        return [
            name
            for name, content in self.files.items()
            if needle in content or needle in self.texts[name]
        ]

    def rows_of(self, slot: int, generation: int) -> Iterator[Row]:
        """Everything that looks like the header of a row that names this slot."""
        needle = struct.pack(">IQ", slot, generation)
        for text in self.texts.values():
            offset = text.find(needle)
            while offset >= 0:
                row = _row_at(text, offset - 4)
                if row is not None:
                    yield row
                offset = text.find(needle, offset + 1)

    def logged_rows(self, call: Call) -> Iterator[Row]:
        """The rows under a call's key in the logs: the key, the value's length as a varint, the
        value."""
        key = call.call_id + struct.pack(">IB", call.tenant, call.kind)
        for name, text in self.texts.items():
            offset = text.find(key) if name.endswith(".log") else -1
            while offset >= 0:
                value = offset + len(key)
                while value < len(text) and text[value] >= 0x80:
                    value += 1
                row = _row_at(text, value + 1)
                if row is not None:
                    yield row
                offset = text.find(key, offset + 1)

    def input_keys(self, row: Row, every: bool) -> Iterator[bytes]:
        """The keys to try: the row's own, or each that could be made of what is here. Those are its
        own secret with every leaf there is, and all other secrets with the leaves of the seconds
        about its own, in whatever hour: all with all would take hours."""
        if not every:
            leaf = self.keyring.leaf(row.hour_key, row.due_s)
            if leaf is not None:
                yield from (extract(leaf, secret) for secret in self.secrets_of(row))
            return
        yield from self.keys_of_own_secret(row, range(SECONDS_PER_HOUR))
        others = {slot.secret for slot in self.slots} - self.secrets_of(row)
        for leaf in self.keyring.leaves(seconds_about(row)):
            yield from (extract(leaf, secret) for secret in others)

    def keys_of_own_secret(self, row: Row, seconds: Iterable[int]) -> Iterator[bytes]:
        """With the leaves of these seconds of all hours, in the order of the seconds."""
        secrets = self.secrets_of(row)
        if secrets:
            for leaf in self.keyring.leaves(seconds):
                yield from (extract(leaf, secret) for secret in secrets)

    def secrets_of(self, row: Row) -> Set[bytes]:
        """The secret of its slot, which is gone when the slot is erased or another's."""
        own = (row.slot, row.generation)
        return {
            slot.secret
            for slot in self.slots
            if (slot.number, slot.generation) == own and slot.state == "live"
        }

    def open_row(self, row: Row, call: Call, input_key: bytes) -> Optional[Payload]:
        """The payload, or None when this key is not the row's. AssertionError when it is, and the
        rest is not as documented."""
        context = call.context(row)
        head = _head_of(row.text, row.offset, context, input_key)
        if head is None:
            return None
        metadata_bytes = struct.unpack(">I", head)[0]
        rest_bytes = 44 if row.segment_count > 0 else row.size_bytes
        sealed = _sealed_at(row.text, row.offset, 4 + metadata_bytes + rest_bytes)
        plain = decrypt.decrypt(input_key, context, sealed)
        metadata, rest = plain[4 : 4 + metadata_bytes], plain[4 + metadata_bytes :]
        if row.segment_count > 0:
            rest = self._open_segments(row, call, input_key, rest)
        outcome, checksum, content_type, labels = _read_metadata(metadata)
        mac_key = expand(input_key, b"mayfly fingerprint v1", 32)
        mac = hmac.digest(mac_key, struct.pack(">IQ", checksum, len(rest)) + metadata, "sha256")
        return Payload(rest, outcome, checksum, content_type, labels, mac[:16])

    def _open_segments(self, row: Row, call: Call, input_key: bytes, header: bytes) -> bytes:
        size_bytes, count, commitments = struct.unpack(">QI32s", header)
        assert (size_bytes, count) == (row.size_bytes, row.segment_count), "sealed header differs"
        data, seen = b"", hashlib.sha256()
        for number in range(count):
            sealed = self.find_segment(row, call, number, [input_key])
            assert sealed is not None, f"segment {number} is not found"
            data += decrypt.decrypt(
                input_key, call.context(row) + struct.pack(">I", number), sealed
            )
            seen.update(sealed[decrypt.SALT_BYTES : decrypt.HEADER_BYTES])
        assert seen.digest() == commitments, "commitments differ"
        return data

    def find_segment(
        self, row: Row, call: Call, number: int, input_keys: Iterable[bytes]
    ) -> Optional[bytes]:
        """The sealed bytes of a segment, or None when none that is here is under these keys."""
        context = call.context(row) + struct.pack(">I", number)
        for input_key in input_keys:
            for text, offset in self._segment_places:
                if _head_of(text, offset, context, input_key) is not None:
                    plain_bytes = min(SEGMENT_BYTES, row.size_bytes - number * SEGMENT_BYTES)
                    return _sealed_at(text, offset, plain_bytes)
        return None

    def extents_of(self, call: Call, row: Row, number: int) -> List[Extent]:
        """What rows of the segment in a log say: the key, a length of one byte, the value."""
        key = call.segment_key(row, number) + b"\x1c"
        extents = []
        for name, text in self.texts.items():
            offset = text.find(key) if name.endswith(".log") else -1
            if offset >= 0:
                hour, boot, count, *place = struct.unpack_from(">IIIQII", text, offset + len(key))
                extents.append(Extent(f"segments/{hour}-{boot}-{count}.segments", *place))
        return extents


def seconds_about(row: Row) -> List[int]:
    """Those of the hour that are so near to its due second, the next hour's first ones included."""
    near = range(row.due_s - WINDOW_S, row.due_s + WINDOW_S + 1)
    return [place_of_second(each)[1] for each in near]


def _row_at(text: bytes, offset: int) -> Optional[Row]:
    """None when no row header of this version can lie there."""
    if not 0 <= offset <= len(text) - ROW_HEADER_BYTES or text[offset] != ROW_VERSION:
        return None
    number, *fields = struct.unpack_from(">IIQIIQQQ16s", text, offset)
    return Row(text, offset + ROW_HEADER_BYTES, number & 0xFFFFFF, *fields)


def _segments_in(text: bytes) -> Iterator[Tuple[bytes, int]]:
    """Where a segment may begin: at a block's beginning, behind the zeros after another one."""
    for offset in range(0, len(text), SEGMENT_ALIGNMENT):
        if not any(text[max(offset - 8, 0) : offset]) and any(text[offset : offset + 64]):
            yield text, offset


def _head_of(text: bytes, offset: int, context: bytes, input_key: bytes) -> Optional[bytes]:
    """The first four bytes of plaintext, not authenticated; None when the commitment says that this
    is no message under this key and context."""
    salt = text[offset : offset + decrypt.SALT_BYTES]
    body = offset + decrypt.HEADER_BYTES
    if len(salt) < decrypt.SALT_BYTES:
        return None
    derived = decrypt.derive(input_key, salt, context)
    if text[offset + decrypt.SALT_BYTES : body] != derived.commitment:
        return None
    # GCM encrypts from counter 2 on (NIST SP 800-38D, 7.1).
    counter = derived.base_nonce + b"\x00\x00\x00\x02"
    decryptor = Cipher(algorithms.AES(derived.key), modes.CTR(counter)).decryptor()
    return decryptor.update(text[body : body + 4])


def _sealed_at(text: bytes, offset: int, plain_bytes: int) -> bytes:
    chunk_count = plain_bytes // decrypt.CHUNK_BYTES + 1
    size = decrypt.HEADER_BYTES + plain_bytes + chunk_count * decrypt.TAG_BYTES
    return text[offset : offset + size]


def _read_metadata(metadata: bytes) -> Tuple[int, int, str, Dict[str, str]]:
    outcome, checksum = struct.unpack_from(">BI", metadata)
    offset = 5

    def short() -> str:
        nonlocal offset
        size = struct.unpack_from(">H", metadata, offset)[0]
        offset += 2 + size
        return metadata[offset - size : offset].decode()

    content_type, _encryption_key_id = short(), short()
    count = metadata[offset]
    offset += 1
    labels = {}
    for _ in range(count):
        name = short()
        labels[name] = short()
    assert offset == len(metadata), "metadata has another size"
    return outcome, checksum, content_type, labels
