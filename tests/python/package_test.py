#!/usr/bin/python3
"""The package as it is handed out: built offline, installed, typed, and as README shows it."""

import os
import pathlib
import re
import shutil
import subprocess
import tarfile
import tempfile
import unittest
import zipfile

from python_test_case import SOURCE_DIR, LiveTestCase

PYTHON = "/usr/bin/python3"
NATIVE = os.environ.get("MAYFLY_NATIVE_MODULE", "")


def run(*command: str, **options: object) -> str:
    ended = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options
    )
    assert ended.returncode == 0, f"{command} ended with {ended.returncode}:\n{ended.stdout}"
    return ended.stdout


class Package(LiveTestCase):
    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.scratch = pathlib.Path(tempfile.mkdtemp(prefix="mayfly_package_"))
        cls.addClassCleanup(shutil.rmtree, cls.scratch)
        # Builds leave things beside what they build.
        for part in ("src/python", "proto"):
            shutil.copytree(pathlib.Path(SOURCE_DIR, part), cls.scratch / "repository" / part)
        cls.environment = {
            name: value for name, value in os.environ.items() if name != "PYTHONPATH"
        }
        project = cls.scratch / "repository/src/python"
        cls.dist = cls.scratch / "dist"
        cls.dist.mkdir()
        build = "import setuptools.build_meta as b; print(b.build_sdist(%r))" % str(cls.dist)
        run(PYTHON, "-c", build, cwd=project, env=cls.environment)
        (cls.sdist,) = cls.dist.glob("mayfly-*.tar.gz")
        # From the source distribution alone: what it lacks is missed here.
        pip = [PYTHON, "-m", "pip", "wheel", "--no-build-isolation", "--no-index", "--no-deps"]
        run(*pip, "--wheel-dir", str(cls.dist), str(cls.sdist), cwd=cls.scratch,
            env=cls.environment)
        (cls.wheel,) = cls.dist.glob("mayfly-*.whl")
        cls.python = str(cls.scratch / "venv/bin/python")
        run(PYTHON, "-m", "venv", "--system-site-packages", str(cls.scratch / "venv"))
        run(cls.python, "-m", "pip", "install", "--no-index", "--no-deps", str(cls.wheel),
            env=cls.environment)

    def run_python(self, *arguments: str, **environment: str) -> str:
        return run(self.python, *arguments, cwd=self.scratch,
                   env={**self.environment, **environment})

    def test_the_version_is_that_of_the_project(self) -> None:
        text = pathlib.Path(SOURCE_DIR, "CMakeLists.txt").read_text()
        version = re.search(r"project\(mayfly VERSION ([0-9.]+)", text).group(1)
        self.assertEqual(self.wheel.name, f"mayfly-{version}-py3-none-any.whl")

    def test_the_wheel_has_what_is_generated_and_nothing_of_others(self) -> None:
        names = zipfile.ZipFile(self.wheel).namelist()
        for name in ("py.typed", "client.py", "upload.py", "v1/function_io_pb2.py", "v1/function_io_pb2.pyi",
                     "v1/function_io_pb2_grpc.py", "rpc/status_pb2.py", "aio/client.py"):
            self.assertIn(f"mayfly/{name}", names)
        self.assertEqual({name.split("/")[0].split("-")[0] for name in names}, {"mayfly"})

    @unittest.skipUnless(NATIVE, "mayfly._native was not built")
    def test_with_the_native_module_it_is_of_this_platform(self) -> None:
        target = self.scratch / "native"
        run(PYTHON, "-m", "pip", "wheel", "--no-build-isolation", "--no-index", "--no-deps",
            "--wheel-dir", str(target), str(self.sdist), cwd=self.scratch,
            env={**self.environment, "MAYFLY_NATIVE": NATIVE})
        (wheel,) = target.glob("mayfly-*.whl")
        self.assertRegex(wheel.name, r"-cp3\d+-cp3\d+-linux_\w+\.whl$")
        zipfile.ZipFile(wheel).extractall(target)
        found = run(PYTHON, "-c", "import mayfly._native as m; print(m.__file__)", cwd=self.scratch,
                    env={**self.environment, "PYTHONPATH": str(target)})
        self.assertEqual(found, f"{target}/mayfly/_native.so\n")

    def test_the_source_distribution_has_the_blocking_half_and_its_generator(self) -> None:
        with tarfile.open(self.sdist) as archive:
            names = {name.split("/", 1)[-1] for name in archive.getnames()}
        self.assertLessEqual({"blocking_half.py", "mayfly/client.py", "mayfly/aio/client.py"}, names)

    def test_the_installed_package_is_found(self) -> None:
        found = self.run_python("-c", "import mayfly; print(mayfly.__file__)")
        self.assertTrue(found.startswith(str(self.scratch)), found)

    def test_importing_it_leaves_grpc_alone(self) -> None:
        found = self.run_python("-c", "import sys, mayfly; print('grpc' in sys.modules)")
        self.assertEqual(found, "False\n")

    def test_it_lives_beside_another_google_rpc(self) -> None:
        """googleapis-common-protos has the same files with more in them."""
        other = self.scratch / "other"
        (other / "google/rpc").mkdir(parents=True)
        (other / "google/rpc/status.proto").write_text(
            'syntax = "proto3";\npackage google.rpc;\n'
            'message Status { int32 code = 1; string message = 2; string more = 9; }\n'
        )
        protoc = os.environ.get("PROTOC", "protoc")
        run(protoc, f"--proto_path={other}", f"--python_out={other}", "google/rpc/status.proto")
        program = (
            "import google; google.__path__.append('other/google')\n"
            "import mayfly, google.rpc.status_pb2\n"
            "print(google.rpc.status_pb2.Status(more='x').more)\n"
        )
        self.assertEqual(self.run_python("-c", program), "x\n")

    def test_types(self) -> None:
        """Of the package, and of a program that uses it."""
        config = str(self.scratch / "repository/src/python/pyproject.toml")
        packages = pathlib.Path(self.run_python(
            "-c", "import mayfly; print(mayfly.__file__)").strip()).parents[1]
        program = self.scratch / "program.py"
        program.write_text(
            "import mayfly\n"
            "def f(client: mayfly.Client) -> bytes:\n"
            "    return client.retrieve(client.put_input(b'x', ttl=3600), timeout=60)\n"
            "async def g(client: mayfly.AsyncClient) -> None:\n"
            "    async for call, out in client.as_completed(['x']):\n"
            "        reveal_type(call)\n"
            "mayfly.new_call_id() + 1\n"
        )
        mypy = ["/usr/bin/mypy", "--config-file", config, "--python-executable", self.python,
                "--cache-dir", str(self.scratch / "mypy")]
        self.assertIn("Success", run(*mypy, "-p", "mayfly", cwd=packages, env=self.environment))
        with self.assertRaises(AssertionError) as raised:
            run(*mypy, str(program), cwd=self.scratch, env=self.environment)
        told = [line for line in str(raised.exception).splitlines() if "program.py:" in line]
        self.assertEqual(len(told), 2, told)
        self.assertIn('6: note: Revealed type is "builtins.str"', told[0])
        self.assertIn("7: error: Unsupported operand types", told[1])

    def test_the_installation_of_the_readme(self) -> None:
        """As pasted, where its packages are installed: nothing comes from elsewhere."""
        text = pathlib.Path(SOURCE_DIR, "README.md").read_text()
        block = re.search(r"```\n(apt-get install -y python3.*?)```", text, re.DOTALL).group(1)
        apt, _, commands = block.replace("\\\n", " ").partition("\n")
        packages = set(apt.partition("#")[0].split()[3:])
        declared = pathlib.Path(SOURCE_DIR, "deploy/packages").read_text()
        for package in packages:
            self.assertRegex(declared, rf"(?m)^(build|test) +{re.escape(package)} ")
        self.assertLessEqual(
            {"python3-venv", "python3-setuptools", "python3-wheel", "python3-grpcio",
             "python3-protobuf", "python3-crc32c", "protobuf-compiler", "protobuf-compiler-grpc"},
            packages,
        )
        repository = self.scratch / "pasted"
        for part in ("src/python", "proto"):
            shutil.copytree(pathlib.Path(SOURCE_DIR, part), repository / part)
        run("/bin/sh", "-e", "-c", commands, cwd=repository,
            env={**self.environment, "PIP_NO_INDEX": "1"})
        found = run(str(repository / "venv/bin/python"), "-c", "import mayfly; print(mayfly.__file__)",
                    cwd=repository, env=self.environment)
        self.assertTrue(found.startswith(str(repository / "venv")), found)

    def test_the_programs_of_the_readme_have_types(self) -> None:
        text = pathlib.Path(SOURCE_DIR, "README.md").read_text()
        programs = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
        self.assertGreaterEqual(len(programs), 2)
        config = self.scratch / "readme.ini"  # Celery has no types
        config.write_text("[mypy]\nstrict = true\n[mypy-celery.*]\nignore_missing_imports = true\n")
        for number, program in enumerate(programs):
            path = self.scratch / f"readme_{number}.py"
            path.write_text(program)
            run("/usr/bin/mypy", "--config-file", str(config), "--python-executable", self.python,
                "--cache-dir", str(self.scratch / "mypy_readme"), str(path),
                cwd=self.scratch, env=self.environment)

    def test_the_program_of_the_readme(self) -> None:
        text = pathlib.Path(SOURCE_DIR, "README.md").read_text()
        pattern = r"```python\n(from mayfly import Client.*?)```"
        program = re.search(pattern, text, re.DOTALL).group(1)
        client, worker = self.arguments("client"), self.arguments("worker")
        config = self.scratch / "config.toml"
        config.write_text(
            f"server = '{self.server.target}'\n"
            f"ca = '{client['ca']}'\ncert = '{client['cert']}'\nkey = '{client['key']}'\n"
            f"[profiles.worker]\ncert = '{worker['cert']}'\nkey = '{worker['key']}'\n"
        )
        told = self.run_python("-c", program, MAYFLY_CONFIG=str(config))
        self.assertEqual(told, "b'QUESTION'\n10\n")


if __name__ == "__main__":
    unittest.main()
