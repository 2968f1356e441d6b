// UTF-8, read and written.
#include "utf8.h"

namespace weir {

bool HexUnit(std::string_view digits, unsigned *unit) {
  *unit = 0;
  for (char digit : digits) {
    unsigned value;
    if (digit >= '0' && digit <= '9')
      value = digit - '0';
    else if ((digit | 0x20) >= 'a' && (digit | 0x20) <= 'f')
      value = (digit | 0x20) - 'a' + 10;
    else
      return false;
    *unit = *unit * 16 + value;
  }
  return digits.size() == 4;
}

size_t Utf8Length(std::string_view text) {
  auto byte = [&](size_t at) -> unsigned {
    return at < text.size() ? static_cast<unsigned char>(text[at]) : 0;
  };
  auto continues = [&](size_t at) { return (byte(at) & 0xc0) == 0x80; };
  unsigned first = byte(0), second = byte(1);
  if (first < 0x80)
    return text.empty() ? 0 : 1;
  if (first < 0xc2 || first > 0xf4 || !continues(1))
    return 0;
  if (first < 0xe0)
    return 2;
  if (!continues(2))
    return 0;
  if (first < 0xf0)
    return (first == 0xe0 && second < 0xa0) || (first == 0xed && second > 0x9f)
               ? 0
               : 3;
  if ((first == 0xf0 && second < 0x90) || (first == 0xf4 && second > 0x8f))
    return 0;
  return continues(3) ? 4 : 0;
}

void AppendUtf8(unsigned character, std::string *out) {
  auto tail = [&](int shift) {
    *out += static_cast<char>(0x80 | ((character >> shift) & 0x3f));
  };
  if (character < 0x80) {
    *out += static_cast<char>(character);
  } else if (character < 0x800) {
    *out += static_cast<char>(0xc0 | (character >> 6));
    tail(0);
  } else if (character < 0x10000) {
    *out += static_cast<char>(0xe0 | (character >> 12));
    tail(6);
    tail(0);
  } else {
    *out += static_cast<char>(0xf0 | (character >> 18));
    tail(12);
    tail(6);
    tail(0);
  }
}

} // namespace weir
