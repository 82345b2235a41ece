#!/usr/bin/env bash
# Coverage-guided fuzzing of what reads strangers' bytes, with the stable compiler.
#
#   tests/fuzz/run.sh                   each target: its corpus, then two seconds of new inputs
#   tests/fuzz/run.sh TARGET SECONDS    one target for as long as you like; what reaches something new joins its corpus
#   tests/fuzz/run.sh --smaller TARGET  keeps of its corpus only the inputs that together reach as much
#
# Main.rs lists the targets. A finding is written to target/fuzz/found and ends the run with a status other than 0.
set -euo pipefail

here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
root=$here/../..
found=$root/target/fuzz/found
export CARGO_TERM_COLOR=never
target=$(cargo metadata --manifest-path "$root/Cargo.toml" --locked --format-version 1 --no-deps | jq -r .target_directory)
# The profile of the tests: overflow checks, debug assertions, and its dependencies are there after `cargo test`.
RUSTC_WORKSPACE_WRAPPER=$here/rustc cargo build --manifest-path "$root/Cargo.toml" --package chancery-fuzz --locked --quiet
fuzz=$target/debug/fuzz
mkdir -p "$found"

# try TARGET SECONDS NEW: limits of memory and of time are limits of the parsers too.
try() {
  local corpus=$here/corpus/$1
  mkdir -p "$corpus" "$3"
  CHANCERY_FUZZ=$1 "$fuzz" -max_total_time="$2" -max_len=8192 -timeout=5 -rss_limit_mb=1024 -malloc_limit_mb=64 \
    -artifact_prefix="$found/$1-" -print_final_stats=1 "$3" "$corpus" 2>&1
}

if [ $# -eq 2 ] && [ "$1" = --smaller ]; then
  smaller=$(mktemp -d)
  trap 'rm -rf -- "$smaller"' EXIT
  CHANCERY_FUZZ=$2 "$fuzz" -merge=1 -max_len=8192 "$smaller" "$here/corpus/$2" 2>&1 | tail -1
  rm -f -- "$here/corpus/$2"/*
  cp -- "$smaller"/* "$here/corpus/$2/"
elif [ $# -eq 2 ]; then
  try "$1" "$2" "$here/corpus/$1"
elif [ $# -eq 0 ]; then
  new=$(mktemp -d)
  trap 'rm -rf -- "$new"' EXIT
  status=0
  for target in $(sed -n 's/^    ("\([a-z]*\)", .*/\1/p' "$here/main.rs"); do
    if try "$target" 2 "$new/$target" > "$new/log"; then
      printf '%-10s %s inputs tried, %s\n' "$target" \
        "$(sed -n 's/^stat::number_of_executed_units: *//p' "$new/log")" \
        "$(grep -o 'cov: [0-9]*' "$new/log" | tail -1)"
    else
      status=1
      echo "$target: a finding, see $found; try it again with CHANCERY_FUZZ=$target $fuzz FILE"
      tail -n 40 "$new/log"
    fi
  done
  exit $status
else
  sed -n '2,9s/^# \{0,1\}//p' "$0" >&2
  exit 64
fi
