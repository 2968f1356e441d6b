#!/usr/bin/env bash
# Sets up, checks types, lint and format, then runs the tests; the last line is "N passed, N failed".
#
#   bash tools/test.sh [--unit] [vitest arguments]     --unit: only what needs neither root nor eBPF
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1

passed=${WEIR_PASSED_BEFORE:-0}
failed=${WEIR_FAILED_BEFORE:-0}
skipped=0

finish() {
  local tail=""
  [ "$skipped" -eq 0 ] || tail=", $skipped skipped"
  printf '\n%d passed, %d failed%s\n' "$passed" "$failed" "$tail"
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
for argument in "$@"; do
  case $argument in
    --unit) arguments+=(--project unit) ;;
    *) arguments+=("$argument") ;;
  esac
done

bash tools/setup.sh || {
  failed=1
  finish
}
PATH=$PWD/node_modules/.bin:$PATH:/usr/sbin:/sbin

check "types" tsc --noEmit
check "lint and format of TypeScript" biome check --error-on-warnings --log-level=warn
check "format of C and C++" bash tools/clang-format.sh

tally=$(mktemp)
trap 'rm -f "$tally"' EXIT
WEIR_TALLY=$tally vitest run "${arguments[@]}"
status=$?
read -r tests_passed tests_failed tests_skipped <"$tally" || tests_passed=0 tests_failed=1 tests_skipped=0
# A run that ends badly with no failed test (a crash, a teardown that threw) has failed nevertheless.
[ "$status" -eq 0 ] || [ "$tests_failed" -gt 0 ] || tests_failed=1
passed=$((passed + tests_passed)) failed=$((failed + tests_failed)) skipped=$((skipped + tests_skipped))
finish
