#!/usr/bin/python3
"""A client of gRPC's own library with the service config that the contract recommends.

Usage: service_config_test.py MAYFLYD PROTOC [--ages N] [unittest arguments]

    --ages N   also works beyond the maximum age of N connections, a minute each
"""

import json
import os
import sys
import tempfile
import threading
import time
import unittest
from typing import Any, List

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))

import grpc  # noqa: E402
from called_server import CalledServer, generate_messages  # noqa: E402
from live_server import SOURCE_DIR  # noqa: E402
from waiting import wait_until  # noqa: E402

CONTRACT = os.path.join(SOURCE_DIR, "proto/mayfly/v1/function_io.proto")
THREADS = 4
RESTARTS = 3
PUTS_BETWEEN = 200
RPC_TIMEOUT_S = 300

MAYFLYD, PROTOC = sys.argv.pop(1), sys.argv.pop(1)
AGES = 0
if sys.argv[1:2] == ["--ages"]:
    AGES = int(sys.argv.pop(2))
    sys.argv.pop(1)


def recommended_config() -> str:
    """The JSON object in the contract's opening comment."""
    with open(CONTRACT, encoding="utf-8") as file:
        comment = "".join(line.lstrip("/ ") for line in file if line.startswith("//"))
    text = comment[comment.index('{"methodConfig"') :]
    config, _ = json.JSONDecoder().raw_decode(text)
    return json.dumps(config)


class Putter:
    """Puts inputs from several threads over one channel with the recommended service config."""

    def __init__(self, server: CalledServer):
        messages = server.messages
        self._channel = server.connect("client", [("grpc.service_config", recommended_config())])
        self._put = self._channel.unary_unary(
            "/mayfly.v1.FunctionIo/PutInputs",
            request_serializer=messages.PutInputsRequest.SerializeToString,
            response_deserializer=messages.PutInputsResponse.FromString,
        )
        item = messages.InputItem(payload=messages.Payload(data=b"question"))
        self._request = messages.PutInputsRequest(items=[item])
        self._done = [0] * THREADS
        self._stop = threading.Event()
        self.errors: List[Any] = []
        self._threads = [
            threading.Thread(target=self._put_until_stopped, args=(i,)) for i in range(THREADS)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def done(self) -> int:
        return sum(self._done)

    def wait_for_more(self) -> None:
        goal = self.done + PUTS_BETWEEN
        wait_until(lambda: self.done >= goal, "more puts are done")

    def close(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
        self._channel.close()

    def _put_until_stopped(self, thread: int) -> None:
        while not self._stop.is_set():
            try:
                self._put(self._request, timeout=RPC_TIMEOUT_S)
                self._done[thread] += 1
            except grpc.RpcError as error:
                self.errors.append(error)


class ServiceConfigTest(unittest.TestCase):
    def start(self, server_settings: str = "") -> CalledServer:
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        server = CalledServer(MAYFLYD, generate_messages(PROTOC, directory.name), server_settings)
        self.addCleanup(server.close)
        server.start()
        return server

    def test_no_call_fails_while_the_server_restarts(self) -> None:
        server = self.start()
        putter = Putter(server)
        self.addCleanup(putter.close)
        for _ in range(RESTARTS):
            putter.wait_for_more()
            server.kill()
            server.start()
        putter.wait_for_more()
        putter.close()
        self.assertEqual(putter.errors, [])

    @unittest.skipUnless(AGES, "with --ages N, for N minutes")
    def test_no_call_fails_when_a_connection_is_old(self) -> None:
        server = self.start('connection_age_max = "1m"\nconnection_age_grace = "1s"')
        putter = Putter(server)
        self.addCleanup(putter.close)
        time.sleep(AGES * 60 + 30)
        putter.wait_for_more()
        putter.close()
        self.assertEqual(putter.errors, [])


if __name__ == "__main__":
    unittest.main()
