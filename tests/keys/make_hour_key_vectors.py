#!/usr/bin/python3
"""Writes hour_key_vectors.txt: known answers of the keyring, its chains, and a row under one.

    make_hour_key_vectors.py > hour_key_vectors.txt
    make_hour_key_vectors.py --check FILE    whether that is FILE; 1 and the first difference if not

Written from ARCHITECTURE.md ("Keyring", "Chain", "Row header", "Sealed payloads"), on the sealer
that is checked against the published page by tests/crypto/decrypt_test.py. --check also reads a
keyring made of the cells with tests/support/keyring.py, which was written on its own.
"""

import argparse
import hashlib
import hmac
import itertools
import os
import struct
import sys
from typing import Iterator, List, NamedTuple

sys.dont_write_bytecode = True
TESTS_DIR = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
sys.path[:0] = [os.path.join(TESTS_DIR, folder) for folder in ("crypto", "support")]

import keyring
from crc32c import crc32c
from reference_seal import reference_expand, reference_seal

HEADING = """\
# Known answers of ARCHITECTURE.md, "Keyring", "Chain", "Row header" and "Sealed payloads".
# Written by make_hour_key_vectors.py. Bytes are hexadecimal, numbers decimal. A blank line ends a
# group. A header and a cell are given without the zeros that fill their sector.
"""


def bytes_for(name: str, size: int) -> bytes:
    """Bytes that look random and are the same each time."""
    return hashlib.sha256(name.encode()).digest()[:size]


ROOT_KEY = bytes_for("root key", 32)
STORE_ID = bytes_for("store id", 16)
ROTATION = 5
FIRST_HOUR = 490_000  # in November 2025


def with_checksum(record: bytes) -> bytes:
    return record + struct.pack(">I", crc32c(record))


def chain_key(start: bytes, second: int) -> bytes:
    key = start
    for _ in range(second):
        key = reference_expand(key, b"mayfly next second v1", 32)
    return key


def leaf(start: bytes, second: int) -> bytes:
    return reference_expand(chain_key(start, second), b"mayfly second v1", 32)


class HourKey(NamedTuple):
    """One of number 0 is a cell that has held none."""

    number: int
    hour: int
    first_open: int

    @property
    def start(self) -> bytes:
        return bytes_for(f"hour key {self.number}", 32)

    @property
    def key(self) -> bytes:
        """Empty when all seconds are closed."""
        return chain_key(self.start, self.first_open) if self.first_open < 3600 else b""

    @property
    def cell(self) -> bytes:
        sealed = bytes(104)
        if self.key:
            place = struct.pack(">IqI", self.number, self.hour, self.first_open)
            sealed = reference_seal(
                reference_expand(ROOT_KEY, b"mayfly keyring wrap v1", 32),
                b"mayfly hour key v1" + STORE_ID + place,
                self.key,
                bytes_for(f"salt of hour key {self.number}", 24),
            )
        return with_checksum(struct.pack(">IqI", self.number, self.hour, self.first_open) + sealed)


# One of each kind: all open, some closed, the last second, all closed; cells 1, 14, 13 and 8.
HOUR_KEYS = [
    HourKey(1, FIRST_HOUR, 0),
    HourKey(14, FIRST_HOUR + 1, 1800),
    HourKey(77, FIRST_HOUR + 2, 3599),
    HourKey(200, FIRST_HOUR - 1, 3600),
]
NO_KEY = HourKey(0, 0, 3600)
ROW_KEY = HOUR_KEYS[1]
ROW_SECOND = 1801


def header() -> bytes:
    root_check = reference_expand(ROOT_KEY, b"mayfly keyring root check v1", 16)
    return with_checksum(
        struct.pack(">8sIQ16s16s", b"MAYFKEYS", 2, ROTATION, root_check, STORE_ID)
    )


def whole_file() -> bytes:
    """A keyring whose second bank counts."""
    content = bytearray(256 << 10)
    cells = {key.number % 64: key for key in HOUR_KEYS}
    for copy in (128 << 10, 192 << 10):
        content[copy : copy + len(header())] = header()
        for place in range(64):
            offset, cell = copy + 4096 + 512 * place, cells.get(place, NO_KEY).cell
            content[offset : offset + len(cell)] = cell
    return bytes(content)


def line(name: str, value: object) -> str:
    return f"{name} = {value.hex() if isinstance(value, bytes) else value}"


def chain_lines() -> Iterator[str]:
    start = HOUR_KEYS[0].start
    yield line("chain", start)
    for second in (1, 1801, 3599):
        yield line(f"key_{second}", chain_key(start, second))
    for second in (0, 1, 1800, 3599):
        yield line(f"leaf_{second}", leaf(start, second))


def keyring_lines() -> Iterator[str]:
    yield line("root_key", ROOT_KEY)
    yield line("rotation", ROTATION)
    yield line("store_id", STORE_ID)
    yield line("header", header())


