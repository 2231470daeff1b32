#!/usr/bin/python3
"""Types into real shells, in a terminal, and looks at what the tabulator key makes of it.

Usage: completion_test.py MAYFLY
"""

import os
import pty
import subprocess
import sys
import tempfile
import threading
import time

TIMEOUT_S = 120
BEGINNING_OF_LINE = "\x01"
END_OF_LINE = "\x05"

# What is typed, and what has to stand there after the tabulator key.
EVERY_SHELL = [
    ("mayfly retr", "mayfly retrieve "),
    ("mayfly put-", "mayfly put-"),  # two commands
    ("mayfly put-o", "mayfly put-output "),
    ("mayfly completion z", "mayfly completion zsh "),
    ("mayfly put-output ID --outcome f", "mayfly put-output ID --outcome failure "),
    ("mayfly put-input pay", "mayfly put-input payload-file "),
    ("mayfly put-output ID pay", "mayfly put-output ID payload-file "),
    ("mayfly put-input with", "mayfly put-input with\\ blank "),
    ("mayfly --ca pay", "mayfly --ca payload-file "),
    ("mayfly --server h:1 retr", "mayfly --server h:1 retrieve "),
    ("mayfly get-input ID --output pay", "mayfly get-input ID --output payload-file "),
    ("mayfly get-input ID --output=pay", "mayfly get-input ID --output=payload-file "),
    ("mayfly get-input pay", "mayfly get-input pay"),  # an id is no file
    ("mayfly --server pay", "mayfly --server pay"),
    ("mayfly retrieve --js", "mayfly retrieve --json "),
    ("mayfly retrieve --wai", "mayfly retrieve --wait"),
    ("mayfly retrieve --all pay", "mayfly retrieve --all payload-file "),
    ("mayfly retrieve --dir pay", "mayfly retrieve --dir pay"),  # no directory
    ("mayfly retrieve --dir out", "mayfly retrieve --dir outputs/"),
]

SHELLS = {
    "bash": (["bash", "--norc", "--noprofile", "-i"], "source {script}"),
    # As it is installed: found by its name when it is needed first.
    "zsh": (["zsh", "-f", "-i"], "fpath=({directory} $fpath); autoload -U compinit; compinit -u -D"),
}


class Terminal:
    """A shell that believes in a user."""

    def __init__(self, command, directory):
        self.shown = b""
        self._directory = directory
        self._lines = 0
        environment = {
            "PATH": directory + ":" + os.environ["PATH"], "HOME": directory, "TERM": "dumb"}
        self._controller, terminal = pty.openpty()
        self._shell = subprocess.Popen(
            command, cwd=directory, env=environment, stdin=terminal, stdout=terminal,
            stderr=terminal, start_new_session=True)
        os.close(terminal)
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        try:
            while True:
                self.shown += os.read(self._controller, 65536)
        except OSError:
            pass  # the shell has ended

    def type(self, text):
        os.write(self._controller, text.encode())

    def completed(self, text):
        """The line when `text` and the tabulator key were typed; it is not run, but kept in a file."""
        self.type(f'{text}\t{BEGINNING_OF_LINE}echo "{END_OF_LINE}" >>lines\n')
        self._lines += 1
        end = time.monotonic() + TIMEOUT_S
        while time.monotonic() < end:
            with open(os.path.join(self._directory, "lines")) as file:
                lines = file.read().split("\n")[:-1]
            if len(lines) >= self._lines:
                return lines[self._lines - 1]
            time.sleep(0.01)
        raise TimeoutError(f"nothing came of {text!r}; the terminal shows\n{self.shown.decode()}")

    def close(self):
        self.type("\nexit\n")
        self._shell.wait(timeout=TIMEOUT_S)
        os.close(self._controller)


def run_shell(shell, mayfly):
    """The number of lines that were not completed as they have to be."""
    command, setup = SHELLS[shell]
    with tempfile.TemporaryDirectory(prefix="mayfly_completion_") as directory:
        os.symlink(mayfly, os.path.join(directory, "mayfly"))
        for name in ("payload-file", "with blank", "lines"):
            open(os.path.join(directory, name), "w").close()
        os.mkdir(os.path.join(directory, "outputs"))
        script = os.path.join(directory, "_mayfly")
        with open(script, "w") as file:
            subprocess.run([mayfly, "completion", shell], stdout=file, check=True)
        subprocess.run([shell, "-n", script], check=True)
        terminal = Terminal(command, directory)
        terminal.type(setup.format(script=script, directory=directory) + "\n")
        failures = 0
        for typed, expected in EVERY_SHELL:
            line = terminal.completed(typed)
            # What a shell adds behind a directory's name it may take back.
            if line.rstrip(" /") == expected.rstrip(" /"):
                continue
            failures += 1
            print(f"{shell}: {typed!r} became {line!r}, should be {expected!r}")
        terminal.close()
        return failures


def main():
    mayfly = os.path.abspath(sys.argv[1])
    failures = sum(run_shell(shell, mayfly) for shell in SHELLS)
    print(f"{len(EVERY_SHELL) * len(SHELLS)} lines completed, {failures} wrongly")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
