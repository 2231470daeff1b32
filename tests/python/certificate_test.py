#!/usr/bin/python3
"""Certificates that are replaced while a client works, and those that are not good."""

import dataclasses
import os
import pathlib
import socket
import ssl
import threading
import time
import unittest
from typing import Any, Callable
from unittest import mock

import mayfly
from both_halves import both_halves
from fake_server import FakeServer
from mayfly import call_id, probe
from mayfly.certificates import Certificate
from mayfly.channels import Channels
from mayfly.identity import Identity
from python_test_case import LiveTestCase, new_data, until

from certificates import Issuer, replace  # isort: skip

# A certificate is replaced in the middle of its life. Both halves have to be enough for anything that
# a busy machine holds up. The label `slow` has a test with a minute.
LIFE_SECONDS = float(os.environ.get("CERTIFICATE_LIFE_SECONDS", "16"))
REPLACEMENTS = 2
LARGE_BYTES = 5 << 20
# A certificate that is refused is known at once; else a call repeats for Settings.timeout, 30 s.
QUICK_SECONDS = 15.0


class CertificateTestCase(LiveTestCase):
    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.issuer = Issuer(cls.server.path("certificates"))

    def files(self, role: str, cert: bytes, key: bytes, ca: bytes = b"") -> dict[str, str]:
        directory = self.server.path(self._testMethodName + type(self).__name__ + role)
        pathlib.Path(directory).mkdir(exist_ok=True)
        files = {name: f"{directory}/{name}.pem" for name in ("ca", "cert", "key")}
        contents = {"ca": ca or self.issuer.pem(), "cert": cert, "key": key}
        for name, path in files.items():
            replace(path, contents[name])
        return files


@both_halves
class Replacement(CertificateTestCase):
    def test_no_call_fails_when_certificates_are_replaced_under_load(self) -> None:
        files = {role: self.files(role, *self.issuer.issue(role, ends_s=LIFE_SECONDS))
                 for role in ("client", "worker")}
        # Only the last ones are still good then.
        last_expiry = time.time() + LIFE_SECONDS * (1 + (REPLACEMENTS - 1) / 2)
        c = self.open(mayfly.Client, "client", **files["client"])
        w = self.open(mayfly.Worker, "worker", **files["worker"])
        failures: list[BaseException] = []
        waited_for = c.put_input(b"")
        ended = threading.Event()

        def load(size: int) -> None:
            try:
                while not ended.is_set():
                    call = c.put_input(new_data(size))
                    w.put_output(call, w.get_input(call))
                    c.retrieve(call, timeout=60)
            except BaseException as error:
                failures.append(error)

        results: list[Any] = []

        def wait() -> None:
            try:
                results.append(c.retrieve(waited_for))
            except BaseException as error:
                failures.append(error)

        waiting = threading.Thread(target=wait)
        threads = [threading.Thread(target=load, args=(size,)) for size in (10, 10, LARGE_BYTES)]
        for thread in (waiting, *threads):
            thread.start()
        began = time.time()
        for count in range(1, REPLACEMENTS + 1):
            middle = began + count * LIFE_SECONDS / 2
            until(lambda: time.time() >= middle or failures, "half of a certificate's life")
            for role, paths in files.items():
                cert, key = self.issuer.issue(role, ends_s=LIFE_SECONDS)
                replace(paths["key"], key)
                time.sleep(1.5)  # meanwhile it is not the certificate's
                replace(paths["cert"], cert)
        until(lambda: time.time() > last_expiry + 2 or failures, "the replaced ones have expired")
        w.put_output(waited_for, b"after it")
        until(lambda: results or failures, "the wait that began with the first certificate ends")
        ended.set()
        for thread in threads:
            thread.join()
        self.assertEqual(failures, [])
        self.assertEqual(results, [b"after it"])


