"""A live server, and its RPCs for a client and a worker of one tenant."""

import os
import shutil
import signal
import subprocess
import sys
import time
from typing import Any, Dict

import grpc
from live_server import SOURCE_DIR, LiveServer

RPC_TIMEOUT_S = 120


def generate_messages(protoc: str, directory: str) -> Any:
    """The module of mayfly.v1's messages."""
    proto_dir = os.path.join(SOURCE_DIR, "proto")
    files = ["mayfly/v1/function_io.proto", "mayfly/v1/error_reason.proto"]
    files += ["google/rpc/status.proto", "google/rpc/error_details.proto"]
    subprocess.run(
        [protoc, f"--proto_path={proto_dir}", f"--python_out={directory}"] + files, check=True
    )
    # `google` is a package of the installed protobuf already, so ours joins it.
    import google

    google.__path__.append(os.path.join(directory, "google"))
    sys.path.insert(0, directory)
    from mayfly.v1 import function_io_pb2

    return function_io_pb2


class CalledServer(LiveServer):
    def __init__(self, mayflyd: str, messages: Any, server: str = "", settings: str = ""):
        super().__init__(mayflyd, server=server, settings=settings)
        self.messages = messages
        # When it stood still for the last copy.
        self.stopped_s = 0.0
        self._channels: Dict[str, grpc.Channel] = {}

    def start(self) -> None:
        super().start()
        for role in ("client", "worker"):
            self._channels[role] = self.connect(role)

    def call(self, role: str, rpc: str, **fields: Any) -> Any:
        """One RPC; the request's fields are given by name."""
        request_type = getattr(self.messages, f"{rpc}Request")
        response_type = getattr(self.messages, f"{rpc}Response")
        method = self._channels[role].unary_unary(
            f"/mayfly.v1.FunctionIo/{rpc}",
            request_serializer=request_type.SerializeToString,
            response_deserializer=response_type.FromString,
        )
        return method(request_type(**fields), timeout=RPC_TIMEOUT_S, wait_for_ready=True)

    def kill(self) -> None:
        for channel in self._channels.values():
            channel.close()
        super().kill()

    def copy_data(self, name: str) -> str:
        """Copies the data directory while the server stands still, and returns the copy's path."""
        self.signal(signal.SIGSTOP)
        # The signal only asks: a thread may be deleting a file still. This returns when all stand.
        os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
        self.stopped_s = time.time()
        try:
            # Without the ballast, which has no content and takes long.
            shutil.copytree(
                self.path("data"), self.path(name), ignore=shutil.ignore_patterns("ballast")
            )
        finally:
            self.signal(signal.SIGCONT)
        return self.path(name)
