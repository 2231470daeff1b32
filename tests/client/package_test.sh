#!/bin/sh
# Installs the client library from the build tree into an empty prefix, builds a program with
# nothing but find_package(mayfly), and runs it.
#   package_test.sh BUILD_DIR SOURCE_DIR CXX_FLAGS
set -eu
build_dir=$1
source_dir=$2
flags=$3
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

cmake --install "$build_dir" --prefix "$scratch/prefix" --component mayfly-client > "$scratch/log"
if grep -rlE 'include[ ]*[<"](grpc|google|rocksdb|openssl|base|client)/' "$scratch/prefix/include"; then
  echo "a public header includes what a user need not have" >&2
  exit 1
fi
cmake -G Ninja -S "$source_dir/tests/client/consumer" -B "$scratch/consumer" \
  -DCMAKE_PREFIX_PATH="$scratch/prefix" -DCMAKE_CXX_FLAGS="$flags" > "$scratch/log" 2>&1 &&
  cmake --build "$scratch/consumer" >> "$scratch/log" 2>&1 || {
  cat "$scratch/log" >&2
  exit 1
}
cd "$scratch"
"$scratch/consumer/consumer" | tee "$scratch/output"
grep -q '^ca_file is .*, not readable' "$scratch/output"
