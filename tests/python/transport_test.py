#!/usr/bin/python3
"""How requests travel: by the module mayfly._native, or by gRPC for Python."""

import asyncio
import os
import subprocess
import sys
import time
import unittest
from typing import Any
from unittest import mock

import mayfly
from both_halves import Driven, both_halves
from fake_server import FakeServer
from mayfly import contract, native, transport
from python_test_case import LiveTestCase, UnderWay, until

VARIABLE = "MAYFLY_PYTHON_TRANSPORT"


def channel_of(client: Any) -> Any:
    return client._connection._channels._open[False]


@both_halves
class Choice(LiveTestCase):
    def setUp(self) -> None:
        patch = mock.patch.dict(os.environ, {VARIABLE: ""})
        patch.start()
        self.addCleanup(patch.stop)

    def carried_by(self, **settings: Any) -> str:
        client = self.client(**settings)
        client.describe(client.put_input(b"x"))
        channel = channel_of(client)
        self.assertNotEqual(channel.native is None, channel.rpcs is None)
        return "grpcio" if channel.native is None else "native"

    def test_by_setting_and_variable(self) -> None:
        automatic = "grpcio" if isinstance(self.client(), Driven) else "native"
        for setting, variable, carrier in (
            ("native", "", "native"), ("grpcio", "", "grpcio"), ("auto", "", automatic),
            ("auto", "grpcio", "grpcio"), ("auto", "native", "native"),
            ("native", "grpcio", "native"), ("grpcio", "native", "grpcio"),
        ):
            with (
                self.subTest(setting=setting, variable=variable),
                mock.patch.dict(os.environ, {VARIABLE: variable}),
            ):
                self.assertEqual(self.carried_by(transport=setting), carrier)

    def test_one_that_there_is_not_is_refused(self) -> None:
        with self.assertRaisesRegex(mayfly.InvalidArgument, "transport is 'http', expected auto"):
            self.client(transport="http")
        with mock.patch.dict(os.environ, {VARIABLE: "http"}):
            with self.assertRaisesRegex(mayfly.InvalidArgument, f"{VARIABLE} is 'http'"):
                self.client()

    def test_without_the_module(self) -> None:
        with mock.patch.dict(sys.modules, {"mayfly._native": None}):
            self.assertEqual(self.carried_by(transport="auto"), "grpcio")
            with self.assertRaisesRegex(mayfly.InvalidArgument, "transport is native, and cannot"):
                self.carried_by(transport="native")

    def test_a_server_that_knows_no_sessions_gets_rpcs(self) -> None:
        server = FakeServer(self.server.path("certificates"))
        self.addCleanup(server.close)
        client = self.client(server=server.target, transport="native")
        for _ in range(3):
            client.put_inputs([b"x"] * 3)
        self.assertEqual(server.counts["PutInputs"], [3, 3, 3])

    def test_what_is_too_large_for_a_session_is_an_rpc(self) -> None:
        client, worker = self.client(transport="native"), self.worker(transport="native")
        inputs = [os.urandom(1_500_000), b"small"]
        calls = client.put_inputs(inputs)
        self.assertEqual(worker.get_inputs(calls), inputs)
        self.assertIsNotNone(channel_of(client).rpcs)


