#!/usr/bin/python3
"""Generates code from the published contract for several languages.

Usage: generate_test.py PROTOC [unittest arguments]
"""

import hashlib
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest
from typing import List

PROTO_DIR = pathlib.Path(__file__).resolve().parents[2] / "proto"
OURS = ["mayfly/v1/error_reason.proto", "mayfly/v1/function_io.proto"]
# SHA-256 of the file descriptor of google/rpc/status.proto as googleapis publishes it (npm's
# google-proto-files 5.0.3), without comments. Runtimes that register files by name, such as Python's
# and Go's, accept a second copy only if it is the same.
STATUS_DESCRIPTOR_SHA256 = "f69c97c2012e384b01fe80a0eda8cbbc75e2535f1b7e7b6250bb90e88efb8c78"

PROTOC = ""


class GenerateTest(unittest.TestCase):
    def setUp(self) -> None:
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.out = pathlib.Path(directory.name)

    def generate(self, options: List[str], files: List[str]) -> None:
        command = [PROTOC, f"--proto_path={PROTO_DIR}", *options, *files]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        self.assertEqual(result.returncode, 0, result.stderr)

    def names(self) -> List[str]:
        return sorted(str(path.relative_to(self.out)) for path in self.out.rglob("*.*"))

    def test_go_takes_status_from_genproto(self) -> None:
        self.generate([f"--go_out={self.out}", f"--go-grpc_out={self.out}"], OURS)
        self.assertEqual(
            self.names(),
            [f"mayfly/v1/{name}.go" for name in ("error_reason.pb", "function_io.pb", "function_io_grpc.pb")],
        )
        text = (self.out / "mayfly/v1/function_io.pb.go").read_text()
        self.assertIn("\npackage mayflyv1\n", text)
        self.assertIn('"google.golang.org/genproto/googleapis/rpc/status"', text)

    def test_go_takes_the_import_path_of_its_own_module(self) -> None:
        path = "example.com/shop/mayfly"
        mapped = [f"--go_opt=M{name}={path}" for name in OURS]
        self.generate([f"--go_out={self.out}", *mapped], OURS)
        self.assertIn(f"{path}/function_io.pb.go", self.names())

    def test_java_has_a_file_per_message(self) -> None:
        self.generate([f"--java_out={self.out}"], OURS)
        self.assertIn("mayfly/v1/InputItem.java", self.names())
        self.assertIn("mayfly/v1/ErrorReason.java", self.names())
        text = (self.out / "mayfly/v1/PutInputResult.java").read_text()
        self.assertIn("com.google.rpc.Status getStatus()", text)

    def test_python(self) -> None:
        self.generate([f"--python_out={self.out}", f"--pyi_out={self.out}"], OURS)
        self.assertIn("mayfly/v1/function_io_pb2.py", self.names())

    def test_the_readmes_commands_for_python_and_go(self) -> None:
        readme = (PROTO_DIR.parent / "README.md").read_text().replace("\\\n", "")
        for language in ("python", "go"):
            match = re.search(rf"^protoc .*--{language}_out=gen.*$", readme, re.MULTILINE)
            assert match is not None, language
            command = match.group().replace("FILES", " ".join(OURS))
            out = self.out / language
            (out / "gen").mkdir(parents=True)
            (out / "proto").symlink_to(PROTO_DIR)
            subprocess.run(command, shell=True, cwd=out, check=True)
        self.assertTrue((self.out / "go/gen/mayflyv1/function_io_grpc.pb.go").exists())
        script = "import mayfly.v1.function_io_pb2_grpc as stubs; stubs.FunctionIoStub"
        subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "PYTHONPATH": str(self.out / "python/gen")},
            check=True,
        )

    def test_status_is_the_published_one(self) -> None:
        descriptor = self.out / "status.bin"
        self.generate([f"--descriptor_set_out={descriptor}"], ["google/rpc/status.proto"])
        self.assertEqual(
            hashlib.sha256(descriptor.read_bytes()).hexdigest(), STATUS_DESCRIPTOR_SHA256
        )


if __name__ == "__main__":
    PROTOC = sys.argv.pop(1)
    unittest.main()
