#!/bin/sh
# Installs the build tree into an empty prefix, and looks for all that a user needs there.
#   install_test.sh BUILD_DIR
set -eu
build_dir=$1
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
prefix=$scratch/prefix

fail() {
  echo "install_test: $1" >&2
  exit 1
}

cmake --install "$build_dir" --prefix "$prefix" >"$scratch/log" 2>&1 || {
  cat "$scratch/log" >&2
  fail "cmake --install failed"
}
cd "$prefix"
for file in bin/mayflyd bin/mayfly lib/systemd/system/mayfly.service share/mayfly/mayfly.toml \
  share/mayfly/make-certificates share/mayfly/proto/mayfly/v1/function_io.proto \
  share/mayfly/proto/google/rpc/status.proto include/mayfly/client.h \
  share/man/man1/mayfly.1 share/man/man5/mayfly.toml.5 share/man/man8/mayflyd.8 \
  share/bash-completion/completions/mayfly share/zsh/site-functions/_mayfly; do
  [ -s "$file" ] || fail "$file is not installed"
done
started=$(sed -n 's/^ExecStart=\([^ ]*\) .*/\1/p' lib/systemd/system/mayfly.service)
[ "$started" = "$prefix/bin/mayflyd" ] || fail "the unit starts $started, not the installed mayflyd"
share/mayfly/make-certificates "$scratch/certificates" 2>/dev/null
[ -s "$scratch/certificates/worker.pem" ] || fail "make-certificates made no certificate"
bin/mayfly --version
