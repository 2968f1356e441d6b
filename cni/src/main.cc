// weir-cni: a chained CNI plugin. It reports to Weir's agent which pod is being
// made, waits until the pod's policy is in the kernel, and hands on the result
// of the plugins before it. All thinking is the agent's.
#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <climits>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "agent.h"
#include "json.h"
#include "link.h"
#include "request.h"

namespace weir {

namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

// The runtime writes the configuration at once.
constexpr int kInputMs = 10'000;
// Nothing waits for what these two change, so the agent answers at once.
constexpr int kRemovalMs = 2'000;

std::string Variable(const char *name) {
  const char *value = getenv(name);
  return value ? value : "";
}

std::optional<Failure> ReadInput(std::string *text) {
  Deadline deadline = steady_clock::now() + milliseconds(kInputMs);
  char bytes[16384];
  for (;;) {
    if (!WaitFor(STDIN_FILENO, POLLIN, deadline))
      return Failure{kIoFailure, "no network configuration came in time", ""};
    ssize_t size = read(STDIN_FILENO, bytes, sizeof(bytes));
    if (size == 0)
      return std::nullopt;
    if (size < 0 && errno != EINTR)
      return Failure{kIoFailure, "the network configuration cannot be read",
                     strerror(errno)};
    if (size > 0)
      text->append(bytes, size);
    if (text->size() > kConfigBytesMax)
      return Failure{kDecodingFailure, "the network configuration is too long",
                     "more than " + std::to_string(kConfigBytesMax) + " bytes"};
  }
}

int Print(std::string_view text) {
  while (!text.empty()) {
    ssize_t size = write(STDOUT_FILENO, text.data(), text.size());
    if (size < 0 && errno != EINTR)
      return 1;
    text.remove_prefix(size < 0 ? 0 : size);
  }
  return 0;
}

int Fail(const Failure &failure, const Config &config) {
  Print(ErrorOf(failure, config.version) + "\n");
  return 1;
}

// One line, whatever is in the text.
void Tell(const std::string &text) {
  std::string line = "weir-cni: " + text;
  std::replace_if(
      line.begin(), line.end(), [](unsigned char c) { return iscntrl(c); },
      ' ');
  fprintf(stderr, "%s\n", line.c_str());
}

std::string TextOf(const Failure &failure) {
  return failure.details.empty() ? failure.message
                                 : failure.message + ": " + failure.details;
}

// For the agent: the indexes, or why they are not known.
nlohmann::ordered_json LinkOf(const Request &request) {
  Link link = LinkIn(request.netns, request.interface);
  nlohmann::ordered_json fields;
  if (link.error) {
    fields["error"] =
        std::string(link.error) + ": " + strerror(link.error_number);
  } else {
    fields["ifindex"] = link.ifindex;
    fields["peer"] = link.peer;
  }
  return fields;
}

std::string PathOf(const Request &request) {
  std::string path = "/v1/cni/" + request.command;
  std::transform(path.begin() + 4, path.end(), path.begin() + 4, tolower);
  return path;
}

// Why the answer is no success; nothing where it is one.
std::optional<Failure> FailureIn(const Answer &answer,
                                 const std::string &command) {
  if (answer.error)
    return Failure{command == "STATUS" ? kNotAvailable : kTryAgainLater,
                   answer.error, answer.details};
  if (answer.status == 200)
    return std::nullopt;
  Document document = ReadObject(answer.body);
  auto string = [&](const char *key) {
    const nlohmann::json *value = document.find(key);
    return value ? value->get_ptr<const std::string *>() : nullptr;
  };
  const nlohmann::json *code = document.find("code");
  const auto *number =
      code ? code->get_ptr<const nlohmann::json::number_unsigned_t *>()
           : nullptr;
  const std::string *message = string("msg"), *details = string("details");
  if (!number || *number < 1 || *number > INT_MAX || !message)
    return Failure{kOfThePlugin, "the agent's answer cannot be understood",
                   "status " + std::to_string(answer.status) + ": " +
                       answer.body.substr(0, 200)};
  return Failure{static_cast<int>(*number), *message, details ? *details : ""};
}

bool IsRemoval(const std::string &command) {
  return command == "DEL" || command == "GC";
}

int Conclude(const Request &request, const std::optional<Failure> &failure) {
  const Config &config = request.config;
  bool adds = request.command == "ADD";
  if (!failure)
    return adds ? Print(std::string(config.previous) + "\n") : 0;
  // The agent notices a missed removal by itself: the interface will be gone.
  if (IsRemoval(request.command)) {
    Tell(request.command + ": " + TextOf(*failure));
    return 0;
  }
  if (adds && config.fail_open && failure->code == kTryAgainLater) {
    Tell("the pod starts without its policy (failOpen): " + TextOf(*failure));
    return Print(std::string(config.previous) + "\n");
  }
  return Fail(*failure, config);
}

int Run() {
  Request request;
  request.command = Variable("CNI_COMMAND");
  request.container = Variable("CNI_CONTAINERID");
  request.netns = Variable("CNI_NETNS");
  request.interface = Variable("CNI_IFNAME");
  request.arguments = Variable("CNI_ARGS");
  Config &config = request.config;
  if (request.command.empty())
    return Fail({kInvalidEnvironment,
                 "weir-cni is a CNI plugin, which a container runtime calls; "
                 "CNI_COMMAND is missing",
                 ""},
                config);
  if (auto failure = ReadInput(&config.text))
    return Fail(*failure, config);
  auto failure = ReadConfig(&config);
  if (request.command == "VERSION")
    return Print(VersionsOf(config) + "\n");
  if (!failure)
    failure = CheckRequest(request);
  if (failure)
    return Fail(*failure, config);
  Deadline deadline = steady_clock::now() +
                      milliseconds(IsRemoval(request.command)
                                       ? std::min(config.timeout_ms, kRemovalMs)
                                       : config.timeout_ms);
  nlohmann::ordered_json link;
  if (request.command == "ADD")
    link = LinkOf(request);
  Answer answer =
      Ask(config.socket, PathOf(request), BodyOf(request, link), deadline);
  return Conclude(request, FailureIn(answer, request.command));
}

} // namespace

} // namespace weir

int main() { return weir::Run(); }
