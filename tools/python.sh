#!/bin/sh
# Runs a script with the first Python that Portico supports: tools/python.sh <wanted or empty> <script> [argument...]
set -eu
wanted=$1
shift
is_supported='import sys; sys.exit(not ((3, 11) <= sys.version_info[:2] <= (3, 12)))'

for python in ${wanted:-python3.12 python3.11 python3 python}; do
  if command -v "$python" >/dev/null 2>&1 && "$python" -c "$is_supported" >/dev/null 2>&1; then
    exec "$python" "$@"
  fi
done

if command -v uv >/dev/null 2>&1 && [ -z "$wanted" ]; then
  python=$(uv python find '>=3.11,<3.13' 2>/dev/null || true)
  if [ -n "$python" ]; then
    exec "$python" "$@"
  fi
fi

if [ -n "$wanted" ]; then
  echo "PYTHON=$wanted is not Python 3.11 or 3.12. Name one that is, for example 'make run PYTHON=python3.12'." >&2
else
  echo "Portico needs Python 3.11 or 3.12, and neither is on the PATH." >&2
  echo "Debian and Ubuntu: apt-get install python3 python3-venv. Fedora: dnf install python3.12. macOS: brew install python@3.12." >&2
  echo "With one elsewhere: make run PYTHON=/path/to/python3.12" >&2
fi
exit 1
