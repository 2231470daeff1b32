"""Makes the blocking half of the package from its asyncio half, while the package is built.

The modules of MODULES are written once, as mayfly/aio/NAME.py. Their blocking twins mayfly/NAME.py
are the same without `async` and `await`, and with names as `blocking_name` has them. Modules that
differ by more are written twice, under the same name: where a source imports mayfly.aio.connection,
its twin imports mayfly.connection.
"""

from __future__ import annotations

import io
import pathlib
import re
import tokenize

MODULES = (
    "client",
    "completion",
    "download",
    "held_outputs",
    "held_payload",
    "retrieval",
    "role",
    "upload",
    "worker",
)

FIRST_LINE = "# Generated from mayfly/aio/{}.py by blocking_half.py: change that file instead.\n"

_NAMES = {
    "__aenter__": "__enter__",
    "__aexit__": "__exit__",
    "__aiter__": "__iter__",
    "__anext__": "__next__",
    "aclose": "close",
    "asynccontextmanager": "contextmanager",
}


def blocking_name(name: str) -> str:
    """AsyncClient is Client, StopAsyncIteration is StopIteration."""
    return _NAMES.get(name) or re.sub("Async(?=[A-Z])", "", name)


def blocking(text: str) -> str:
    """The blocking twin of a module."""
    lines = text.splitlines(keepends=True)
    parts: list[str] = []
    row, column = 1, 0  # of the end of what is done
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        gap = _between(lines, (row, column), token.start)
        row, column = token.end
        if parts and parts[-1] in ("async", "await"):
            parts[-1] = ""
        else:
            parts.append(gap)
        if token.type == tokenize.STRING and token.string.endswith('"""'):
            parts.append(_blocking_prose(token.string))
        elif token.type != tokenize.NAME:
            parts.append(token.string)
        elif token.string == "aio":
            parts[-2:] = []  # with the dot before it
        else:
            parts.append(blocking_name(token.string))
    return "".join(parts)


def _between(lines: list[str], start: tuple[int, int], end: tuple[int, int]) -> str:
    """What is between two tokens: nothing, blanks or a continued line."""
    if start[0] == end[0]:
        return lines[start[0] - 1][start[1] : end[1]] if start != end else ""
    rows = lines[start[0] - 1 : end[0]]
    rows[-1] = rows[-1][: end[1]]
    return "".join(rows)[start[1] :]


def _blocking_prose(text: str) -> str:
    """Of a docstring: examples in it, and names."""
    text = text.replace("async ", "").replace("await ", "")
    return re.sub(r"\w+", lambda word: blocking_name(word[0]), text)


def write(package: pathlib.Path, target: pathlib.Path) -> None:
    """Writes the twins of the modules of `package` (mayfly) into `target`.

    SystemExit: `package` has a twin that is written by hand, or a module uses asyncio itself.
    """
    for name in MODULES:
        text = (package / "aio" / f"{name}.py").read_text()
        if "import asyncio" in text or "from asyncio" in text:
            raise SystemExit(f"mayfly/aio/{name}.py: move the use of asyncio into aio/concurrency.py")
        first_line = FIRST_LINE.format(name)
        twin = package / f"{name}.py"  # a source distribution has it, generated
        if twin.exists() and not twin.read_text().startswith(first_line):
            raise SystemExit(f"mayfly/{name}.py is generated: remove the one written by hand")
        (target / f"{name}.py").write_text(first_line + blocking(text))
