#include <array>
#include <ctime>

#include "base/text.hpp"
#include "jobs/schedules.hpp"

namespace subforge::jobs {
namespace {

constexpr std::int64_t kMicrosPerMinute = 60'000'000;
constexpr std::int64_t kDayMinutes = 24 * 60;

constexpr std::array<std::pair<std::string_view, std::string_view>, 7> kShorthands{
    {{"@hourly", "0 * * * *"},
     {"@daily", "0 0 * * *"},
     {"@midnight", "0 0 * * *"},
     {"@weekly", "0 0 * * 0"},
     {"@monthly", "0 0 1 * *"},
     {"@yearly", "0 0 1 1 *"},
     {"@annually", "0 0 1 1 *"}}};
constexpr std::array<std::string_view, 12> kMonths{"jan", "feb", "mar", "apr", "may", "jun",
                                                   "jul", "aug", "sep", "oct", "nov", "dec"};
constexpr std::array<std::string_view, 7> kWeekdays{"sun", "mon", "tue", "wed",
                                                    "thu", "fri", "sat"};

struct FieldRule {
  std::string_view what;
  int least;
  int most;
  std::span<std::string_view const> names = {};
  int first_name = 0;
};

std::optional<int> read_value(std::string_view text, FieldRule const& rule) {
  for (std::size_t i = 0; i < rule.names.size(); ++i) {
    if (equal_ignoring_case(text, rule.names[i])) return rule.first_name + static_cast<int>(i);
  }
  auto const number = parse_number<int>(text);
  if (!number || *number < rule.least || *number > rule.most) return std::nullopt;
  return number;
}

// "*", "a", "a-b", each with "/step"; "a/step" runs to the end.
std::optional<std::uint64_t> read_part(std::string_view part, FieldRule const& rule) {
  int step = 1;
  auto const slash = part.find('/');
  if (slash != std::string_view::npos) {
    auto const number = parse_number<int>(part.substr(slash + 1));
    if (!number || *number < 1 || *number > rule.most) return std::nullopt;
    step = *number;
    part = part.substr(0, slash);
  }
  int from = rule.least;
  int to = rule.most;
  if (part != "*") {
    auto const dash = part.find('-');
    auto const first = read_value(part.substr(0, dash), rule);
    if (!first) return std::nullopt;
    from = *first;
    to = slash == std::string_view::npos ? from : rule.most;
    if (dash != std::string_view::npos) {
      auto const last = read_value(part.substr(dash + 1), rule);
      if (!last || *last < from) return std::nullopt;
      to = *last;
    }
  }
  std::uint64_t bits = 0;
  for (int value = from; value <= to; value += step) bits |= std::uint64_t{1} << value;
  return bits;
}

Result<std::uint64_t> read_field(std::string_view text, FieldRule const& rule) {
  std::uint64_t bits = 0;
  for (auto rest = text;;) {
    auto const comma = rest.find(',');
    auto const part = read_part(rest.substr(0, comma), rule);
    if (!part) {
      return fail(ErrorCode::invalid,
                  "cron: '" + std::string(text) + "' is no " + std::string(rule.what));
    }
    bits |= *part;
    if (comma == std::string_view::npos) return bits;
    rest = rest.substr(comma + 1);
  }
}

bool has(std::uint64_t bits, int value) { return ((bits >> value) & 1) != 0; }

}  // namespace

Result<CronLine> CronLine::parse(std::string_view text) {
  text = trim(text);
  for (auto const& [name, line] : kShorthands) {
    if (equal_ignoring_case(text, name)) text = line;
  }
  auto const fields = split_list(text, ' ');
  if (fields.size() != 5) {
    return fail(ErrorCode::invalid,
                "cron: five fields are expected: minute, hour, day of the month,"
                " month, day of the week");
  }
  auto const minutes = read_field(fields[0], {"minute", 0, 59});
  auto const hours = read_field(fields[1], {"hour", 0, 23});
  auto const days = read_field(fields[2], {"day of the month", 1, 31});
  auto const months = read_field(fields[3], {"month", 1, 12, kMonths, 1});
  auto const weekdays = read_field(fields[4], {"day of the week", 0, 7, kWeekdays, 0});
  for (auto const* const field : {&minutes, &hours, &days, &months, &weekdays}) {
    if (!*field) return std::unexpected(field->error());
  }
  CronLine line;
  line.minutes_ = *minutes;
  line.hours_ = static_cast<std::uint32_t>(*hours);
  line.days_ = static_cast<std::uint32_t>(*days);
  line.months_ = static_cast<std::uint32_t>(*months);
  line.weekdays_ = static_cast<std::uint32_t>((*weekdays | *weekdays >> 7) & 0x7f);
  line.any_day_ = fields[2].starts_with('*');
  line.any_weekday_ = fields[4].starts_with('*');
  return line;
}

std::optional<Timestamp> CronLine::next(Timestamp from) const {
  constexpr std::int64_t kDaysMax = 8 * 366;  // Until a leap day that is not there has come again.
  auto minute = from.micros / kMicrosPerMinute + 1;
  for (std::int64_t tried = 0; tried < kDaysMax; ++tried) {
    auto const seconds = static_cast<std::time_t>(minute * 60);
    std::tm day{};
    ::gmtime_r(&seconds, &day);
    bool const by_day = has(days_, day.tm_mday);
    bool const by_weekday = has(weekdays_, day.tm_wday);
    bool const either = any_day_ || any_weekday_ ? by_day && by_weekday : by_day || by_weekday;
    auto const next_day = (minute / kDayMinutes + 1) * kDayMinutes;
    if (either && has(months_, day.tm_mon + 1)) {
      for (; minute < next_day; ++minute) {
        auto const of_day = static_cast<int>(minute % kDayMinutes);
        if (has(hours_, of_day / 60) && has(minutes_, of_day % 60)) {
          return Timestamp{minute * kMicrosPerMinute};
        }
      }
    }
    minute = next_day;
  }
  return std::nullopt;
}

}  // namespace subforge::jobs
