#!/usr/bin/python3
"""close() ends whatever is under way, through both halves of the client."""

import threading
import time
import unittest
from typing import Any, Iterator

import mayfly
from both_halves import both_halves
from fake_server import FakeServer
from python_test_case import LiveTestCase, UnderWay, new_data

# The promise is one second; the rest is for a busy machine. Without it nothing here would end for
# half a minute.
SECONDS_MAX = 10.0
SEGMENT_BYTES = 1 << 20


@both_halves
class Close(LiveTestCase):
    def setUp(self) -> None:
        self.c = self.client()
        self.w = self.worker()

    def assert_cancelled(self, endpoint: Any, *under: UnderWay) -> None:
        """Closing it ends these calls."""
        began = time.monotonic()
        endpoint.close()
        for each in under:
            each.join(max(0.0, began + SECONDS_MAX - time.monotonic()))
            self.assertIsInstance(each.outcome, (mayfly.Cancelled, mayfly.BatchError))
            if isinstance(each.outcome, mayfly.BatchError):
                for error in each.outcome.errors.values():
                    self.assertIsInstance(error, mayfly.Cancelled)

    def settle(self) -> None:
        """Time for what was just begun to wait where it waits; that is not seen from outside."""
        time.sleep(0.5)

    def fake(self) -> FakeServer:
        server = FakeServer(self.server.path("certificates"))
        self.addCleanup(server.close)
        return server

    def test_waits_for_outputs(self) -> None:
        client = self.client()
        calls = self.c.put_inputs([b""] * 3)

        def hold() -> None:
            with client.retrieving(calls[0]):
                raise AssertionError

        under = [
            UnderWay(client.retrieve, calls[0]),
            UnderWay(client.retrieve, calls[1], 60),
            UnderWay(client.retrieve, calls[0]),
            UnderWay(hold),
            UnderWay(client.retrieve_all, calls),
            UnderWay(next, client.as_completed(calls)),
        ]
        self.settle()
        self.assert_cancelled(client, *under)

    def test_outputs_that_are_held(self) -> None:
        client = self.client()
        call = self.c.put_input(b"")
        self.w.put_output(call, b"x")
        entered, leave = threading.Event(), threading.Event()

        def hold() -> None:
            with client.retrieving(call):
                entered.set()
                leave.wait()

        under = UnderWay(hold)
        entered.wait()
        client.close()
        leave.set()
        under.join(SECONDS_MAX)
        self.assertIsInstance(under.outcome, mayfly.Cancelled)

    def test_requests_that_are_not_answered(self) -> None:
        server = self.fake()
        server.gate.clear()
        client = self.client(server=server.target)
        worker = self.worker(server=server.target)
        call = mayfly.new_call_id()
        under = [UnderWay(client.put_input, b"x") for _ in range(3)]
        under.append(UnderWay(client.put_inputs, [b"x"] * 600))
        gets = [UnderWay(worker.get_input, call), UnderWay(worker.get_inputs, [call] * 2)]
        for _ in range(4):
            server.arrived.acquire()
        self.assert_cancelled(client, *under)
        self.assert_cancelled(worker, *gets)

    def test_repetitions(self) -> None:
        """While they pause: nobody listens there."""
        patient = {"server": "localhost:1", "delay_min": 600.0, "delay_max": 600.0, "timeout": 3600.0}
        client, worker = self.client(**patient), self.worker(**patient)
        call = mayfly.new_call_id()
        under = [
            UnderWay(client.put_input, b"x"), UnderWay(client.put_input, b"x"),
            UnderWay(client.put_inputs, [b"x"]), UnderWay(client.put_input, new_data(5 << 20)),
            UnderWay(client.retrieve, call), UnderWay(client.retrieve_all, [call]),
            UnderWay(next, client.as_completed([call])), UnderWay(client.delete, call),
        ]
        gets = [UnderWay(worker.get_input, call), UnderWay(lambda: list(worker.stream_input(call)))]
        self.settle()
        self.assert_cancelled(client, *under)
        self.assert_cancelled(worker, *gets)

    def test_uploads(self) -> None:
        client = self.client()
        stalled = threading.Event()
        self.addCleanup(stalled.set)

        def pieces() -> Iterator[bytes]:
            for _ in range(3):
                yield bytes(SEGMENT_BYTES)
            reached.set()
            stalled.wait()

        reached = threading.Event()
        under = UnderWay(client.put_input, pieces())
        reached.wait()
        self.assert_cancelled(client, under)

    def test_downloads(self) -> None:
        server = self.fake()
        went, stalled = threading.Event(), threading.Event()
        self.addCleanup(stalled.set)

        def responses(request: Any) -> Iterator[Any]:
            went.set()
            stalled.wait()
            yield from ()

        server.download = responses
        worker = self.worker(server=server.target)
        call = mayfly.new_call_id()
        under = [
            UnderWay(worker.get_input, call), UnderWay(lambda: list(worker.stream_input(call)))
        ]
        went.wait()
        self.settle()
        self.assert_cancelled(worker, *under)

    def test_after_it_everything_is_refused_at_once(self) -> None:
        call = self.c.put_input(b"")
        client, worker = self.client(), self.worker()
        completion = client.as_completed([call])
        for endpoint in (client, worker):
            endpoint.close()
            endpoint.close()
        for function in (
            lambda: client.put_input(b"x"), lambda: client.put_input(new_data(5 << 20)),
            lambda: client.retrieve(call), lambda: client.delete(call), lambda: next(completion),
            lambda: worker.get_input(call), lambda: list(worker.stream_input(call)),
            lambda: worker.put_output(call, b""), lambda: worker.describe(call),
        ):
            began = time.monotonic()
            with self.assertRaises(mayfly.Cancelled):
                function()
            self.assertLess(time.monotonic() - began, SECONDS_MAX)


if __name__ == "__main__":
    unittest.main()
