#include "files/csv_profile.hpp"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include <fmt/format.h>

#include "base/text.hpp"
#include "base/time.hpp"
#include "base/utf8.hpp"
#include "describe/codec.hpp"
#include "files/text_encoding.hpp"
#include "jobs/job_checks.hpp"
#include "runtime/scheduling.hpp"

namespace subforge::files {
namespace {

constexpr std::size_t kStepBytes = 256U << 10;
constexpr std::size_t kTurnBytes = 32U << 10;  // Before others are let in.
constexpr std::size_t kDateBytes = 10;
constexpr std::size_t kNumberBytesMax = 64;

constexpr std::uint8_t bit(CsvType type) {
  return static_cast<std::uint8_t>(1U << static_cast<unsigned>(type));
}

bool is_boolean(std::string_view text) {
  constexpr std::string_view kWords[] = {"true", "false", "yes", "no"};
  return std::ranges::any_of(kWords, [&](auto word) { return equal_ignoring_case(text, word); });
}

std::string_view without_sign(std::string_view text) {
  bool const sign = text.starts_with('-') || text.starts_with('+');
  return sign ? text.substr(1) : text;
}

// Codes such as 007 or 01234 are no numbers: nobody adds them up, and the zeros count.
bool is_code(std::string_view text) {
  auto const digits = without_sign(text);
  return digits.size() > 1 && digits[0] == '0' && digits[1] >= '0' && digits[1] <= '9';
}

bool is_integer(std::string_view text) {
  return !is_code(text) && parse_number<std::int64_t>(without_sign(text)).has_value() &&
         !without_sign(text).starts_with('-');
}

bool is_number(std::string_view text) {
  return text.size() <= kNumberBytesMax && !is_code(text) && !without_sign(text).starts_with('-') &&
         parse_number<double>(without_sign(text)).has_value();
}

bool is_time(std::string_view text) {
  return text.size() >= kDateBytes && text.size() <= kNumberBytesMax && text[4] == '-' &&
         Timestamp::parse(text).has_value();
}

bool fits(CsvType type, std::string_view text) {
  switch (type) {
    case CsvType::boolean: return is_boolean(text);
    case CsvType::integer: return is_integer(text);
    case CsvType::number: return is_number(text);
    case CsvType::date: return text.size() == kDateBytes && is_time(text);
    case CsvType::datetime: return is_time(text);
    default: return true;
  }
}

constexpr CsvType kNarrowFirst[] = {CsvType::boolean, CsvType::integer,  CsvType::number,
                                    CsvType::date,    CsvType::datetime, CsvType::text};

}  // namespace

char separator_of(std::string_view beginning) {
  constexpr std::string_view kSeparators = ",;\t|";
  std::array<std::size_t, kSeparators.size()> counts{};
  bool quoted = false;
  for (char const byte : beginning) {
    if (byte == '"') quoted = !quoted;
    if (quoted) continue;
    if (byte == '\n' || byte == '\r') break;
    if (auto const at = kSeparators.find(byte); at != std::string_view::npos) ++counts[at];
  }
  auto const most = std::ranges::max_element(counts);
  return kSeparators[static_cast<std::size_t>(most - counts.begin())];
}

void CsvReader::take(std::string_view bytes) {
  for (char const byte : bytes) {
    if (begin_bytes_ < kByteOrderMark.size()) {
      if (byte == kByteOrderMark[begin_bytes_]) {
        ++begin_bytes_;
        continue;
      }
      end_mark();
    }
    take_byte(byte);
  }
}

// If it was none, what looked like its beginning belongs to the first name.
void CsvReader::end_mark() {
  auto const seen = std::exchange(begin_bytes_, kByteOrderMark.size());
  if (seen == kByteOrderMark.size()) return;
  for (char const byte : kByteOrderMark.substr(0, seen)) take_byte(byte);
}

void CsvReader::take_byte(char byte) {
  bool const second = std::exchange(after_return_, false) && byte == '\n';
  if (state_ == State::quoted) {
    if (byte == '\n') ++line_;
    byte == '"' ? void(state_ = State::after_quote) : keep(byte);
    return;
  }
  if (second) return;
  if (byte == '\n' || byte == '\r') {
    after_return_ = byte == '\r';
    if (row_begun_) end_row();  // Empty lines are no rows.
    ++line_;
    return;
  }
  if (!std::exchange(row_begun_, true)) row_line_ = line_;
  if (byte == profile_.separator) return end_field();
  if (byte == '"' && state_ != State::plain) {
    // Two of them within quotes stand for one.
    if (state_ == State::after_quote) keep(byte);
    quote_line_ = line_;
    state_ = State::quoted;
    return;
  }
  state_ = State::plain;
  keep(byte);
}

void CsvReader::keep(char byte) {
  if (field_.size() < kCsvFieldBytesKept) {
    field_.push_back(byte);
  } else {
    cut_ = true;
  }
}

void CsvReader::end_field() {
  auto const column = static_cast<std::size_t>(fields_++);
  if (column < kCsvColumnsMax) {
    if (!named_) {
      auto name = jobs::clean_text(to_utf8(trim(field_)), kCsvNameBytesMax);
      if (name.empty()) name = fmt::format("column {}", column + 1);
      profile_.columns.push_back({std::move(name)});
      seen_.emplace_back();
    } else if (column < seen_.size()) {
      see(seen_[column]);
      if (trim(field_).empty()) ++profile_.columns[column].empty;
    }
  }
  state_ = State::field_start;
  field_.clear();
  cut_ = false;
}

void CsvReader::see(Seen& seen) const {
  auto const text = trim(field_);
  if (text.empty()) return;
  seen.any = true;
  for (auto const type : kNarrowFirst) {
    if ((seen.possible & bit(type)) == 0 || type == CsvType::text) continue;
    if (cut_ || !fits(type, text)) seen.possible &= static_cast<std::uint8_t>(~bit(type));
  }
}

void CsvReader::end_row() {
  end_field();
  row_begun_ = false;
  auto const fields = std::exchange(fields_, 0);
  if (!std::exchange(named_, true)) {
    profile_.column_count = fields;
    return;
  }
  ++profile_.rows;
  for (auto i = static_cast<std::size_t>(fields); i < profile_.columns.size(); ++i) {
    ++profile_.columns[i].empty;
  }
  if (fields == profile_.column_count) return;
  ++profile_.uneven_rows;
  if (!profile_.first_uneven_line) profile_.first_uneven_line = row_line_;
}

Result<CsvProfile> CsvReader::finish() {
  end_mark();
  if (state_ == State::quoted) {
    return fail(ErrorCode::invalid,
                fmt::format("line {}: a quoted field begins here and has no end", quote_line_));
  }
  if (row_begun_) end_row();
  for (std::size_t i = 0; i < seen_.size(); ++i) {
    if (!seen_[i].any) continue;
    auto const narrowest = std::ranges::find_if(
        kNarrowFirst, [&](CsvType type) { return (seen_[i].possible & bit(type)) != 0; });
    profile_.columns[i].type = *narrowest;
  }
  return std::move(profile_);
}

Result<CsvProfile> profile_csv(int fd, std::int64_t size,
                               std::function<bool(double)> const& go_on) {
  std::string block(kStepBytes, '\0');
  std::optional<CsvReader> reader;
  for (std::int64_t at = 0;;) {
    auto const got = ::pread(fd, block.data(), block.size(), at);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail(ErrorCode::internal, "The file cannot be read", std::strerror(errno));
    if (got == 0) break;
    auto const bytes = std::string_view(block).substr(0, static_cast<std::size_t>(got));
    if (!reader) reader.emplace(separator_of(bytes));
    for (auto rest = bytes; !rest.empty(); rest.remove_prefix(std::min(kTurnBytes, rest.size()))) {
      reader->take(rest.substr(0, kTurnBytes));
      let_others_in();
    }
    at += got;
    if (!go_on(static_cast<double>(at) / static_cast<double>(std::max(at, size)))) {
      return fail(ErrorCode::unavailable, "It was stopped");
    }
  }
  return reader ? reader->finish() : CsvProfile{};
}

void write_members(JsonWriter& json, CsvProfile const& profile) {
  json.member("kind", "csv");
  json.member("separator", std::string_view(&profile.separator, 1));
  json.member("rows", profile.rows);
  json.member("column_count", profile.column_count);
  json.key("columns");
  json.begin_array();
  for (auto const& column : profile.columns) {
    json.begin_object();
    json.member("name", column.name);
    json.member("type", describe::to_text(column.type));
    json.member("empty", column.empty);
    json.end_object();
  }
  json.end_array();
  json.member("uneven_rows", profile.uneven_rows);
  if (profile.first_uneven_line) json.member("first_uneven_line", *profile.first_uneven_line);
}

}  // namespace subforge::files
