#include "base/time.hpp"

#include <algorithm>
#include <chrono>
#include <ctime>

#include "base/text.hpp"

namespace subforge {
namespace {

constexpr std::int64_t kMicrosPerSecond = 1'000'000;
constexpr std::int64_t kSecondsPerDay = 86'400;
constexpr std::int64_t kFirstMicros = -62'135'596'800 * kMicrosPerSecond;  // 0001-01-01T00:00:00Z
constexpr std::int64_t kLastMicros = 253'402'300'800 * kMicrosPerSecond - 1;  // 10000-01-01 less 1

// Writes a number below 100.
char* put_two(char* at, std::uint32_t value) {
  at[0] = static_cast<char>('0' + value / 10);
  at[1] = static_cast<char>('0' + value % 10);
  return at + 2;
}

// A cursor over the text being parsed; every step says whether it matched.
struct Cursor {
  std::string_view rest;

  bool skip(char c) {
    if (rest.empty() || rest.front() != c) return false;
    rest.remove_prefix(1);
    return true;
  }
  std::optional<int> digits(std::size_t count) {
    if (rest.size() < count) return std::nullopt;
    int value = 0;
    for (std::size_t i = 0; i < count; ++i) {
      if (rest[i] < '0' || rest[i] > '9') return std::nullopt;
      value = value * 10 + (rest[i] - '0');
    }
    rest.remove_prefix(count);
    return value;
  }
};

std::optional<std::int64_t> parse_date(Cursor& in) {
  auto const year = in.digits(4);
  if (!year || *year < 1 || !in.skip('-')) return std::nullopt;
  auto const month = in.digits(2);
  if (!month || !in.skip('-')) return std::nullopt;
  auto const day = in.digits(2);
  if (!day) return std::nullopt;
  std::chrono::year_month_day const date{std::chrono::year{*year},
                                         std::chrono::month{static_cast<unsigned>(*month)},
                                         std::chrono::day{static_cast<unsigned>(*day)}};
  if (!date.ok()) return std::nullopt;
  return std::chrono::sys_days{date}.time_since_epoch().count();
}

// Microseconds since midnight.
std::optional<std::int64_t> parse_time_of_day(Cursor& in) {
  auto const hour = in.digits(2);
  if (!hour || *hour > 23 || !in.skip(':')) return std::nullopt;
  auto const minute = in.digits(2);
  if (!minute || *minute > 59) return std::nullopt;
  std::int64_t seconds = 0;
  std::int64_t micros = 0;
  if (in.skip(':')) {
    auto const second = in.digits(2);
    if (!second || *second > 60) return std::nullopt;
    seconds = *second == 60 ? 59 : *second;  // A leap second is the second before it.
    if (in.skip('.') || in.skip(',')) {
      std::int64_t scale = kMicrosPerSecond;
      bool any = false;
      for (; auto const digit = in.digits(1); any = true) {
        if ((scale /= 10) > 0) micros += *digit * scale;
      }
      if (!any) return std::nullopt;
    }
  }
  return ((*hour * 60 + *minute) * 60 + seconds) * kMicrosPerSecond + micros;
}

// Seconds east of UTC.
std::optional<std::int64_t> parse_offset(Cursor& in) {
  if (in.rest.empty() || in.skip('Z') || in.skip('z')) return 0;
  bool const west = in.rest.front() == '-';
  if (!in.skip('+') && !in.skip('-')) return std::nullopt;
  auto const hours = in.digits(2);
  if (!hours || *hours > 23) return std::nullopt;
  bool const colon = in.skip(':');
  auto const minutes = in.rest.empty() && !colon ? std::optional<int>(0) : in.digits(2);
  if (!minutes || *minutes > 59) return std::nullopt;
  std::int64_t const seconds = (*hours * 60 + *minutes) * 60;
  return west ? -seconds : seconds;
}

}  // namespace

Timestamp Timestamp::now() {
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  return {now.tv_sec * kMicrosPerSecond + now.tv_nsec / 1000};
}

std::optional<Timestamp> Timestamp::parse(std::string_view text) {
  Cursor in{text};
  auto const days = parse_date(in);
  if (!days) return std::nullopt;
  std::int64_t micros = *days * kSecondsPerDay * kMicrosPerSecond;
  if (in.rest.empty()) return Timestamp{micros};
  if (!in.skip('T') && !in.skip('t') && !in.skip(' ')) return std::nullopt;
  auto const time = parse_time_of_day(in);
  if (!time) return std::nullopt;
  auto const offset = parse_offset(in);
  if (!offset || !in.rest.empty()) return std::nullopt;
  micros += *time - *offset * kMicrosPerSecond;
  // An offset can lead out of the years that four digits can write.
  if (micros < kFirstMicros || micros > kLastMicros) return std::nullopt;
  return Timestamp{micros};
}

void Timestamp::append_to(std::string& out) const {
  using namespace std::chrono;
  // What four digits of year cannot write is shown as the nearest time that they can.
  auto const shown = std::clamp(micros, kFirstMicros, kLastMicros);
  auto const time = sys_time<microseconds>{microseconds{shown}};
  auto const day = floor<days>(time);
  year_month_day const date{day};
  std::int64_t const rest = (time - day).count();
  char text[32];
  auto const year = static_cast<std::uint32_t>(static_cast<int>(date.year()));
  auto const seconds = static_cast<std::uint32_t>(rest / kMicrosPerSecond);
  auto const fraction = static_cast<std::uint32_t>(rest % kMicrosPerSecond);
  char* at = put_two(put_two(text, year / 100), year % 100);
  *at++ = '-';
  at = put_two(at, static_cast<unsigned>(date.month()));
  *at++ = '-';
  at = put_two(at, static_cast<unsigned>(date.day()));
  *at++ = 'T';
  at = put_two(at, seconds / 3600);
  *at++ = ':';
  at = put_two(at, seconds / 60 % 60);
  *at++ = ':';
  at = put_two(at, seconds % 60);
  *at++ = '.';
  at = put_two(at, fraction / 10'000);
  at = put_two(at, fraction / 100 % 100);
  at = put_two(at, fraction % 100);
  *at++ = 'Z';
  out.append(text, static_cast<std::size_t>(at - text));
}

std::string Timestamp::to_string() const {
  std::string out;
  append_to(out);
  return out;
}

std::int64_t monotonic_ns() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1'000'000'000 + now.tv_nsec;
}

}  // namespace subforge
