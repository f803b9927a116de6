#!/bin/sh
# Runs all tests. What waits for clients runs in parallel; what kills processes and watches the clock, one after the other.
set -u
python=$1
failed=0
# Where it is set, as in many containers, every process that a test starts compiles all that it imports.
unset PYTHONDONTWRITEBYTECODE

circle() {
  echo "== $1"
  shift
  "$python" -m pytest "$@"
  code=$?
  if [ "$code" -eq 5 ]; then
    echo "No test ran in this circle, which is a failure." >&2
  fi
  [ "$code" -eq 0 ] || failed=1
}

circle "fast" -n auto
circle "thorough" -n auto -m "thorough and not real"
circle "sdk" -n auto --dist loadfile -m sdk
circle "docker" -n auto --dist loadfile -m docker
circle "real" -n auto --dist loadfile -m "real and not (alone or browser or sdk or docker)"
# Apart from the real ones: Playwright's loop stays in the process, and Django opens no database beside one.
circle "browser" -n auto --dist loadfile -m "browser and not sdk"
circle "alone" -m "alone and not sdk"
exit "$failed"
