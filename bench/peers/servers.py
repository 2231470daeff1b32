"""Starts and stops the servers, each on a free port of loopback and with the same certificates."""

import os
import pathlib
import secrets
import shutil
import signal
import socket
import subprocess
import time

START_SECONDS_MAX = 60
STOP_SECONDS_MAX = 60
LOG_TAIL_BYTES = 2000

MAYFLY_CONFIG = """\
[server]
listen = "127.0.0.1:{port}"
[tls]
ca_file = "{certificates}/ca.pem"
certificate_file = "{certificates}/server.pem"
key_file = "{certificates}/server.key"
[storage]
data_dir = "data"
allow_unsafe_filesystem = true
durability = "{durability}"
memtable_bytes = "{memtable}"
[keys]
root_key_file = "{root_key}"
[retention]
clock_jump_grace = "0s"
[claims]
outstanding_max = 1000000
"""

REDIS_CONFIG = """\
port 0
bind 127.0.0.1
tls-port {port}
tls-protocols TLSv1.3
tls-auth-clients yes
tls-ca-cert-file {certificates}/ca.pem
tls-cert-file {certificates}/server.pem
tls-key-file {certificates}/server.key
dir {directory}
appendonly yes
appendfsync {durability}
save ""
maxmemory 0
"""

NATS_CONFIG = """\
listen: 127.0.0.1:{port}
jetstream {{ store_dir: "{directory}/store" }}
tls {{
  ca_file: "{certificates}/ca.pem"
  cert_file: "{certificates}/server.pem"
  key_file: "{certificates}/server.key"
  verify: true
}}
"""


class Failure(Exception):
    """Ends the run, with a sentence that says why."""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    """One process after another. `is_ready` is asked until it says so."""

    def __init__(self, name, directory, command, is_ready, port=None):
        self.name = name
        self.directory = directory
        self.port = port
        self._command = [str(c) for c in command]
        self._is_ready = is_ready
        self._log_path = directory / "log"
        self.start()

    def start(self):
        self.launch()
        try:
            self._wait_until(self._is_ready)
        except BaseException:
            self.stop()
            raise

    def launch(self):
        """Begins a start and returns the time, monotonic, just before it; does not wait."""
        with self._log_path.open("w") as log:
            launched = time.monotonic()
            self._process = subprocess.Popen(self._command, cwd=self.directory, stdout=log,
                                             stderr=log, start_new_session=True)
        return launched

    def _wait_until(self, is_ready):
        end = time.monotonic() + START_SECONDS_MAX
        while not is_ready(self):
            if self._process.poll() is not None or time.monotonic() > end:
                raise Failure(f"{self.name} did not start\n{self.log_tail()}")
            time.sleep(0.05)

    def stop(self):
        if self._process.poll() is not None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self):
        self._process.kill()
        self._process.wait()

    def memory_bytes(self):
        """{"VmRSS", "RssAnon", "RssFile"} of the running process."""
        status = pathlib.Path(f"/proc/{self._process.pid}/status").read_text()
        fields = dict(line.split(":", 1) for line in status.splitlines())
        return {name: int(fields[name].split()[0]) << 10
                for name in ("VmRSS", "RssAnon", "RssFile")}

    def voluntary_switches(self):
        """Of all threads that run now, since each began."""
        count = 0
        for task in pathlib.Path(f"/proc/{self._process.pid}/task").iterdir():
            fields = dict(line.split(":", 1) for line in (task / "status").read_text().splitlines())
            count += int(fields["voluntary_ctxt_switches"])
        return count

    def log(self):
        return self._log_path.read_text(errors="replace")

    def log_tail(self):
        return f"-- {self.name}\n{self.log()[-LOG_TAIL_BYTES:]}"

    def accepts(self):
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def cpu_seconds(self):
        """Of the running process; what ended is among our children."""
        if self._process.poll() is not None:
            return 0
        fields = pathlib.Path(f"/proc/{self._process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def read_port(server, path):
    """True once the server has written its port there."""
    try:
        server.port = int(path.read_text())
    except (FileNotFoundError, ValueError):
        return False
    return True


class Fleet:
    """The servers of a run: in a `with` all of them, otherwise those that are asked for until
    `close`."""

    def __init__(self, source_dir, binary_dir, directory):
        self._binary_dir = binary_dir
        self._directory = directory
        self._servers = []
        self.certificates = directory / "certificates"
        subprocess.run([source_dir / "deploy/make-certificates", self.certificates], check=True,
                       capture_output=True)
        self._root_key = directory / "root.key"
        self._root_key.touch(0o600)
        self._root_key.write_text(secrets.token_hex(32))

    def __enter__(self):
        try:
            self.mayfly_relaxed = self.start_mayfly("mayfly-relaxed", "relaxed")
            self.mayfly_sync = self.start_mayfly("mayfly-sync", "sync")
            self.null = self._start_null()
            self.redis_everysec = self.start_redis("redis-everysec", "everysec")
            self.redis_always = self.start_redis("redis-always", "always")
            self.nats = self._start_nats()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        for server in self._servers:
            server.stop()

    def log_tails(self):
        return "\n".join(server.log_tail() for server in self._servers)

    def cpu_seconds(self):
        return sum(server.cpu_seconds() for server in self._servers)

    def describe(self):
        """One sentence: which versions they are."""
        redis = subprocess.run(["redis-server", "--version"], capture_output=True, text=True).stdout
        nats = subprocess.run(["nats-server", "--version"], capture_output=True, text=True).stdout
        return [f"Redis {redis.split('v=')[1].split()[0]}, NATS {nats.split('v')[-1].strip()}, "
                "both as packaged by Debian."]

    def _make_directory(self, name, parent=None):
        directory = (parent or self._directory) / name
        directory.mkdir(mode=0o700)
        return directory

    def _start(self, *arguments, **options):
        server = Server(*arguments, **options)
        self._servers.append(server)
        return server

    def start_mayfly(self, name, durability, parent=None, memtable="256MiB"):
        directory = self._make_directory(name, parent)
        (directory / "data").mkdir(mode=0o700)
        port = free_port()
        (directory / "mayfly.toml").write_text(
            MAYFLY_CONFIG.format(certificates=self.certificates, durability=durability, port=port,
                                 memtable=memtable, root_key=self._root_key))
        return self._start(
            name, directory,
            [self._binary_dir / "src/server/mayflyd", "--config", "mayfly.toml"],
            lambda server: '"serving"' in server.log(), port)

    def _start_null(self):
        directory = self._make_directory("null")
        return self._start(
            "null_server", directory,
            [self._binary_dir / "bench/peers/null_server", "--certificates", self.certificates,
             "--port-file", "port"],
            lambda server: read_port(server, directory / "port"))

    def start_redis(self, name, durability, parent=None):
        directory = self._make_directory(name, parent)
        port = free_port()
        (directory / "redis.conf").write_text(
            REDIS_CONFIG.format(port=port, certificates=self.certificates, directory=directory,
                                durability=durability))
        return self._start(name, directory, ["redis-server", "redis.conf"], Server.accepts, port)

    def remove(self, server):
        """Stops a server and removes all it has stored."""
        server.stop()
        self._servers.remove(server)
        shutil.rmtree(server.directory)

    def _start_nats(self):
        directory = self._make_directory("nats")
        port = free_port()
        (directory / "nats.conf").write_text(
            NATS_CONFIG.format(port=port, certificates=self.certificates, directory=directory))
        return self._start("nats-server", directory, ["nats-server", "-c", "nats.conf"],
                           Server.accepts, port)
