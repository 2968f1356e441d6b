// For tests: reads documents from the standard input, each as four bytes of
// length (the lowest first) and its text, and writes a line for each: "-", the
// offset and the reason, or "+" and each member as its type, its name, its text
// (of an object or array) or value, both in hexadecimal, and its name
// serialized.
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <memory>

#include "json.h"

namespace {

void Hex(std::string_view text) {
  putchar(' ');
  for (unsigned char byte : text)
    printf("%02x", byte);
  putchar('.');
}

void Answer(std::string_view text) {
  weir::Document document = weir::ReadObject(text);
  if (!document.error.empty()) {
    printf("- %zu %s\n", document.offset, document.error.c_str());
    return;
  }
  putchar('+');
  for (const weir::Member &member : document.members) {
    printf(" %s", member.value.type_name());
    Hex(member.key);
    Hex(member.value.is_structured() ? std::string(member.text)
                                     : weir::Serialized(member.value));
    Hex(weir::Serialized(member.key));
  }
  putchar('\n');
}

} // namespace

int main() {
  unsigned char length[4];
  while (fread(length, 1, sizeof(length), stdin) == sizeof(length)) {
    uint32_t size =
        length[0] | length[1] << 8 | length[2] << 16 | length[3] << 24;
    // Of just this size, so that a read beyond the end is found.
    auto bytes = std::make_unique<char[]>(size);
    if (fread(bytes.get(), 1, size, stdin) != size)
      return 1;
    Answer({bytes.get(), size});
  }
  return 0;
}
