#!/usr/bin/env bash
# Checks the format of the C and C++ files; with --write, formats them.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

mode=(--dry-run --Werror)
[ "${1:-}" != --write ] || mode=(-i)
find bench bpf cni native test \( -name node_modules -o -name build -o -name dist \) -prune -o \
  \( -name '*.c' -o -name '*.h' -o -name '*.cc' \) -print0 | xargs -0r clang-format-19 --style=file "${mode[@]}"
