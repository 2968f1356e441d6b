// rtnetlink's messages as values of JavaScript.
#include "route.h"

#include <sys/socket.h>

namespace bpf_ts {

namespace {

void SetText(Napi::Object object, const char *name, const std::string &text) {
  object.Set(name, Napi::String::New(object.Env(), text));
}

void SetText(Napi::Object object, const char *name,
             const std::optional<std::string> &text) {
  if (text)
    SetText(object, name, *text);
}

void SetNumber(Napi::Object object, const char *name, double value) {
  object.Set(name, Number(object.Env(), value));
}

template <typename T>
void SetNumber(Napi::Object object, const char *name,
               const std::optional<T> &value) {
  if (value)
    SetNumber(object, name, static_cast<double>(*value));
}

// 4, 6 or "bridge"; the number of any other family is of no use to anyone.
void SetFamily(Napi::Object object, uint8_t family) {
  if (family == AF_BRIDGE)
    SetText(object, "family", std::string("bridge"));
  else
    SetNumber(object, "family", family == AF_INET ? 4 : 6);
}

} // namespace

Napi::Object ValueOf(Napi::Env env, const LinkMessage &link) {
  auto object = Napi::Object::New(env);
  SetNumber(object, "ifindex", link.ifindex);
  SetText(object, "name", link.name);
  SetText(object, "kind", link.kind);
  SetNumber(object, "type", link.type);
  SetNumber(object, "flags", link.flags);
  SetText(object, "address", link.address);
  SetNumber(object, "master", link.master);
  SetNumber(object, "peer", link.peer);
  SetNumber(object, "peerNetns", link.peer_netns);
  if (!link.udp_ports.empty()) {
    auto ports = Napi::Array::New(env, link.udp_ports.size());
    for (uint32_t i = 0; i < link.udp_ports.size(); i++)
      ports.Set(i, Number(env, link.udp_ports[i]));
    object.Set("udpPorts", ports);
  }
  return object;
}

Napi::Object ValueOf(Napi::Env env, const AddressMessage &address) {
  auto object = Napi::Object::New(env);
  SetNumber(object, "ifindex", address.ifindex);
  SetFamily(object, address.family);
  SetText(object, "address", address.address);
  SetNumber(object, "length", address.length);
  SetNumber(object, "scope", address.scope);
  SetNumber(object, "flags", address.flags);
  return object;
}

Napi::Object ValueOf(Napi::Env env, const RouteMessage &route) {
  auto object = Napi::Object::New(env);
  SetFamily(object, route.family);
  SetText(object, "destination", route.destination);
  SetNumber(object, "length", route.length);
  SetNumber(object, "table", route.table);
  SetNumber(object, "priority", route.priority);
  SetNumber(object, "tos", route.tos);
  SetNumber(object, "type", route.type);
  SetNumber(object, "protocol", route.protocol);
  SetNumber(object, "scope", route.scope);
  auto hops = Napi::Array::New(env, route.hops.size());
  for (uint32_t i = 0; i < route.hops.size(); i++) {
    auto hop = Napi::Object::New(env);
    SetNumber(hop, "ifindex", route.hops[i].ifindex);
    SetText(hop, "gateway", route.hops[i].gateway);
    hops.Set(i, hop);
  }
  object.Set("hops", hops);
  return object;
}

Napi::Object ValueOf(Napi::Env env, const NeighbourMessage &neighbour) {
  auto object = Napi::Object::New(env);
  SetNumber(object, "ifindex", neighbour.ifindex);
  SetFamily(object, neighbour.family);
  SetText(object, "address", neighbour.address);
  SetText(object, "hardware", neighbour.hardware);
  SetNumber(object, "state", neighbour.state);
  SetNumber(object, "flags", neighbour.flags);
  SetNumber(object, "master", neighbour.master);
  SetNumber(object, "vlan", neighbour.vlan);
  return object;
}

} // namespace bpf_ts
