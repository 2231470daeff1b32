#!/usr/bin/python3
"""Clients that do not even read their sockets: what of a payload arrives after its end is what the
kernel had by then.

Usage: unread_socket_test.py MAYFLYD PROTOC
"""

import os
import sys
import time
from typing import List

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))

import called_server_case
from unread_http2 import UnreadHttp2

MIB = 1 << 20
PAYLOAD_BYTES = 15 * MIB
GET_INPUTS = "/mayfly.v1.FunctionIo/GetInputs"
# Enough to ask for the payload in time on a busy machine.
TTL_S = 10
# A reply is given up when its write has not ended a moment after the payload has.
SETTLE_S = 3


def kernel_bytes_max() -> int:
    """What a connection's send buffer may have, and our small receive buffer."""
    with open("/proc/sys/net/ipv4/tcp_wmem") as file:
        return int(file.read().split()[2]) + 512 * 1024


class UnreadSocketTest(called_server_case.CalledServerCase):
    def connect(self, role: str) -> UnreadHttp2:
        connection = UnreadHttp2(self.server.port, self.server.tls_context(role))
        self.addCleanup(connection.close)
        return connection

    def put_inputs(self, count: int, ttl_s: int = 600) -> List[str]:
        ids = []
        for _ in range(count):
            item = self.messages.InputItem()
            item.payload.data = b"i" * PAYLOAD_BYTES
            item.ttl.seconds = ttl_s
            result = self.server.call("client", "PutInputs", items=[item]).results[0]
            self.assertEqual(result.status.code, 0, result.status)
            ids.append(result.call_id)
        return ids

    def get_unread(self, connection: UnreadHttp2, ids: List[str]) -> int:
        request = self.messages.GetInputsRequest(call_ids=ids, max_bytes=64 * MIB)
        return connection.call(GET_INPUTS, request.SerializeToString())

    def expect_little(self, connection: UnreadHttp2, streams: List[int]) -> None:
        data, end = connection.read_to_end(streams)
        total = sum(data.values())
        print(f"came {total / MIB:.2f} MiB, then {end}", flush=True)
        self.assertLessEqual(total, kernel_bytes_max())
        # Whole replies come with their trailers only.
        self.assertIsNotNone(end)

    def test_a_reply_ends_with_an_answered_delete(self) -> None:
        ids = self.put_inputs(3)
        connection = self.connect("worker")
        stream = self.get_unread(connection, ids)
        time.sleep(SETTLE_S)
        self.server.call("client", "DeleteCalls", call_ids=ids[2:])
        time.sleep(SETTLE_S)
        self.expect_little(connection, [stream])

    def test_a_reply_ends_at_its_deadline(self) -> None:
        ids = self.put_inputs(2) + self.put_inputs(1, ttl_s=TTL_S)
        connection = self.connect("worker")
        stream = self.get_unread(connection, ids)
        time.sleep(TTL_S + SETTLE_S)
        self.expect_little(connection, [stream])

    def test_others_are_served_meanwhile(self) -> None:
        ids = self.put_inputs(3)
        unread = self.connect("worker")
        stream = self.get_unread(unread, ids)
        time.sleep(SETTLE_S)
        other = self.connect("worker")
        self.server.call("client", "DeleteCalls", call_ids=ids[2:])
        time.sleep(SETTLE_S)
        request = self.messages.GetInputsRequest(call_ids=ids[:1], max_bytes=64 * MIB)
        read = other.call(GET_INPUTS, request.SerializeToString())
        data, end = other.read_to_end([read])
        self.assertGreater(data[read], PAYLOAD_BYTES)
        self.assertIsNone(end)
        self.expect_little(unread, [stream])


if __name__ == "__main__":
    called_server_case.main()
