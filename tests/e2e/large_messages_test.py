#!/usr/bin/python3
"""The server's memory while messages come that are too large, or many at once.

Usage: large_messages_test.py MAYFLYD [unittest arguments]

Watched is VmRSS, sampled every few milliseconds, as the difference to the server at rest.
"""

import os
import sys
import threading
import time
import unittest
from typing import Any, Dict

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "1")

import grpc  # noqa: E402
from live_server import LiveServer  # noqa: E402

MIB = 1 << 20
SERVICE = "/mayfly.v1.FunctionIo/"
# One field of that size, which no RPC knows, and a byte that does not parse.
FIELD_BYTES = 60 * MIB
MESSAGE = b"\xfa\x7f\x80\x80\x80\x1e" + bytes(FIELD_BYTES) + b"\x07"
SMALL_LIMIT_BYTES = 2 * MIB
REFUSED_MESSAGES = 12
TAKEN_MESSAGES = 24
CONNECTIONS_MAX = 256
# rpc/server.cc: for messages, and for each connection.
RECEIVED_BYTES_MAX = 256 * MIB + CONNECTIONS_MAX * (32 << 10)
SLACK_BYTES = 128 * MIB
KEPT_BYTES_MAX = 48 * MIB
GIVEN_BACK_WITHIN_S = 60
RPC_TIMEOUT_S = 120

MAYFLYD = ""


def resident_bytes(pid: int) -> int:
    with open(f"/proc/{pid}/status") as file:
        for line in file:
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) << 10
    raise AssertionError("a process that runs has memory")


class MemoryWatch:
    """The server's peak while it is entered."""

    def __init__(self, pid: int):
        self._pid = pid
        self._stops = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.peak_bytes = 0

    def _run(self) -> None:
        while not self._stops.wait(0.005):
            self.peak_bytes = max(self.peak_bytes, resident_bytes(self._pid))

    def __enter__(self) -> "MemoryWatch":
        self._thread.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._stops.set()
        self._thread.join()


class LargeMessagesTest(unittest.TestCase):
    def start(self, settings: str = "", server: str = "") -> None:
        self.server = LiveServer(MAYFLYD, settings=settings, server=server)
        self.addCleanup(self.server.close)
        self.server.start()
        self.idle_bytes = resident_bytes(self.server.pid)

    def send(self, rpc: str, streams: bool, count: int) -> Dict[str, int]:
        """All at once, over a connection each. Returns how often each status came."""
        statuses: Dict[str, int] = {}
        lock = threading.Lock()

        def send_one() -> None:
            with self.server.connect("client") as channel:
                try:
                    if streams:
                        call = channel.stream_unary(SERVICE + rpc)
                        call(iter([MESSAGE]), timeout=RPC_TIMEOUT_S)
                    else:
                        channel.unary_unary(SERVICE + rpc)(MESSAGE, timeout=RPC_TIMEOUT_S)
                    name = "OK"
                except grpc.RpcError as error:
                    name = error.code().name
            with lock:
                statuses[name] = statuses.get(name, 0) + 1

        threads = [threading.Thread(target=send_one) for _ in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return statuses

    def grown_bytes(self) -> int:
        return resident_bytes(self.server.pid) - self.idle_bytes

    def expect_given_back(self) -> None:
        deadline = time.monotonic() + GIVEN_BACK_WITHIN_S
        while self.grown_bytes() > KEPT_BYTES_MAX and time.monotonic() < deadline:
            time.sleep(0.1)
        self.assertLess(self.grown_bytes(), KEPT_BYTES_MAX)

    def test_messages_above_the_limit_are_not_collected(self) -> None:
        self.start(f'[limits]\nmessage_bytes_max = "{SMALL_LIMIT_BYTES // MIB}MiB"\n')
        for rpc, streams in (("DescribeCalls", False), ("Upload", True)):
            with self.subTest(rpc), MemoryWatch(self.server.pid) as watch:
                statuses = self.send(rpc, streams, REFUSED_MESSAGES)
                self.assertEqual(statuses, {"RESOURCE_EXHAUSTED": REFUSED_MESSAGES})
            growth = watch.peak_bytes - self.idle_bytes
            print(f"{rpc}: refused messages grew the server by {growth // MIB} MiB", flush=True)
            self.assertLess(growth, REFUSED_MESSAGES * 2 * SMALL_LIMIT_BYTES)

    def test_messages_within_the_limit_are_bounded_together(self) -> None:
        self.start(server=f"connections_max = {CONNECTIONS_MAX}")
        with MemoryWatch(self.server.pid) as watch:
            statuses = self.send("DescribeCalls", False, TAKEN_MESSAGES)
        growth = watch.peak_bytes - self.idle_bytes
        print(f"{statuses}: grew the server by {growth // MIB} MiB", flush=True)
        # Ended by the quota, some with their connection, or answered: they do not parse.
        ended = {"RESOURCE_EXHAUSTED", "UNAVAILABLE", "INVALID_ARGUMENT"}
        self.assertEqual(set(statuses) - ended, set())
        self.assertLess(growth, 2 * RECEIVED_BYTES_MAX + SLACK_BYTES)
        self.expect_given_back()
        # It serves on.
        with self.server.connect("client") as channel:
            malformed_id = b"\x0a\x04none"
            channel.unary_unary(SERVICE + "DescribeCalls")(malformed_id, timeout=RPC_TIMEOUT_S)


if __name__ == "__main__":
    MAYFLYD = sys.argv.pop(1)
    unittest.main()
