#!/usr/bin/env bash
# Weir on the kernel of the virtual machine, in suites; each ends with a line "vm: suite NAME: N passed, N failed, N skipped, N s".
# Writes "N passed, N failed" to /run/closing.
#
#   bash test/vm/checks.sh [SUITE ...]     all by default
#
#   load    the verifier on all programs         sctp    SCTP sockets
#   tour    the README's tour, XDP, uplinks      xdp     test/netns/xdp.test.ts
#   packet  a sample of test/packet              pktgen  the bench that drives the kernel's packet generator
#   netns   a sample of test/netns               live    a sample of test/cases over sockets
# Samples, because every instruction is emulated: what is left out has the same programs behind it.
set -u
passed=0
failed=0
skipped=0
folder=$(mktemp -d)
report() { printf '%s, %s\n' "$passed passed" "$failed failed" >/run/closing; }
trap report EXIT

# check NAME COMMAND...: shows the command's output if it fails.
check() {
  local name=$1 started=$SECONDS
  shift
  if "$@" >"$folder/said" 2>&1; then
    echo "vm: $name … ok ($((SECONDS - started)) s)"
    passed=$((passed + 1))
  else
    echo "vm: $name … failed: $*"
    show
    failed=$((failed + 1))
  fi
}
# The last command's output, truncated.
show() { head -n 20 "$folder/said" | cut -c 1-160 | sed 's/^/    /'; }
fails() { ! "$@"; }
# holds PATTERN COMMAND...: the command succeeds, and its output has the pattern.
holds() {
  local pattern=$1 said
  shift
  said=$("$@" 2>&1) || return
  printf '%s\n' "$said"
  grep -qE -- "$pattern" <<<"$said"
}
lacks() {
  local pattern=$1 said
  shift
  said=$("$@" 2>&1) || return
  printf '%s\n' "$said"
  ! grep -qE -- "$pattern" <<<"$said"
}

lab() {
  local name
  for name in web client; do
    ip netns add $name
    ip link add veth-$name type veth peer name eth0 netns $name
    ip link set veth-$name up
    ip -n $name link set eth0 up
    ip -n $name link set lo up
    ip addr add 169.254.1.1/32 dev veth-$name
    ip -6 addr add fe80::1/64 dev veth-$name nodad
  done
  ip -n web addr add 10.77.0.1/32 dev eth0
  ip -n client addr add 10.77.0.2/32 dev eth0
  ip -n web addr add fd77::1/128 dev eth0 nodad
  ip -n client addr add fd77::2/128 dev eth0 nodad
  for name in web client; do
    ip -n $name route add 169.254.1.1 dev eth0
    ip -n $name route add default via 169.254.1.1
    ip -n $name -6 route add default via fe80::1 dev eth0
  done
  ip route add 10.77.0.1 dev veth-web
  ip route add 10.77.0.2 dev veth-client
  ip -6 route add fd77::1 dev veth-web
  ip -6 route add fd77::2 dev veth-client
  sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
  sleep 2 # link-local addresses are tentative at first
}

unlab() {
  ip netns del web
  ip netns del client
  sysctl -qw net.ipv4.ip_forward=0 net.ipv6.conf.all.forwarding=0
}

manifests() {
  mkdir -p "$folder/manifests"
  cat >"$folder/manifests/all.yaml" <<YAML
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: shop, labels: {app: web}, annotations: {weir.dev/interface: veth-web}}
status: {podIPs: [{ip: 10.77.0.1}, {ip: "fd77::1"}]}
---
apiVersion: v1
kind: Pod
metadata: {name: client, namespace: shop, labels: {app: $1}, annotations: {weir.dev/netns: client}}
status: {podIPs: [{ip: 10.77.0.2}, {ip: "fd77::2"}]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web, namespace: shop}
spec:
  podSelector: {matchLabels: {app: web}}
  ingress:
  - from:
    - podSelector: {matchLabels: {app: friend}}
    - ipBlock: {cidr: 10.77.4.0/22, except: [10.77.4.4/32]}
YAML
}

# apply LABEL ARGUMENT...: enforces with this label on the client.
apply() {
  manifests "$1"
  shift
  bin/weir run --manifests "$folder/manifests" --once "$@"
}
ping4() { ip netns exec client ping -n -c 1 -W 2 10.77.0.1; }
ping6() { ip netns exec client ping -n -c 1 -W 2 fd77::1; }
filters() { tc filter show dev veth-web "$1"; }
qdiscs() { tc qdisc show; }
links() { ip -details link show dev "$1"; }

# tcx came with Linux 6.6.
hook=$(printf '%s\n6.6\n' "$(uname -r)" | sort -V | head -n 1 | grep -qx 6.6 && echo tcx || echo clsact)

suite_load() {
  check "the verifier accepts all programs" node test/vm/programs.ts
  show
}

