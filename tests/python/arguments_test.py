#!/usr/bin/python3
"""Arguments of every accepted type simply work; others are refused before anything is sent."""

import datetime
import io
import pathlib
import unittest
import uuid
from typing import Any, Callable

import mayfly
from both_halves import both_halves
from python_test_case import LiveTestCase, new_data

ID = "01a20d9f-dceb-7674-89e9-9062898f8747"
SECOND = datetime.timedelta(seconds=1)


@both_halves
class Arguments(LiveTestCase):
    def setUp(self) -> None:
        self.c = self.client()
        self.w = self.worker()

    def test_a_wrong_type_is_named_with_the_accepted_ones(self) -> None:
        # Nobody listens there: what would be sent ends as Unavailable.
        nowhere = {"server": "localhost:1", "attempts_max": 1}
        c: Any = self.client(**nowhere)
        w: Any = self.worker(**nowhere)
        data = "bytes, bytearray or memoryview"
        seconds = "a number of seconds or datetime.timedelta"
        call_id = "str or uuid.UUID"
        item = mayfly.InputItem
        output: Any = mayfly.OutputItem
        cases: list[tuple[Callable[[], Any], str]] = [
            (lambda: c.put_input(7), f"data is int, accepted: {data}, a binary file"),
            (lambda: c.put_input("text"), "data is str, accepted"),
            (lambda: c.put_input(None), "data is NoneType, accepted"),
            (lambda: c.put_input([3, 5]), f"a piece of data is int, accepted: {data}"),
            (lambda: c.put_input(io.StringIO("text")), "is str, accepted: bytes, of a file opened in bin"),
            (lambda: c.put_input(b"", ttl="1h"), f"ttl is str, accepted: {seconds}"),
            (lambda: c.put_input(b"", call_id=7), f"call_id is int, accepted: {call_id}"),
            (lambda: c.put_input(b"", content_type=b"x"), "content_type is bytes, accepted: str"),
            (lambda: c.put_input(b"", labels={"a": 1}), "labels.'a'. is int, accepted: str"),
            (lambda: c.put_input(b"", labels=["a"]), "labels is list, accepted: a mapping"),
            (lambda: c.put_input(b"", encryption_key_id=1), "encryption_key_id is int, accepted: str"),
            (lambda: c.put_inputs([b"", 5]), f"inputs.1. is int, accepted: InputItem, {data}"),
            (lambda: c.put_inputs(b"text"), "inputs is bytes, accepted: an iterable of InputItem"),
            (lambda: c.put_inputs([item(3)]), f"inputs.0..data is int, accepted: {data}"),
            (lambda: c.put_inputs([item(b"", ttl="x")]), f"inputs.0..ttl is str, accepted: {seconds}"),
            (lambda: c.retrieve(7), f"call_id is int, accepted: {call_id}"),
            (lambda: c.retrieve(ID, timeout="1"), f"timeout is str, accepted: {seconds}"),
            (lambda: c.retrieve_all(ID), "call_ids is str, accepted: an iterable"),
            (lambda: c.retrieve_all([ID, None]), f"call_ids.1. is NoneType, accepted: {call_id}"),
            (lambda: c.as_completed([3]), f"call_ids.0. is int, accepted: {call_id}"),
            (lambda: c.delete_all(7), "call_ids is int, accepted: an iterable"),
            (lambda: c.describe(b""), f"call_id is bytes, accepted: {call_id}"),
            (lambda: w.put_output(ID, 7), f"data is int, accepted: {data}"),
            (lambda: w.put_output(ID, b"", attempt="1"), "attempt is str, accepted: int"),
            (lambda: w.put_output(ID, b"", outcome=1), "outcome is int, accepted: str"),
            (lambda: w.put_outputs([b""]), "outputs.0. is bytes, accepted: OutputItem"),
            (lambda: w.put_outputs([output(ID, [3])]), f"outputs.0..data is list, accepted: {data}"),
            (lambda: w.get_input(7), f"call_id is int, accepted: {call_id}"),
            (lambda: list(w.stream_input(7)), f"call_id is int, accepted: {call_id}"),
            (lambda: self.client(timeout="1"), f"timeout is str, accepted: {seconds}"),
            (lambda: self.client(cert=7), "cert is int, accepted: str or pathlib.Path"),
            (lambda: self.client(attempts_max=1.5), "attempts_max is float, accepted: int"),
        ]
        for call, sentence in cases:
            with self.subTest(sentence), self.assertRaisesRegex(TypeError, sentence):
                call()

    def test_a_text_that_is_no_utf_8_is_refused_alone(self) -> None:
        with self.assertRaisesRegex(mayfly.InvalidArgument, "content_type is not text"):
            self.c.put_input(b"", content_type="\ud800")

    def test_ids_times_and_files_of_python(self) -> None:
        arguments = self.arguments("client")
        files: Any = {name: pathlib.Path(path) for name, path in arguments.items()}
        client = self.client(**files, timeout=60 * SECOND, lease=30 * SECOND)
        for size in (10, 5 << 20):
            path = pathlib.Path(self.server.path("payload"))
            path.write_bytes(new_data(size))
            call = uuid.UUID(mayfly.new_call_id())
            self.assertEqual(client.put_input(path, ttl=3600 * SECOND, call_id=call), str(call))
            self.assertEqual(self.w.get_input(call), path.read_bytes())
            self.w.put_output(call, path, ttl=60)
            self.assertEqual(client.retrieve(call, timeout=60 * SECOND), path.read_bytes())
        calls = [uuid.UUID(mayfly.new_call_id()) for _ in range(2)]
        client.put_inputs([mayfly.InputItem(bytearray(b"x"), call_id=call) for call in calls])
        self.w.put_outputs([mayfly.OutputItem(call, memoryview(b"y")) for call in calls])
        self.assertEqual(client.retrieve_all(calls, timeout=60 * SECOND), [b"y", b"y"])
        self.assertEqual(client.describe(calls[0]).call_id, str(calls[0]))

    def test_a_file_that_is_not_there_is_an_oserror(self) -> None:
        with self.assertRaises(FileNotFoundError):
            self.c.put_input(pathlib.Path("/nowhere"))


