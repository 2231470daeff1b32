#!/usr/bin/python3
"""Processes that are forked while clients are open, used and waiting."""

import asyncio
import multiprocessing
import os
import threading
import traceback
import unittest
from typing import Any, Callable

import mayfly
from python_test_case import LiveTestCase, new_data, until

CHILDREN = 4


class Fork(LiveTestCase):
    def setUp(self) -> None:
        self.c = self.client()
        self.w = self.worker()
        self.life(self.c, self.w)

    def life(self, client: mayfly.Client, worker: mayfly.Worker, data: bytes = b"x") -> None:
        call = client.put_input(data)
        worker.put_output(call, worker.get_input(call))
        self.assertTrue(client.retrieve(call, timeout=60) == data)
        # On the stream too.
        call = client.put_input(data)
        timer = threading.Timer(0.05, worker.put_output, (call, data))
        timer.start()
        self.assertTrue(client.retrieve(call, timeout=60) == data)
        timer.join()

    def in_child(self, work: Callable[[], None]) -> int:
        """The pid of a forked process that exits with 0 when `work` raised nothing."""
        pid = os.fork()
        if pid != 0:
            return pid
        code = 1
        try:
            work()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)

    def assert_ends_well(self, pid: int) -> None:
        ended = []

        def has_ended() -> bool:
            found, status = os.waitpid(pid, os.WNOHANG)
            if found:
                ended.append(os.waitstatus_to_exitcode(status))
            return bool(found)

        try:
            until(has_ended, "the end of a child")
        except AssertionError:
            os.kill(pid, 9)
            os.waitpid(pid, 0)
            raise
        self.assertEqual(ended, [0])

    def test_the_clients_of_the_parent_work_in_children_and_in_the_parent(self) -> None:
        children = [self.in_child(lambda: self.life(self.c, self.w)) for _ in range(CHILDREN)]
        self.life(self.c, self.w)
        for pid in children:
            self.assert_ends_well(pid)
        self.life(self.c, self.w)

    def test_children_of_children(self) -> None:
        def child() -> None:
            self.life(self.c, self.w)
            self.assert_ends_well(self.in_child(lambda: self.life(self.c, self.w)))
            self.life(self.c, self.w)

        self.assert_ends_well(self.in_child(child))

    def test_children_can_have_clients_of_their_own(self) -> None:
        def child() -> None:
            with (
                mayfly.Client(self.server.target, **self.arguments("client")) as client,
                mayfly.Worker(self.server.target, **self.arguments("worker")) as worker,
            ):
                self.life(client, worker, new_data(3 << 20))

        self.assert_ends_well(self.in_child(child))

    def test_threads_of_the_parent_notice_nothing(self) -> None:
        stop = threading.Event()
        failures: list[BaseException] = []
        done: list[int] = []

        def work(data: bytes) -> None:
            count = 0
            try:
                while not stop.is_set():
                    self.life(self.c, self.w, data)
                    count += 1
            except BaseException as error:
                failures.append(error)
            done.append(count)

        sizes = [b"x"] * 6 + [new_data(3 << 20)]
        threads = [threading.Thread(target=work, args=(data,)) for data in sizes]
        for thread in threads:
            thread.start()
        for _ in range(CHILDREN):
            self.assert_ends_well(self.in_child(lambda: self.life(self.c, self.w)))
        stop.set()
        for thread in threads:
            thread.join()
        self.assertEqual(failures, [])
        self.assertEqual(len(done), len(threads))

    def test_the_parents_connection_may_break_while_a_child_lives(self) -> None:
        proxy = self.proxy()
        client = self.client(server=proxy.target, delay_min=0.01)
        worker = self.worker(server=proxy.target, delay_min=0.01)
        self.life(client, worker)
        waiting, end = os.pipe()

        def wait() -> None:
            os.close(end)
            os.read(waiting, 1)

        child = self.in_child(wait)
        for _ in range(20):
            proxy.tell("cut-all reset")
            self.life(client, worker)
        os.close(end)
        os.close(waiting)
        self.assert_ends_well(child)

    def test_what_the_parent_holds_and_waits_for_is_the_parents(self) -> None:
        calls = self.c.put_inputs([b"question"] * 3)
        self.w.put_outputs([mayfly.OutputItem(call, b"answer") for call in calls[:2]])
        results: list[Any] = []
        waiting = threading.Thread(
            target=lambda: results.append(self.c.retrieve(calls[2], timeout=60))
        )
        waiting.start()
        iterator = self.c.as_completed(calls[:1], timeout=60)
        next(iterator)
        with self.c.retrieving(calls[1], timeout=60):

            def child() -> None:
                with self.assertRaises(mayfly.Error):
                    next(iterator)
                iterator.close()

            self.assert_ends_well(self.in_child(child))
            self.assertEqual(self.c.describe(calls[1]).state, "claimed")
        self.assertEqual(list(iterator), [])
        self.w.put_output(calls[2], b"late")
        waiting.join()
        self.assertEqual(results, [b"late"])
        self.assertEqual({each.state for each in self.c.describe_all(calls)}, {"consumed"})

    def test_multiprocessing(self) -> None:
        for method in ("fork", "forkserver", "spawn"):
            with self.subTest(method):
                context = multiprocessing.get_context(method)
                arguments = [
                    (self.server.target, self.arguments("client"), self.arguments("worker"), i)
                    for i in range(CHILDREN)
                ]
                with context.Pool(2) as pool:
                    results = pool.starmap(life_in_pool, arguments)
                self.assertEqual(results, [b"%d" % i for i in range(CHILDREN)])
                self.life(self.c, self.w)

    def test_asyncio_clients_are_made_anew(self) -> None:
        async def life(client: mayfly.AsyncClient, worker: mayfly.AsyncWorker) -> None:
            async with client, worker:
                call = await client.put_input(b"x")
                await worker.put_output(call, await worker.get_input(call))
                self.assertEqual(await client.retrieve(call, timeout=60), b"x")

        def new_life() -> None:
            client = mayfly.AsyncClient(self.server.target, **self.arguments("client"))
            worker = mayfly.AsyncWorker(self.server.target, **self.arguments("worker"))
            asyncio.run(life(client, worker))

        new_life()
        client = mayfly.AsyncClient(self.server.target, **self.arguments("client"))

        def child() -> None:
            with self.assertRaises(mayfly.Error):
                asyncio.run(client.put_input(b"x"))
            new_life()
            self.life(self.c, self.w)

        self.assert_ends_well(self.in_child(child))


def life_in_pool(target: str, client_files: Any, worker_files: Any, number: int) -> bytes:
    client = mayfly.Client(target, **client_files)
    worker = mayfly.Worker(target, **worker_files)
    call = client.put_input(b"%d" % number)
    worker.put_output(call, worker.get_input(call))
    return bytes(client.retrieve(call, timeout=60))


if __name__ == "__main__":
    unittest.main()
