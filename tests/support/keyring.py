"""Reads the keyring of a data directory, and derives what its keys lead to.

Written from ARCHITECTURE.md, "Keyring" and "Chain". Favours the attacker: besides the keys that
count it gives every chain key that lies in any copy of any bank and that the root key opens.
"""

import hmac
import itertools
import os
import struct
import sys
from typing import Dict, Iterable, Iterator, List, NamedTuple, Optional, Tuple

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../crypto"))

import decrypt
from crc32c import crc32c

KEYRING_BYTES = 256 << 10
BANK_BYTES = 128 << 10
COPY_BYTES = 64 << 10
BANKS, COPIES, CELLS = 2, 2, 64
SECTOR_BYTES = 512
FIRST_CELL_OFFSET = 4096
HEADER_BYTES = 56
CELL_BYTES = 124
SEALED_KEY_BYTES = 104
SECONDS_PER_HOUR = 3600


def expand(key: bytes, info: bytes, length: int) -> bytes:
    """HKDF-Expand with SHA-256 (RFC 5869, 2.3). By hand, since an hour takes 7,200 of them."""
    output = block = b""
    number = 1
    while len(output) < length:
        block = hmac.digest(key, block + info + bytes([number]), "sha256")
        output, number = output + block, number + 1
    return output[:length]


def extract(salt: bytes, key_material: bytes) -> bytes:
    """HKDF-Extract with SHA-256 (RFC 5869, 2.2)."""
    return hmac.digest(salt, key_material, "sha256")


def root_check(root_key: bytes) -> bytes:
    return expand(root_key, b"mayfly keyring root check v1", 16)


def wrap_key(root_key: bytes) -> bytes:
    return expand(root_key, b"mayfly keyring wrap v1", 32)


def leaf_of(chain_key: bytes) -> bytes:
    return expand(chain_key, b"mayfly second v1", 32)


def next_chain_key(chain_key: bytes) -> bytes:
    return expand(chain_key, b"mayfly next second v1", 32)


