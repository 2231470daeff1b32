#!/usr/bin/python3
"""Checks the promise "gone" with the data directory and the root key in hand.

    forensic_test.py MAYFLYD PROTOC [UNITTEST_ARGUMENT...]

The real server stores calls whose plaintexts are known. A copy of its data directory is taken
before they end, and another one after it. With the root key, data_copy.py must open every payload
in the first copy: that shows that it looks in the right places, with the right keys. In the second
it must open none, whatever key it makes of all that is there, and what it would need must be gone
from every file. Once with the rows in the write-ahead log, once with the rows in table files, where
a start after a kill puts them. Large payloads lie in segment files in both, and nowhere else.
"""

import os
import struct
import subprocess
import sys
import time
from typing import List, Set, Tuple

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(sys.path[0], "../support"))

import called_server_case
from crc32c import crc32c
from data_copy import INPUT, DataCopy
from forensic_case import (
    INLINE_BYTES,
    LARGE_BYTES,
    OUTCOME_FAILURE,
    ForensicCase,
    Found,
    Stored,
    find,
    slot_of,
)
from keyring import cells_in, open_cell
from slot_file import read_slots
from waiting import wait_until

SHORT_TTL_S = 10
# The published lag, and a machine that is busy.
ERASE_TIMEOUT_S = 60
# A second, and a machine that is busy.
ROOM_TIMEOUT_S = 30


