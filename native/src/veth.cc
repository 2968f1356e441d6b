// Pairs of veth devices, made and removed by rtnetlink.
#include "common.h"
#include "netlink.h"

#include <linux/rtnetlink.h>
#include <linux/veth.h>

#include <cstring>

namespace bpf_ts {

namespace {

using Buffer = std::vector<char>;

void Append(Buffer *to, const void *data, size_t size) {
  auto *from = static_cast<const char *>(data);
  to->insert(to->end(), from, from + size);
  to->resize(NLMSG_ALIGN(to->size()));
}

// An attribute around what `body` holds, which may be attributes again.
Buffer Attribute(uint16_t type, const Buffer &body) {
  struct rtattr head = {};
  head.rta_len = static_cast<uint16_t>(RTA_LENGTH(body.size()));
  head.rta_type = type;
  Buffer whole;
  Append(&whole, &head, sizeof(head));
  Append(&whole, body.data(), body.size());
  return whole;
}

Buffer Text(const std::string &text) {
  return Buffer(text.c_str(), text.c_str() + text.size() + 1);
}

int Tell(uint16_t type, uint16_t flags, const Buffer &attributes) {
  Fd socket(OpenRoute(""));
  if (socket.get() < 0)
    return socket.get();
  struct ifinfomsg head = {};
  Buffer body;
  Append(&body, &head, sizeof(head));
  Append(&body, attributes.data(), attributes.size());
  Request request(type, static_cast<uint16_t>(flags | NLM_F_ACK), body.data(),
                  body.size());
  return Ask(socket.get(), request, [](const struct nlmsghdr *) {});
}

// (name, name of the other end) → 0 or rc
Napi::Value MakeVeth(const Napi::CallbackInfo &info) {
  struct ifinfomsg head = {};
  Buffer peer;
  Append(&peer, &head, sizeof(head));
  Buffer peer_name = Attribute(IFLA_IFNAME, Text(StringArg(info, 1)));
  Append(&peer, peer_name.data(), peer_name.size());
  Buffer about = Attribute(IFLA_INFO_KIND, Text("veth"));
  Buffer data = Attribute(IFLA_INFO_DATA, Attribute(VETH_INFO_PEER, peer));
  Append(&about, data.data(), data.size());
  Buffer all = Attribute(IFLA_IFNAME, Text(StringArg(info, 0)));
  Buffer link = Attribute(IFLA_LINKINFO, about);
  Append(&all, link.data(), link.size());
  return Number(info.Env(), Tell(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, all));
}

// (name) → 0 or rc
Napi::Value RemoveLink(const Napi::CallbackInfo &info) {
  return Number(
      info.Env(),
      Tell(RTM_DELLINK, 0, Attribute(IFLA_IFNAME, Text(StringArg(info, 0)))));
}

} // namespace

void InitVeth(Napi::Object exports) {
  Export(exports, "linkMakeVeth", MakeVeth);
  Export(exports, "linkRemove", RemoveLink);
}

} // namespace bpf_ts
