#include "base/precondition.hpp"

#include <algorithm>

#include "base/text.hpp"

namespace subforge {
namespace {

bool names(std::string_view tag, std::string_view version) {
  if (tag.size() < 2 || !tag.starts_with('"') || !tag.ends_with('"')) return false;
  tag = tag.substr(1, tag.size() - 2);
  for (std::string_view const coding : {"-gzip", "-br"}) {
    if (tag.ends_with(coding)) {
      tag.remove_suffix(coding.size());
      break;
    }
  }
  if (auto const dash = tag.find('-'); dash != std::string_view::npos) {
    auto const reading = tag.substr(dash + 1);
    if (reading.empty() || reading.find_first_not_of("0123456789abcdef") != std::string_view::npos)
      return false;
    tag = tag.substr(0, dash);
  }
  return tag == version;
}

}  // namespace

Result<void> Precondition::check(std::int64_t version) const {
  if (tags_.empty() || tags_ == "*") return {};
  auto const text = std::to_string(version);
  auto const tags = split_list(tags_, ',');
  if (std::ranges::any_of(tags, [&](auto tag) { return names(tag, text); })) return {};
  return fail(ErrorCode::stale, "It has changed since: its version is \"" + text +
                                    "\" now, which is not one of those in If-Match");
}

}  // namespace subforge
