#!/usr/bin/python3
"""Checks, from the includes, that dependencies point one way and that each folder is one library.

Usage: include_test.py SOURCE_ROOT. Prints every violation as file:line: text. Before it looks at
the tree it plants a violation of each rule and expects a report for each: a rule that cannot
fail says nothing.
"""

import pathlib
import re
import sys
import tempfile

# The folders that each folder under src/ may include directly, from the bottom up.
MAY_INCLUDE = {
    "base": set(),
    "crypto": {"base"},
    "keys": {"base", "crypto"},
    "call": {"base"},
    "config": {"base"},
    "metrics": {"base"},
    "identity": {"base"},
    "retention": {"base", "call"},
    "storage": {"base", "crypto", "keys", "call", "retention"},
    "store": {"base", "crypto", "keys", "call", "retention", "storage", "config", "metrics",
              "identity"},
    "rpc": {"base", "crypto", "call", "config", "metrics", "identity", "store"},
    "client": {"base"},
    "server": {"base", "crypto", "keys", "call", "config", "metrics", "identity", "retention",
               "storage", "store", "rpc"},
    "cli": {"base", "client"},
    "python_native": {"base"},
}

# Outside libraries, and the files that may include them. The server and the module for Python turn
# off the deadlock detection of absl's mutex, which gRPC uses.
LIBRARIES = [
    ("RocksDB", re.compile(r"rocksdb/"), re.compile(r"src/storage/")),
    ("librados", re.compile(r"rados/"), re.compile(r"src/storage/")),
    ("OpenSSL", re.compile(r"openssl/"),
     re.compile(r"src/(crypto/|rpc/tls|client/(tls_|server_probe|upload_id)|server/main\.cc)")),
    ("gRPC", re.compile(r"(grpc|grpcpp|grpc\+\+)/|.*\.grpc\.pb\.h$"),
     re.compile(r"src/(rpc|client|cli|server|python_native)/")),
    ("Protobuf", re.compile(r"google/|.*\.pb\.h$"), re.compile(r"src/(rpc|client|cli|server)/")),
    ("a lock", re.compile(r"(mutex|shared_mutex|condition_variable|absl/synchronization/.*)$"),
     re.compile(r"src/(base/mutex\.h|rpc/server\.cc|python_native/module\.cc)$")),
    ("Python", re.compile(r"(pybind11/|Python\.h$)"), re.compile(r"src/python_native/module\.cc$")),
]
PUBLIC_FOLDERS = ("rpc", "client", "cli", "server")  # beside these, only base uses include/mayfly
PURE_FORBIDDEN = re.compile(r"(absl/time/clock\.h|chrono|ctime|time\.h|sys/time\.h|base/clock\.h)$")
PURE_CALLS = re.compile(r"\b(absl::Now|time|clock_gettime|gettimeofday)\s*\(|std::chrono")
SYSTEM_LOCK = re.compile(r"\bpthread_(mutex|rwlock|cond|spin|barrier)|\bstd::(mutex|shared_mutex)\b")
PRIVATE_PATH = re.compile(r"(^|[\s\"'=(])/(work|home|root|Users)/\w")

INCLUDE = re.compile(r'^\s*#\s*include\s+["<]([^">]+)[">]')
COMMENT = re.compile(r"//.*$")
TEXT_SUFFIXES = {".cc", ".h", ".cmake", ".txt", ".py", ".proto", ".toml", ".json", ".md", ".yaml",
                 ".yml", ".sh", ".service"}
SOURCE_FOLDERS = ("src", "include", "tests", "bench", "proto", "deploy")



def check_include(name, target):
    """The rules about one include of one file under src/ or include/."""
    for library, pattern, allowed in LIBRARIES:
        if pattern.match(target) and not allowed.match(name):
            yield f"{library} is not for this file: {target}"
    folder = name.split("/")[1]
    first = target.split("/")[0]
    if name.startswith("include/"):
        if first in MAY_INCLUDE:
            yield f"a public header shows the inside: {target}"
        return
    if first in MAY_INCLUDE and first != folder and first not in MAY_INCLUDE[folder]:
        yield f"{folder} may not depend on {first}: {target}"
    if first == "mayfly" and folder not in PUBLIC_FOLDERS + ("base",) and ".pb.h" not in target:
        yield f"{folder} may not depend on the public client: {target}"
    if folder == "call" and PURE_FORBIDDEN.match(target):
        yield f"the rules read no clock: {target}"


def check_source(name, lines):
    if name.startswith("src/") and name.split("/")[1] not in MAY_INCLUDE:
        yield 1, "the folder has no place in the order of dependencies"
        return
    for number, line in enumerate(lines, 1):
        match = INCLUDE.match(line)
        if match:
            for text in check_include(name, match.group(1)):
                yield number, text
        elif name.startswith("src/call/") and PURE_CALLS.search(COMMENT.sub("", line)):
            yield number, "the rules read no clock"
        elif SYSTEM_LOCK.search(COMMENT.sub("", line)) and name != "src/base/mutex.h":
            yield number, "base/mutex.h is the only lock"


