#!/usr/bin/env bash
# Sets up, builds weir-cni's parsers with libFuzzer, AddressSanitizer and UndefinedBehaviorSanitizer, and runs them on
# mutations of test/fuzz/corpus/weir-cni. The exit status is 0 only if nothing failed; an input that fails is put into
# the corpus, from where it is tried first from then on.
#
#   bash tools/fuzz-native.sh [--minutes N] [--seed S]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

minutes=0.25
seed=$((RANDOM * 32768 + RANDOM + 1))
while [ $# -gt 0 ]; do
  case $1 in
    --minutes) minutes=$2 ;;
    --seed) seed=$2 ;;
    *)
      echo "fuzz-native.sh: unknown argument $1; write: fuzz-native.sh [--minutes N] [--seed S]" >&2
      exit 2
      ;;
  esac
  shift 2
done

bash tools/setup.sh packages fuzz >&2
make -s -C cni fuzz
seconds=$(awk -v minutes="$minutes" 'BEGIN { printf "%d", minutes * 60 }')
# What it finds by the way is of this run: only failures are kept.
found=$(mktemp -d)
trap 'rm -rf "$found"' EXIT
status=0
cni/build/test/fuzz -seed="$seed" -max_total_time="$seconds" -max_len=8192 -timeout=10 -rss_limit_mb=1024 \
  -artifact_prefix=test/fuzz/corpus/weir-cni/ "$found" test/fuzz/corpus/weir-cni >"$found.log" 2>&1 || status=$?
# Otherwise the log is what the plugin itself writes.
[ "$status" -eq 0 ] || tail -n 60 "$found.log"
echo "fuzz-native: seed $seed: $(grep -a '^Done' "$found.log" || echo "ended early with status $status")"
rm -f "$found.log"
exit "$status"
