#!/usr/bin/python3
"""Lives of calls, and every error that they can end with, through both halves of the client."""

import datetime
import hashlib
import io
import os
import pickle
import threading
import time
import unittest
from typing import Any, Callable, Iterator

import mayfly
from both_halves import both_halves
from mayfly import errors
from python_test_case import TIMEOUT_S, LiveTestCase, new_data, pieces_of, until


@both_halves
class Life(LiveTestCase):
    def setUp(self) -> None:
        self.c = self.client()
        self.w = self.worker()

    def ready(self, data: bytes = b"answer") -> str:
        call = self.c.put_input(b"question")
        self.w.put_output(call, data)
        return call

    def test_a_life(self) -> None:
        call = self.c.put_input(
            b"question", ttl=600, content_type="text/plain", labels={"a": "1"},
            encryption_key_id="key 7",
        )
        described = self.c.describe(call)
        self.assertEqual(described.state, "pending")
        assert described.input is not None
        life = described.input.deadline_time - described.input.stored_time
        self.assertEqual(life, datetime.timedelta(seconds=600))
        self.assertIsNone(described.output)

        got = self.w.get_input(call)
        self.assertEqual(got, b"question")
        self.assertEqual((got.call_id, got.content_type), (call, "text/plain"))
        self.assertEqual((got.labels, got.encryption_key_id), ({"a": "1"}, "key 7"))
        self.assertNotIn("question", repr(got))

        self.w.put_output(
            call, b"answer", attempt=3, outcome="failure", ttl=datetime.timedelta(minutes=5)
        )
        self.assertEqual(self.c.describe(call).state, mayfly.CallState.READY)
        output = self.c.retrieve(call, timeout=60)
        self.assertEqual(output, b"answer")
        self.assertEqual((output.outcome, output.attempt), (mayfly.Outcome.FAILURE, 3))
        self.assertEqual(self.c.describe(call).state, "consumed")

    def test_retrieve_waits_for_what_is_not_there_yet(self) -> None:
        call = self.c.put_input(b"question")
        threading.Timer(0.2, self.w.put_output, (call, b"answer")).start()
        self.assertEqual(self.c.retrieve(call, timeout=60), b"answer")

    def test_retrieve_ends_when_the_call_does(self) -> None:
        call = self.c.put_input(b"question")
        threading.Timer(0.2, self.c.delete, (call,)).start()
        with self.assertRaises(errors.NotFound) as raised:
            self.c.retrieve(call, timeout=60)
        self.assertEqual(raised.exception.reason, "CALL_DELETED")

    def test_one_of_many_retrievers_gets_the_output(self) -> None:
        call = self.c.put_input(b"question")
        results: list[object] = []

        def retrieve() -> None:
            try:
                results.append(self.c.retrieve(call, timeout=60))
            except mayfly.Error as error:
                results.append(error)

        threads = [threading.Thread(target=retrieve) for _ in range(8)]
        for thread in threads:
            thread.start()
        self.w.put_output(call, b"answer")
        for thread in threads:
            thread.join()
        self.assertEqual([each for each in results if isinstance(each, bytes)], [b"answer"])
        ends = {each.reason for each in results if isinstance(each, errors.NotFound)}
        self.assertEqual(ends, {"OUTPUT_CONSUMED"})

    def test_retrieving_acknowledges_at_the_end_of_its_block(self) -> None:
        call = self.ready()
        with self.c.retrieving(call, timeout=60) as out:
            self.assertEqual(out.data, b"answer")
            self.assertEqual(b"".join(out.stream()), b"answer")
            self.assertEqual(out.outcome, "success")
            self.assertEqual(self.c.describe(call).state, "claimed")
        self.assertEqual(self.c.describe(call).state, "consumed")

    def test_retrieving_gives_back_what_an_exception_left(self) -> None:
        call = self.ready()
        with self.assertRaises(ZeroDivisionError):
            with self.c.retrieving(call, timeout=60):
                raise ZeroDivisionError
        self.assertEqual(self.c.describe(call).state, "ready")
        self.assertEqual(self.c.retrieve(call, timeout=60), b"answer")

    def test_retrieving_gives_back_a_large_output_that_was_not_read(self) -> None:
        call = self.ready(new_data(5 << 20))
        with self.c.retrieving(call, timeout=60) as out:
            next(out.stream())
        self.assertEqual(self.c.describe(call).state, "ready")

    def test_what_is_held_is_renewed(self) -> None:
        client = self.client(lease=3.0)
        call = self.ready()
        with client.retrieving(call, timeout=60) as out:
            self.assertEqual(out.data, b"answer")
            end = time.monotonic() + 5
            until(lambda: time.monotonic() > end, "more than a lease")
            self.assertEqual(self.c.describe(call).state, "claimed")
        self.assertEqual(self.c.describe(call).state, "consumed")

    def test_a_claim_that_lapsed_is_got_again_for_the_same_output(self) -> None:
        for data in (b"answer", new_data(5 << 20)):
            call = self.ready(data)
            with self.c.retrieving(call, timeout=60) as out:
                self.assertTrue(out.data == data)
                self.c._retrievals._releases.call(out.claimed.claim)
            self.assertEqual(self.c.describe(call).state, "consumed")

    def test_claim_lost(self) -> None:
        call = self.ready()
        with self.assertRaises(errors.ClaimLost):
            with self.c.retrieving(call, timeout=60) as out:
                self.c._retrievals._releases.call(out.claimed.claim)
                other = self.client()._retrievals.claim(call, 10)
        self.assertEqual(self.c.describe(call).state, "claimed")
        self.assertIsNotNone(other.claim)

    def test_pending(self) -> None:
        call = self.c.put_input(b"question")
        for timeout in (0, 0.1):
            with self.assertRaises(errors.Pending):
                self.c.retrieve(call, timeout=timeout)
        with self.assertRaises(TimeoutError):
            self.c.retrieve(call, timeout=0)

    def test_not_found(self) -> None:
        consumed = self.ready()
        self.c.retrieve(consumed, timeout=60)
        deleted = self.c.put_input(b"x")
        self.c.delete(deleted)
        self.assertEqual(self.c.delete(deleted), self.c.delete(deleted))
        expired = self.c.put_input(b"x", ttl=1)
        until(lambda: self.c.describe(expired).state == "expired", "the expiry")
        calls = {
            "OUTPUT_CONSUMED": consumed, "CALL_DELETED": deleted, "CALL_EXPIRED": expired,
            "CALL_UNKNOWN": mayfly.new_call_id(),
        }
        for reason, call in calls.items():
            for ask in (self.w.get_input, lambda call: self.c.retrieve(call, timeout=60)):
                with self.subTest(reason), self.assertRaises(errors.NotFound) as raised:
                    ask(call)
                self.assertEqual((raised.exception.reason, raised.exception.call_id),
                                 (reason, call))

    def test_conflict(self) -> None:
        call = self.c.put_input(b"question")
        self.assertEqual(self.c.put_input(b"question", call_id=call), call)
        with self.assertRaises(errors.Conflict) as raised:
            self.c.put_input(b"another", call_id=call)
        self.assertEqual(raised.exception.reason, "CALL_CONFLICT")
        self.w.put_output(call, b"answer")
        self.w.put_output(call, b"answer")
        with self.assertRaises(errors.Conflict):
            self.w.put_output(call, b"another")

    def test_stale_attempt_and_output_claimed(self) -> None:
        call = self.c.put_input(b"question")
        self.w.put_output(call, b"answer", attempt=2)
        with self.assertRaises(errors.StaleAttempt):
            self.w.put_output(call, b"answer", attempt=1)
        with self.c.retrieving(call, timeout=60):
            with self.assertRaises(errors.OutputClaimed):
                self.w.put_output(call, b"answer", attempt=3)

    def test_permission_denied(self) -> None:
        with self.assertRaises(errors.PermissionDenied) as raised:
            self.open(mayfly.Client, "worker").put_input(b"x")
        self.assertEqual(raised.exception.reason, "ROLE_REQUIRED")
        with self.assertRaises(errors.PermissionDenied):
            list(self.open(mayfly.Client, "worker").as_completed([mayfly.new_call_id()]))

    def test_invalid_argument(self) -> None:
        for ask in (
            lambda: self.c.put_input(b"x", call_id="no id"),
            lambda: self.c.put_input(b"x", ttl=-1),
            lambda: self.c.put_input(b"x", content_type="x" * 256),
            lambda: self.w.put_output(mayfly.new_call_id(), b"", outcome="great"),
            lambda: self.w.put_output(mayfly.new_call_id(), b"", attempt=0),
            lambda: self.client(linger=0.1),
            lambda: self.client(ca="/none"),
        ):
            with self.assertRaises(errors.InvalidArgument):
                ask()

    def test_unavailable_and_timed_out(self) -> None:
        with self.assertRaises(errors.Unavailable):
            self.client(server="localhost:1", attempts_max=2).put_input(b"x")
        self.assertTrue(issubclass(errors.TimedOut, TimeoutError))

    def test_cancelled(self) -> None:
        client = self.client()
        call = client.put_input(b"x")
        client.close()
        with self.assertRaises(errors.Cancelled):
            client.describe(call)

    def test_waiting_calls_end_when_the_client_is_closed(self) -> None:
        client = self.client()
        call = client.put_input(b"question")
        ends: list[type] = []

        def wait(ask: Callable[[], Any]) -> None:
            try:
                ask()
            except mayfly.Error as error:
                ends.append(type(error))

        completion = client.as_completed([call])
        threads = [
            threading.Thread(target=wait, args=(ask,), daemon=True)
            for ask in (lambda: client.retrieve(call), lambda: next(completion))
        ]
        for thread in threads:
            thread.start()
        waiting = client._retrievals._waiters._waiting
        streams = [client._retrievals._arrivals, completion._arrivals]
        until(lambda: waiting and all(each._feed.token for each in streams), "two streams")
        client.close()
        for thread in threads:
            thread.join(TIMEOUT_S)
        self.assertEqual(ends, [errors.Cancelled] * 2)

    def test_an_argument_of_a_wrong_type_is_an_error_of_its_call(self) -> None:
        with self.assertRaises(TypeError):
            self.c.put_input(b"x", labels={"a": 1})  # type: ignore[dict-item]
        self.c.put_input(b"x")

    def test_errors_can_be_pickled(self) -> None:
        try:
            self.c.retrieve(mayfly.new_call_id(), timeout=0)
        except errors.NotFound as error:
            again = pickle.loads(pickle.dumps(error))
        self.assertIs(type(again), errors.NotFound)
        self.assertEqual((again.reason, str(again)), ("CALL_UNKNOWN", str(again)))
        batch = errors.BatchError({1: again}, ["a", "b"])
        self.assertEqual(pickle.loads(pickle.dumps(batch)).errors[1].reason, "CALL_UNKNOWN")

    def test_a_batch_tells_which_items_failed(self) -> None:
        taken = self.c.put_input(b"another")
        with self.assertRaises(errors.BatchError) as raised:
            self.c.put_inputs([b"first", mayfly.InputItem(b"second", call_id=taken), b"third"])
        self.assertEqual(list(raised.exception.errors), [1])
        self.assertIsInstance(raised.exception.errors[1], errors.Conflict)
        ids = raised.exception.call_ids
        self.assertEqual(self.w.get_inputs([ids[2], ids[0]]), [b"third", b"first"])
        self.assertEqual([each.state for each in self.c.describe_all(ids)], ["pending"] * 3)
        self.c.delete_all(ids)
        self.assertEqual(self.c.describe(ids[0]).state, "deleted")

    def test_the_server_may_restart(self) -> None:
        call = self.ready()
        self.server.kill()
        threading.Timer(0.3, self.server.start).start()
        self.assertEqual(self.c.retrieve(call, timeout=60), b"answer")
        call = self.c.put_input(b"question")
        waiting = threading.Thread(target=self._restart_and_answer, args=(call,))
        waiting.start()
        self.assertEqual(self.c.retrieve(call, timeout=60), b"late")
        waiting.join()

    def _restart_and_answer(self, call: str) -> None:
        arrivals = self.c._retrievals._arrivals
        until(lambda: arrivals._feed.token is not None, "a stream")
        self.server.kill()
        self.server.start()
        self.w.put_output(call, b"late")


