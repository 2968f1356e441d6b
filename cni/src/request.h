// The runtime's request: the CNI_* variables and the network configuration
// on the standard input, read as far as the plugin itself needs them.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "json.h"

namespace weir {

// Error codes of the CNI specification, section 5, "Error".
enum Code {
  kIncompatibleVersion = 1,
  kInvalidEnvironment = 4,
  kIoFailure = 5,
  kDecodingFailure = 6,
  kInvalidConfig = 7,
  kTryAgainLater = 11,
  kNotAvailable = 50,
  kOfThePlugin = 100,
};

struct Failure {
  int code;
  std::string message;
  std::string details;
};

// Longest configuration that is read. libcni's own are a few kilobytes.
constexpr size_t kConfigBytesMax = 1 << 20;

constexpr char kSocketDefault[] = "/run/weir/cni.sock";
constexpr int kTimeoutDefaultMs = 10'000;
constexpr int kTimeoutMaxMs = 600'000;

// The newest version, and the one of errors before a configuration is read.
constexpr char kNewestVersion[] = "1.1.0";

struct Config {
  // All of it, as it came.
  std::string text;
  std::string version = kNewestVersion;
  // The text of prevResult within `text`; empty without one.
  std::string_view previous;
  std::string socket = kSocketDefault;
  int timeout_ms = kTimeoutDefaultMs;
  bool fail_open = false;
};

struct Request {
  std::string command;
  std::string container;
  std::string netns;
  std::string interface;
  std::string arguments;
  Config config;
};

// Reads `config->text` into the rest of it.
std::optional<Failure> ReadConfig(Config *config);

// Whether the command exists in the configuration's version and has the
// variables that it needs.
std::optional<Failure> CheckRequest(const Request &request);

// As the agent takes it (POST /v1/cni/...); a `link` of null is left out.
std::string BodyOf(const Request &request, const nlohmann::ordered_json &link);

// The answer to VERSION.
std::string VersionsOf(const Config &config);

// An error as the runtime takes it.
std::string ErrorOf(const Failure &failure, const std::string &version);

} // namespace weir
