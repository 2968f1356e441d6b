#!/usr/bin/env bash
# One node of a cluster, in namespaces of its own: containerd, kubelet and kube-proxy on a view of this machine's files whose changes go
# to a directory. All of it ends with this process.
#
#   bash test/node/node.sh DIRECTORY     in the node's network namespace; DIRECTORY as test/node/nodes.ts prepares it
#
# The machine must have the controllers of cgroup version 1 (kubelet 1.20 and containerd 1.6 are older than most of version 2).
set -euo pipefail
directory=$1
# Also in cgroups.sh.
controllers=(cpu cpuacct cpuset memory devices freezer blkio pids)

# Outside: cgroups for all that the node runs, below which it sees nothing else. tools/test-node.sh removes them.
if [ "${2:-}" != inside ]; then
  for controller in "${controllers[@]}"; do
    cgroup=$directory/cgroup/$controller
    mkdir -p "$cgroup"
    mount -t cgroup -o "$controller" cgroup "$cgroup"
    for path in "${WEIR_NODE_CGROUP:?}" "$WEIR_NODE_CGROUP/${WEIR_NODE_NAME:?}"; do
      mkdir -p "$cgroup/$path"
      if [ "$controller" = cpuset ]; then
        for file in cpuset.cpus cpuset.mems; do cat "$cgroup/$file" >"$cgroup/$path/$file"; done
      fi
    done
    echo $$ >"$cgroup/$path/cgroup.procs"
  done
  exec unshare --fork --kill-child --pid --mount --propagation private --uts --ipc --cgroup bash "$0" "$directory" inside
fi

hostname "$WEIR_NODE_NAME"
mount -t proc proc /proc
# Programs that look for cgroups in /proc/self/mountinfo use the first that they find.
while mountpoint -q /sys; do umount --recursive --lazy /sys; done
findmnt --list --noheadings --types cgroup,cgroup2 --output TARGET | xargs -r -n1 umount --lazy
mount -t sysfs sysfs /sys
mount -t tmpfs cgroup /sys/fs/cgroup
for controller in "${controllers[@]}"; do
  mkdir "/sys/fs/cgroup/$controller"
  mount -t cgroup -o "$controller" cgroup "/sys/fs/cgroup/$controller"
done
mount -t bpf bpf /sys/fs/bpf

# The kubelet sets sysctls that are the whole machine's. Here, bind-mounted files in their place already have the values that it sets.
sysctl() {
  mkdir -p "$directory/sysctl"
  echo "$2" >"$directory/sysctl/$1"
  mount --bind "$directory/sysctl/$1" "/proc/sys/${1//.//}"
}
sysctl vm.overcommit_memory 1
sysctl vm.panic_on_oom 0
sysctl kernel.panic 10
sysctl kernel.panic_on_oops 1
sysctl kernel.keys.root_maxkeys 1000000
sysctl kernel.keys.root_maxbytes 25000000

mount -t tmpfs run /run
mkdir -p /run/lock /run/netns
for top in etc opt var; do
  mkdir -p "$directory/$top/"{upper,work}
  mount -t overlay -o "lowerdir=/$top,upperdir=$directory/$top/upper,workdir=$directory/$top/work" "$top" "/$top"
done
# containerd's snapshots are overlays themselves, which the kernel does not stack on another overlay.
mkdir -p "$directory/containerd" /var/lib/containerd /var/lib/kubelet /var/log/pods /etc/cni/net.d /opt/cni/bin /etc/kubernetes/manifests
mount --bind "$directory/containerd" /var/lib/containerd
cp /usr/lib/cni/* /opt/cni/bin/
rm -rf /etc/cni/net.d/*
cp "$directory/cni.conflist" /etc/cni/net.d/10-pods.conflist
cp "$directory/"*.config /etc/kubernetes/
# Mounts that pods ask for by propagation come from a shared tree.
mount --make-rshared /
PATH=$WEIR_NODE_BIN:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

start() {
  local name=$1
  shift
  "$@" >>"$directory/$name.log" 2>&1 </dev/null &
}

start containerd containerd --config /etc/kubernetes/containerd.config
until ctr version >/dev/null 2>&1; do sleep 0.1; done
for image in "$directory"/../images/*.tar; do ctr --namespace k8s.io images import "$image" >>"$directory/images.log" 2>&1; done
start kubelet kubelet --config=/etc/kubernetes/kubelet.config --kubeconfig=/etc/kubernetes/kubeconfig.config --hostname-override="$WEIR_NODE_NAME" \
  --container-runtime=remote --container-runtime-endpoint=unix:///run/containerd/containerd.sock --node-ip="$WEIR_NODE_IP" --v=2
# It requests its node a few times only, and then uses a loopback address as the node's.
until kubectl --kubeconfig=/etc/kubernetes/kubeconfig.config get node "$WEIR_NODE_NAME" >/dev/null 2>&1; do sleep 0.2; done
start kube-proxy kube-proxy --config=/etc/kubernetes/kube-proxy.config --hostname-override="$WEIR_NODE_NAME" --v=2
wait -n || true
echo "node.sh: a part of $WEIR_NODE_NAME has ended" >&2
exit 1
