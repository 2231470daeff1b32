"""Celery with Mayfly as its result backend: a real broker, a real worker with two processes, and a
process that sends tasks and takes results, which has no worker's certificate."""

import logging
import os
import pathlib
import sys
import tempfile
import time
import unittest
import uuid
from unittest import mock

sys.dont_write_bytecode = True

import services  # noqa: E402

# Before Celery is imported: the application is configured by its environment, as in production.
SERVICES = services.Services(pathlib.Path(tempfile.mkdtemp(prefix="mayfly-celery-")))
unittest.addModuleCleanup(SERVICES.close)
os.environ.update(SERVICES.environment("client"))

import celery  # noqa: E402
import celery.concurrency  # noqa: E402
from celery import chain, chord, group  # noqa: E402
from celery.exceptions import (  # noqa: E402
    ChordError, ImproperlyConfigured, SoftTimeLimitExceeded, TimeoutError, WorkerLostError,
)
from celery.result import AsyncResult, GroupResult  # noqa: E402

import mayfly  # noqa: E402
import mayfly.celery  # noqa: E402
import tasks  # noqa: E402
from mayfly.celery import starting  # noqa: E402
from tasks import add, app, fail, total, wait_for  # noqa: E402
from waiting import wait_until  # noqa: E402

# Longer than anything here takes on a busy machine; nothing waits for it to pass.
SECONDS = 120
# A result that is gone is answered at once, and not when the time of a get() is over.
QUICK_SECONDS = SECONDS / 2


def setUpModule():
    SERVICES.start_worker("worker", ("client", "worker"))


class CeleryTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.client = mayfly.Client.from_env()
        cls.addClassCleanup(cls.client.close)

    def state(self, call_id):
        return self.client.describe(call_id).state

    def assertGone(self, call_id, reason):
        """Another result object of the same task is refused, at once."""
        began = time.monotonic()
        with self.assertRaises(mayfly.errors.NotFound) as caught:
            AsyncResult(call_id, app=app).get(timeout=SECONDS)
        part = "OUTPUT" if reason == "consumed" else "CALL"
        self.assertEqual(caught.exception.reason, f"{part}_{reason.upper()}")
        self.assertLess(time.monotonic() - began, QUICK_SECONDS)
        self.assertEqual(self.state(call_id), reason)

    def wait_until_ready(self, result):
        wait_until(result.ready, "the result is ready")


