"""Generates code while the package is built: the blocking half of the client from its asyncio half
(blocking_half.py), and the messages and the stub from the public contract.

The latter needs protoc and grpc_python_plugin on the path (Debian: protobuf-compiler,
protobuf-compiler-grpc), or where PROTOC and GRPC_PYTHON_PLUGIN say.

MAYFLY_NATIVE may name a built module mayfly._native (CMake: mayfly_python_module), which becomes part of
the package.
"""

import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

import setuptools
from setuptools.command.build_py import build_py
from setuptools.command.sdist import sdist

NATIVE = os.environ.get("MAYFLY_NATIVE", "")
HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))  # a build backend leaves it out

import blocking_half  # noqa: E402

PROTO_FILES = [
    "google/rpc/status.proto",
    "google/rpc/error_details.proto",
    "mayfly/v1/error_reason.proto",
    "mayfly/v1/function_io.proto",
]


def proto_dir() -> pathlib.Path:
    """In a source distribution beside this file, in the repository above."""
    packed = HERE / "proto"
    return packed if packed.is_dir() else HERE.parents[1] / "proto"


def stage(directory: pathlib.Path) -> list[str]:
    """Copies the contract with google.rpc as mayfly.rpc, and returns the names of its files.

    A program may have another google.rpc (googleapis-common-protos), and protobuf takes each file's
    name once only. On the wire the two are the same.
    """
    names = []
    for file in PROTO_FILES:
        name = file.replace("google/rpc", "mayfly/rpc")
        text = (proto_dir() / file).read_text()
        text = text.replace("google/rpc/", "mayfly/rpc/").replace("google.rpc", "mayfly.rpc")
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(text)
        names.append(name)
    return names


def generate_messages(directory: pathlib.Path) -> None:
    plugin = os.environ.get("GRPC_PYTHON_PLUGIN") or shutil.which("grpc_python_plugin")
    if plugin is None:
        raise SystemExit("no grpc_python_plugin on the path: install protobuf-compiler-grpc")
    with tempfile.TemporaryDirectory() as staged:
        names = stage(pathlib.Path(staged))
        protoc = [os.environ.get("PROTOC", "protoc"), f"--proto_path={staged}"]
        out = str(directory)
        subprocess.run([*protoc, f"--python_out={out}", f"--pyi_out={out}", *names], check=True)
        subprocess.run(
            [*protoc, f"--plugin=protoc-gen-grpc={plugin}", f"--grpc_out={out}", names[-1]],
            check=True,
        )
    for package in ("v1", "rpc"):
        (directory / "mayfly" / package / "__init__.py").touch()


class BuildPy(build_py):
    def run(self) -> None:
        super().run()
        target = pathlib.Path(self.build_lib)
        blocking_half.write(HERE / "mayfly", target / "mayfly")
        generate_messages(target)
        if NATIVE:
            shutil.copyfile(NATIVE, target / "mayfly/_native.so")


class Distribution(setuptools.Distribution):
    def has_ext_modules(self) -> bool:
        """Whether a wheel is of this platform only."""
        return bool(NATIVE)


class Sdist(sdist):
    def make_release_tree(self, base_dir: str, files: list[str]) -> None:
        super().make_release_tree(base_dir, files)
        target = pathlib.Path(base_dir)
        shutil.copyfile(HERE / "blocking_half.py", target / "blocking_half.py")
        blocking_half.write(HERE / "mayfly", target / "mayfly")
        for file in PROTO_FILES:
            copy = target / "proto" / file
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(proto_dir() / file, copy)


setuptools.setup(distclass=Distribution, cmdclass={"build_py": BuildPy, "sdist": Sdist})