def due_second(deadline_ms: int) -> int:
    return -(-deadline_ms // 1000)


def place_of_second(due_s: int) -> Tuple[int, int]:
    """The hour of a due second, and its number in that hour."""
    return divmod(due_s, SECONDS_PER_HOUR)


class Header(NamedTuple):
    rotation: int
    root_check: bytes
    store_id: bytes


class Cell(NamedTuple):
    """Ordered from older to newer, as far as copies of one cell are compared."""

    number: int
    first_open: int
    hour: int
    sealed_key: bytes

    def context(self, store_id: bytes) -> bytes:
        place = struct.pack(">IqI", self.number, self.hour, self.first_open)
        return b"mayfly hour key v1" + store_id + place

    @property
    def is_open(self) -> bool:
        return self.number != 0 and self.first_open < SECONDS_PER_HOUR

    @property
    def open_from_s(self) -> int:
        return self.hour * SECONDS_PER_HOUR + self.first_open


class Chain:
    """All that a chain key leads to."""

    def __init__(self, cell: Cell, key: bytes):
        self.cell = cell
        self.key = key  # of second cell.first_open
        self._leaves: List[bytes] = []
        self._next_key = key

    def leaf(self, second: int) -> Optional[bytes]:
        """None before the chain key's own second."""
        index = second - self.cell.first_open
        if not 0 <= index < SECONDS_PER_HOUR - self.cell.first_open:
            return None
        while len(self._leaves) <= index:
            self._leaves.append(leaf_of(self._next_key))
            self._next_key = next_chain_key(self._next_key)
        return self._leaves[index]


class Keyring:
    """AssertionError when the content is not as ARCHITECTURE.md says, or not of this root key."""

    def __init__(self, content: bytes, root_key: bytes):
        assert len(content) == KEYRING_BYTES, "keyring has another size"
        self.header, self.bank = _counting_bank(content)
        assert self.header.root_check == root_check(root_key), "root check"
        _check_unnamed(content)
        opened = self._open_all(content, root_key)
        # Whatever opens, also what does not count any more.
        self.chains = list(opened.values())
        # The newer copy of each cell that has held a key, by the key's number.
        self.cells: Dict[int, Cell] = {}
        self._current: Dict[int, Chain] = {}
        for copies in read_copies(content):
            valid = [cell for cell in copies if cell is not None]
            assert valid, "both copies of a cell are damaged"
            newest = max(valid)
            if newest.number != 0:
                self.cells[newest.number] = newest
            if newest.is_open:
                self._current[newest.number] = opened[newest]

    def _open_all(self, content: bytes, root_key: bytes) -> Dict[Cell, Chain]:
        opened: Dict[Cell, Chain] = {}
        for (bank, place), cell in cells_in(content):
            if cell in opened:
                continue
            assert cell.number % CELLS == place, "a key lies in another's cell"
            key = open_cell(cell, root_key, self.header.store_id)
            if key is not None:
                opened[cell] = Chain(cell, key)
            else:
                assert bank != self.bank, "a chain key does not open"
        return opened

    def leaf(self, number: int, due_s: int) -> Optional[bytes]:
        """The leaf of a due second under the key of that number, None when it is closed."""
        hour, second = place_of_second(due_s)
        chain = self._current.get(number)
        if chain is None:
            return None
        assert chain.cell.hour == hour, "the key of that number is another hour's"
        return chain.leaf(second)

    def leaves(self, seconds: Iterable[int]) -> Iterator[bytes]:
        """Those of these seconds, counted from the hour's beginning, under every chain key."""
        for second in seconds:
            for chain in self.chains:
                leaf = chain.leaf(second)
                if leaf is not None:
                    yield leaf

    def hours(self) -> List[int]:
        """Of which a leaf can be derived."""
        return sorted({chain.cell.hour for chain in self.chains})


def offset_of(bank: int, copy: int, cell: Optional[int]) -> int:
    """Of a cell's sector, or of the header's."""
    offset = bank * BANK_BYTES + copy * COPY_BYTES
    return offset if cell is None else offset + FIRST_CELL_OFFSET + SECTOR_BYTES * cell


def cells_in(content: bytes) -> Iterator[Tuple[Tuple[int, int], Cell]]:
    """All cells with a chain key, wherever they lie, each with its bank and place there."""
    for bank, place in itertools.product(range(BANKS), range(CELLS)):
        for cell in _copies_of(content, bank, place):
            if cell is not None and cell.is_open:
                yield (bank, place), cell


def open_cell(cell: Cell, root_key: bytes, store_id: bytes) -> Optional[bytes]:
    """The chain key; None when it is sealed under another root key."""
    try:
        return decrypt.decrypt(wrap_key(root_key), cell.context(store_id), cell.sealed_key)
    except decrypt.DecryptError:
        return None


def read_copies(content: bytes) -> List[List[Optional[Cell]]]:
    """Both copies of each cell of the bank that counts, None where one is damaged; needs no key."""
    _, bank = _counting_bank(content)
    return [_copies_of(content, bank, number) for number in range(CELLS)]


def _counting_bank(content: bytes) -> Tuple[Header, int]:
    headers = [
        (_read_header(_sector(content, bank, copy, None)), bank)
        for bank, copy in itertools.product(range(BANKS), range(COPIES))
    ]
    valid = [(header, bank) for header, bank in headers if header is not None]
    assert valid, "keyring has no valid header"
    return max(valid)


def _copies_of(content: bytes, bank: int, number: int) -> List[Optional[Cell]]:
    return [_read_cell(_sector(content, bank, copy, number)) for copy in range(COPIES)]


def _sector(content: bytes, bank: int, copy: int, cell: Optional[int]) -> bytes:
    """A cell's, or the header's."""
    offset = offset_of(bank, copy, cell)
    return content[offset : offset + SECTOR_BYTES]


def _ends_in_checksum(record: bytes) -> bool:
    return struct.unpack(">I", record[-4:])[0] == crc32c(record[:-4])


def _read_header(sector: bytes) -> Optional[Header]:
    record = sector[:HEADER_BYTES]
    if not _ends_in_checksum(record):
        return None
    magic, version, *fields = struct.unpack_from(">8sIQ16s16s", record)
    assert (magic, version) == (b"MAYFKEYS", 2), "keyring begins otherwise"
    return Header(*fields)


def _read_cell(sector: bytes) -> Optional[Cell]:
    record = sector[:CELL_BYTES]
    if not _ends_in_checksum(record):
        return None
    number, hour, first_open, sealed_key = struct.unpack_from(">IqI104s", record)
    assert first_open <= SECONDS_PER_HOUR, "first open second"
    if number == 0:
        assert (hour, first_open) == (0, SECONDS_PER_HOUR), "a cell that has held no key"
    if first_open == SECONDS_PER_HOUR:
        assert not any(sealed_key), "a chain key of an hour that is over"
    return Cell(number, first_open, hour, sealed_key)


def _check_unnamed(content: bytes) -> None:
    """What is not named is zero: nothing may hide there."""
    rest = bytearray(content)
    for bank, copy in itertools.product(range(BANKS), range(COPIES)):
        for cell in [None, *range(CELLS)]:
            offset = offset_of(bank, copy, cell)
            size = HEADER_BYTES if cell is None else CELL_BYTES
            rest[offset : offset + size] = bytes(size)
    assert not any(rest), "the keyring holds what is not named"