class ResultTest(CeleryTest):
    def test_get_takes_the_value_once(self):
        result = add.delay(2, 3)
        self.assertEqual(result.get(timeout=SECONDS), 5)
        self.assertEqual(result.get(), 5, "the object remembers what it took")
        self.assertGone(result.id, "consumed")

    def test_looking_takes_nothing(self):
        result = add.delay(2, 3)
        self.wait_until_ready(result)
        for _ in range(2):
            self.assertEqual((result.state, result.result), ("SUCCESS", 5))
            self.assertTrue(AsyncResult(result.id, app=app).successful())
        self.assertEqual(result.args, [2, 3])
        self.assertEqual(self.state(result.id), "ready")
        self.assertEqual(result.get(timeout=SECONDS), 5)
        self.assertEqual(self.state(result.id), "consumed")
        self.assertEqual(AsyncResult(result.id, app=app).state, "CONSUMED")

    def test_a_result_of_many_segments(self):
        result = tasks.repeat.delay("mayfly", 1 << 20)
        self.wait_until_ready(result)
        self.assertEqual(self.state(result.id), "ready")
        self.assertTrue(result.get(timeout=SECONDS) == "mayfly" * (1 << 20))
        self.assertEqual(self.state(result.id), "consumed")

    def test_a_task_under_way_is_pending(self):
        gate = SERVICES.directory / "pending"
        result = wait_for.delay(str(gate), "done")
        self.assertEqual(result.state, "PENDING")
        self.assertFalse(result.ready())
        began = time.monotonic()
        with self.assertRaises(TimeoutError):
            result.get(timeout=0.3)
        self.assertGreaterEqual(time.monotonic() - began, 0.3)
        gate.touch()
        self.assertEqual(result.get(timeout=SECONDS), "done")

    def test_an_exception_is_raised_again_with_its_type(self):
        result = fail.delay("not today")
        with self.assertRaises(tasks.Refused) as caught:
            result.get(timeout=SECONDS)
        self.assertEqual(caught.exception.args, ("not today",))
        self.assertIn("Refused", result.traceback)
        self.assertGone(result.id, "consumed")

    def test_propagate_false_returns_the_exception(self):
        self.assertIsInstance(fail.delay("x").get(timeout=SECONDS, propagate=False), tasks.Refused)

    def test_other_clients_see_the_outcome(self):
        for task, outcome in ((add.s(1, 1), "success"), (fail.s("x"), "failure"),
                              (tasks.overrun.s(), "timeout")):
            result = task.delay()
            with self.client.retrieving(result.id, timeout=SECONDS) as output:
                self.assertEqual(output.outcome, outcome)

    def test_a_time_limit_is_raised_as_such(self):
        with self.assertRaises(SoftTimeLimitExceeded):
            tasks.overrun.delay().get(timeout=SECONDS)

    def test_forget_deletes(self):
        result = add.delay(2, 3)
        self.wait_until_ready(result)
        result.forget()
        self.assertEqual(self.state(result.id), "deleted")
        self.assertGone(result.id, "deleted")
        result.forget()

    def test_a_forgotten_task_ends_without_a_result(self):
        gate = SERVICES.directory / "forgotten"
        result = wait_for.delay(str(gate))
        result.forget()
        gate.touch()
        # The worker is well after that.
        self.assertEqual(add.delay(1, 1).get(timeout=SECONDS), 2)
        self.assertGone(result.id, "deleted")

    def test_what_never_was_is_not_waited_for(self):
        unknown = mayfly.new_call_id()
        self.assertEqual(AsyncResult(unknown, app=app).state, "UNKNOWN")
        self.assertTrue(AsyncResult(unknown, app=app).ready())
        self.assertGone(unknown, "unknown")

    def test_an_ignored_result_makes_no_call(self):
        result = tasks.add_ignored.delay(1, 2)
        self.assertEqual(self.state(result.id), "unknown")
        self.assertEqual((result.state, result.ready()), ("PENDING", False))

    def test_an_id_of_another_backend_is_unknown(self):
        result = AsyncResult("0d0f2f3c-41b1-4c63-9a36-0cf4a2a47d63", app=app)
        self.assertEqual((result.state, result.ready()), ("UNKNOWN", True))
        with self.assertRaises(mayfly.NotFound):
            result.get(timeout=SECONDS)

    def test_then_and_on_message_are_called_when_it_is_taken(self):
        called = []
        result = add.delay(2, 3)
        result.then(lambda taken: called.append(taken.result))
        messages = []
        self.assertEqual(result.get(timeout=SECONDS, on_message=messages.append), 5)
        self.assertEqual((called, [each["result"] for each in messages]), ([5], [5]))

    def test_a_retried_task_keeps_its_id(self):
        self.assertEqual(tasks.succeed_at_retry.delay(2).get(timeout=SECONDS), 2)

    def test_a_replaced_task_keeps_its_id(self):
        self.assertEqual(tasks.replaced.delay(4, 5).get(timeout=SECONDS), 9)

    def test_the_first_result_stands(self):
        result = tasks.store_twice.delay("first", "second")
        sentence = f"task {result.id} ran again: its first result stands"
        wait_until(lambda: sentence in SERVICES.log("worker"), sentence)
        self.assertEqual(result.get(timeout=SECONDS), "first")

    def test_a_task_can_send_tasks(self):
        task_id = tasks.add_in_subtask.delay(20, 22).get(timeout=SECONDS)
        self.assertEqual(AsyncResult(task_id, app=app).get(timeout=SECONDS), 42)

    def test_an_id_that_is_no_call_id_is_refused_before_sending(self):
        with self.assertRaisesRegex(ValueError, "new_call_id"):
            add.apply_async((1, 2), task_id="order-17")
        with self.assertRaisesRegex(ValueError, "new_call_id"):
            add.apply_async((1, 2), task_id="0d0f2f3c-41b1-4c63-9a36-0cf4a2a47d63")
        with self.assertRaisesRegex(mayfly.errors.InvalidArgument, "ID_OUTSIDE_WINDOW"):
            add.apply_async((1, 2), task_id="01890a5d-ac96-774b-bcce-b302099a8057")

    def test_an_id_of_ones_own_is_taken(self):
        for form in (str, str.upper, uuid.UUID):
            task_id = mayfly.new_call_id()
            self.assertEqual(add.apply_async((1, 2), task_id=form(task_id)).id, task_id)
            self.assertEqual(AsyncResult(task_id, app=app).get(timeout=SECONDS), 3)

    def test_results_are_found_by_ids_of_any_form(self):
        ids = [add.delay(1, 2).id.upper(), add.delay(3, 4).id]
        found = GroupResult("g", [AsyncResult(each, app=app) for each in ids], app=app)
        self.assertEqual(found.get(timeout=SECONDS), [3, 7])


