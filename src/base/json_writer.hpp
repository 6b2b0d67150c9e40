// Writes JSON text (RFC 8259) straight into a string: no document is built, nothing is escaped
// twice, and commas look after themselves.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/time.hpp"
#include "base/uuid.hpp"

namespace subforge {

// Appends `text` as a JSON string with its quotes. `text` must be UTF-8.
void append_json_string(std::string& out, std::string_view text);
[[nodiscard]] std::string json_string(std::string_view text);
// Appends the shortest text that reads back as the same double, always with a point or an exponent
// so that readers see a float; what JSON cannot say (NaN, infinities) becomes null.
void append_json_double(std::string& out, double value);
void append_decimal(std::string& out, std::int64_t value);

class JsonWriter {
 public:
  explicit JsonWriter(std::string& out) : out_(out) {}
  JsonWriter(JsonWriter const&) = delete;
  JsonWriter& operator=(JsonWriter const&) = delete;

  void begin_object() { open('{'); }
  void end_object() { close('}'); }
  void begin_array() { open('['); }
  void end_array() { close(']'); }

  // A member name; the value follows by the next call.
  void key(std::string_view name) {
    separate();
    append_json_string(out_, name);
    out_.push_back(':');
    comma_ = false;
  }

  // The same for a name known to need no escapes, such as one of a description.
  void plain_key(std::string_view name) {
    separate();
    out_.push_back('"');
    out_.append(name);
    out_.append("\":", 2);
    comma_ = false;
  }

  // An object whose braces, names and commas were put together before: between the values come the
  // pieces as they are.
  void begin_framed() {
    separate();
    comma_ = false;
  }
  void framed(std::string_view piece) {
    out_.append(piece);
    comma_ = false;
  }
  void end_framed(std::string_view piece) {
    out_.append(piece);
    comma_ = true;
  }

  void null() { raw("null"); }
  void boolean(bool value) { raw(value ? "true" : "false"); }
  void integer(std::int64_t value) {
    separate();
    append_decimal(out_, value);
    comma_ = true;
  }
  void number(double value) {
    separate();
    append_json_double(out_, value);
    comma_ = true;
  }
  void string(std::string_view text) {
    separate();
    append_json_string(out_, text);
    comma_ = true;
  }
  void uuid(Uuid const& id) {
    separate();
    out_.push_back('"');
    id.append_to(out_);
    out_.push_back('"');
    comma_ = true;
  }
  void timestamp(Timestamp at) {
    separate();
    out_.push_back('"');
    at.append_to(out_);
    out_.push_back('"');
    comma_ = true;
  }
  // Text that is JSON already.
  void raw(std::string_view json) {
    separate();
    out_.append(json);
    comma_ = true;
  }

  void member_or_null(std::string_view name, std::optional<std::string> const& text) {
    key(name);
    text ? string(*text) : null();
  }
  void member(std::string_view name, std::string_view text) { key(name), string(text); }
  void member(std::string_view name, char const* text) { key(name), string(text); }
  void member(std::string_view name, bool value) { key(name), boolean(value); }
  void member(std::string_view name, std::int64_t value) { key(name), integer(value); }
  void member(std::string_view name, int value) { key(name), integer(value); }
  void member(std::string_view name, std::size_t value) {
    key(name), integer(static_cast<std::int64_t>(value));
  }
  void member(std::string_view name, double value) { key(name), number(value); }
  void member(std::string_view name, Uuid const& id) { key(name), uuid(id); }
  void member(std::string_view name, Timestamp at) { key(name), timestamp(at); }
  void member_raw(std::string_view name, std::string_view json) { key(name), raw(json); }
  void member_null(std::string_view name) { key(name), null(); }

 private:
  void separate() {
    if (comma_) out_.push_back(',');
  }
  void open(char bracket) {
    separate();
    out_.push_back(bracket);
    comma_ = false;
  }
  void close(char bracket) {
    out_.push_back(bracket);
    comma_ = true;
  }

  std::string& out_;
  bool comma_ = false;
};

}  // namespace subforge
