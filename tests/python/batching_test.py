#!/usr/bin/python3
"""Single calls that travel together, counted at a server that holds them up."""

import os
import shutil
import subprocess
import tempfile
import threading
import time
import unittest
from typing import Any

import grpc
import mayfly
from both_halves import both_halves
from fake_server import FakeServer
from mayfly import errors
from python_test_case import SOURCE_DIR, TIMEOUT_S, until

THREADS = 64


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

    def client(self, **settings: Any) -> Any:
        files = {
            "ca": f"{self.certificates}/ca.pem",
            "cert": f"{self.certificates}/client.pem",
            "key": f"{self.certificates}/client.key",
        }
        client = self.open_half(mayfly.Client, self.server.target, **files, **settings)
        self.addCleanup(client.close)
        return client

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


if __name__ == "__main__":
    unittest.main()
