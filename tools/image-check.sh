#!/usr/bin/env bash
# Runs the steps of the Dockerfile without a container engine, then tries what came out: it starts, enforces and cleans up with
# the capabilities that the chart gives it, on a root that is read-only.
#
#   bash tools/image-check.sh [DIR]    as root, on Debian; DIR (else a temporary one) keeps the root file systems
#
# The steps are read from the Dockerfile, so the two cannot drift apart. debian:12 is made by debootstrap, which is installed where it
# is missing. Takes about ten minutes and 4 GB: not a part of `npm test`.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
self=$PWD/tools/image-check.sh

fail() {
  echo "image-check: $*" >&2
  exit 1
}

say() { echo "image-check: $*"; }

# The lines of the Dockerfile with continuations joined and comments left out.
instructions() {
  sed -e '/^#/d' -e ':a' -e '/\\$/{N;s/\\\n */ /;ba}' Dockerfile | sed '/^$/d'
}

# debian:12 as an image has it, near enough: the smallest system that apt runs on, with this machine's package sources.
base_of() {
  local image=$1 root=$2
  case $image in
    scratch) mkdir -p "$root" ;;
    debian:12)
      command -v debootstrap >/dev/null || apt-get install -y --no-install-recommends debootstrap >/dev/null
      debootstrap --variant=minbase bookworm "$root" >"$root.log" 2>&1 || fail "debootstrap failed; see $root.log"
      cp /etc/resolv.conf "$root/etc/resolv.conf"
      printf 'deb http://deb.debian.org/debian %s main\n' bookworm bookworm-updates >"$root/etc/apt/sources.list"
      echo 'deb http://deb.debian.org/debian-security bookworm-security main' >>"$root/etc/apt/sources.list"
      ;;
    *) fail "FROM $image: expected debian:12 or scratch" ;;
  esac
}

# What is in the build's context: .dockerignore's patterns are few and plain, and mean to tar what they mean there.
copy_context() {
  local to=$1 pattern excludes=()
  while read -r pattern; do
    case $pattern in
      '**/'*) excludes+=("--exclude=${pattern#'**/'}") ;;
      *) excludes+=("--exclude=./$pattern") ;;
    esac
  done <.dockerignore
  tar -c --wildcards "${excludes[@]}" . | tar -x -C "$to"
}

# Like a build engine's, with the network of this machine, its npm registry and the authorities that it trusts.
run_step() {
  local root=$1 place=$2 command=$3
  cp /etc/ssl/certs/ca-certificates.crt "$root/etc/machine-authorities.crt"
  NODE_EXTRA_CA_CERTS=/etc/machine-authorities.crt npm_config_registry=$(npm config get registry 2>/dev/null) unshare --mount --pid --fork bash -c '
    mount -t proc proc "$0/proc"; mount --rbind /dev "$0/dev"
    exec chroot "$0" /bin/sh -c "cd $1 && $2"' "$root" "$place" "$command" >>"$root.log" 2>&1 ||
    fail "RUN $command failed; see $root.log"
}

build() {
  local directory=$1 instruction rest root="" place=/ stage=0
  while read -r instruction rest; do
    say "$instruction $rest"
    case $instruction in
      FROM)
        stage=$((stage + 1)) place=/
        root=$directory/$([[ $rest == *" AS "* ]] && echo "${rest##* AS }" || echo final)
        base_of "${rest%% *}" "$root"
        ;;
      RUN) run_step "$root" "$place" "$rest" ;;
      WORKDIR) place=$rest && mkdir -p "$root$place" ;;
      COPY)
        case $rest in
          ". .") copy_context "$root$place" ;;
          --from=*)
            read -r from source to <<<"$rest"
            cp -a "$directory/${from#--from=}$source/." "$root$to"
            ;;
          *) fail "COPY $rest: expected '. .' or --from" ;;
        esac
        ;;
      LABEL | USER | ENV | ENTRYPOINT | CMD) ;;
      *) fail "$instruction: no such step here" ;;
    esac
  done < <(instructions)
}

# As the kubelet asks.
is_ready() {
  local answer
  { exec 3<>/dev/tcp/127.0.0.1/9470; } 2>/dev/null || return 1
  printf 'GET /readyz HTTP/1.0\r\n\r\n' >&3
  read -r answer <&3 && [[ $answer == *" 200 "* ]]
}

# In namespaces of its own: a pod's veth, the manifests of two pods, and the image as its root.
try() {
  local root=$1 caps="-all,+bpf,+net_admin,+perfmon,+net_broadcast,+sys_chroot"
  mount --bind "$root" "$root"
  mount -t proc proc "$root/proc"
  mount -t sysfs sysfs "$root/sys"
  mount -t bpf bpf "$root/sys/fs/bpf"
  mount --bind /dev "$root/dev"
  mount -t tmpfs tmpfs "$root/run"
  mkdir "$root/run/manifests"
  ip link set lo up
  ip link add veth-web type veth peer name eth0-web
  ip link set veth-web up
  cat >"$root/run/manifests/all.yaml" <<'YAML'
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: shop, annotations: {weir.dev/interface: veth-web}}
status: {podIPs: [{ip: 10.77.0.1}]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web, namespace: shop}
spec: {podSelector: {}, policyTypes: [Ingress, Egress]}
YAML
  mount -o remount,bind,ro "$root"
  local variables
  mapfile -t variables < <(instructions | sed -n 's/^ENV //p')
  local as=(env -i "PATH=$PATH" "${variables[@]}" setpriv "--bounding-set=$caps" "--inh-caps=$caps" --no-new-privs chroot "$root" /usr/local/bin/weir)
  "${as[@]}" version
  "${as[@]}" run --manifests /run/manifests &
  local agent=$! attempt
  for attempt in {1..100}; do
    ! is_ready || break
    [ "$attempt" -lt 100 ] || fail "/readyz did not answer 200 in time"
    sleep 0.3
  done
  "${as[@]}" status
  "${as[@]}" get endpoints
  kill "$agent"
  wait "$agent" || fail "the agent ended with $?"
  "${as[@]}" cleanup >/dev/null
  [ ! -e "$root/sys/fs/bpf/weir" ] || fail "cleanup has left something below /sys/fs/bpf/weir"
  ! chroot "$root" /bin/sh -c true 2>/dev/null || fail "the image has a shell"
}

if [ "${1:-}" = --try ]; then
  try "$2"
  exit
fi
[ "$(id -u)" -eq 0 ] || fail "needs root, for chroot and namespaces"
directory=${1:-}
if [ -z "$directory" ]; then
  directory=$(mktemp -d)
  trap 'rm -rf --one-file-system "$directory"' EXIT
fi
mkdir -p "$directory"
[ -z "$(ls -A "$directory")" ] || fail "$directory is not empty"
build "$directory"
say "the image has $(du -sm --apparent-size "$directory/final" | cut -f1) MB in $(find "$directory/final" -type f | wc -l) files"
unshare --net --mount --propagation private bash "$self" --try "$directory/final"
say "ok"
