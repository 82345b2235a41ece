#!/usr/bin/env bash
# Boots a real systemd (PID 1 of its own namespaces) in a small Debian tree, and runs commands in it.
#
#   systemd-box.sh make     a fresh tree: a copy of what debootstrap made, which runs once (a minute, 290 MB)
#   systemd-box.sh start    boot it; returns when `systemctl is-system-running --wait` does
#   systemd-box.sh run COMMAND...   run a command inside as root; ends with the status of that command
#   systemd-box.sh reboot   `systemctl reboot` inside; returns when it is up again
#   systemd-box.sh stop     an ordinary shutdown, at most 90 s
#   systemd-box.sh clean    remove both trees
#
# Environment: BOOT_DIR, where the trees go; BOOT_OWNER, a process whose end stops the system; BOOT_MIRROR (what apt
# uses), BOOT_SUITE (the host's own). Ends with 69 where this machine cannot do it.
# The host needs root, systemd-container and debootstrap, and no systemd as PID 1. The system inside has loopback alone.
# Nothing of the host is changed but one empty cgroup, which goes away with `stop`.
set -euo pipefail

dir=${BOOT_DIR:?expected a directory for the trees}
base=$dir/base
tree=$dir/tree
# Two checkouts on one host have systems of different names.
name=chancery-boot-$(cksum <<< "$dir" | cut -d' ' -f1)
packages=systemd,systemd-sysv,dbus,softhsm2,opensc,curl,jq,openssl,ca-certificates,procps,xxd

die() { echo "systemd-box.sh: $1" >&2; exit "${2:-1}"; }
# The number of a process that ended long ago may be another's today, so its command line must name the tree.
alive() {
  [ -s "$dir/nspawn.pid" ] && tr '\0' ' ' 2> /dev/null < "/proc/$(cat "$dir/nspawn.pid")/cmdline" | grep -qF -- "--directory=$tree "
}
leader() { # nspawn makes its inner child with CLONE_PARENT: PID 1 of the system is a direct child of nspawn
  local nspawn child=
  nspawn=$(cat "$dir/nspawn.pid")
  read -r child _ < "/proc/$nspawn/task/$nspawn/children" || true # the file has no line's end
  [ -n "$child" ] && echo "$child"
}
inside() { # COMMAND...: all namespaces of the system, a clean environment
  nsenter --target "$(leader)" --all -- env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    HOME=/root LANG=C.UTF-8 TERM=dumb SYSTEMD_COLORS=0 SYSTEMD_PAGER= "$@"
}
cgroups() { # where this system has its cgroup; none of our business where the host has systemd
  [ -d /run/systemd/system ] || printf '%s\n' /sys/fs/cgroup/unified /sys/fs/cgroup/systemd /sys/fs/cgroup
}

made_by() { { declare -f bootstrap && echo "$packages"; } | sha256sum; }

