#!/bin/sh
# The public contract follows buf's rules and does not break clients of the last commit. Modified
# copies that do must be rejected.
#
#   buf_test.sh SOURCE_DIR PACKAGES_DIR
set -eu
source_dir=$1
export PATH="$2/node_modules/.bin:$PATH"
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
export BUF_CACHE_DIR="$scratch/cache"

fail() {
  echo "buf_test: $1" >&2
  exit 1
}

# breaks_nobody DIRECTORY: it can be used by whoever uses the proto of the last commit.
breaks_nobody() {
  buf breaking "$1" --against "$scratch/before.tar#subdir=proto"
}

# edited FILE SED_SCRIPT: a copy of the proto in $scratch/edited, with one file edited.
edited() {
  rm -rf "$scratch/edited"
  cp -r "$source_dir/proto" "$scratch/edited"
  sed -i "$2" "$scratch/edited/$1"
  ! cmp -s "$source_dir/proto/$1" "$scratch/edited/$1" || fail "the edit $2 changes nothing"
}

buf lint "$source_dir/proto"

service=mayfly/v1/function_io.proto
edited $service 's/^  string call_id = 1;/  string callId = 1;/'
! buf lint "$scratch/edited" >"$scratch/report" || fail "buf lint takes a name in camel case"
grep -q lower_snake_case "$scratch/report"

if ! git -C "$source_dir" rev-parse -q --verify HEAD >/dev/null; then
  echo "buf_test: not a git repository, so there is no last commit to compare with"
  exit 0
fi
# Not buf's own way to read a repository, which knows no work trees.
git -C "$source_dir" archive --output "$scratch/before.tar" HEAD proto
breaks_nobody "$source_dir/proto"
for edit in \
  's/^  string call_id = 1;/  bytes call_id = 1;/' \
  's/^  fixed64 fence = 6;/  fixed64 fence = 16;/' \
  '/^  rpc RenewClaims(/d' \
  's/^  OUTCOME_TIMEOUT = 3;/  OUTCOME_TIMED_OUT = 3;/'; do
  edited $service "$edit"
  ! breaks_nobody "$scratch/edited" >"$scratch/report" || fail "buf breaking takes $edit"
  grep -q "$service" "$scratch/report"
done
# Additions are allowed.
edited $service 's/^  string call_id = 1;/&\n  bytes added = 99;/'
breaks_nobody "$scratch/edited"
