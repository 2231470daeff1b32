"""Celery while Mayfly is away, and while its certificates are replaced."""

import json
import os
import pathlib
import sys
import tempfile
import threading
import time
import unittest

sys.dont_write_bytecode = True

import services  # noqa: E402

SERVICES = services.Services(pathlib.Path(tempfile.mkdtemp(prefix="mayfly-celery-")))
unittest.addModuleCleanup(SERVICES.close)
os.environ.update(SERVICES.environment("client"))

from celery import chord, group  # noqa: E402
from celery.exceptions import TimeoutError  # noqa: E402

import mayfly  # noqa: E402
import tasks  # noqa: E402
from tasks import app, total, wait_for, wait_for_late  # noqa: E402
from certificates import Issuer, replace  # noqa: E402
from waiting import wait_until  # noqa: E402

SECONDS = 120
# Of what would else take mayfly.Settings.timeout, 30 s.
QUICK_SECONDS = 20


def setUpModule():
    SERVICES.start_worker("patient", ("client", "worker"), CELERY_TEST_OPTIONS=json.dumps(
        {"timeout": 1, "task_store_retry_max": SECONDS}))
    SERVICES.start_worker("plain", ("worker",), CELERY_TEST_QUEUE="plain")
    SERVICES.start_worker(
        "impatient", ("worker",), CELERY_TEST_QUEUE="impatient",
        CELERY_TEST_OPTIONS=json.dumps({"timeout": 1, "task_store_retry_max": 0}))


class OutageTest(unittest.TestCase):
    def setUp(self):
        self.gate = SERVICES.directory / self._testMethodName

    def away(self):
        SERVICES.mayfly.kill()
        self.addCleanup(lambda: SERVICES.mayfly.is_running or SERVICES.mayfly.start())

    def logged(self, worker, sentence):
        wait_until(lambda: sentence in SERVICES.log(worker), sentence)

    def test_a_success_is_stored_when_the_server_is_back(self):
        result = wait_for.delay(str(self.gate), "value")
        self.away()
        self.gate.touch()
        self.logged("patient", f"task {result.id}: storing its result failed, is tried again")
        SERVICES.mayfly.start()
        self.assertEqual(result.get(timeout=SECONDS), "value")

    def test_a_worker_warns_once_and_says_when_it_is_over(self):
        result = wait_for.apply_async((str(self.gate), "value"), queue="plain")
        self.away()
        began = time.monotonic()
        self.gate.touch()
        storing = f"task {result.id}: storing its result"
        self.logged("plain", f"{storing} failed, is tried again for up to ")
        self.assertLess(time.monotonic() - began, mayfly.Settings.timeout / 2)
        time.sleep(5)  # for some more failures
        SERVICES.mayfly.start()
        self.assertEqual(result.get(timeout=SECONDS), "value")
        self.logged("plain", f"{storing} succeeded after ")
        log = SERVICES.log("plain")
        self.assertEqual(log.count(f"{storing} failed"), 1)
        self.assertRegex(log, f"WARNING.*{storing} failed, is tried again for up to [0-9]+ s: .*refused")

    def test_get_raises_celerys_error_while_the_server_is_away(self):
        result = wait_for.delay(str(self.gate), "value")
        self.away()
        impatient = tasks.new_app(timeout=1).AsyncResult(result.id)
        for get in (app.AsyncResult(result.id).get, group_of(app, result).get, impatient.get):
            with self.assertRaises(TimeoutError) as raised:
                get(timeout=2)
            self.assertIsInstance(raised.exception.__cause__, mayfly.Error)
            self.assertIn("The server is away", str(raised.exception))
        with self.assertRaises(mayfly.Unavailable):
            impatient.get()
        self.gate.touch()

    def test_a_chord_is_completed_when_the_server_is_back(self):
        result = chord([wait_for.s(str(self.gate), 1), wait_for.s(str(self.gate), 2)])(total.s())
        self.away()
        self.gate.touch()
        self.logged("patient", f"task {result.parent[0].id}: storing its result failed, is tried again")
        SERVICES.mayfly.start()
        self.assertEqual(result.get(timeout=SECONDS), 3)

    def test_after_that_the_message_returns_to_the_broker(self):
        result = wait_for_late.apply_async((str(self.gate), "value"), queue="impatient")
        self.away()
        self.gate.touch()
        self.logged("impatient", f"task {result.id}: its result could not be stored")
        SERVICES.mayfly.start()
        self.assertEqual(result.get(timeout=SECONDS), "value")

    def test_nothing_waits_longer_than_it_was_told(self):
        sender = tasks.new_app(timeout=1)
        result = sender.send_task("tasks.add", (1, 2))
        looked = app.AsyncResult(result.id)
        self.away()
        for call in (lambda: looked.get(timeout=2),  # with the default settings
                     lambda: group_of(app, looked).get(timeout=2),
                     lambda: sender.send_task("tasks.add", (1, 2)),
                     lambda: group(sender.signature("tasks.add", (i, 2)) for i in range(3))(),
                     lambda: result.state, result.ready, result.forget):
            began = time.monotonic()
            with self.assertRaises((mayfly.Error, TimeoutError)):
                call()
            self.assertLess(time.monotonic() - began, QUICK_SECONDS)
        SERVICES.mayfly.start()
        self.assertEqual(result.get(timeout=SECONDS), 3)

    def test_get_goes_on_when_the_server_comes_back(self):
        result = wait_for.delay(str(self.gate), "value")
        self.away()
        ticks = []

        def on_interval():
            ticks.append(1)
            if len(ticks) == 1:
                SERVICES.mayfly.start()
                self.gate.touch()

        self.assertEqual(result.get(timeout=SECONDS, on_interval=on_interval), "value")


