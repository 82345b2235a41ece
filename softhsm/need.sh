#!/usr/bin/env bash
# Sees to it that commands are there: need.sh COMMAND=PACKAGE…
#
# What is missing is installed with apt-get by root; another user gets the line to run, and status 69 (EX_UNAVAILABLE).
set -euo pipefail

packages=()
for pair in "$@"; do
  command -v "${pair%%=*}" > /dev/null || packages+=("${pair#*=}")
done
[ ${#packages[@]} -gt 0 ] || exit 0

if ! command -v apt-get > /dev/null; then
  echo "need.sh: install with your package manager what Debian calls: ${packages[*]}" >&2
  exit 69
fi
if [ "$(id -u)" -ne 0 ]; then
  echo "need.sh: something is missing; as root, run this and start again:" >&2
  echo "  apt-get update && apt-get install --yes --no-install-recommends ${packages[*]}" >&2
  exit 69
fi
echo "installing ${packages[*]}"
export DEBIAN_FRONTEND=noninteractive
apt-get update --quiet=2 && apt-get install --quiet=2 --yes --no-install-recommends "${packages[@]}" > /dev/null || {
  echo "need.sh: apt-get could not install ${packages[*]}; its messages are above" >&2
  exit 69
}
