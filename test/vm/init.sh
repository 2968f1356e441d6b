#!/bin/busybox sh
# The virtual machine's first process, in its initramfs: mounts an overlay in memory over the host's files, and switches to it.
set -e
/bin/busybox --install -s /bin
export PATH=/bin
mkdir -p /proc /sys /dev /host /changes /whole
mount -t proc proc /proc
mount -t devtmpfs dev /dev
while read -r module; do insmod "/modules/$module"; done </modules/order

options=ro,trans=virtio,version=9p2000.L,msize=512000,cache=loose
mount -t 9p -o "$options" host /host
mount -t tmpfs changes /changes
mkdir /changes/files /changes/work
mount -t overlay -o lowerdir=/host,upperdir=/changes/files,workdir=/changes/work whole /whole

mount --move /dev /whole/dev
mount --move /proc /whole/proc
mount -t sysfs sys /whole/sys
# What runs on the host, and the names of its network namespaces, are not ours.
mount -t tmpfs run /whole/run
mkdir /whole/run/share
mount -t 9p -o "$options" share /whole/run/share
root=$(cat /whole/run/share/root)
exec switch_root /whole /bin/bash "$root/test/vm/guest.sh"
