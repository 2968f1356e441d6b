#!/usr/bin/env bash
# The virtual machine after its initramfs: configures the kernel like a node's, runs the checks or a command, and switches off.
set -u
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8
share=/run/share
cd "$(cat $share/root)" || exit
trap 'sync; echo o >/proc/sysrq-trigger; sleep 60' EXIT

mkdir -p "/usr/lib/modules/$(uname -r)" /dev/pts /dev/shm
kernel=$(cat $share/kernel)
mount --bind "$kernel/modules" "/usr/lib/modules/$(uname -r)"
mount -t devpts devpts /dev/pts
mount -t tmpfs shm /dev/shm
mount -t bpf bpf /sys/fs/bpf
mount -t cgroup2 cgroup /sys/fs/cgroup
# The kernel requests modules by starting this.
# Not below /run, where isolated.sh mounts something else.
ln -sf "$kernel/busybox" /usr/local/sbin/modprobe
echo /usr/local/sbin/modprobe >/proc/sys/kernel/modprobe
ip link set lo up

export PATH=$PWD/node_modules/.bin:$PATH
command=$(cat $share/command)
started=$(cut -d . -f 1 /proc/uptime)
if [ -n "$command" ] && [ "$command" != "'' " ]; then
  if (eval "$command") </dev/null; then closing="1 passed, 0 failed"; else closing="0 passed, 1 failed"; fi
else
  # shellcheck disable=SC2046 # names of suites
  bash test/vm/checks.sh $(cat $share/checks) </dev/null
  closing=$(cat /run/closing) || closing="0 passed, 1 failed"
fi
echo "vm: $(($(cut -d . -f 1 /proc/uptime) - started)) s of checks, $started s to boot"
echo "vm: closing: $closing"
