#!/usr/bin/env bash
# Sets up, then runs the soak test in namespaces of its own; its table goes to stdout, and the exit status is 1 unless all
# of it is as it should be. What it makes goes with its namespaces, or is removed by the test itself, whatever ends it.
#
#   bash tools/test-soak.sh [--minutes N] [--seed S] [--pods N] [...]      see test/soak/soak.ts --help
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1

{ bash tools/setup.sh && bash tools/setup.sh soak; } >&2 || exit 1
PATH=$PWD/node_modules/.bin:$PATH:/usr/sbin:/sbin
bash tools/isolated.sh node test/soak/soak.ts "$@" &
soak=$!
trap 'kill -TERM "$soak" 2>/dev/null' INT TERM HUP
# A signal ends the first wait; the test still has to clean up.
wait "$soak"
status=$?
while kill -0 "$soak" 2>/dev/null; do
  wait "$soak"
  status=$?
done
exit "$status"
