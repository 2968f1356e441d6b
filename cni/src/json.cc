// The JSON reader: one pass over the bytes, no recursion on the way down
// deeper than kDepthMax, nothing read beyond the end.
#include "json.h"

#include "utf8.h"

namespace weir {

namespace {

class Reader {
public:
  explicit Reader(std::string_view text) : text_(text) {}

  Document Read() {
    Document document;
    SkipSpace();
    if (Peek() != '{')
      Fail("an object was expected");
    else
      Object(&document.members, 1);
    SkipSpace();
    if (!error_ && at_ != text_.size())
      Fail("there is more after the object");
    document.error = error_;
    document.offset = at_;
    if (error_)
      document.members.clear();
    return document;
  }

private:
  bool Fail(const char *error) {
    if (!error_)
      error_ = error;
    return false;
  }

  // The next byte, or -1 at the end.
  int Peek() const {
    return at_ < text_.size() ? static_cast<unsigned char>(text_[at_]) : -1;
  }

  bool Take(char expected) {
    if (Peek() != static_cast<unsigned char>(expected))
      return false;
    ++at_;
    return true;
  }

  void SkipSpace() {
    while (Peek() == ' ' || Peek() == '\t' || Peek() == '\n' || Peek() == '\r')
      ++at_;
  }

  // `members` is null where nobody asks for them.
  bool Object(std::vector<Member> *members, int depth) {
    ++at_;
    SkipSpace();
    if (Take('}'))
      return true;
    do {
      SkipSpace();
      size_t key = at_;
      if (!String("a member's name was expected"))
        return false;
      std::string name;
      if (members && !Name(key, *members, &name))
        return false;
      SkipSpace();
      if (!Take(':'))
        return Fail("a colon was expected");
      SkipSpace();
      size_t begin = at_;
      Kind kind;
      if (!Value(&kind, depth))
        return false;
      if (members)
        members->push_back(
            {std::move(name), kind, text_.substr(begin, at_ - begin)});
      SkipSpace();
    } while (Take(','));
    return Take('}') || Fail("a comma or a closing brace was expected");
  }

  bool Name(size_t key, const std::vector<Member> &members, std::string *name) {
    *name = StringOf(text_.substr(key, at_ - key));
    for (const Member &member : members)
      if (member.key == *name)
        return Fail("two members have this name");
    return true;
  }

  bool Array(int depth) {
    ++at_;
    SkipSpace();
    if (Take(']'))
      return true;
    do {
      SkipSpace();
      Kind kind;
      if (!Value(&kind, depth))
        return false;
      SkipSpace();
    } while (Take(','));
    return Take(']') || Fail("a comma or a closing bracket was expected");
  }

  bool Value(Kind *kind, int depth) {
    int next = Peek();
    if ((next == '{' || next == '[') && depth == kDepthMax)
      return Fail("too deep");
    switch (next) {
    case '{':
      *kind = Kind::Object;
      return Object(nullptr, depth + 1);
    case '[':
      *kind = Kind::Array;
      return Array(depth + 1);
    case '"':
      *kind = Kind::String;
      return String("");
    case 't':
      *kind = Kind::True;
      return Word("true");
    case 'f':
      *kind = Kind::False;
      return Word("false");
    case 'n':
      *kind = Kind::Null;
      return Word("null");
    default:
      *kind = Kind::Number;
      return Number();
    }
  }

  bool Word(std::string_view word) {
    if (text_.substr(at_, word.size()) != word)
      return Fail("a value was expected");
    at_ += word.size();
    return true;
  }

  bool Digits() {
    size_t begin = at_;
    while (Peek() >= '0' && Peek() <= '9')
      ++at_;
    return at_ > begin || Fail("a value was expected");
  }

  bool Number() {
    Take('-');
    if (!Take('0') && !Digits())
      return false;
    if (Take('.') && !Digits())
      return false;
    if (!Take('e') && !Take('E'))
      return true;
    if (!Take('+'))
      Take('-');
    return Digits();
  }

  bool String(const char *expected) {
    if (!Take('"'))
      return Fail(expected);
    for (;;) {
      int next = Peek();
      if (next < 0)
        return Fail("the text ends within a string");
      if (next < 0x20)
        return Fail("a control character in a string");
      if (next == '"') {
        ++at_;
        return true;
      }
      if (next == '\\') {
        if (!Escape())
          return false;
        continue;
      }
      size_t length = Utf8Length(text_.substr(at_));
      if (length == 0)
        return Fail("bytes that are not UTF-8");
      at_ += length;
    }
  }

  bool Escape() {
    ++at_;
    int next = Peek();
    if (next < 0 ||
        std::string_view("\"\\/bfnrtu").find(static_cast<char>(next)) ==
            std::string_view::npos)
      return Fail("an unknown escape in a string");
    ++at_;
    if (next != 'u')
      return true;
    unsigned unit;
    if (!Hex(&unit))
      return false;
    if (IsLowSurrogate(unit))
      return Fail("half of a surrogate pair");
    if (!IsHighSurrogate(unit))
      return true;
    if (!Take('\\') || !Take('u'))
      return Fail("half of a surrogate pair");
    return Hex(&unit) &&
           (IsLowSurrogate(unit) || Fail("half of a surrogate pair"));
  }

  bool Hex(unsigned *unit) {
    if (text_.size() - at_ < 4 || !HexUnit(text_.substr(at_, 4), unit))
      return Fail("four hexadecimal digits were expected");
    at_ += 4;
    return true;
  }

  std::string_view text_;
  size_t at_ = 0;
  const char *error_ = nullptr;
};

} // namespace

const Member *Document::find(std::string_view key) const {
  for (const Member &member : members)
    if (member.key == key)
      return &member;
  return nullptr;
}

Document ReadObject(std::string_view text) { return Reader(text).Read(); }

std::string StringOf(std::string_view text) {
  std::string_view inner = text.substr(1, text.size() - 2);
  std::string out;
  for (size_t at = 0; at < inner.size();) {
    if (inner[at] != '\\') {
      out += inner[at++];
      continue;
    }
    static constexpr std::string_view kNames = "bfnrt", kMeant = "\b\f\n\r\t";
    char name = inner[at + 1];
    at += 2;
    size_t known = kNames.find(name);
    if (name != 'u') {
      out += known == std::string_view::npos ? name : kMeant[known];
      continue;
    }
    unsigned unit = 0, low = 0;
    HexUnit(inner.substr(at, 4), &unit);
    at += 4;
    if (IsHighSurrogate(unit)) {
      HexUnit(inner.substr(at + 2, 4), &low);
      at += 6;
      unit = 0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00);
    }
    AppendUtf8(unit, &out);
  }
  return out;
}

std::string Quoted(std::string_view text) {
  static constexpr char kHex[] = "0123456789abcdef";
  std::string out = "\"";
  while (!text.empty()) {
    auto first = static_cast<unsigned char>(text[0]);
    size_t length = Utf8Length(text);
    if (first == '"' || first == '\\')
      out += '\\';
    if (first < 0x20)
      (out += "\\u00") += {kHex[first >> 4], kHex[first & 15]};
    else if (length == 0)
      out += '?';
    else
      out += text.substr(0, length);
    text.remove_prefix(length == 0 ? 1 : length);
  }
  return out += '"';
}

} // namespace weir
