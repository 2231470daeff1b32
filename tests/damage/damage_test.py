#!/usr/bin/python3
"""What becomes of a store whose files are damaged, cut, or another store's.

    damage_test.py MAYFLYD PROTOC [UNITTEST_ARGUMENT...]

The real server, and its files changed behind its back. A start refuses what a crash cannot have left
behind, and changes nothing, so that it serves all again with the right file. What is damaged while it
serves, or in a table file that nobody looks at before, is told to those whose call it is, and to
nobody else.
"""

import glob
import os
import shutil
import struct
import sys
import time
from typing import Any, Callable, List, Set, Tuple

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../support"))

import called_server_case
from call_id import new_call_id
from slot_file import PAGE_BYTES, SLOT_BYTES, read_slots
from waiting import wait_until

OK, NOT_FOUND, DATA_LOSS = 0, 5, 15
CALL_COUNT = 512
DATA_BYTES = 1000
# In segments, and not in its row.
LARGE_BYTES = 200_000
# Without a retry, on a busy machine.
AT_ONCE_S = 10
# In the middle of a block of 16 KiB, the first of its file.
BAD_OFFSET = 5000
# Of the two in keys/database.
RECORD_COPY_BYTES = 32 << 10
# The server logs an operation that meets damage once in so long.
ALARM_INTERVAL_S = 10


def flip(path: str, offset: int) -> None:
    with open(path, "r+b", buffering=0) as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 1]))


