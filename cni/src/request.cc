// Parses and checks the runtime's request, and writes the answers.
#include "request.h"

#include <algorithm>
#include <sys/un.h>

namespace weir {

namespace {

using nlohmann::json;
using nlohmann::ordered_json;

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
  if (const json *socket = document.find("socket")) {
    const auto *path = socket->get_ptr<const json::string_t *>();
    if (!path || !IsSocketPath(*path))
      return Wrong("socket", "an absolute path of at most 107 bytes");
    config->socket = *path;
  }
  if (const json *timeout = document.find("timeoutMs")) {
    const auto *ms = timeout->get_ptr<const json::number_unsigned_t *>();
    if (!ms || *ms < 1 || *ms > kTimeoutMaxMs)
      return Wrong("timeoutMs", "a whole number from 1 to 600000");
    config->timeout_ms = static_cast<int>(*ms);
  }
  if (const json *open = document.find("failOpen")) {
    const auto *fail_open = open->get_ptr<const json::boolean_t *>();
    if (!fail_open)
      return Wrong("failOpen", "true or false");
    config->fail_open = *fail_open;
  }
  return std::nullopt;
}

} // namespace

std::optional<Failure> ReadConfig(Config *config) {
  Document document = ReadObject(config->text);
  if (!document.error.empty())
    return Failure{
        kDecodingFailure, "the network configuration is not readable JSON",
        document.error + ", at byte " + std::to_string(document.offset)};
  const json *version = document.find("cniVersion");
  if (version && !version->is_string())
    return Wrong("cniVersion", "a string");
  // Before 0.3.0 it could be left out.
  std::string given =
      version ? *version->get_ptr<const json::string_t *>() : "0.1.0";
  if (std::find(std::begin(kVersions), std::end(kVersions), given) ==
      std::end(kVersions))
    return Failure{kIncompatibleVersion, "incompatible CNI version " + given,
                   "expected one of 0.3.0, 0.3.1, 0.4.0, 1.0.0, 1.1.0"};
  config->version = given;
  const json *previous = document.find("prevResult");
  if (previous && !previous->is_object() && !previous->is_null())
    return Wrong("prevResult", "an object");
  config->previous = document.TextOf("prevResult");
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

std::string BodyOf(const Request &request, const ordered_json &link) {
  ordered_json fields = {
      {"command", request.command}, {"containerId", request.container},
      {"netns", request.netns},     {"ifname", request.interface},
      {"args", request.arguments},  {"timeoutMs", request.config.timeout_ms}};
  if (!link.is_null())
    fields["link"] = link;
  std::string body = Serialized(fields);
  body.pop_back();
  // As it came: what is serialized again can lose digits of numbers.
  return body + ",\"config\":" + request.config.text + "}";
}

std::string VersionsOf(const Config &config) {
  return Serialized(
      {{"cniVersion", config.version}, {"supportedVersions", kVersions}});
}

std::string ErrorOf(const Failure &failure, const std::string &version) {
  ordered_json fields = {{"cniVersion", version},
                         {"code", failure.code},
                         {"msg", failure.message}};
  if (!failure.details.empty())
    fields["details"] = failure.details;
  return Serialized(fields);
}

} // namespace weir
