#include "jobs/celery/plain_json.hpp"

#include <bit>
#include <cstring>

namespace subforge::jobs::celery {
namespace {

constexpr int kNestedMax = 32;
constexpr std::ptrdiff_t kNumberBytesMax = 18;

bool is_digit(char c) { return c >= '0' && c <= '9'; }

// Bytes that a text without escapes has between its quotes.
constexpr bool is_plain(unsigned char c) { return c >= 0x20 && c < 0x80 && c != '"' && c != '\\'; }

// How many bytes at the front of eight are plain.
std::size_t plain_bytes(std::uint64_t bytes) {
  static_assert(std::endian::native == std::endian::little);
  constexpr std::uint64_t kEach = 0x0101010101010101;
  constexpr std::uint64_t kHighest = 0x80 * kEach;
  auto const is_zero = [](std::uint64_t each) { return (each - kEach) & ~each; };
  auto const is_control = (bytes - 0x20 * kEach) & ~bytes;
  // What is wrong above the first that is found does not matter.
  auto const found =
      (bytes | is_control | is_zero(bytes ^ ('"' * kEach)) | is_zero(bytes ^ ('\\' * kEach))) &
      kHighest;
  return static_cast<std::size_t>(std::countr_zero(found)) / 8;
}

}  // namespace

std::size_t PlainParts::size() const {
  std::size_t count = 0;
  for (auto one = begin(); one != end(); ++one) ++count;
  return count;
}

PlainValue const& PlainParts::operator[](std::size_t place) const {
  auto one = begin();
  for (; place > 0; --place) ++one;
  return *one;
}

PlainValue const* PlainJson::read(std::string_view text, int levels) {
  parts_.clear();
  parts_.reserve(kPartsMax);
  at_ = text.data();
  end_ = at_ + text.size();
  levels_ = levels;
  skip_space();
  if (!value({}, 0)) return nullptr;
  skip_space();
  return at_ == end_ ? parts_.data() : nullptr;
}

void PlainJson::skip_space() {
  while (at_ != end_ && (*at_ == ' ' || *at_ == '\n' || *at_ == '\t' || *at_ == '\r')) ++at_;
}

bool PlainJson::take(char c) {
  if (at_ == end_ || *at_ != c) return false;
  ++at_;
  return true;
}

bool PlainJson::value(std::string_view key, int level) {
  if (level > kNestedMax || at_ == end_) return false;
  bool const kept = level <= levels_;
  if (kept && parts_.size() == kPartsMax) return false;
  auto const place = parts_.size();
  if (kept) parts_.emplace_back();
  auto const* const begin = at_;
  auto kind = PlainValue::Kind::null;
  bool good = false;
  switch (*at_) {
    case '"':
      kind = PlainValue::Kind::string;
      good = string();
      break;
    case '{':
      kind = PlainValue::Kind::object;
      good = object(level, place);
      break;
    case '[':
      kind = PlainValue::Kind::array;
      good = array(level);
      break;
    case 'n': good = word("null"); break;
    case 't':
      kind = PlainValue::Kind::boolean;
      good = word("true");
      break;
    case 'f':
      kind = PlainValue::Kind::boolean;
      good = word("false");
      break;
    default: good = number(kind);
  }
  if (!good) return false;
  if (!kept) return true;
  auto& part = parts_[place];
  part.kind_ = kind;
  part.parts_ = static_cast<std::uint32_t>(parts_.size() - place - 1);
  part.key_ = key;
  part.text_ = {begin, at_};
  return true;
}

bool PlainJson::object(int level, std::size_t place) {
  ++at_;
  skip_space();
  if (take('}')) return true;
  std::uint64_t seen = 0;
  do {
    skip_space();
    auto const* const begin = at_;
    if (at_ == end_ || *at_ != '"' || !string()) return false;
    std::string_view const key(begin + 1, at_ - 1);
    if (level < levels_) {
      // Of two members with one name the parser knows which one counts.
      auto const sum = key.size() * 7 + (key.empty() ? 0U : static_cast<unsigned char>(key[0])) +
                       (key.empty() ? 0U : static_cast<unsigned char>(key.back()) * 3U);
      auto const mark = std::uint64_t{1} << (sum % 64);
      if ((seen & mark) != 0 && known(place, key)) return false;
      seen |= mark;
    }
    skip_space();
    if (!take(':')) return false;
    skip_space();
    if (!value(key, level + 1)) return false;
    skip_space();
  } while (take(','));
  return take('}');
}

// Whether the object, which is not whole yet, has such a member already.
bool PlainJson::known(std::size_t object, std::string_view key) const {
  for (auto one = object + 1; one < parts_.size(); one += 1 + parts_[one].parts_) {
    if (parts_[one].key_ == key) return true;
  }
  return false;
}

bool PlainJson::array(int level) {
  ++at_;
  skip_space();
  if (take(']')) return true;
  do {
    skip_space();
    if (!value({}, level + 1)) return false;
    skip_space();
  } while (take(','));
  return take(']');
}

bool PlainJson::string() {
  ++at_;
  std::uint64_t bytes = 0;
  while (end_ - at_ >= std::ptrdiff_t{sizeof bytes}) {
    std::memcpy(&bytes, at_, sizeof bytes);
    auto const plain = plain_bytes(bytes);
    at_ += plain;
    if (plain < sizeof bytes) break;
  }
  while (at_ != end_ && is_plain(static_cast<unsigned char>(*at_))) ++at_;
  return take('"');
}

bool PlainJson::number(PlainValue::Kind& kind) {
  auto const* const begin = at_;
  bool const negative = take('-');
  auto const* const whole = at_;
  while (at_ != end_ && is_digit(*at_)) ++at_;
  if (at_ == whole || (*whole == '0' && (at_ - whole > 1 || negative))) return false;
  kind = PlainValue::Kind::integer;
  if (take('.')) {
    kind = PlainValue::Kind::decimal;
    auto const* const fraction = at_;
    while (at_ != end_ && is_digit(*at_)) ++at_;
    if (at_ == fraction) return false;
  }
  if (at_ != end_ && (*at_ == 'e' || *at_ == 'E')) return false;
  return at_ - begin <= kNumberBytesMax;
}

bool PlainJson::word(std::string_view text) {
  if (!std::string_view(at_, end_).starts_with(text)) return false;
  at_ += text.size();
  return true;
}

}  // namespace subforge::jobs::celery
