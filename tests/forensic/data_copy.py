"""Reads a copy of a data directory the way somebody would who found it, and the root key with it.

Written from the tables of bytes in src/keys/keyring_format.h and src/storage/local/row_format.h and
from the comments of src/storage/local/segment_files.h and src/store/payload_cipher.cc; the slot
file is read by tests/support/slot_file.py, and decrypted is with tests/crypto/decrypt.py, both
likewise written from what is published about them. Nothing here runs code of the store, so a
difference between those pages and the truth fails the test that uses this.

RocksDB's files are searched byte by byte instead of being read through RocksDB: what it deleted but
left on the disk must be found too. Only its write-ahead log is put together first, because it
splits what is written across blocks of 32 KiB.
"""

import hashlib
import hmac
import os
import struct
import sys
from typing import Dict, Iterable, Iterator, List, NamedTuple, Optional, Tuple

TESTS_DIR = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
sys.path[:0] = [os.path.join(TESTS_DIR, folder) for folder in ("crypto", "support")]

import decrypt
from crc32c import crc32c
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
from slot_file import read_slots

ROW_HEADER_BYTES = 64
SEGMENT_BYTES = 1 << 20
SEGMENT_ALIGNMENT = 4096
INPUT, OUTPUT = 1, 2
HOUR_MS = 3_600_000


def expand(key: bytes, info: bytes, length: int) -> bytes:
    return HKDFExpand(algorithm=hashes.SHA256(), length=length, info=info).derive(key)


def read_keyring(content: bytes, root_key: bytes) -> Dict[int, bytes]:
    """The epoch keys by hour. AssertionError when it is not as keyring_format.h says."""
    magic, version, root_check, _store_id, count = struct.unpack_from(">8sI16s16sI", content)
    assert (magic, version) == (b"MAYFKEYS", 1), "keyring begins otherwise"
    assert len(content) == 48 + 112 * count + 4, "keyring has another size"
    assert struct.unpack(">I", content[-4:])[0] == crc32c(content[:-4]), "keyring's checksum"
    assert root_check == expand(root_key, b"mayfly keyring root check v1", 16), "root check"
    wrap_key = expand(root_key, b"mayfly keyring wrap v1", 32)
    keys = {}
    for offset in range(48, 48 + 112 * count, 112):
        hour = content[offset : offset + 8]
        sealed = content[offset + 8 : offset + 112]
        keys[struct.unpack(">q", hour)[0]] = decrypt.decrypt(
            wrap_key, b"mayfly epoch key v1" + hour, sealed
        )
    assert list(keys) == sorted(keys) and len(keys) == count, "hours are not ascending"
    return keys


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
    slot: int
    generation: int
    attempt: int
    segment_count: int
    size_bytes: int
    stored_ms: int
    deadline_ms: int
    fingerprint: bytes


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
            b"\x11mayfly payload v1"
            + struct.pack(">I16sBI", self.tenant, self.call_id, self.kind, row.attempt)
            + struct.pack(">QIQ", row.deadline_ms, row.slot, row.generation)
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
        self.epoch_keys = read_keyring(self.files["keys/keyring"], root_key)
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
        needle = struct.pack(">IIQ", 0x01000000, slot, generation)
        for text in self.texts.values():
            offset = text.find(needle)
            while offset >= 0:
                if offset + ROW_HEADER_BYTES <= len(text):
                    fields = struct.unpack_from(">IIQIIQQQ16s", text, offset)[1:]
                    yield Row(text, offset + ROW_HEADER_BYTES, *fields)
                offset = text.find(needle, offset + 1)

    def input_keys(self, row: Row, every: bool) -> Iterator[bytes]:
        """The keys to try: the row's own, or each that any slot and epoch key here can make."""
        secrets, hours = {slot.secret for slot in self.slots}, list(self.epoch_keys)
        if not every:
            own = (row.slot, row.generation)
            secrets = {slot.secret for slot in self.slots if (slot.number, slot.generation) == own}
            hours = [row.deadline_ms // HOUR_MS]
        for secret in secrets:
            for hour in hours:
                yield hmac.digest(self.epoch_keys[hour], secret, "sha256")

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
