#!/usr/bin/python3
"""The asyncio client does what the blocking one does."""

import asyncio
import collections
import hashlib
import io
import unittest
from typing import Any, AsyncIterator

import mayfly
from mayfly import errors
from python_test_case import LiveTestCase, new_data, pieces_of

MAP_CALLS = 10_000
WORKERS = 64


async def pieces_later(data: bytes) -> AsyncIterator[bytes]:
    for piece in pieces_of(data):
        await asyncio.sleep(0)
        yield piece


class Aio(LiveTestCase):
    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        # One event loop for all: the distribution's gRPC complains of a second one in a process.
        cls.runner = asyncio.Runner()
        cls.addClassCleanup(cls.runner.close)

    def run(self, result: Any = None) -> Any:
        method = getattr(self, self._testMethodName)

        async def with_clients() -> None:
            async with (
                mayfly.AsyncClient(self.server.target, **self.arguments("client")) as self.c,
                mayfly.AsyncWorker(self.server.target, **self.arguments("worker")) as self.w,
            ):
                await asyncio.wait_for(method(), 120)

        setattr(self, self._testMethodName, lambda: self.runner.run(with_clients()))
        return super().run(result)

    async def ready(self, data: bytes = b"answer") -> str:
        call = await self.c.put_input(b"question")
        await self.w.put_output(call, data)
        return call

    async def state(self, call: str) -> str:
        return str((await self.c.describe(call)).state)

    async def until(self, call: str, state: str) -> None:
        while await self.state(call) != state:
            await asyncio.sleep(0.01)

    async def test_a_life(self) -> None:
        call = await self.c.put_input(b"question", ttl=600, labels={"a": "1"})
        got = await self.w.get_input(call)
        self.assertEqual((got, got.labels), (b"question", {"a": "1"}))
        await self.w.put_output(call, b"answer", outcome="failure")
        output = await self.c.retrieve(call, timeout=60)
        self.assertEqual((output, output.outcome), (b"answer", "failure"))
        self.assertEqual(await self.state(call), "consumed")

    async def test_many_wait_and_one_gets_it(self) -> None:
        call = await self.c.put_input(b"question")
        waiting = [asyncio.create_task(self.c.retrieve(call, timeout=60)) for _ in range(8)]
        await asyncio.sleep(0.05)
        await self.w.put_output(call, b"answer")
        results = await asyncio.gather(*waiting, return_exceptions=True)
        self.assertEqual([each for each in results if isinstance(each, bytes)], [b"answer"])
        ends = {each.reason for each in results if isinstance(each, errors.NotFound)}
        self.assertEqual(ends, {"consumed"})

    async def test_errors(self) -> None:
        unknown = mayfly.new_call_id()
        call = await self.c.put_input(b"question")
        deleted = await self.c.put_input(b"question")
        await self.c.delete(deleted)
        for ask, kind in (
            (self.c.retrieve(unknown), errors.NotFound),
            (self.w.get_input(deleted), errors.NotFound),
            (self.c.retrieve(call, timeout=0), errors.Pending),
            (self.c.retrieve(call, timeout=0.05), errors.Pending),
            (self.c.put_input(b"another", call_id=call), errors.Conflict),
            (self.c.put_input(b"x", ttl=-1), errors.InvalidArgument),
            (self.w.put_output(unknown, b"x"), errors.NotFound),
            (self.c.put_inputs([mayfly.InputItem(b"another", call_id=call)]), errors.BatchError),
        ):
            with self.assertRaises(kind):
                await ask
        async with mayfly.AsyncClient(
            "localhost:1", **self.arguments("client"), attempts_max=2
        ) as nowhere:
            with self.assertRaises(errors.Unavailable):
                await nowhere.put_input(b"x")
        with self.assertRaises(errors.Cancelled):
            await nowhere.describe(call)

    async def test_retrieving(self) -> None:
        call = await self.ready()
        with self.assertRaises(ZeroDivisionError):
            async with self.c.retrieving(call, timeout=60):
                raise ZeroDivisionError
        self.assertEqual(await self.state(call), "ready")
        async with self.c.retrieving(call, timeout=60) as out:
            self.assertEqual(await out.read(), b"answer")
            self.assertEqual(await self.state(call), "claimed")
        self.assertEqual(await self.state(call), "consumed")

    async def test_what_is_held_is_renewed(self) -> None:
        call = await self.ready()
        async with mayfly.AsyncClient(
            self.server.target, **self.arguments("client"), lease=3.0
        ) as client:
            async with client.retrieving(call, timeout=60):
                await asyncio.sleep(5)  # more than a lease
                self.assertEqual(await self.state(call), "claimed")

    async def test_a_task_that_is_cancelled_loses_nothing(self) -> None:
        call = await self.c.put_input(b"question")
        for _ in range(20):
            waiting = asyncio.create_task(self.c.retrieve(call, timeout=60))
            await asyncio.sleep(0.005)
            waiting.cancel()
        await self.w.put_output(call, b"answer")
        self.assertEqual(await self.c.retrieve(call, timeout=60), b"answer")

    async def test_sizes_and_sources(self) -> None:
        for size in (0, 1, (1 << 20) + 1, 24 << 20):
            data = new_data(size)
            digest = hashlib.sha256(data).digest()
            call = await self.c.put_input(pieces_later(data))
            self.assertEqual(hashlib.sha256(await self.w.get_input(call)).digest(), digest)
            for source in (data, io.BytesIO(data), pieces_of(data)):
                await self.w.put_output(call, source)
            received = hashlib.sha256()
            async with self.c.retrieving(call, timeout=60) as out:
                async for piece in out.stream():
                    received.update(piece)
            self.assertEqual(received.digest(), digest)

    async def test_a_map_of_ten_thousand_calls_and_64_workers(self) -> None:
        calls = await self.c.put_inputs(b"%d" % i for i in range(MAP_CALLS))
        todo = list(calls)

        async def work() -> None:
            while todo:
                call = todo.pop()
                await self.w.put_output(call, await self.w.get_input(call) + b"!")

        workers = [asyncio.create_task(work()) for _ in range(WORKERS)]
        seen = collections.Counter()
        async for call, out in self.c.as_completed(calls, timeout=100):
            self.assertEqual(out[-1:], b"!")
            seen[call] += 1
        await asyncio.gather(*workers)
        self.assertEqual(seen, collections.Counter(calls))
        states = {each.state for each in await self.c.describe_all(calls)}
        self.assertEqual(states, {"consumed"})

    async def test_an_output_that_the_loop_was_left_with_is_given_back(self) -> None:
        call = await self.ready()
        async for _, out in self.c.as_completed([call], timeout=60):
            self.assertEqual(out, b"answer")
            break
        await self.until(call, "ready")
        found = [
            pair
            async for pair in self.c.as_completed(
                [call, mayfly.new_call_id()], timeout=60, return_exceptions=True
            )
        ]
        self.assertEqual({type(out) for _, out in found}, {mayfly.Output, errors.NotFound})
        with self.assertRaises(errors.TimedOut):
            pending = await self.c.put_input(b"question")
            await anext(self.c.as_completed([pending], timeout=0.2))


if __name__ == "__main__":
    unittest.main()
