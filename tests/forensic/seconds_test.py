#!/usr/bin/python3
"""Checks that what is due in a second ends with it, with the data and the root key in hand.

    seconds_test.py MAYFLYD PROTOC CLOCK_SHIM [UNITTEST_ARGUMENT...]

The sweep is made so slow that it cannot have removed what is due: a copy of the data is taken when
the second's chain key has just been overwritten, while rows and secrets are still there. With the
root key, data_copy.py opens none of it, whatever leaf it makes of all chain keys that lie in the
file, and opens what is due later. With the keyring of an earlier copy it opens all of it: nothing
but the chain key is missing.

A copied keyring opens what is due in its 27 hours, with rows and secrets that are stored later too,
and nothing that is due after them. A second that a wrong clock has ended is not sealed under again:
what is due in it later has another key.
"""

import os
import struct
import sys
import time
from typing import Dict, List, Set, Tuple

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(sys.path[0], "../support"))

import called_server_case
from call_id import new_call_id
from called_server import CalledServer
from data_copy import Call, DataCopy, Row, seconds_about
from forensic_case import (
    INLINE_BYTES,
    LARGE_BYTES,
    TENANT_NUMBERS,
    ForensicCase,
    Stored,
    find,
    milliseconds,
)
from keyring import (
    CELLS,
    COPIES,
    SECONDS_PER_HOUR,
    SECTOR_BYTES,
    Cell,
    Keyring,
    extract,
    offset_of,
    place_of_second,
    read_copies,
)
from waiting import wait_until

CROWD_CALLS, CROWD_BYTES, BATCH_CALLS = 2048, 100, 512
SAMPLE_CALLS = 64
# From the first put on, until the crowd is due.
CROWD_AHEAD_S = 12
LADDER_S = range(-3, 12)
# The published lag is 1.1 s and two syncs, from the deadline on; the rest is for a busy machine.
LAG_S = 6
CLOSING_TIMEOUT_S = 60
HOURS_AHEAD = 26
# Within the window of a call's id.
WRONG_CLOCK_AHEAD_S = 200
# From when a day's ttl ends after the last of these hours.
AHEAD_S = 4 * SECONDS_PER_HOUR
DAY_S = 24 * SECONDS_PER_HOUR


Place = Tuple[Call, Row]


class SecondsCase(ForensicCase):
    def read_keyring(self) -> bytes:
        with open(self.server.path("data/keys/keyring"), "rb") as file:
            return file.read()

    @staticmethod
    def ttl_until(due_s: int) -> float:
        """So that the second is the due one, unless the put takes long."""
        return due_s - 0.4 - time.time()

    def wait_until_closed(self, seconds: Set[int]) -> None:
        wait_until(
            lambda: all(self.is_closed(each) for each in seconds),
            "the end of a second's key",
            CLOSING_TIMEOUT_S,
        )

    def is_closed(self, due_s: int) -> bool:
        """In both copies."""
        hour = place_of_second(due_s)[0]
        for copies in read_copies(self.read_keyring()):
            # One that is just being written may look damaged.
            if None in copies or hour in (each.hour for each in copies if each is not None):
                for cell in copies:
                    if cell is None or cell.hour != hour or cell.open_from_s <= due_s:
                        return False
        return True

    def row_of(self, copy: DataCopy, stored: Stored) -> Place:
        for tenant in TENANT_NUMBERS:
            call = Call(stored.call_id.bytes, tenant, stored.kind)
            for row in copy.logged_rows(call):
                return call, row
        raise AssertionError("a row is not found")

    def opens(self, copy: DataCopy, keyring: Keyring, stored: Stored, place: Place) -> bool:
        """With the row's own secret in this copy, and its own leaf by this keyring."""
        call, row = place
        self.assertEqual(row.deadline_ms, stored.deadline_ms)
        leaf = keyring.leaf(row.hour_key, row.due_s)
        secrets = copy.secrets_of(row)
        if leaf is None or not secrets:
            return False
        [secret] = secrets
        payload = copy.open_row(row, call, extract(leaf, secret))
        assert payload is not None, "its own key is not its key"
        self.assertEqual(copy.places_of(leaf), [], "a leaf lies there in the clear")
        return payload.data == stored.data