class Native(LiveTestCase):
    def open_channel(self) -> Any:
        self.c, self.w = self.client(transport="native", lease=600), self.worker()
        self.call = self.c.put_input(b"question")
        self.w.put_output(self.call, b"answer")
        return channel_of(self.c).native

    def begin_claim(self, channel: Any) -> Any:
        return channel.begin("ClaimOutputs", contract.claim_request([self.call], 1 << 20, 600))

    def test_a_claim_that_nobody_waits_for_is_given_back(self) -> None:
        channel = self.open_channel()
        self.begin_claim(channel)  # and drops it, most often before the answer
        until(lambda: self.c.describe(self.call).state == "ready", "it is given back")
        claim = self.begin_claim(channel)
        until(lambda: self.c.describe(self.call).state == "claimed", "the answer is there")
        del claim
        until(lambda: self.c.describe(self.call).state == "ready", "it is given back")

    def test_an_answer_that_is_late_is_not_waited_for(self) -> None:
        channel = self.open_channel()
        with self.assertRaises(transport.Failure) as raised:
            channel.end(self.begin_claim(channel), 0.0)
        self.assertIsInstance(raised.exception.error, mayfly.TimedOut)
        until(lambda: self.c.describe(self.call).state == "ready", "it is given back")

    def test_a_task_that_is_cancelled_gives_its_claim_back(self) -> None:
        self.open_channel()

        async def cancel_claim(pause_s: float) -> None:
            arguments = self.arguments("client")
            async with mayfly.AsyncClient(
                self.server.target, **arguments, transport="native", lease=600
            ) as client:
                await client.describe(self.call)
                request = contract.claim_request([self.call], 1 << 20, 600)
                answers = client._connection._answers
                claiming = asyncio.create_task(
                    answers.call(channel_of(client).native, "ClaimOutputs", request, 10.0)
                )
                await asyncio.sleep(0)
                time.sleep(pause_s)  # the answer comes, and the loop has not seen it
                claiming.cancel()
                await asyncio.wait([claiming])
                self.assertTrue(claiming.cancelled())
                until(lambda: self.c.describe(self.call).state == "ready", "it is given back")

        for pause_s in (0.0, 0.2):
            asyncio.run(cancel_claim(pause_s))

    def test_what_is_under_way_ends_when_the_channel_is_closed(self) -> None:
        proxy = self.proxy()
        client = self.client(server=proxy.target, transport="native")
        client.describe(mayfly.new_call_id())
        channel = channel_of(client).native
        begun = self.begin_many(channel, 100)
        channel.close()
        for each in begun:
            try:
                channel.end(each, 10.0)
            except transport.Failure as failure:
                self.assertIsInstance(failure.error, mayfly.Cancelled)
        with self.assertRaises(transport.Failure) as raised:
            channel.end(self.begin_many(channel, 1)[0], 10.0)
        self.assertIsInstance(raised.exception.error, mayfly.Cancelled)

    def begin_many(self, channel: Any, count: int) -> list[Any]:
        ids = [mayfly.new_call_id()]
        return [
            channel.begin("DescribeCalls", contract.pb.DescribeCallsRequest(call_ids=ids))
            for _ in range(count)
        ]

    def test_many_threads_get_their_own_answers(self) -> None:
        """Whoever has its answer leaves the polling to one that has not."""
        channel = self.open_channel()

        def describe() -> str:
            for _ in range(200):
                ids = [mayfly.new_call_id() for _ in range(3)]
                begun = [
                    channel.begin("DescribeCalls", contract.pb.DescribeCallsRequest(call_ids=[id]))
                    for id in ids
                ]
                answers = [channel.end(each, 30.0) for each in begun]
                if [each.results[0].call_id for each in answers] != ids:
                    return "an answer of another"
            return "all"

        lanes = [UnderWay(describe) for _ in range(16)]
        self.assertEqual([lane.join() for lane in lanes], ["all"] * 16)

    def test_a_program_may_end_in_the_middle_of_calls(self) -> None:
        arguments = {**self.arguments("client"), "transport": "native"}
        program = f"""
import threading, time
import mayfly

client = mayfly.Client({self.server.target!r}, **{arguments!r})

def work():
    while True:
        client.describe(mayfly.new_call_id())
        client.put_inputs([b"x"] * 200)

for _ in range(8):
    threading.Thread(target=work, daemon=True).start()
time.sleep(0.5)
"""
        for _ in range(5):
            done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
            self.assertEqual((done.returncode, done.stderr), (0, ""))

    def test_nothing_is_left_when_a_client_is_dropped(self) -> None:
        def threads() -> int:
            return len(os.listdir("/proc/self/task"))

        self.client(transport="native").put_input(b"")  # gRPC's own threads are there
        before = threads()
        for _ in range(20):
            client = mayfly.Client(self.server.target, **self.arguments("client"))
            client.put_input(b"x")
            del client
        until(lambda: threads() <= before + 2, "their threads end")


class Methods(unittest.TestCase):
    def test_have_the_responses_of_the_contract(self) -> None:
        """A response has the number after its request's."""
        pb = contract.pb
        fields = {each.number: each for each in pb.NumberedResponse.DESCRIPTOR.fields}
        for name, method in native._METHODS.items():
            field = fields[method.number + 1]
            self.assertIs(field.message_type, method.response.DESCRIPTOR, name)


if __name__ == "__main__":
    unittest.main()
