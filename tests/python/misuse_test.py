#!/usr/bin/python3
"""What callers do without meaning to: other spellings, endless times, too many calls, copies,
interrupts, and clients that nobody closes."""

import copy
import datetime
import gc
import math
import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
import time
import unittest
from typing import Any, Callable, Iterator
from unittest import mock

import mayfly
from both_halves import both_halves
from mayfly import feed
from python_test_case import TIMEOUT_S, LiveTestCase, UnderWay, new_data, until

LARGE_BYTES = 5 << 20


@both_halves
class Misuse(LiveTestCase):
    def setUp(self) -> None:
        self.c = self.client()
        self.w = self.worker()

    def test_an_id_in_upper_case_is_the_same(self) -> None:
        for wait in (
            lambda call: self.c.retrieve(call, timeout=60),
            lambda call: self.c.retrieve_all([call], timeout=60)[0],
            lambda call: next(self.c.as_completed([call], timeout=60))[1],
        ):
            call = self.c.put_input(b"")
            under = UnderWay(wait, call.upper())
            until(lambda: self.c.describe(call.upper()).state == "pending", "it is there")
            self.w.put_output(call.upper(), b"r")
            self.assertEqual(under.join(), b"r")
        call = self.c.put_input(b"")
        self.w.put_output(call, b"r")
        self.assertEqual(self.c.retrieve_all([call.upper(), call], timeout=60), [b"r", b"r"])

    def test_an_empty_id_is_none(self) -> None:
        call = self.c.put_input(b"x", call_id="")
        self.assertEqual(self.w.get_input(call), b"x")
        self.assertEqual(self.w.get_input(self.c.put_inputs([mayfly.InputItem(b"y")])[0]), b"y")

    def test_a_long_timeout_is_for_ever(self) -> None:
        for timeout in (math.inf, 1e18, 10**400, datetime.timedelta.max):
            call = self.c.put_input(b"")
            under = UnderWay(self.c.retrieve, call, timeout=timeout)
            others = self.c.put_inputs([b"", b""])
            all_under = UnderWay(self.c.retrieve_all, others[:1], timeout=timeout)
            completed = UnderWay(next, self.c.as_completed(others[1:], timeout=timeout))
            self.w.put_outputs([mayfly.OutputItem(each, b"r") for each in [call, *others]])
            self.assertEqual(under.join(), b"r")
            self.assertEqual(all_under.join(), [b"r"])
            self.assertEqual(completed.join(), (others[1], b"r"))

    def test_a_time_that_is_none_is_refused(self) -> None:
        call = self.c.put_input(b"")
        for function in (self.c.retrieve, lambda each, timeout: self.c.retrieve_all([each], timeout),
                         lambda each, timeout: next(self.c.as_completed([each], timeout))):
            with self.assertRaisesRegex(mayfly.InvalidArgument, "timeout is nan"):
                function(call, timeout=math.nan)
            for timeout in (-1, -0.5, -10**400, datetime.timedelta(days=-1)):
                with self.assertRaisesRegex(mayfly.InvalidArgument, "timeout is -.* seconds, least is 0"):
                    function(call, timeout=timeout)
        for ttl in (math.nan, math.inf, 10**400):
            with self.assertRaisesRegex(mayfly.InvalidArgument, "ttl is (nan|inf) s, limits are"):
                self.c.put_input(b"", ttl=ttl)

    def test_more_calls_than_a_stream_takes_are_refused(self) -> None:
        calls = [mayfly.new_call_id() for _ in range(65537)]
        with self.assertRaisesRegex(mayfly.InvalidArgument, "65537 calls .* limit of a client is 65536"):
            self.c.as_completed(calls)
        found = dict(self.c.as_completed(calls[1:], return_exceptions=True, timeout=300))
        self.assertEqual(len(found), 65536)
        self.assertEqual({type(each) for each in found.values()}, {mayfly.NotFound})

    def test_a_mapping_or_set_is_no_data(self) -> None:
        for data in ({b"a": 1}, {b"a", b"b"}):
            with self.assertRaisesRegex(TypeError, f"data is {type(data).__name__}, accepted"):
                self.c.put_input(data)

    def test_a_view_with_gaps_is_data(self) -> None:
        for size in (10, 2 * LARGE_BYTES):
            data = new_data(size)
            call = self.c.put_input(memoryview(data)[::2])
            self.assertTrue(self.w.get_input(call) == data[::2])

    def test_the_error_of_a_source_is_raised(self) -> None:
        for error in (KeyError, IndexError, OSError, mayfly.Unavailable):

            def pieces() -> Iterator[bytes]:
                yield bytes(LARGE_BYTES)
                raise error("of the caller")

            with self.assertRaisesRegex(error, "of the caller"):
                self.c.put_input(pieces())

    def test_too_many_waits_are_refused_and_the_others_go_on(self) -> None:
        one, *many = self.c.put_inputs([b""] * 5)
        under = UnderWay(self.c.retrieve, one, timeout=60)
        with mock.patch.object(feed, "_SUBSCRIPTIONS_MAX", 3):
            for wait in (lambda: self.c.retrieve_all(many, timeout=60),
                         lambda: next(self.c.as_completed(many, timeout=60))):
                with self.assertRaisesRegex(mayfly.InvalidArgument, "limit of a client is 3"):
                    wait()
        self.w.put_outputs([mayfly.OutputItem(each, b"r") for each in (one, *many)])
        self.assertEqual(under.join(), b"r")
        self.assertEqual(self.c.retrieve_all(many, timeout=60), [b"r"] * 4)

    def test_a_large_output_that_is_named_twice(self) -> None:
        for options in ({}, {"return_exceptions": True}):
            call = self.c.put_input(b"")
            self.w.put_output(call, data := new_data(LARGE_BYTES))
            found = self.c.retrieve_all([call, call], timeout=60, **options)
            self.assertEqual([each == data for each in found], [True, True])

    def test_a_download_ends_with_its_client(self) -> None:
        client, worker = self.client(), self.worker()
        call = client.put_input(bytes(64 << 20))
        pieces = worker.stream_input(call)
        next(pieces)
        worker.close()
        with self.assertRaises(mayfly.Cancelled):
            for _ in range(64):
                next(pieces)
        self.w.put_output(call, bytes(64 << 20))
        with self.assertRaises(mayfly.Cancelled):
            with client.retrieving(call, timeout=60) as output:
                pieces = output.stream()
                next(pieces)
                client.close()
                for _ in range(64):
                    next(pieces)


