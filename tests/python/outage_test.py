#!/usr/bin/python3
"""Waits for outputs while the server cannot be reached; of both halves of the client."""

import concurrent.futures
import socket
import time
import unittest
from typing import Any, Callable

import mayfly
from both_halves import both_halves
from mayfly import errors
from python_test_case import TIMEOUT_S, LiveTestCase, until

OUTAGE_S = 2.0


@both_halves
class Outage(LiveTestCase):
    def away(self) -> str:
        """Where connections are refused."""
        self.port = socket.socket()
        self.addCleanup(self.port.close)
        self.port.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{self.port.getsockname()[1]}"

    def fails(self, wait: Callable[[], Any]) -> errors.Error:
        began = time.monotonic()
        with self.assertRaises(errors.Error) as raised:
            wait()
        self.assertLess(time.monotonic() - began, TIMEOUT_S)
        return raised.exception

    def kill(self) -> None:
        self.server.kill()
        self.addCleanup(lambda: self.server.is_running or self.server.start())

    def waiting(self, wait: Callable[[], Any]) -> "concurrent.futures.Future[Any]":
        executor = concurrent.futures.ThreadPoolExecutor(1)
        self.addCleanup(executor.shutdown)
        return executor.submit(wait)

    def test_a_wait_ends_when_the_server_is_not_reached_for_the_timeout(self) -> None:
        client = self.client(server=self.away(), timeout=OUTAGE_S)
        for seconds in (None, 10 * TIMEOUT_S):
            calls = [mayfly.new_call_id(), mayfly.new_call_id()]
            error = self.fails(lambda: next(client.as_completed(calls, seconds)))
            self.assertIs(type(error), errors.Unavailable)
            self.assertRegex(str(error), r"could not be reached for [2-9]\.\d s: .*refused")
            found = dict(client.as_completed(calls, seconds, return_exceptions=True))
            self.assertEqual([type(found[call]) for call in calls], [errors.Unavailable] * 2)

    def test_a_server_that_does_not_answer(self) -> None:
        client = self.client(server=self.away(), timeout=OUTAGE_S)
        self.port.listen()
        error = self.fails(lambda: next(client.as_completed([mayfly.new_call_id()])))
        self.assertIs(type(error), errors.Unavailable)
        self.assertIn("could not be reached", str(error))

    def test_the_end_of_a_wait_says_that_the_server_is_away(self) -> None:
        client = self.client(server=self.away())
        error = self.fails(lambda: next(client.as_completed([mayfly.new_call_id()], 2.0)))
        self.assertIs(type(error), errors.TimedOut)
        self.assertRegex(
            str(error),
            r"^1 call has no output yet: the server could not be reached for \d\.\d s: .*refused",
        )
        self.assertIsInstance(error.__cause__, errors.Unavailable)

    def test_without_an_outage_the_end_of_a_wait_says_pending(self) -> None:
        client = self.client()
        calls = client.put_inputs([b"x", b"x"])
        error = self.fails(lambda: next(client.as_completed(calls, 0.2)))
        self.assertEqual((type(error), error.reason), (errors.Pending, "OUTPUT_PENDING"))
        self.assertIn("2 calls have no output yet", str(error))

    def test_waits_that_lose_the_server(self) -> None:
        client = self.client(timeout=OUTAGE_S)
        calls = client.put_inputs([b"x"] * 3)
        waits = [
            self.waiting(lambda: client.retrieve(calls[0])),
            self.waiting(lambda: client.retrieve_all(calls[1:2])),
            self.waiting(lambda: next(client.as_completed(calls[2:]))),
        ]
        limited = self.client(delay_max=0.5)
        short = self.waiting(lambda: limited.retrieve(calls[0], timeout=OUTAGE_S + 1))
        time.sleep(0.5)  # for the streams; without them the waits end in the same way
        self.kill()
        for wait in waits:
            error = wait.exception(TIMEOUT_S)
            if isinstance(error, errors.BatchError):
                error = error.errors[0]
            self.assertIs(type(error), errors.Unavailable)
            self.assertIn("could not be reached", str(error))
        error = short.exception(TIMEOUT_S)
        self.assertIs(type(error), errors.TimedOut)
        self.assertIn("no output came: the server could not be reached", str(error))

    def test_a_wait_rides_out_a_restart(self) -> None:
        client = self.client(timeout=TIMEOUT_S, delay_max=0.5)
        calls = client.put_inputs([b"x"] * 2)
        completion = client.as_completed(calls)
        self.worker().put_output(calls[0], b"first")
        self.assertEqual(next(completion), (calls[0], b"first"))
        rest = self.waiting(lambda: next(completion))
        self.kill()
        until(lambda: completion._arrivals.outage() is not None, "the outage is noticed")
        self.server.start()
        self.worker().put_output(calls[1], b"second")
        self.assertEqual(rest.result(TIMEOUT_S), (calls[1], b"second"))
        self.assertIsNone(completion._arrivals.outage())


if __name__ == "__main__":
    unittest.main()