def check_folders(root):
    """Every folder under src/ with C++ in it makes one library, named after it."""
    for folder in sorted(p for p in (root / "src").iterdir() if p.is_dir()):
        sources = [p for p in folder.rglob("*.cc")]
        makefile = folder / "CMakeLists.txt"
        where = f"src/{folder.name}"
        if not makefile.exists():
            if sources:
                yield f"{where}: has sources and no CMakeLists.txt"
            continue
        text = makefile.read_text()
        made = re.findall(r"\b(?:mayfly_library|add_executable)\(\s*(\S+)", text)
        libraries = re.findall(r"\bmayfly_library\(\s*(\S+)", text)
        is_main = folder.name in ("server", "cli")
        has_cpp = bool(sources or made)
        if has_cpp and libraries != [folder.name] and not (is_main and made):
            yield f"{where}/CMakeLists.txt: makes {made}, not the one library {folder.name}"
        if re.search(r"\bfile\(\s*GLOB", text):
            yield f"{where}/CMakeLists.txt: names its sources by a pattern"


def check_tree(root):
    found = []
    for top in SOURCE_FOLDERS:
        for path in sorted((root / top).rglob("*")):
            if not path.is_file() or path.suffix not in TEXT_SUFFIXES:
                continue
            name = path.relative_to(root).as_posix()
            if path == pathlib.Path(__file__).resolve():
                continue
            lines = path.read_text(errors="replace").splitlines()
            for number, line in enumerate(lines, 1):
                if PRIVATE_PATH.search(line):
                    found.append(f"{name}:{number}: names a path of one machine")
            is_ours = top in ("src", "include") and path.suffix in (".cc", ".h")
            if is_ours and name.count("/") > 1:
                found += [f"{name}:{number}: {text}" for number, text in check_source(name, lines)]
    return found + list(check_folders(root))


# One violation of each rule: file, its text, and a part of the report.
PLANTED = [
    ("src/base/a.h", '#include "call/state.h"', "base may not depend on call"),
    ("src/call/a.h", '#include "storage/storage.h"', "call may not depend on storage"),
    ("src/keys/a.cc", '#include "call/state.h"', "keys may not depend on call"),
    ("src/retention/a.cc", '#include "store/call_store.h"', "retention may not depend on store"),
    ("src/client/a.cc", '#include "store/call_store.h"', "client may not depend on store"),
    ("src/identity/a.cc", '#include "config/config.h"', "identity may not depend on config"),
    ("src/store/a.cc", "#include <rocksdb/db.h>", "RocksDB is not for this file"),
    ("src/store/a.h", "#include <rados/librados.hpp>", "librados is not for this file"),
    ("src/keys/a.h", "#include <openssl/evp.h>", "OpenSSL is not for this file"),
    ("src/rpc/service.cc", "#include <openssl/ssl.h>", "OpenSSL is not for this file"),
    ("src/store/b.cc", "#include <grpcpp/grpcpp.h>", "gRPC is not for this file"),
    ("src/store/c.cc", '#include "mayfly/v1/function_io.pb.h"', "Protobuf is not for this file"),
    ("src/client/p.cc", "#include <pybind11/pybind11.h>", "Python is not for this file"),
    ("src/python_native/a.cc", '#include "client/core.h"', "python_native may not depend on client"),
    ("src/store/d.cc", "#include <mutex>", "a lock is not for this file"),
    ("src/store/e.cc", '#include "absl/synchronization/mutex.h"', "a lock is not for this file"),
    ("src/store/g.cc", "pthread_mutex_t mutex;", "base/mutex.h is the only lock"),
    ("src/store/f.cc", '#include "mayfly/client.h"', "may not depend on the public client"),
    ("src/call/b.cc", '#include "base/clock.h"', "the rules read no clock"),
    ("src/call/c.cc", "#include <chrono>", "the rules read no clock"),
    ("src/call/d.cc", "const auto now = time(nullptr);", "the rules read no clock"),
    ("include/mayfly/a.h", "#include <grpcpp/grpcpp.h>", "gRPC is not for this file"),
    ("include/mayfly/b.h", '#include "base/bytes.h"', "a public header shows the inside"),
    ("src/util/a.h", "", "no place in the order"),
    ("src/util/a.cc", "", "no CMakeLists.txt"),
    ("src/keys/CMakeLists.txt", "mayfly_library(key SOURCES a.cc)", "not the one library keys"),
    ("src/crypto/CMakeLists.txt", "mayfly_library(crypto)\nfile(GLOB x *.cc)", "by a pattern"),
    ("tests/call/a.cc", 'Open("/' + 'home/me/data")', "a path of one machine"),
]
# Files that must not be reported.
INNOCENT = [
    ("src/storage/local/a.cc", '#include <rocksdb/db.h>\n#include "call/state.h"'),
    ("src/crypto/a.cc", "#include <openssl/evp.h>"),
    ("src/rpc/tls.cc", "#include <openssl/ssl.h>\n#include <grpcpp/grpcpp.h>"),
    ("src/base/mutex.h", "#include <mutex>"),
    ("src/python/CMakeLists.txt", "add_custom_target(mayfly_python)"),
    ("src/call/e.cc", "// at that time (of the put)\nconst int64_t id_time = put.id_time_ms;"),
]


def check_self():
    """A planted violation of each rule is reported, an innocent file is not."""
    failures = []
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        for name, text, *_ in PLANTED + INNOCENT:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text + "\n")
        found = check_tree(root)
        for name, _, wanted in PLANTED:
            part = "src/util" if name == "src/util/a.cc" else name
            if not any(f.startswith(part) and wanted in f for f in found):
                failures.append(f"self-test: {name} is not reported: {wanted}")
        for name, _ in INNOCENT:
            failures += [f"self-test: {f} is reported" for f in found if f.startswith(name + ":")]
    return failures


def main():
    if len(sys.argv) != 2:
        sys.exit("usage: include_test.py SOURCE_ROOT")
    found = check_self() + check_tree(pathlib.Path(sys.argv[1]).resolve())
    for line in found:
        print(line)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
