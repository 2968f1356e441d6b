// Reads and checks what the runtime asks for, and writes what it is told.
#include "request.h"

#include <algorithm>
#include <charconv>
#include <sys/un.h>

#include "json.h"

namespace weir {

namespace {

// Of these the previous result is handed on; 0.1 and 0.2 had another shape.
constexpr std::string_view kVersions[] = {"0.3.0", "0.3.1", "0.4.0", "1.0.0",
                                          "1.1.0"};

struct Command {
  std::string_view name;
  // The first of kVersions that has it.
  size_t since;
  bool of_container;
};

constexpr Command kCommands[] = {
    {"ADD", 0, true},     {"DEL", 0, true}, {"CHECK", 2, true},
    {"STATUS", 4, false}, {"GC", 4, false}, {"VERSION", 0, false},
};

Failure Wrong(const char *key, const char *expected) {
  return {kInvalidConfig,
          std::string("network configuration: ") + key + ": expected " +
              expected,
          ""};
}

bool IsSocketPath(const std::string &path) {
  return !path.empty() && path[0] == '/' &&
         path.size() < sizeof(sockaddr_un::sun_path) &&
         path.find('\0') == std::string::npos;
}

std::optional<Failure> ReadSettings(const Document &document, Config *config) {
  if (const Member *socket = document.find("socket")) {
    if (socket->kind == Kind::String)
      config->socket = StringOf(socket->text);
    if (socket->kind != Kind::String || !IsSocketPath(config->socket))
      return Wrong("socket", "an absolute path of at most 107 bytes");
  }
  if (const Member *timeout = document.find("timeoutMs")) {
    const char *end = timeout->text.data() + timeout->text.size();
    auto read = std::from_chars(timeout->text.data(), end, config->timeout_ms);
    if (read.ec != std::errc() || read.ptr != end || config->timeout_ms < 1 ||
        config->timeout_ms > kTimeoutMaxMs)
      return Wrong("timeoutMs", "a whole number from 1 to 600000");
  }
  if (const Member *open = document.find("failOpen")) {
    if (open->kind != Kind::True && open->kind != Kind::False)
      return Wrong("failOpen", "true or false");
    config->fail_open = open->kind == Kind::True;
  }
  return std::nullopt;
}

std::string Field(const char *name, std::string_view value) {
  return std::string(",\"") + name + "\":" + Quoted(value);
}

} // namespace

std::optional<Failure> ReadConfig(Config *config) {
  Document document = ReadObject(config->text);
  if (document.error)
    return Failure{kDecodingFailure,
                   "the network configuration is not readable JSON",
                   std::string(document.error) + ", at byte " +
                       std::to_string(document.offset)};
  const Member *version = document.find("cniVersion");
  if (version && version->kind != Kind::String)
    return Wrong("cniVersion", "a string");
  // Before 0.3.0 it could be left out.
  std::string given = version ? StringOf(version->text) : "0.1.0";
  if (std::find(std::begin(kVersions), std::end(kVersions), given) ==
      std::end(kVersions))
    return Failure{kIncompatibleVersion, "incompatible CNI version " + given,
                   "expected one of 0.3.0, 0.3.1, 0.4.0, 1.0.0, 1.1.0"};
  config->version = given;
  const Member *previous = document.find("prevResult");
  if (previous && previous->kind != Kind::Object &&
      previous->kind != Kind::Null)
    return Wrong("prevResult", "an object");
  if (previous && previous->kind == Kind::Object)
    config->previous = previous->text;
  return ReadSettings(document, config);
}

std::optional<Failure> CheckRequest(const Request &request) {
  auto command = std::find_if(
      std::begin(kCommands), std::end(kCommands),
      [&](const Command &each) { return each.name == request.command; });
  if (command == std::end(kCommands))
    return Failure{kInvalidEnvironment,
                   "CNI_COMMAND: expected ADD, DEL, CHECK, STATUS, GC or "
                   "VERSION",
                   request.command};
  const auto *version = std::find(std::begin(kVersions), std::end(kVersions),
                                  request.config.version);
  if (version < std::begin(kVersions) + command->since)
    return Failure{kIncompatibleVersion,
                   request.command + " is not in CNI version " +
                       request.config.version,
                   ""};
  const char *missing = nullptr;
  if (command->of_container && request.container.empty())
    missing = "CNI_CONTAINERID";
  if (command->of_container && request.interface.empty())
    missing = "CNI_IFNAME";
  // DEL comes without a namespace where that has gone before.
  if (command->of_container && request.netns.empty() &&
      request.command != "DEL")
    missing = "CNI_NETNS";
  if (missing)
    return Failure{kInvalidEnvironment, std::string(missing) + " is missing",
                   ""};
  if (request.command == "ADD" && request.config.previous.empty())
    return Failure{kInvalidConfig,
                   "weir-cni must be chained after the plugin that makes the "
                   "interface: there is no prevResult",
                   ""};
  return std::nullopt;
}

std::string BodyOf(const Request &request, std::string_view link) {
  std::string body = "{\"command\":" + Quoted(request.command);
  body += Field("containerId", request.container);
  body += Field("netns", request.netns);
  body += Field("ifname", request.interface);
  body += Field("args", request.arguments);
  body += ",\"timeoutMs\":" + std::to_string(request.config.timeout_ms);
  if (!link.empty())
    (body += ",\"link\":") += link;
  return body += ",\"config\":" + request.config.text + "}";
}

std::string VersionsOf(const Config &config) {
  std::string text =
      "{\"cniVersion\":" + Quoted(config.version) + ",\"supportedVersions\":";
  char before = '[';
  for (std::string_view version : kVersions) {
    (text += before) += Quoted(version);
    before = ',';
  }
  return text + "]}";
}

std::string ErrorOf(const Failure &failure, std::string_view version) {
  std::string text = "{\"cniVersion\":" + Quoted(version) +
                     ",\"code\":" + std::to_string(failure.code) +
                     Field("msg", failure.message);
  if (!failure.details.empty())
    text += Field("details", failure.details);
  return text + "}";
}

} // namespace weir
