// Changes of links, addresses, routes and neighbours, as they happen.
#include "feed.h"
#include "netlink.h"
#include "route.h"

#include <linux/rtnetlink.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>
#include <utility>

namespace bpf_ts {

namespace {

struct Event {
  RouteBody body; // Nothing: the kernel's buffer ran over
  bool gone = false;
  std::optional<int32_t> netns; // an id; none for this namespace
};

class Changes : public Batch {
public:
  std::vector<napi_value> Arguments(Napi::Env env) override;
  std::vector<Event> events;
};

Napi::Object ObjectOf(Napi::Env env, const Event &event) {
  auto object = Napi::Object::New(env);
  auto set = [&](const char *kind, Napi::Value value) {
    object.Set("kind", Napi::String::New(env, kind));
    object.Set("gone", Napi::Boolean::New(env, event.gone));
    if (event.netns)
      object.Set("netns", Number(env, *event.netns));
    object.Set(kind, value);
  };
  if (auto *link = std::get_if<LinkMessage>(&event.body))
    set("link", ValueOf(env, *link));
  else if (auto *address = std::get_if<AddressMessage>(&event.body))
    set("address", ValueOf(env, *address));
  else if (auto *route = std::get_if<RouteMessage>(&event.body))
    set("route", ValueOf(env, *route));
  else if (auto *neighbour = std::get_if<NeighbourMessage>(&event.body))
    set("neighbour", ValueOf(env, *neighbour));
  else if (auto *netns = std::get_if<NetnsMessage>(&event.body))
    set("id", Number(env, netns->id));
  else
    object.Set("kind", Napi::String::New(env, "overrun"));
  return object;
}

std::vector<napi_value> Changes::Arguments(Napi::Env env) {
  auto list = Napi::Array::New(env, events.size());
  if (list.IsEmpty())
    return {};
  for (uint32_t i = 0; i < events.size(); i++)
    list.Set(i, ObjectOf(env, events[i]));
  return {list};
}

constexpr int kGroups[] = {
    RTNLGRP_LINK,        RTNLGRP_NEIGH,      RTNLGRP_IPV4_IFADDR,
    RTNLGRP_IPV6_IFADDR, RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV6_ROUTE,
    RTNLGRP_NSID,
};

constexpr size_t kReadBytes = 128 * 1024;
constexpr size_t kEventsMax = 4096; // a batch is handed over when it has these

class Watch : public Feed {
public:
  ~Watch() override { Free(); }

  // 0 or a negative errno
  int Open(bool all_namespaces, uint32_t buffer_bytes);

private:
  void Run() override;
  void Free() override { socket_.reset(); }
  // Reads what is there, without waiting for more.
  std::unique_ptr<Changes> Read();
  void Take(const char *bytes, size_t size, std::optional<int32_t> netns,
            Changes *changes);

  FdRef socket_;
  bool all_namespaces_ = false;
  std::vector<char> bytes_ = std::vector<char>(kReadBytes);
};

int Watch::Open(bool all_namespaces, uint32_t buffer_bytes) {
  socket_ = std::make_shared<Fd>(OpenRoute(""));
  int fd = socket_->get();
  if (fd < 0)
    return fd;
  auto size = static_cast<int>(buffer_bytes);
  // The second is for those who may not go beyond the machine's limit.
  if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)) < 0)
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
  int on = 1;
  all_namespaces_ = all_namespaces;
  if (all_namespaces &&
      setsockopt(fd, SOL_NETLINK, NETLINK_LISTEN_ALL_NSID, &on, sizeof(on)) < 0)
    return -errno;
  struct sockaddr_nl address = {};
  address.nl_family = AF_NETLINK;
  if (bind(fd, reinterpret_cast<struct sockaddr *>(&address), sizeof(address)) <
      0)
    return -errno;
  for (int group : kGroups)
    if (setsockopt(fd, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &group,
                   sizeof(group)) < 0)
      return -errno;
  return OpenStop();
}

// The id of the namespace that a message comes from; none for this one.
std::optional<int32_t> NetnsOf(struct msghdr *header) {
  for (auto *control = CMSG_FIRSTHDR(header); control;
       control = CMSG_NXTHDR(header, control)) {
    if (control->cmsg_level != SOL_NETLINK ||
        control->cmsg_type != NETLINK_LISTEN_ALL_NSID)
      continue;
    int32_t id;
    memcpy(&id, CMSG_DATA(control), sizeof(id));
    if (id >= 0)
      return id;
  }
  return std::nullopt;
}

// Of other namespaces what an interface is called by is of use: its addresses.
bool IsOfUse(const RouteBody &body, bool elsewhere) {
  if (std::holds_alternative<Nothing>(body))
    return false;
  return !elsewhere || std::holds_alternative<AddressMessage>(body) ||
         std::holds_alternative<LinkMessage>(body);
}

void Watch::Take(const char *bytes, size_t size, std::optional<int32_t> netns,
                 Changes *changes) {
  auto *message = reinterpret_cast<const struct nlmsghdr *>(bytes);
  for (auto left = static_cast<int>(size); NLMSG_OK(message, left);
       message = NLMSG_NEXT(message, left)) {
    RouteBody body = ReadRoute(message);
    if (IsOfUse(body, netns.has_value()))
      changes->events.push_back({std::move(body), SaysGone(message), netns});
  }
}

std::unique_ptr<Changes> Watch::Read() {
  auto changes = std::make_unique<Changes>();
  while (changes->events.size() < kEventsMax) {
    char control[CMSG_SPACE(sizeof(int32_t))];
    struct iovec place = {bytes_.data(), bytes_.size()};
    struct msghdr header = {};
    header.msg_iov = &place;
    header.msg_iovlen = 1;
    header.msg_control = control;
    header.msg_controllen = sizeof(control);
    ssize_t size = recvmsg(socket_->get(), &header, MSG_DONTWAIT);
    if (size < 0 && errno == EINTR)
      continue;
    if (size < 0 && errno == EAGAIN)
      break; // nothing more is there
    // With any other error something may be lost, as with an overrun.
    bool failed = size < 0 && errno != ENOBUFS;
    if (size < 0 || header.msg_flags & MSG_TRUNC)
      changes->events.push_back({});
    else
      Take(bytes_.data(), static_cast<size_t>(size), NetnsOf(&header),
           changes.get());
    // One that lasts must not fill the list.
    if (failed)
      break;
  }
  return changes;
}

void Watch::Run() {
  while (Wait(socket_->get())) {
    auto changes = Read();
    if (!changes->events.empty() && !Hand(std::move(changes)))
      return;
  }
}

// (callback(events), all namespaces, buffer bytes) → handle or rc
Napi::Value Open(const Napi::CallbackInfo &info) {
  auto watch = std::make_shared<Watch>();
  int rc = watch->Open(BoolArg(info, 1), U32Arg(info, 2));
  if (rc < 0)
    return Number(info.Env(), rc);
  return StartFeed(std::move(watch), info[0].As<Napi::Function>(),
                   "bpf-ts.net");
}

} // namespace

void InitRouteWatch(Napi::Object exports) { Export(exports, "netWatch", Open); }

} // namespace bpf_ts
