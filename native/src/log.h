// What libbpf prints, captured per thread.
#pragma once

#include <cstdarg>
#include <string>

namespace bpf_ts {

// Collects libbpf's warnings of this thread while it exists, with `debug` its
// debug output too; not those of loads on other threads.
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
