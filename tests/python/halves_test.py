#!/usr/bin/python3
"""The blocking half is what the generator makes of the asyncio half, and has the same interface."""

import difflib
import inspect
import pathlib
import re
import shutil
import sys
import tempfile
import unittest

import mayfly
from python_test_case import SOURCE_DIR

PROJECT = pathlib.Path(SOURCE_DIR, "src/python")
sys.path.insert(0, str(PROJECT))
import blocking_half

BUILT = pathlib.Path(mayfly.__file__).parent
# The share of lines that two modules written by hand may have in common. One that differs from the
# other by `await` only has nearly 1.
LIKENESS_MAX = 0.7

SOURCE = '''"""Counts, as AsyncClient says; an asyncio client may count asynchronously."""
import contextlib
from mayfly.aio import errors
from mayfly.aio.counting import AsyncCounter
class _AsyncCounting(AsyncIterator[bytes]):
    async def count(self) -> int:
        """
            async with self.counting(1) as count:
                await count.wait()
        """
        async with self._lock:  # await nothing
            pieces = [f"{piece!r} await" async for piece in self]
        return await self.count() + (await anything())
    @contextlib.asynccontextmanager
    async def counting(self): ...
    async def __anext__(self):
        await (
            self.aclose())
        raise StopAsyncIteration
'''
BLOCKING = '''"""Counts, as Client says; an asyncio client may count asynchronously."""
import contextlib
from mayfly import errors
from mayfly.counting import Counter
class _Counting(Iterator[bytes]):
    def count(self) -> int:
        """
            with self.counting(1) as count:
                count.wait()
        """
        with self._lock:  # await nothing
            pieces = [f"{piece!r} await" for piece in self]
        return self.count() + (anything())
    @contextlib.contextmanager
    def counting(self): ...
    def __next__(self):
        (
            self.close())
        raise StopIteration
'''


class Generator(unittest.TestCase):
    def test_a_module_becomes_its_blocking_twin(self) -> None:
        self.assertEqual(blocking_half.blocking(SOURCE), BLOCKING)

    def test_a_twin_that_is_written_by_hand_is_refused(self) -> None:
        with tempfile.TemporaryDirectory(prefix="mayfly_halves_") as directory:
            package = pathlib.Path(directory, "mayfly")
            shutil.copytree(PROJECT / "mayfly", package)
            for _ in range(2):
                blocking_half.write(package, package)
            (package / "upload.py").write_text("# by hand\n")
            with self.assertRaisesRegex(SystemExit, "upload.py is generated"):
                blocking_half.write(package, package)

    def test_a_module_that_uses_asyncio_itself_is_refused(self) -> None:
        with tempfile.TemporaryDirectory(prefix="mayfly_halves_") as directory:
            package = pathlib.Path(directory)
            (package / "aio").mkdir()
            for name in blocking_half.MODULES:
                (package / f"aio/{name}.py").write_text("import asyncio\n")
            with self.assertRaisesRegex(SystemExit, "client.py: move the use of asyncio"):
                blocking_half.write(package, package)


class Halves(unittest.TestCase):
    def test_no_module_is_written_twice(self) -> None:
        for path in sorted((PROJECT / "mayfly/aio").glob("*.py")):
            twin = PROJECT / "mayfly" / path.name
            if not twin.exists():
                self.assertIn(path.stem, blocking_half.MODULES)
                continue
            with self.subTest(path.name):
                texts = (blocking_half.blocking(path.read_text()), twin.read_text())
                lines = [[line for line in text.splitlines() if line.strip()] for text in texts]
                likeness = difflib.SequenceMatcher(None, *lines, autojunk=False).ratio()
                self.assertLess(
                    likeness, LIKENESS_MAX,
                    f"{path.name} is nearly the same in both halves: add it to blocking_half.MODULES",
                )

    def test_generated_modules_say_so_and_speak_of_blocking_clients(self) -> None:
        for name in blocking_half.MODULES:
            text = (BUILT / f"{name}.py").read_text()
            first, rest = text.split("\n", 1)
            self.assertEqual(first + "\n", blocking_half.FIRST_LINE.format(name))
            self.assertEqual(re.findall(r"\b(?:async|await|aio|Async[A-Z]\w*)\b", rest), [], name)

    def test_both_have_the_same_interface(self) -> None:
        only_asyncio = {"read"}  # of a held output, whose data is an attribute otherwise
        for name in ("Client", "Worker", "Completion", "HeldOutput"):
            blocking, asynchronous = getattr(mayfly, name), getattr(mayfly, f"Async{name}")
            members = {
                blocking_half.blocking_name(member): value
                for member, value in inspect.getmembers(asynchronous, inspect.isroutine)
                if not member.startswith("_") and member not in only_asyncio
            }
            found = dict(inspect.getmembers(blocking, inspect.isroutine))
            for member, value in members.items():
                with self.subTest(f"{name}.{member}"):
                    self.assertEqual(
                        list(inspect.signature(found[member]).parameters.values()),
                        [
                            parameter.replace(annotation=_blocking(parameter.annotation))
                            for parameter in inspect.signature(value).parameters.values()
                        ],
                    )
            self.assertEqual(
                {member for member in found if not member.startswith("_")}, set(members)
            )


def _blocking(annotation: object) -> object:
    return blocking_half.blocking(annotation) if isinstance(annotation, str) else annotation


if __name__ == "__main__":
    unittest.main()
