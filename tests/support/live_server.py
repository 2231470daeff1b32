"""The real mayflyd on a free port, with certificates, a root key and a data directory of its own."""

import os
import shutil
import signal
import ssl
import subprocess
import tempfile
from typing import Any, Dict, Sequence, Tuple

import grpc
from waiting import WAIT_TIMEOUT_S, wait_until

SOURCE_DIR = os.path.abspath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "../.."))
SERVING = b"\x08\x01"  # grpc.health.v1.HealthCheckResponse

CONFIG = """
[server]
listen = "127.0.0.1:{port}"
port_file = "port"
{server}
[tls]
ca_file = "certificates/ca.pem"
certificate_file = "certificates/server.pem"
key_file = "certificates/server.key"
[storage]
data_dir = "data"
{storage}
allow_unsafe_filesystem = true
{storage_settings}
[keys]
root_key_file = "root.key"
[log]
file = "log"
[retention]
clock_jump_grace = "0s"
{settings}
"""


class LiveServer:
    """Started by start(); `directory` is removed by close(). `settings` are further lines of TOML,
    the first ones of [retention]; `storage` and `server` are lines of [storage] and [server].
    `open_files` is the server's limit of them, 0 for this process's."""

    def __init__(
        self,
        mayflyd: str,
        settings: str = "",
        storage: str = "disk_reserve_bytes = 0",
        open_files: int = 0,
        server: str = "",
    ):
        self._mayflyd = mayflyd
        self._settings = settings
        self._storage = storage
        self._server = server
        self._open_files = open_files
        # Further lines of [storage], for the next start.
        self.storage_settings = ""
        # Of its environment, beside this process's, for the next start.
        self.environment: Dict[str, str] = {}
        self._process: Any = None
        self.port = 0
        self.directory = tempfile.mkdtemp(prefix="mayfly_live_server_")
        self.root_key = os.urandom(32)
        subprocess.run(
            [os.path.join(SOURCE_DIR, "deploy/make-certificates"), self.path("certificates")],
            check=True,
            stderr=subprocess.DEVNULL,
        )
        with open(os.open(self.path("root.key"), os.O_CREAT | os.O_WRONLY, 0o600), "w") as file:
            file.write(self.root_key.hex() + "\n")

    def path(self, name: str) -> str:
        return os.path.join(self.directory, name)

    @property
    def target(self) -> str:
        return f"localhost:{self.port}"

    @property
    def pid(self) -> int:
        return int(self._process.pid)

    def start(self) -> None:
        """Returns when it serves. Again after a kill or a stop: on the same port and data."""
        if os.path.exists(self.path("port")):
            os.remove(self.path("port"))
        self._write_config()
        command = [self._mayflyd, "--config", self.path("mayfly.toml")]
        if self._open_files != 0:
            command = ["prlimit", f"--nofile={self._open_files}"] + command
        self._process = subprocess.Popen(command, env={**os.environ, **self.environment})
        wait_until(self._has_port, "the server listens")
        with open(self.path("port")) as file:
            self.port = int(file.read())
        with self.connect("client") as channel:
            check = channel.unary_unary("/grpc.health.v1.Health/Check")
            wait_until(lambda: self._serves(check), "the server serves")

    def _write_config(self) -> None:
        config = CONFIG.format(
            port=self.port,
            settings=self._settings,
            storage=self._storage,
            server=self._server,
            storage_settings=self.storage_settings,
        )
        with open(self.path("mayfly.toml"), "w") as file:
            file.write(config)

    def start_refused(self) -> str:
        """Starts it, and returns the sentence with which it ends."""
        self._write_config()
        process = subprocess.run(
            [self._mayflyd, "--config", self.path("mayfly.toml")],
            stderr=subprocess.PIPE,
            timeout=WAIT_TIMEOUT_S,
            text=True,
        )
        assert process.returncode == 1, f"the server ended with {process.returncode}"
        return process.stderr

    def _has_port(self) -> bool:
        assert self.is_running, "the server refused to start"
        return os.path.exists(self.path("port"))

    def _serves(self, check: Any) -> bool:
        assert self.is_running, "the server ended before it served"
        try:
            return bool(check(b"", timeout=1, wait_for_ready=True) == SERVING)
        except grpc.RpcError:
            return False

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def tls_context(self, role: str = "") -> ssl.SSLContext:
        """For connections of HTTP/2 without grpcio; without a certificate when `role` is empty."""
        context = ssl.create_default_context(cafile=self.path("certificates/ca.pem"))
        context.set_alpn_protocols(["h2"])
        if role:
            context.load_cert_chain(
                self.path(f"certificates/{role}.pem"), self.path(f"certificates/{role}.key")
            )
        return context

    def connect(self, role: str, options: Sequence[Tuple[str, Any]] = ()) -> grpc.Channel:
        def read(name: str) -> bytes:
            with open(self.path(f"certificates/{name}"), "rb") as file:
                return file.read()

        credentials = grpc.ssl_channel_credentials(
            read("ca.pem"), read(f"{role}.key"), read(f"{role}.pem")
        )
        unlimited = [("grpc.max_receive_message_length", -1)]
        return grpc.secure_channel(self.target, credentials, [*unlimited, *options])

    def signal(self, number: int) -> None:
        self._process.send_signal(number)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def stop(self) -> int:
        """Drains it, and returns its exit code."""
        self._process.send_signal(signal.SIGTERM)
        return int(self._process.wait())

    def close(self) -> None:
        if self.is_running:
            self.kill()
        shutil.rmtree(self.directory)
