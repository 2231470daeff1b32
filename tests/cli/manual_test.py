#!/usr/bin/python3
"""Compares the manual pages with the programs and deploy/mayfly.toml, in both directions.

Usage: manual_test.py MAYFLY MAYFLYD MAN_SOURCES MAYFLY_TOML_5 MAYFLY_TOML

Prints missing and surplus entries of each page. Then removes each entry of each page in turn and
expects a complaint, which shows that the comparison can fail.
"""

import os
import re
import subprocess
import sys
import tomllib


def output(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def options(help_text):
    """The long names of what a --help lists as options."""
    return set(re.findall(r"^  (?:-\w,)?--([\w-]+)", help_text, re.MULTILINE))


def commands(help_text):
    return re.findall(r"^  ([\w-]+) ", help_text[help_text.index("Subcommands:"):].split("\n\n")[0],
                      re.MULTILINE)


def part(page, begin, end):
    """From the line `begin` on, up to the next line that begins with one of `end`."""
    lines = page.split("\n")
    if begin not in lines:
        return ""
    rest = lines[lines.index(begin) + 1:]
    for i, line in enumerate(rest):
        if line.startswith(end):
            return "\n".join(rest[:i])
    return "\n".join(rest)


def flags(text):
    return set(re.findall(r"\bFl -([\w-]+)", text))


def entry_flags(text):
    """Those that have an entry of their own, "h , -help" included."""
    return set(re.findall(r"^\.It Fl (?:\w , )?-([\w-]+)", text, re.MULTILINE))


def differences(what, expected, found):
    for name in sorted(set(expected) - set(found)):
        yield f"{what}: no {name}"
    for name in sorted(set(found) - set(expected)):
        yield f"{what}: {name} is not known"


def command_entries(page):
    """The items of the commands, with what is nested in them; several of one command together."""
    entries = {}
    depth = 0
    name = None
    for line in part(page, ".Ss Commands", (".Ss",)).split("\n"):
        depth += line.startswith(".Bl") - line.startswith(".El")
        match = re.match(r"\.It Cm ([\w-]+)", line)
        if match and depth == 1:
            name = match[1]
        if name:
            entries[name] = entries.get(name, "") + line + "\n"
    return entries


def synopses(page):
    texts = {}
    for text in part(page, ".Sh SYNOPSIS", (".Sh",)).split(".Nm mayfly\n.Cm ")[1:]:
        name = text.split()[0]
        texts[name] = texts.get(name, "") + text
    return texts


def check_mayfly(page, helps):
    general = helps[""]
    entries = command_entries(page)
    uses = synopses(page)
    yield from differences("commands", commands(general), entries)
    yield from differences("synopsis", commands(general), uses)
    everywhere = part(page, ".Ss Options of all commands", (".Sh",))
    yield from differences("options", options(general), entry_flags(everywhere))
    known = set().union(*(entry_flags(text) for text in entries.values()))
    for name in commands(general):
        own = options(helps[name]) - {"help"}
        yield from differences(f"synopsis of {name}", own, flags(uses.get(name, "")))
        yield from differences(name, own, flags(entries.get(name, "")) & (own | known))
        yield from differences(f"entries for {name}", own, own & known)
    variables = set(re.findall(r"MAYFLY_\w+", general))
    environment = part(page, ".Sh ENVIRONMENT", (".Sh",))
    yield from differences("environment", variables,
                           re.findall(r"MAYFLY_\w+", "\n".join(
                               re.findall(r"^\.It Ev .*", environment, re.MULTILINE))))
    yield from differences("exit status", re.findall(r"^  (\d)  ", general, re.MULTILINE),
                           exit_statuses(page))


def exit_statuses(page):
    return re.findall(r"^\.It (\d+)", part(page, ".Sh EXIT STATUS", (".Sh",)), re.MULTILINE)


def check_mayflyd(page, help_text, source):
    yield from differences("options", options(help_text), entry_flags(page))
    yield from differences("synopsis", options(help_text) - {"help", "version"},
                           flags(part(page, ".Sh SYNOPSIS", (".Sh",))))
    yield from differences("exit status", re.findall(r"^//   (\d+) ", source, re.MULTILINE),
                           exit_statuses(page))


def settings(toml):
    """Section, name and default as it is written, also of what is commented out."""
    live = tomllib.loads(toml)
    example = tomllib.loads(re.sub(r"^# (?=\[|[a-z_]+ = )", "", toml, flags=re.MULTILINE))
    for section, table in example.items():
        for name, value in table.items():
            if name == "tenants":
                continue
            written = re.search(rf"^{name} = (.*)", toml, re.MULTILINE)
            yield section, name, written[1] if name in live[section] else None


def check_settings(page, toml):
    expected = list(settings(toml))
    for section in {section for section, _, _ in expected}:
        text = part(page, f".Ss [{section}]", (".Ss", ".Sh"))
        names = [name for of, name, _ in expected if of == section]
        yield from differences(f"[{section}]", names, re.findall(r"^\.It Ic (\S+)", text,
                                                                 re.MULTILINE))
    for section, name, default in expected:
        text = part(part(page, f".Ss [{section}]", (".Ss", ".Sh")), f".It Ic {name}", (".It", ".El"))
        if not text.strip():
            yield f"{section}.{name}: not explained"
        if default and "Required." not in text and "is required." not in text:
            if f"Default {default}." not in text:
                yield f"{section}.{name}: the default {default} is missing"
    for section in re.findall(r"^# (\[.*\])", toml, re.MULTILINE):
        if not part(page, f".Ss {section}", (".Ss", ".Sh")).strip():
            yield f"{section}: not explained"


def check_every_entry_counts(page, check):
    lines = page.split("\n")
    entries = [re.match(r"\.It (Fl -?\S+|Cm \S+|Ic|Ev|\d).*", line) for line in lines]
    for i, entry in enumerate(entries):
        # Options of two commands are explained by either entry.
        is_only_one = entry and not any(other and other is not entry and other[1] == entry[1]
                                        for other in entries if other and other[1] not in ("Ic", "Ev"))
        if is_only_one and not list(check("\n".join(lines[:i] + lines[i + 1:]))):
            yield f"nothing misses {lines[i]!r}"


def main():
    mayfly, mayflyd, sources, settings_page, toml_path = sys.argv[1:]
    helps = {"": output(mayfly, "--help")}
    for name in commands(helps[""]):
        helps[name] = output(mayfly, name, "--help")
    with open(toml_path) as file:
        toml = file.read()
    with open(os.path.join(sources, "../../src/server/main.cc")) as file:
        server_main = file.read()
    pages = {
        os.path.join(sources, "mayfly.1"): lambda page: check_mayfly(page, helps),
        os.path.join(sources, "mayflyd.8"):
            lambda page: check_mayflyd(page, output(mayflyd, "--help"), server_main),
        settings_page: lambda page: check_settings(page, toml),
    }
    complaints = []
    for path, check in pages.items():
        with open(path) as file:
            page = file.read()
        lint = subprocess.run(["mandoc", "-T", "lint", "-W", "warning", path], capture_output=True,
                              text=True)
        found = lint.stdout.splitlines() + list(check(page))
        found += check_every_entry_counts(page, check)
        complaints += [f"{os.path.basename(path)}: {complaint}" for complaint in found]
    print("\n".join(complaints) or f"{len(pages)} pages are as the programs are")
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
