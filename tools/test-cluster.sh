#!/usr/bin/env bash
# Sets up, finds or makes a kube-apiserver and etcd, then runs the tests against them; the last line is "N passed, N failed".
#
#   bash tools/test-cluster.sh [--full] [vitest arguments]     --full: all cases, more changes, and a large cluster
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1

give_up() {
  printf '\n0 passed, 1 failed\n'
  [ -z "${WEIR_TALLY:-}" ] || printf '0 1\nfailed: cluster: it could not be set up\n' >"$WEIR_TALLY"
  exit 1
}

arguments=()
for argument in "$@"; do
  case $argument in
    --full) export WEIR_CLUSTER_FULL=1 ;;
    *) arguments+=("$argument") ;;
  esac
done

bash tools/setup.sh || give_up
programs=$(bash tools/kubernetes.sh) || give_up
eval "$(sed 's/=\(.*\)/="\1"/; s/^/export TEST_ASSET_/' <<<"$programs")"
PATH=$PWD/node_modules/.bin:$PATH:/usr/sbin:/sbin
exec bash tools/isolated.sh vitest run --config test/cluster/vitest.config.ts "${arguments[@]}"
