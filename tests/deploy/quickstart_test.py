#!/usr/bin/python3
"""deploy/quickstart on programs that are built already, without installing packages.

Usage: quickstart_test.py BUILD_DIR [unittest arguments]
"""

import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import unittest
from typing import Dict, Tuple

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))

from live_server import SOURCE_DIR  # noqa: E402
from waiting import WAIT_TIMEOUT_S, wait_until  # noqa: E402

BUILD_DIR = ""
TIMEOUT_S = 300
SERVING = b'"message":"serving"'
# Fewer than the default of connections_max needs.
OPEN_FILES = 4096


def read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def limit_open_files() -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (OPEN_FILES, OPEN_FILES))


class QuickstartTest(unittest.TestCase):
    def setUp(self) -> None:
        scratch = tempfile.TemporaryDirectory(prefix="mayfly_quickstart_")
        self.addCleanup(scratch.cleanup)
        self.tree = os.path.join(scratch.name, "tree")
        self.directory = os.path.join(scratch.name, "server")
        self.make_tree(os.path.join(scratch.name, "bin"))

    def make_tree(self, bin_directory: str) -> None:
        """A source tree in which installing, configuring and building do nothing."""
        deploy = os.path.join(self.tree, "deploy")
        os.makedirs(deploy)
        os.makedirs(bin_directory)
        for name in ("quickstart", "make-certificates"):
            shutil.copy(os.path.join(SOURCE_DIR, "deploy", name), deploy)
        os.symlink(os.path.join(SOURCE_DIR, "deploy/man"), os.path.join(deploy, "man"))
        release = os.path.join(self.tree, "build/release")
        os.makedirs(os.path.join(release, "deploy"))
        for name in ("src", "deploy/man"):
            os.symlink(os.path.join(BUILD_DIR, name), os.path.join(release, name))
        for path in (f"{deploy}/install-packages", f"{deploy}/configure", f"{bin_directory}/cmake"):
            with open(os.open(path, os.O_CREAT | os.O_WRONLY, 0o755), "w") as file:
                file.write("#!/bin/sh\n")
        self.environment = dict(os.environ, PATH=f"{bin_directory}:{os.environ['PATH']}")
        self.environment.pop("MANPATH", None)

    def run_command(self, *command: str) -> Tuple[int, str]:
        result = subprocess.run(
            command,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
            preexec_fn=limit_open_files,
        )
        return result.returncode, result.stdout

    def run_quickstart(self, *options: str) -> Tuple[int, str]:
        script = os.path.join(self.tree, "deploy/quickstart")
        return self.run_command(script, "--dir", self.directory, *options)

    def run_in_env(self, command: str) -> Tuple[int, str]:
        """`command` in a shell that has read the file env."""
        script = f". '{self.directory}/env'; cd '{self.directory}'; {command}"
        return self.run_command("bash", "-uc", script)

    def files(self) -> Dict[str, bytes]:
        """All but data, which the server may change."""
        content = {}
        for entry in os.scandir(self.directory):
            if entry.is_file():
                with open(entry.path, "rb") as file:
                    content[entry.name] = file.read()
        return content

    def make_one_call(self) -> None:
        code, text = self.run_quickstart("--once", "--port", "0")
        self.assertEqual(code, 0, text)

    def test_sets_up_programs_manuals_and_a_configuration_without_warnings(self) -> None:
        self.make_one_call()
        self.assertEqual(
            self.run_in_env("mayflyd --config mayfly.toml --check-config"),
            (0, "the configuration is valid\n"),
        )
        self.assertEqual(self.run_in_env("mayfly --version")[0], 0)
        manual = os.path.join(self.tree, "build/release/man")
        for page in ("man1/mayfly.1", "man5/mayfly.toml.5", "man8/mayflyd.8"):
            self.assertTrue(os.path.isfile(os.path.join(manual, page)), page)
        # The system's own pages stay.
        self.assertEqual(self.run_in_env("echo $MANPATH"), (0, f"{manual}:\n"))

    def test_says_why_the_server_could_not_start(self) -> None:
        os.makedirs(self.directory, mode=0o700)
        with open(os.open(self.directory + "/root.key", os.O_CREAT | os.O_WRONLY, 0o600), "w"):
            pass
        code, text = self.run_quickstart("--once", "--port", "0")
        self.assertEqual(code, 1, text)
        self.assertIn(f"quickstart: mayflyd cannot start with {self.directory}/mayfly.toml:", text)
        self.assertIn(f"mayflyd: keys.root_key_file {self.directory}/root.key holds", text)
        os.remove(self.directory + "/root.key")
        self.make_one_call()

    def test_says_that_the_server_was_stopped(self) -> None:
        shown = os.path.join(os.path.dirname(self.directory), "shown")
        script = os.path.join(self.tree, "deploy/quickstart")
        with open(shown, "wb") as file:
            quickstart = subprocess.Popen(
                [script, "--dir", self.directory, "--port", "0"],
                env=self.environment,
                stdout=file,
                stderr=file,
                preexec_fn=limit_open_files,
            )
        try:
            wait_until(lambda: b"until Ctrl-C" in read(shown), "the server is there")
            children = read(f"/proc/{quickstart.pid}/task/{quickstart.pid}/children").split()
            self.assertEqual(len(children), 1)
            os.kill(int(children[0]), signal.SIGTERM)
            code = quickstart.wait(WAIT_TIMEOUT_S)
        finally:
            quickstart.terminate()
        text = read(shown).decode()
        self.assertEqual(code, 0, text)
        self.assertTrue(
            text.endswith("mayflyd has stopped, because it was sent SIGTERM or SIGINT\n"), text
        )

    def test_keeps_the_log_of_earlier_runs(self) -> None:
        self.make_one_call()
        first = self.files()["mayflyd.log"]
        self.make_one_call()
        both = self.files()["mayflyd.log"]
        self.assertTrue(both.startswith(first))
        self.assertGreater(len(both), len(first))

    def test_changes_nothing_while_a_server_runs_there(self) -> None:
        self.make_one_call()
        served = self.files()["mayflyd.log"].count(SERVING)
        log = open(os.path.join(self.directory, "mayflyd.log"), "ab")
        self.addCleanup(log.close)
        # By hand, so that it does not hold quickstart's own lock.
        server = subprocess.Popen(
            [os.path.join(BUILD_DIR, "src/server/mayflyd"), "--config", "mayfly.toml"],
            cwd=self.directory,
            stdout=log,
            stderr=log,
        )
        try:
            # The port file comes earlier, before the server has locked its data.
            wait_until(
                lambda: self.files()["mayflyd.log"].count(SERVING) > served, "the server serves"
            )
            before = self.files()
            code, text = self.run_quickstart("--once", "--port", "0")
            after = self.files()
        finally:
            server.terminate()
            server.wait(WAIT_TIMEOUT_S)
        self.assertEqual(code, 1, text)
        self.assertIn(f"process {server.pid}, a server, already runs in {self.directory}", text)
        self.assertIn(f"to use it, run: . {self.directory}/env", text)
        self.assertTrue(after.pop("mayflyd.log").startswith(before.pop("mayflyd.log")))
        self.assertEqual(after, before)

    def test_names_help_for_an_unknown_argument(self) -> None:
        code, text = self.run_quickstart("--prot", "1")
        self.assertEqual(code, 2, text)
        self.assertIn("unknown argument --prot", text)
        self.assertIn("quickstart --help", text)


if __name__ == "__main__":
    BUILD_DIR = os.path.abspath(sys.argv.pop(1))
    unittest.main()
