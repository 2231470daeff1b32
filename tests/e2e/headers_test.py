#!/usr/bin/python3
"""What one caller's headers and resets do to other calls on its connection, and to the server.

Usage: headers_test.py MAYFLYD [unittest arguments]
"""

import os
import subprocess
import sys
import threading
import time
import unittest
from typing import Any, List, Tuple

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "1")

import raw_http2  # noqa: E402
from live_server import SOURCE_DIR, LiveServer  # noqa: E402

KIB = 1 << 10
MIB = 1 << 20
METADATA_BYTES_MAX = 64 * KIB  # the default
PATH = b"/mayfly.v1.FunctionIo/DescribeCalls"
REQUEST = raw_http2.call_message(b"\x0a\x04none")  # one malformed id: it is answered for itself
INDEXED_ENTRY = b"\x40\x01x\x00"  # takes the header "x: " into the table, as its newest entry
NEWEST_ENTRY = b"\xbe"
CANCEL = (8).to_bytes(4, "big")
CALLS_MAX = 256  # of a connection, the default
RESETS_MAX = 1000  # of a connection, in a burst
PEER_RESETS_MAX = 4000  # of an address and of a tenant, in a burst
# Of the server, for headers that it refuses. Without the bound a single one cost 20 s and 4 MiB each.
CPU_S_MAX = 3
GROWTH_BYTES_MAX = 64 * MIB
# Of a client that connects anew to reset more calls: what its budget lets it take, and what is left
# when its memory has been given back.
RECONNECTING_S = 10
PEAK_BYTES_MAX = 128 * MIB
KEPT_BYTES_MAX = 32 * MIB
PAUSE_S = 60
SERVED_WITHIN_S = 20

MAYFLYD = ""


