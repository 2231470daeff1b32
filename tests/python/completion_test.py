#!/usr/bin/python3
"""Maps: outputs of many calls as they arrive, each once; of both halves of the client."""

import collections
import os
import queue
import random
import sys
import threading
import unittest

import mayfly
from both_halves import both_halves
from mayfly import errors
from python_test_case import LiveTestCase, new_data, until

MAP_CALLS = 10_000
WORKERS = 64


@both_halves
class Completion(LiveTestCase):
    def setUp(self) -> None:
        self.c = self.client()
        self.w = self.worker()

    def ready(self, count: int, data: bytes = b"answer") -> list[str]:
        calls = self.c.put_inputs([b"question"] * count)
        self.w.put_outputs([mayfly.OutputItem(call, data) for call in calls])
        return calls

    def states(self, calls: list[str]) -> dict[str, int]:
        return dict(collections.Counter(str(each.state) for each in self.c.describe_all(calls)))

    def test_an_output_that_the_loop_was_left_with_is_given_back(self) -> None:
        calls = self.ready(3)
        for _, out in self.c.as_completed(calls, timeout=60):
            self.assertEqual(out, b"answer")
            break
        until(lambda: self.states(calls) == {"ready": 3}, "all given back")
        iterator = self.c.as_completed(calls, timeout=60)
        next(iterator)
        next(iterator)
        iterator.close()
        until(lambda: self.states(calls) == {"ready": 2, "consumed": 1}, "two given back")

    def test_ends_are_raised_or_returned(self) -> None:
        calls = [*self.ready(1), mayfly.new_call_id()]
        found = dict(self.c.as_completed(calls, timeout=60, return_exceptions=True))
        self.assertEqual(found[calls[0]], b"answer")
        self.assertIsInstance(found[calls[1]], errors.NotFound)
        with self.assertRaises(errors.NotFound) as raised:
            for _ in self.c.as_completed(calls, timeout=60):
                pass
        self.assertIn(raised.exception.call_id, calls)

    def test_what_does_not_come_times_out(self) -> None:
        calls = self.ready(1) + self.c.put_inputs([b"question"])
        came = []
        with self.assertRaises(errors.TimedOut):
            for call, _ in self.c.as_completed(calls, timeout=5.0):
                came.append(call)
        self.assertEqual(came, calls[:1])
        self.assertEqual(list(self.c.as_completed([])), [])

    def test_more_bytes_than_the_window(self) -> None:
        data = new_data(1 << 20)
        calls = self.ready(24, data)
        taken = 0
        for _, out in self.c.as_completed(calls, timeout=120):
            self.assertTrue(out == data)
            taken += 1
        self.assertEqual(taken, 24)

    def test_large_outputs_are_downloaded(self) -> None:
        data = new_data((5 << 20) + 1)
        call = self.c.put_input(b"question")
        self.w.put_output(call, data)
        small = self.ready(1)
        found = dict(self.c.as_completed([call, *small], timeout=60))
        self.assertTrue(found[call] == data)

    def test_a_stream_that_breaks_is_opened_again(self) -> None:
        proxy = self.proxy()
        client = self.client(server=proxy.target, delay_min=0.01)
        seed = int.from_bytes(os.urandom(4), "big")
        print("seed", seed, file=sys.stderr)
        rng = random.Random(seed)
        calls = self.c.put_inputs([b"question"] * 2000)
        seen = collections.Counter()

        def answer() -> None:
            for begin in range(0, len(calls), 100):
                self.w.put_outputs(
                    [mayfly.OutputItem(call, b"answer") for call in calls[begin : begin + 100]]
                )
                if begin % 400 == 0:
                    proxy.tell(f"cut-after to-client {rng.randrange(1, 5000)} reset")
                    self.assertEqual(proxy.tell("wait-for-cut"), "yes")

        answering = threading.Thread(target=answer)
        answering.start()
        for call, _ in client.as_completed(calls, timeout=120):
            seen[call] += 1
        answering.join()
        self.assertEqual(seen, collections.Counter(calls))
        self.assertEqual(self.states(calls), {"consumed": len(calls)})
        self.assertGreater(int(proxy.tell("connections")), 1)


class Map(LiveTestCase):
    """With workers that are threads; for tasks see aio_test.py."""

    def setUp(self) -> None:
        self.c = self.client()
        self.w = self.worker()

    def test_a_map_of_ten_thousand_calls_and_64_workers(self) -> None:
        calls = self.c.put_inputs(b"%d" % i for i in range(MAP_CALLS))
        todo: queue.SimpleQueue[str] = queue.SimpleQueue()
        for call in random.sample(calls, len(calls)):
            todo.put(call)

        def work() -> None:
            while True:
                try:
                    call = todo.get_nowait()
                except queue.Empty:
                    return
                self.w.put_output(call, self.w.get_input(call) + b"!")

        workers = [threading.Thread(target=work) for _ in range(WORKERS)]
        for worker in workers:
            worker.start()
        seen = collections.Counter()
        for call, out in self.c.as_completed(calls, timeout=300):
            seen[call] += 1
            self.assertEqual(out, b"%d!" % calls.index(call) if seen.total() <= 10 else out)
            self.assertEqual(out[-1:], b"!")
        for worker in workers:
            worker.join()
        self.assertEqual(seen, collections.Counter(calls))
        states = {str(each.state) for each in self.c.describe_all(calls)}
        self.assertEqual(states, {"consumed"})


if __name__ == "__main__":
    unittest.main()
