#!/usr/bin/python3
"""Items of batches that are larger than a message may be; of both halves of the client."""

import unittest

import mayfly
from both_halves import both_halves
from mayfly import errors, put_items
from python_test_case import LiveTestCase

LIMIT = 60 << 20


@both_halves
class LargeItems(LiveTestCase):
    settings = """
[limits]
message_bytes_max = "64MiB"
"""

    def setUp(self) -> None:
        self.c = self.client()
        self.w = self.worker()

    def test_the_limit_is_the_documented_one(self) -> None:
        self.assertEqual(put_items.DATA_BYTES_MAX, LIMIT)
        for function in (mayfly.Client.put_inputs, mayfly.AsyncClient.put_inputs):
            self.assertIn(f"up to {LIMIT >> 20} MiB", function.__doc__)
        [call] = self.c.put_inputs([mayfly.InputItem(bytes(LIMIT), labels={"l": "x" * 1000})])
        self.assertEqual(self.c.describe(call).input.size_bytes, LIMIT)

    def test_an_input_above_it_keeps_all_from_being_sent(self) -> None:
        item = mayfly.InputItem(b"x", call_id=mayfly.new_call_id())
        with self.assertRaises(errors.PayloadTooLarge) as raised:
            self.c.put_inputs([item, bytes(LIMIT + 1)])
        self.assertIn(
            f"inputs[1].data is {LIMIT + 1} bytes, limit of an item is {LIMIT}: put it with put_input",
            str(raised.exception),
        )
        self.assertEqual(self.c.describe(item.call_id).state, "unknown")

    def test_an_output_above_it_is_refused_in_its_place(self) -> None:
        calls = self.c.put_inputs([b"x"] * 3)
        outputs = [mayfly.OutputItem(call, b"y") for call in calls]
        outputs[1] = mayfly.OutputItem(calls[1], bytes(LIMIT + 1))
        with self.assertRaises(errors.PayloadTooLarge) as raised:
            self.w.put_outputs(outputs)
        self.assertEqual(raised.exception.call_id, calls[1])
        self.assertIn("put_output, which uploads", str(raised.exception))
        self.assertEqual({str(each.state) for each in self.c.describe_all(calls)}, {"pending"})
        found = self.w.put_outputs(outputs, return_exceptions=True)
        self.assertEqual([type(each) for each in found],
                         [type(None), errors.PayloadTooLarge, type(None)])
        states = [str(each.state) for each in self.c.describe_all(calls)]
        self.assertEqual(states, ["ready", "pending", "ready"])


@both_halves
class SmallMessages(LiveTestCase):
    settings = """
[limits]
message_bytes_max = "2MiB"
"""

    def test_a_server_that_takes_less_says_so(self) -> None:
        with self.assertRaises(mayfly.BatchError) as raised:
            self.client().put_inputs([b"x", bytes(3 << 20)])
        self.assertEqual([type(each) for each in raised.exception.errors.values()],
                         [errors.PayloadTooLarge] * len(raised.exception.errors))
        self.assertIn("limits.message_bytes_max", str(raised.exception))


if __name__ == "__main__":
    unittest.main()
