#!/usr/bin/python3
"""Single calls that travel together, counted at a server that holds them up."""

import os
import shutil
import subprocess
import tempfile
import threading
import time
import unittest
from typing import Any, Callable
from unittest import mock

import grpc
import mayfly
from both_halves import both_halves
from fake_server import FakeServer
from mayfly import backoff, batch, contract, errors, put_items
from python_test_case import SOURCE_DIR, TIMEOUT_S, UnderWay, until

THREADS = 64
LARGE_BYTES = 5 << 20

UNAVAILABLE = (grpc.StatusCode.UNAVAILABLE, "draining")
UNANSWERED = (grpc.StatusCode.DEADLINE_EXCEEDED, "")


def item() -> put_items.PutItem:
    return put_items.input_item(mayfly.new_call_id(), b"x", None, mayfly.calls.NO_METADATA)


@both_halves
class Batching(unittest.TestCase):
    @classmethod
    def setUpClass(cls) -> None:
        cls.certificates = tempfile.mkdtemp(prefix="mayfly_batching_")
        cls.addClassCleanup(shutil.rmtree, cls.certificates)
        make = os.path.join(SOURCE_DIR, "deploy/make-certificates")
        subprocess.run([make, cls.certificates], check=True, stderr=subprocess.DEVNULL)

    def setUp(self) -> None:
        self.server = FakeServer(self.certificates)
        self.addCleanup(self.server.close)

    def client(self, kind: Any = mayfly.Client, **settings: Any) -> Any:
        files = {
            "ca": f"{self.certificates}/ca.pem",
            "cert": f"{self.certificates}/client.pem",
            "key": f"{self.certificates}/client.key",
        }
        client = self.open_half(kind, self.server.target, **files, **settings)
        self.addCleanup(client.close)
        return client

    def error_of(self, call: Callable[[], Any]) -> errors.Error:
        """Of a batch, that of its first item."""
        with self.assertRaises(errors.Error) as raised:
            call()
        error = raised.exception
        return error.errors[0] if isinstance(error, errors.BatchError) else error

    def put_from_threads(self, client: mayfly.Client, data: list[bytes]) -> list[Any]:
        """The first put is held up by the server until all others have queued."""
        results: list[Any] = [None] * len(data)

        def put(index: int) -> None:
            try:
                results[index] = client.put_input(data[index])
            except mayfly.Error as error:
                results[index] = error

        threads = [threading.Thread(target=put, args=(i,)) for i in range(len(data))]
        self.server.gate.clear()
        threads[0].start()
        self.server.arrived.acquire()
        for thread in threads[1:]:
            thread.start()
        until(lambda: len(client._puts._queue) == len(data) - 1, "all in the queue")
        self.server.gate.set()
        for thread in threads:
            thread.join()
        return results

    def test_what_comes_while_a_call_is_under_way_travels_together(self) -> None:
        results = self.put_from_threads(self.client(), [b"x"] * THREADS)
        self.assertEqual(len({str(each) for each in results}), THREADS)
        self.assertTrue(all(isinstance(each, str) for each in results), results)
        self.assertEqual(self.server.counts["PutInputs"], [1, THREADS - 1])

    def test_batches_are_bounded_in_bytes_and_items(self) -> None:
        client = self.client(batch_bytes_max=4096)
        self.put_from_threads(client, [b"x" * 1024] * 7)
        self.assertEqual(self.server.counts["PutInputs"], [1, 3, 3])
        self.client().put_inputs([b""] * 1025)
        self.assertEqual(self.server.counts["PutInputs"][3:], [512, 512, 1])

    def test_who_is_alone_does_not_wait(self) -> None:
        client = self.client()
        for _ in range(5):
            client.put_input(b"x")
        self.assertEqual(self.server.counts["PutInputs"], [1] * 5)

    def test_those_that_linger_leave_together(self) -> None:
        client = self.client(linger=0.001)
        began = threading.Barrier(8)

        def put() -> None:
            began.wait()
            client.put_input(b"x")

        # Again where a busy machine let so much time pass between any two of them.
        counts = self.server.counts["PutInputs"]
        for _ in range(50):
            threads = [threading.Thread(target=put) for _ in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            if len(counts) < sum(counts):
                break
        self.assertLess(len(counts), sum(counts))

    def test_what_could_not_be_answered_is_asked_again(self) -> None:
        client = self.client(delay_min=0.001)
        self.server.errors = [(grpc.StatusCode.UNAVAILABLE, "draining")] * 3
        client.put_input(b"x")
        self.assertEqual(self.server.counts["PutInputs"], [1] * 4)

    def test_what_is_refused_is_not(self) -> None:
        self.server.errors = [(grpc.StatusCode.RESOURCE_EXHAUSTED, "busy")]
        with self.assertRaises(errors.LimitExceeded):
            self.client().put_input(b"x")
        self.assertEqual(self.server.counts["PutInputs"], [1])

    def test_nobody_waits_longer_than_the_timeout(self) -> None:
        client = self.client(timeout=2.0)
        self.server.gate.clear()
        results: list[Any] = []

        def put() -> None:
            try:
                client.put_input(b"x")
            except mayfly.Error as error:
                results.append(error)

        threads = [threading.Thread(target=put) for _ in range(4)]
        began = time.monotonic()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual([type(each) for each in results], [errors.TimedOut] * 4)
        self.assertLess(time.monotonic() - began, 30)
        self.server.gate.set()
        client.put_input(b"x")  # nothing is stuck

    def test_an_attempt_that_runs_out_of_time_after_one_that_was_unavailable(self) -> None:
        """The call says why the one before failed."""
        client = self.client(timeout=2.0, delay_min=0.001)
        for call in (
            lambda: client.put_input(b"x"),
            lambda: client.put_inputs([b"x"]),
            lambda: client.put_input(bytes(LARGE_BYTES)),  # asks how much of the upload is there
            client._learn_time,
        ):
            self.server.errors = [UNAVAILABLE, UNANSWERED]
            error = self.error_of(call)
            self.assertEqual((type(error), error.message), (errors.Unavailable, "draining"))
            self.assertEqual(self.server.errors, [])

    def test_a_download_that_runs_out_of_time_after_one_that_was_unavailable(self) -> None:
        worker = self.client(mayfly.Worker, timeout=2.0, delay_min=0.001)
        self.server.errors = [UNAVAILABLE, UNANSWERED]
        error = self.error_of(lambda: list(worker.stream_input(mayfly.new_call_id())))
        self.assertEqual((type(error), error.message), (errors.Unavailable, "draining"))
        self.assertEqual(self.server.errors, [])

    def test_one_that_waits_behind_another_call_ends_when_its_own_time_is_over(self) -> None:
        client = self.client(timeout=3600.0, delay_min=600.0, delay_max=600.0)
        for failures, kind in ((1, errors.Unavailable), (0, errors.TimedOut)):
            self.server.errors = [UNAVAILABLE] * failures or [UNANSWERED]
            first = UnderWay(client.put_input, b"x")
            until(lambda: not self.server.errors, "the first one's message is there")
            if failures:
                until(lambda: client._puts._backoff.unavailable, "the first one pauses")
            behind = UnderWay(client._puts.call, item(), time.monotonic() + 0.5)
            self.assertIs(type(behind.join()), kind)
            self.assertIsNone(first.outcome)
            client.close()
            first.join()
            client = self.client()

    def test_one_that_travels_again_says_why_it_did_not_arrive_before(self) -> None:
        """Its first message ended with the time of another call, its second one with its own."""
        client = self.client(delay_min=600.0, delay_max=600.0)
        client._puts.call(item())
        self.server.errors = [(grpc.StatusCode.ABORTED, ""), UNAVAILABLE, UNANSWERED]
        self.server.gate.clear()
        under = [UnderWay(client._puts.call, item())]
        until(lambda: len(self.server.counts["PutInputs"]) == 2, "the first one is under way")
        for count, seconds in ((1, 60.0), (2, 5.0)):
            under.append(UnderWay(client._puts.call, item(), time.monotonic() + seconds))
            until(lambda: len(client._puts._queue) == count, "it waits")
        self.server.gate.set()
        self.assertIsInstance(under[0].join(), errors.ProtocolError)
        self.assertEqual(under[1].join().message, "draining")
        self.assertEqual(under[2].join().message, "draining")
        self.assertEqual(self.server.errors, [])

    def test_calls_under_way_end_when_the_client_is_closed(self) -> None:
        client = self.client()
        self.server.gate.clear()
        results: list[Any] = []

        def put() -> None:
            try:
                results.append(client.put_input(b"x"))
            except mayfly.Error as error:
                results.append(type(error))

        threads = [threading.Thread(target=put, daemon=True) for _ in range(4)]
        threads[0].start()
        self.server.arrived.acquire()
        for thread in threads[1:]:
            thread.start()
        until(lambda: len(client._puts._queue) == 3, "all in the queue")
        client.close()
        for thread in threads:
            thread.join(TIMEOUT_S)
        self.assertEqual(results, [errors.Cancelled] * 4)


class Reasons(unittest.TestCase):
    """Why a call ends whose time is over."""

    def test_after_a_pause_that_took_too_long(self) -> None:
        settings = mayfly.Settings("localhost", "ca", "cert", "key", delay_min=0.001)
        with mock.patch.object(backoff.time, "monotonic", return_value=0.0) as now:
            pauses = backoff.Backoff(settings, 10.0)
            pauses.pause_after(errors.Unavailable("refused"))
            now.return_value = 11.0
            with self.assertRaisesRegex(errors.Unavailable, "refused"):
                pauses.left()
            pauses.progressed(10.0)
            with self.assertRaises(errors.TimedOut):
                pauses.left()

    def test_of_items_each_has_its_own(self) -> None:
        results = [None, errors.Unavailable("draining", "", "1"), errors.Unavailable("full", "", "2")]
        kind: contract.Kind[str, None] = contract.Kind(
            "PutInputs", lambda items: None, lambda request, response, items: results)
        for last in (errors.TimedOut("Deadline Exceeded"), results[1]):
            sent = batch.Batch(kind, ["0", "1", "2"])
            self.assertIs(sent.take(None, None), results[1])
            sent.fail(last)
            self.assertEqual(sent.results, results)
        sent.fail(errors.PermissionDenied("no"))
        self.assertEqual([str(each) for each in sent.results], ["None", "no", "no"])


if __name__ == "__main__":
    unittest.main()
