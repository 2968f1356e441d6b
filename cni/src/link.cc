// One RTM_GETLINK in the pod's network namespace.
#include "link.h"

#include <fcntl.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sched.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace weir {

namespace {

Link Broken(const char *error) {
  Link link;
  link.error = error;
  link.error_number = errno;
  return link;
}

bool Enter(const std::string &netns) {
  int fd = open(netns.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0)
    return false;
  int rc = setns(fd, CLONE_NEWNET);
  int error_number = errno;
  close(fd);
  errno = error_number;
  return rc == 0;
}

bool Send(int fd, const std::string &interface) {
  struct {
    nlmsghdr header;
    ifinfomsg body;
    rtattr attribute;
    char name[IFNAMSIZ];
  } request = {};
  size_t size = interface.size() + 1;
  request.header.nlmsg_len =
      NLMSG_LENGTH(sizeof(request.body)) + RTA_SPACE(size);
  request.header.nlmsg_type = RTM_GETLINK;
  request.header.nlmsg_flags = NLM_F_REQUEST;
  request.attribute.rta_type = IFLA_IFNAME;
  request.attribute.rta_len = RTA_LENGTH(size);
  memcpy(request.name, interface.c_str(), size);
  return send(fd, &request, request.header.nlmsg_len, 0) >= 0;
}

Link Read(int fd) {
  alignas(nlmsghdr) char bytes[32768];
  ssize_t size = recv(fd, bytes, sizeof(bytes), 0);
  auto *message = reinterpret_cast<nlmsghdr *>(bytes);
  if (size < 0 || !NLMSG_OK(message, static_cast<size_t>(size)))
    return Broken("the interface cannot be read");
  if (message->nlmsg_type == NLMSG_ERROR) {
    errno = -static_cast<nlmsgerr *>(NLMSG_DATA(message))->error;
    return Broken("the interface cannot be read");
  }
  auto *body = static_cast<ifinfomsg *>(NLMSG_DATA(message));
  Link link;
  link.ifindex = body->ifi_index;
  int left = IFLA_PAYLOAD(message);
  for (rtattr *each = IFLA_RTA(body); RTA_OK(each, left);
       each = RTA_NEXT(each, left))
    if (each->rta_type == IFLA_LINK && RTA_PAYLOAD(each) == sizeof(int))
      memcpy(&link.peer, RTA_DATA(each), sizeof(int));
  return link;
}

} // namespace

Link LinkIn(const std::string &netns, const std::string &interface) {
  if (interface.size() >= IFNAMSIZ) {
    errno = ENAMETOOLONG;
    return Broken("the interface cannot be read");
  }
  if (!Enter(netns))
    return Broken("the network namespace cannot be entered");
  int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
  if (fd < 0)
    return Broken("no netlink socket");
  Link link =
      Send(fd, interface) ? Read(fd) : Broken("the interface cannot be read");
  close(fd);
  return link;
}

} // namespace weir