class RawConnectionsTest(unittest.TestCase):
    server: LiveServer

    @classmethod
    def setUpClass(cls) -> None:
        cls.server = LiveServer(MAYFLYD)
        cls.addClassCleanup(cls.server.close)
        cls.server.start()

    def connect(self, acknowledge: bool = False, client: str = "client",
                source: str = "127.0.0.1") -> raw_http2.RawHttp2:
        context = self.server.tls_context(client)
        connection = raw_http2.RawHttp2(self.server.port, context, acknowledge, source)
        self.addCleanup(connection.close)
        return connection

    def make_tenant(self, name: str) -> str:
        """Returns the name of its client's certificate."""
        subprocess.run(
            [os.path.join(SOURCE_DIR, "deploy/make-certificates"),
             self.server.path("certificates"), "--tenant", name, "--prefix", f"{name}-"],
            check=True,
            stderr=subprocess.DEVNULL,
        )
        return f"{name}-client"

    def cpu_s(self) -> float:
        with open(f"/proc/{self.server.pid}/stat") as file:
            fields = file.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def resident_bytes(self) -> int:
        with open(f"/proc/{self.server.pid}/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    @staticmethod
    def call_frames(stream: int, block: bytes) -> bytes:
        return (raw_http2.header_frames(block, stream)
                + raw_http2.frame(raw_http2.DATA, raw_http2.END_STREAM, stream, REQUEST))

    def send_call(self, connection: raw_http2.RawHttp2, stream: int, block: bytes) -> None:
        self.assertTrue(connection.send(self.call_frames(stream, block)))

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

    def serves(self, connection: raw_http2.RawHttp2, stream: int) -> bool:
        """Whether the server still answers a call on this connection."""
        return (connection.send(self.call_frames(stream, raw_http2.call_headers(PATH)))
                and self.is_answered(connection, stream))

    def assert_cheap(self, cpu_s: float, resident_bytes: int) -> None:
        time.sleep(0.5)  # what was read is worked on
        self.assertLess(self.cpu_s() - cpu_s, CPU_S_MAX)
        self.assertLess(self.resident_bytes() - resident_bytes, GROWTH_BYTES_MAX)


class HeadersTest(RawConnectionsTest):
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


def opened_and_reset(count: int) -> bytes:
    """So many calls, each opened and reset at once."""
    block = raw_http2.call_headers(PATH)
    return b"".join(
        raw_http2.header_frames(block, stream)
        + raw_http2.frame(raw_http2.RST_STREAM, 0, stream, CANCEL)
        for stream in range(1, 2 * count, 2)
    )


class ResetsTest(RawConnectionsTest):
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
        self.assertTrue(self.serves(connection, stream))

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


    def ended_count(self, peers: List[Tuple[str, str]]) -> int:
        """Each peer, a certificate and an address, resets three quarters of its burst, on
        connections that each stay within their own. Returns how many the server ends."""
        resets = opened_and_reset(RESETS_MAX)
        connections = [self.connect(client=client, source=source)
                       for client, source in peers for _ in range(3)]
        for connection in connections:
            connection.send(resets)
        next_stream = 2 * RESETS_MAX + 1
        return sum(not self.serves(connection, next_stream) for connection in connections)

    def test_connections_share_a_budget_with_all_of_their_address(self) -> None:
        clients = [self.make_tenant(f"of-one-address-{i}") for i in range(4)]
        self.assertGreater(self.ended_count([(client, "127.0.1.1") for client in clients]), 0)

    def test_connections_share_a_budget_with_all_of_their_tenant(self) -> None:
        client = self.make_tenant("of-four-addresses")
        self.assertGreater(self.ended_count([(client, f"127.0.2.{i + 1}") for i in range(4)]), 0)

    def test_peers_that_share_neither_address_nor_tenant_share_no_budget(self) -> None:
        peers = [(self.make_tenant(f"of-its-own-{i}"), f"127.0.3.{i + 1}") for i in range(2)]
        self.assertEqual(self.ended_count(peers), 0)


class ReconnectingTest(RawConnectionsTest):
    """With a server of its own, whose memory nothing else has filled before."""

    def keep_resetting(self, client: str, end: float) -> None:
        """Connects anew as often as it can until then, each time with what one may reset."""
        resets = opened_and_reset(RESETS_MAX - 10)
        while time.monotonic() < end:
            try:
                connection = self.connect(client=client, source="127.0.4.1")
            except OSError:
                continue
            connection.send(resets)
            connection.is_ended(0.01)
            connection.close()

    def test_reconnecting_gives_no_more_resets_and_keeps_no_memory(self) -> None:
        client = self.make_tenant("reconnecting")
        before = self.resident_bytes()
        end = time.monotonic() + RECONNECTING_S
        threads = [
            threading.Thread(target=self.keep_resetting, args=(client, end)) for _ in range(3)
        ]
        for thread in threads:
            thread.start()
        peak = before
        longest_s = 0.0
        with self.server.connect("client") as channel:
            call: Any = channel.unary_unary("/mayfly.v1.FunctionIo/DescribeCalls")
            while time.monotonic() < end:
                begun = time.monotonic()
                call(b"\x0a\x04none", timeout=60)
                longest_s = max(longest_s, time.monotonic() - begun)
                peak = max(peak, self.resident_bytes())
                time.sleep(0.02)
        for thread in threads:
            thread.join()
        pause_end = time.monotonic() + PAUSE_S
        while self.resident_bytes() - before > KEPT_BYTES_MAX and time.monotonic() < pause_end:
            time.sleep(0.1)
        kept = self.resident_bytes() - before
        print(f"at most {(peak - before) / MIB:.0f} MiB more, then {kept / MIB:.0f} MiB;"
              f" the longest call took {longest_s:.2f} s")
        self.assertLess(peak - before, PEAK_BYTES_MAX)
        self.assertLess(kept, KEPT_BYTES_MAX)
        self.assertLess(longest_s, SERVED_WITHIN_S)


if __name__ == "__main__":
    MAYFLYD = sys.argv.pop(1)
    unittest.main(verbosity=2)
