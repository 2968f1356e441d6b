#include "json.h"

#include <iterator>

namespace weir {

namespace {

using nlohmann::json;

// An iterator whose position the handler can see: it is called when its token
// has just been read.
struct Cursor {
  using iterator_category = std::input_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char *;
  using reference = const char &;

  const char **at;

  reference operator*() const { return **at; }
  Cursor &operator++() {
    ++*at;
    return *this;
  }
  bool operator==(const Cursor &other) const { return *at == *other.at; }
};

class MemberReader : public nlohmann::json_sax<json> {
public:
  MemberReader(const char *const *at, Document *document)
      : at_(at), begin_(*at), document_(document) {}

  bool null() override { return Scalar(nullptr); }
  bool boolean(bool value) override { return Scalar(value); }
  bool number_integer(number_integer_t value) override { return Scalar(value); }
  bool number_unsigned(number_unsigned_t value) override {
    return Scalar(value);
  }
  bool number_float(number_float_t value, const string_t &) override {
    return Scalar(value);
  }
  bool string(string_t &value) override { return Scalar(std::move(value)); }
  bool binary(binary_t &) override { return false; }
  bool start_object(size_t) override { return Open(json::object()); }
  bool end_object() override { return Close(); }
  bool start_array(size_t) override { return Open(json::array()); }
  bool end_array() override { return Close(); }

  bool key(string_t &name) override {
    if (depth_ != 1)
      return true;
    if (document_->find(name))
      return Fail("two members have this name");
    document_->members.push_back({std::move(name), nullptr, {}});
    return true;
  }

  bool parse_error(size_t position, const std::string &,
                   const json::exception &error) override {
    std::string_view reason = error.what();
    // "[json.exception.parse_error.101] parse error at line 1, column 6: ".
    if (size_t end = reason.find(": "); end != std::string_view::npos)
      reason.remove_prefix(end + 2);
    // Quotes the input, which may be long and is not always UTF-8.
    reason = reason.substr(0, reason.find("; last read"));
    document_->error = reason;
    document_->offset = position;
    return false;
  }

private:
  bool Fail(const char *reason) {
    document_->error = reason;
    document_->offset = *at_ - begin_;
    return false;
  }

  bool Scalar(json value) {
    if (depth_ == 0)
      return Fail("expected an object");
    if (depth_ == 1)
      document_->members.back().value = std::move(value);
    return true;
  }

  bool Open(json empty) {
    if (depth_ == 0 && !empty.is_object())
      return Fail("expected an object");
    if (depth_ == kDepthMax)
      return Fail("too deeply nested");
    if (depth_ == 1) {
      document_->members.back().value = std::move(empty);
      open_ = *at_ - 1;
    }
    ++depth_;
    return true;
  }

  bool Close() {
    if (--depth_ == 1)
      document_->members.back().text = {open_,
                                        static_cast<size_t>(*at_ - open_)};
    return true;
  }

  const char *const *at_;
  const char *const begin_;
  Document *document_;
  int depth_ = 0;
  // Of the member that is an object or array.
  const char *open_ = nullptr;
};

} // namespace

const json *Document::find(std::string_view key) const {
  for (const Member &member : members)
    if (member.key == key)
      return &member.value;
  return nullptr;
}

std::string_view Document::TextOf(std::string_view key) const {
  for (const Member &member : members)
    if (member.key == key)
      return member.text;
  return {};
}

Document ReadObject(std::string_view text) {
  Document document;
  // The library skips the one and takes the other for the end of the text.
  if (text.starts_with("\xef\xbb\xbf"))
    document.error = "byte order mark";
  document.offset = text.find('\0');
  if (document.error.empty() && document.offset != text.npos)
    document.error = "zero byte";
  if (document.error.empty()) {
    const char *at = text.data(), *end = at + text.size();
    MemberReader reader(&at, &document);
    json::sax_parse(Cursor{&at}, Cursor{&end}, &reader);
  }
  if (!document.error.empty())
    document.members.clear();
  return document;
}

std::string Serialized(const nlohmann::ordered_json &value) {
  return value.dump(-1, ' ', false, json::error_handler_t::replace);
}

} // namespace weir
