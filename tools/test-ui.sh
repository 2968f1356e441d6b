#!/usr/bin/env bash
# Sets up, installs a browser, then runs the tests of the page in it; the last line is "N passed, N failed".
#
#   bash tools/test-ui.sh [vitest arguments]
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1

bash tools/setup.sh && bash tools/setup.sh ui || {
  printf '\n0 passed, 1 failed\n'
  [ -z "${WEIR_TALLY:-}" ] || printf '0 1\nfailed: ui: it could not be set up\n' >"$WEIR_TALLY"
  exit 1
}
PATH=$PWD/node_modules/.bin:$PATH:/usr/sbin:/sbin
exec bash tools/isolated.sh vitest run --config test/ui/vitest.config.ts "$@"