class Seconds(SecondsCase):
    def new_server(self) -> CalledServer:
        # One payload and a sync at a time.
        server = CalledServer(self.mayflyd, self.messages, settings="sweep_batch_calls = 1")
        self.addCleanup(server.close)
        return server

    def test_what_is_due_in_a_second_ends_with_it(self) -> None:
        due_s = int(time.time()) + CROWD_AHEAD_S
        # The sweep goes by the time in the ids, so it comes to the crowd first.
        crowd: List[Stored] = []
        for _ in range(CROWD_CALLS // BATCH_CALLS):
            crowd += self.put_inputs(BATCH_CALLS, CROWD_BYTES, self.ttl_until(due_s))
        sample = crowd[:: CROWD_CALLS // SAMPLE_CALLS]
        sizes = (0, INLINE_BYTES, LARGE_BYTES)
        sample += [self.put_input(size, self.ttl_until(due_s)) for size in sizes]
        ladder = [self.put_input(INLINE_BYTES, self.ttl_until(due_s + each)) for each in LADDER_S]
        acked = [self.put_output_due(due_s + each) for each in (0, max(LADDER_S))]
        before_path, before_s = self.server.copy_data("before"), self.server.stopped_s
        for each in acked:
            self.retrieve(each.call_id)

        seconds = {each.due_s for each in sample}
        self.assertLess(time.time(), max(seconds), "the machine is too busy for this ttl")
        self.wait_until_closed(seconds)
        print(f"closed {time.time() - max(seconds):.2f} s after the second's end")
        after_path, after_s = self.server.copy_data("after"), self.server.stopped_s

        before, after = self.read_copy(before_path), self.read_copy(after_path)
        rows = {each: self.row_of(before, each) for each in sample + ladder + acked}
        for each, place in rows.items():
            if each.due_s > before_s:
                # So it is looked for in the right way, there and in the other copy.
                self.assertTrue(self.opens(before, before.keyring, each, place))
        rows = {each: self.row_of(after, each) for each in sample + ladder}
        closed = [each for each, place in rows.items() if self.is_over(after.keyring, place)]
        for each, place in rows.items():
            if each in sample or each.due_s + LAG_S <= after_s:
                self.assertIn(each, closed, "a second that is over is not closed")
            if each.due_s > after_s:
                self.assertNotIn(each, closed, "a second is closed before its end")
            if each not in closed:
                self.assertTrue(self.opens(after, after.keyring, each, place))
        self.assertLess(len(closed), len(rows), "nothing is due later")
        self.check_closed(before, after, {each: rows[each] for each in closed})
        for each in acked:
            # Whatever the second.
            place = self.row_of(after, each)
            self.assertFalse(self.opens(after, before.keyring, each, place), "acked, and opens")

    def test_a_start_ends_what_a_crash_left_in_one_copy(self) -> None:
        for copy in range(COPIES):
            stored = self.put_input(INLINE_BYTES, self.ttl_until(int(time.time()) + 3))
            older = self.read_keyring()
            self.wait_until_closed({stored.due_s})
            self.server.kill()
            # As after a crash between the two copies.
            cell = self.cell_at(older, stored.due_s)
            newer = self.cell_at(self.read_keyring(), stored.due_s)
            self.assertLess(cell, newer)
            offset = offset_of(0, copy, cell.number % CELLS)
            with open(self.server.path("data/keys/keyring"), "r+b") as file:
                file.seek(offset)
                file.write(older[offset : offset + SECTOR_BYTES])
            # assertTrue: a failed assertIn would print all of the file.
            self.assertTrue(cell.sealed_key in self.read_keyring())
            self.server.start()
            mended = self.read_keyring()
            self.assertFalse(cell.sealed_key in mended, "an older chain key")
            for each in read_copies(mended)[cell.number % CELLS]:
                assert each is not None, "a copy is damaged"
                self.assertGreaterEqual(each, newer)

    # Operations.

    def put_output_due(self, due_s: int) -> Stored:
        call_id = self.put_input(0).call_id
        return self.put_output(call_id, INLINE_BYTES, attempt=1, ttl_s=self.ttl_until(due_s))

    @staticmethod
    def cell_at(content: bytes, due_s: int) -> Cell:
        """The newer copy of the cell of that second's hour."""
        hour = place_of_second(due_s)[0]
        cells = [cell for copies in read_copies(content) for cell in copies if cell is not None]
        return max(cell for cell in cells if cell.hour == hour)

    # What must hold.

    @staticmethod
    def is_over(keyring: Keyring, place: Place) -> bool:
        _, row = place
        return keyring.cells[row.hour_key].open_from_s > row.due_s

    def check_closed(self, before: DataCopy, after: DataCopy, rows: Dict[Stored, Place]) -> None:
        tried = there = 0
        for each, (call, row) in rows.items():
            is_sample = row.size_bytes == CROWD_BYTES
            seconds = seconds_about(row) if is_sample else range(SECONDS_PER_HOUR)
            for input_key in after.keys_of_own_secret(row, seconds):
                tried += 1
                self.assertIsNone(after.open_row(row, call, input_key), "what is over opens")
            leaf = before.keyring.leaf(row.hour_key, row.due_s)
            if leaf is not None and after.secrets_of(row):
                # Nothing but the chain key is missing.
                self.assertTrue(self.opens(after, before.keyring, each, (call, row)))
                there += 1
            for chain in after.keyring.chains:
                if chain.cell.number == row.hour_key:
                    self.assertGreater(chain.cell.open_from_s, row.due_s, "an older chain key")
        numbers = {row.hour_key for _, row in rows.values()}
        for chain in before.keyring.chains:
            if chain.cell.number in numbers:
                self.assertEqual(after.places_of(chain.cell.sealed_key), [], "an older chain key")
                self.assertEqual(after.places_of(chain.key), [], "in the clear")
        print(f"{len(rows)} closed, {there} with their secrets, {tried} keys tried")
        self.assertGreater(there, len(rows) // 4, "the sweep was too fast")


class MovedClocks(SecondsCase):
    clock_shim = ""

    def new_server(self) -> CalledServer:
        server = super().new_server()
        server.environment["LD_PRELOAD"] = self.clock_shim
        server.environment["MAYFLY_TEST_CLOCKS"] = server.path("clocks")
        with open(server.path("clocks"), "wb") as file:
            file.write(bytes(16))
        return server

    def set_clocks(self, wall_s: int, boottime_s: int) -> None:
        """By how much the wall clock and CLOCK_BOOTTIME are ahead (clock_shim.h)."""
        with open(self.server.path("clocks"), "r+b") as file:
            file.write(struct.pack("=qq", wall_s, boottime_s))

    def test_a_copied_keyring_opens_what_is_due_in_its_hours(self) -> None:
        copied = Keyring(self.read_keyring(), self.server.root_key)
        first = copied.hours()[0]
        self.assertEqual(copied.hours(), list(range(first, first + 1 + HOURS_AHEAD)))
        early = self.put_input(INLINE_BYTES, 20 * SECONDS_PER_HOUR)

        self.server.kill()
        self.ahead_s = AHEAD_S
        self.set_clocks(self.ahead_s, self.ahead_s)
        self.server.start()
        late = self.put_input(INLINE_BYTES, 20 * SECONDS_PER_HOUR)
        beyond = self.put_input(INLINE_BYTES, DAY_S)
        self.assertGreater(place_of_second(beyond.due_s)[0], copied.hours()[-1])
        copy = self.read_copy(self.server.copy_data("later"))
        # What has gone by is nobody's any more.
        hour_now = place_of_second(int(time.time()) + AHEAD_S)[0]
        self.assertIn(copy.keyring.hours()[0], (hour_now - 1, hour_now))
        for each, is_opened in ((early, True), (late, True), (beyond, False)):
            found = find(copy, each)
            assert found is not None, "what is there is not found"
            opened = [
                leaf
                for leaf in copied.leaves(range(SECONDS_PER_HOUR))
                for secret in copy.secrets_of(found.row)
                if copy.open_row(found.row, found.call, extract(leaf, secret)) is not None
            ]
            self.assertEqual(len(opened), 1 if is_opened else 0)

    def test_a_second_that_a_wrong_clock_ended_is_not_sealed_under_again(self) -> None:
        early = self.put_input(INLINE_BYTES, WRONG_CLOCK_AHEAD_S / 2)
        before = self.read_copy(self.server.copy_data("before"))
        early_call, early_row = self.row_of(before, early)
        self.assertTrue(self.opens(before, before.keyring, early, (early_call, early_row)))
        # The store follows a wrong clock, since its grace is 0 here, and later the corrected one.
        self.set_clocks(WRONG_CLOCK_AHEAD_S, 0)
        self.wait_until_closed({early.due_s})
        self.set_clocks(0, 0)
        wait_until(self.follows_the_clock, "a store that follows the corrected clock")
        late = self.put_input(INLINE_BYTES, self.ttl_until(early.due_s))
        after = self.read_copy(self.server.copy_data("after"))
        late_place = self.row_of(after, late)
        self.assertLess(late.due_s, early.due_s + WRONG_CLOCK_AHEAD_S / 4, "all of these were closed")
        self.assertGreater(late_place[1].hour_key, early_row.hour_key)
        self.assertTrue(self.opens(after, after.keyring, late, late_place))
        # Whatever becomes of its secret, which is in the earlier copy.
        for leaf in after.keyring.leaves(range(SECONDS_PER_HOUR)):
            for secret in before.secrets_of(early_row):
                opened = before.open_row(early_row, early_call, extract(leaf, secret))
                self.assertIsNone(opened, "what had ended opens")

    def follows_the_clock(self) -> bool:
        """Whether a put is accepted, and its deadline is by this clock."""
        item = self.item(new_call_id(), b"", 60)
        [result] = self.server.call("client", "PutInputs", items=[item]).results
        is_ahead = milliseconds(result.deadline_time) > (time.time() + WRONG_CLOCK_AHEAD_S) * 1000
        return result.status.code == 0 and not is_ahead


def main() -> None:
    MovedClocks.clock_shim = sys.argv.pop(3)
    called_server_case.main()


if __name__ == "__main__":
    main()