@both_halves
class ReturnExceptions(LiveTestCase):
    """Every method of many gives what it can, in order."""

    def test_those_that_are_there(self) -> None:
        c, w = self.client(), self.worker()
        large = new_data(5 << 20)
        inputs = [b"1", large, b"3"]
        calls = [c.put_input(data) for data in inputs]
        asked = [calls[0], ID, *calls[1:]]

        def split(found: list[Any]) -> Any:
            error = found.pop(1)
            self.assertIsInstance(error, mayfly.NotFound)
            self.assertEqual((error.call_id, error.reason), (ID, "CALL_UNKNOWN"))
            return found

        self.assertTrue(split(w.get_inputs(asked, return_exceptions=True)) == inputs)
        with self.assertRaises(mayfly.BatchError) as caught:
            w.get_inputs(asked)
        self.assertEqual(list(caught.exception.errors), [1])
        outputs = [mayfly.OutputItem(call, b"y") for call in asked]
        self.assertEqual(split(w.put_outputs(outputs, return_exceptions=True)), [None] * 3)
        w.put_output(calls[1], large, attempt=2)
        self.assertTrue(
            split(c.retrieve_all(asked, 60, return_exceptions=True)) == [b"y", large, b"y"]
        )
        self.assertEqual({each.state for each in c.describe_all(calls)}, {"consumed"})
        self.assertEqual(
            [each.state for each in c.describe_all(asked[:2], return_exceptions=True)],
            ["consumed", "unknown"],
        )
        calls = c.put_inputs([b"", b"", b""])
        self.assertEqual(
            len(split(c.delete_all([calls[0], ID, *calls[1:]], return_exceptions=True))), 3
        )
        put = c.put_inputs([b"", mayfly.InputItem(b"", call_id=ID)], return_exceptions=True)
        self.assertIsInstance(put[0], str)
        self.assertEqual((put[1].call_id, put[1].reason), (ID, "ID_OUTSIDE_WINDOW"))

    def test_what_fails_a_whole_message_names_each_call(self) -> None:
        client = self.client(server="localhost:1", attempts_max=1)
        found = client.describe_all([ID], return_exceptions=True)
        self.assertIsInstance(found[0], mayfly.Unavailable)
        self.assertEqual(found[0].call_id, ID)


if __name__ == "__main__":
    unittest.main()
