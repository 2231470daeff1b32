#!/usr/bin/python3
"""What the operator of a server is told: before a start, when it is refused, and while it runs.

    operator_test.py MAYFLYD PROTOC [UNITTEST_ARGUMENT...]
"""

import json
import os
import re
import shutil
import subprocess
import sys
import unittest
from typing import Callable, List, Tuple

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))

import called_server_case
from call_id import new_call_id
from live_server import SOURCE_DIR
from waiting import WAIT_TIMEOUT_S, wait_until

STORAGE_FAILED = 70
# Enough for a new store with the shipped settings, but for one that is filled soon.
DISK_MB = 200
SMALL_DISK_MB = 40


def openssl(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, stderr=subprocess.DEVNULL)


class Operator(called_server_case.CalledServerCase):
    def setUp(self) -> None:
        self.server = self.new_server()
        self.server.storage_settings = ""
        self.server._write_config()

    def check(self, path: str = "", prefix: Tuple[str, ...] = ()) -> Tuple[int, str]:
        """The exit code of --check-config and what it prints."""
        config = path or self.server.path("mayfly.toml")
        checked = subprocess.run(
            [*prefix, self.mayflyd, "--config", config, "--check-config"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        return checked.returncode, checked.stdout

    def log_lines(self) -> List[dict]:
        with open(self.server.path("log")) as file:
            return [json.loads(line) for line in file]

    def logged(self, words: str) -> bool:
        return any(words in json.dumps(line) for line in self.log_lines())

    def certificate(self, name: str) -> str:
        return self.server.path(f"certificates/{name}")

    def make_server_certificate(self, days: int, name: str = "server") -> None:
        """By the server's CA, from now on."""
        stem = self.certificate(name)
        curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
        files = ["-keyout", f"{stem}.new", "-out", f"{stem}.csr"]
        openssl("req", "-new", *curve, "-subj", "/CN=s", *files)
        with open(f"{stem}.cnf", "w") as file:
            file.write("subjectAltName = DNS:localhost\nextendedKeyUsage = serverAuth\n")
        authority = ["-CA", self.certificate("ca.pem"), "-CAkey", self.certificate("ca.key")]
        files = ["-in", f"{stem}.csr", "-extfile", f"{stem}.cnf", "-out", f"{stem}.pem"]
        openssl("x509", "-req", *files, *authority, "-days", str(days), "-set_serial", "18")
        os.rename(f"{stem}.new", f"{stem}.key")

    # Before a start.

    def test_a_check_finds_what_a_start_refuses(self) -> None:
        code, text = self.check()
        self.assertEqual((code, text.splitlines()[-1]), (0, "the configuration is valid"))
        key, ca = self.server.path("root.key"), self.certificate("ca.pem")
        data = self.server.path("data")
        own = os.geteuid()
        faults: List[Tuple[str, Callable[[], None], str]] = [
            (key, lambda: os.chmod(key, 0o644),
             f"keys.root_key_file {key} has mode 0644, limit is 0600: run chmod 0600 {key}"),
            (key, lambda: os.remove(key),
             f"keys.root_key_file {key} cannot be opened by user {own}: No such file or directory"),
            (ca, lambda: os.remove(ca),
             f"tls.ca_file {ca} cannot be read by user {own}: No such file or directory: "),
            (self.certificate("server.key"),
             lambda: shutil.copy(self.certificate("client.key"), self.certificate("server.key")),
             f"tls.key_file {self.certificate('server.key')} is not the key of the certificate in "
             f"tls.certificate_file {self.certificate('server.pem')}"),
            (data, lambda: os.mkdir(data, 0o755),
             f"storage.data_dir {data} has mode 0755, limit is 0700, because others than the owner "
             f"may enter it: run chmod 700 {data}"),
            (data, lambda: open(data, "w").close(), f"storage.data_dir {data} is not a directory"),
        ]
        for path, damage, sentence in faults:
            kept = path + ".kept"
            if os.path.exists(path):
                shutil.copy2(path, kept)
            damage()
            code, text = self.check()
            self.assertEqual(code, 1, text)
            self.assertIn(f"mayflyd: {sentence}", text)
            self.assertNotIn("is valid", text)
            self.assertIn(sentence, self.server.start_refused())
            if os.path.isdir(path):
                shutil.rmtree(path)
            elif os.path.exists(path):
                os.remove(path)
            if os.path.exists(kept):
                os.rename(kept, path)
            shutil.rmtree(data, ignore_errors=True)
        # All of them together.
        os.chmod(key, 0o644)
        os.remove(ca)
        os.mkdir(data, 0o755)
        code, text = self.check()
        for setting in ("keys.root_key_file", "tls.ca_file", "storage.data_dir"):
            self.assertIn(f"mayflyd: {setting} ", text)
        self.assertEqual(os.listdir(data), [])

    def test_a_check_finds_keys_that_do_not_open_the_data(self) -> None:
        self.server.start()
        self.assertEqual(self.put(b"kept"), 0)
        self.server.stop()
        self.assertEqual(self.check()[0], 0)
        key = self.server.path("root.key")
        keyring, slots = self.server.path("data/keys/keyring"), self.server.path("data/keys/slots")

        def write(path: str, content: bytes) -> None:
            with open(path, "wb") as file:
                file.write(content)

        faults: List[Tuple[str, Callable[[], None], str]] = [
            (key, lambda: write(key, b"ab" * 32),
             "the root key is not the one that keys/keyring was made or last rotated with: let "
             "keys.root_key_file or keys.root_key_credential name that one"),
            (keyring, lambda: os.remove(keyring), "the keyring is missing while the database holds"),
            (keyring, lambda: write(keyring, b"?"), "the keyring keys/keyring is damaged: restore"),
            (slots, lambda: os.remove(slots), "the slot file is missing while the database holds"),
        ]
        for path, damage, sentence in faults:
            shutil.copy2(path, path + ".kept")
            damage()
            os.chmod(self.server.path("root.key"), 0o600)
            code, text = self.check()
            self.assertEqual(code, 1, text)
            self.assertIn(f"mayflyd: {sentence}", text)
            self.assertIn(sentence, self.server.start_refused())
            os.rename(path + ".kept", path)
        self.server.start()
        code, text = self.check()
        self.assertEqual(code, 0, text)
        self.assertIn("is in use by process", text)

    def test_too_few_threads_are_said_and_not_waited_for(self) -> None:
        ended = subprocess.run(
            ["prlimit", "--as=300000000", self.mayflyd, "--config", self.server.path("mayfly.toml")],
            capture_output=True, text=True, timeout=WAIT_TIMEOUT_S)
        self.assertEqual(ended.returncode, 1, ended.stderr)
        self.assertIn("more threads, and needs ", ended.stderr)
        self.assertIn("TasksMax=", ended.stderr)

    def test_a_check_changes_nothing_and_disturbs_nobody(self) -> None:
        before = sorted(os.listdir(self.server.directory))
        self.assertEqual(self.check()[0], 0)
        self.assertEqual(sorted(os.listdir(self.server.directory)), before)
        self.server.start()
        self.server._write_config()  # with the port, which is in use now
        code, text = self.check()
        self.assertEqual(code, 0, text)
        self.assertIn(f"warning: server.listen 127.0.0.1:{self.server.port} is in use", text)
        self.assertIn(f"process, {self.server.pid}, which has locked", self.refused_beside_it())
        self.assertTrue(self.server.is_running)

    def refused_beside_it(self) -> str:
        """What a second server on the same data says."""
        with open(self.server.path("mayfly.toml")) as file:
            text = file.read()
        path = self.server.path("second.toml")
        with open(path, "w") as file:
            file.write(re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1:0", text).replace('"log"', '"log2"'))
        second = subprocess.run([self.mayflyd, "--config", path], stderr=subprocess.PIPE, text=True)
        self.assertEqual(second.returncode, 1)
        return second.stderr

    def test_a_mistake_names_file_line_and_setting(self) -> None:
        path = self.server.path("mistake.toml")
        with open(path, "w") as file:
            file.write('[sever]\nlisten = "127.0.0.1:0"\n')
        code, text = self.check(path)
        self.assertEqual(code, 2)
        self.assertIn(f"{path}: line 1: sever is not a section, did you mean server?", text)

    def test_what_is_shipped_starts_without_a_warning(self) -> None:
        for name in ("ca.pem", "server.pem", "server.key"):
            shutil.copy(self.certificate(name), self.server.path(name))
        with open(os.path.join(SOURCE_DIR, "deploy/mayfly.toml")) as file:
            text = file.read()
        # Only the address, which may be in use here, and where to log.
        text = text.replace('"127.0.0.1:7443"', '"127.0.0.1:0"', 1)
        head, log = text.split("[log]")
        text = head + "[log]" + log.replace('file = ""', 'file = "log"')
        path = self.server.path("shipped.toml")
        with open(path, "w") as file:
            file.write(text)
        limits = self.unit_limits()
        command = ["prlimit", *limits, "true"]
        if subprocess.run(command, stderr=subprocess.DEVNULL).returncode != 0:
            # Not allowed here: what would be asked for is within what the unit sets.
            _, printed = self.check(path, ("prlimit", "--nofile=2048:2048"))
            needed = re.search(r"raise the hard limit on open files to (\d+)", printed)
            assert needed is not None
            self.assertLessEqual(int(needed.group(1)), int(limits[0].split("=")[1]))
            limits = []
            with open(path, "w") as file:
                file.write(text.replace("connections_max = 8192", "connections_max = 100"))
        prefix = ("prlimit", *limits) if limits else ()
        self.assertEqual(self.check(path, prefix), (0, "the configuration is valid\n"))
        process = subprocess.Popen([*prefix, self.mayflyd, "--config", path])
        try:
            wait_until(lambda: os.path.exists(self.server.path("log")), "a log")
            wait_until(lambda: self.logged('"message": "serving"'), "the server serves")
        finally:
            process.terminate()
            self.assertEqual(process.wait(WAIT_TIMEOUT_S), 0)
        quiet = ("trace", "debug", "info")
        self.assertEqual([line for line in self.log_lines() if line["level"] not in quiet], [])

    @staticmethod
    def unit_limits() -> List[str]:
        """Of open files and of locked memory, for prlimit."""
        with open(os.path.join(SOURCE_DIR, "deploy/mayfly.service")) as file:
            unit = dict(re.findall(r"^(Limit\w+)=(\w+)$", file.read(), re.MULTILINE))
        locked_bytes = int(unit["LimitMEMLOCK"].rstrip("M")) << 20
        return [f"--nofile={unit['LimitNOFILE']}", f"--memlock={locked_bytes}"]

    def test_too_few_open_files_say_how_many_are_needed(self) -> None:
        code, text = self.check(prefix=("prlimit", "--nofile=2048:2048"))
        self.assertEqual(code, 0, text)
        self.assertRegex(
            text,
            r"warning: server.connections_max is 8192, but a limit of 2048 open files allows \d+: "
            r"raise the hard limit on open files to 2\d{4} \(LimitNOFILE= in the systemd unit, ",
        )

    # Certificates.

    def test_certificates_that_expire_and_are_replaced(self) -> None:
        self.make_server_certificate(days=-1)
        path = self.certificate("server.pem")
        warning = f"warning: the server's certificate in tls.certificate_file {path} expired at "
        code, text = self.check()
        self.assertEqual(code, 0, text)
        self.assertRegex(text, f"{warning}.*: no client accepts it: replace it")
        # A start with one is logged, and so is the reload that ends it.
        process = subprocess.Popen([self.mayflyd, "--config", self.server.path("mayfly.toml")])
        try:
            wait_until(lambda: os.path.exists(self.server.path("log")), "a log")
            wait_until(lambda: self.logged("no client accepts it"), "a warning")
            self.make_server_certificate(days=30)
            wait_until(lambda: self.logged("certificates were reloaded"), "a reload")
            os.remove(self.certificate("ca.pem"))
            wait_until(lambda: self.logged("a file of [tls] is unusable"), "a warning")
            self.assertTrue(self.logged(f"tls.ca_file {self.certificate('ca.pem')} cannot be read"))
        finally:
            process.terminate()
            self.assertEqual(process.wait(WAIT_TIMEOUT_S), 0)
        [line] = [line for line in self.log_lines() if "reloaded" in line["message"]]
        self.assertIn(f"tls.certificate_file {path}", line["files"])

    # Disks.

    def mount_disk(self, megabytes: int) -> None:
        data = self.server.path("data")
        os.makedirs(data, mode=0o700, exist_ok=True)
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=0700", "tmpfs", data],
            stderr=subprocess.DEVNULL,
        )
        if os.geteuid() != 0 or mounted.returncode != 0:
            self.skipTest("no file system can be mounted here")
        self.addCleanup(subprocess.run, ["umount", "--lazy", data], check=True)

    def test_a_disk_that_is_too_small(self) -> None:
        self.mount_disk(SMALL_DISK_MB)
        self.server._storage = 'disk_reserve_bytes = "64MiB"'
        self.server._write_config()
        sentence = re.escape(f"the disk of storage.data_dir {self.server.path('data')} has ") + (
            r"\d+\.\d MiB of 40\.0 MiB free, a new store needs \d+\.\d MiB before it takes the "
            r"first put, with storage\.disk_reserve_bytes, 64\.0 MiB: free that much, choose a disk "
            r"of at least (\d+)\.\d MiB, or lower storage\.disk_reserve_bytes"
        )
        code, text = self.check()
        self.assertEqual(code, 1)
        self.assertRegex(text, sentence)
        self.assertRegex(self.server.start_refused(), sentence)
        needed = re.search(sentence, text)
        assert needed is not None
        # With as much as was asked for, and a little for what was rounded, puts are taken.
        self.mount_disk(int(needed.group(1)) + 2)
        self.assertEqual(self.check()[0], 0)
        self.server.start()
        self.assertEqual(self.put(b"small"), 0)

    def test_a_disk_that_another_program_fills(self) -> None:
        self.mount_disk(DISK_MB)
        self.server.start()
        calls = []
        for _ in range(40):
            call = str(new_call_id())
            calls.append(call)
            self.assertEqual(self.put(os.urandom(1000), call), 0)
        with open(self.server.path("data/foreign"), "wb", buffering=0) as file:
            self.fill(file)
            wait_until(lambda: self.logged("the ballast is given up"), "the ballast is given up")
            # That too, and what acks write.
            wait_until(lambda: self.fill(file) and not self.server.is_running or self.end(calls),
                       "the end of the process")
        self.assertEqual(self.server._process.wait(WAIT_TIMEOUT_S), STORAGE_FAILED)
        # Other threads may write a line of their own before the process ends.
        last = [line for line in self.log_lines() if "next_step" in line][-1]
        sentence = f"the disk of storage.data_dir {self.server.path('data')} is full, "
        self.assertIn(sentence, last["next_step"])
        self.assertIn(": free at least ", last["next_step"])
        self.assertIn("No space left on device", last["error"])
        refused = self.server.start_refused()
        self.assertIn(sentence, refused)
        os.remove(self.server.path("data/foreign"))
        self.server.start()
        self.assertEqual(self.put(b"again"), 0)

    def put(self, data: bytes, call: str = "") -> int:
        item = {"call_id": call or str(new_call_id()), "payload": {"data": data}}
        response = self.server.call("client", "PutInputs", items=[item])
        return int(response.results[0].status.code)

    @staticmethod
    def fill(file: object) -> bool:
        for size in (1 << 20, 4096):
            try:
                while file.write(bytes(size)) == size:  # type: ignore[attr-defined]
                    pass
            except OSError:
                pass
        return True

    def end(self, calls: List[str]) -> bool:
        """One more; true when the server has ended."""
        if calls and self.server.is_running:
            try:
                self.server.call("client", "DeleteCalls", call_ids=[calls.pop()])
            except Exception:  # the answer of a process that ends
                pass
        return not self.server.is_running


if __name__ == "__main__":
    called_server_case.main()
