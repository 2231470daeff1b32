#!/usr/bin/python3
"""Outputs of many calls at once, through both halves of the client."""

import asyncio
import time
import unittest
from concurrent.futures import ThreadPoolExecutor
from unittest import mock

import mayfly
from both_halves import both_halves
from mayfly import contract
from python_test_case import LiveTestCase, new_data, until

# More than the server takes in one batch.
CALLS = 600
# So many of these do not fit into one answer, each into a message.
MEDIUM_BYTES = 900_000
LARGE_BYTES = (5 << 20) + 1


@both_halves
class RetrieveAll(LiveTestCase):
    def setUp(self) -> None:
        self.c = self.client()
        self.w = self.worker()

    def ready(self, *sizes: int) -> dict[str, bytes]:
        """Calls with outputs of these sizes."""
        outputs = {call: new_data(size) for call, size in
                   zip(self.c.put_inputs([b""] * len(sizes)), sizes)}
        for call, data in outputs.items():
            self.w.put_output(call, data)
        return outputs

    def states(self, calls: list[str]) -> list[str]:
        return [each.state for each in self.c.describe_all(calls)]

    def test_more_than_a_batch(self) -> None:
        calls = self.c.put_inputs([b""] * CALLS)
        self.w.put_outputs([mayfly.OutputItem(call, call.encode()) for call in calls])
        found = self.c.retrieve_all(calls, timeout=60)
        self.assertEqual(found, [call.encode() for call in calls])
        self.assertEqual([each.call_id for each in found], calls)
        self.assertEqual(set(self.states(calls)), {"consumed"})

    def test_more_bytes_than_an_answer(self) -> None:
        outputs = self.ready(*[MEDIUM_BYTES] * 8, LARGE_BYTES)
        self.assertTrue(self.c.retrieve_all(outputs, timeout=60) == list(outputs.values()))
        self.assertEqual(set(self.states(list(outputs))), {"consumed"})

    def test_one_that_is_not_there_leaves_the_others(self) -> None:
        calls = [*self.ready(1, 2), self.c.put_input(b"")]
        with self.assertRaises(mayfly.BatchError) as caught:
            self.c.retrieve_all(calls, timeout=1.0)
        self.assertIsInstance(caught.exception.errors[2], mayfly.Pending)
        self.assertEqual(self.states(calls), ["ready", "ready", "pending"])

    def test_what_comes_is_held_until_the_last_is_there(self) -> None:
        c = self.client(lease=3.0)
        first, last = self.c.put_inputs([b""] * 2)
        self.w.put_output(first, b"first")

        async def late() -> list[bytes]:
            retrieving = asyncio.to_thread(c.retrieve_all, [first, last], 60)
            task = asyncio.create_task(retrieving)
            held = lambda: self.states([first]) == ["claimed"]
            await asyncio.to_thread(until, held, "the first one is held")
            # Longer than the lease: without renewals another client could have it meanwhile.
            with self.assertRaises(mayfly.Pending):
                await asyncio.to_thread(self.c.retrieve, first, 5.0)
            self.w.put_output(last, b"last")
            return await task

        self.assertEqual(asyncio.run(late()), [b"first", b"last"])

    def test_one_deadline_for_all(self) -> None:
        calls = [*self.ready(1), *self.c.put_inputs([b""] * 30)]
        began = time.monotonic()
        found = self.c.retrieve_all(calls, timeout=1.0, return_exceptions=True)
        self.assertLess(time.monotonic() - began, 15.0)  # half of what one second each would take
        self.assertEqual(len(found[0]), 1)
        self.assertEqual({type(each) for each in found[1:]}, {mayfly.Pending})
        self.assertEqual([each.call_id for each in found], calls)

    def test_many_wait_in_few_messages(self) -> None:
        """A stream for all, instead of a request for each."""
        calls = self.c.put_inputs([b""] * CALLS)
        requests = mock.Mock(wraps=contract.claim_request)
        with mock.patch.object(contract, "claim_request", requests), ThreadPoolExecutor() as pool:
            found = pool.submit(self.c.retrieve_all, calls, 60)
            until(lambda: requests.call_count == 2, "all are asked for in two batches")
            self.w.put_outputs([mayfly.OutputItem(call, call.encode()) for call in calls])
            self.assertEqual(found.result(), [call.encode() for call in calls])
            self.assertEqual(requests.call_count, 2)

    def test_nobody_there_takes_no_longer_than_the_timeout(self) -> None:
        nowhere = self.client(server="localhost:1")
        call = mayfly.new_call_id()
        for retrieve, asked in ((nowhere.retrieve_all, [call]), (nowhere.retrieve, call)):
            began = time.monotonic()
            with self.assertRaises((mayfly.BatchError, mayfly.Unavailable)):
                retrieve(asked, timeout=2.0)
            self.assertLess(time.monotonic() - began, 15.0)  # without: Settings.timeout, 30 s

    def test_an_exception_gives_all_back(self) -> None:
        calls = list(self.ready(1, 2))
        with self.assertRaises(ZeroDivisionError), self.c.retrieving_all(calls) as held:
            self.assertEqual([each.size_bytes for each in held], [1, 2])
            self.assertEqual(self.states(calls), ["claimed", "claimed"])
            raise ZeroDivisionError
        self.assertEqual(self.states(calls), ["ready", "ready"])

    def test_a_large_one_that_was_not_read_is_given_back(self) -> None:
        calls = list(self.ready(LARGE_BYTES, 1))
        with self.c.retrieving_all(calls):
            pass
        self.assertEqual(self.states(calls), ["ready", "consumed"])

    def test_of_two_at_once_each_has_an_output_once(self) -> None:
        calls = list(self.ready(*[1] * 50))

        async def race() -> list[object]:
            return await asyncio.gather(
                *(asyncio.to_thread(self.client().retrieve_all, calls, 0.5) for _ in range(2)),
                return_exceptions=True,
            )

        outcomes = asyncio.run(race())
        for outcome in outcomes:
            self.assertIsInstance(outcome, (list, mayfly.BatchError))
        until(lambda: "claimed" not in self.states(calls), "claims that nobody holds")
        whole = sum(isinstance(outcome, list) for outcome in outcomes)
        self.assertLessEqual(whole, 1)
        self.assertEqual(set(self.states(calls)), {"consumed" if whole else "ready"})

    def test_those_that_can_be_had_are(self) -> None:
        calls = [*self.ready(MEDIUM_BYTES, LARGE_BYTES), self.c.put_input(b"")]
        with self.c.retrieving_all(calls, timeout=0.1) as held:
            self.assertIsInstance(held[-1], mayfly.Pending)
            self.assertEqual(len(held[0].data), MEDIUM_BYTES)
        self.assertEqual(self.states(calls), ["consumed", "ready", "pending"])


if __name__ == "__main__":
    unittest.main()
