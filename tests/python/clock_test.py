#!/usr/bin/python3
"""Clients whose clock is not the server's."""

import io
import time
import types
import unittest
import uuid
from unittest import mock

import mayfly
from both_halves import both_halves
from mayfly import call_id
from python_test_case import LiveTestCase, new_data

MINUTES = 10  # limits.id_window is 5 min


@both_halves
class Clock(LiveTestCase):
    def setUp(self) -> None:
        self.c = self.client()
        self.w = self.worker()

    def skew(self, minutes: float) -> None:
        """The clock by which ids are minted, from now on and until the test ends."""
        skewed = types.SimpleNamespace(
            time=lambda: time.time() + 60 * minutes,
            time_ns=lambda: time.time_ns() + round(60e9 * minutes),
        )
        for name, value in (("time", skewed), ("_ahead_s", 0.0)):
            patch = mock.patch.object(call_id, name, value)
            patch.start()
            self.addCleanup(patch.stop)

    def test_every_way_to_put_works(self) -> None:
        large = new_data(5 << 20)
        for minutes in (MINUTES, -MINUTES):
            for put in (
                lambda: [self.c.put_input(b"x")],
                lambda: [self.c.put_input(large)],
                lambda: [self.c.put_input(iter([large]))],
                lambda: [self.c.put_input(io.BytesIO(large))],
                lambda: self.c.put_inputs([b"x"] * 600),
                lambda: self.c.put_inputs([mayfly.InputItem(b"x")]),
            ):
                self.skew(minutes)
                calls = put()
                self.assertEqual({each.state for each in self.c.describe_all(calls)}, {"pending"})
                self.assertAlmostEqual((uuid.UUID(calls[0]).int >> 80) / 1000, time.time(), delta=60)
            self.assertTrue(self.w.get_input(self.c.put_input(large)) == large)

    def test_it_is_learnt_once(self) -> None:
        self.skew(MINUTES)
        self.c.put_input(b"x")
        ahead = call_id._ahead_s
        self.assertAlmostEqual(ahead, -60 * MINUTES, delta=60)
        self.c.put_input(b"x")
        self.assertEqual(call_id._ahead_s, ahead)

    def test_an_id_of_ones_own_is_refused_with_the_reason(self) -> None:
        for minutes, direction in ((MINUTES, "ahead of"), (-MINUTES, "behind")):
            sentence = f"your clock is {MINUTES} min {direction} the server's"
            self.skew(minutes)
            with self.assertRaisesRegex(mayfly.InvalidArgument, sentence):
                self.c.put_input(b"x", call_id=mayfly.new_call_id())
            self.skew(minutes)
            found = self.c.put_inputs(
                [mayfly.InputItem(b"", call_id=mayfly.new_call_id()), b"x"], return_exceptions=True
            )
            self.assertIn(sentence, str(found[0]))
            self.assertIsInstance(found[1], str)
            # It has learnt it.
            self.c.put_input(b"x", call_id=mayfly.new_call_id())

    def test_an_old_id_says_nothing_of_clocks(self) -> None:
        with self.assertRaises(mayfly.InvalidArgument) as caught:
            self.c.put_input(b"x", call_id="01890a5d-ac96-774b-bcce-b302099a8057")
        self.assertNotIn("your clock is", str(caught.exception))


if __name__ == "__main__":
    unittest.main()
