"""Inputs of the tasks that are sent: when they are put, and that nothing stays of what was not sent."""

import collections
import os
import pathlib
import subprocess
import sys
import tempfile
import threading
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
from kombu.exceptions import OperationalError  # noqa: E402

import mayfly  # noqa: E402
import tasks  # noqa: E402
from mayfly.celery import inputs_ahead  # noqa: E402
from tasks import add, app, retry_in, total, wait_for  # noqa: E402
from waiting import wait_until  # noqa: E402

SECONDS = 120
TASKS = 300
# 1, 1, 2, 4 ... 32, and then 32 each make 15; more when the machine stands still for a second.
MESSAGES_MAX = 30


def setUpModule():
    SERVICES.start_worker("worker", ("client", "worker"))


class SendingTestCase(unittest.TestCase):
    """Records the ids that were put, and counts the messages to Mayfly by method."""

    @classmethod
    def setUpClass(cls):
        cls.client = mayfly.Client.from_env()
        cls.addClassCleanup(cls.client.close)

    def setUp(self):
        app.backend.connections._ahead.end()  # what the test before has left
        self.put = []
        self.messages = collections.Counter()
        connection = app.backend.connections.client._connection
        invoke = connection.invoke

        def record(method, request, backoff, *begun):
            self.messages[method] += 1
            if method == "PutInputs":
                self.put += [item.call_id for item in request.items]
            return invoke(method, request, backoff, *begun)

        patch = mock.patch.object(connection, "invoke", record)
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


class UnsentTest(SendingTestCase):
    """Of tasks that were not sent, nothing stays."""

    def test_a_task(self):
        self.broker_that_fails()
        with self.assertRaises(OperationalError):
            add.delay(1, 2)
        self.assertEqual(self.states(), ["deleted"])

    def test_a_task_that_cannot_be_serialized(self):
        with self.assertRaises(kombu.exceptions.EncodeError):
            add.delay(object(), 2)
        self.assertEqual(self.states(), ["deleted"])

    def test_a_chain(self):
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

    def test_a_run_that_breaks_off(self):
        gate = str(SERVICES.directory / "run")
        self.broker_that_fails(after=5)
        sent = []
        with self.assertRaises(OperationalError):
            while True:
                sent.append(wait_for.delay(gate).id)
        wait_until(lambda: set(self.states()) == {"pending", "deleted"}
                   and self.states().count("pending") == 5, "the inputs of what was not sent go")
        self.assertEqual({each.state for each in self.client.describe_all(sent)}, {"pending"})
        pathlib.Path(gate).touch()

    def test_a_short_delay_is_none_of_this(self):
        self.assertEqual(add.apply_async((1, 2), countdown=1).get(timeout=SECONDS), 3)


