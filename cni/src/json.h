// One JSON object (RFC 8259), read strictly by nlohmann-json's SAX parser: the
// object's own members, scalars as values, objects and arrays as the text that
// was read, so that they can be passed on byte for byte.
#pragma once

#include <nlohmann/json.hpp>

#include <string>
#include <string_view>
#include <vector>

namespace weir {

struct Member {
  std::string key;
  // Of an object or array only the type, its text is in `text`.
  nlohmann::json value;
  std::string_view text;
};

// The members in their order, or why the text was refused.
struct Document {
  std::vector<Member> members;
  // Empty if the text is good.
  std::string error;
  // Where in the text, in bytes from its beginning.
  size_t offset = 0;

  // The member's value; null if there is none.
  const nlohmann::json *find(std::string_view key) const;
  // The text of an object or array; empty if there is none.
  std::string_view TextOf(std::string_view key) const;
};

// How many objects and arrays may be nested.
constexpr int kDepthMax = 64;

// Refused, besides what the RFC refuses: anything but an object, two members of
// one name in it, a byte order mark, invalid UTF-8, unpaired surrogates,
// numbers beyond the range of a double, and deeper nesting than kDepthMax.
Document ReadObject(std::string_view text);

// Invalid UTF-8 becomes U+FFFD.
std::string Serialized(const nlohmann::ordered_json &value);

} // namespace weir
