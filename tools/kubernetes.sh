#!/usr/bin/env bash
# Finds the programs of Kubernetes that the tests run against, or builds them from Debian's sources.
#
#   bash tools/kubernetes.sh [PROGRAM ...]     PROGRAM: kube-apiserver, etcd (these two without arguments), kubelet, kube-proxy,
#                                              kube-controller-manager, kube-scheduler, kubectl,
#                                              containerd, containerd-shim-runc-v2, ctr, runc
#
# Prints a line NAME=PATH to stdout for each of them (KUBE_APISERVER=/…), and progress to stderr.
#
# kube-apiserver and etcd are looked for as envtest does: TEST_ASSET_KUBE_APISERVER and TEST_ASSET_ETCD, else the folder
# KUBEBUILDER_ASSETS. Whatever is not given is made once, and kept in the cache folder: Debian 12 has the source of Kubernetes 1.20
# with all its dependencies and the Go that builds it; etcd, containerd and runc are taken out of their packages. All is fetched with apt
# (which checks signatures) into a temporary directory; nothing is installed but dpkg-dev, so no service starts and no Docker is replaced.
set -euo pipefail

version=1.20.2
# To be raised with any change of how they are built.
recipe=2
cache=${XDG_CACHE_HOME:-$HOME/.cache}/weir
home=$cache/kubernetes-$version-$recipe-$(uname -m)

exec 3>&1 1>&2

begin() { printf 'kubernetes: %s … ' "$1"; }
ok() { printf 'ok%s\n' "${1:+ ($1)}"; }
stop() {
  printf 'failed\n'
  printf 'kubernetes: %s\n' "$@"
  exit 1
}

# Runs a command in silence and ends the step's line; shows the end of its output where it fails.
run() {
  local log=$work/log started=$SECONDS
  if "$@" >"$log" 2>&1 </dev/null; then
    ok "$((SECONDS - started)) s"
    return
  fi
  printf 'failed: %s\n' "$*"
  tail -n 40 "$log"
  exit 1
}

variable_of() {
  local name=${1//-/_}
  printf '%s' "${name^^}"
}

# Prints the path of a program that the environment names, if it does.
given() {
  local variable
  variable=TEST_ASSET_$(variable_of "$1")
  case $1 in
    kube-apiserver | etcd) printf '%s' "${!variable:-${KUBEBUILDER_ASSETS:+$KUBEBUILDER_ASSETS/$1}}" ;;
  esac
}

# A newer kube-apiserver with Debian's etcd, or the reverse, is a mistake rather than a wish.
check_given() {
  local apiserver etcd each
  apiserver=$(given kube-apiserver) etcd=$(given etcd)
  [ -n "$apiserver$etcd" ] || return 0
  begin "kube-apiserver and etcd, as given"
  [ -n "$apiserver" ] || stop "TEST_ASSET_KUBE_APISERVER is not set; expected the path of kube-apiserver"
  [ -n "$etcd" ] || stop "TEST_ASSET_ETCD is not set; expected the path of etcd"
  for each in "$apiserver" "$etcd"; do [ -x "$each" ] || stop "$each is not an executable file"; done
  ok
}

path_of() {
  local path
  path=$(given "$1")
  printf '%s' "${path:-$home/$1}"
}

# The programs that are neither given nor built yet.
missing() {
  local each
  for each in "$@"; do [ -x "$(path_of "$each")" ] || printf '%s\n' "$each"; done
}

answer() {
  local each
  begin "$*"
  ok "in $home"
  for each in "$@"; do printf '%s=%s\n' "$(variable_of "$each")" "$(path_of "$each")" >&3; done
  exit 0
}

check_system() {
  begin "Debian 12"
  # shellcheck source=/dev/null
  [ "$(. /etc/os-release 2>/dev/null && echo "${VERSION_CODENAME:-}")" = bookworm ] ||
    stop "only Debian 12 has the source of Kubernetes $version and a Go of that age" \
      "elsewhere set KUBEBUILDER_ASSETS to a folder with kube-apiserver and etcd of any version from 1.20 on"
  ok
  command -v dpkg-source >/dev/null && return
  begin "dpkg-dev"
  [ "$(id -u)" -eq 0 ] || stop "it is not installed; run: sudo apt-get install --no-install-recommends dpkg-dev"
  run env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends dpkg-dev
}

# The machine's own mirror with its sources, in lists of their own: what the machine has is left as it is.
write_sources() {
  mkdir -p "$work/parts" "$work/lists/partial"
  apt_options=(-o Dir::Etc::SourceList=/dev/null -o Dir::Etc::SourceParts="$work/parts"
    -o Dir::State::Lists="$work/lists" -o APT::Sandbox::User=root)
  local key=/usr/share/keyrings/debian-archive-keyring.gpg
  apt-get indextargets --format '$(ORIGIN) $(REPO_URI) $(RELEASE)' 'Created-By: Packages' |
    sed -n 's/^Debian //p' | sort -u | while read -r uri release; do
    printf 'Types: deb deb-src\nURIs: %s\nSuites: %s\nComponents: main\n' "$uri" "$release"
    [ ! -e "$key" ] || printf 'Signed-By: %s\n' "$key"
    printf '\n'
  done >"$work/parts/debian.sources"
  grep -q '^URIs' "$work/parts/debian.sources" || apt-get update
}

# Debian's package with the program; nothing for what is built.
package_of() {
  case $1 in
    etcd) echo etcd-server ;;
    containerd | containerd-shim-runc-v2 | ctr) echo containerd ;;
    runc) echo runc ;;
  esac
}

in_work() { (cd "$work" && "$@"); }

