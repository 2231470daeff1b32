"""Builds the release that is measured."""

import pathlib
import subprocess

import servers

SOURCE_DIR = pathlib.Path(__file__).resolve().parents[2]
BUILD_DIR = SOURCE_DIR / "build"
BINARY_DIR = BUILD_DIR / "release"


def build(targets):
    """Installs what is missing, and builds. Failure, CalledProcessError."""
    subprocess.run([SOURCE_DIR / "deploy/install-packages", "build", "peers"], check=True)
    BUILD_DIR.mkdir(exist_ok=True)
    log = BUILD_DIR / "peers-build.log"
    with log.open("w") as output:
        for command in (["cmake", "--preset", "release"],
                        ["cmake", "--build", "--preset", "release", "--target", *targets]):
            if subprocess.run(command, cwd=SOURCE_DIR, stdout=output, stderr=output).returncode:
                raise servers.Failure(f"the build failed; all of its output is in {log}")
