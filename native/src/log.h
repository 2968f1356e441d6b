// What libbpf prints, captured per thread.
#pragma once

#include <cstdarg>
#include <string>

namespace bpf_ts {

// While one lives, libbpf's warnings on this thread (its debug output too, if
// asked for) are gathered in it. Loads on other threads do not mix in.
class LogCapture {
public:
  explicit LogCapture(bool debug = false);
  ~LogCapture();
  LogCapture(const LogCapture &) = delete;
  LogCapture &operator=(const LogCapture &) = delete;
  std::string Take() { return std::move(text_); }

  void Append(const char *format, va_list arguments);
  bool debug() const { return debug_; }

private:
  std::string text_;
  bool debug_;
  LogCapture *outer_;
};

// Installs the print callback; nothing libbpf says goes to stderr any more.
void InstallLogCapture();

} // namespace bpf_ts
