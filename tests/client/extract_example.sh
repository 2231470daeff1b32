#!/bin/sh
# Takes the program out of the comment at the head of include/mayfly/client.h.
#   extract_example.sh HEADER SOURCE
set -eu
sed -n '/^\/\/   #include/,/^\/\/ [^ ]/{s/^\/\/$//p; s/^\/\/   //p}' "$1" > "$2"
grep -q '^int main' "$2" || {
  echo "extract_example.sh: no program in $1" >&2
  exit 1
}
