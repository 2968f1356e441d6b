#!/usr/bin/env bash
# Tests Weir on several Debian kernels, each in a virtual machine of its own (test/vm), and prints a table; the last line is
# "N passed, N failed". A kernel that fails, or cannot be fetched, stops no other.
#
#   bash tools/test-kernels.sh [--quick] [--write] [PACKAGE/SUITE ...]
#
#   --quick   6.1 and 6.12 only, and of the suites of test/vm/checks.sh only load, tour and sctp: some minutes, as .ci/run has it
#   --write   puts the table into docs/kernels.md
#   WEIR_VM_SECONDS=3600   after which a machine is killed
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1

images=(linux-image-amd64/bookworm linux-image-amd64/bookworm-backports linux-image-amd64/trixie-backports)
export WEIR_VM_CHECKS='' WEIR_VM_SECONDS=${WEIR_VM_SECONDS:-3600}
write=()
chosen=()
for argument in "$@"; do
  case $argument in
    --quick)
      unset 'images[2]'
      WEIR_VM_CHECKS="load tour sctp"
      ;;
    --write) write=(--write docs/kernels.md) ;;
    *) chosen+=("$argument") ;;
  esac
done
[ ${#chosen[@]} -eq 0 ] || images=("${chosen[@]}")

{ bash tools/setup.sh && bash tools/setup.sh kernels; } || {
  printf '\n0 passed, 1 failed\n'
  exit 1
}
PATH=$PWD/node_modules/.bin:$PATH

logs=$(mktemp -d)
# Each machine in a process group of its own: a signal to its shell alone would leave qemu behind.
set -m
trap 'for job in $(jobs -p); do kill -- "-$job"; done 2>/dev/null; rm -rf "$logs"' EXIT

# One machine; shows what fails at once, and each suite's end.
run_image() {
  bash test/vm/run.sh "$1" 2>&1 | tee "$2" |
    sed -un -E "s#^(vm: (suite |no kernel|the machine )|vm: .*… failed|fetch: |E: )#${1#*/}: &#p"
}

# As many machines at once as there are processors.
arguments=()
for image in "${images[@]}"; do
  log=$logs/${image//\//-}
  arguments+=("$image=$log")
  while [ "$(jobs -rp | wc -l)" -ge "$(nproc)" ]; do wait -n; done
  run_image "$image" "$log" &
done
wait
node tools/kernels.ts "${write[@]}" "${arguments[@]}"