bootstrap() {
  local mirror suite unit
  mirror=${BOOT_MIRROR:-$(sed -n 's/^URIs: *//p; s/^deb \(\[[^]]*\] \)\{0,1\}\(http[^ ]*\).*/\2/p' \
    /etc/apt/sources.list.d/debian.sources /etc/apt/sources.list 2> /dev/null | head -n 1 || true)}
  suite=${BOOT_SUITE:-$(. /etc/os-release && echo "${VERSION_CODENAME:-}")}
  [ -n "$mirror" ] && [ -n "$suite" ] || die "no Debian mirror or suite found: set BOOT_MIRROR and BOOT_SUITE" 69
  rm -rf --one-file-system -- "$base" "$base.partial"
  # A tree that a broken host leaves half done is made again: dpkg need not sync each file of it.
  mkdir -p "$base.partial/etc/dpkg/dpkg.cfg.d"
  echo force-unsafe-io > "$base.partial/etc/dpkg/dpkg.cfg.d/unsafe-io"
  debootstrap --variant=minbase --include="$packages" "$suite" "$base.partial" "$mirror" > "$dir/debootstrap.log" 2>&1 ||
    { tail -n 5 "$dir/debootstrap.log" >&2; die "debootstrap failed; all it said is in $dir/debootstrap.log" 69; }
  # A name and a machine-id of its own; no login prompt and no timers that want a network.
  echo "$name" > "$base.partial/etc/hostname"
  printf '127.0.0.1 localhost %s\n' "$name" > "$base.partial/etc/hosts"
  : > "$base.partial/etc/machine-id"
  for unit in console-getty.service apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer; do
    ln -sf /dev/null "$base.partial/etc/systemd/system/$unit"
  done
  # The journal outlives a reboot, and nothing of it is dropped.
  mkdir -p "$base.partial/var/log/journal" "$base.partial/etc/systemd/journald.conf.d"
  printf '[Journal]\nStorage=persistent\nRateLimitBurst=0\n' > "$base.partial/etc/systemd/journald.conf.d/boot.conf"
  # Debian's mirror serves packages that need not come a second time; the tree does not.
  rm -rf "$base.partial"/var/cache/apt/archives/*.deb "$base.partial"/var/lib/apt/lists/*
  made_by > "$base.partial/made-by"
  mv -- "$base.partial" "$base"
}

make() {
  ! alive || die "it runs already: $0 stop"
  [ "$(id -u)" -eq 0 ] || die "expected root, found $(id -un)" 69
  command -v debootstrap systemd-nspawn > /dev/null || die "apt-get install debootstrap systemd-container" 69
  unshare --mount --pid --net --fork true 2> /dev/null || die "this machine lets root make no namespaces" 69
  mkdir -p -- "$dir"
  [ "$(cat "$base/made-by" 2> /dev/null)" = "$(made_by)" ] || bootstrap
  rm -rf --one-file-system -- "$tree"
  cp -a --reflink=auto -- "$base" "$tree"
}

start() {
  ! alive || die "it runs already (process $(cat "$dir/nspawn.pid"))"
  [ -e "$tree/etc/debian_version" ] || die "no tree: $0 make" 66
  local options=(--quiet --boot --directory="$tree" --machine="$name" --console=pipe --register=no
    --private-network --link-journal=no --resolv-conf=off --timezone=off
    # Both are needed, or systemd inside attaches no BPF program and IPAddressDeny= is silently not enforced: a test of it
    # would prove nothing. (SocketBindDeny= is not enforced either way: Debian 12 builds systemd with -BPF_FRAMEWORK.)
    --capability=CAP_BPF,CAP_PERFMON,CAP_NET_ADMIN,CAP_SYS_RESOURCE --system-call-filter='bpf perf_event_open @keyring')
  # A PID 1 that is no systemd (a container, a CI machine) knows no scopes: nspawn stays in the cgroup of its caller.
  [ -d /run/systemd/system ] || options+=(--keep-unit)
  (
    # A cgroup of its own in the hierarchies that nspawn uses. Controllers of version 1 stay with the host: inside there
    # is a pure cgroup v2, and limits (MemoryMax=) do not bind there.
    for top in $(cgroups); do
      [ -w "$top/cgroup.procs" ] || continue
      mkdir -p "$top/$name" && echo "$BASHPID" > "$top/$name/cgroup.procs"
    done
    # The system sees cgroup v2 alone, also where the host is hybrid: BPF programs of systemd need that.
    SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1 exec setsid systemd-nspawn "${options[@]}" < /dev/null > "$dir/console.log" 2>&1
  ) &
  # The subshell becomes nspawn (exec; setsid forks only for a leader of a process group, which it is not).
  local pid=$! state='' until=$((SECONDS + 90))
  echo "$pid" > "$dir/nspawn.pid"
  while [ $SECONDS -lt $until ]; do
    kill -0 "$pid" 2> /dev/null || { tail -n 20 "$dir/console.log" >&2 || true; die "systemd-nspawn ended"; }
    state=$(inside timeout 20 systemctl is-system-running --wait 2> /dev/null) || true
    case $state in running | degraded) break ;; esac
    sleep 0.2
  done
  case $state in
    running) ;;
    degraded) inside systemctl --failed --no-legend >&2 ;;
    *) die "not up after 90 s: ${state:-no answer}; its console is in $dir/console.log" ;;
  esac
  [ -z "${BOOT_OWNER:-}" ] || guard
}

# Stops the system when its owner was killed in a way that no trap sees.
guard() {
  local self
  self=$(readlink -f -- "$0")
  setsid bash -c 'while kill -0 "$1" && kill -0 "$2"; do sleep 1; done; kill -0 "$1" || exec "$3" stop' \
    guard "$BOOT_OWNER" "$(cat "$dir/nspawn.pid")" "$self" < /dev/null > /dev/null 2>&1 &
}

ended() { # SECONDS: waits for the end of nspawn
  for _ in $(seq $(($1 * 5))); do alive || return 0; sleep 0.2; done
  return 1
}

stop() {
  if alive; then
    kill -TERM "$(cat "$dir/nspawn.pid")" # nspawn asks PID 1 for an orderly end
    ended 90 || { kill -KILL "$(cat "$dir/nspawn.pid")"; die "it did not end in 90 s; killed"; }
  fi
  rm -f -- "$dir/nspawn.pid"
  for top in $(cgroups); do
    [ ! -d "$top/$name" ] || find "$top/$name" -depth -type d -exec rmdir {} + 2> /dev/null || true
  done
}

reboot() { # with --keep-unit nspawn does not start again by itself: it ends with 133, and a manager would start it
  inside systemctl reboot 2> /dev/null || true # PID 1 may be gone before it answers
  ended 90 || die "it did not go down in 90 s"
  start
}

case ${1:-} in
  make) make ;;
  start) start ;;
  run) shift; alive || die "it does not run: $0 start"; inside "$@" ;;
  reboot) alive || die "it does not run: $0 start"; reboot ;;
  stop) stop ;;
  clean) ! alive || die "it runs: $0 stop"; rm -rf --one-file-system -- "$tree" "$base" "$base.partial" "$dir/console.log" "$dir/debootstrap.log" ;;
  *) sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0" >&2; exit 64 ;;
esac
