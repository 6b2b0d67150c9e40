#include "jobs/registry.hpp"

#include <algorithm>

#include "base/text.hpp"

namespace subforge::jobs {

Outcome succeeded(std::string json) { return {.data = std::move(json)}; }

Outcome succeeded_with(std::string json, Effect effect) {
  return {.data = std::move(json), .effect = std::move(effect)};
}

Outcome failed(std::string error) {
  return {.kind = Outcome::Kind::failure, .error = std::move(error)};
}

Outcome failed_for_good(std::string error) {
  return {.kind = Outcome::Kind::failure, .error = std::move(error), .for_good = true};
}

Outcome try_again(std::string error, std::optional<std::int64_t> after_ms) {
  return {.kind = Outcome::Kind::retry, .error = std::move(error), .retry_after_ms = after_ms};
}

Outcome withdrawn(std::string why) {
  return {.kind = Outcome::Kind::revoked, .error = std::move(why)};
}

std::optional<StartRate> parse_rate(std::string_view text) {
  constexpr double kCountMax = 1e6;
  constexpr double kCountMin = 1e-6;
  StartRate rate;
  if (auto const slash = text.find('/'); slash != std::string_view::npos) {
    auto const unit = text.substr(slash + 1);
    if (unit != "s" && unit != "m" && unit != "h") return std::nullopt;
    rate.per_seconds = unit == "s" ? 1 : unit == "m" ? 60 : 3'600;
    text = text.substr(0, slash);
  }
  bool const plain = text.find_first_not_of("0123456789.") == std::string_view::npos;
  auto const count = plain ? parse_number<double>(text) : std::nullopt;
  if (!count || *count > kCountMax || (*count > 0 && *count < kCountMin)) return std::nullopt;
  rate.count = static_cast<std::int64_t>(*count);
  // Half a start in a second is one in two.
  if (static_cast<double>(rate.count) < *count) {
    rate.count = 1;
    rate.per_seconds /= *count;
  }
  return rate;
}

std::int64_t backoff_ms(Definition const& definition, std::int64_t retry, std::uint64_t chance) {
  constexpr std::int64_t kDoublingsMax = 40;
  auto wait = std::max<std::int64_t>(definition.backoff_ms, 0);
  auto const most = std::max<std::int64_t>(definition.backoff_max_ms, 0);
  for (std::int64_t i = 1; i < std::min(retry, kDoublingsMax) && wait < most; ++i) wait *= 2;
  wait = std::min(wait, most);
  auto const half = wait / 2;
  return half + static_cast<std::int64_t>(chance % static_cast<std::uint64_t>(wait - half + 1));
}

void Registry::add(Definition definition) {
  auto const& kept =
      *versions_.emplace_back(std::make_unique<Definition const>(std::move(definition)));
  newest_[kept.name].store(&kept);
}

Definition const* Registry::find(std::string_view name) const {
  auto const found = newest_.find(name);
  return found == newest_.end() ? nullptr : found->second.load(std::memory_order_acquire);
}

std::vector<std::string> Registry::names() const {
  std::vector<std::string> names;
  names.reserve(newest_.size());
  for (auto const& [name, definition] : newest_) names.push_back(name);
  return names;
}

std::vector<Definition const*> Registry::all() const {
  std::vector<Definition const*> all;
  all.reserve(newest_.size());
  for (auto const& [name, definition] : newest_) {
    all.push_back(definition.load(std::memory_order_acquire));
  }
  return all;
}

bool Registry::change(std::string_view name, std::function<void(Definition&)> const& change) {
  auto const found = newest_.find(name);
  if (found == newest_.end() || versions_.size() >= newest_.size() + kChangesMax) return false;
  auto changed = std::make_unique<Definition>(*found->second.load());
  change(*changed);
  found->second.store(changed.get(), std::memory_order_release);
  versions_.push_back(std::move(changed));
  return true;
}

}  // namespace subforge::jobs
