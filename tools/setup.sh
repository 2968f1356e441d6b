#!/usr/bin/env bash
# Brings a clone to the state in which Weir can be run and tested; safe to run again, and quick when nothing is missing. Each step says
# what it will cost before it starts, and how far it is every ten seconds.
#
#   bash tools/setup.sh            every step but charts, test-packages, node, kernels, soak, fuzz and ui, which only tests need
#   bash tools/setup.sh STEP ...   only these: packages, modules, bpffs, kernel, native, cni, bpf, layout, dist, charts, test-packages, node,
#                                  kernels, soak, fuzz, ui
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
cd "$root"

# Every Debian package that a build or a test uses, each with the command, library or header that shows it is there.
requirements=(
  "clang-19 command:clang-19"
  "clang-format-19 command:clang-format-19"
  "g++ command:c++"
  "make command:make"
  "pkg-config command:pkg-config"
  "libbpf-dev library:libbpf"
  "libelf-dev library:libelf"
  "zlib1g-dev library:zlib"
  "nlohmann-json3-dev header:/usr/include/nlohmann/json.hpp"
  "linux-libc-dev header:/usr/include/linux/bpf.h"
  "bpftool command:bpftool"
  "iproute2 command:ip"
  "iputils-ping command:ping"
  "nftables command:nft"
  "containernetworking-plugins header:/usr/lib/cni/ptp"
  "git command:git"
  "openssl command:openssl"
)

# Programs that only tests use: the shells whose completion is tested, what counts page faults for the bench's own test, and what bench/path compares with.
test_requirements=(
  "zsh command:zsh"
  "fish command:fish"
  "linux-perf command:perf"
  "iptables command:iptables"
  "ipset command:ipset"
  "conntrack command:conntrack"
)

# What tools/helm-template is made of, which stands in for helm where there is none.
chart_requirements=(
  "golang-go command:go"
  "golang-github-masterminds-sprig-dev header:/usr/share/gocode/src/github.com/Masterminds/sprig/functions.go"
  "golang-gopkg-yaml.v3-dev header:/usr/share/gocode/src/gopkg.in/yaml.v3/yaml.go"
)

# What the nodes of `npm run test:node` use beside Kubernetes' own programs (tools/kubernetes.sh).
node_requirements=(
  "iptables command:iptables"
  "conntrack command:conntrack"
  "busybox-static header:/usr/share/doc/busybox-static"
  "procps command:ps"
)

# What `npm run test:kernels` boots kernels with.
kernel_requirements=(
  "qemu-system-x86 command:qemu-system-x86_64"
)

# What `npm run test:soak` uses beside what tests use.
soak_requirements=(
  "conntrack command:conntrack"
)

# libFuzzer and the sanitizers of clang-19.
fuzz_requirements=(
  "libclang-rt-19-dev header:/usr/lib/llvm-19/lib/clang/19/lib/linux"
)

# The browser of `npm run test:ui`.
ui_requirements=(
  "chromium command:chromium"
)

# npm may be run with the machine's own Node; all else runs with the one that package-lock.json pins.
system_path=$PATH
PATH=$root/node_modules/.bin:$PATH:/usr/sbin:/sbin

begin() { printf 'setup: %s … ' "$1"; }
ok() { printf 'ok%s\n' "${1:+ ($1)}"; }
stop() {
  printf 'failed\n'
  printf 'setup: %s\n' "$@" >&2
  exit 1
}

# Runs a command, shows every ten seconds how long it has taken and the last line of its output, and ends the step's line; shows the
# whole output where it fails.
run() {
  local log ticker status=0 started=$SECONDS
  log=$(mktemp)
  # Without the lock of main, which a sleep that outlives its ticker would keep.
  ticks "$log" 9>&- &
  ticker=$!
  "$@" >"$log" 2>&1 || status=$?
  kill "$ticker" 2>/dev/null
  wait "$ticker" 2>/dev/null || true
  if [ "$status" -eq 0 ]; then
    rm -f "$log"
    ok "$((SECONDS - started)) s"
    return
  fi
  printf 'failed: %s\n' "$*"
  cat "$log" >&2
  rm -f "$log"
  exit 1
}

ticks() {
  local started=$SECONDS last
  while sleep 10 >/dev/null 2>&1; do
    last=$(tail -n 1 "$1" | tr -dc '[:print:]')
    printf '\nsetup:   %d s%s … ' $((SECONDS - started)) "${last:+: ${last:0:100}}"
  done
}

