// The parser of rtnetlink's messages: bounds are checked here, and nowhere
// else.
#include "route.h"

#include <arpa/inet.h>
#include <linux/if_arp.h>
#include <linux/if_link.h>
#include <linux/if_tunnel.h>
#include <linux/neighbour.h>
#include <linux/net_namespace.h>
#include <linux/rtnetlink.h>

#include <algorithm>
#include <cstring>

namespace bpf_ts {

namespace {

// The bytes of one attribute.
struct Value {
  const char *data;
  size_t size;

  template <typename T> std::optional<T> As() const {
    T value;
    if (size < sizeof(value))
      return std::nullopt;
    memcpy(&value, data, sizeof(value));
    return value;
  }
  uint32_t U32() const { return As<uint32_t>().value_or(0); }
  std::string Text() const { return std::string(data, strnlen(data, size)); }
  std::string Address(int family) const;
  std::string Hardware() const;
};

// In the kernel's usual notation; empty for what has not the family's size.
std::string Value::Address(int family) const {
  char text[INET6_ADDRSTRLEN];
  size_t wanted = family == AF_INET ? 4 : family == AF_INET6 ? 16 : 0;
  if (wanted == 0 || size != wanted ||
      !inet_ntop(family, data, text, sizeof(text)))
    return "";
  return text;
}

std::string Value::Hardware() const {
  static const char digits[] = "0123456789abcdef";
  std::string text;
  for (size_t i = 0; i < size; i++) {
    auto byte = static_cast<uint8_t>(data[i]);
    if (i > 0)
      text += ':';
    text += digits[byte >> 4];
    text += digits[byte & 15];
  }
  return text;
}

// Calls `use(type, value)` for each attribute of a run of them.
template <typename Use>
void EachAttribute(const void *first, size_t size, Use use) {
  auto *attribute = static_cast<const struct rtattr *>(first);
  for (auto left = static_cast<int>(size); RTA_OK(attribute, left);
       attribute = RTA_NEXT(attribute, left))
    use(attribute->rta_type & NLA_TYPE_MASK,
        Value{static_cast<const char *>(RTA_DATA(attribute)),
              RTA_PAYLOAD(attribute)});
}

// The fixed part of a message, or null where it is too short.
template <typename Body> const Body *BodyOf(const struct nlmsghdr *message) {
  return message->nlmsg_len < NLMSG_LENGTH(sizeof(Body))
             ? nullptr
             : static_cast<const Body *>(NLMSG_DATA(message));
}

template <typename Body, typename Use>
void EachOf(const struct nlmsghdr *message, Use use) {
  size_t head = NLMSG_SPACE(sizeof(Body));
  if (message->nlmsg_len > head)
    EachAttribute(reinterpret_cast<const char *>(message) + head,
                  message->nlmsg_len - head, use);
}

// The attributes of a tunnel device that are a UDP port in network order, by
// the device's kind. The fields of IP tunnels are those of FOU and GUE.
std::vector<int> PortAttributes(const std::string &kind) {
  if (kind == "vxlan")
    return {IFLA_VXLAN_PORT};
  if (kind == "geneve")
    return {IFLA_GENEVE_PORT};
  if (kind == "bareudp")
    return {IFLA_BAREUDP_PORT};
  if (kind == "ipip" || kind == "sit" || kind == "ip6tnl")
    return {IFLA_IPTUN_ENCAP_SPORT, IFLA_IPTUN_ENCAP_DPORT};
  if (kind == "gre" || kind == "gretap" || kind == "erspan" ||
      kind == "ip6gre" || kind == "ip6gretap" || kind == "ip6erspan")
    return {IFLA_GRE_ENCAP_SPORT, IFLA_GRE_ENCAP_DPORT};
  return {};
}

std::vector<uint16_t> PortsOf(const std::string &kind, const Value &data) {
  auto wanted = PortAttributes(kind);
  std::vector<uint16_t> ports;
  EachAttribute(data.data, data.size, [&](int type, const Value &value) {
    if (std::find(wanted.begin(), wanted.end(), type) == wanted.end())
      return;
    uint16_t port = ntohs(value.As<uint16_t>().value_or(0));
    if (port != 0 && std::find(ports.begin(), ports.end(), port) == ports.end())
      ports.push_back(port);
  });
  return ports;
}

RouteBody ReadLink(const struct nlmsghdr *message) {
  auto *body = BodyOf<struct ifinfomsg>(message);
  // Bridges report their ports by messages of a family of their own, in which
  // "gone" means that the port left the bridge.
  if (!body || body->ifi_family != AF_UNSPEC)
    return Nothing{};
  LinkMessage link;
  link.ifindex = static_cast<uint32_t>(body->ifi_index);
  link.type = body->ifi_type;
  link.flags = body->ifi_flags;
  EachOf<struct ifinfomsg>(message, [&](int type, const Value &value) {
    if (type == IFLA_IFNAME)
      link.name = value.Text();
    else if (type == IFLA_ADDRESS)
      link.address = value.Hardware();
    else if (type == IFLA_MASTER)
      link.master = value.U32();
    else if (type == IFLA_LINK)
      link.peer = value.U32();
    else if (type == IFLA_LINK_NETNSID)
      link.peer_netns = static_cast<int32_t>(value.U32());
    else if (type == IFLA_LINKINFO)
      EachAttribute(value.data, value.size, [&](int inner, const Value &info) {
        // The kernel tells the kind before the data.
        if (inner == IFLA_INFO_KIND)
          link.kind = info.Text();
        else if (inner == IFLA_INFO_DATA && link.kind)
          link.udp_ports = PortsOf(*link.kind, info);
      });
  });
  return link;
}

RouteBody ReadAddress(const struct nlmsghdr *message) {
  auto *body = BodyOf<struct ifaddrmsg>(message);
  if (!body)
    return Nothing{};
  AddressMessage address;
  address.ifindex = body->ifa_index;
  address.family = body->ifa_family;
  address.length = body->ifa_prefixlen;
  address.scope = body->ifa_scope;
  address.flags = body->ifa_flags;
  bool is_local = false;
  EachOf<struct ifaddrmsg>(message, [&](int type, const Value &value) {
    // On a point-to-point link IFA_ADDRESS is the other end's.
    if (type == IFA_LOCAL || (type == IFA_ADDRESS && !is_local))
      address.address = value.Address(body->ifa_family);
    is_local = is_local || type == IFA_LOCAL;
    if (type == IFA_FLAGS)
      address.flags = value.U32();
  });
  if (address.address.empty())
    return Nothing{};
  return address;
}

std::optional<std::string> Via(const Value &value) {
  if (value.size < sizeof(struct rtvia))
    return std::nullopt;
  auto *via = reinterpret_cast<const struct rtvia *>(value.data);
  Value address = {reinterpret_cast<const char *>(via->rtvia_addr),
                   value.size - sizeof(struct rtvia)};
  return address.Address(via->rtvia_family);
}

void ReadGateway(int type, const Value &value, int family, Hop *hop) {
  if (type == RTA_GATEWAY)
    hop->gateway = value.Address(family);
  else if (type == RTA_VIA)
    hop->gateway = Via(value);
}

std::vector<Hop> HopsOf(const Value &value, int family) {
  std::vector<Hop> hops;
  auto *next = reinterpret_cast<const struct rtnexthop *>(value.data);
  for (auto left = static_cast<int>(value.size); RTNH_OK(next, left);
       left -= RTNH_ALIGN(next->rtnh_len), next = RTNH_NEXT(next)) {
    Hop hop;
    hop.ifindex = static_cast<uint32_t>(next->rtnh_ifindex);
    EachAttribute(RTNH_DATA(next), next->rtnh_len - RTNH_LENGTH(0),
                  [&](int type, const Value &inner) {
                    ReadGateway(type, inner, family, &hop);
                  });
    hops.push_back(hop);
  }
  return hops;
}

RouteBody ReadRouteEntry(const struct nlmsghdr *message) {
  auto *body = BodyOf<struct rtmsg>(message);
  if (!body || (body->rtm_family != AF_INET && body->rtm_family != AF_INET6) ||
      (body->rtm_flags & RTM_F_CLONED))
    return Nothing{};
  RouteMessage route;
  route.family = body->rtm_family;
  route.length = body->rtm_dst_len;
  route.type = body->rtm_type;
  route.protocol = body->rtm_protocol;
  route.scope = body->rtm_scope;
  route.tos = body->rtm_tos;
  route.table = body->rtm_table;
  route.destination = body->rtm_family == AF_INET ? "0.0.0.0" : "::";
  Hop hop;
  EachOf<struct rtmsg>(message, [&](int type, const Value &value) {
    if (type == RTA_DST)
      route.destination = value.Address(body->rtm_family);
    else if (type == RTA_TABLE)
      route.table = value.U32();
    else if (type == RTA_PRIORITY)
      route.priority = value.U32();
    else if (type == RTA_OIF)
      hop.ifindex = value.U32();
    else if (type == RTA_MULTIPATH)
      route.hops = HopsOf(value, body->rtm_family);
    else
      ReadGateway(type, value, body->rtm_family, &hop);
  });
  if (hop.ifindex != 0 && route.hops.empty())
    route.hops.push_back(hop);
  return route;
}

RouteBody ReadNeighbour(const struct nlmsghdr *message) {
  auto *body = BodyOf<struct ndmsg>(message);
  if (!body)
    return Nothing{};
  NeighbourMessage neighbour;
  neighbour.ifindex = static_cast<uint32_t>(body->ndm_ifindex);
  neighbour.family = body->ndm_family;
  neighbour.state = body->ndm_state;
  neighbour.flags = body->ndm_flags;
  EachOf<struct ndmsg>(message, [&](int type, const Value &value) {
    if (type == NDA_DST && body->ndm_family != AF_BRIDGE)
      neighbour.address = value.Address(body->ndm_family);
    else if (type == NDA_LLADDR)
      neighbour.hardware = value.Hardware();
    else if (type == NDA_MASTER)
      neighbour.master = value.U32();
    else if (type == NDA_VLAN)
      neighbour.vlan = value.As<uint16_t>();
  });
  return neighbour;
}

RouteBody ReadNetns(const struct nlmsghdr *message) {
  NetnsMessage netns;
  EachOf<struct rtgenmsg>(message, [&](int type, const Value &value) {
    if (type == NETNSA_NSID)
      netns.id = static_cast<int32_t>(value.U32());
  });
  return netns;
}

} // namespace

RouteBody ReadRoute(const struct nlmsghdr *message) {
  switch (message->nlmsg_type) {
  case RTM_NEWLINK:
  case RTM_DELLINK:
    return ReadLink(message);
  case RTM_NEWADDR:
  case RTM_DELADDR:
    return ReadAddress(message);
  case RTM_NEWROUTE:
  case RTM_DELROUTE:
    return ReadRouteEntry(message);
  case RTM_NEWNEIGH:
  case RTM_DELNEIGH:
    return ReadNeighbour(message);
  case RTM_NEWNSID:
  case RTM_DELNSID:
    return ReadNetns(message);
  default:
    return Nothing{};
  }
}

bool SaysGone(const struct nlmsghdr *message) {
  switch (message->nlmsg_type) {
  case RTM_DELLINK:
  case RTM_DELADDR:
  case RTM_DELROUTE:
  case RTM_DELNEIGH:
  case RTM_DELNSID:
    return true;
  default:
    return false;
  }
}

} // namespace bpf_ts
