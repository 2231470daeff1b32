#!/usr/bin/python3
"""A client of gRPC's own library with the service config that the contract recommends.

Usage: service_config_test.py MAYFLYD PROTOC [unittest arguments]
"""

import json
import os
import sys
import tempfile
import threading
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

MAYFLYD = PROTOC = ""


def recommended_config() -> str:
    """The JSON object in the contract's opening comment."""
    with open(CONTRACT, encoding="utf-8") as file:
        comment = "".join(line.lstrip("/ ") for line in file if line.startswith("//"))
    text = comment[comment.index('{"methodConfig"') :]
    config, _ = json.JSONDecoder().raw_decode(text)
    return json.dumps(config)


class ServiceConfigTest(unittest.TestCase):
    def test_no_call_fails_while_the_server_restarts(self) -> None:
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        messages = generate_messages(PROTOC, directory.name)
        server = CalledServer(MAYFLYD, messages)
        self.addCleanup(server.close)
        server.start()
        channel = server.connect("client", [("grpc.service_config", recommended_config())])
        self.addCleanup(channel.close)
        put = channel.unary_unary(
            "/mayfly.v1.FunctionIo/PutInputs",
            request_serializer=messages.PutInputsRequest.SerializeToString,
            response_deserializer=messages.PutInputsResponse.FromString,
        )
        item = messages.InputItem(payload=messages.Payload(data=b"question"))
        request = messages.PutInputsRequest(items=[item])
        done = [0] * THREADS
        errors: List[Any] = []
        stop = threading.Event()

        def put_until_stopped(thread: int) -> None:
            while not stop.is_set():
                try:
                    put(request, timeout=RPC_TIMEOUT_S)
                    done[thread] += 1
                except grpc.RpcError as error:
                    errors.append(error)

        threads = [threading.Thread(target=put_until_stopped, args=(i,)) for i in range(THREADS)]
        for thread in threads:
            thread.start()
        for _ in range(RESTARTS):
            goal = sum(done) + PUTS_BETWEEN
            wait_until(lambda: sum(done) >= goal, "puts before the server is killed")
            server.kill()
            server.start()
        goal = sum(done) + PUTS_BETWEEN
        wait_until(lambda: sum(done) >= goal, "puts after the last restart")
        stop.set()
        for thread in threads:
            thread.join()
        self.assertEqual(errors, [])


if __name__ == "__main__":
    MAYFLYD, PROTOC = sys.argv.pop(1), sys.argv.pop(1)
    unittest.main()
