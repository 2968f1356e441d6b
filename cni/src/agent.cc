// The plugin's end of the agent's socket. Everything is non-blocking and waits
// for one deadline: a stopped agent must not hold a pod for ever.
#include "agent.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstring>

namespace weir {

namespace {

constexpr char kLate[] = "the agent gave no answer in time";
constexpr char kNoAgent[] = "the agent cannot be reached";
constexpr char kGarbled[] = "the agent's answer cannot be understood";

Answer Broken(const char *error, std::string details = "") {
  Answer answer;
  answer.error = error;
  answer.details = std::move(details);
  return answer;
}

int MsUntil(Deadline deadline) {
  using std::chrono::milliseconds;
  auto left = std::chrono::ceil<milliseconds>(deadline -
                                              std::chrono::steady_clock::now());
  return left.count() < 0 ? 0 : static_cast<int>(left.count());
}

// 0, or the errno with which connect(2) failed at last.
int Connect(int fd, const std::string &path, Deadline deadline) {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  memcpy(address.sun_path, path.data(), path.size());
  for (;;) {
    if (connect(fd, reinterpret_cast<sockaddr *>(&address), sizeof(address)) ==
        0)
      return 0;
    // EAGAIN: the agent has not yet taken those who came before.
    if (errno != EAGAIN && errno != EINTR)
      return errno;
    int left = MsUntil(deadline);
    if (left == 0)
      return ETIMEDOUT;
    poll(nullptr, 0, left < 5 ? left : 5);
  }
}

// 0, or an errno.
int SendAll(int fd, const std::string &text, Deadline deadline) {
  for (size_t sent = 0; sent < text.size();) {
    ssize_t size =
        send(fd, text.data() + sent, text.size() - sent, MSG_NOSIGNAL);
    if (size >= 0)
      sent += size;
    else if (errno == EAGAIN && !WaitFor(fd, POLLOUT, deadline))
      return ETIMEDOUT;
    else if (errno != EAGAIN && errno != EINTR)
      return errno;
  }
  return 0;
}

// To the end of the stream. 0, or an errno.
int ReceiveAll(int fd, std::string *text, Deadline deadline) {
  char bytes[16384];
  for (;;) {
    ssize_t size = recv(fd, bytes, sizeof(bytes), 0);
    if (size == 0)
      return 0;
    if (size > 0)
      text->append(bytes, size);
    else if (errno == EAGAIN && !WaitFor(fd, POLLIN, deadline))
      return ETIMEDOUT;
    else if (errno != EAGAIN && errno != EINTR)
      return errno;
    if (text->size() > kAnswerBytesMax)
      return EMSGSIZE;
  }
}

// The number that follows `name` in the head of an answer; -1 if there is none.
long NumberAfter(std::string_view head, std::string_view name) {
  for (size_t at = 0; (at = head.find("\r\n", at)) != std::string_view::npos;) {
    at += 2;
    std::string_view line = head.substr(at);
    if (line.size() <= name.size() ||
        strncasecmp(line.data(), name.data(), name.size()) != 0)
      continue;
    line.remove_prefix(name.size());
    while (!line.empty() && line[0] == ' ')
      line.remove_prefix(1);
    long number;
    auto read = std::from_chars(line.data(), line.data() + line.size(), number);
    return read.ec == std::errc() && number >= 0 ? number : -1;
  }
  return -1;
}

Answer AnswerIn(const std::string &text) {
  size_t end = text.find("\r\n\r\n");
  static constexpr std::string_view kBegin = "HTTP/1.1 ";
  if (end == std::string::npos || text.compare(0, kBegin.size(), kBegin) != 0)
    return Broken(kGarbled, "it is not HTTP");
  Answer answer;
  const char *status = text.data() + kBegin.size();
  auto read = std::from_chars(status, text.data() + end, answer.status);
  if (read.ec != std::errc() || read.ptr != status + 3)
    return Broken(kGarbled, "it has no status");
  std::string_view head(text.data(), end);
  answer.body = text.substr(end + 4);
  if (NumberAfter(head, "content-length:") !=
      static_cast<long>(answer.body.size()))
    return Broken(kGarbled, "it broke off");
  return answer;
}

Answer Exchange(int fd, const std::string &path, const std::string &request,
                Deadline deadline) {
  int rc = Connect(fd, path, deadline);
  if (rc != 0)
    return Broken(kNoAgent, path + ": " + strerror(rc));
  std::string text;
  // An agent that refuses may answer before all is sent.
  rc = SendAll(fd, request, deadline);
  if (rc == 0 || rc == EPIPE || rc == ECONNRESET)
    rc = ReceiveAll(fd, &text, deadline);
  if (rc == ETIMEDOUT)
    return Broken(kLate);
  if (rc != 0 || text.empty())
    return Broken("the agent ended during the request",
                  rc == 0 ? "" : strerror(rc));
  return AnswerIn(text);
}

} // namespace

bool WaitFor(int fd, short events, Deadline deadline) {
  for (;;) {
    struct pollfd each = {fd, events, 0};
    int left = MsUntil(deadline);
    int rc = poll(&each, 1, left);
    if (rc > 0)
      return true;
    if (rc == 0 || (rc < 0 && errno != EINTR))
      return false;
  }
}

Answer Ask(const std::string &socket_path, const std::string &path,
           const std::string &body, Deadline deadline) {
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0)
    return Broken(kNoAgent, strerror(errno));
  std::string request = "POST " + path +
                        " HTTP/1.1\r\nhost: weir\r\nconnection: close\r\n" +
                        "content-type: application/json\r\ncontent-length: " +
                        std::to_string(body.size()) + "\r\n\r\n" + body;
  Answer answer = Exchange(fd, socket_path, request, deadline);
  close(fd);
  return answer;
}

} // namespace weir