class Copies(LiveTestCase):
    def test_what_has_connections_says_that_it_cannot_be_copied(self) -> None:
        c = self.client()
        call = c.put_input(b"")
        self.worker().put_output(call, b"")
        with c.retrieving(call) as held:
            for each in (c, self.worker(), held, c.as_completed([])):
                for function in (pickle.dumps, copy.copy, copy.deepcopy):
                    with self.assertRaisesRegex(TypeError, "belongs to its process"):
                        function(each)
        self.assertEqual(repr(c), f"<Client of {self.server.target}>")

    def test_payloads_items_and_errors_can_be(self) -> None:
        c, w = self.client(), self.worker()
        call = c.put_input(b"in", content_type="text/plain", labels={"a": "b"})
        given = w.get_input(call)
        w.put_output(call, b"out", outcome="failure", attempt=3, labels={"c": "d"})
        taken = c.retrieve(call)
        error = mayfly.NotFound("text", "CALL_UNKNOWN", call, 1.5)
        batch = mayfly.BatchError({0: error}, [call])
        for each in (given, taken, error, batch, c.describe(call), mayfly.InputItem(b"x"),
                     mayfly.Settings(self.server.target, **self.arguments("client"))):
            again = pickle.loads(pickle.dumps(each))
            self.assertEqual((type(again), str(again), getattr(again, "__dict__", None) and
                              {**vars(again), "errors": None}),
                             (type(each), str(each), getattr(each, "__dict__", None) and
                              {**vars(each), "errors": None}))