class CanvasTest(CeleryTest):
    def test_a_group_of_a_hundred(self):
        result = group(add.s(i, i) for i in range(100))()
        self.assertEqual(result.get(timeout=SECONDS), [2 * i for i in range(100)])
        self.assertEqual(result.get(), [2 * i for i in range(100)], "what it took is remembered")
        self.assertEqual({self.state(member.id) for member in result}, {"consumed"})

    def test_the_inputs_of_a_group_travel_together(self):
        client = app.backend.connections.client
        with mock.patch.object(client, "put_inputs", wraps=client.put_inputs) as put:
            result = group(add.s(i, i) for i in range(50))()
        self.assertEqual(put.call_count, 1)
        self.assertEqual(sum(result.get(timeout=SECONDS)), 2450)

    def test_a_group_with_a_failure(self):
        result = group(add.s(1, 1), fail.s("one of three"), add.s(2, 2))()
        with self.assertRaises(tasks.Refused):
            result.get(timeout=SECONDS)
        self.wait_until_ready(result)
        self.assertEqual(result.completed_count(), 2)
        values = result.join(timeout=SECONDS, propagate=False)
        self.assertEqual(values[::2], [2, 4])
        self.assertIsInstance(values[1], tasks.Refused)

    def test_a_group_that_is_not_there_in_time(self):
        gate = SERVICES.directory / "late"
        result = group(add.s(1, 1), wait_for.s(str(gate), 7))()
        with self.assertRaises(TimeoutError):
            result.get(timeout=0.5)
        gate.touch()
        self.assertEqual(result.get(timeout=SECONDS), [2, 7])

    def test_a_chain(self):
        result = chain(add.s(1, 2), add.s(3), add.s(4))()
        self.assertEqual(result.get(timeout=SECONDS), 10)
        self.assertEqual(result.parent.get(timeout=SECONDS), 6)
        self.assertEqual(result.parent.parent.get(timeout=SECONDS), 3)

    def test_a_chain_that_fails_on_the_way(self):
        result = chain(add.s(1, 2), tasks.fail.si("second"), add.s(4))()
        with self.assertRaises(tasks.Refused):
            result.get(timeout=SECONDS)

    def test_later_links_have_their_inputs_from_the_beginning(self):
        gate = SERVICES.directory / "chain"
        result = chain(wait_for.si(str(gate)), group(add.si(1, 1), add.si(2, 2)) | total.s(),
                       add.s(100))()
        node, waiting = result, []
        while node is not None:
            waiting += [node] if isinstance(node, AsyncResult) else node.results
            node = node.parent
        self.assertEqual(len(waiting), 5)
        self.assertEqual({self.state(member.id) for member in waiting}, {"pending"})
        gate.touch()
        self.assertEqual(result.get(timeout=SECONDS), 106)

    def test_a_callback(self):
        added = mayfly.new_call_id()
        add.apply_async((1, 2), link=add.s(10).set(task_id=added))
        self.assertEqual(AsyncResult(added, app=app).get(timeout=SECONDS), 13)

    def test_collect(self):
        result = tasks.add_in_subtask.delay(1, 2)
        self.wait_until_ready(result)
        child, = result.children
        self.assertEqual(child.get(timeout=SECONDS), 3)


