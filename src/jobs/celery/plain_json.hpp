// JSON as nearly all messages have it, taken apart in one pass and without a copy: texts of ASCII
// without escapes, numbers of up to 18 digits, nothing too deep or with too many parts. Whatever
// has anything else in it is left to the parser of describe/parse_json.hpp, which would read all
// that is read here as the same.
#pragma once

#include <charconv>
#include <cstdint>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

namespace subforge::jobs::celery {

class PlainParts;

// Good as long as the text and what read it. Named as the values of Boost.JSON, so that the same
// templates take both.
class PlainValue {
 public:
  enum class Kind : std::uint8_t { null, boolean, integer, decimal, string, array, object };

  [[nodiscard]] bool is_null() const { return kind_ == Kind::null; }
  [[nodiscard]] bool is_bool() const { return kind_ == Kind::boolean; }
  [[nodiscard]] bool is_number() const { return kind_ == Kind::integer || kind_ == Kind::decimal; }
  [[nodiscard]] bool is_string() const { return kind_ == Kind::string; }
  [[nodiscard]] bool is_array() const { return kind_ == Kind::array; }
  [[nodiscard]] bool is_object() const { return kind_ == Kind::object; }
  [[nodiscard]] bool get_bool() const { return text_.front() == 't'; }
  [[nodiscard]] std::string_view get_string() const { return text_.substr(1, text_.size() - 2); }
  [[nodiscard]] PlainParts get_array() const;
  [[nodiscard]] PlainParts get_object() const;
  [[nodiscard]] std::optional<std::int64_t> if_int64() const {
    if (kind_ != Kind::integer) return std::nullopt;
    return to_number<std::int64_t>();
  }
  template <class T>
  [[nodiscard]] T to_number() const {
    T number = 0;
    std::from_chars(text_.data(), text_.data() + text_.size(), number);
    return number;
  }

  [[nodiscard]] std::string_view key() const { return key_; }    // Of a member of an object.
  [[nodiscard]] std::string_view text() const { return text_; }  // As it was written.

 private:
  friend class PlainJson;
  friend class PlainParts;
  Kind kind_ = Kind::null;
  std::uint32_t parts_ = 0;  // How many follow that are within it.
  std::string_view key_;
  std::string_view text_;
};

// The parts of a list, or the members of an object.
class PlainParts {
 public:
  class Iterator {
   public:
    explicit Iterator(PlainValue const* at) : at_(at) {}
    PlainValue const& operator*() const { return *at_; }
    Iterator& operator++() {
      at_ += 1 + at_->parts_;
      return *this;
    }
    friend bool operator==(Iterator const&, Iterator const&) = default;

   private:
    PlainValue const* at_;
  };

  PlainParts() = default;  // None.
  explicit PlainParts(PlainValue const& whole) : first_(&whole + 1), end_(first_ + whole.parts_) {}

  [[nodiscard]] Iterator begin() const { return Iterator(first_); }
  [[nodiscard]] Iterator end() const { return Iterator(end_); }
  [[nodiscard]] bool empty() const { return first_ == end_; }
  [[nodiscard]] std::size_t size() const;
  [[nodiscard]] PlainValue const& operator[](std::size_t place) const;
  [[nodiscard]] PlainValue const* if_contains(std::string_view key) const {
    for (auto const& member : *this) {
      if (member.key_ == key) return &member;
    }
    return nullptr;
  }
  [[nodiscard]] bool contains(std::string_view key) const { return if_contains(key) != nullptr; }

 private:
  PlainValue const* first_ = nullptr;
  PlainValue const* end_ = nullptr;
};

inline PlainParts PlainValue::get_array() const { return PlainParts(*this); }
inline PlainParts PlainValue::get_object() const { return PlainParts(*this); }

class PlainJson {
 public:
  // How many values are kept of one text; it counts as no plain one if there are more.
  static constexpr std::size_t kPartsMax = 96;

  // The value that the text is, with parts within so many others at most; what is deeper is only
  // looked through. Nothing if it is not plain, or no JSON. Good until the next one is read.
  [[nodiscard]] PlainValue const* read(std::string_view text, int levels);

 private:
  bool value(std::string_view key, int level);
  bool object(int level, std::size_t place);
  bool array(int level);
  bool string();
  bool number(PlainValue::Kind& kind);
  bool word(std::string_view text);
  bool known(std::size_t object, std::string_view key) const;
  void skip_space();
  bool take(char c);

  std::vector<PlainValue> parts_;
  char const* at_ = nullptr;
  char const* end_ = nullptr;
  int levels_ = 0;
};

}  // namespace subforge::jobs::celery
