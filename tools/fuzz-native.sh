#!/usr/bin/env bash
# Sets up, builds weir-cni's parsers with libFuzzer, AddressSanitizer and UndefinedBehaviorSanitizer, and runs them on
# mutations of test/fuzz/corpus/weir-cni. The exit status is 0 only if nothing failed; an input that fails is put into
# the corpus, from where it is tried first from then on. With --addon, the addon of native/ instead, built with the same
# sanitizers, gets calls with random arguments (test/fuzz/addon.ts), in namespaces of its own.
#
#   bash tools/fuzz-native.sh [--addon] [--minutes N] [--seed S]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

minutes=0.25
addon=false
seed=$((RANDOM * 32768 + RANDOM + 1))
while [ $# -gt 0 ]; do
  case $1 in
    --addon)
      addon=true
      shift
      continue
      ;;
    --minutes) minutes=$2 ;;
    --seed) seed=$2 ;;
    *)
      echo "fuzz-native.sh: unknown argument $1; write: fuzz-native.sh [--addon] [--minutes N] [--seed S]" >&2
      exit 2
      ;;
  esac
  shift 2
done

if $addon; then
  bash tools/setup.sh >&2
  make -s -C native sanitized
  # Node.js itself frees little at its end. Its sanitizer's runtime must come first.
  exec bash tools/isolated.sh env LD_PRELOAD="$(c++ -print-file-name=libasan.so)" \
    ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1 \
    node_modules/node/bin/node --expose-gc test/fuzz/addon.ts native/build/sanitized --minutes "$minutes" --seed "$seed"
fi

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
