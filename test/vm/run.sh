#!/usr/bin/env bash
# Boots a Debian kernel in a virtual machine over this machine's own files, and tests Weir on it; last line "N passed, N failed".
#
#   bash test/vm/run.sh [PACKAGE[/SUITE]] [-- COMMAND ...]
#
# PACKAGE is linux-image-amd64 and SUITE bookworm by default; linux-image-amd64/bookworm-backports is newer.
# With a COMMAND the machine runs that in this folder, in place of its checks. Nothing is installed: the kernel is unpacked below
# ~/.cache/weir (fetch.sh), and the machine sees the host's files but cannot change them.
#
#   WEIR_VM_SECONDS=600   after which the machine is killed      WEIR_VM_ACCEL=kvm     tcg (needs no KVM) by default
#   WEIR_VM_CHECKS="load tour"  only these suites of checks.sh   WEIR_VM_CPUS=1
set -euo pipefail
accelerator=${WEIR_VM_ACCEL:-tcg}
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd -P)

# Loaded before the host's files can be seen; all others are loaded on demand, as on any machine.
boot_modules=(virtio_pci 9pnet_virtio 9p overlay)

stop() {
  printf 'vm: %s\n' "$@" >&2
  printf '\n0 passed, 1 failed\n'
  exit 1
}

image=linux-image-amd64
if [ $# -gt 0 ] && [ "$1" != -- ]; then
  image=$1
  shift
fi
[ "${1-}" != -- ] || shift

command -v qemu-system-x86_64 >/dev/null ||
  stop "qemu-system-x86_64 is missing: sudo apt-get install --no-install-recommends qemu-system-x86"
[ -e "$root/dist/weir.js" ] || stop "dist/weir.js is missing: npm run setup"

work=$(mktemp -d)
machine=
# Reached by signals too: bash runs it before it ends.
finish() {
  [ -z "$machine" ] || kill "$machine" 2>/dev/null || true
  rm -rf "$work"
}
trap finish EXIT
trap 'exit 130' INT TERM

# The modules with their dependencies, those first, from modules.dep.
in_order() {
  local name line
  for name in "$@"; do
    line=$(grep -m 1 "/$name\.ko:" modules.dep) || continue # built in
    printf '%s\n' "${line/:/}" | tr ' ' '\n' | tac
  done | awk 'NF && !seen[$0]++'
}

build_initramfs() {
  local at=$work/initramfs module
  mkdir -p "$at/bin" "$at/modules"
  cp "$kernel/busybox" "$at/bin/busybox"
  cp "$root/test/vm/init.sh" "$at/init"
  chmod +x "$at/init"
  cd "$kernel/modules"
  in_order "${boot_modules[@]}" | while read -r module; do
    cp "$module" "$at/modules"
    basename "$module"
  done >"$at/modules/order"
  cd "$at"
  find . | "$kernel/busybox" cpio -o -H newc 2>"$work/cpio.log" | gzip -1 >"$work/initramfs.gz"
}

# The machine's settings, in a folder that it mounts.
write_share() {
  mkdir "$work/share"
  printf '%s\n' "$kernel" >"$work/share/kernel"
  printf '%s\n' "$root" >"$work/share/root"
  printf '%s\n' "${WEIR_VM_CHECKS-}" >"$work/share/checks"
  printf '%q ' "$@" >"$work/share/command"
}

boot() {
  local folder=local,readonly=on,multidevs=remap,security_model=none
  # One CPU and 2 GiB: what a small node has.
  timeout --foreground --kill-after=10 "${WEIR_VM_SECONDS:-600}" \
    qemu-system-x86_64 -accel "$accelerator" -cpu max -smp "${WEIR_VM_CPUS:-1}" -m 2048 -nodefaults -no-user-config -no-reboot \
    -display none -kernel "$kernel/vmlinuz" -initrd "$work/initramfs.gz" \
    -append "console=ttyS0 quiet loglevel=4 panic=-1 no_timer_check" \
    -serial stdio -virtfs "$folder,path=/,mount_tag=host" -virtfs "$folder,path=$work/share,mount_tag=share" \
    </dev/null > >(sed -u 's/\r\+$//' | tee "$work/console") 2>&1 &
  machine=$!
  wait "$machine" || echo "vm: the machine did not end by itself (status $?)"
  machine=
}

kernel=$(bash "$root/test/vm/fetch.sh" "$image" | tail -n 1)
[ -e "$kernel/release" ] || stop "no kernel of $image"
(build_initramfs)
write_share "$@"
echo "vm: Linux $(cat "$kernel/release") ($(cat "$kernel/package")), $accelerator"
boot
sleep 0.2 # tee may still be writing
closing=$(sed -n 's/^vm: closing: //p' "$work/console")
[ -n "$closing" ] || stop "the machine did not tell how it went"
printf '\n%s\n' "$closing"
[ "${closing#*, }" = "0 failed" ]
