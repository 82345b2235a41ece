#!/usr/bin/env bash
# Builds the daemon as it is released and measures it: tests/bench/run.sh [--quick] [--json] [--seconds N] …
# Nothing else should run on the machine meanwhile. It needs softhsm2.
set -euo pipefail
cd -- "$(dirname -- "$0")/../.."
if ! command -v softhsm2-util >/dev/null; then
  echo "run.sh: softhsm2-util is missing; on Debian: apt-get install softhsm2" >&2
  exit 69
fi
exec cargo bench --locked --bench bench -- "$@"
