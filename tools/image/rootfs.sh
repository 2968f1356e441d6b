#!/usr/bin/env bash
# Gathers the whole file system of the image below a directory: Weir, Node.js, the libraries that these two load, and nothing else.
#
#   bash tools/image/rootfs.sh DIR     after tools/setup.sh has built everything
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
to=${1:?say where: rootfs.sh DIR}

weir=$to/opt/weir
mkdir -p "$weir"/{bpf,cni/build,native/build,node_modules/node/bin} "$to"/{etc,proc,sys,dev,run,tmp,var,usr/lib,usr/lib64,usr/local/bin}
ln -s usr/lib "$to/lib"
ln -s usr/lib64 "$to/lib64"
ln -s ../run "$to/var/run"
chmod 1777 "$to/tmp"

cp -r dist package.json LICENSE NOTICE "$weir/"
cp -r native/package.json native/dist "$weir/native/"
cp native/build/bpf_ts.node "$weir/native/build/"
cp cni/build/weir-cni "$weir/cni/build/"
cp -r bpf/build bpf/LICENSE bpf/LICENSE.GPL-2.0 "$weir/bpf/"
ln -s ../native "$weir/node_modules/bpf-ts"
cp node_modules/node/bin/node "$weir/node_modules/node/bin/"
cp node_modules/node/node_modules/node-linux-*/LICENSE "$weir/node_modules/node/"
cp tools/image/weir "$to/usr/local/bin/weir"
# Symbols help nobody who has no debugger, and are an eighth of the image; what addons look up in Node.js stays.
strip --strip-unneeded "$weir/node_modules/node/bin/node" "$weir/native/build/bpf_ts.node" "$weir/cni/build/weir-cni"

# Compiled into weir-cni; its licence goes with every copy.
install -Dm644 -t "$to/usr/share/doc/nlohmann-json3-dev" /usr/share/doc/nlohmann-json3-dev/copyright

# Names for the two users that pods run as; hosts by file, then DNS.
printf 'root:x:0:0:root:/:/sbin/nologin\nnobody:x:65534:65534:nobody:/:/sbin/nologin\n' >"$to/etc/passwd"
printf 'root:x:0:\nnogroup:x:65534:\n' >"$to/etc/group"
printf 'hosts: files dns\n' >"$to/etc/nsswitch.conf"

# Of each library: the file, its licence, and the entry by which scanners know its version.
ldd "$weir/node_modules/node/bin/node" "$weir/native/build/bpf_ts.node" |
  sed -n 's/.*=> \(\/[^ ]*\) .*/\1/p; s/^\t\(\/[^ ]*\) (.*/\1/p' | sort -u |
  while read -r library; do
    path=/usr${library#/usr}
    mkdir -p "$to$(dirname "$path")"
    cp -L "$library" "$to$path"
    package=$(dpkg -S "$(realpath "$library")" 2>/dev/null || dpkg -S "$(realpath "$library" | sed 's/^\/usr//')")
    package=${package%%:*}
    mkdir -p "$to/usr/share/doc/$package" "$to/var/lib/dpkg/status.d"
    cp -L "/usr/share/doc/$package/copyright" "$to/usr/share/doc/$package/"
    dpkg-query --status "$package" >"$to/var/lib/dpkg/status.d/$package"
  done