suite_tour() {
  check "a lab of two pods" lab
  check "nothing enforced: IPv4 passes" ping4
  check "nothing enforced: IPv6 passes" ping6
  check "weir run --once" apply client
  show
  if [ "$hook" = clsact ]; then
    check "a filter on the egress hook" holds to_pod filters egress
    check "a filter on the ingress hook" holds from_pod filters ingress
  else
    check "no clsact qdisc" lacks clsact qdiscs
  fi
  check "denied: IPv4" fails ping4
  check "denied: IPv6" fails ping6
  check "the drops are counted" holds "denied" bin/weir maps dump counters
  show
  check "prefixes are told" holds '10\.77\.4\.4/32' bin/weir maps dump cidrs
  check "weir run --once with another label" apply friend
  check "allowed: IPv4" ping4
  check "allowed: IPv6" ping6
  check "flows are tracked" holds '10\.77\.0\.1' bin/weir maps dump conntrack
  check "weir run --once --from-pod-hook xdp" apply client --from-pod-hook xdp
  check "native XDP on the pod's interface" holds 'prog/xdp' links veth-web
  [ "$hook" = tcx ] || check "no filter on the ingress hook" lacks from_pod filters ingress
  check "denied, replies by XDP: IPv4" fails ping4
  check "denied, replies by XDP: IPv6" fails ping6
  check "weir run --once by XDP with another label" apply friend --from-pod-hook xdp
  check "allowed, replies by XDP: IPv4" ping4
  check "allowed, replies by XDP: IPv6" ping6
  check "weir run --once by tc again" apply friend
  check "XDP has left the pod's interface" lacks 'prog/xdp' links veth-web
  printf '10.77.0.2\n' >"$folder/denied"
  check "weir run --once --uplink" apply friend --uplink veth-client --deny-cidrs "$folder/denied"
  check "a denied source on an uplink: IPv4" fails ping4
  check "and no other: IPv6" ping6
  check "the drops are counted by prefix" holds '10\.77\.0\.2/32 +1 +[1-9]' bin/weir maps dump denied
  show
  check "weir run --once without uplinks" apply friend
  check "no source is denied: IPv4" ping4
  check "weir cleanup" bin/weir cleanup
  check "no qdisc stays" lacks clsact qdiscs
  check "no program stays" lacks 'to_pod|from_pod' bpftool prog show
  check "no map stays" lacks conntrack bpftool map show
  check "no pin stays" fails test -e /sys/fs/bpf/weir
  check "nothing enforced again: IPv4 passes" ping4
  unlab
}

# sctp_reaches ADDRESS: within its own limit, 3 s.
sctp_reaches() { ip netns exec client "$folder/sctp" connect "$1" 5000; }
suite_sctp() {
  local listener address
  check "a program with SCTP sockets" gcc -O2 -o "$folder/sctp" test/vm/sctp.c
  check "a lab of two pods" lab
  mkfifo "$folder/ready"
  ip netns exec web "$folder/sctp" listen 5000 >"$folder/ready" &
  listener=$!
  check "an SCTP socket listens" read -r _ <"$folder/ready"
  for address in 10.77.0.1 fd77::1; do check "nothing enforced: $address answers" sctp_reaches $address; done
  check "weir run --once" apply client
  for address in 10.77.0.1 fd77::1; do check "denied: $address" fails sctp_reaches $address; done
  check "weir run --once with another label" apply friend
  for address in 10.77.0.1 fd77::1; do check "allowed: $address" sctp_reaches $address; done
  check "associations are tracked" holds 'SCTP' bin/weir maps dump conntrack
  show
  check "weir cleanup" bin/weir cleanup
  kill $listener
  unlab
}

# vitest_in PROJECT SECONDS FILE...: adds what vitest counts.
vitest_in() {
  local project=$1 seconds=$2 status tests_passed tests_failed tests_skipped
  shift 2
  rm -f "$folder/tally"
  NO_COLOR=1 WEIR_CONFORMANCE='' WEIR_TALLY=$folder/tally timeout "$seconds" vitest run --project "$project" \
    --testTimeout 600000 --hookTimeout 600000 "$@" 2>&1 | cat # no terminal: no moving picture
  status=${PIPESTATUS[0]}
  if [ -e "$folder/tally" ]; then
    read -r tests_passed tests_failed _ <"$folder/tally"
    tests_skipped=$(grep -c '^skipped: ' "$folder/tally")
    [ "$status" -eq 0 ] || [ "$tests_failed" -gt 0 ] || tests_failed=1
    tail -n +2 "$folder/tally" | sed 's/^/vm: /'
  else
    echo "vm: $project did not end within $seconds s"
    tests_passed=0 tests_failed=1 tests_skipped=0
  fi
  passed=$((passed + tests_passed)) failed=$((failed + tests_failed)) skipped=$((skipped + tests_skipped))
}
suite_packet() {
  local name files=()
  for name in cases flows fragments headers icmp sources; do files+=("test/packet/$name.test.ts"); done
  vitest_in packet 900 "${files[@]}"
}
suite_netns() { vitest_in netns 900 test/netns/restart.test.ts test/netns/uplinks.test.ts; }
suite_xdp() { vitest_in netns 900 test/netns/xdp.test.ts; }

suite_live() {
  check "cases over sockets" bin/weir test --engine live test/cases/itself.yaml test/cases/dual-stack.yaml
  show
}

# Figures under emulation say nothing; that sent = passed + dropped does.
suite_pktgen() {
  check "pktgen" node bench/main.ts pktgen --packets 1000 --runs 1 --sizes 64 --sweeps one,denied --threads 1
  cat "$folder/said"
}

[ $# -gt 0 ] || set -- load pktgen sctp tour packet xdp netns live
for suite in "$@"; do
  before=($passed $failed $skipped $SECONDS)
  "suite_$suite"
  echo "vm: suite $suite: $((passed - before[0])) passed, $((failed - before[1])) failed, $((skipped - before[2])) skipped, $((SECONDS - before[3])) s"
done
