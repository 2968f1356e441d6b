#!/usr/bin/env bash
# Sets up, then runs the soak test in namespaces of its own; its table goes to stdout, and the exit status is 1 unless all
# of it is as it should be. What it makes goes with its namespaces, or is removed by the test itself, whatever ends it.
#
#   bash tools/test-soak.sh [--minutes N] [--seed S] [--pods N] [...]      see test/soak/soak.ts --help
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1

{ bash tools/setup.sh && bash tools/setup.sh soak; } >&2 || exit 1
PATH=$PWD/node_modules/.bin:$PATH:/usr/sbin:/sbin
# shellcheck source=tools/run-and-wait.sh
source tools/run-and-wait.sh
run_and_wait bash tools/isolated.sh node test/soak/soak.ts "$@"