@both_halves
class Refusal(CertificateTestCase):
    def assert_refused(self, files: dict[str, str], sentence: str, **settings: Any) -> None:
        began = time.monotonic()
        with self.assertRaisesRegex(mayfly.CertificateInvalid, sentence) as caught:
            self.open(mayfly.Client, "client", **files, **settings).put_input(b"x")
        self.assertLess(time.monotonic() - began, QUICK_SECONDS)
        self.assertIsInstance(caught.exception, mayfly.PermissionDenied)

    def test_what_is_known_before_connecting(self) -> None:
        good_cert, good_key = self.issuer.issue("client")
        issue = self.issuer.issue
        nowhere = "localhost:1"
        cases = (
            (issue("client", -7200, -3600), "cert: .*/cert.pem: the certificate of short client has "
             r"expired at 20\d\d-.* UTC, it is 20.*: replace the files"),
            (issue("client", 7200, 9000), "short client is not valid before 20.*: wait until then"),
            ((self.issuer.pem(), good_key), "cert.pem is the certificate of a CA"),
            ((good_cert, issue("client")[1]), "key.pem is not the key of the certificate in .*cert.pem"),
            ((b"x", good_key), "cert: .*cert.pem: no certificate in PEM"),
            ((good_cert, b"x"), "key: .*key.pem is not the key .* or is no key"),
            ((good_cert, good_key, b"x"), "ca: .*ca.pem: no certificate in PEM"),
        )
        for contents, sentence in cases:
            with self.subTest(sentence):
                self.assert_refused(self.files("client", *contents), sentence, server=nowhere)

    def test_a_client_works_once_the_files_are_good(self) -> None:
        files = self.files("client", *self.issuer.issue("client", -7200, -3600))
        client = self.open(mayfly.Client, "client", **files)
        with self.assertRaises(mayfly.CertificateInvalid):
            client.put_input(b"x")
        self.files("client", *self.issuer.issue("client"))

        def works() -> bool:
            try:
                return bool(client.put_input(b"x"))
            except mayfly.CertificateInvalid:
                return False

        until(works, "the new files are read")

    def test_a_ca_that_the_server_does_not_trust(self) -> None:
        cert, key = Issuer().issue("client")
        files = self.files("client", cert, key)
        began = time.monotonic()
        with self.assertRaisesRegex(mayfly.Error, "certificate of short client .*tls.ca_file"):
            self.open(mayfly.Client, "client", **files, timeout=5.0).put_input(b"x")
        self.assertLess(time.monotonic() - began, QUICK_SECONDS)

    def test_a_server_of_a_ca_that_the_client_does_not_trust(self) -> None:
        cert, key = self.issuer.issue("client")
        files = self.files("client", cert, key, Issuer().pem())
        self.assert_refused(files, r"the certificate of the server localhost is not accepted: .*; ca \(")

    def test_a_server_of_another_name(self) -> None:
        files = self.files("client", *self.issuer.issue("client"))
        self.assert_refused(
            files, "the server other.example is not accepted: Hostname mismatch.*set server_name",
            server_name="other.example")

    def test_a_server_whose_certificate_has_expired(self) -> None:
        directory = pathlib.Path(self.server.path(f"expired{type(self).__name__}"))
        directory.mkdir()
        cert, key = self.issuer.issue("server", -7200, -3600)
        for name, content in (("server.pem", cert), ("server.key", key), ("ca.pem", self.issuer.pem())):
            (directory / name).write_bytes(content)
        server = FakeServer(str(directory))
        self.addCleanup(server.close)
        self.assert_refused(
            self.arguments("client"), "the server localhost is not accepted: certificate has expired",
            server=server.target)


