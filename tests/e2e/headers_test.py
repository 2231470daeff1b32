#!/usr/bin/python3
"""What one caller's headers and resets do to other calls on its connection, and to the server.

Usage: headers_test.py MAYFLYD [unittest arguments]
"""

import os
import sys
import threading
import time
import unittest
from typing import Any, List, Tuple

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "1")

import raw_http2  # noqa: E402
from live_server import LiveServer  # noqa: E402

KIB = 1 << 10
MIB = 1 << 20
METADATA_BYTES_MAX = 64 * KIB  # the default
PATH = b"/mayfly.v1.FunctionIo/DescribeCalls"
REQUEST = raw_http2.call_message(b"\x0a\x04none")  # one malformed id: it is answered for itself
INDEXED_ENTRY = b"\x40\x01x\x00"  # takes the header "x: " into the table, as its newest entry
NEWEST_ENTRY = b"\xbe"
CANCEL = (8).to_bytes(4, "big")
CALLS_MAX = 256  # of a connection, the default
RESETS_MAX = 1000  # in a burst
# Of the server, for headers that it refuses. Without the bound a single one cost 20 s and 4 MiB each.
CPU_S_MAX = 3
GROWTH_BYTES_MAX = 64 * MIB

MAYFLYD = ""


class HeadersTest(unittest.TestCase):
    server: LiveServer

    @classmethod
    def setUpClass(cls) -> None:
        cls.server = LiveServer(MAYFLYD)
        cls.addClassCleanup(cls.server.close)
        cls.server.start()

    def connect(self, acknowledge: bool = False) -> raw_http2.RawHttp2:
        context = self.server.tls_context("client")
        connection = raw_http2.RawHttp2(self.server.port, context, acknowledge)
        self.addCleanup(connection.close)
        return connection

    def cpu_s(self) -> float:
        with open(f"/proc/{self.server.pid}/stat") as file:
            fields = file.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def resident_bytes(self) -> int:
        with open(f"/proc/{self.server.pid}/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def send_call(self, connection: raw_http2.RawHttp2, stream: int, block: bytes) -> None:
        self.assertTrue(connection.send(
            raw_http2.header_frames(block, stream)
            + raw_http2.frame(raw_http2.DATA, raw_http2.END_STREAM, stream, REQUEST)))

    def is_answered(self, connection: raw_http2.RawHttp2, stream: int) -> bool:
        """Whether the stream ends with a message, and not with an error or the connection."""
        had_message = False
        while True:
            try:
                kind, flags, of, _ = connection.read_frame()
            except EOFError:
                return False
            if of != stream:
                continue
            had_message = had_message or kind == raw_http2.DATA
            if kind == raw_http2.RST_STREAM:
                return False
            if flags & raw_http2.END_STREAM:
                return had_message

    def call_with_neighbours(self, metadata: List[Tuple[str, str]]) -> None:
        """One call of grpcio with this metadata, while others of its connection are under way."""
        with self.server.connect("client") as channel:
            call: Any = channel.unary_unary("/mayfly.v1.FunctionIo/DescribeCalls")
            failures: List[Exception] = []
            stop = threading.Event()
            started = threading.Barrier(5)

            def keep_calling() -> None:
                call(b"\x0a\x04none", timeout=60)
                started.wait()
                while not stop.is_set():
                    try:
                        call(b"\x0a\x04none", timeout=60)
                    except Exception as error:  # pylint: disable=broad-except
                        failures.append(error)

            threads = [threading.Thread(target=keep_calling) for _ in range(4)]
            for thread in threads:
                thread.start()
            started.wait()
            try:
                for _ in range(20):
                    call(b"\x0a\x04none", timeout=60, metadata=metadata)
            finally:
                stop.set()
                for thread in threads:
                    thread.join()
            self.assertEqual(failures, [])

    def test_sixteen_kib_of_metadata_are_nothing_special(self) -> None:
        self.call_with_neighbours([("baggage", "b" * (16 * KIB))])

    def test_metadata_up_to_the_limit_is_taken(self) -> None:
        self.call_with_neighbours([(f"x-{i}", "b" * (10 * KIB)) for i in range(6)])

    def test_a_malformed_binary_header_concerns_nobody_else(self) -> None:
        for acknowledge in (False, True):
            connection = self.connect(acknowledge)
            self.send_call(connection, 1, raw_http2.call_headers(PATH))
            self.assertTrue(self.is_answered(connection, 1))
            malformed = raw_http2.call_headers(PATH, [(b"x-trace-bin", b"!not base64!")])
            self.send_call(connection, 3, malformed)
            self.assertTrue(self.is_answered(connection, 3))
            self.send_call(connection, 5, raw_http2.call_headers(PATH))
            self.assertTrue(self.is_answered(connection, 5))

    def test_the_limit_holds_without_an_acknowledgement(self) -> None:
        for acknowledge in (False, True):
            connection = self.connect(acknowledge)
            self.send_call(connection, 1, raw_http2.call_headers(PATH, [(b"x", b"a" * 60 * KIB)]))
            self.assertTrue(self.is_answered(connection, 1))
            connection.send(raw_http2.header_frames(
                raw_http2.call_headers(PATH, [(b"x", b"a" * METADATA_BYTES_MAX)]), 3))
            self.assertTrue(connection.is_ended(60))

    def test_the_number_of_calls_holds_without_an_acknowledgement(self) -> None:
        connection = self.connect()
        for i in range(300):
            connection.send(raw_http2.header_frames(raw_http2.call_headers(PATH), 2 * i + 1))
        self.assertTrue(connection.is_ended(60))

    def assert_cheap(self, cpu_s: float, resident_bytes: int) -> None:
        time.sleep(0.5)  # what was read is worked on
        self.assertLess(self.cpu_s() - cpu_s, CPU_S_MAX)
        self.assertLess(self.resident_bytes() - resident_bytes, GROWTH_BYTES_MAX)

    def test_one_large_header_is_refused_before_it_is_read(self) -> None:
        before = self.cpu_s(), self.resident_bytes()
        for acknowledge in (False, True):
            connection = self.connect(acknowledge)
            block = raw_http2.call_headers(PATH, [(b"x", b"a" * (15 * MIB))])
            connection.send(raw_http2.header_frames(block, 1))
            self.assertTrue(connection.is_ended(60))
        self.assert_cheap(*before)

    def test_many_large_headers_do_not_stay_in_memory(self) -> None:
        before = self.cpu_s(), self.resident_bytes()
        connection = self.connect()
        block = raw_http2.call_headers(PATH, [(b"x%d" % i, b"a" * 12 * KIB) for i in range(340)])
        for i in range(100):
            if not connection.send(raw_http2.header_frames(block, 2 * i + 1)):
                break
        self.assertTrue(connection.is_ended(60))
        self.assert_cheap(*before)

    def test_a_block_that_never_ends_is_cut(self) -> None:
        before = self.cpu_s(), self.resident_bytes()
        for part in (b"a" * 16 * KIB, b"", b"\x80" * KIB):
            connection = self.connect()
            begun = raw_http2.call_headers(PATH) + b"\0\x01x" + raw_http2.hpack_length(1 << 30)
            connection.send(raw_http2.header_frames(begun, 1, end=False))
            for _ in range(10_000):
                if not connection.send(raw_http2.frame(raw_http2.CONTINUATION, 0, 1, part)):
                    break
            self.assertTrue(connection.is_ended(60))
        self.assert_cheap(*before)

    def test_references_to_the_table_do_not_multiply(self) -> None:
        before = self.cpu_s(), self.resident_bytes()
        connection = self.connect()
        block = raw_http2.call_headers(PATH) + INDEXED_ENTRY + NEWEST_ENTRY * (60 * KIB)
        for i in range(100):
            if not connection.send(raw_http2.header_frames(block, 2 * i + 1, frame_bytes=KIB)):
                break
        self.assertTrue(connection.is_ended(60))
        self.assert_cheap(*before)

    def reset(self, connection: raw_http2.RawHttp2, stream: int) -> bool:
        return connection.send(raw_http2.frame(raw_http2.RST_STREAM, 0, stream, CANCEL))

    def test_a_client_may_cancel_all_its_calls_at_once(self) -> None:
        connection = self.connect(acknowledge=True)
        self.send_call(connection, 1, raw_http2.call_headers(PATH))
        self.assertTrue(self.is_answered(connection, 1))
        stream = 3
        for _ in range(3):
            streams = range(stream, stream + 2 * CALLS_MAX, 2)
            for each in streams:
                connection.send(raw_http2.header_frames(raw_http2.call_headers(PATH), each))
            for each in streams:
                self.reset(connection, each)
            stream += 2 * CALLS_MAX
        self.send_call(connection, stream, raw_http2.call_headers(PATH))
        self.assertTrue(self.is_answered(connection, stream))

    def test_calls_that_are_opened_and_reset_without_end_end_the_connection(self) -> None:
        before = self.cpu_s(), self.resident_bytes()
        connection = self.connect()
        end = time.monotonic() + 30
        count = 0
        is_open = True
        while is_open and time.monotonic() < end:
            stream = 2 * count + 1
            is_open = connection.send(
                raw_http2.header_frames(raw_http2.call_headers(PATH), stream)
                + raw_http2.frame(raw_http2.RST_STREAM, 0, stream, CANCEL)
            )
            count += 1
        self.assertFalse(is_open)
        self.assertGreater(count, RESETS_MAX)
        self.assert_cheap(*before)


if __name__ == "__main__":
    MAYFLYD = sys.argv.pop(1)
    unittest.main(verbosity=2)
