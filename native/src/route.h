// Messages of rtnetlink, read into plain structs and from there into values of
// JavaScript.
#pragma once

#include "common.h"

#include <linux/netlink.h>

#include <optional>
#include <variant>

namespace bpf_ts {

struct LinkMessage {
  uint32_t ifindex = 0;
  uint16_t type = 0;  // ARPHRD_*
  uint32_t flags = 0; // IFF_*
  std::string name;
  std::optional<std::string> kind;
  std::optional<std::string> address;
  std::optional<uint32_t> master;
  std::optional<uint32_t> peer;
  std::optional<int32_t> peer_netns;
  // UDP ports that a tunnel device listens at, or sends to.
  std::vector<uint16_t> udp_ports;
};

struct AddressMessage {
  uint32_t ifindex = 0;
  uint8_t family = 0;
  uint8_t length = 0;
  uint8_t scope = 0;
  uint32_t flags = 0; // IFA_F_*
  std::string address;
};

struct Hop {
  uint32_t ifindex = 0;
  std::optional<std::string> gateway;
};

struct RouteMessage {
  uint8_t family = 0;
  uint8_t length = 0;
  uint8_t type = 0;     // RTN_*
  uint8_t protocol = 0; // RTPROT_*
  uint8_t scope = 0;
  uint8_t tos = 0;
  uint32_t table = 0;
  uint32_t priority = 0;
  std::string destination;
  std::vector<Hop> hops;
};

struct NeighbourMessage {
  uint32_t ifindex = 0;
  uint8_t family = 0;
  uint16_t state = 0; // NUD_*
  uint8_t flags = 0;  // NTF_*
  std::optional<std::string> address;
  std::optional<std::string> hardware;
  std::optional<uint32_t> master;
  std::optional<uint16_t> vlan;
};

// The id of another namespace in this one.
struct NetnsMessage {
  int32_t id = -1;
};

struct Nothing {};
using RouteBody = std::variant<Nothing, LinkMessage, AddressMessage,
                               RouteMessage, NeighbourMessage, NetnsMessage>;

// Nothing for other messages, and for those shorter than their header says.
RouteBody ReadRoute(const struct nlmsghdr *message);

// Whether the message says that something is no more.
bool SaysGone(const struct nlmsghdr *message);

Napi::Object ValueOf(Napi::Env env, const LinkMessage &link);
Napi::Object ValueOf(Napi::Env env, const AddressMessage &address);
Napi::Object ValueOf(Napi::Env env, const RouteMessage &route);
Napi::Object ValueOf(Napi::Env env, const NeighbourMessage &neighbour);

} // namespace bpf_ts