fetch() { in_work apt-get "${apt_options[@]}" "$@"; }

unpack() {
  local package
  for package in "$work"/*.deb; do dpkg-deb -x "$package" "$work/root"; done
  rm "$work"/*.deb
}

# The reflect2 of that source is older than Go 1.18 and crashes on maps (whenever a client asks for indented JSON); Debian's own is not.
unpack_source() {
  unpack
  mkdir -p "$work/go/src/k8s.io"
  mv "$work"/kubernetes-*/ "$work/go/src/k8s.io/kubernetes"
  local reflect2=github.com/modern-go/reflect2
  rm -r "$work/go/src/k8s.io/kubernetes/vendor/$reflect2"
  cp -rL "$work/root/usr/share/gocode/src/$reflect2" "$work/go/src/k8s.io/kubernetes/vendor/$reflect2"
}

use_go() {
  export GOROOT=$work/root/usr/lib/go-1.19 GOPATH=$work/go GOCACHE=$work/go-cache
  export GO111MODULE=off CGO_ENABLED=0 GOFLAGS='' GOENV=off
  PATH=$GOROOT/bin:$PATH
}

# pkg/generated/openapi is not part of the source: it is generated from the packages that say so.
generate_openapi() {
  cd "$GOPATH/src/k8s.io/kubernetes"
  go build -o "$work/openapi-gen" ./vendor/k8s.io/kube-openapi/cmd/openapi-gen
  local packages
  packages=$(grep -rl --include='*.go' '+k8s:openapi-gen=' pkg cmd staging/src/k8s.io |
    grep -v -e /_examples/ -e /vendor/ -e /sample- -e /code-generator/ -e zz_generated |
    xargs -n1 dirname | sort -u |
    sed 's,^staging/src/,k8s.io/kubernetes/vendor/,; t; s,^,k8s.io/kubernetes/,' | paste -sd,)
  "$work/openapi-gen" --logtostderr -i "$packages" -p k8s.io/kubernetes/pkg/generated/openapi \
    -O zz_generated.openapi -h hack/boilerplate/boilerplate.generatego.txt -r "$work/violations"
}

# Without the clients of four clouds and without Docker, which are a good part of it and are not used here.
build() {
  cd "$GOPATH/src/k8s.io/kubernetes"
  local of=k8s.io/kubernetes/vendor/k8s.io/component-base/version
  go build -tags providerless,dockerless -o "$work/$1" -ldflags "-s -w
    -X $of.gitVersion=v$version -X $of.gitMajor=1 -X $of.gitMinor=20 -X $of.gitTreeState=clean
    -X $of.buildDate=2021-01-13T13:20:00Z" "./cmd/$1"
}

# Each program is put in its place as soon as it is there: another run may wait for that one alone.
put() {
  chmod 755 "$1"
  mv "$1" "$home/"
}

take_from_packages() {
  local packages each
  mapfile -t packages < <(for each in "$@"; do package_of "$each"; done | sort -u)
  begin "packages ${packages[*]}"
  run fetch download "${packages[@]}"
  unpack
  for each in "$@"; do put "$(find "$work/root" -type f -path "*bin/$each")"; done
}

build_from_source() {
  local each
  begin "Go 1.19 (80 MB)"
  run fetch download golang-1.19-go golang-1.19-src golang-github-modern-go-reflect2-dev
  begin "sources of Kubernetes $version (60 MB)"
  run fetch source kubernetes
  begin "unpacking"
  run unpack_source
  use_go
  for each in "$@"; do
    if [ "$each" = kube-apiserver ]; then
      begin "generating what the source leaves out"
      run generate_openapi
    fi
    begin "building $each $version (some minutes, once)"
    run build "$each"
    put "$work/$each"
  done
}

make_programs() {
  local each packaged=() built=()
  for each in "$@"; do
    if [ -n "$(package_of "$each")" ]; then packaged+=("$each"); else built+=("$each"); fi
  done
  check_system
  # What a killed build has left.
  rm -rf "$cache"/.kubernetes-build-*
  work=$(mktemp -d "$cache/.kubernetes-build-XXXXXX")
  trap 'chmod -R u+w "$work" && rm -rf "$work"' EXIT
  mkdir -p "$home"
  write_sources
  begin "lists of Debian's packages and sources"
  run fetch update
  [ ${#packaged[@]} -eq 0 ] || take_from_packages "${packaged[@]}"
  [ ${#built[@]} -eq 0 ] || build_from_source "${built[@]}"
}

programs=("$@")
[ $# -gt 0 ] || programs=(kube-apiserver etcd)
for each in "${programs[@]}"; do
  case $each in
    kube-apiserver | etcd | kubelet | kube-proxy | kube-controller-manager | kube-scheduler | kubectl) ;;
    containerd | containerd-shim-runc-v2 | ctr | runc) ;;
    *)
      echo "kubernetes: no program '$each'; see the head of tools/kubernetes.sh"
      exit 2
      ;;
  esac
done
check_given
mkdir -p "$cache"
# Of two at once (a build in the background, and a test run) one builds.
exec 9>"$cache/.kubernetes-lock"
waits=false
until mapfile -t to_build < <(missing "${programs[@]}") && [ ${#to_build[@]} -eq 0 ]; do
  if flock --nonblock 9; then
    mapfile -t to_build < <(missing "${programs[@]}")
    [ ${#to_build[@]} -eq 0 ] || make_programs "${to_build[@]}"
    break
  fi
  $waits || echo "kubernetes: waiting for another build of ${to_build[*]}"
  waits=true
  sleep 1
done
answer "${programs[@]}"
