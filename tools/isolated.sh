#!/usr/bin/env bash
# Runs a command in network and mount namespaces of its own: no network but its loopback, its own /run/netns and BPF filesystem.
# Needs root. What it makes there goes with its last process, whatever ends it.
#
#   bash tools/isolated.sh COMMAND [ARGUMENT ...]
set -euo pipefail

[ $# -gt 0 ] || {
  echo "isolated.sh: no command; write: isolated.sh COMMAND [ARGUMENT ...]" >&2
  exit 2
}

# sysfs shows the interfaces of the namespace that it was mounted in, and hides what was mounted below the one before.
# shellcheck disable=SC2016
exec unshare --net --mount --propagation private bash -c '
  set -e
  mount -t sysfs sysfs /sys
  mount -t bpf bpf /sys/fs/bpf
  mount -t tracefs tracefs /sys/kernel/tracing 2>/dev/null || true
  mount -t cgroup2 cgroup2 /sys/fs/cgroup 2>/dev/null || true
  mount -t tmpfs tmpfs /run
  mkdir -p /run/netns
  ip link set lo up
  exec "$@"
' isolated "$@"
