"""The real mayflyd on a free port, with certificates, a root key and a data directory of its own,
and its RPCs for a client and a worker of one tenant."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from typing import Any, Dict

import grpc

SOURCE_DIR = os.path.abspath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "../.."))
START_TIMEOUT_S = 60
RPC_TIMEOUT_S = 30
POLL_S = 0.01

CONFIG = """
[server]
listen = "127.0.0.1:0"
port_file = "port"
[tls]
ca_file = "certificates/ca.pem"
certificate_file = "certificates/server.pem"
key_file = "certificates/server.key"
[storage]
data_dir = "data"
disk_reserve_bytes = 0
allow_unsafe_filesystem = true
[keys]
root_key_file = "root.key"
[retention]
clock_jump_grace = "0s"
[log]
file = "log"
"""


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


class LiveServer:
    """Started by start(); `directory` is removed by close()."""

    def __init__(self, mayflyd: str, messages: Any):
        self._mayflyd = mayflyd
        self._messages = messages
        self._process: Any = None
        self._channels: Dict[str, grpc.Channel] = {}
        self.directory = tempfile.mkdtemp(prefix="mayfly_forensic_")
        self.root_key = os.urandom(32)
        subprocess.run(
            [os.path.join(SOURCE_DIR, "deploy/make-certificates"), self.path("certificates")],
            check=True,
            stderr=subprocess.DEVNULL,
        )
        with open(os.open(self.path("root.key"), os.O_CREAT | os.O_WRONLY, 0o600), "w") as file:
            file.write(self.root_key.hex() + "\n")
        with open(self.path("mayfly.toml"), "w") as file:
            file.write(CONFIG)

    def path(self, name: str) -> str:
        return os.path.join(self.directory, name)

    def start(self) -> None:
        if os.path.exists(self.path("port")):
            os.remove(self.path("port"))
        self._process = subprocess.Popen([self._mayflyd, "--config", self.path("mayfly.toml")])
        end = time.monotonic() + START_TIMEOUT_S
        while not os.path.exists(self.path("port")):
            assert self._process.poll() is None, "the server refused to start"
            assert time.monotonic() < end, "the server does not listen"
            time.sleep(POLL_S)
        with open(self.path("port")) as file:
            target = f"localhost:{int(file.read())}"
        for role in ("client", "worker"):
            self._channels[role] = self._connect(target, role)
        # Until its data is recovered it answers UNAVAILABLE.
        while True:
            try:
                self.call("client", "DescribeCalls", call_ids=["none"])
                return
            except grpc.RpcError:
                assert time.monotonic() < end, "the server does not serve"
                time.sleep(POLL_S)

    def _connect(self, target: str, role: str) -> grpc.Channel:
        def read(name: str) -> bytes:
            with open(self.path(f"certificates/{name}"), "rb") as file:
                return file.read()

        credentials = grpc.ssl_channel_credentials(
            read("ca.pem"), read(f"{role}.key"), read(f"{role}.pem")
        )
        unlimited = [("grpc.max_receive_message_length", -1)]
        return grpc.secure_channel(target, credentials, unlimited)

    def call(self, role: str, rpc: str, **fields: Any) -> Any:
        """One RPC; the request's fields are given by name."""
        request_type = getattr(self._messages, f"{rpc}Request")
        response_type = getattr(self._messages, f"{rpc}Response")
        method = self._channels[role].unary_unary(
            f"/mayfly.v1.FunctionIo/{rpc}",
            request_serializer=request_type.SerializeToString,
            response_deserializer=response_type.FromString,
        )
        return method(request_type(**fields), timeout=RPC_TIMEOUT_S, wait_for_ready=True)

    def kill(self) -> None:
        for channel in self._channels.values():
            channel.close()
        self._process.kill()
        self._process.wait()

    def copy_data(self, name: str) -> str:
        """Copies the data directory while the server stands still, and returns the copy's path."""
        self._process.send_signal(signal.SIGSTOP)
        # The signal only asks: a thread may be deleting a file still. This returns when all stand.
        os.waitid(os.P_PID, self._process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
        try:
            shutil.copytree(self.path("data"), self.path(name))
        finally:
            self._process.send_signal(signal.SIGCONT)
        return self.path(name)

    def close(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self.kill()
        shutil.rmtree(self.directory)
