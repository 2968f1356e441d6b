#!/usr/bin/env bash
# Cgroups of version 1 for the nodes of one run: created beside all others of the machine, removed with everything below them.
#
#   bash test/node/cgroups.sh remove NAME     waits until the processes in it have ended
#   bash test/node/cgroups.sh names           prints the names of the existing ones
#
# As root, in a mount namespace of its own: it mounts each hierarchy below a temporary directory.
set -euo pipefail

if [ "${WEIR_CGROUPS:-}" = "" ]; then
  WEIR_CGROUPS=$(mktemp -d)
  trap 'rmdir "$WEIR_CGROUPS"' EXIT
  WEIR_CGROUPS=$WEIR_CGROUPS unshare --mount --propagation private bash "$0" "$@"
  exit
fi

# Also in node.sh.
controllers=(cpu cpuacct cpuset memory devices freezer blkio pids)
mount -t tmpfs cgroups "$WEIR_CGROUPS"
for controller in "${controllers[@]}"; do
  mkdir "$WEIR_CGROUPS/$controller"
  mount -t cgroup -o "$controller" cgroup "$WEIR_CGROUPS/$controller" || {
    echo "cgroups.sh: no cgroup controller '$controller' of version 1 here; boot with systemd.unified_cgroup_hierarchy=0" >&2
    exit 1
  }
done
case $1 in
  names) find "$WEIR_CGROUPS" -mindepth 2 -maxdepth 2 -name 'weir-node-*' -printf '%f\n' | sort -u ;;
  remove)
    for attempt in {1..200}; do
      find "$WEIR_CGROUPS"/*/"$2" -depth -type d -exec rmdir {} + 2>/dev/null || true
      left=$(find "$WEIR_CGROUPS" -mindepth 2 -maxdepth 2 -name "$2" | wc -l)
      [ "$left" -gt 0 ] || exit 0
      sleep 0.1
    done
    echo "cgroups.sh: $2 stays, after $attempt attempts: its processes have not ended" >&2
    exit 1
    ;;
esac
