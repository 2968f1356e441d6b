// libbpf has one print callback for the whole process; a thread-local pointer
// selects the capture.
#include "log.h"

#include <bpf/libbpf.h>

#include <cstdio>

namespace bpf_ts {

namespace {

thread_local LogCapture *current = nullptr;

int Print(enum libbpf_print_level level, const char *format,
          va_list arguments) {
  if (current && (level != LIBBPF_DEBUG || current->debug()))
    current->Append(format, arguments);
  return 0;
}

} // namespace

LogCapture::LogCapture(bool debug) : debug_(debug), outer_(current) {
  current = this;
}

LogCapture::~LogCapture() { current = outer_; }

void LogCapture::Append(const char *format, va_list arguments) {
  va_list again;
  va_copy(again, arguments);
  int length = vsnprintf(nullptr, 0, format, arguments);
  if (length > 0) {
    size_t before = text_.size();
    text_.resize(before + length + 1);
    vsnprintf(text_.data() + before, length + 1, format, again);
    text_.pop_back();
  }
  va_end(again);
}

void InstallLogCapture() { libbpf_set_print(Print); }

} // namespace bpf_ts