def cell_lines(key: HourKey) -> Iterator[str]:
    yield line("number", key.number)
    yield line("hour", key.hour)
    yield line("first_open", key.first_open)
    if key.key:
        yield line("key", key.key)
    yield line("cell", key.cell)


def row_lines() -> Iterator[str]:
    call_id, tenant, kind, attempt = bytes.fromhex("019ab0c2d3e47f5a8b6c7d8e9fa0b1c2"), 7, 2, 3
    slot, generation = 4711, (9 << 40) + 12345
    data, content_type, key_id = b"An output of some bytes.", b"text/plain", b"client-key-1"
    labels, outcome = [(b"colour", b"blue"), (b"shape", b"round")], 1
    due_s = ROW_KEY.hour * 3600 + ROW_SECOND
    # The earliest one that is rounded up to that second.
    deadline_ms = (due_s - 1) * 1000 + 1
    stored_ms = deadline_ms - 3_600_000
    secret = bytes_for("slot secret", 20)
    second_leaf = leaf(ROW_KEY.start, ROW_SECOND)
    input_key = hmac.digest(second_leaf, secret, "sha256")

    def text(value: bytes) -> bytes:
        return struct.pack(">H", len(value)) + value

    metadata = struct.pack(">BI", outcome, crc32c(data)) + text(content_type) + text(key_id)
    metadata += bytes([len(labels)]) + b"".join(text(name) + text(value) for name, value in labels)
    mac_key = reference_expand(input_key, b"mayfly fingerprint v1", 32)
    mac = hmac.digest(mac_key, struct.pack(">IQ", crc32c(data), len(data)) + metadata, "sha256")
    context = bytes([17]) + b"mayfly payload v2" + struct.pack(">I", tenant) + call_id
    context += struct.pack(">BIQ", kind, attempt, deadline_ms)
    context += struct.pack(">IIQ", ROW_KEY.number, slot, generation)
    plaintext = struct.pack(">I", len(metadata)) + metadata + data
    row_header = bytes([2]) + ROW_KEY.number.to_bytes(3, "big")
    row_header += struct.pack(">IQIIQ", slot, generation, attempt, 0, len(data))
    row_header += struct.pack(">QQ", stored_ms, deadline_ms) + mac[:16]

    yield line("call_id", call_id)
    yield line("tenant", tenant)
    yield line("kind", kind)
    yield line("attempt", attempt)
    yield line("slot", slot)
    yield line("generation", generation)
    yield line("stored_ms", stored_ms)
    yield line("deadline_ms", deadline_ms)
    yield line("hour_key", ROW_KEY.number)
    yield line("due_s", due_s)
    yield line("leaf", second_leaf)
    yield line("slot_secret", secret)
    yield line("input_key", input_key)
    yield line("outcome", outcome)
    yield line("content_type", content_type)
    yield line("encryption_key_id", key_id)
    for number, (name, value) in enumerate(labels):
        yield line(f"label_name_{number}", name)
        yield line(f"label_value_{number}", value)
    yield line("crc32c", crc32c(data))
    yield line("data", data)
    yield line("row_header", row_header)
    yield line("row", reference_seal(input_key, context, plaintext, bytes_for("salt of row", 24)))


def vectors() -> List[str]:
    groups = [chain_lines(), keyring_lines(), *map(cell_lines, [*HOUR_KEYS, NO_KEY]), row_lines()]
    lines = HEADING.splitlines()
    for group in groups:
        lines += ["", *group]
    return lines


def check_reader() -> None:
    """AssertionError when keyring.py makes anything else of it."""
    read = keyring.Keyring(whole_file(), ROOT_KEY)
    assert (read.bank, read.header.rotation, read.header.store_id) == (1, ROTATION, STORE_ID)
    for key in HOUR_KEYS:
        cell = read.cells[key.number]
        assert (cell.hour, cell.first_open) == (key.hour, key.first_open)
        for second in (0, 1, 1799, 1800, 1801, 3598, 3599):
            expected = leaf(key.start, second) if second >= key.first_open else None
            assert read.leaf(key.number, key.hour * 3600 + second) == expected
    assert len(read.cells) == len(HOUR_KEYS) and len(read.chains) == 3


def main() -> int:
    parser = argparse.ArgumentParser(description="Known answers of the keyring and its chains.")
    parser.add_argument("--check", metavar="FILE")
    arguments = parser.parse_args()
    lines = vectors()
    if arguments.check is None:
        print("\n".join(lines))
        return 0
    check_reader()
    with open(arguments.check) as file:
        found = file.read().split("\n")
    pairs = itertools.zip_longest(found, [*lines, ""])
    for number, (given, expected) in enumerate(pairs, start=1):
        if given != expected:
            print(f"line {number} is {given}, expected {expected}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
