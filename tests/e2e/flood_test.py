#!/usr/bin/python3
"""Floods of connections against the real server: it goes on, restarts nothing, and serves clients
with a certificate from the flooding address within seconds.

Usage: flood_test.py MAYFLYD [unittest arguments]
"""

import os
import resource
import socket
import ssl
import statistics
import sys
import threading
import time
import unittest
from typing import Any, Callable, List, Optional

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "1")

import grpc  # noqa: E402
from live_server import LiveServer  # noqa: E402

# How long a client with a certificate may wait for a new connection and an answer: half of them at
# most, and each at most, which a busy machine may add to.
SERVED_WITHIN_S = 5
SERVED_AT_LAST_S = 30
# A connection of the flood that is refused is made again after this pause.
RETRY_PAUSE_S = 0.01
DESCRIPTORS_NEEDED = 7000
MALFORMED_ID = b"\x0a\x04none"  # a DescribeCallsRequest, answered for itself
FLOOD_S = 12  # longer than server.handshake_timeout

MAYFLYD = ""

Connect = Callable[[LiveServer], socket.socket]


def connect_silent(server: LiveServer) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=10)


def client_hello(server: LiveServer) -> bytes:
    outgoing = ssl.MemoryBIO()
    context = server.tls_context("client")
    tls = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="localhost")
    try:
        tls.do_handshake()
    except ssl.SSLWantReadError:
        pass
    return outgoing.read()


def connect_tls(server: LiveServer, role: str, settings: bool) -> socket.socket:
    context = server.tls_context(role)
    connection = context.wrap_socket(connect_silent(server), server_hostname="localhost")
    if settings:
        connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0")
    return connection


class Flood:
    """Keeps `count` connections open, and makes those anew that the server closes."""

    def __init__(self, server: LiveServer, count: int, connect: Connect, threads: int = 2):
        self._server = server
        self._connect = connect
        self._stop = threading.Event()
        self.made = 0
        self._threads = [
            threading.Thread(target=self._run, args=(count // threads,)) for _ in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    def _run(self, count: int) -> None:
        open_ones: List[Optional[socket.socket]] = [None] * count
        while not self._stop.is_set():
            for i in range(count):
                if self._stop.is_set():
                    break
                if not self._is_open(open_ones[i]):
                    open_ones[i] = self._make()
            time.sleep(RETRY_PAUSE_S)
        for connection in open_ones:
            if connection is not None:
                connection.close()

    def _make(self) -> Optional[socket.socket]:
        try:
            connection = self._connect(self._server)
            connection.setblocking(False)
            self.made += 1
            return connection
        except (OSError, ssl.SSLError):
            time.sleep(RETRY_PAUSE_S)
            return None

    @staticmethod
    def _is_open(connection: Optional[socket.socket]) -> bool:
        if connection is None:
            return False
        try:
            if connection.recv(65536) != b"":
                return True
        except (BlockingIOError, ssl.SSLWantReadError):
            return True
        except (OSError, ssl.SSLError):
            pass
        connection.close()
        return False

    def end(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


class FloodTest(unittest.TestCase):
    def setUp(self) -> None:
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        if hard != resource.RLIM_INFINITY and hard < DESCRIPTORS_NEEDED:
            self.skipTest(f"needs {DESCRIPTORS_NEEDED} open files, the hard limit is {hard}")
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))

    def start(self, open_files: int, settings: str = "") -> LiveServer:
        server = LiveServer(MAYFLYD, settings, open_files=open_files)
        self.addCleanup(server.close)
        server.start()
        return server

    def call(self, server: LiveServer) -> float:
        """One call on a connection of its own, tried until it is answered; the seconds it took."""
        begun = time.monotonic()
        with server.connect("client") as channel:
            describe: Any = channel.unary_unary("/mayfly.v1.FunctionIo/DescribeCalls")
            while True:
                try:
                    describe(MALFORMED_ID, timeout=SERVED_AT_LAST_S, wait_for_ready=True)
                    return time.monotonic() - begun
                except grpc.RpcError as error:
                    # Its connection was closed before its first call came, as clients know to expect.
                    self.assertEqual(error.code(), grpc.StatusCode.UNAVAILABLE)
                    self.assertLess(time.monotonic() - begun, SERVED_AT_LAST_S)

    def withstand(self, open_files: int, count: int, connect: Connect) -> None:
        server = self.start(open_files)
        pid = server.pid
        with server.connect("client") as before:
            describe: Any = before.unary_unary("/mayfly.v1.FunctionIo/DescribeCalls")
            describe(MALFORMED_ID, timeout=30, wait_for_ready=True)
            flood = Flood(server, count, connect)
            try:
                waits = []
                end = time.monotonic() + FLOOD_S
                while time.monotonic() < end:
                    waits.append(self.call(server))
                    # It raises when a connection in use is closed.
                    describe(MALFORMED_ID, timeout=30)
                    time.sleep(0.1)
            finally:
                flood.end()
            print(f"{count} {connect.__name__} at {open_files}: {flood.made} made, {len(waits)} "
                  f"calls, longest {max(waits):.2f} s", file=sys.stderr)
            self.assertLess(statistics.median(waits), SERVED_WITHIN_S)
        self.assertEqual(server.pid, pid)
        self.assertEqual(server.stop(), 0)

    def test_silent_connections(self) -> None:
        self.withstand(1024, 1224, connect_silent)

    def test_five_thousand_silent_connections(self) -> None:
        self.withstand(4096, 5000, connect_silent)

    def test_handshakes_stopped_in_the_middle(self) -> None:
        hello = b""

        def connect(server: LiveServer) -> socket.socket:
            nonlocal hello
            hello = hello or client_hello(server)
            connection = connect_silent(server)
            connection.sendall(hello)
            return connection

        self.withstand(1024, 1224, connect)

    def test_finished_handshakes_without_a_certificate(self) -> None:
        self.withstand(1024, 1224, lambda server: connect_tls(server, "", True))

    def test_finished_handshakes_with_a_certificate(self) -> None:
        self.withstand(1024, 1224, lambda server: connect_tls(server, "client", False))

    def test_idle_connections_with_a_certificate(self) -> None:
        self.withstand(1024, 1224, lambda server: connect_tls(server, "client", True))


if __name__ == "__main__":
    MAYFLYD = sys.argv.pop(1)
    unittest.main(verbosity=2)
