// One question to the agent over its Unix socket: an HTTP POST, and the answer
// or why there is none.
#pragma once

#include <chrono>
#include <string>

namespace weir {

using Deadline = std::chrono::steady_clock::time_point;

struct Answer {
  // Null where the agent has answered.
  const char *error = nullptr;
  // What the system said of it, in addition; may be empty.
  std::string details;
  int status = 0;
  std::string body;
};

// Longest answer that is read.
constexpr size_t kAnswerBytesMax = 1 << 20;

// `path` as in "/v1/cni/add". Nothing of it lasts longer than to the deadline.
Answer Ask(const std::string &socket_path, const std::string &path,
           const std::string &body, Deadline deadline);

// Waits until the descriptor is ready for `events` (poll(2)); false when the
// deadline passes first.
bool WaitFor(int fd, short events, Deadline deadline);

} // namespace weir
