#!/usr/bin/env bash
# Boots a Debian kernel in a virtual machine over this machine's own files, and tests Weir on it; last line "N passed, N failed".
#
#   bash test/vm/run.sh [PACKAGE[/SUITE]] [-- COMMAND ...]
#
# PACKAGE is linux-image-amd64 and SUITE bookworm by default; linux-image-amd64/bookworm-backports is newer.
# With a COMMAND the machine runs that in this folder, in place of its checks. Nothing is installed and nothing remains: the kernel
# is fetched and unpacked in a temporary folder, and the machine sees the host's files but cannot change them.
#
#   WEIR_VM_SECONDS=600   after which the machine is killed      WEIR_VM_ACCEL=kvm     tcg (needs no KVM) by default
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

package=linux-image-amd64
suite=bookworm
if [ $# -gt 0 ] && [ "$1" != -- ]; then
  package=${1%%/*}
  [ "$package" = "$1" ] || suite=${1#*/}
  shift
fi
[ "${1-}" != -- ] || shift

for needed in qemu-system-x86_64:qemu-system-x86 apt-get:apt dpkg-deb:dpkg; do
  command -v "${needed%%:*}" >/dev/null ||
    stop "${needed%%:*} is missing: sudo apt-get install --no-install-recommends ${needed#*:}"
done
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

# An apt of our own: root's lists are neither needed nor touched, and of its sources only the archive's address is taken.
apt_options=()
prepare_apt() {
  local archive each source
  archive=$(apt-get indextargets --format '$(SITE)' | grep -m 1 '/debian$') ||
    stop "apt knows no Debian archive on this machine (apt-get update as root, once)"
  source="deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] ${archive%/debian}"
  local suites=("/debian $suite")
  mkdir -p "$work/apt/lists/partial" "$work/apt/cache/archives/partial"
  apt_options=(-q=2 -o Dir::Etc::sourcelist="$work/apt/sources.list" -o Dir::Etc::sourceparts=- -o Acquire::Languages=none
    -o Dir::State::lists="$work/apt/lists" -o Dir::Cache="$work/apt/cache" -o APT::Sandbox::User=)
  case $suite in
    *-*) apt_options+=(-o APT::Default-Release="$suite") ;; # else apt prefers what is no backport
    *) suites+=("/debian-security $suite-security") ;;
  esac
  # Debian 12's busybox serves every kernel.
  [ "$suite" = bookworm ] || suites+=("/debian bookworm")
  for each in "${suites[@]}"; do printf '%s%s main\n' "$source" "$each"; done >"$work/apt/sources.list"
  apt-get "${apt_options[@]}" update
}

# linux-image-amd64 only names the package that holds the kernel of the day.
kernel_package() {
  apt-cache "${apt_options[@]}" depends "$package" | sed -n 's/^ *Depends: \(linux-image-[0-9].*\)/\1/p' | head -n 1
}

fetch() {
  local kernel
  prepare_apt
  kernel=$(kernel_package)
  mkdir "$work/debs" "$work/files"
  (cd "$work/debs" && apt-get "${apt_options[@]}" download busybox-static "${kernel:-$package}")
  for deb in "$work"/debs/*.deb; do
    # Of the kernel, what deals with networks and file systems; the rest is for hardware.
    dpkg-deb --fsys-tarfile "$deb" |
      tar -x -C "$work/files" --wildcards '*/bin/busybox' '*/vmlinuz-*' '*/modules.*' '*/kernel/net/*' '*/kernel/fs/*' \
        '*/kernel/lib/*' '*/kernel/crypto/*' '*/kernel/drivers/net/*.ko*' '*/kernel/drivers/virtio/*' 2>"$work/tar.log" || true
  done
}

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
  cp "$busybox" "$at/bin/busybox"
  cp "$root/test/vm/init.sh" "$at/init"
  chmod +x "$at/init"
  cd "$modules"
  find . -name '*.ko.xz' -exec "$busybox" unxz {} +
  "$busybox" depmod -b "${modules%/lib/modules/*}" "$release"
  in_order "${boot_modules[@]}" | while read -r module; do
    cp "$module" "$at/modules"
    basename "$module"
  done >"$at/modules/order"
  cd "$at"
  find . | "$busybox" cpio -o -H newc 2>"$work/cpio.log" | gzip -1 >"$work/initramfs.gz"
}

# The machine's settings, in a folder that it mounts.
write_share() {
  mkdir "$work/share"
  ln "$busybox" "$work/share/modprobe"
  mv "$modules" "$work/share/modules"
  printf '%s\n' "$root" >"$work/share/root"
  printf '%q ' "$@" >"$work/share/command"
}

boot() {
  local folder=local,readonly=on,multidevs=remap,security_model=none
  # One CPU and 2 GiB: what a small node has.
  timeout --foreground --kill-after=10 "${WEIR_VM_SECONDS:-600}" \
    qemu-system-x86_64 -accel "$accelerator" -cpu max -smp 1 -m 2048 -nodefaults -no-user-config -no-reboot -display none \
    -kernel "$kernel" -initrd "$work/initramfs.gz" -append "console=ttyS0 quiet loglevel=4 panic=-1 no_timer_check" \
    -serial stdio -virtfs "$folder,path=/,mount_tag=host" -virtfs "$folder,path=$work/share,mount_tag=share" \
    </dev/null > >(sed -u 's/\r\+$//' | tee "$work/console") 2>&1 &
  machine=$!
  wait "$machine" || echo "vm: the machine did not end by itself (status $?)"
  machine=
}

fetch
kernel=$(find "$work/files" -name 'vmlinuz-*')
busybox=$(find "$work/files" -name busybox -type f)
[ -n "$kernel" ] && [ -n "$busybox" ] || stop "no kernel in $package of $suite: $(cat "$work/tar.log")"
release=${kernel##*/vmlinuz-}
modules=$(find "$work/files" -type d -path "*/lib/modules/$release")
(build_initramfs)
write_share "$@"
echo "vm: Linux $release ($(basename "$work"/debs/linux-image-*.deb .deb)), $accelerator"
boot
sleep 0.2 # tee may still be writing
closing=$(sed -n 's/^vm: closing: //p' "$work/console")
[ -n "$closing" ] || stop "the machine did not tell how it went"
printf '\n%s\n' "$closing"
[ "${closing#*, }" = "0 failed" ]
