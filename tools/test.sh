#!/usr/bin/env bash
# Sets up, checks types, lint and format, then runs the tests; the last line is "N passed, N failed".
# Without arguments the tests that need root run in three parts side by side, each in namespaces of its own. The files of a few tests that
# failed are run again afterwards, with the machine to themselves: what passes then counts as passed, and is named as "passed alone".
#
#   bash tools/test.sh [--unit] [--cluster] [--ui] [vitest arguments]
#     --unit: only what needs neither root nor eBPF     --cluster, --ui: at the end tools/test-cluster.sh, tools/test-ui.sh too
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1

passed=${WEIR_PASSED_BEFORE:-0}
failed=0
# Each with its reason: "skipped: NAME: REASON", "failed: NAME: ERROR", and "passed alone: NAME: ERROR" of the run beside others.
skipped=() failures=() passed_alone=()
[ -z "${WEIR_FAILURES_BEFORE:-}" ] || mapfile -t failures <<<"$WEIR_FAILURES_BEFORE"
failed=${#failures[@]}
# How many tests' files are run again; where more have failed, it is not the machine's load.
max_again=4

finish() {
  local tail=""
  [ ${#skipped[@]} -eq 0 ] || tail=", ${#skipped[@]} skipped"
  echo
  for line in "${skipped[@]}" "${passed_alone[@]}" "${failures[@]}"; do echo "$line"; done
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
    failed=$((failed + 1)) failures+=("failed: check: $name")
  fi
}

arguments=()
cluster=false ui=false
for argument in "$@"; do
  case $argument in
    --unit) arguments+=(--project unit) ;;
    --cluster) cluster=true ;;
    --ui) ui=true ;;
    *) arguments+=("$argument") ;;
  esac
done

{ bash tools/setup.sh && bash tools/setup.sh charts test-packages; } || {
  failed=1
  finish
}
PATH=$PWD/node_modules/.bin:$PATH:/usr/sbin:/sbin

check "types" tsc --noEmit
check "types of the page" tsc --noEmit -p src/ui
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

# A tally is the reporter's: "PASSED FAILED", then lines as in skipped and failures.
count() {
  local name status tally line tests_passed tests_failed
  for name in "$@"; do
    tally=("0 1" "failed: $name: it ended before it had run its tests")
    [ ! -s "$logs/$name.tally" ] || mapfile -t tally <"$logs/$name.tally"
    # Anything but two numbers would end this function in the middle, and nothing would be counted.
    [[ ${tally[0]} =~ ^[0-9]+\ [0-9]+$ ]] || tally=("0 1" "failed: $name: its tally is malformed: ${tally[0]}")
    read -r tests_passed tests_failed <<<"${tally[0]}"
    # A run that ends badly with no failed test (a crash, a teardown that threw) has failed nevertheless.
    read -r status <"$logs/$name.status" || status=1
    if [ "$status" -ne 0 ] && [ "$tests_failed" -eq 0 ]; then
      tests_failed=1 tally+=("failed: $name: it ended with status $status")
    fi
    passed=$((passed + tests_passed)) failed=$((failed + tests_failed))
    for line in "${tally[@]:1}"; do
      case $line in
        skipped:*) skipped+=("$line") ;;
        *) failures+=("$line") ;;
      esac
    done
  done
}

# again PATTERN COMMAND ...: runs the files of the failed tests that match it again, if they are few.
again() {
  local pattern=$1 line still=() these=() files=()
  shift
  for line in "${failures[@]}"; do
    if [[ $line =~ ^failed:\ ($pattern[^ ]*\.test\.ts) ]]; then
      these+=("$line")
      [[ " ${files[*]} " == *" ${BASH_REMATCH[1]} "* ]] || files+=("${BASH_REMATCH[1]}")
    else
      still+=("$line")
    fi
  done
  [ ${#these[@]} -gt 0 ] && [ ${#these[@]} -le $max_again ] || return 0
  printf '\nonce more, alone: %s\n' "${files[*]}"
  rm -f "$logs/again.tally"
  tests again "$@" "${files[@]}"
  [ "$(<"$logs/again.status")" -eq 0 ] && [ -s "$logs/again.tally" ] || return 0
  passed=$((passed + ${#these[@]})) failed=$((failed - ${#these[@]}))
  failures=("${still[@]}")
  for line in "${these[@]}"; do passed_alone+=("passed alone: ${line#failed: }"); done
}

# Root's tests never see the machine's own network, BPF filesystem and settings.
isolated=()
[ "$(id -u)" -ne 0 ] || isolated=(bash tools/isolated.sh)

if [ ${#arguments[@]} -gt 0 ]; then
  tests all "${isolated[@]}" vitest run "${arguments[@]}"
  count all
else
  tests unit vitest run --project unit
  # They wait for timers and packets most of the time. Of the other parts the output is shown when the first has ended.
  kernel=("${isolated[@]}" vitest run --project native --project packet --project netns)
  for part in 2 3; do tests "part-$part" "${kernel[@]}" --shard="$part/3" >"$logs/part-$part.log" 2>&1 & done
  tests part-1 "${kernel[@]}" --shard=1/3
  wait
  cat "$logs/part-2.log" "$logs/part-3.log"
  count unit part-1 part-2 part-3
  again test/unit/ vitest run --project unit
  again "(test/packet|test/netns|native/test)/" "${isolated[@]}" vitest run --project native --project packet --project netns
fi
if $ui; then
  tests ui bash tools/test-ui.sh
  count ui
  again test/ui/ bash tools/test-ui.sh
fi
if $cluster; then
  tests cluster bash tools/test-cluster.sh
  count cluster
  again test/cluster/ bash tools/test-cluster.sh
fi
finish
