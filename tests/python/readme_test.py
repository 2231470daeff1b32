#!/usr/bin/python3
"""The examples of the package's README run as they are, with a config file for both roles."""

import os
import pathlib
import re
import subprocess
import sys
import unittest

import mayfly
from python_test_case import SOURCE_DIR, LiveTestCase


class Readme(LiveTestCase):
    def examples(self) -> dict[str, str]:
        """By their headings."""
        text = pathlib.Path(SOURCE_DIR, "src/python/README.md").read_text()
        found = {}
        for section in text.split("\n## "):
            code = re.search(r"^```python$(.*?)^```$", section, re.M | re.S)
            if code is not None:
                found[section.partition("\n")[0]] = code[1]
        return found

    def run_example(self, heading: str) -> str:
        config = pathlib.Path(self.server.path("client.toml"))
        lines = [f'server = "{self.server.target}"', 'ca = "certificates/ca.pem"']
        for role in ("client", "worker"):
            lines += ["[profiles.worker]"] if role == "worker" else []
            lines += [f'cert = "certificates/{role}.pem"', f'key = "certificates/{role}.key"']
        config.write_text("\n".join(lines))
        environment = {**os.environ, "MAYFLY_CONFIG": str(config)}
        return subprocess.run(
            [sys.executable, "-c", self.examples()[heading]], env=environment, check=True,
            stdout=subprocess.PIPE, text=True,
        ).stdout

    def test_threads(self) -> None:
        lines = self.run_example("Threads").splitlines()
        self.assertEqual(sorted(line.split()[1] for line in lines),
                         sorted(f"{number}!" for number in range(100)))

    def test_asyncio(self) -> None:
        self.assertIn("QUESTION", self.run_example("asyncio"))

    def test_settings_are_explained_by_help(self) -> None:
        for name in mayfly.Settings.__dataclass_fields__:
            self.assertRegex(mayfly.Settings.__doc__, rf"(?m)^ +{name}: \w")


if __name__ == "__main__":
    unittest.main()