def channel_of(client: mayfly.Client) -> Any:
    return client._connection._channels._open[False]


def replace_next_call(client: mayfly.Client, call: Callable[..., Any]) -> None:
    channel = channel_of(client)
    original = channel.call

    def once(*arguments: Any) -> Any:
        channel.call = original
        return call(*arguments)

    channel.call = once


class Interrupts(LiveTestCase):
    """After KeyboardInterrupt, or what any signal's handler raises, a blocking client works on."""

    def test_while_it_lingers(self) -> None:
        c = self.client(linger=0.001)
        with mock.patch("mayfly.batcher.time.sleep", side_effect=KeyboardInterrupt):
            with self.assertRaises(KeyboardInterrupt):
                c.put_input(b"")
        self.assertIn(c.describe(c.put_input(b"")).state, "pending")

    def test_in_the_middle_of_a_call(self) -> None:
        """A lock of gRPC's channel may stay locked: the next call needs another one."""
        c = self.client()
        c.put_input(b"")
        for interrupt in (KeyboardInterrupt, RuntimeError):
            channel = channel_of(c)
            replace_next_call(c, mock.Mock(side_effect=interrupt))
            with self.assertRaises(interrupt):
                c.put_input(b"")
            self.assertTrue(c.put_input(b""))
            self.assertEqual(channel_of(c) is channel, channel.rpcs is None)

    def test_a_signal_ends_a_call_that_waits(self) -> None:
        """Alone, and beside a thread that waits too."""

        class Alarm(Exception):
            pass

        def ring(*_: Any) -> None:
            raise Alarm

        self.addCleanup(signal.signal, signal.SIGUSR1, signal.signal(signal.SIGUSR1, ring))
        silent = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(silent.close)
        c = self.client(server=f"127.0.0.1:{silent.getsockname()[1]}")
        for other in (lambda: None, lambda: UnderWay(c.put_input, b"")):
            other()
            timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGUSR1))
            timer.start()
            began = time.monotonic()
            with self.assertRaises(Alarm):
                c.describe(mayfly.new_call_id())
            self.assertLess(time.monotonic() - began, 5)

    def test_a_close_at_the_moment_when_a_call_begins(self) -> None:
        for text in ("Cannot invoke RPC on closed channel!", "Cannot invoke RPC: Channel closed!"):
            c = self.client()
            c.put_input(b"")

            def begin(*_: Any, **__: Any) -> None:
                c.close()
                raise ValueError(text)

            channel_of(c).call = begin
            with self.assertRaisesRegex(mayfly.Cancelled, "the client is closed"):
                c.put_input(b"")

    def test_others_that_travel_along_are_answered(self) -> None:
        c = self.client()
        c.put_input(b"")
        is_under_way, may_end = threading.Event(), threading.Event()

        def interrupted(*_: Any, **__: Any) -> None:
            is_under_way.set()
            may_end.wait()
            raise KeyboardInterrupt

        replace_next_call(c, interrupted)
        first = UnderWay(c.put_input, b"")
        is_under_way.wait()
        others = [UnderWay(c.put_input, b"") for _ in range(5)]
        until(lambda: len(c._puts._queue) == 5, "they queue up")
        may_end.set()
        self.assertIsInstance(first.join(), KeyboardInterrupt)
        for each in others:
            self.assertIsInstance(each.join(), str)


def threads_of_clients() -> list[str]:
    return [each.name for each in threading.enumerate() if each.name.startswith("mayfly-")]


