"""A server whose data directory is a small disk of its own."""

import os
import random
import subprocess
import time
from typing import Any, Callable, Iterator, List

import grpc
from called_server import CalledServer
from loop_disk import LoopDisk

KILL_WITHIN_S = 0.5
UPLOAD_TIMEOUT_S = 120
# What one request may name.
ID_BATCH = 256


class Failure(Exception):
    """What must not happen has happened."""


def serve(server: "FullDiskServer", work: Callable[[], None], name: Callable[[], str]) -> bool:
    """Starts it, does the work and stops it. False, with the end of its log, when any of that fails.
    Its disk is unmounted afterwards."""
    try:
        server.start()
        work()
        if server.stop() != 0:
            raise Failure("the server did not stop cleanly")
        return True
    except (Failure, AssertionError, grpc.RpcError) as error:
        print(f"{name()}: FAILED: {type(error).__name__} {error}", flush=True)
        with open(server.path("log")) as log:
            print("".join(log.readlines()[-20:]), flush=True)
        return False
    finally:
        if server.is_running:
            server.kill()
        server.disk.unmount()
        server.close()


def batches(ids: List[str]) -> Iterator[List[str]]:
    for first in range(0, len(ids), ID_BATCH):
        yield ids[first : first + ID_BATCH]


class FullDiskServer(CalledServer):
    def __init__(self, mayflyd: str, messages: Any, disk: LoopDisk, storage: str):
        super().__init__(mayflyd, messages)
        self._storage = storage
        self.disk = disk
        os.mkdir(self.path("data"))
        disk.mount(self.path("data"))
        os.chmod(self.path("data"), 0o700)
        # The least that was free whenever watch() looked.
        self.free_min = disk.free_bytes()

    def upload(self, steps: Iterator[Any], role: str = "client") -> Any:
        method = self._channels[role].stream_unary(
            "/mayfly.v1.FunctionIo/Upload",
            request_serializer=self.messages.UploadRequest.SerializeToString,
            response_deserializer=self.messages.UploadResponse.FromString,
        )
        return method(steps, timeout=UPLOAD_TIMEOUT_S)

    def start_and_kill(self) -> None:
        """Killed while it recovers, or has just done so."""
        process = subprocess.Popen([self._mayflyd, "--config", self.path("mayfly.toml")])
        time.sleep(random.uniform(0, KILL_WITHIN_S))
        process.kill()
        process.wait()

    def watch(self) -> None:
        """Failure when it does not run any more."""
        self.free_min = min(self.free_min, self.disk.free_bytes())
        if not self.is_running:
            raise Failure(f"the server ended by itself, exit code {self._process.poll()}")
