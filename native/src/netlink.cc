// Sockets of rtnetlink, in this and in other network namespaces, and dumps.
#include "netlink.h"

#include "common.h"

#include <fcntl.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <sched.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <thread>

namespace bpf_ts {

namespace {

int Socket() {
  int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
  if (fd < 0)
    return -errno;
  // Without it, dumps of addresses ignore IFA_TARGET_NETNSID (Linux 4.20).
  int on = 1;
  setsockopt(fd, SOL_NETLINK, NETLINK_GET_STRICT_CHK, &on, sizeof(on));
  return fd;
}

// A socket belongs for good to the namespace in which it was made.
int SocketIn(const std::string &netns) {
  Fd file(open(netns.c_str(), O_RDONLY | O_CLOEXEC));
  if (file.get() < 0 || setns(file.get(), CLONE_NEWNET) < 0)
    return -errno;
  return Socket();
}

// What the end of an answer says.
int Outcome(const struct nlmsghdr *message) {
  int rc = 0;
  if (message->nlmsg_len >= NLMSG_LENGTH(sizeof(rc)))
    memcpy(&rc, NLMSG_DATA(message), sizeof(rc));
  return rc;
}

enum class Answer { kMore, kDone };

struct Reading {
  const OnMessage &on_message;
  uint32_t sequence;
  bool is_dump;
  bool interrupted = false;
  int rc = 0;
};

Answer ReadAll(Reading *reading, char *bytes, size_t size) {
  auto *message = reinterpret_cast<struct nlmsghdr *>(bytes);
  for (auto left = static_cast<int>(size); NLMSG_OK(message, left);
       message = NLMSG_NEXT(message, left)) {
    if (message->nlmsg_seq != reading->sequence)
      continue; // the rest of an abandoned answer
    if (message->nlmsg_flags & NLM_F_DUMP_INTR)
      reading->interrupted = true;
    if (message->nlmsg_type == NLMSG_DONE ||
        message->nlmsg_type == NLMSG_ERROR) {
      reading->rc = Outcome(message);
      return Answer::kDone;
    }
    reading->on_message(message);
    if (!reading->is_dump)
      return Answer::kDone;
  }
  return Answer::kMore;
}

constexpr size_t kReadBytes = 128 * 1024; // the kernel fills at most 32 KiB

} // namespace

int OpenRoute(const std::string &netns) {
  if (netns.empty())
    return Socket();
  // A thread of its own: no other may ever find itself in that namespace.
  int fd = -EINVAL;
  std::thread([&] { fd = SocketIn(netns); }).join();
  return fd;
}

Request::Request(uint16_t type, uint16_t flags, const void *body, size_t size) {
  struct nlmsghdr header = {};
  header.nlmsg_type = type;
  header.nlmsg_flags = flags | NLM_F_REQUEST;
  Append(&header, sizeof(header));
  Append(body, size);
}

void Request::Add(uint16_t attribute, uint32_t value) {
  struct rtattr head = {};
  head.rta_len = RTA_LENGTH(sizeof(value));
  head.rta_type = attribute;
  Append(&head, sizeof(head));
  Append(&value, sizeof(value));
}

void Request::Append(const void *data, size_t size) {
  auto *from = static_cast<const char *>(data);
  bytes_.insert(bytes_.end(), from, from + size);
  bytes_.resize(NLMSG_ALIGN(bytes_.size()));
}

int Ask(int socket, Request request, const OnMessage &on_message) {
  struct nlmsghdr *header = request.header();
  // Distinguishes this answer from unread messages of an earlier one.
  static thread_local uint32_t sequence = 0;
  header->nlmsg_seq = ++sequence;
  bool is_dump = (header->nlmsg_flags & NLM_F_DUMP) == NLM_F_DUMP;
  header->nlmsg_len = static_cast<uint32_t>(request.size());
  if (send(socket, header, header->nlmsg_len, 0) < 0)
    return -errno;
  Reading reading = {on_message, header->nlmsg_seq, is_dump};
  std::vector<char> bytes(kReadBytes);
  for (;;) {
    ssize_t size = recv(socket, bytes.data(), bytes.size(), MSG_TRUNC);
    if (size < 0 && errno == EINTR)
      continue;
    if (size < 0)
      return -errno;
    if (static_cast<size_t>(size) > bytes.size())
      return -EMSGSIZE;
    if (ReadAll(&reading, bytes.data(), size) == Answer::kDone)
      break;
  }
  return reading.rc < 0 ? reading.rc : reading.interrupted ? -EINTR : 0;
}

int CountClsactFilters(int ifindex) {
  Fd netlink(OpenRoute(""));
  if (netlink.get() < 0)
    return netlink.get();
  int total = 0;
  for (__u32 minor : {TC_H_MIN_INGRESS, TC_H_MIN_EGRESS}) {
    struct tcmsg body = {};
    body.tcm_family = AF_UNSPEC;
    body.tcm_ifindex = ifindex;
    body.tcm_parent = TC_H_MAKE(TC_H_CLSACT, minor);
    Request request(RTM_GETTFILTER, NLM_F_DUMP, &body, sizeof(body));
    int rc = Ask(netlink.get(), request, [&](const struct nlmsghdr *message) {
      total += message->nlmsg_type == RTM_NEWTFILTER ? 1 : 0;
    });
    // EINTR: a filter may be missed or counted twice, which makes no difference
    // here: the qdisc is in use.
    if (rc < 0 && rc != -EINTR)
      return rc;
  }
  return total;
}

} // namespace bpf_ts