has() {
  local what=${1#*:}
  case $1 in
    command:*) command -v "$what" >/dev/null ;;
    library:*) command -v pkg-config >/dev/null && pkg-config --exists "$what" ;;
    header:*) [ -e "$what" ] ;;
  esac
}

# True if the file $1 exists and nothing in the rest (files, and directories, which tell of deleted files) is newer.
fresh() {
  local made=$1
  shift
  [ -e "$made" ] && [ -z "$(find "$@" -newer "$made" -print -quit)" ]
}

step_packages() {
  begin "Debian packages"
  provide "${requirements[@]}"
}

# Installs those of the packages that are missing, and ends the step's line.
provide() {
  local missing=() entry
  for entry in "$@"; do
    has "${entry#* }" || missing+=("${entry%% *}")
  done
  if [ ${#missing[@]} -eq 0 ]; then
    ok "0 missing"
    return
  fi
  if ! command -v apt-get >/dev/null || ! [ -e /etc/debian_version ]; then
    stop "this is not Debian, and these are missing (by their Debian names): ${missing[*]}" \
      "install what holds them on this system, then run 'npm run setup' again; Debian 12 and 13 have them all"
  fi
  if [ "$(id -u)" -ne 0 ]; then
    stop "missing Debian packages, which only root can install: ${missing[*]}" \
      "run: sudo apt-get update && sudo apt-get install --no-install-recommends ${missing[*]}"
  fi
  printf '%d missing: %s\nsetup:   ' ${#missing[@]} "${missing[*]}"
  # The lists of a fresh image are empty.
  if [ -z "$(cost_of "${missing[@]}")" ]; then
    printf 'fetching the package lists … '
    run apt-get update
    printf 'setup:   '
  fi
  printf '%s … ' "$(cost_of "${missing[@]}")"
  run install_packages "${missing[@]}"
}

# What apt-get would fetch and unpack for these packages, with a rough time (some 6 MB on disk a second, with an ordinary line and two
# processors); nothing where it does not know them.
cost_of() {
  local said fetched unpacked unit
  said=$(LC_ALL=C apt-get install --assume-no --no-install-recommends "$@" 2>/dev/null) || true
  fetched=$(sed -n 's/^Need to get \(.*\) of archives\.$/\1/p' <<<"$said")
  read -r unpacked unit < <(sed -n 's/^After this operation, \([0-9.,]*\) \(.*\) of additional disk space.*/\1 \2/p' <<<"$said") || return 0
  local megabytes=${unpacked%%[.,]*}
  [ "$unit" = MB ] || megabytes=1
  printf '%s to download, %s %s on disk, about %d s' "${fetched%%/*}" "$unpacked" "$unit" $((5 + megabytes / 6))
}

install_packages() {
  export DEBIAN_FRONTEND=noninteractive
  # Old lists may name versions that are gone: only then are they fetched again.
  apt-get install -y --no-install-recommends "$@" || {
    apt-get update
    apt-get install -y --no-install-recommends "$@"
  }
}

step_test-packages() {
  begin "Debian packages for tests"
  provide "${test_requirements[@]}"
}

step_modules() {
  begin "npm packages"
  local digest stamp=node_modules/.weir-lock-digest
  digest=$(sha256sum <package-lock.json)
  if [ -e "$stamp" ] && [ "$(cat "$stamp")" = "$digest" ] && node_works; then
    ok "as in package-lock.json"
    return
  fi
  PATH=$system_path command -v npm >/dev/null ||
    stop "no npm found; Debian: sudo apt-get install --no-install-recommends npm (or any Node.js of version 20 or later)"
  printf '%d packages, some 120 MB to download, 450 MB in node_modules, about 60 s … ' "$(grep -c '"resolved"' package-lock.json)"
  run install_modules
  printf '%s\n' "$digest" >"$stamp"
}

# npm must not run on the very node_modules that it is about to delete.
install_modules() {
  PATH=${system_path//"$root/node_modules/.bin:"/} npm ci --no-audit --no-fund --loglevel=error || return
  node_works || {
    echo "npm ran, but node_modules/.bin/node is not Node.js $(pinned_node), which comes by an install script:"
    echo "see that npm runs them here (npm config get ignore-scripts; printenv npm_config_ignore_scripts)"
    return 1
  }
}

pinned_node() { sed -n 's/^ *"node": "\([0-9][0-9.]*\)",\{0,1\}$/\1/p' package.json; }
node_works() { [ "$(node_modules/.bin/node --version 2>&1)" = "v$(pinned_node)" ]; }

step_bpffs() {
  begin "BPF filesystem"
  if grep -q '^[^ ]* /sys/fs/bpf bpf ' /proc/self/mounts; then
    ok "mounted"
  elif [ "$(id -u)" -eq 0 ] && mount -t bpf bpf /sys/fs/bpf 2>/dev/null; then
    ok "mounted it"
  else
    printf 'not mounted; the agent and the tests need it: sudo mount -t bpf bpf /sys/fs/bpf\n'
  fi
}

# Builds need nothing of the kernel, so what it lacks is only told here; the tests that need it fail.
step_kernel() {
  begin "kernel $(uname -r)"
  local lacks=()
  [ -e /sys/kernel/btf/vmlinux ] || lacks+=("BTF (CONFIG_DEBUG_INFO_BTF)")
  [ -e /proc/sys/kernel/unprivileged_bpf_disabled ] || lacks+=("bpf(2) (CONFIG_BPF_SYSCALL)")
  [ -e /proc/self/ns/net ] || lacks+=("network namespaces (CONFIG_NET_NS)")
  [ -e /proc/sys/net/ipv6 ] || lacks+=("IPv6 (CONFIG_IPV6)")
  if [ ${#lacks[@]} -eq 0 ]; then
    ok
    return
  fi
  local IFS=,
  printf 'lacks %s: the agent, and all tests but `npm test -- --unit`, cannot run here\n' "${lacks[*]}"
}

# make_in DIRECTORY SECONDS [ARGUMENT ...]: the seconds are what all of it takes on two processors.
make_in() {
  local directory=$1 seconds=$2
  shift 2
  begin "$directory/build"
  make -q -C "$directory" >/dev/null 2>&1 || printf 'building, about %s s … ' "$seconds"
  run make -C "$directory" "$@"
}

step_native() { make_in native 40 -j"$(nproc)"; }
step_cni() { make_in cni 60 -j"$(nproc)"; }
step_bpf() { make_in bpf 15; }

# Leaves the file alone where its text would be the same, so that dist stays fresh.
step_layout() {
  begin "src/gen"
  run node tools/layout.ts
}

step_dist() {
  begin "dist"
  if fresh dist/weir.js src tools/build.ts tools/licences.ts package.json package-lock.json; then
    ok "up to date"
    return
  fi
  printf 'bundling, about 10 s … '
  run node tools/build.ts
}

# For the tests of the Helm chart and the manifests that are made of it.
step_charts() {
  local made=tools/helm-template/build/helm-template
  begin "helm"
  if command -v helm >/dev/null; then
    ok "there"
    return
  fi
  provide "${chart_requirements[@]}"
  begin "helm-template, in its place"
  if fresh "$made" tools/helm-template/*.go; then
    ok "up to date"
    return
  fi
  printf 'building, about 40 s … '
  run env -C tools/helm-template GO111MODULE=off GOPATH=/usr/share/gocode GOCACHE="$root/tools/helm-template/build/cache" \
    go build -o build/helm-template .
}

# For the tests on real nodes.
step_node() {
  begin "Debian packages for nodes"
  provide "${node_requirements[@]}"
}

# For the tests on other kernels, which test/vm/fetch.sh downloads (some 70 MB each) and unpacks below ~/.cache/weir (300 MB), and does not install.
step_kernels() {
  begin "Debian packages for virtual machines"
  provide "${kernel_requirements[@]}"
}

step_soak() {
  begin "Debian packages for the soak test"
  provide "${soak_requirements[@]}"
}

step_fuzz() {
  begin "Debian packages for libFuzzer"
  provide "${fuzz_requirements[@]}"
}

# For the tests of the page (weir ui).
step_ui() {
  begin "Debian packages for the browser"
  provide "${ui_requirements[@]}"
}

main() {
  # Two set-ups at once (two terminals, two test runs) would delete each other's files.
  exec 9<"$root/tools/setup.sh"
  flock --nonblock 9 || {
    echo "setup: waiting for another set-up of this clone to end"
    flock 9
  }
  local steps=("$@") step
  [ ${#steps[@]} -gt 0 ] || steps=(packages modules bpffs kernel native cni bpf layout dist)
  for step in "${steps[@]}"; do
    declare -F "step_$step" >/dev/null || {
      echo "setup: no step '$step'; see the head of tools/setup.sh" >&2
      exit 2
    }
    "step_$step"
  done
}

main "$@"
