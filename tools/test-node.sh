#!/usr/bin/env bash
# Sets up, finds or builds the programs of Kubernetes, then runs the tests on real nodes; the last line is "N passed, N failed".
# What it makes is below one temporary directory and one cgroup, and is removed at the end, whatever ends it; what a killed run has
# left, by the next run.
#
#   bash tools/test-node.sh [vitest arguments]
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1

give_up() {
  printf '\n0 passed, 1 failed\n'
  [ -z "${WEIR_TALLY:-}" ] || printf '0 1\nfailed: node: it could not be set up\n' >"$WEIR_TALLY"
  exit 1
}

bash tools/setup.sh || give_up
bash tools/setup.sh charts node || give_up
programs=$(bash tools/kubernetes.sh kube-apiserver etcd kubelet kube-proxy kube-controller-manager kube-scheduler kubectl \
  containerd containerd-shim-runc-v2 ctr runc) || give_up
eval "$(sed 's/=\(.*\)/="\1"/; s/^/export TEST_ASSET_/' <<<"$programs")"
PATH=$PWD/node_modules/.bin:$PATH:/usr/sbin:/sbin

runs=${TMPDIR:-/tmp}/weir-node
remove() { bash test/node/cgroups.sh remove "weir-node-$1" && rm -rf --one-file-system "$runs-$1"; }
names=$(bash test/node/cgroups.sh names) || give_up
for name in $names; do
  [ -e "/proc/${name#weir-node-}" ] || remove "${name#weir-node-}" || give_up
done

export WEIR_NODE_CGROUP=weir-node-$$ WEIR_NODE_DIRECTORY=$runs-$$
mkdir -m 700 "$WEIR_NODE_DIRECTORY" || give_up
# shellcheck source=tools/run-and-wait.sh
source tools/run-and-wait.sh
run_and_wait bash tools/isolated.sh vitest run --config test/node/vitest.config.ts "$@"
status=$?
remove $$ || status=1
exit "$status"
