// The few questions to UTF-8 and UTF-16 that reading JSON asks.
#pragma once

#include <string>
#include <string_view>

namespace weir {

inline bool IsHighSurrogate(unsigned unit) {
  return unit >= 0xd800 && unit < 0xdc00;
}

inline bool IsLowSurrogate(unsigned unit) {
  return unit >= 0xdc00 && unit < 0xe000;
}

// The number that four hexadecimal digits stand for; false where they are none.
bool HexUnit(std::string_view digits, unsigned *unit);

// How many bytes the first character takes, from 1 to 4; 0 where the text does
// not begin with a whole character in its shortest form (Unicode, table 3-7).
size_t Utf8Length(std::string_view text);

void AppendUtf8(unsigned character, std::string *out);

} // namespace weir
