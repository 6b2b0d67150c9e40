// Points in time as integer microseconds since 1970 UTC; written as RFC 3339 with six digits and Z.
#pragma once

#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace subforge {

struct Timestamp {
  std::int64_t micros = 0;

  [[nodiscard]] static Timestamp now();
  // Accepts RFC 3339 and ISO 8601 dates with time: `T` or a space between, optional fraction (cut
  // to microseconds), `Z`, `±hh:mm`, `±hhmm`, `±hh` or nothing (which means UTC), and a date alone;
  // of the years 0001 to 9999 in UTC.
  [[nodiscard]] static std::optional<Timestamp> parse(std::string_view text);

  [[nodiscard]] std::string to_string() const;  // 2026-01-02T03:04:05.000000Z
  void append_to(std::string& out) const;

  friend auto operator<=>(Timestamp const&, Timestamp const&) = default;
};

// Nanoseconds of a clock that never jumps; for durations and deadlines.
[[nodiscard]] std::int64_t monotonic_ns();

}  // namespace subforge
