#!/usr/bin/env bash
# Runs every check, from any directory: format, lints, documentation, all tests, the demonstration.
#
# Installs missing packages with apt-get as root; otherwise prints the line to run and ends with 69. Needs the network
# for apt and cargo alone. The last line is "N passed, N failed"; the status is 0 only if nothing failed.
set -euo pipefail

cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
export CARGO_TERM_COLOR=never

softhsm/need.sh softhsm2-util=softhsm2 pkcs11-tool=opensc openssl=openssl curl=curl jq=jq xxd=xxd python3=python3 \
  strace=strace systemd-analyze=systemd cc=build-essential
# Only root can boot a system; missing tools for that are reported at the end and are no failure.
[ "$(id -u)" -ne 0 ] || softhsm/need.sh systemd-nspawn=systemd-container debootstrap=debootstrap || true
if ! command -v cargo > /dev/null; then
  echo "tests/run.sh: cargo is missing: install Rust as https://rustup.rs says, then start again" >&2
  exit 69
fi
for component in rustfmt clippy; do
  "cargo-${component/rust/}" --version > /dev/null 2>&1 || rustup component add "$component"
done

work=$(mktemp -d)
demo=
finish() {
  # Only the demonstration's own daemon, by the process id in its file.
  [ -z "$demo" ] || [ ! -s "$demo/serve.pid" ] || kill "$(cat "$demo/serve.pid")" 2> /dev/null || true
  rm -rf -- "$work"
}
trap finish EXIT

passed=0
failed=0
failures=()
skipped=()

# check NAME COMMAND…: one check.
check() {
  local name=$1 begin=$SECONDS
  shift
  printf '\n== %s\n' "$name"
  if "$@"; then
    passed=$((passed + 1))
    printf -- '-- %s: passed in %d s\n' "$name" $((SECONDS - begin))
  else
    failed=$((failed + 1))
    failures+=("$name")
    printf -- '-- %s: FAILED after %d s\n' "$name" $((SECONDS - begin))
  fi
}

# A machine that cannot boot a system (69, EX_UNAVAILABLE) counts neither as passed nor as failed.
boots() {
  local status=0
  BOOT_DIR=$PWD/target/boot tests/systemd-box.sh make || status=$?
  if [ "$status" -eq 69 ]; then
    skipped+=("booted system: this machine cannot boot one, for the reason above")
  else
    check "booted system" tests/boot.sh
  fi
}

# Every "test result:" line counts; a run that fails without a failed test (it did not compile) is one failure.
cargo_test() {
  local begin=$SECONDS status=0 counts
  printf '\n== tests\n'
  # Most of them wait for other processes.
  RUST_TEST_THREADS=${RUST_TEST_THREADS:-$((3 * $(nproc)))} cargo test --locked --no-fail-fast 2>&1 | tee "$work/tests" || status=$?
  counts=$(awk '/^test result:/ { p += $4; f += $6 } END { print p + 0, f + 0 }' "$work/tests")
  passed=$((passed + ${counts% *}))
  failed=$((failed + ${counts#* }))
  while read -r name; do failures+=("test $name"); done < <(sed -n 's/^test \(.*\) \.\.\. FAILED$/\1/p' "$work/tests")
  if [ "$status" -ne 0 ] && [ "${counts#* }" -eq 0 ]; then
    failed=$((failed + 1))
    failures+=("cargo test ended with status $status")
  fi
  printf -- '-- tests: %s passed, %s failed in %d s\n' "${counts% *}" "${counts#* }" $((SECONDS - begin))
}

scripts() {
  local script
  for script in softhsm/*.sh tests/*.sh tests/*/*.sh .ci/run; do
    bash -n "$script" && [ -x "$script" ] || { echo "$script: expected a script that can run" >&2; return 1; }
  done
}

# The lines that the demonstration prints, each by itself in the same shell, as if typed.
by_hand() {
  bash -e "$demo/by-hand.sh" && kill -0 "$(cat "$demo/serve.pid")"
}

stopped() {
  local pid
  pid=$(cat "$demo/serve.pid")
  kill "$pid"
  for _ in $(seq 350); do
    kill -0 "$pid" 2> /dev/null || return 0
    sleep 0.1
  done
  echo "process $pid was still there 35 s after SIGTERM" >&2
  return 1
}

check "scripts" scripts
check "format" cargo fmt --all --check
check "lints" cargo clippy --locked --all-targets -- -D warnings
check "documentation" env RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps --lib --document-private-items --quiet
cargo_test
check "fuzzing" tests/fuzz/run.sh
if cargo build --locked --quiet --bin chancery; then
  target=$(cargo metadata --locked --format-version 1 --no-deps | jq -r .target_directory)
  export CHANCERY_BIN=$target/debug/chancery
  demo=$target/demo-of-tests
  check "demonstration" softhsm/demo.sh --dir "$demo"
  check "demonstration a second time, kept" softhsm/demo.sh --keep --dir "$demo"
  check "demonstration, by hand" by_hand
  check "demonstration, ended" stopped
  boots
else
  failed=$((failed + 1))
  failures+=("build for the demonstration")
fi

printf '\n== all of it took %d s\n' "$SECONDS"
for reason in ${skipped[@]+"${skipped[@]}"}; do printf 'SKIPPED: %s\n' "$reason"; done
for failure in ${failures[@]+"${failures[@]}"}; do printf 'FAILED: %s\n' "$failure"; done
printf '%d passed, %d failed\n' "$passed" "$failed"
[ "$failed" -eq 0 ]
