#!/usr/bin/env bash
# Makes one SoftHSM 2 token for tests and demonstrations: token.sh DIR LABEL
#
# DIR then holds softhsm2.conf (set SOFTHSM2_CONF to it), tokens/, and the PINs in pin and so-pin, readable for their
# owner alone. Both PINs are arguments of softhsm2-util and so appear in the process list: for test tokens only.
set -euo pipefail

if [ $# -ne 2 ] || [ -z "$1" ] || [ -z "$2" ]; then
  echo "usage: token.sh DIR LABEL" >&2
  exit 64
fi
if [ "$(printf %s "$2" | wc -c)" -gt 32 ]; then
  echo "token.sh: a token label has at most 32 bytes: $2" >&2
  exit 64
fi
if ! command -v softhsm2-util >/dev/null; then
  echo "token.sh: softhsm2-util is missing; install it, on Debian with: apt-get install softhsm2" >&2
  exit 69
fi

umask 077
mkdir -p -- "$1"
dir=$(cd -- "$1" && pwd -P)
for made in softhsm2.conf tokens pin so-pin; do
  if [ -e "$dir/$made" ]; then
    echo "token.sh: $dir/$made exists already; give another directory, or remove that token first" >&2
    exit 73
  fi
done

# From here on a failure removes what this run made, so that no half token stays.
trap 'rm -rf -- "$dir/softhsm2.conf" "$dir/tokens" "$dir/pin" "$dir/so-pin"' ERR
random() { od -An -v -N16 -tx1 /dev/urandom | tr -d ' \n'; }
mkdir -- "$dir/tokens"
random > "$dir/pin"
random > "$dir/so-pin"
cat > "$dir/softhsm2.conf" <<CONF
directories.tokendir = $dir/tokens
objectstore.backend = file
log.level = ERROR
CONF
SOFTHSM2_CONF="$dir/softhsm2.conf" softhsm2-util --init-token --free --label "$2" \
  --so-pin "$(cat "$dir/so-pin")" --pin "$(cat "$dir/pin")" >/dev/null