class Damage(called_server_case.CalledServerCase):
    """One server each."""

    def setUp(self) -> None:
        self.began = time.monotonic()
        super().setUp()
        self.slots_path = self.server.path("data/keys/slots")

    # A start that is refused.

    def test_slots_cut_to_one_page(self) -> None:
        calls = self.put_inputs(CALL_COUNT)
        self.server.kill()
        self.keep(self.slots_path)
        os.truncate(self.slots_path, 4 * PAGE_BYTES)
        refused = self.server.start_refused()
        self.assertIn("the slot file keys/slots has 128 slots, it once had 32768", refused)
        self.assertIn("storage.accept_data_loss", refused)
        self.put_back(self.slots_path)
        self.server.start()
        self.assertEqual(self.get_inputs(calls), [OK] * CALL_COUNT)

        # With the loss accepted the others are what never was, and may be put again.
        self.server.kill()
        os.truncate(self.slots_path, 4 * PAGE_BYTES)
        self.server.storage_settings = "accept_data_loss = true"
        self.server.start()
        # Not the 512 that were counted before the loss.
        self.assertIn('"payloads":128', self.log())
        lost = CALL_COUNT - 128
        self.wait_until_logged(
            "data loss, accepted by storage.accept_data_loss: "
            f"{lost} payloads are lost: {lost} payloads of {lost} calls have no secret"
        )
        self.wait_until_logged("what a crash left behind")
        told = self.get_inputs(calls)
        self.assertEqual(sorted(told), [OK] * 128 + [NOT_FOUND] * (CALL_COUNT - 128))
        self.server.kill()
        self.server.storage_settings = ""
        self.server.start()
        self.assertEqual(self.get_inputs(calls), told)

    def test_files_of_another_store(self) -> None:
        calls = self.put_inputs(8)
        self.server.kill()
        # The same root key, or that is what would be noticed.
        other = self.new_server()
        shutil.copy(self.server.path("root.key"), other.path("root.key"))
        other.start()
        other.kill()
        for name in ("keys/slots", "keys/keyring", "keys/clock", "keys/database", "db"):
            path = self.server.path("data/" + name)
            self.keep(path)
            self.copy(other.path("data/" + name), path)
            refused = self.server.start_refused()
            self.assertIn("another store's", refused)
            self.assertIn(name, refused)
            self.put_back(path)
        self.server.start()
        self.assertEqual(self.get_inputs(calls), [OK] * 8)

    def test_files_of_the_database_that_lost_something(self) -> None:
        early, log = self.fill_two_logs()
        newest = max(glob.glob(self.server.path("data/db/*.log")))
        _, manifest, _ = self.recorded_files()
        size = os.path.getsize(log)
        damages: List[Tuple[str, Callable[[], None], str]] = [
            (log, lambda: os.remove(log), f"{size} bytes of it were once synced"),
            (log, lambda: os.truncate(log, 0), f"has 0 bytes, but {size} were once synced"),
            (log, lambda: os.truncate(log, size - 7), f"has {size - 7} bytes, but {size} were"),
            (log, lambda: self.fill_with_zeros(log), f"has zeros at byte 0, but {size} bytes"),
            (newest, lambda: os.truncate(newest, os.path.getsize(newest) - 7), "were once synced"),
            (manifest, lambda: os.truncate(manifest, 100), "has 100 bytes, but"),
            (manifest, lambda: os.remove(manifest), "has 0 bytes, but"),
            (self.server.path("data/db"), self.empty_database, "names no manifest"),
        ]
        for path, damage, text in damages:
            self.keep(path)
            damage()
            for _ in range(2):
                refused = self.server.start_refused()
                self.assertIn("data loss: ", refused)
                self.assertIn(os.path.basename(path), refused)
                self.assertIn(text, refused)
                self.assertIn("storage.accept_data_loss", refused)
            # Nothing has been changed: the file alone is put back.
            self.put_back(path)
        self.server.start()
        self.assertEqual(self.get_inputs(early), [OK] * len(early))

    def test_an_older_log_that_is_given_up(self) -> None:
        early, log = self.fill_two_logs()
        os.remove(log)
        self.server.start_refused()
        settings = self.server.storage_settings
        self.server.storage_settings += "\naccept_data_loss = true"
        self.server.start()
        self.assertIn(
            "accepted by storage.accept_data_loss: data loss: "
            f"the log db/{os.path.basename(log)} is missing",
            self.log(),
        )
        told = self.get_inputs(early)
        self.assertLessEqual(set(told), {OK, NOT_FOUND})
        self.server.kill()
        self.server.storage_settings = settings
        self.server.start()
        self.assertEqual(self.get_inputs(early), told)

    def test_a_record_of_files_that_is_lost(self) -> None:
        calls = self.put_inputs(8)
        record = self.server.path("data/keys/database")
        for damage, word in ((os.remove, "missing"), (lambda path: os.truncate(path, 9), "damaged")):
            self.server.kill()
            damage(record)
            self.server.start()
            self.assertIn(f"the record keys/database is {word}", self.log())
            self.assertEqual(self.get_inputs(calls), [OK] * 8)
            self.assertEqual(os.path.getsize(record), 2 * RECORD_COPY_BYTES)

    def test_a_segment_file_that_is_missing(self) -> None:
        small, large, file = self.put_large()
        size = os.path.getsize(file)
        name = "segments/" + os.path.basename(file)
        self.keep(file)
        for damage, words in (
            (lambda: os.remove(file), "is missing"),
            (lambda: os.truncate(file, 100), f"has 100 bytes, but {size} were written"),
            (lambda: self.replace_by_directory(file), "is not a regular file"),
        ):
            damage()
            for _ in range(2):
                refused = self.server.start_refused()
                self.assertIn(f"data loss: the segment file {name} {words}", refused)
                self.assertIn("restore the data directory, or set storage.accept_data_loss", refused)
            self.put_back(file)
        self.server.start()
        self.assertEqual(self.get_inputs(small + large), [OK] * len(small + large))
        self.server.kill()

        os.remove(file)
        self.server.storage_settings = "accept_data_loss = true"
        self.server.start()
        self.assertIn(
            f"accepted by storage.accept_data_loss: data loss: the segment file {name}", self.log()
        )
        self.assert_lost(large, small)
        self.server.kill()
        # Accepted once and for all.
        self.server.storage_settings = ""
        self.server.start()
        self.assert_lost(large, small)
        self.assertIn("its loss was accepted before", self.log())
        # They end as others do, and others take their place.
        response = self.server.call("client", "DeleteCalls", call_ids=large[:1])
        self.assertEqual(response.results[0].status.code, OK)
        self.assertEqual(self.get_inputs(self.put_inputs(1, data_bytes=LARGE_BYTES)), [OK])
        # Another one is not accepted with it.
        self.server.kill()
        self.server.start()
        self.server.kill()
        [other] = set(glob.glob(self.server.path("data/segments/*"))) - {file}
        self.keep(other)
        os.remove(other)
        refused = self.server.start_refused()
        self.assertIn("segments/" + os.path.basename(other), refused)
        # What is found again is served again, and missed when it is lost again.
        self.put_back(other)
        self.put_back(file)
        self.server.start()
        self.assertEqual(self.get_inputs(small + large[1:]), [OK] * (len(small + large) - 1))
        self.server.kill()
        os.remove(file)
        self.assertIn(name, self.server.start_refused())

    # Without the record of files: as if all was lost in the second after it was written.

    def test_a_log_that_was_cut(self) -> None:
        early = self.put_inputs(64)
        late = self.put_inputs(64)
        self.server.kill()
        os.remove(self.server.path("data/keys/database"))
        log = max(glob.glob(self.server.path("data/db/*.log")), key=os.path.getsize)
        self.keep(log)
        os.truncate(log, os.path.getsize(log) - 7)
        self.keep(self.server.path("data/db"))
        refused = self.server.start_refused()
        self.assertIn("data loss: the database recovered sequence", refused)
        self.put_back(self.server.path("data/db"))
        self.put_back(log)
        self.server.start()
        self.assertEqual(self.get_inputs(early + late), [OK] * 128)

    def test_an_older_log_that_is_gone(self) -> None:
        early, log = self.fill_two_logs()
        slots = self.live_slots()
        self.keep(self.server.path("data"))
        os.remove(log)
        os.remove(self.server.path("data/keys/database"))
        for _ in range(2):
            self.server.start()
            # The rows of the payloads are in a table file.
            self.wait_until_logged("payloads are lost; they stay readable")
            self.assertNotIn("what a crash left behind", self.log())
            self.assertEqual(self.live_slots(), slots)
            self.assertEqual(self.get_inputs(early), [OK] * len(early))
            self.server.kill()
        self.server.storage_settings += "\naccept_data_loss = true"
        self.server.start()
        self.wait_until_logged("payloads are lost; they stay readable")
        self.assertEqual(self.get_inputs(early), [OK] * len(early))
        self.server.kill()
        self.put_back(self.server.path("data"))
        self.server.start()
        self.assertEqual(self.get_inputs(early), [OK] * len(early))

    def test_an_older_log_that_is_damaged(self) -> None:
        early, log = self.fill_two_logs()
        flip(log, BAD_OFFSET)
        self.server.start_refused()
        self.server.storage_settings += "\naccept_data_loss = true"
        self.server.start()
        self.assertLessEqual(set(self.get_inputs(early)), {OK, NOT_FOUND})
        self.put_inputs(1)

    def test_a_slot_damaged_at_rest(self) -> None:
        [call] = self.put_inputs(1)
        slot = self.slot_put_by(lambda: self.put_output(call, b"first"))
        self.server.kill()
        flip(self.slots_path, slot + 12)
        for _ in range(2):
            self.assertIn("1 damaged slots of 32768", self.server.start_refused())
        flip(self.slots_path, slot + 12)
        self.server.start()
        self.assertEqual([each.payload.data for each in self.claim([call]).outputs], [b"first"])

    # Damage while it serves.

    def test_a_slot_damaged_while_it_serves(self) -> None:
        calls = self.put_inputs(2)
        slot = self.slot_put_by(lambda: self.put_output(calls[0], b"first"))
        flip(self.slots_path, slot + 12)
        for _ in range(3):
            claimed = self.claim(calls[:1])
            self.assertEqual([each.status.code for each in claimed.ended], [DATA_LOSS])
        self.assertEqual(self.put_output(calls[0], b"another"), DATA_LOSS)
        self.assertEqual(self.get_inputs(calls), [OK, OK])
        flip(self.slots_path, slot + 12)
        self.assertEqual(self.put_output(calls[0], b"first"), OK)
        flip(self.slots_path, slot + 12)
        # It ends as others do.
        response = self.server.call("client", "DeleteCalls", call_ids=calls[:1])
        self.assertEqual(response.results[0].status.code, OK)
        with open(self.slots_path, "rb") as file:
            file.seek(slot + 8)
            self.assertEqual(file.read(20), bytes(20))
        self.assert_rate_limited("damage, looking at slots")

        slot = self.slot_put_by(lambda: calls.extend(self.put_inputs(1)))
        flip(self.slots_path, slot + 12)
        self.assertEqual(self.get_inputs(calls[1:]), [OK, DATA_LOSS])

    def test_a_segment_file_lost_while_it_serves(self) -> None:
        small, large, file = self.put_large()
        self.keep(file)
        for damage in (
            lambda: os.remove(file),
            lambda: os.truncate(file, 100),
            lambda: self.replace_by_directory(file),
        ):
            # Until a payload in it is read, it is not open.
            self.server.start()
            damage()
            self.assert_lost(large, small)
            self.assertEqual(self.put_output(small[0], b"output"), OK)
            self.put_back(file)
            self.assertEqual(self.get_inputs(large), [OK] * len(large))
            self.server.kill()
        self.assertIn(f"call {large[0][:18]}-... of tenant number", self.log())
        self.assertIn("answers DATA_LOSS until the file is back", self.log())

    def test_one_bad_block_of_rows(self) -> None:
        calls = self.put_inputs(CALL_COUNT)
        self.restart_from_files()
        self.damage_block("calls")
        self.server.start()
        told = self.get_inputs(calls)
        bad = [call for call, code in zip(calls, told) if code == DATA_LOSS]
        self.assertEqual(told.count(OK) + len(bad), CALL_COUNT)
        self.assertGreater(len(bad), 0)
        self.assertLess(len(bad), 40)
        # Whoever polls a damaged call is told, and harms nobody.
        for _ in range(20):
            claimed = self.claim(bad + calls[-1:])
            self.assertEqual([each.status.code for each in claimed.ended], [DATA_LOSS] * len(bad))
            self.assertEqual(claimed.pending_count, 1)
            self.put_inputs(4)
        self.assertEqual(self.put_output(bad[0], b"output"), DATA_LOSS)
        self.assertEqual(self.put_output(calls[-1], b"output"), OK)
        self.assert_rate_limited("damage, reading rows")
        self.assertNotIn("the server is ending", self.log())

    def test_one_bad_block_of_deadlines(self) -> None:
        ttl_s = 20
        self.put_inputs(CALL_COUNT, ttl_s)
        deadline = time.time() + ttl_s
        lasting = self.put_inputs(4)
        self.restart_from_files()
        self.damage_block("deadlines")
        self.server.start()
        self.assertLess(time.time(), deadline, "the machine is too busy for this ttl")
        # About 270 are in the block; the hourly round has those.
        wait_until(lambda: len(self.live_slots()) < CALL_COUNT - 100, "most slots erased")
        self.assertEqual(self.get_inputs(lasting), [OK] * 4)
        self.assert_rate_limited("damage, reading deadlines")
        self.assertIn("slots that no row names are left alone", self.log())

    # What tests are made of.

    def put_large(self) -> Tuple[List[str], List[str], str]:
        """Leaves it killed; calls with a small input and with a large one, and the file of these."""
        small = self.put_inputs(8)
        large = self.put_inputs(4, data_bytes=LARGE_BYTES)
        self.restart_from_files()
        [file] = glob.glob(self.server.path("data/segments/*"))
        return small, large, file

    def assert_lost(self, lost: List[str], others: List[str]) -> None:
        began = time.monotonic()
        told = self.get_inputs(lost + others)
        self.assertEqual(told, [DATA_LOSS] * len(lost) + [OK] * len(others))
        self.assertLess(time.monotonic() - began, AT_ONCE_S)

    def replace_by_directory(self, path: str) -> None:
        os.remove(path)
        os.mkdir(path)

    def fill_two_logs(self) -> Tuple[List[str], str]:
        """Leaves it killed; the calls whose rows and deadlines are in the older log, and its path."""
        self.server.kill()
        self.server.storage_settings = 'memtable_bytes = "16MiB"'
        self.server.start()
        early = self.put_inputs(64)
        # Fills the memtable of the rows, not that of the deadlines.
        for _ in range(8):
            self.put_inputs(32, data_bytes=60_000)
        self.put_inputs(64)
        wait_until(self.files_are_recorded, "a record of files that is up to date")
        self.server.kill()
        logs = sorted(glob.glob(self.server.path("data/db/*.log")))
        logs = [log for log in logs if os.path.getsize(log) > 0]
        self.assertGreaterEqual(len(logs), 2)
        return early, logs[0]

    def files_are_recorded(self) -> bool:
        """As they are: several logs, and the manifest that says which of them are needed."""
        try:
            manifest_bytes, manifest, logs = self.recorded_files()
            return (
                len(logs) >= 2
                and os.path.getsize(manifest) == manifest_bytes
                and all(os.path.getsize(self.log_path(number)) == size for number, size in logs)
            )
        except (FileNotFoundError, struct.error):
            return False  # read while it was written

    def recorded_files(self) -> Tuple[int, str, List[Tuple[int, int]]]:
        """The size of the manifest and its path, and the numbers and sizes of logs."""
        with open(self.server.path("data/keys/database"), "rb") as file:
            content = file.read()
        copies = [content[:RECORD_COPY_BYTES], content[RECORD_COPY_BYTES:]]
        newest = max(copies, key=lambda copy: int.from_bytes(copy[28:36], "big"))
        number, size, log_count = struct.unpack(">QQI", newest[36:56])
        logs = [struct.unpack(">QQ", newest[58 + 16 * i : 74 + 16 * i]) for i in range(log_count)]
        return size, self.server.path(f"data/db/MANIFEST-{number:06}"), logs

    def log_path(self, number: int) -> str:
        return self.server.path(f"data/db/{number:06}.log")

    def fill_with_zeros(self, path: str) -> None:
        size = os.path.getsize(path)
        os.truncate(path, 0)
        os.truncate(path, size)

    def empty_database(self) -> None:
        for name in os.listdir(self.server.path("data/db")):
            os.remove(os.path.join(self.server.path("data/db"), name))

    def put_inputs(
        self, count: int, ttl_s: int = 3600, data_bytes: int = DATA_BYTES
    ) -> List[str]:
        calls = [str(new_call_id()) for _ in range(count)]
        items = [
            {"call_id": call, "payload": {"data": os.urandom(data_bytes)}, "ttl": {"seconds": ttl_s}}
            for call in calls
        ]
        response = self.server.call("client", "PutInputs", items=items)
        self.assertEqual([result.status.code for result in response.results], [OK] * count)
        return calls

    def put_output(self, call: str, data: bytes) -> int:
        item = {"call_id": call, "payload": {"data": data}, "attempt": 1, "outcome": 1}
        return int(self.server.call("worker", "PutOutputs", items=[item]).results[0].status.code)

    def get_inputs(self, calls: List[str]) -> List[int]:
        response = self.server.call("worker", "GetInputs", call_ids=calls, max_bytes=60 << 20)
        return [result.status.code for result in response.results]

    def claim(self, calls: List[str]) -> Any:
        request = {"call_ids": calls, "claim_token": os.urandom(16), "max_bytes": 60 << 20}
        return self.server.call("client", "ClaimOutputs", lease={"seconds": 600}, **request)

    def live_slots(self) -> Set[int]:
        with open(self.slots_path, "rb") as file:
            return {slot.number for slot in read_slots(file.read()) if slot.state == "live"}

    def slot_put_by(self, put: Any) -> int:
        """The offset of the slot that it takes."""
        before = self.live_slots()
        put()
        [number] = self.live_slots() - before
        return 3 * PAGE_BYTES + number * SLOT_BYTES

    def restart_from_files(self) -> None:
        """Leaves it killed, with all rows in table files."""
        self.server.kill()
        self.server.start()
        self.server.kill()

    def damage_block(self, family: str) -> None:
        # The end of a property's name, whose beginning it shares with the one before, and its value.
        name = b"name" + family.encode()
        paths = []
        for path in glob.glob(self.server.path("data/db/*.sst")):
            with open(path, "rb") as file:
                if name in file.read():
                    paths.append(path)
        self.assertNotEqual(paths, [], "no table file of that family")
        flip(max(paths, key=os.path.getsize), BAD_OFFSET)

    def log(self) -> str:
        with open(self.server.path("log")) as file:
            return file.read()

    def assert_rate_limited(self, words: str) -> None:
        intervals = (time.monotonic() - self.began) / ALARM_INTERVAL_S
        self.assertIn(self.log().count(words), range(1, int(intervals) + 2), words)

    def wait_until_logged(self, words: str) -> None:
        wait_until(lambda: words in self.log(), words)

    def copy(self, source: str, path: str) -> None:
        if os.path.isdir(path):
            shutil.rmtree(path)
        elif os.path.exists(path):
            os.remove(path)
        shutil.copytree(source, path) if os.path.isdir(source) else shutil.copy(source, path)

    def keep(self, path: str) -> None:
        kept = self.server.path("kept-" + os.path.basename(path))
        shutil.copytree(path, kept) if os.path.isdir(path) else shutil.copy(path, kept)

    def put_back(self, path: str) -> None:
        self.copy(self.server.path("kept-" + os.path.basename(path)), path)


if __name__ == "__main__":
    called_server_case.main()
