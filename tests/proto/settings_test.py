#!/usr/bin/python3
"""The settings that the contract names: default and range are those of deploy/mayfly.toml.

config_test checks deploy/mayfly.toml against the server.
"""

import pathlib
import re
import unittest
from typing import Dict, Tuple

SOURCE_DIR = pathlib.Path(__file__).resolve().parents[2]
SETTING = r"(?:server|retention|claims|limits)\.[a-z_]+"
DOCUMENTED = re.compile(r'Default "?(\w+)"?\. (?:[^.]* )?Range (.*?)\.$')


def documented_settings() -> Dict[str, Tuple[str, str]]:
    """Default and range of every setting with a range, by its full name."""
    found = {}
    section = comment = ""
    for line in (SOURCE_DIR / "deploy/mayfly.toml").read_text().splitlines():
        if header := re.fullmatch(r"\[(\w+)\]", line):
            section = header.group(1)
        elif line.startswith("#"):
            comment += line.lstrip("# ") + " "
            continue
        elif name := re.match(r"(\w+) = ", line):
            if match := DOCUMENTED.search(comment.strip()):
                found[f"{section}.{name.group(1)}"] = match.group(1), match.group(2)
        comment = ""
    return found


class SettingsTest(unittest.TestCase):
    def test_the_table_has_every_named_setting_with_its_default_and_range(self) -> None:
        text = (SOURCE_DIR / "proto/mayfly/v1/function_io.proto").read_text()
        row = re.compile(rf"^//   ({SETTING}) +(\w+) +(\S.*)$", re.MULTILINE)
        table = {name: (default, limits) for name, default, limits in row.findall(text)}
        documented = documented_settings()
        named = set(re.findall(rf"\b{SETTING}\b", text))
        self.assertGreater(len(named), 15)
        self.assertEqual(table, {name: documented.get(name) for name in named})


if __name__ == "__main__":
    unittest.main()
