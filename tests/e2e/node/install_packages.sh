#!/bin/sh
# Installs the packages of package-lock.json into BUILD_DIR and copies the programs there, because
# node looks for packages beside the program. Fetches nothing if they are installed.
#
#   install_packages.sh BUILD_DIR
set -eu
source_dir=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1"
cd "$1"
cp "$source_dir"/*.mjs .
if cmp -s "$source_dir/package-lock.json" installed-package-lock.json; then
  exit 0
fi
rm -f installed-package-lock.json
cp "$source_dir/package.json" "$source_dir/package-lock.json" "$source_dir/.npmrc" .
# Without scripts: what is needed comes as it is.
npm ci --ignore-scripts
cp package-lock.json installed-package-lock.json
