#!/usr/bin/env bash
# Sets up, checks types, lint and format, then runs the tests; the last line is "N passed, N failed".
# Without arguments the tests that need root run in two halves side by side, each in namespaces of its own.
#
#   bash tools/test.sh [--unit] [--cluster] [vitest arguments]
#     --unit: only what needs neither root nor eBPF     --cluster: at the end tools/test-cluster.sh too
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1

passed=${WEIR_PASSED_BEFORE:-0}
failed=${WEIR_FAILED_BEFORE:-0}
# Each skipped test with its reason.
skipped=()

finish() {
  local tail=""
  [ ${#skipped[@]} -eq 0 ] || tail=", ${#skipped[@]} skipped"
  echo
  [ ${#skipped[@]} -eq 0 ] || printf 'skipped: %s\n' "${skipped[@]}"
  printf '%d passed, %d failed%s\n' "$passed" "$failed" "$tail"
  [ "$failed" -eq 0 ]
  exit
}

# A check counts as one test; the ones after it run all the same, so that one run shows all that is wrong.
check() {
  local name=$1
  shift
  if "$@"; then
    echo "check: $name … ok"
    passed=$((passed + 1))
  else
    echo "check: $name … failed: $*"
    failed=$((failed + 1))
  fi
}

arguments=()
cluster=false
for argument in "$@"; do
  case $argument in
    --unit) arguments+=(--project unit) ;;
    --cluster) cluster=true ;;
    *) arguments+=("$argument") ;;
  esac
done

{ bash tools/setup.sh && bash tools/setup.sh charts test-packages; } || {
  failed=1
  finish
}
PATH=$PWD/node_modules/.bin:$PATH:/usr/sbin:/sbin

check "types" tsc --noEmit
check "lint and format of TypeScript" biome check --error-on-warnings --log-level=warn
check "format of C and C++" bash tools/clang-format.sh

logs=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null; rm -rf "$logs"' EXIT

# tests NAME COMMAND ...: runs vitest by a command, and notes how that ended.
tests() {
  local name=$1
  shift
  WEIR_TALLY=$logs/$name.tally "$@"
  echo $? >"$logs/$name.status"
}

# A tally is the reporter's: "PASSED FAILED SKIPPED", then a line for each skipped test.
count() {
  local name status tally tests_passed tests_failed
  for name in "$@"; do
    tally=("0 1 0")
    [ ! -s "$logs/$name.tally" ] || mapfile -t tally <"$logs/$name.tally"
    read -r tests_passed tests_failed _ <<<"${tally[0]}"
    # A run that ends badly with no failed test (a crash, a teardown that threw) has failed nevertheless.
    read -r status <"$logs/$name.status" || status=1
    [ "$status" -eq 0 ] || [ "$tests_failed" -gt 0 ] || tests_failed=1
    passed=$((passed + tests_passed)) failed=$((failed + tests_failed)) skipped+=("${tally[@]:1}")
  done
}

# Root's tests never see the machine's own network, BPF filesystem and settings.
isolated=()
[ "$(id -u)" -ne 0 ] || isolated=(bash tools/isolated.sh)

if [ ${#arguments[@]} -gt 0 ]; then
  tests all "${isolated[@]}" vitest run "${arguments[@]}"
  count all
else
  tests unit vitest run --project unit
  # They wait for timers and packets half of the time. The other half is shown when the first has ended.
  kernel=("${isolated[@]}" vitest run --project native --project packet --project netns)
  tests half-2 "${kernel[@]}" --shard=2/2 >"$logs/half-2.log" 2>&1 &
  tests half-1 "${kernel[@]}" --shard=1/2
  wait
  cat "$logs/half-2.log"
  count unit half-1 half-2
fi
if $cluster; then
  tests cluster bash tools/test-cluster.sh
  count cluster
fi
finish
