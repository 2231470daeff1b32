#!/usr/bin/python3
"""Waits for outputs while the server cannot be reached; of both halves of the client."""

import concurrent.futures
import functools
import socket
import time
import unittest
from typing import Any, Callable
from unittest import mock

import mayfly
from both_halves import both_halves
from mayfly import errors, outage
from mayfly.backoff import Backoff
from python_test_case import TIMEOUT_S, LiveTestCase, until

OUTAGE_S = 2.0
# Enough for a few attempts on a busy machine.
ATTEMPTS_S = 5.0
LARGE_BYTES = 5 << 20


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

    def test_an_attempt_that_is_still_connecting_at_the_end(self) -> None:
        """The server refuses connections, then does not answer any."""
        pause_after = Backoff.pause_after
        sockets: dict[str, socket.socket] = {}

        def listen(backoff: Backoff, error: errors.Error) -> float:
            pause = pause_after(backoff, error)
            sockets[backoff._settings.server].listen()
            return pause

        def open_away(kind: Any, role: str) -> Any:
            server = self.away()
            sockets[server] = self.port
            return self.open(kind, role, server=server, timeout=ATTEMPTS_S)

        call = mayfly.new_call_id()
        client, worker = (mayfly.Client, "client"), (mayfly.Worker, "worker")
        cases: list[tuple[Any, Callable[[Any], Any]]] = [
            (client, lambda each: each.put_input(b"x")),
            (client, lambda each: each.put_inputs([b"x"])),
            (client, lambda each: each.put_input(bytes(LARGE_BYTES))),
            (client, lambda each: each.retrieve(call, timeout=ATTEMPTS_S)),
            (client, lambda each: each.retrieve_all([call], timeout=ATTEMPTS_S)),
            (worker, lambda each: each.get_input(call)),
            (worker, lambda each: list(each.stream_input(call))),
        ]
        with mock.patch.object(Backoff, "pause_after", listen):
            under = [
                self.waiting(functools.partial(ask, open_away(*whose))) for whose, ask in cases
            ]
            for each in under:
                error = each.exception(TIMEOUT_S)
                if isinstance(error, errors.BatchError):
                    error = error.errors[0]
                self.assertIs(type(error), errors.Unavailable)
                self.assertIn("refused", str(error))

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
        completion = client.as_completed(calls[2:])
        waits = [
            self.waiting(lambda: client.retrieve(calls[0])),
            self.waiting(lambda: client.retrieve_all(calls[1:2])),
            self.waiting(lambda: next(completion)),
        ]
        limited = self.client(delay_max=0.5)
        short = self.waiting(lambda: limited.retrieve(calls[0], timeout=ATTEMPTS_S))
        for arrivals, count in (
            (client._retrievals._arrivals, 2), (completion._arrivals, 1),
            (limited._retrievals._arrivals, 1),
        ):
            feed = arrivals._feed
            until(lambda: feed.token and len(feed._waiting) == count, "a stream")
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


class Causes(unittest.TestCase):
    def test_an_earlier_attempt_says_why_the_server_is_not_reached(self) -> None:
        """The last ones have little time."""
        settings = mayfly.Settings("localhost", "ca", "cert", "key")
        refused, late = errors.Unavailable("refused"), errors.TimedOut("Deadline Exceeded")
        for causes, said in (
            ([refused, late], "refused"), ([late], "Deadline Exceeded"), ([late, refused], "refused"),
            ([errors.Unavailable("draining"), refused], "refused"),
        ):
            found = outage.Outage(settings)
            for cause in causes:
                found.pause_after(cause)
            self.assertRegex(str(found.error()), f"for 0.0 s: {said}$")


if __name__ == "__main__":
    unittest.main()
