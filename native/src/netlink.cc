// A dump of a device's tc filters over a socket of its own.
#include "netlink.h"

#include "common.h"

#include <linux/netlink.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

#include <cerrno>

namespace bpf_ts {

namespace {

int Ask(int socket, int ifindex, __u32 parent) {
  struct {
    struct nlmsghdr header;
    struct tcmsg body;
  } request = {};
  request.header.nlmsg_len = sizeof(request);
  request.header.nlmsg_type = RTM_GETTFILTER;
  request.header.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
  request.body.tcm_family = AF_UNSPEC;
  request.body.tcm_ifindex = ifindex;
  request.body.tcm_parent = parent;
  return send(socket, &request, sizeof(request), 0) < 0 ? -errno : 0;
}

// Adds the filters of one datagram to `count`. Returns 1 at the dump's end, 0
// where more is to come, or a negative errno.
int Read(char *bytes, ssize_t size, int *count) {
  auto *message = reinterpret_cast<struct nlmsghdr *>(bytes);
  for (auto left = static_cast<int>(size); NLMSG_OK(message, left);
       message = NLMSG_NEXT(message, left)) {
    if (message->nlmsg_type == NLMSG_DONE)
      return 1;
    if (message->nlmsg_type == NLMSG_ERROR)
      return static_cast<struct nlmsgerr *>(NLMSG_DATA(message))->error;
    if (message->nlmsg_type == RTM_NEWTFILTER)
      ++*count;
  }
  return 0;
}

int Count(int socket, int ifindex, __u32 parent) {
  int rc = Ask(socket, ifindex, parent);
  int count = 0;
  alignas(struct nlmsghdr) char bytes[32768];
  while (rc == 0) {
    ssize_t size = recv(socket, bytes, sizeof(bytes), 0);
    if (size < 0 && errno == EINTR)
      continue;
    rc = size < 0 ? -errno : Read(bytes, size, &count);
  }
  return rc < 0 ? rc : count;
}

} // namespace

int CountClsactFilters(int ifindex) {
  Fd netlink(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE));
  if (netlink.get() < 0)
    return -errno;
  int total = 0;
  for (__u32 minor : {TC_H_MIN_INGRESS, TC_H_MIN_EGRESS}) {
    int count = Count(netlink.get(), ifindex, TC_H_MAKE(TC_H_CLSACT, minor));
    if (count < 0)
      return count;
    total += count;
  }
  return total;
}

} // namespace bpf_ts