class CertificateTest(unittest.TestCase):
    LIFE_SECONDS = int(os.environ.get("CERTIFICATE_LIFE_SECONDS", "20"))

    def issue(self, role):
        cert, key = self.issuer.issue(role, ends_s=self.LIFE_SECONDS)
        prefix = "" if role == "client" else "worker_"
        paths = {f"{prefix}{name}": str(SERVICES.directory / f"short_{role}.{name}")
                 for name in ("cert", "key")}
        for path, content in zip(paths.values(), (cert, key)):
            replace(path, content)
        return paths

    def renew(self):
        """In the middle of their lives."""
        while not self.ended.wait(self.LIFE_SECONDS / 2):
            self.issue("client")
            self.issue("worker")
            self.replacements += 1

    def test_a_worker_outlives_its_certificates(self):
        self.issuer = Issuer(SERVICES.mayfly.path("certificates"))
        options = {**self.issue("client"), **self.issue("worker")}
        self.ended = threading.Event()
        self.replacements = 0
        replaced_expire = time.time() + self.LIFE_SECONDS * 1.5  # the first and the second ones
        renewing = threading.Thread(target=self.renew)
        renewing.start()
        self.addCleanup(renewing.join)
        self.addCleanup(self.ended.set)
        SERVICES.start_worker("short", (), CELERY_TEST_QUEUE="short",
                              CELERY_TEST_OPTIONS=json.dumps(options))
        sender = tasks.new_app(**options)
        gate = SERVICES.directory / "short"
        across = wait_for.apply_async((str(gate), "across"), queue="short")
        count = 0
        while time.time() < replaced_expire + 2 or self.replacements < 2:
            result = sender.send_task("tasks.add", (count, 1), queue="short")
            self.assertEqual(result.get(timeout=SECONDS), count + 1)
            count += 1
        gate.touch()
        self.assertEqual(across.get(timeout=SECONDS), "across")


def group_of(app, *results):
    return app.GroupResult("g", list(results))


if __name__ == "__main__":
    unittest.main(verbosity=2)
