// Dumps of links, addresses, routes and neighbours.
#include "async.h"
#include "netlink.h"
#include "route.h"

#include <fcntl.h>
#include <linux/if_link.h>
#include <linux/neighbour.h>
#include <linux/net_namespace.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

#include <cerrno>
#include <utility>

namespace bpf_ts {

namespace {

// The namespace of a dump: an id in this namespace (-1: this one itself), or a
// path.
struct Place {
  std::string path;
  int32_t id;
};

struct Question {
  std::string table;
  Place place;
};

template <typename Body> Request DumpOf(uint16_t type, uint8_t family) {
  Body body = {};
  // The family is the first byte of each of these.
  *reinterpret_cast<uint8_t *>(&body) = family;
  return Request(type, NLM_F_DUMP, &body, sizeof(body));
}

std::vector<Request> RequestsOf(const Question &question) {
  const auto &[table, place] = question;
  if (table == "links") {
    auto request = DumpOf<struct ifinfomsg>(RTM_GETLINK, AF_UNSPEC);
    request.Add(IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
    if (place.id >= 0)
      request.Add(IFLA_TARGET_NETNSID, static_cast<uint32_t>(place.id));
    return {request};
  }
  if (table == "addresses") {
    auto request = DumpOf<struct ifaddrmsg>(RTM_GETADDR, AF_UNSPEC);
    if (place.id >= 0)
      request.Add(IFA_TARGET_NETNSID, static_cast<uint32_t>(place.id));
    return {request};
  }
  if (table == "routes")
    return {DumpOf<struct rtmsg>(RTM_GETROUTE, AF_INET),
            DumpOf<struct rtmsg>(RTM_GETROUTE, AF_INET6)};
  if (table == "neighbours")
    return {DumpOf<struct ndmsg>(RTM_GETNEIGH, AF_INET),
            DumpOf<struct ndmsg>(RTM_GETNEIGH, AF_INET6)};
  return {DumpOf<struct ndmsg>(RTM_GETNEIGH, AF_BRIDGE)};
}

uint8_t FamilyOf(Request &request) {
  return *static_cast<uint8_t *>(NLMSG_DATA(request.header()));
}

// A kernel without a family answers with what it has instead.
bool IsOfFamily(const struct nlmsghdr *message, uint8_t family) {
  return family == AF_UNSPEC ||
         *static_cast<uint8_t *>(
             NLMSG_DATA(const_cast<struct nlmsghdr *>(message))) == family;
}

// A table that changes faster than it can be read is given up.
constexpr int kAttempts = 20;

int Dump(const Question &question, std::vector<RouteBody> *found) {
  Fd socket(OpenRoute(question.place.path));
  if (socket.get() < 0)
    return socket.get();
  for (Request &request : RequestsOf(question)) {
    uint8_t family = FamilyOf(request);
    size_t before = found->size();
    int rc = -EINTR;
    for (int attempt = 0; rc == -EINTR && attempt < kAttempts; attempt++) {
      found->resize(before);
      rc = Ask(socket.get(), request, [&](const struct nlmsghdr *message) {
        if (IsOfFamily(message, family))
          found->push_back(ReadRoute(message));
      });
    }
    if (rc < 0)
      return rc == -EINTR ? -EAGAIN : rc;
  }
  return 0;
}

Napi::Value ListOf(Napi::Env env, const std::vector<RouteBody> &found) {
  auto list = Napi::Array::New(env);
  uint32_t length = 0;
  auto add = [&](Napi::Object value) { list.Set(length++, value); };
  for (const RouteBody &body : found) {
    if (auto *link = std::get_if<LinkMessage>(&body))
      add(ValueOf(env, *link));
    else if (auto *address = std::get_if<AddressMessage>(&body))
      add(ValueOf(env, *address));
    else if (auto *route = std::get_if<RouteMessage>(&body))
      add(ValueOf(env, *route));
    else if (auto *neighbour = std::get_if<NeighbourMessage>(&body))
      add(ValueOf(env, *neighbour));
  }
  return list;
}

// (table, path or "", id of a namespace or -1) → promise of a list or rc
Napi::Value DumpTable(const Napi::CallbackInfo &info) {
  auto id = static_cast<int32_t>(info[2].As<Napi::Number>().Int32Value());
  Question question = {StringArg(info, 0), {StringArg(info, 1), id}};
  auto found = std::make_shared<std::vector<RouteBody>>();
  auto rc = std::make_shared<int>(0);
  return RunAsync(
      info.Env(), [=] { *rc = Dump(question, found.get()); },
      [=](Napi::Env env) {
        return *rc < 0 ? Napi::Value(Number(env, *rc)) : ListOf(env, *found);
      });
}

// (path) → id, -1 where this namespace has none for it, or rc below that
Napi::Value NamespaceId(const Napi::CallbackInfo &info) {
  auto failure = [&](int rc) { return Number(info.Env(), rc - 1); };
  Fd file(open(StringArg(info, 0).c_str(), O_RDONLY | O_CLOEXEC));
  if (file.get() < 0)
    return failure(-errno);
  Fd socket(OpenRoute(""));
  if (socket.get() < 0)
    return failure(socket.get());
  struct rtgenmsg body = {};
  Request request(RTM_GETNSID, 0, &body, sizeof(body));
  request.Add(NETNSA_FD, static_cast<uint32_t>(file.get()));
  int32_t id = -1;
  int rc = Ask(socket.get(), request, [&](const struct nlmsghdr *message) {
    if (message->nlmsg_type != RTM_NEWNSID)
      return;
    auto body = ReadRoute(message);
    if (auto *netns = std::get_if<NetnsMessage>(&body))
      id = netns->id;
  });
  return rc < 0 ? failure(rc) : Number(info.Env(), id);
}

} // namespace

void InitRoute(Napi::Object exports) {
  Export(exports, "netDump", DumpTable);
  Export(exports, "netNamespaceId", NamespaceId);
}

} // namespace bpf_ts
