// For libFuzzer: all that weir-cni reads from others, from one input: fields
// that end with a zero byte (command, container id, namespace, interface,
// arguments, the agent's answer), then the network configuration. Sockets and
// the kernel aside, each step of the plugin runs on it, as in main.cc, which is
// included here for its internal functions, as is agent.cc.
#include "../src/agent.cc"
#define main weir_cni_main
#include "../src/main.cc"
#undef main

#include <sys/mman.h>

namespace weir {

namespace {

void Must(bool condition, const char *what) {
  if (condition)
    return;
  fprintf(stderr, "does not hold: %s\n", what);
  abort();
}

// Of just its size, so that a read beyond its end is found.
std::string Field(std::string_view *rest) {
  size_t end = rest->find('\0');
  std::string field(rest->substr(0, end));
  field.shrink_to_fit();
  rest->remove_prefix(end == std::string_view::npos ? rest->size() : end + 1);
  return field;
}

bool IsJson(const std::string &text) { return nlohmann::json::accept(text); }

// As the runtime's standard input.
std::optional<Failure> ReadAsInput(std::string_view text, std::string *read) {
  int fd = memfd_create("stdin", 0);
  Must(fd >= 0 && write(fd, text.data(), text.size()) ==
                      static_cast<ssize_t>(text.size()),
       "a file in memory");
  lseek(fd, 0, SEEK_SET);
  dup2(fd, STDIN_FILENO);
  close(fd);
  return ReadInput(read);
}

void Run(std::string_view rest) {
  Request request;
  request.command = Field(&rest);
  request.container = Field(&rest);
  request.netns = Field(&rest);
  request.interface = Field(&rest);
  request.arguments = Field(&rest);
  const std::string answer_text = Field(&rest);
  Config &config = request.config;

  std::optional<Failure> failure = ReadAsInput(rest, &config.text);
  Must(failure.has_value() == (rest.size() > kConfigBytesMax),
       "what is not too long is read");
  if (!failure)
    failure = ReadConfig(&config);
  Must(failure || IsJson(config.text), "what is read is JSON");
  Must(IsJson(VersionsOf(config)), "versions are JSON");
  if (!failure)
    failure = CheckRequest(request);
  if (failure) {
    Must(failure->code > 0 && IsJson(ErrorOf(*failure, config.version)),
         "an error is JSON with a code");
    return;
  }
  nlohmann::ordered_json link;
  if (request.command == "ADD")
    link["ifindex"] = static_cast<int>(rest.size());
  std::string body = BodyOf(request, link);
  Must(IsJson(body), "a request is JSON");
  Must(PathOf(request).rfind("/v1/cni/", 0) == 0, "a path of the agent's");

  Answer answer = AnswerIn(answer_text);
  failure = FailureIn(answer, request.command);
  Must(failure || (!answer.error && answer.status == 200),
       "only status 200 is a success");
  if (failure)
    Must(failure->code > 0 && IsJson(ErrorOf(*failure, config.version)),
         "an error is JSON with a code");
  else if (request.command == "ADD")
    Must(IsJson(std::string(config.previous)), "the result is JSON");
  bool opens = failure && config.fail_open && failure->code == kTryAgainLater;
  if (!IsRemoval(request.command))
    Must((Conclude(request, failure) == 0) ==
             (!failure || (opens && request.command == "ADD")),
         "it succeeds only after status 200, or with failOpen");
}

} // namespace

} // namespace weir

extern "C" int LLVMFuzzerInitialize(int *, char ***) {
  // What the plugin answers is judged above; stderr is libFuzzer's.
  return freopen("/dev/null", "w", stdout) ? 0 : 1;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  weir::Run({reinterpret_cast<const char *>(data), size});
  return 0;
}
