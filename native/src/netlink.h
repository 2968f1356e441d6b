// Questions to rtnetlink, over sockets of their own.
#pragma once

#include <linux/netlink.h>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace bpf_ts {

// A NETLINK_ROUTE socket in the network namespace of a file, or in this one
// where the path is empty. A negative errno on failure.
int OpenRoute(const std::string &netns);

// A request as it goes over the socket.
class Request {
public:
  Request(uint16_t type, uint16_t flags, const void *body, size_t size);
  void Add(uint16_t attribute, uint32_t value);
  size_t size() const { return bytes_.size(); }
  struct nlmsghdr *header() {
    return reinterpret_cast<struct nlmsghdr *>(bytes_.data());
  }

private:
  void Append(const void *data, size_t size);
  std::vector<char> bytes_;
};

using OnMessage = std::function<void(const struct nlmsghdr *)>;

// Sends a request and gives each message of the answer to `on_message`. Returns
// 0 at its end, -EINTR where the table changed during the dump, which then may
// have missed something, or another negative errno.
int Ask(int socket, Request request, const OnMessage &on_message);

// How many filters a device's clsact qdisc has, both directions together;
// 0 also where there is no such qdisc. A negative errno on failure.
int CountClsactFilters(int ifindex);

} // namespace bpf_ts