class Found(CertificateTestCase):
    def setUp(self) -> None:
        self.settings = mayfly.Settings(self.server.target, **self.arguments("client"))
        self.channels = Channels(self.settings, prefers_native=True)
        self.error = mayfly.errors.Unavailable("no connection")

    def test_the_last_of_many_attempts_says_what_a_probe_has_found(self) -> None:
        credentials = self.channels.to_probe(self.error)

        def said(refusal: "str | None") -> "tuple[str, str]":
            first = self.channels.explained(self.error, refusal, credentials).message
            return first, self.channels.explained_again(self.error).message

        self.assertEqual(said(None), ("no connection", "no connection"))
        self.assertEqual(said("; why"), ("no connection; why", "no connection; why"))
        self.assertEqual(said(None), ("no connection; why", "no connection; why"))
        self.assertEqual(said(""), ("no connection", "no connection"))

    def test_it_is_forgotten_when_the_server_is_reached_or_the_files_are_replaced(self) -> None:
        credentials = self.channels.to_probe(self.error)
        others = Identity(self.settings).current()

        def replace_files() -> None:
            self.channels.identity.current = lambda: others
            self.channels.channel(False, mock.Mock())

        for forget in (self.channels.reached, replace_files):
            found = self.channels.explained(self.error, "; why", credentials)
            self.assertEqual(found.message, "no connection; why")
            forget()
            self.assertEqual(self.channels.explained_again(self.error).message, "no connection")
        # A probe of that time finds nothing of use.
        found = self.channels.explained(self.error, "; why", credentials)
        self.assertEqual(found.message, "no connection")

    def probe(self, serve: Callable[[ssl.SSLSocket], Any]) -> Any:
        """Of a server that does this after the handshake."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*(self.server.path(f"certificates/server.{end}") for end in ("pem", "key")))
        listener = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listener.close)

        def accept() -> None:
            with context.wrap_socket(listener.accept()[0], server_side=True) as connection:
                serve(connection)

        thread = threading.Thread(target=accept)
        thread.start()
        settings = dataclasses.replace(self.settings, server=f"localhost:{listener.getsockname()[1]}")
        found = probe.refusal_of(settings, Identity(settings).current())
        thread.join()
        return found

    def test_a_server_that_says_nothing_has_not_refused(self) -> None:
        self.assertIsNone(self.probe(lambda connection: connection.recv(1)))
        self.assertEqual(self.probe(lambda connection: connection.send(b"x")), "")
        self.assertIn("ended the connection", self.probe(lambda connection: None))


@both_halves
class Reached(CertificateTestCase):
    def test_an_answer_ends_what_a_probe_has_found(self) -> None:
        client, worker = self.client(), self.worker()
        call = client.put_input(bytes(LARGE_BYTES))
        other = client.put_input(b"")
        completion = client.as_completed([other])
        until(lambda: completion._arrivals._feed.token, "its stream is open")

        def complete() -> None:
            worker.put_output(other, b"x")
            next(completion)

        pieces = worker.stream_input(call)
        next(pieces)
        for endpoint, answered in (
            (client, lambda: client.describe(call)),
            (client, lambda: client.put_input(bytes(LARGE_BYTES))),
            (client, complete),
            (worker, lambda: next(pieces)),
        ):
            channels = endpoint._connection._channels
            channels._found = "; why"
            answered()
            self.assertEqual(channels._found, "")


class Parsing(CertificateTestCase):
    def test_of_what_other_programs_issue(self) -> None:
        for role in ("client", "server"):
            pem = pathlib.Path(self.server.path(f"certificates/{role}.pem")).read_bytes()
            found = Certificate.of_pem(pem)
            self.assertFalse(found.is_ca)
            self.assertLess(abs(found.not_before.timestamp() - time.time()), 3600)
            self.assertAlmostEqual(
                (found.not_after - found.not_before).total_seconds(), 365 * 86400, delta=86400)
        ca = pathlib.Path(self.server.path("certificates/ca.pem")).read_bytes()
        self.assertTrue(Certificate.of_pem(ca).is_ca)
        for cut in range(60, len(pem) - 60, 37):
            text = pem[:cut] + b"\n-----END CERTIFICATE-----\n"
            try:
                Certificate.of_pem(text)
            except ValueError:
                pass


if __name__ == "__main__":
    unittest.main()
