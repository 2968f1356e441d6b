#!/usr/bin/env bash
# Runs a command in network and mount namespaces of its own: no network but its loopback, its own /run/netns and BPF filesystem, and the
# kernel's own defaults for what sysctl sets there, whatever the machine has set for itself.
# Needs root. What it makes there goes with its last process, whatever ends it.
#
#   bash tools/isolated.sh COMMAND [ARGUMENT ...]
set -euo pipefail

[ $# -gt 0 ] || {
  echo "isolated.sh: no command; write: isolated.sh COMMAND [ARGUMENT ...]" >&2
  exit 2
}

# A new network namespace copies the IPv4 settings of the machine's first one (and with net.core.devconf_inherit_init_net=1 the IPv6 ones): a
# test would pass or fail by what another program has left there. So they are written here, as the kernel has them when it starts
# (net/ipv4/devinet.c, net/ipv6/addrconf.c). Each line: INTERFACES SETTING VALUE; a kernel without the setting needs none.
# shellcheck disable=SC2016
defaults='
  set_default() { # FAMILY INTERFACES SETTING VALUE
    local interface file
    for interface in ${2//,/ }; do
      file=/proc/sys/net/$1/conf/$interface/$3
      [ ! -e "$file" ] || [ "$(<"$file")" = "$4" ] || echo "$4" >"$file"
    done
  }
  for setting in forwarding rp_filter accept_local arp_accept arp_announce arp_filter arp_ignore arp_notify bc_forwarding \
    drop_gratuitous_arp drop_unicast_in_l2_multicast force_igmp_version ignore_routes_with_linkdown log_martians promote_secondaries \
    proxy_arp proxy_arp_pvlan route_localnet src_valid_mark; do
    set_default ipv4 all,default,lo "$setting" 0
  done
  for setting in accept_redirects secure_redirects send_redirects shared_media; do
    set_default ipv4 all,default,lo "$setting" 1
  done
  set_default ipv4 all accept_source_route 0
  set_default ipv4 default,lo accept_source_route 1
  for setting in disable_ipv6 forwarding force_forwarding accept_source_route addr_gen_mode proxy_ndp; do
    set_default ipv6 all,default,lo "$setting" 0
  done
  set_default ipv6 all,default use_tempaddr 0
  set_default ipv6 all accept_dad 0
  set_default ipv6 default accept_dad 1
  for setting in accept_ra accept_redirects autoconf dad_transmits; do
    set_default ipv6 all,default "$setting" 1
  done
'

# sysfs shows the interfaces of the namespace that it was mounted in, and hides what was mounted below the one before.
# shellcheck disable=SC2016
exec unshare --net --mount --propagation private bash -c '
  set -e
  eval "$0"
  mount -t sysfs sysfs /sys
  mount -t bpf bpf /sys/fs/bpf
  mount -t tracefs tracefs /sys/kernel/tracing 2>/dev/null || true
  mount -t cgroup2 cgroup2 /sys/fs/cgroup 2>/dev/null || true
  mount -t tmpfs tmpfs /run
  mkdir -p /run/netns
  ip link set lo up
  exec "$@"
' "$defaults" "$@"