class MessagesTest(SendingTestCase):
    """Tasks that are sent one after another share messages to Mayfly, ahead of their own to the
    broker."""

    def test_of_a_group_one(self):
        result = group(add.s(i, i) for i in range(TASKS))()
        self.assertEqual(self.messages["PutInputs"], 1)
        self.assertEqual(sum(result.get(timeout=SECONDS)), TASKS * (TASKS - 1))

    def test_of_a_run_few(self):
        with mock.patch.object(inputs_ahead, "_PAUSE_SECONDS", SECONDS):  # of a busy machine
            results = [add.delay(i, i) for i in range(TASKS)]
        self.assertLessEqual(self.messages["PutInputs"], MESSAGES_MAX)
        ids = [each.id for each in results]
        self.assertEqual(len(set(ids)), TASKS)
        self.assertLessEqual(set(ids), set(self.put))
        self.assertEqual([each.get(timeout=SECONDS) for each in results],
                         [2 * i for i in range(TASKS)])
        wait_until(lambda: set(self.states()) <= {"consumed", "deleted"}, "unused ones are deleted")

    def test_after_a_long_pause_none_is_used(self):
        for _ in range(10):
            add.delay(1, 2).forget()
        before = set(self.put)
        app.backend.connections._ahead._last_use -= 3600
        result = add.delay(1, 2)
        self.assertNotIn(result.id, before)
        self.assertEqual(result.get(timeout=SECONDS), 3)
        wait_until(lambda: set(self.states()) <= {"consumed", "deleted"}, "unused ones are deleted")

    def test_no_task_is_published_before_its_input_is_stored(self):
        publish = kombu.Producer.publish
        states = []

        def look(producer, *arguments, correlation_id, **options):
            states.append(self.client.describe(correlation_id).state)
            return publish(producer, *arguments, correlation_id=correlation_id, **options)

        with mock.patch.object(kombu.Producer, "publish", look):
            results = [add.delay(i, i) for i in range(40)]
        self.assertEqual(states, ["pending"] * 40)
        self.assertEqual(sum(each.get(timeout=SECONDS) for each in results), 40 * 39)

    def test_threads_do_not_share_ids(self):
        results = []

        def send():
            for _ in range(50):
                results.append(add.delay(1, 1))

        threads = [threading.Thread(target=send) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(len({each.id for each in results}), 300)
        self.assertEqual(sum(each.get(timeout=SECONDS) for each in results), 600)
        wait_until(lambda: set(self.states()) <= {"consumed", "deleted"}, "unused ones are deleted")

    def test_an_ignored_result_has_none(self):
        tasks.add_ignored.delay(1, 2)
        result = add.apply_async((1, 2), task_id="Order-17", ignore_result=True)
        self.assertEqual((result.id, self.put), ("Order-17", []))

    def test_those_that_were_refused_are_left_out(self):
        client = app.backend.connections.client
        put_inputs = client.put_inputs

        def refuse(items, **options):
            found = put_inputs(items, **options)
            return [*found[:-1], mayfly.LimitExceeded("no room", "QUOTA_CALLS", found[-1])]

        with mock.patch.object(client, "put_inputs", refuse):
            results = [add.delay(i, 1) for i in range(20)]
        self.assertEqual([each.get(timeout=SECONDS) for each in results], list(range(1, 21)))

    def run_sender(self, program):
        """Its lines."""
        done = subprocess.run(
            [sys.executable, "-c", "from tasks import add\n" + program], cwd=services.HERE,
            capture_output=True, text=True, timeout=SECONDS)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        return [line.split() for line in done.stdout.splitlines()]

    UNUSED = "add.app.backend.connections._ahead._unused"

    def test_a_process_that_ends_leaves_nothing(self):
        sent, unused = self.run_sender(
            "print(*(add.delay(1, 2).id for _ in range(10)))\n"
            f"print(*{self.UNUSED})")
        self.assertTrue(unused)
        self.assertEqual({each.state for each in self.client.describe_all(unused)}, {"deleted"})
        self.assertEqual({app.AsyncResult(each).get(timeout=SECONDS) for each in sent}, {3})

    def test_a_child_takes_none_of_its_parents(self):
        unused, of_child, of_parent = self.run_sender(
            "import os, sys\n"
            "def send():\n"
            "    print(*(add.delay(1, 2).id for _ in range(10)), flush=True)\n"
            "for _ in range(10): add.delay(1, 2).forget()\n"
            f"print(*{self.UNUSED}, flush=True)\n"
            "child = os.fork()\n"
            "if not child:\n"
            "    send()\n"
            "    sys.exit(0)\n"
            "os.waitpid(child, 0)\n"
            "send()")
        self.assertTrue(unused)
        self.assertFalse(set(of_child) & {*unused, *of_parent})
        self.assertEqual({app.AsyncResult(each).get(timeout=SECONDS)
                          for each in of_child + of_parent}, {3})


class UnusedTest(unittest.TestCase):
    def test_a_process_that_ends_tells_what_stays_but_not_that_its_client_is_closed(self):
        client = mock.Mock()
        ahead = inputs_ahead.InputsAhead(lambda: client)
        ended = [None, mayfly.NotFound(), mayfly.Cancelled("the client is closed")]
        for results, told in ((ended, []), ([*ended, mayfly.Unavailable("away")], ["away"])):
            client._deletions.call_all.return_value = results
            ahead._unused.append(mayfly.new_call_id())
            with mock.patch.object(inputs_ahead.logger, "warning") as warning:
                ahead.end()
            self.assertEqual([str(call.args[1]) for call in warning.call_args_list], told)


if __name__ == "__main__":
    unittest.main(verbosity=2)
