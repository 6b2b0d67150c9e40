#include "domain/page_words.hpp"

#include <cctype>

#include <fmt/format.h>

namespace subforge::domain {

std::string ago_text(std::optional<Timestamp> at, Timestamp now) {
  if (!at) return "never";
  auto const seconds = (now.micros - at->micros) / 1'000'000;
  auto const count = [](std::int64_t number, char const* unit) {
    return fmt::format("{} {}{} ago", number, unit, number == 1 ? "" : "s");
  };
  if (seconds < 60) return "just now";
  if (seconds < 3'600) return count(seconds / 60, "minute");
  if (seconds < 86'400) return count(seconds / 3'600, "hour");
  return count(seconds / 86'400, "day");
}

std::string model_badge(std::string_view model) {
  std::string badge;
  bool word_begins = true;
  for (char const c : model) {
    auto const letter = static_cast<unsigned char>(c);
    if (c == '-' || c == '_') {
      badge.push_back(' ');
    } else {
      badge.push_back(word_begins && letter < 0x80 ? static_cast<char>(std::toupper(letter)) : c);
    }
    word_begins = badge.back() == ' ';
  }
  return badge;
}

}  // namespace subforge::domain