class Forensic(ForensicCase):
    def test_rows_in_the_log(self) -> None:
        self.check_life(restart=False)

    def test_rows_in_files(self) -> None:
        self.check_life(restart=True)

    def test_what_expires(self) -> None:
        expiring = [self.put_input(size, SHORT_TTL_S) for size in (INLINE_BYTES, LARGE_BYTES)]
        # Read only afterwards, which takes its time.
        before = self.server.copy_data("before")
        self.wait_for_erasure(expiring)
        copy = self.read_copy(before)
        after = self.read_copy(self.server.copy_data("after"))
        self.check_there(copy, expiring, in_files=False)
        self.check_gone(after, expiring)

    def test_what_a_rotation_leaves_to_the_old_root_key(self) -> None:
        stored = self.put_input(INLINE_BYTES)
        older = self.read_copy(self.server.copy_data("older"))
        self.server.stop()
        new_key, path = os.urandom(32), self.server.path("new.key")
        with open(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600), "w") as file:
            file.write(new_key.hex())
        command = [self.mayflyd, "--config", self.server.path("mayfly.toml")]
        subprocess.run([*command, "--rotate-root-key", path], check=True)
        with open(self.server.path("data/keys/keyring"), "rb") as file:
            content = file.read()
        # No key in any place is sealed under the old one, nor left where it was.
        store_id = older.keyring.header.store_id
        cells = list(cells_in(content))
        for _, cell in cells:
            self.assertIsNone(open_cell(cell, self.server.root_key, store_id), "the old key opens")
            self.assertIsNotNone(open_cell(cell, new_key, store_id))
        self.assertEqual({bank for (bank, _), _ in cells}, {1 - older.keyring.bank})
        for chain in older.keyring.chains:
            # assertFalse: a failed assertNotIn would print all of the file.
            self.assertFalse(chain.cell.sealed_key in content, "what the old key sealed is left")

        os.rename(path, self.server.path("root.key"))
        self.server.root_key = new_key
        self.server.start()
        self.check_there(self.read_copy(self.server.copy_data("rotated")), [stored], in_files=True)

    def check_life(self, restart: bool) -> None:
        acked, acked_large = self.put_input(INLINE_BYTES), self.put_input(LARGE_BYTES)
        deleted, deleted_large = self.put_input(INLINE_BYTES), self.put_input(LARGE_BYTES)
        kept = self.put_input(INLINE_BYTES)
        replaced = self.put_output(acked.call_id, INLINE_BYTES, attempt=1)
        lasting = [acked, acked_large, deleted, deleted_large, kept, replaced]
        lasting.append(self.put_output(acked_large.call_id, LARGE_BYTES, attempt=3))
        lasting.append(self.put_output(deleted.call_id, INLINE_BYTES, attempt=1))
        if restart:
            self.server.kill()
            self.server.start()
        self.check_there(self.read_copy(self.server.copy_data("before")), lasting, in_files=restart)

        replacing = self.put_output(acked.call_id, INLINE_BYTES, attempt=2)
        copy = self.read_copy(self.server.copy_data("replaced"))
        self.check_there(copy, [replacing], in_files=False)
        self.check_gone(copy, [replaced])

        for call in (acked, acked_large):
            self.retrieve(call.call_id)
        for call in (deleted, deleted_large):
            self.delete(call.call_id)
        ended = [each for each in lasting if each != kept] + [replacing]
        copy = self.read_copy(self.server.copy_data("after"))
        self.wait_for_room()
        emptied = self.read_copy(self.server.copy_data("emptied"))
        self.check_gone(emptied, ended, ciphertext_is_gone=True)
        # So that there was something to try the keys on.
        self.assertGreaterEqual(self.check_gone(copy, ended), len(ended))
        for tombstone in self.tombstones:
            self.assertNotEqual(copy.places_of(tombstone), [], "a tombstone is not found")

        # What a start recovers from the log must not bring back a secret.
        self.server.kill()
        self.server.start()
        copy = self.read_copy(self.server.copy_data("recovered"))
        self.check_gone(copy, ended)
        self.check_there(copy, [kept], in_files=True)

    def live_slots(self) -> Set[Tuple[int, int]]:
        with open(self.server.path("data/keys/slots"), "rb") as file:
            slots = read_slots(file.read())
        return {slot_of(slot) for slot in slots if slot.state == "live"}

    def wait_for_erasure(self, payloads: List[Stored]) -> None:
        deadline_s = max(each.deadline_ms for each in payloads) / 1000
        wanted = self.live_slots()
        self.assertEqual(len(wanted), len(payloads))
        self.assertLess(time.time(), deadline_s, "the machine is too busy for this ttl")
        wait_until(
            lambda: not wanted & self.live_slots(), "secrets erased", SHORT_TTL_S + ERASE_TIMEOUT_S
        )
        print(f"erased {time.time() - deadline_s:.2f} s after the deadline")

    # What must hold of a copy.

    def check_there(self, copy: DataCopy, stored: List[Stored], in_files: bool) -> None:
        secrets = {slot_of(slot): slot.secret for slot in copy.slots}
        for each in stored:
            found = find(copy, each)
            self.assertIsNotNone(found, "what is there is not found")
            found = found._replace(secret=secrets[slot_of(found.row)])
            found = found._replace(segments=self.check_segments(copy, found, in_files))
            self.found[each] = found
            row, payload = found.row, found.payload
            self.assertEqual(row.attempt, each.attempt)
            self.assertEqual(row.size_bytes, len(each.data))
            is_large = len(each.data) > 64 << 10
            self.assertEqual(row.segment_count, -(-len(each.data) >> 20) if is_large else 0)
            self.assertEqual(row.deadline_ms, each.deadline_ms)
            self.assertEqual(row.fingerprint, payload.fingerprint)
            self.assertEqual(payload.outcome, 0 if each.kind == INPUT else OUTCOME_FAILURE)
            self.assertEqual(payload.checksum, crc32c(each.data))
            self.assertEqual(payload.content_type, "text/marker")
            self.assertEqual(payload.labels, {"colour": "blue"})
            due = struct.pack(">IQQQ", row.slot, row.generation, row.size_bytes, row.stored_ms)
            self.assertNotEqual(copy.places_of(due), [], "its row of what is due is not found")
            self.check_place(copy, found, in_files)

    def check_place(self, copy: DataCopy, found: Found, in_files: bool) -> None:
        row = found.row
        places = copy.places_of(row.text[row.offset : row.offset + 56])
        self.assertEqual(any(place.endswith(".sst") for place in places), in_files, places)

    def check_segments(self, copy: DataCopy, found: Found, in_files: bool) -> Tuple[bytes, ...]:
        heads = []
        for number in range(found.row.segment_count):
            keys = copy.input_keys(found.row, every=False)
            sealed = copy.find_segment(found.row, found.call, number, keys)
            self.assertIsNotNone(sealed, "a segment is not found")
            places = copy.places_of(sealed[:64])
            self.assertEqual(len(places), 1, f"its ciphertext is written once: {places}")
            self.assertTrue(places[0].startswith("segments/"), places)
            heads.append(sealed[:64])
            extents = copy.extents_of(found.call, found.row, number)
            self.assertEqual(len(extents), 0 if in_files else 1, "rows of the segment in logs")
            for extent in extents:
                self.assertEqual(extent.file, places[0])
                self.assertEqual(extent.size_bytes, len(sealed))
                self.assertEqual(extent.checksum, crc32c(sealed))
                self.assertTrue(copy.files[extent.file].startswith(sealed[:64], extent.offset))
        return tuple(heads)

    def wait_for_room(self) -> None:
        """Until no large payload takes any."""

        def blocks() -> int:
            with os.scandir(self.server.path("data/segments")) as files:
                return sum(file.stat().st_blocks for file in files)

        wait_until(lambda: blocks() == 0, "the room of large payloads", ROOM_TIMEOUT_S)

    def check_gone(
        self, copy: DataCopy, ended: List[Stored], ciphertext_is_gone: bool = False
    ) -> int:
        """Returns how many of their rows, ciphertext and all, are still on the disk."""
        tried = row_count = 0
        for each in ended:
            row, call, _, secret, segments = self.found[each]
            self.assertEqual(copy.places_of(secret), [], "its secret is still there")
            if ciphertext_is_gone:
                for segment in segments:
                    self.assertEqual(copy.places_of(segment), [], "ciphertext is still there")
            slots = [slot for slot in copy.slots if slot_of(slot) == slot_of(row)]
            self.assertTrue(all(slot.state == "erased" for slot in slots), slots)
            for candidate in copy.rows_of(row.slot, row.generation):
                row_count += 1
                for input_key in copy.input_keys(candidate, every=True):
                    tried += 1
                    self.assertIsNone(copy.open_row(candidate, call, input_key), "a row opens")
            for number in range(row.segment_count):
                input_keys = list(copy.input_keys(row, every=True))
                tried += len(input_keys)
                segment = copy.find_segment(row, call, number, input_keys)
                self.assertIsNone(segment, "a segment opens")
        print(f"{len(ended)} ended, {row_count} rows on the disk, {tried} keys tried")
        return row_count


if __name__ == "__main__":
    called_server_case.main()
