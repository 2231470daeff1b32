"""Celery while Mayfly or the broker is away, and tasks that are to run when no result can be kept."""

import json
import os
import pathlib
import sys
import tempfile
import threading
import time
import unittest
from unittest import mock

sys.dont_write_bytecode = True

import services  # noqa: E402

# Inputs stay for an hour.
SERVICES = services.Services(
    pathlib.Path(tempfile.mkdtemp(prefix="mayfly-celery-")), 'default_ttl = "1h"')
unittest.addModuleCleanup(SERVICES.close)
os.environ.update(SERVICES.environment("client"))

import kombu  # noqa: E402
from celery import chain, chord, group  # noqa: E402
from celery.exceptions import TimeoutError  # noqa: E402
from kombu.exceptions import OperationalError  # noqa: E402

import mayfly  # noqa: E402
import tasks  # noqa: E402
from tasks import add, app, retry_in, total, wait_for, wait_for_late  # noqa: E402
from certificates import Issuer, replace  # noqa: E402
from waiting import wait_until  # noqa: E402

SECONDS = 120
# Of what would else take mayfly.Settings.timeout, 30 s.
QUICK_SECONDS = 20


def setUpModule():
    SERVICES.start_worker("patient", ("client", "worker"), CELERY_TEST_OPTIONS=json.dumps(
        {"timeout": 1, "task_store_retry_max": SECONDS}))
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
        self.logged("patient", f"task {result.id}: storing its result is tried again")
        SERVICES.mayfly.start()
        self.assertEqual(result.get(timeout=SECONDS), "value")

    def test_a_chord_is_completed_when_the_server_is_back(self):
        result = chord([wait_for.s(str(self.gate), 1), wait_for.s(str(self.gate), 2)])(total.s())
        self.away()
        self.gate.touch()
        self.logged("patient", f"task {result.parent[0].id}: storing its result is tried again")
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
    LIFE_SECONDS = 20

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

    def test_a_worker_outlives_its_certificates(self):
        self.issuer = Issuer(SERVICES.mayfly.path("certificates"))
        options = {**self.issue("client"), **self.issue("worker")}
        self.ended = threading.Event()
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
        expired = None  # by then, those with which the first task was run
        while expired is None or time.time() < expired:
            result = sender.send_task("tasks.add", (count, 1), queue="short")
            self.assertEqual(result.get(timeout=SECONDS), count + 1)
            count += 1
            expired = expired or time.time() + self.LIFE_SECONDS
        gate.touch()
        self.assertEqual(across.get(timeout=SECONDS), "across")


def group_of(app, *results):
    return app.GroupResult("g", list(results))


class SendingTest(unittest.TestCase):
    """Of tasks that were not sent, nothing stays."""

    @classmethod
    def setUpClass(cls):
        cls.client = mayfly.Client.from_env()
        cls.addClassCleanup(cls.client.close)

    def setUp(self):
        self.put = []
        connections = app.backend.connections
        client = connections.client
        put_inputs, put_input = client.put_inputs, client.put_input

        def record(items):
            self.put += [item.call_id for item in items]
            return put_inputs(items)

        def record_one(data, ttl, call_id):
            self.put.append(call_id)
            return put_input(data, ttl, call_id)

        for name, function in (("put_inputs", record), ("put_input", record_one)):
            patch = mock.patch.object(client, name, function)
            patch.start()
            self.addCleanup(patch.stop)

    def broker_that_fails(self, after=0):
        """It takes some messages, then none."""
        publish = kombu.Producer.publish
        left = [after]

        def fail(producer, *arguments, **options):
            if not left[0]:
                raise OperationalError("the broker is away")
            left[0] -= 1
            return publish(producer, *arguments, **options)

        patch = mock.patch.object(kombu.Producer, "publish", fail)
        patch.start()
        self.addCleanup(patch.stop)
        self.addCleanup(app.control.purge)

    def states(self):
        self.assertTrue(self.put)
        return [each.state for each in self.client.describe_all(self.put)]

    def test_a_task(self):
        self.broker_that_fails()
        with self.assertRaises(OperationalError):
            chain(add.s(1, 2), add.s(3)).delay()
        self.assertEqual(self.states(), ["deleted"] * 2)

    def test_half_of_a_group(self):
        self.broker_that_fails(after=3)
        gate = str(SERVICES.directory / "half")
        with self.assertRaises(OperationalError):
            group(wait_for.s(gate) for _ in range(10))()
        self.assertEqual(self.states(), ["pending"] * 3 + ["deleted"] * 7)
        pathlib.Path(gate).touch()

    def test_half_of_a_chord(self):
        self.broker_that_fails(after=1)
        gate = str(SERVICES.directory / "half_chord")
        with self.assertRaises(OperationalError):
            chord([wait_for.s(gate) for _ in range(3)])(total.s())
        # Three of the header, the body and the chord.
        self.assertEqual(self.states(), ["pending"] + ["deleted"] * 4)
        pathlib.Path(gate).touch()

    def test_a_delay_longer_than_anything_is_kept(self):
        for send in (lambda: add.apply_async((1, 2), countdown=90000),
                     lambda: chain(add.s(1, 2), add.s(3).set(countdown=90000)).delay(),
                     lambda: add.apply_async((1, 2), link=add.s(3).set(countdown=90000))):
            with self.assertRaisesRegex(mayfly.InvalidArgument, "is 9.* s from now, .* 86400 s"):
                send()
        self.assertEqual(self.put, [])

    def test_a_delay_longer_than_the_server_keeps_inputs(self):
        with self.assertRaisesRegex(mayfly.InvalidArgument, "the limit is 3600 s, when the input"):
            add.apply_async((1, 2), countdown=7200)
        self.assertEqual(self.states(), ["deleted"])

    def test_a_retry_longer_than_that_fails(self):
        with self.assertRaisesRegex(mayfly.InvalidArgument, "countdown or eta is"):
            retry_in.delay(7200).get(timeout=SECONDS)

    def test_a_short_delay_is_none_of_this(self):
        self.assertEqual(add.apply_async((1, 2), countdown=1).get(timeout=SECONDS), 3)


if __name__ == "__main__":
    unittest.main(verbosity=2)