@both_halves
class Limits(LiveTestCase):
    settings = """
[limits]
payload_bytes_max = "2MiB"
live_calls_max = 3
"""

    def test_too_large(self) -> None:
        client = self.client()
        for data in (new_data((2 << 20) + 1), pieces_of(new_data((2 << 20) + 1))):
            with self.assertRaises(errors.PayloadTooLarge):
                client.put_input(data)

    def test_limit_exceeded(self) -> None:
        client = self.client()
        calls = client.put_inputs([b"1", b"2", b"3"])
        with self.assertRaises(errors.LimitExceeded) as raised:
            client.put_input(b"4")
        self.assertEqual(raised.exception.reason, "QUOTA_CALLS")
        self.assertGreater(raised.exception.retry_after, 0.0)
        client.delete_all(calls)


@both_halves
class Sizes(LiveTestCase):
    """Payloads of every size come back equal, whatever they are put from."""

    def run_life(self, size: int) -> None:
        client, worker = self.client(), self.worker()
        data = new_data(size)
        expected = hashlib.sha256(data).digest()
        call = client.put_input(data)
        if size <= 8 << 20:
            self.assertEqual(hashlib.sha256(worker.get_input(call)).digest(), expected)
        digest = hashlib.sha256()
        for piece in worker.stream_input(call):
            digest.update(piece)
        self.assertEqual(digest.digest(), expected)
        worker.put_output(call, pieces_of(data), outcome="timeout", content_type="a/b")
        digest = hashlib.sha256()
        with client.retrieving(call, timeout=60) as out:
            for piece in out.stream():
                self.assertLessEqual(len(piece), 1 << 20)
                digest.update(piece)
            self.assertEqual((out.outcome, out.content_type), ("timeout", "a/b"))
        self.assertEqual(digest.digest(), expected)
        self.assertEqual(client.describe(call).state, "consumed")

    def test_sizes(self) -> None:
        for size in (0, 1, 16383, 16384, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 64 << 20):
            with self.subTest(size):
                self.run_life(size)

    def test_what_is_too_large_for_memory_is_refused_and_stays(self) -> None:
        client, worker = self.client(data_bytes_max=2 << 20), self.worker(data_bytes_max=2 << 20)
        call = client.put_input(new_data(3 << 20))
        with self.assertRaises(errors.PayloadTooLarge):
            worker.get_input(call)
        worker.put_output(call, new_data(3 << 20))
        with self.assertRaises(errors.PayloadTooLarge):
            client.retrieve(call, timeout=60)
        self.assertEqual(client.describe(call).state, "ready")

    def test_sources(self) -> None:
        client, worker = self.client(), self.worker()
        data = new_data((5 << 20) + 5)
        path = os.path.join(self.server.directory, "payload")
        with open(path, "wb") as file:
            file.write(b"skipped" + data)
        with open(path, "rb") as file:
            file.seek(len(b"skipped"))
            call = client.put_input(file)
        self.assertEqual(worker.get_input(call), data)
        for source in (bytearray(data), memoryview(data), io.BytesIO(data), iter([data]),
                       iter([b"", data, b""])):
            worker.put_output(call, source)
        self.assertEqual(client.retrieve(call, timeout=60), data)
        small = client.put_input(io.BytesIO(b"small"))
        self.assertEqual(worker.get_input(small), b"small")

    def test_a_source_may_take_its_time(self) -> None:
        data = new_data(3 << 20)

        def slow() -> Iterator[bytes]:
            yield data[: 5 << 19]
            time.sleep(5)
            yield data[5 << 19 :]

        call = self.client(timeout=2.0).put_input(slow())
        self.assertTrue(self.worker().get_input(call) == data)

    def test_a_source_that_fails_stores_nothing(self) -> None:
        client = self.client()

        def broken() -> object:
            yield new_data(5 << 20)
            raise ZeroDivisionError

        call = mayfly.new_call_id()
        with self.assertRaises(ZeroDivisionError):
            client.put_input(broken(), call_id=call)
        self.assertEqual(client.describe(call).state, "unknown")


if __name__ == "__main__":
    unittest.main()
