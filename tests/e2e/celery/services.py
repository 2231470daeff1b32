"""What a Celery application needs to run: Mayfly, a broker and workers, each the real program, in
directories of their own."""

import os
import pathlib
import shutil
import signal
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "support"))

from live_server import LiveServer  # noqa: E402
from waiting import wait_until  # noqa: E402


class Broker:
    """Redis behind a socket in its directory."""

    def __init__(self, directory):
        self._socket = directory / "socket"
        self._process = subprocess.Popen(
            ["redis-server", "--port", "0", "--unixsocket", self._socket, "--save", "",
             "--dir", directory, "--logfile", directory / "log"])
        wait_until(self._socket.exists, "redis-server starts")

    def url(self, database):
        return f"redis+socket://{self._socket}?virtual_host={database}"

    def close(self):
        self._process.kill()
        self._process.wait()


class Worker:
    """`python3 -m celery worker` with two processes, in a process group of its own."""

    def __init__(self, directory, environment):
        self.log_path = directory / "log"
        with self.log_path.open("w") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "celery", "-A", "tasks", "worker", "--concurrency", "2",
                 "--loglevel", "INFO", "--without-gossip", "--without-mingle",
                 "--without-heartbeat"],
                cwd=HERE, env=environment, stdout=log, stderr=log, start_new_session=True)
        try:
            wait_until(self._is_ready, "the worker starts")
        except AssertionError:
            self.kill()
            raise AssertionError(f"the worker did not start\n{self.log()}") from None

    def _is_ready(self):
        if self._process.poll() is not None:
            raise AssertionError
        return " ready." in self.log()

    def log(self):
        return self.log_path.read_text(errors="replace")

    def kill(self):
        """Its processes too, as when a machine is lost."""
        if self._process.returncode is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()


class Services:
    """`settings` are lines of Mayfly's configuration, the first ones of [retention]."""

    def __init__(self, directory, settings=""):
        self.directory = directory
        self._workers = {}
        self.mayfly = LiveServer(os.environ["MAYFLYD"], settings)
        self._broker = None
        try:
            self.mayfly.start()
            self._broker = Broker(directory)
        except BaseException:
            self.close()
            raise

    def close(self):
        for worker in self._workers.values():
            worker.kill()
        if self._broker is not None:
            self._broker.close()
        self.mayfly.close()
        shutil.rmtree(self.directory)

    def broker_url(self, database=0):
        return self._broker.url(database)

    def identity(self, role, prefix=""):
        return {f"{prefix}{name}": self.mayfly.path(f"certificates/{role}.{suffix}")
                for name, suffix in (("cert", "pem"), ("key", "key"))}

    def environment(self, *roles):
        """That of a process with the certificates of these roles."""
        variables = {
            "MAYFLY_SERVER": self.mayfly.target,
            "MAYFLY_CA": self.mayfly.path("certificates/ca.pem"),
            "CELERY_TEST_BROKER": self.broker_url(),
            "CELERY_TEST_QUEUE": "tasks",
            "CELERY_TEST_VISIBILITY_SECONDS": "3600",
            "CELERY_TEST_OPTIONS": "{}",
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        for role in roles:
            prefix = "" if role == "client" else "WORKER_"
            for name, path in self.identity(role).items():
                variables[f"MAYFLY_{prefix}{name.upper()}"] = path
        return variables

    def start_worker(self, name, roles, **settings):
        directory = self.directory / name
        directory.mkdir()
        environment = {name: value for name, value in os.environ.items()
                       if not name.startswith("MAYFLY_")}
        worker = Worker(directory, {**environment, **self.environment(*roles), **settings})
        self._workers[name] = worker
        return worker

    def log(self, worker):
        return self._workers[worker].log()
