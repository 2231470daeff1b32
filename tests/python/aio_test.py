#!/usr/bin/python3
"""What only the asyncio half can do: tasks, their cancellation, asynchronous iterators.

All else is tested through both halves (both_halves.py).
"""

import asyncio
import collections
import hashlib
import io
import time
import unittest
from typing import Any, AsyncIterator
from unittest import mock

import mayfly
from mayfly import channels, errors
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

    async def test_many_wait_and_one_gets_it(self) -> None:
        call = await self.c.put_input(b"question")
        waiting = [asyncio.create_task(self.c.retrieve(call, timeout=60)) for _ in range(8)]
        await asyncio.sleep(0.05)
        await self.w.put_output(call, b"answer")
        results = await asyncio.gather(*waiting, return_exceptions=True)
        self.assertEqual([each for each in results if isinstance(each, bytes)], [b"answer"])
        ends = {each.reason for each in results if isinstance(each, errors.NotFound)}
        self.assertEqual(ends, {"OUTPUT_CONSUMED"})

    async def test_a_task_that_is_cancelled_loses_nothing(self) -> None:
        call = await self.c.put_input(b"question")
        for _ in range(20):
            waiting = asyncio.create_task(self.c.retrieve(call, timeout=60))
            await asyncio.sleep(0.005)
            waiting.cancel()
        await self.w.put_output(call, b"answer")
        self.assertEqual(await self.c.retrieve(call, timeout=60), b"answer")

    async def test_a_task_that_is_cancelled_when_its_output_has_come_gives_it_back(self) -> None:
        """Before its next step."""
        call = await self.ready()
        claims = self.c._retrievals._claims
        answer = claims._answer

        def cancel(*arguments: Any) -> Any:
            again = answer(*arguments)
            waiting.cancel()
            return again

        with (
            mock.patch.object(claims, "_answer", cancel),
            mock.patch.object(claims, "_orphan", wraps=claims._orphan) as orphan,
        ):
            waiting = asyncio.create_task(self.c.retrieve(call, timeout=60))
            await asyncio.wait([waiting])
        self.assertTrue(waiting.cancelled())
        orphan.assert_called_once()
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

    async def test_the_loop_may_be_left_early(self) -> None:
        call = await self.ready()
        async for _, out in self.c.as_completed([call], timeout=60):
            self.assertEqual(out, b"answer")
            break
        await self.until(call, "ready")

    async def test_a_server_that_has_gone_is_looked_for_by_another_channel(self) -> None:
        """Once for all tasks: closing the channel would cancel the calls of the others."""
        opened = mock.Mock(wraps=channels.Channel)
        with (
            mock.patch.object(channels, "Channel", opened),
            mock.patch.object(channels, "_RENEW_INTERVAL_S", 0.1),
        ):
            call = await self.c.put_input(b"x")
            self.server.kill()
            starting = asyncio.create_task(asyncio.to_thread(self.start_later))
            described = await asyncio.gather(*(self.c.describe(call) for _ in range(8)))
            await starting
        self.assertEqual([one.state for one in described], ["pending"] * 8)
        self.assertGreater(opened.call_count, 1)

    def start_later(self) -> None:
        time.sleep(0.5)
        self.server.start()

    async def test_close_ends_what_has_not_even_begun(self) -> None:
        """Tasks of the client that are cancelled before their first step."""
        for name, argument in (("put_input", b"x"), ("retrieve", mayfly.new_call_id())):
            with self.subTest(name):
                client = mayfly.AsyncClient(self.server.target, **self.arguments("client"))
                calls = [asyncio.create_task(getattr(client, name)(argument)) for _ in range(3)]
                await asyncio.sleep(0)  # they wait for a task that was made and did not run
                await client.close()
                for outcome in await asyncio.gather(*calls, return_exceptions=True):
                    self.assertIsInstance(outcome, mayfly.Cancelled)
        client = mayfly.AsyncClient(self.server.target, **self.arguments("client"))
        completion = client.as_completed([mayfly.new_call_id()])
        await client.close()
        with self.assertRaises(mayfly.Cancelled):
            await anext(completion)


if __name__ == "__main__":
    unittest.main()
