#!/usr/bin/python3
"""Where a client finds its server; and that of the command line tool agrees."""

import os
import pathlib
import re
import subprocess
import tempfile
import time
import unittest
import uuid

import mayfly
from mayfly import errors, server_address
from python_test_case import SOURCE_DIR, LiveTestCase

CLI = os.environ.get("MAYFLY_CLI", "")


class Settings(unittest.TestCase):
    def setUp(self) -> None:
        directory = tempfile.TemporaryDirectory(prefix="mayfly_settings_")
        self.addCleanup(directory.cleanup)
        self.home = pathlib.Path(directory.name)
        self.file = self.home / ".config/mayfly/config.toml"
        self.file.parent.mkdir(parents=True)
        self.environment = {"HOME": str(self.home)}

    def settings(self, **settings: object) -> mayfly.Settings:
        return mayfly.Settings.from_env(self.environment, **settings)

    def test_arguments_go_before_variables_and_these_before_the_file(self) -> None:
        self.file.write_text('server = "file:1"\nca = "ca.pem"\ncert = "/c.pem"\nkey = "k.key"\n')
        self.environment["MAYFLY_KEY"] = "variable.key"
        self.environment["MAYFLY_CA"] = ""
        found = self.settings(cert="argument.pem", linger=0.001)
        self.assertEqual(found.server, "file:1")
        self.assertEqual(found.ca, str(self.file.parent / "ca.pem"))
        self.assertEqual((found.cert, found.key), ("argument.pem", "variable.key"))
        self.assertEqual(found.linger, 0.001)

    def test_a_profile_goes_before_variables(self) -> None:
        self.file.write_text(
            'server = "file:1"\nca = "ca.pem"\ncert = "c.pem"\nkey = "c.key"\n'
            '[profiles.worker]\ncert = "w.pem"\nkey = "w.key"\n'
        )
        self.environment["MAYFLY_CERT"] = "variable.pem"
        found = self.settings(profile="worker", key="argument.key")
        self.assertEqual((found.server, found.key), ("file:1", "argument.key"))
        self.assertEqual(found.cert, str(self.file.parent / "w.pem"))
        self.assertEqual(self.settings().cert, "variable.pem")
        with self.assertRaisesRegex(errors.InvalidArgument, "no profile wroker; .*: worker$"):
            self.settings(profile="wroker")
        self.file.unlink()
        with self.assertRaisesRegex(errors.InvalidArgument, "profile worker .* MAYFLY_CONFIG"):
            self.settings(profile="worker")

    def test_a_file_that_is_named_has_to_be_there(self) -> None:
        self.environment["MAYFLY_CONFIG"] = str(self.home / "none.toml")
        with self.assertRaisesRegex(errors.InvalidArgument, "config file .*: cannot be read"):
            self.settings()

    def test_mistakes_are_named(self) -> None:
        for text, what in (
            ("", "no server: give server=, MAYFLY_SERVER or server in a config file"),
            ("serve = 1", "unknown key serve"),
            ("server = 1", "server must be a string"),
            ("server", "not TOML"),
            ("[profiles.worker]\nrole = 'x'", "unknown key role"),
            ("profiles = 1", "profiles must be a table"),
        ):
            self.file.write_text(text)
            with self.assertRaisesRegex(errors.InvalidArgument, what):
                self.settings()

    def test_a_server_has_a_port(self) -> None:
        files = {name: "file" for name in ("ca", "cert", "key")}
        for given, address in (
            ("localhost", "localhost:7443"), ("a.example:1", "a.example:1"), ("::1", "[::1]:7443"),
            ("[::1]", "[::1]:7443"), ("[::1]:65535", "[::1]:65535"), ("10.0.0.1:09", "10.0.0.1:9"),
            ("dns:///a.example:1", "dns:///a.example:1"), ("unix:/a", "unix:/a"),
            ("xds:///a", "xds:///a"),
        ):
            self.assertEqual(mayfly.Settings(given, **files).server, address)
        for given in ("a:0", "a:65536", "a:", "a:-1", "a:1x", "a:٣", "[::1]:0"):
            with self.assertRaisesRegex(errors.InvalidArgument, "range of the port is 1 to 65535"):
                mayfly.Settings(given, **files)
        for given in ("http://a:1", "a b", ":1", "[::1", "[]", "[::1]1", "a/b:1"):
            with self.assertRaisesRegex(errors.InvalidArgument, "server is .*, expected "):
                mayfly.Settings(given, **files)

    def test_gRPCs_schemes_are_those_of_the_command_line_tool(self) -> None:
        text = pathlib.Path(SOURCE_DIR, "src/client/server_address.cc").read_text()
        (schemes,) = re.findall(r"kSchemes\[\] = \{(.*?)\}", text, re.DOTALL)
        self.assertEqual(tuple(re.findall(r'"(.*?)"', schemes)), server_address._SCHEMES)

    def test_ids_are_of_version_7_and_of_now(self) -> None:
        ids = {mayfly.new_call_id() for _ in range(1000)}
        self.assertEqual(len(ids), 1000)
        for text in ids:
            parsed = uuid.UUID(text)
            self.assertEqual((str(parsed), parsed.version), (text, 7))
            self.assertEqual(parsed.variant, uuid.RFC_4122)
            self.assertLess(abs((parsed.int >> 80) / 1000 - time.time()), 60)


class CommandLine(LiveTestCase):
    def test_one_environment_serves_both(self) -> None:
        files = self.arguments("client")
        environment = {f"MAYFLY_{name.upper()}": path for name, path in files.items()}
        environment["MAYFLY_SERVER"] = self.server.target
        settings = mayfly.Settings.from_env(environment)
        with mayfly.Client(settings.server, ca=settings.ca, cert=settings.cert,
                           key=settings.key) as client:
            call = client.put_input(b"question")
        self.worker().put_output(call, b"answer")
        found = subprocess.run(
            [CLI, "retrieve", call], env=environment, stdout=subprocess.PIPE, check=True
        )
        self.assertEqual(found.stdout, b"answer")


if __name__ == "__main__":
    unittest.main()