class ChordTest(CeleryTest):
    def test_a_chord_takes_its_header(self):
        result = chord([add.s(i, i) for i in range(20)])(total.s())
        self.assertEqual(result.get(timeout=SECONDS), 380)
        self.assertEqual({self.state(member.id) for member in result.parent}, {"consumed"})
        self.assertGone(result.id, "consumed")

    def test_a_header_that_fails(self):
        result = chord([add.s(1, 1), fail.s("in the header")])(total.s())
        with self.assertRaisesRegex(ChordError, "in the header"):
            # Celery would raise the task's own exception, if that came first.
            result.get(timeout=SECONDS, follow_parents=False)
        self.assertEqual(result.parent[0].get(timeout=SECONDS), 2)
        with self.assertRaises(tasks.Refused):
            result.parent[1].get(timeout=SECONDS)

    def test_a_header_that_fails_before_a_chain(self):
        result = chord([add.s(1, 1), fail.s("in the header")])(total.s() | add.s(1))
        with self.assertRaisesRegex(ChordError, "in the header"):
            result.get(timeout=SECONDS, follow_parents=False)

    def test_a_header_whose_results_are_ignored(self):
        result = chord([tasks.add_ignored.s(1, 1), add.s(2, 2)])(total.s())
        self.assertEqual(result.get(timeout=SECONDS), 6)

    def test_a_header_that_somebody_else_took(self):
        gate = SERVICES.directory / "taken"
        result = chord([add.s(1, 1), wait_for.s(str(gate), 2)])(total.s())
        self.assertEqual(result.parent[0].get(timeout=SECONDS), 2)
        gate.touch()
        with self.assertRaisesRegex(ChordError, "OUTPUT_CONSUMED"):
            result.get(timeout=SECONDS, follow_parents=False)

    def test_chords_in_chords(self):
        inner = chord([add.s(1, 1), add.s(2, 2)], total.s())
        result = chord([inner, chain(add.s(3, 3), add.s(1)), group(add.s(4, 4), add.s(5, 5))])(
            total.s() | add.s(1000))
        self.assertEqual(result.get(timeout=SECONDS), 1031)

    def test_a_chord_whose_body_is_a_group(self):
        result = chord([add.s(1, 1), add.s(2, 2)])(group(total.s(), total.s()))
        self.assertEqual(result.get(timeout=SECONDS), [6, 6])

    def test_a_header_that_is_a_generator(self):
        result = chord(add.s(i, i) for i in range(5))(total.s())
        self.assertEqual(result.get(timeout=SECONDS), 20)
        result = (group(add.s(i, i) for i in range(5)) | total.s())()
        self.assertEqual(result.get(timeout=SECONDS), 20)

    def test_an_empty_header(self):
        self.assertEqual(chord([])(total.s()).get(timeout=SECONDS), 0)


class GroupResultTest(CeleryTest):
    def test_save_restore_delete(self):
        both = tasks.new_app(**SERVICES.identity("worker", prefix="worker_"))
        result = group(add.s(1, 1), add.s(2, 2))()
        result.save(backend=both.backend)
        restored = GroupResult.restore(result.id, backend=app.backend)
        self.assertEqual(restored, result)
        self.assertEqual(restored.get(timeout=SECONDS), [2, 4])
        result.delete(backend=app.backend)
        self.assertIsNone(GroupResult.restore(result.id, backend=app.backend))
        self.assertEqual(self.state(result.id), "deleted")

    def test_without_the_workers_certificate_it_says_what_is_missing(self):
        with self.assertRaisesRegex(ImproperlyConfigured, "MAYFLY_WORKER_CERT"):
            group(add.s(1, 1))().save()


class LifetimeTest(CeleryTest):
    EXPIRES_SECONDS = 10  # enough to take a result on a busy machine
    VISIBILITY_SECONDS = 1

    def test_a_killed_workers_task_has_one_result_which_expires(self):
        """With workers that keep results for ten seconds, have no client's certificate, and are
        killed."""
        settings = {"CELERY_TEST_QUEUE": "doomed",
                    "CELERY_TEST_VISIBILITY_SECONDS": str(self.VISIBILITY_SECONDS),
                    "CELERY_TEST_EXPIRES": str(self.EXPIRES_SECONDS),
                    "CELERY_TEST_BROKER": SERVICES.broker_url(database=1)}
        sender = celery.Celery(broker=settings["CELERY_TEST_BROKER"], set_as_current=False)
        sender.conf.task_default_queue = "doomed"
        mayfly.celery.setup(sender)
        began = SERVICES.directory / "began"

        worker = SERVICES.start_worker("doomed-1", ("worker",), **settings)
        result = sender.send_task("tasks.hang_once", (str(began),))
        wait_until(began.exists, "the task begins")
        worker.kill()
        self.assertEqual(self.state(result.id), "pending")
        # A worker looks for what others left when it starts, and then not before 100 s.
        visible_at = began.stat().st_mtime + self.VISIBILITY_SECONDS
        wait_until(lambda: time.time() > visible_at, "the task is visible again")
        SERVICES.start_worker("doomed-2", ("worker",), **settings)
        self.assertEqual(result.get(timeout=SECONDS), "second run")
        self.assertGone(result.id, "consumed")

        with self.subTest("result_expires"):
            result = sender.send_task("tasks.add", (1, 2))
            self.wait_until_ready(result)
            output = self.client.describe(result.id).output
            self.assertEqual((output.deadline_time - output.stored_time).total_seconds(),
                             self.EXPIRES_SECONDS)
            wait_until(lambda: self.state(result.id) == "expired", "the result expires")
            self.assertGone(result.id, "expired")

        with self.subTest("a chain needs no client's certificate in the worker"):
            chained = sender.signature("tasks.add", (1, 2)) | sender.signature("tasks.add", (3,))
            self.assertEqual(chained.delay().get(timeout=SECONDS), 6)

        with self.subTest("a chord says that it does"):
            header = [sender.signature("tasks.add", (i, i)) for i in range(2)]
            result = chord(header, app=sender)(sender.signature("tasks.total"))
            with self.assertRaisesRegex(ChordError, "MAYFLY_CERT"):
                result.get(timeout=SECONDS)

    def test_a_process_that_dies_fails_its_task_alone(self):
        """The worker stores that failure itself, and then makes a new process."""
        with self.assertRaises(WorkerLostError):
            tasks.die.delay().get(timeout=SECONDS)
        result = group(add.s(i, 1) for i in range(20))()
        self.assertEqual(result.get(timeout=SECONDS), list(range(1, 21)))

    def test_result_expires_has_the_stores_limits(self):
        for expires in (0, 86401, None):
            with self.subTest(expires=expires):
                other = tasks.new_app()
                other.conf.result_expires = expires
                with self.assertRaisesRegex(ImproperlyConfigured, "result_expires is .*86400"):
                    other.backend


