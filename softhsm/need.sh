#!/usr/bin/env bash
# Installs the packages of missing commands: need.sh COMMAND=PACKAGE…
#
# Runs apt-get as root; for another user it prints the line to run and ends with 69 (EX_UNAVAILABLE).
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
