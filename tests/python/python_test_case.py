"""What tests of the Python client share: a live server, clients of it, and a proxy between them."""

import os
import subprocess
import sys
import threading
import unittest
from typing import Any, Callable, Iterator, Type, TypeVar

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))

import mayfly
from live_server import SOURCE_DIR, LiveServer  # noqa: F401
from waiting import WAIT_TIMEOUT_S as TIMEOUT_S  # noqa: F401
from waiting import wait_until as until  # noqa: F401

MAYFLYD = os.environ.get("MAYFLYD", "")
TCP_PROXY_TOOL = os.environ.get("TCP_PROXY_TOOL", "")

EndpointT = TypeVar("EndpointT")


def pieces_of(data: bytes, piece_bytes: int = 777_777) -> Iterator[bytes]:
    for begin in range(0, len(data), piece_bytes):
        yield data[begin : begin + piece_bytes]


def new_data(size: int) -> bytes:
    """Segments that differ from each other."""
    block = os.urandom(min(size, 1_000_003))
    return (block * (size // max(1, len(block)) + 1))[:size]


class Proxy:
    """tests/support/tcp_proxy_tool between a client and a port of this machine."""

    def __init__(self, port: int) -> None:
        self._process = subprocess.Popen(
            [TCP_PROXY_TOOL, str(port)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.port = int(self._process.stdout.readline())

    @property
    def target(self) -> str:
        return f"localhost:{self.port}"

    def tell(self, command: str) -> str:
        self._process.stdin.write(command + "\n")
        self._process.stdin.flush()
        return self._process.stdout.readline().strip()

    def close(self) -> None:
        self._process.communicate()


class UnderWay:
    """A call under way on a thread of its own."""

    def __init__(self, function: Callable[..., Any], *arguments: Any, **options: Any) -> None:
        self.outcome: Any = None
        self._call = lambda: function(*arguments, **options)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.outcome = self._call()
        except BaseException as error:
            self.outcome = error

    def join(self, timeout: float = TIMEOUT_S) -> Any:
        """Its result or exception; None: it has not ended."""
        self._thread.join(timeout)
        return self.outcome


class LiveTestCase(unittest.TestCase):
    """One server for all tests of a class. `settings` are lines of its configuration."""

    settings = ""
    server: LiveServer
    # Makes a client or worker, of the half that `both_halves` tests.
    open_half: Any = staticmethod(lambda kind, *arguments, **settings: kind(*arguments, **settings))

    @classmethod
    def setUpClass(cls) -> None:
        cls.server = LiveServer(MAYFLYD, cls.settings)
        cls.addClassCleanup(cls.server.close)
        cls.server.start()

    @classmethod
    def arguments(cls, role: str) -> dict[str, str]:
        return {
            "ca": cls.server.path("certificates/ca.pem"),
            "cert": cls.server.path(f"certificates/{role}.pem"),
            "key": cls.server.path(f"certificates/{role}.key"),
        }

    def open(self, kind: Type[EndpointT], role: str, **settings: Any) -> EndpointT:
        """A client that is closed with the test."""
        server = settings.pop("server", self.server.target)
        endpoint: Any = self.open_half(kind, server, **{**self.arguments(role), **settings})
        self.addCleanup(endpoint.close)
        return endpoint

    def client(self, **settings: Any) -> mayfly.Client:
        return self.open(mayfly.Client, "client", **settings)

    def worker(self, **settings: Any) -> mayfly.Worker:
        return self.open(mayfly.Worker, "worker", **settings)

    def proxy(self) -> Proxy:
        proxy = Proxy(self.server.port)
        self.addCleanup(proxy.close)
        return proxy
