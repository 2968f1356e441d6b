// A strict reader of one JSON object (RFC 8259): it checks the whole text and
// gives the object's own members; what lies deeper stays text.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace weir {

enum class Kind { String, Number, Object, Array, True, False, Null };

struct Member {
  std::string key;
  Kind kind;
  // As it stands in the document, without white space around it.
  std::string_view text;
};

// What came of a document: its members in order, or why it is none.
struct Document {
  std::vector<Member> members;
  // Points at text that lives for ever; null where the document is good.
  const char *error = nullptr;
  // Where in the text, in bytes from its beginning.
  size_t offset = 0;

  const Member *find(std::string_view key) const;
};

// How many objects and lists may lie in each other.
constexpr int kDepthMax = 64;

// Anything but one object is an error, and so are two members of one name in
// it, bytes that are not UTF-8, and halves of surrogate pairs.
Document ReadObject(std::string_view text);

// The characters that a string's text stands for. `text` must be a string that
// ReadObject() has read.
std::string StringOf(std::string_view text);

// A text as a JSON string, in quotes. What is not UTF-8 in it becomes "?".
std::string Quoted(std::string_view text);

} // namespace weir