class Unclosed(LiveTestCase):
    def test_a_blocking_client_that_is_dropped_closes(self) -> None:
        call = self.client().put_input(b"")
        for _ in range(5):
            client = mayfly.Client(self.server.target, **self.arguments("client"))
            with self.assertRaises(mayfly.Pending):
                client.retrieve(call, timeout=0.05)
        del client
        gc.collect()
        until(lambda: not threads_of_clients(), "their threads end")

    def test_a_dropped_one_takes_no_lock_of_the_thread_that_drops_it(self) -> None:
        """Which the garbage collector may have chosen."""
        for drop in (lambda client: None, lambda client: client.as_completed([mayfly.new_call_id()])):
            client = mayfly.Client(self.server.target, **self.arguments("client"))
            client.put_input(b"")
            connection = client._connection
            dropped = [client, drop(client)]
            del client

            def drop_all() -> bool:
                with connection._lock:
                    dropped.clear()
                return True

            self.assertTrue(UnderWay(drop_all).join())
            until(lambda: connection.closing.is_set, "it is closed")

    def test_what_a_program_has_consumed_at_its_end_is_acknowledged(self) -> None:
        """By an iteration that it has left early."""
        c = self.client()
        calls = c.put_inputs([b""] * 3)
        self.worker().put_outputs([mayfly.OutputItem(each, b"r") for each in calls])
        self.run_program(f"""
import mayfly

def main():
    client = mayfly.Client({self.server.target!r}, **{self.arguments("client")!r})
    for number, _ in enumerate(client.as_completed({calls!r})):
        if number == 2:
            break

main()
""")
        states = lambda: sorted(each.state for each in c.describe_all(calls))
        until(lambda: states() == ["consumed", "consumed", "ready"], "two are consumed")

    def test_an_iteration_keeps_its_client(self) -> None:
        c, w = self.client(), self.worker()
        calls = c.put_inputs([b""] * 3)
        completed = mayfly.Client(self.server.target, **self.arguments("client")).as_completed(calls)
        large = c.put_input(bytes(LARGE_BYTES))
        pieces = mayfly.Worker(self.server.target, **self.arguments("worker")).stream_input(large)
        gc.collect()
        w.put_outputs([mayfly.OutputItem(each, b"r") for each in calls])
        self.assertEqual(sorted(completed), sorted((each, b"r") for each in calls))
        self.assertEqual(sum(map(len, pieces)), LARGE_BYTES)

    def test_an_asyncio_client_that_is_dropped_closes(self) -> None:
        program = f"""
import asyncio, gc, sys
import mayfly

async def main():
    for _ in range(5):
        client = mayfly.AsyncClient({self.server.target!r}, **{self.arguments("client")!r})
        call = await client.put_input(b"")
        try:
            await client.retrieve(call, timeout=0.05)
        except mayfly.Pending:
            pass
    del client
    gc.collect()
    while len(asyncio.all_tasks()) > 1:
        await asyncio.sleep(0.05)

asyncio.run(main())
"""
        self.run_program(program)

    def test_an_asyncio_client_says_that_it_belongs_to_another_loop(self) -> None:
        self.run_program(f"""
import asyncio
import mayfly

client = mayfly.AsyncClient({self.server.target!r}, **{self.arguments("client")!r})

async def put():
    return await client.put_input(b"")

asyncio.run(put())
try:
    asyncio.run(put())
except mayfly.Error as error:
    assert "belongs to one event loop" in str(error), error
else:
    raise AssertionError
""")

    def run_program(self, program: str) -> None:
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True,
                              timeout=TIMEOUT_S)
        self.assertEqual((done.returncode, done.stderr), (0, ""))

    def test_a_program_ends_whatever_is_open(self) -> None:
        c, w = self.client(), self.worker()
        for last in ("held = client.retrieving(call)\nheld.__enter__()",
                     "completed = client.as_completed([call, pending])\nnext(completed)",
                     "waiting = threading.Thread(target=client.retrieve, args=[pending], daemon=True)\n"
                     "waiting.start()\ntime.sleep(0.3)",
                     "held = client.retrieving_all([call])\nheld.__enter__()"):
            with self.subTest(last):
                call, pending = c.put_inputs([b"", b""])
                w.put_output(call, b"r")
                self.run_program(
                    "import threading, time\nimport mayfly\n"
                    f"client = mayfly.Client({self.server.target!r}, **{self.arguments('client')!r})\n"
                    f"call, pending = {call!r}, {pending!r}\n{last}\n")


if __name__ == "__main__":
    unittest.main()
