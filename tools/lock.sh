#!/bin/sh
# Writes the lock files: every dependency with its version and hashes, for all platforms, naming no index.
set -eu
uv=$1
compile() {
  target=$1
  shift
  # setuptools builds the project itself, which then needs nothing from the network.
  echo "setuptools>=80" | "$uv" pip compile --quiet --universal --python-version 3.11 --generate-hashes \
    --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" --upgrade \
    "$@" pyproject.toml - --output-file "$target"
  if grep -n "://" "$target"; then
    echo "$target names a host; see above." >&2
    exit 1
  fi
}
compile requirements.txt --extra cli
compile requirements-dev.txt --extra cli --group dev