class SetupTest(unittest.TestCase):
    def test_a_worker_without_a_workers_certificate_does_not_start(self):
        with self.assertRaisesRegex(AssertionError, "MAYFLY_WORKER_CERT and MAYFLY_WORKER_KEY"):
            SERVICES.start_worker("client-only", ("client",))

    def test_the_config_file_has_both_identities(self):
        config = SERVICES.directory / "config.toml"
        lines = {role: "".join(f'{name} = "{path}"\n' for name, path in SERVICES.identity(role).items())
                 for role in ("client", "worker")}
        config.write_text(f'server = "{SERVICES.mayfly.target}"\n'
                          f'ca = "{SERVICES.mayfly.path("certificates/ca.pem")}"\n'
                          f'{lines["client"]}[profiles.worker]\n{lines["worker"]}')
        others = {name: value for name, value in os.environ.items() if "MAYFLY_" not in name}
        with mock.patch.dict(os.environ, {**others, "MAYFLY_CONFIG": str(config)}, clear=True):
            connections = tasks.new_app().backend.connections
            connections.check_worker()
            call_id = mayfly.new_call_id()
            connections.put_inputs([call_id])
            connections.worker.put_output(call_id, b"x")
            self.assertEqual(connections.client.retrieve(call_id, timeout=SECONDS), b"x")
            config.write_text(f'ca = "ca"\n{lines["client"]}')
            with self.assertRaisesRegex(ImproperlyConfigured, "MAYFLY_WORKER_CERT.*no profile worker"):
                tasks.new_app().backend.connections.check_worker()

    def test_a_pool_that_grpc_does_not_know_is_refused(self):
        for pool in ("gevent", "celery.concurrency.eventlet:TaskPool"):
            with self.assertRaisesRegex(ImproperlyConfigured, "use --pool prefork, threads or solo"):
                starting.require_threads(pool)
        starting.require_threads(celery.concurrency.get_implementation("threads"))
        starting.require_threads("prefork")

    def test_a_setting_out_of_its_range_is_named(self):
        for options, sentence in (({"timeout": -1}, "timeout is -1"),
                                  ({"task_store_retry_max": "x"}, "task_store_retry_max is str")):
            with self.assertRaisesRegex(ImproperlyConfigured, sentence):
                tasks.new_app(**options).backend

    def test_without_setup_nothing_is_sent(self):
        other = celery.Celery(broker=SERVICES.broker_url(), set_as_current=False,
                              backend="mayfly.celery:Backend+mayfly://")
        with self.assertRaisesRegex(ImproperlyConfigured, "mayfly.celery.setup"):
            other.send_task("tasks.add", (1, 2))

    def test_an_unknown_option_is_named(self):
        other = tasks.new_app()
        other.conf.result_backend_transport_options = {"crt": "x"}
        with self.assertRaisesRegex(ImproperlyConfigured, "unknown option crt"):
            other.backend


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    unittest.main(verbosity=2)
