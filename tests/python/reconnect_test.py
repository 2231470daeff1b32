#!/usr/bin/python3
"""Connections that break, to a name with two addresses of which one refuses, and servers that go."""

import os
import random
import sys
import threading
import unittest
from unittest import mock

import mayfly
from both_halves import both_halves
from mayfly import channels
from python_test_case import LiveTestCase

LANES = 4
CUTS = 150
CALLS_A_CUT = 4
OFTEN = {"delay_min": 0.001, "delay_max": 0.01, "attempts_max": 10_000, "timeout": 20.0}


@both_halves
class Reconnect(LiveTestCase):
    def setUp(self) -> None:
        self.opened = mock.Mock(wraps=channels.Channel)
        patch = mock.patch.object(channels, "Channel", self.opened)
        patch.start()
        self.addCleanup(patch.stop)

    def restart(self) -> None:
        self.server.kill()
        timer = threading.Timer(0.5, self.server.start)
        timer.start()
        self.addCleanup(timer.join)

    def test_breaking_at_any_byte_only_delays_a_call(self) -> None:
        seed = int.from_bytes(os.urandom(4), "big")
        print("seed", seed, file=sys.stderr)
        call = self.client().put_input(b"x")
        failures: list[BaseException] = []

        def lane(rng: random.Random) -> None:
            try:
                proxy = self.proxy()
                client = self.client(server=proxy.target, **OFTEN)
                for _ in range(CUTS):
                    direction = rng.choice(["to-server", "to-client"])
                    ending = rng.choice(["fin", "reset"])
                    proxy.tell(f"cut-after {direction} {rng.randrange(1, 3000)} {ending}")
                    for _ in range(CALLS_A_CUT):
                        self.assertEqual(client.describe(call).state, "pending")
            except BaseException as error:
                failures.append(error)

        threads = [
            threading.Thread(target=lane, args=(random.Random(seed + i),)) for i in range(LANES)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(failures, [])

    def test_a_server_that_has_gone_is_looked_for_by_another_channel(self) -> None:
        for interval, is_another in ((0.1, True), (1000.0, False)):
            with mock.patch.object(channels, "_RENEW_INTERVAL_S", interval):
                self.opened.reset_mock()
                client = self.client()
                call = client.put_input(b"x")
                self.restart()
                self.assertEqual(client.describe(call).state, "pending")
            self.assertEqual(self.opened.call_count > 1, is_another)

    def test_what_the_server_refuses_is_no_reason_for_another_channel(self) -> None:
        client = self.open(mayfly.Client, "worker")
        with mock.patch.object(channels, "_RENEW_INTERVAL_S", 0.0):
            for _ in range(3):
                with self.assertRaises(mayfly.PermissionDenied):
                    client.put_input(b"x")
        self.assertEqual(self.opened.call_count, 1)


if __name__ == "__main__":
    unittest.main()
