#!/usr/bin/env bash
# Finds the servers that `npm run test:cluster` runs against, kube-apiserver and etcd, or makes them out of Debian's sources.
#
#   bash tools/apiserver.sh     prints two lines to stdout, KUBE_APISERVER=PATH and ETCD=PATH; what it does, to stderr
#
# They are looked for as envtest does: TEST_ASSET_KUBE_APISERVER and TEST_ASSET_ETCD, else the folder KUBEBUILDER_ASSETS.
# Without these, Debian 12 has all that is needed: the source of kube-apiserver 1.20 with all it depends on, the Go that
# builds it, and etcd. They are fetched with apt (which checks their signatures), without changing what is installed, and
# the two programs are kept in the cache folder.
set -euo pipefail

version=1.20.2
# To be raised with any change of how it is built.
recipe=1
cache=${XDG_CACHE_HOME:-$HOME/.cache}/weir
home=$cache/kube-apiserver-$version-$recipe-$(uname -m)

exec 3>&1 1>&2

begin() { printf 'apiserver: %s … ' "$1"; }
ok() { printf 'ok%s\n' "${1:+ ($1)}"; }
stop() {
  printf 'failed\n'
  printf 'apiserver: %s\n' "$@"
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

answer() {
  printf 'KUBE_APISERVER=%s\nETCD=%s\n' "$1" "$2" >&3
  exit 0
}

find_given() {
  local assets=${KUBEBUILDER_ASSETS:-}
  local apiserver=${TEST_ASSET_KUBE_APISERVER:-${assets:+$assets/kube-apiserver}}
  local etcd=${TEST_ASSET_ETCD:-${assets:+$assets/etcd}}
  [ -n "$apiserver$etcd" ] || return 0
  begin "kube-apiserver and etcd, as given"
  [ -n "$apiserver" ] || stop "TEST_ASSET_KUBE_APISERVER is not set; expected the path of kube-apiserver"
  [ -n "$etcd" ] || stop "TEST_ASSET_ETCD is not set; expected the path of etcd"
  local each
  for each in "$apiserver" "$etcd"; do [ -x "$each" ] || stop "$each is no program"; done
  ok
  answer "$apiserver" "$etcd"
}

find_kept() {
  [ -x "$home/kube-apiserver" ] && [ -x "$home/etcd" ] || return 0
  begin "kube-apiserver $version and etcd"
  ok "kept in $home"
  answer "$home/kube-apiserver" "$home/etcd"
}

check_system() {
  begin "Debian 12"
  # shellcheck source=/dev/null
  [ "$(. /etc/os-release 2>/dev/null && echo "${VERSION_CODENAME:-}")" = bookworm ] ||
    stop "only Debian 12 has the source of kube-apiserver $version and a Go of that age" \
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

in_work() { (cd "$work" && "$@"); }

fetch() {
  in_work apt-get "${apt_options[@]}" download golang-1.19-go golang-1.19-src etcd-server
  in_work apt-get "${apt_options[@]}" source kubernetes
}

unpack() {
  local package
  for package in "$work"/*.deb; do dpkg-deb -x "$package" "$work/root"; done
  mkdir -p "$work/go/src/k8s.io"
  mv "$work"/kubernetes-*/ "$work/go/src/k8s.io/kubernetes"
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

# Without the clients of four clouds, which are a good part of it and are not used here.
build() {
  cd "$GOPATH/src/k8s.io/kubernetes"
  local of=k8s.io/kubernetes/vendor/k8s.io/component-base/version
  go build -tags providerless -o "$work/home/kube-apiserver" -ldflags "-s -w
    -X $of.gitVersion=v$version -X $of.gitMajor=1 -X $of.gitMinor=20 -X $of.gitTreeState=clean
    -X $of.buildDate=2021-01-13T13:20:00Z" ./cmd/kube-apiserver
}

make_servers() {
  mkdir -p "$cache"
  # Two at once (a build in the background, and a test run) make one.
  exec 9>"$cache/.apiserver-lock"
  flock --nonblock 9 || {
    echo "apiserver: waiting for another build to end"
    flock 9
  }
  find_kept
  check_system
  # What a killed build has left.
  rm -rf "$cache"/.apiserver-build-*
  work=$(mktemp -d "$cache/.apiserver-build-XXXXXX")
  trap 'chmod -R u+w "$work" && rm -rf "$work"' EXIT
  mkdir "$work/home"
  write_sources
  begin "lists of Debian's packages and sources"
  run apt-get "${apt_options[@]}" update
  begin "sources of kube-apiserver $version, Go 1.19, etcd"
  run fetch
  begin "unpacking"
  run unpack
  use_go
  begin "generating what the source leaves out"
  run generate_openapi
  begin "building kube-apiserver $version (some minutes, once)"
  run build
  cp "$work/root/usr/bin/etcd" "$work/home/etcd"
  chmod 755 "$work/home"
  rm -rf "$home"
  mv "$work/home" "$home"
}

find_given
find_kept
make_servers
find_kept
