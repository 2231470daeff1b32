"""Tests each of which has a CalledServer of its own."""

import shutil
import sys
import tempfile
import unittest
from typing import Any

from called_server import CalledServer, generate_messages


class CalledServerCase(unittest.TestCase):
    """main() says where the programs are."""

    mayflyd = protoc = ""
    messages: Any
    server: CalledServer

    @classmethod
    def setUpClass(cls) -> None:
        directory = tempfile.mkdtemp(prefix="mayfly_messages_")
        cls.addClassCleanup(shutil.rmtree, directory)
        cls.messages = generate_messages(cls.protoc, directory)

    def setUp(self) -> None:
        self.server = self.new_server()
        self.server.start()

    def new_server(self) -> CalledServer:
        """Not started."""
        server = CalledServer(self.mayflyd, self.messages)
        self.addCleanup(server.close)
        return server


def main() -> None:
    """Runs the tests of the calling script: SCRIPT MAYFLYD PROTOC [UNITTEST_ARGUMENT...]."""
    CalledServerCase.mayflyd, CalledServerCase.protoc = sys.argv[1:3]
    unittest.main(argv=[sys.argv[0], *sys.argv[3:]], verbosity=2)
