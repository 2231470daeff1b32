#!/bin/sh
# Installs the programs to a prefix and checks for the files that shells and man(1) need.
#
#   install_test.sh BUILD_DIR
set -eu

build_dir=$1
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

for component in mayfly-cli mayfly-server; do
  cmake --install "$build_dir" --prefix "$scratch" --component $component >"$scratch/log" 2>&1 ||
    { cat "$scratch/log"; exit 1; }
done

failed=0
expect() {
  if ! "$@" >"$scratch/out" 2>&1; then
    echo "failed: $*"
    cat "$scratch/out"
    failed=1
  fi
}
expect "$scratch/bin/mayfly" --version
expect "$scratch/bin/mayflyd" --version
expect bash -n "$scratch/share/bash-completion/completions/mayfly"
expect zsh -n "$scratch/share/zsh/site-functions/_mayfly"
expect grep -q '^#compdef mayfly$' "$scratch/share/zsh/site-functions/_mayfly"
for page in man1/mayfly.1 man5/mayfly.toml.5 man8/mayflyd.8; do
  expect mandoc -T utf8 -W error "$scratch/share/man/$page"
done
exit $failed
