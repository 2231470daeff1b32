"""What a Celery application needs to run: Mayfly, a broker and workers, each the real program, on free
ports and in directories of their own."""

import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
SOURCE_DIR = HERE.parents[2]
sys.path.insert(0, str(SOURCE_DIR / "bench/peers"))

import servers  # noqa: E402

START_SECONDS_MAX = 60


def wait_until(is_so, complaint, seconds=START_SECONDS_MAX):
    end = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > end:
            raise AssertionError(complaint)
        time.sleep(0.02)


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
            wait_until(self._is_ready, "the worker did not start")
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
    def __init__(self, directory):
        self.directory = directory
        self._workers = {}
        self._fleet = servers.Fleet(SOURCE_DIR, pathlib.Path(os.environ["MAYFLY_BINARY_DIR"]),
                                    directory)
        try:
            self._mayfly = self._fleet.start_mayfly("mayfly", "sync")
            self._redis = self._fleet.start_plain_redis("broker")
        except BaseException:
            self.close()
            raise

    def close(self):
        for worker in self._workers.values():
            worker.kill()
        self._fleet.close()
        shutil.rmtree(self.directory)

    def broker(self, database=0):
        return f"redis://127.0.0.1:{self._redis.port}/{database}"

    def identity(self, role, prefix=""):
        certificates = self._fleet.certificates
        return {f"{prefix}cert": str(certificates / f"{role}.pem"),
                f"{prefix}key": str(certificates / f"{role}.key")}

    def environment(self, *roles):
        """That of a process with the certificates of these roles."""
        variables = {
            "MAYFLY_SERVER": f"127.0.0.1:{self._mayfly.port}",
            "MAYFLY_CA": str(self._fleet.certificates / "ca.pem"),
            "CELERY_TEST_BROKER": self.broker(),
            "CELERY_TEST_QUEUE": "tasks",
            "CELERY_TEST_VISIBILITY_SECONDS": "3600",
        }
        for role in roles:
            prefix = "" if role == "client" else "WORKER_"
            for name, path in self.identity(role).items():
                variables[f"MAYFLY_{prefix}{name.upper()}"] = path
        return variables

    def start_worker(self, name, **settings):
        directory = self.directory / name
        directory.mkdir()
        worker = Worker(directory, {**os.environ, **self.environment("client", "worker"),
                                    **settings})
        self._workers[name] = worker
        return worker

    def log(self, worker):
        return self._workers[worker].log()
