#!/usr/bin/env bash
# Fetches a Debian kernel for virtual machines, and Debian 12's static busybox, and unpacks them below ~/.cache/weir/kernels, unless they are
# there; nothing is installed. The last line is the folder: vmlinuz, busybox, release, package, modules/. Remove the folder for a newer kernel.
#
#   bash test/vm/fetch.sh [PACKAGE[/SUITE]]
set -euo pipefail
package=linux-image-amd64
suite=bookworm
if [ $# -gt 0 ]; then
  package=${1%%/*}
  [ "$package" = "$1" ] || suite=${1#*/}
fi
kept=${XDG_CACHE_HOME:-$HOME/.cache}/weir/kernels/$package-$suite

stop() {
  printf 'fetch: %s\n' "$@" >&2
  exit 1
}

for needed in apt-get:apt dpkg-deb:dpkg; do
  command -v "${needed%%:*}" >/dev/null ||
    stop "${needed%%:*} is missing: sudo apt-get install --no-install-recommends ${needed#*:}"
done
mkdir -p "${kept%/*}"
# Two virtual machines may start at once.
exec 9>"$kept.lock"
flock 9
if [ -e "$kept/release" ]; then
  printf '%s\n' "$kept"
  exit
fi
work=$(mktemp -d "$kept.XXXXXX")
trap 'rm -rf "$work"' EXIT

# An apt of our own: root's lists are neither needed nor touched, and of its sources only the archive's address is taken.
apt_options=()
prepare_apt() {
  local archive each source
  site() { apt-get indextargets --format '$(SITE)' | grep -m 1 '/debian$'; }
  # Images of machines often have empty lists.
  archive=$(site) || { [ "$(id -u)" = 0 ] && apt-get -q=2 update && archive=$(site); } ||
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

depends() { apt-cache "${apt_options[@]}" depends "$1" | sed -n "s/^ *Depends: \(linux-\($2\)-[0-9].*\)/\1/p"; }

prepare_apt
# linux-image-amd64 only names the package of the day, and that, from Linux 7 on, only those with the kernel and its modules.
kernel=$(depends "$package" image | head -n 1)
kernel=${kernel:-$package}
mapfile -t parts < <(depends "$kernel" 'base\|binary\|modules')
mkdir "$work/debs" "$work/files" "$work/kept"
(cd "$work/debs" && apt-get "${apt_options[@]}" download busybox-static "$kernel" "${parts[@]}")
for deb in "$work"/debs/*.deb; do
  # Of the kernel, what deals with networks and file systems; the rest is for hardware.
  dpkg-deb --fsys-tarfile "$deb" |
    tar -x -C "$work/files" --wildcards '*/bin/busybox' '*/vmlinuz*' '*/modules.*' '*/kernel/net/*' '*/kernel/fs/*' \
      '*/kernel/lib/*' '*/kernel/crypto/*' '*/kernel/drivers/net/*.ko*' '*/kernel/drivers/virtio/*' 2>"$work/tar.log" || true
done
image=$(find "$work/files" -name 'vmlinuz*')
busybox=$(find "$work/files" -name busybox -type f)
[ -n "$image" ] && [ -n "$busybox" ] || stop "no kernel in $package of $suite: $(cat "$work/tar.log")"
modules=$(find "$work/files" -type d -path '*/lib/modules/*' -prune)
[ "$(wc -l <<<"$image$modules")" -eq 1 ] || stop "several kernels in $package of $suite:" "$image" "$modules"
release=${modules##*/}
(cd "$modules" && find . -name '*.ko.xz' -exec "$busybox" unxz {} +)
"$busybox" depmod -b "${modules%/lib/modules/*}" "$release"
mv "$image" "$work/kept/vmlinuz"
mv "$busybox" "$work/kept/busybox"
mv "$modules" "$work/kept/modules"
basename "$work"/debs/linux-image-*.deb .deb >"$work/kept/package"
printf '%s\n' "$release" >"$work/kept/release"
rm -rf "$kept"
mv "$work/kept" "$kept"
printf '%s\n' "$kept"
