#!/usr/bin/env bash
# Installs Chancery by the README's "Install under systemd", literally, in a booted Debian with real systemd; then runs
# one-off commands, kills processes, and reboots.
#
#   tests/boot.sh            CHANCERY_BIN names a program that is built already; `cargo build` makes one without it
#
# Every line of the section's shell blocks runs unchanged, in one shell. Only `cargo` is replaced: the program is built
# outside, with `cargo build`, and lies in target/release before the first line. The trees are in target/boot. Ends with
# 0, with 1 after a failure, and with 69 where this machine cannot boot a system.
set -euo pipefail

cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
if [ -z "${CHANCERY_BIN:-}" ]; then
  cargo build --locked --quiet --bin chancery
  CHANCERY_BIN=$(cargo metadata --locked --format-version 1 --no-deps | jq -r .target_directory)/debug/chancery
fi
export BOOT_DIR=$PWD/target/boot BOOT_OWNER=$$
box=$PWD/tests/systemd-box.sh
tree=$BOOT_DIR/tree
config=/etc/chancery/chancery.toml

step() { printf '\n-- %s (%d s)\n' "$*" "$SECONDS"; }
good() { printf '   ok: %s\n' "$*"; }
die() {
  printf '\nboot.sh: %s\n' "$1" >&2
  echo "The journal said last:" >&2
  inside journalctl --no-pager --output=short-monotonic --lines=40 -u chancery -u chancery-signer >&2 || true
  exit 1
}
inside() { "$box" run "$@"; }
# A shell inside, with the operator's functions; it reads lines from standard input.
shell() { inside bash -e -o pipefail -c 'cd /root/chancery && . /dev/stdin'; }
until_it_holds() { # WHAT COMMAND…
  local what=$1
  shift
  for _ in $(seq 300); do
    ! inside "$@" > /dev/null 2>&1 || return 0
    sleep 0.2
  done
  die "expected within a minute: $what"
}
ready() { until_it_holds "$1: /readyz says 200" curl -fsS http://127.0.0.1:9443/readyz; }
lines_of() { # SECTION: the lines of its shell blocks
  awk -v title="$1" '/^##/ { here = $0 ~ "^##+ " title "$" } /^```/ { block = here && $0 == "```sh"; next } block' README.md | grep . ||
    die "README.md: expected shell blocks in the section \"$1\", found none"
}
show() { inside systemctl show --value -p "$2" "$1"; }
equal() { [ "$2" = "$3" ] || die "$1: expected $2, found $3"; }

# ---------------------------------------------------------------------------------------------------------------------
step "a fresh Debian"
"$box" stop # what an earlier run may have left
trap '"$box" stop' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
"$box" make
project=$tree/root/chancery
mkdir -p "$project/target/release"
cp -R README.md config softhsm systemd "$project"
install -m 755 "$CHANCERY_BIN" "$project/target/release/chancery"
printf '#!/bin/sh\necho "built outside: cargo $*"\n' > "$tree/usr/local/bin/cargo"
chmod 755 "$tree/usr/local/bin/cargo"
lines_of "Install under systemd" > "$project/install.sh"
lines_of "A refused PIN" > "$project/pin.sh"
lines_of "Auditors" > "$project/auditors.sh"
lines_of "Backup" > "$project/backup.sh"
lines_of "Restore" > "$project/back.sh"
lines_of "Adopting a backup" > "$project/decide.sh"
"$box" start
good "systemd $(inside systemctl --version | sed -n '1s/systemd \([0-9]*\).*/\1/p') is up"

step "the README's lines"
shell <<< 'set -v; . ./install.sh' 2>&1 | sed 's/^/   /' || die "a line of the README ended badly (above)"
for unit in chancery-signer chancery; do
  equal "$unit" "active notify enabled" "$(show $unit ActiveState) $(show $unit Type) $(show $unit UnitFileState)"
done
ready "the service"
good "both units are active, and ready; the answer is in a verified export"

shell <<< 'curl -sS --fail-with-body --cacert /etc/chancery/tls/server.pem --connect-to ::127.0.0.1:8443 https://as.bank.example/jwks > ~/trial/jwks
  softhsm/jwt.sh verify ~/trial/jwks "$(cat ~/trial/answer.jwt)"
  softhsm/jwt.sh claims "$(cat ~/trial/answer.jwt)" | jq -e ".token_introspection.active and .aud == \"payments-api\"" > /dev/null' ||
  die "the answer is not what the payment API has to get"
good "the answer verifies against /jwks with openssl"

# ---------------------------------------------------------------------------------------------------------------------
step "an auditor's export"
# The account has no rights but those of the group.
shell <<< 'set -v; . ./auditors.sh' 2>&1 | sed 's/^/   /' || die "a line of the README ended badly (above)"
equal "an auditor's export" "700 anna export
600 anna export/checkpoint" "$(inside bash -c 'cd ~anna && stat -c "%a %U %n" export export/checkpoint')"
equal "what an auditor is" "anna chancery-auditors" "$(inside id -nG anna)"
recorded=$(inside bash -c 'cat ~anna/export/tile/entries/*.p/* | grep -ao "\"operator\":\"auditor [^\"]*" | tail -n 1')
equal "the export's record" '"operator":"auditor anna (uid '"$(inside id -u anna)"')' "$recorded"
as_anna() { inside runuser --login anna --command "$1" 2> "$BOOT_DIR/anna.txt"; }
for directory in /var/lib/chancery/audit /var/lib/chancery/signer /run/chancery; do
  ! as_anna "ls $directory" > /dev/null || die "an auditor may look into $directory"
done
as_anna "chancery clock accept --config $config --reason x" && status=0 || status=$?
equal "the status of an operator's command" 77 "$status"
inside useradd --create-home boris
inside runuser --login boris --command "chancery audit export --config $config --out export" 2> "$BOOT_DIR/boris.txt" && status=0 || status=$?
equal "the status of an export by another account" 77 "$status"
grep -q "member of the group chancery-auditors" "$BOOT_DIR/boris.txt" || die "expected the group's name, found: $(cat "$BOOT_DIR/boris.txt")"
# An account that was removed from the group is no auditor any more, whatever group its processes still have.
inside gpasswd --delete anna chancery-auditors > /dev/null
inside setpriv --reuid=anna --regid=anna --groups=chancery-auditors chancery audit status --config $config > /dev/null 2>&1 && status=0 || status=$?
equal "the status of a command by a former auditor" 77 "$status"
good "a member of the group exports, verifies and commands nothing; other accounts are refused"

# ---------------------------------------------------------------------------------------------------------------------
step "owners and modes"
modes() { inside stat -c '%a %U:%G %n' /var/lib/chancery /var/lib/chancery/audit /var/lib/chancery/signer /var/lib/chancery/softhsm /etc/chancery/pin.cred; }
before=$(modes)
for command in "audit status" "key generate --help"; do
  # shellcheck disable=SC2086
  inside chancery-once $command > /dev/null || die "chancery-once $command: status $?"
done
equal "owners and modes after one-off commands" "$before" "$(modes)"
equal "owners and modes" "1771 root:chancery /var/lib/chancery
700 chancery-signer:chancery-signer /var/lib/chancery/audit
700 chancery-signer:chancery-signer /var/lib/chancery/signer
700 chancery-signer:chancery-signer /var/lib/chancery/softhsm
600 root:root /etc/chancery/pin.cred" "$before"
inside chancery-once audit nonsense > /dev/null 2>&1 && status=0 || status=$?
equal "the status of a one-off command" 64 "$status"
inside setpriv --reuid=chancery --regid=chancery --clear-groups ls /var/lib/chancery/audit /var/lib/chancery/softhsm > /dev/null 2>&1 &&
  die "the gateway's user may look into the signer's directories"
pin=$(cat "$tree/var/lib/chancery/softhsm/pin")
! inside journalctl --no-pager | grep -qF -- "$pin" || die "the PIN is in the journal"
good "one-off commands change no mode and hand on their status; the PIN is in no journal"

step "each process is killed, and comes back"
killed() { # UNIT
  local pid
  pid=$(show "$1" MainPID)
  inside kill -KILL "$pid"
  until_it_holds "$1 has another process" bash -c "p=\$(systemctl show --value -p MainPID $1); [ \$p != 0 ] && [ \$p != $pid ]"
  ready "after SIGKILL of $1"
}
for unit in chancery-signer chancery; do killed $unit; done
good "signer and gateway"

# An operator's check: a signed answer about the first token, and a log that proves both.
cat > "$project/again.sh" << 'AGAIN'
ask() { curl -sS --fail-with-body --cacert /etc/chancery/tls/server.pem --connect-to ::127.0.0.1:8443 "$@"; }
ask -K <(printf 'user = "payments-api:%s"' "$(cat ~/trial/payments-api.secret)") --data-urlencode token@$HOME/trial/token \
  -H 'Accept: application/token-introspection+jwt' https://as.bank.example/introspect > ~/trial/again.jwt
softhsm/jwt.sh verify ~/trial/jwks "$(cat ~/trial/again.jwt)"
softhsm/jwt.sh claims "$(cat ~/trial/again.jwt)" | jq -e .token_introspection.active > /dev/null
rm -rf ~/trial/export
chancery audit export --config /etc/chancery/chancery.toml --out ~/trial/export
chancery audit verify ~/trial/export --key ~/trial/log.vkey --jwt ~/trial/answer.jwt --jwt ~/trial/again.jwt
AGAIN
shell <<< '. ./again.sh' > "$BOOT_DIR/again.txt" 2>&1 || { cat "$BOOT_DIR/again.txt" >&2; die "no answer or no proof after both were killed"; }
good "the token is still active, and both answers are in a verified export"

step "a changed configuration"
pids() { echo "$(show chancery-signer MainPID) $(show chancery MainPID)"; }
before=$(pids)
inside systemctl reload chancery
ready "after a reload"
equal "both processes after a reload" "$before" "$(pids)"
inside bash -c "echo '# a comment' >> $config"
for unit in chancery-signer chancery; do
  killed $unit
done
good "a comment in the configuration keeps neither process from coming back; a reload ends none"

step "a PIN that the token refuses"
began=$(inside date +%s)
inside bash -c 'printf nonsense | systemd-creds encrypt --name=pin - /etc/chancery/pin.cred' 2> /dev/null
! inside systemctl restart chancery-signer 2> /dev/null || die "the signer is up with a wrong PIN"
login() { inside find /var/lib/chancery/softhsm/tokens -name token.object -printf '%T@ %p\n'; } # written at each login
before=$(login)
ended=$(show chancery-signer ExecMainExitTimestampMonotonic)
# The gateway's unit wants the signer: its restart starts the signer too, which must not try the PIN again.
inside systemctl restart chancery
until_it_holds "a start of the signer that ended" bash -c "systemctl is-failed chancery-signer && [ \$(systemctl show --value -p ExecMainExitTimestampMonotonic chancery-signer) -gt $ended ]"
! inside systemctl start chancery-signer 2> /dev/null || die "the signer is up with a PIN that was refused"
equal "the signer" "failed 77" "$(show chancery-signer ActiveState) $(show chancery-signer ExecMainStatus)"
equal "the last login to the token" "$before" "$(login)"
equal "the gateway" active "$(show chancery ActiveState)"
until_it_holds "/readyz says 503" bash -c '[ "$(curl -sS -o /dev/null -w "%{http_code}" http://127.0.0.1:9443/readyz)" = 503 ]'
inside journalctl --no-pager -u chancery-signer -p err --since "@$began" | grep -q PIN ||
  die "expected a line of priority err that names the PIN, found none"
good "it is tried once, whatever starts the signer; the gateway stays, and the journal has the error with its priority"

# The README's lines on a terminal: each prompt is answered when it appears.
inside timeout 120 bash -c '
  cd /root/chancery
  : > ../terminal.txt
  for question in Password: "enter User PIN"; do
    until grep -qa -- "$question" ../terminal.txt; do sleep 0.1; done
    cat /var/lib/chancery/softhsm/pin; echo
  done | script -qefc "bash pin.sh" ../terminal.txt > /dev/null' || { cat "$tree/root/terminal.txt" >&2; die "a line of the README ended badly"; }
ready "after the right PIN"
good "with the right PIN and one login by another tool it signs again"

step "a backup, and coming back from it"
readme() { # FILE: lines of the README
  shell <<< "set -v; . ./$1" > "$BOOT_DIR/$1.txt" 2>&1
}
again() { # WHEN
  shell <<< '. ./again.sh' > "$BOOT_DIR/again.txt" 2>&1 || { cat "$BOOT_DIR/again.txt" >&2; die "no answer or no proof $1"; }
}
decisions() { inside bash -c 'cat /var/lib/chancery/audit/published/tile/entries/0* /var/lib/chancery/audit/published/tile/entries/*/* 2> /dev/null | grep -ao "\"event\":\"log-adopted\"" | sort -u'; }
strangers() { # files of the service that belong to neither of its users as they should
  inside find /var/lib/chancery/audit /var/lib/chancery/signer ! -user chancery-signer
  inside find /var/lib/chancery -maxdepth 1 -name 'state.db*' ! -user chancery
}
readme backup.sh || { cat "$BOOT_DIR/backup.sh.txt" >&2; die "a line of the README ended badly"; }
good "made while the service runs, and whole"
inside systemctl stop chancery chancery-signer
inside chancery backup --config $config --out /root/backup-beside-a-stopped-service > /dev/null || die "no backup beside a stopped service"
equal "files that root made in the service's directories" "" "$(strangers)"
inside systemctl start chancery-signer chancery
ready "after a backup beside a stopped service"
again "after a backup beside a stopped service"
good "root makes one beside a stopped service too, and nothing there becomes root's"
inside systemctl stop chancery chancery-signer
inside bash -c 'rm -rf /var/lib/chancery/audit /var/lib/chancery/signer/* /var/lib/chancery/state.db*'
readme back.sh || { cat "$BOOT_DIR/back.sh.txt" >&2; die "a line of the README ended badly"; }
ready "on a host that had lost everything"
again "after coming back"
equal "files of other users" "" "$(strangers)"
equal "decisions in the log" "" "$(decisions)"
good "on a host that lost everything it starts by itself; the first answer is proved by the log that came back"
! readme back.sh || die "the signer forgot that it knows a newer log"
equal "the signer" "failed 65" "$(show chancery-signer ActiveState) $(show chancery-signer ExecMainStatus)"
readme decide.sh || { cat "$BOOT_DIR/decide.sh.txt" >&2; die "a line of the README ended badly"; }
ready "after the operator's decision"
again "after the operator's decision"
equal "decisions in the log" '"event":"log-adopted"' "$(decisions)"
good "on the host that made it the signer refuses, until a recorded decision"

step "a reboot"
"$box" reboot
ready "the service after a reboot"
for unit in chancery-signer chancery; do equal "$unit" active "$(show $unit ActiveState)"; done
shell <<< '. ./again.sh' > "$BOOT_DIR/again.txt" 2>&1 || { cat "$BOOT_DIR/again.txt" >&2; die "no answer or no proof after a reboot"; }
equal "failed units" "" "$(inside systemctl --failed --no-legend)"
good "it is up by itself, the token is still active, and the log verifies"

step "all of it holds"
