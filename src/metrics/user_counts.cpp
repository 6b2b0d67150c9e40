#include "metrics/user_counts.hpp"

#include <algorithm>
#include <cstring>
#include <functional>

namespace subforge::metrics {

void UsageTotals::add(UsageTotals const& other) {
  requests += other.requests;
  client_errors += other.client_errors;
  server_errors += other.server_errors;
  duration_us += other.duration_us;
  for (std::size_t i = 0; i < latency.size(); ++i) latency[i] += other.latency[i];
}

UsageTotals UsageTotals::since(UsageTotals const& earlier) const {
  UsageTotals between = *this;
  between.requests -= earlier.requests;
  between.client_errors -= earlier.client_errors;
  between.server_errors -= earlier.server_errors;
  between.duration_us -= earlier.duration_us;
  for (std::size_t i = 0; i < latency.size(); ++i) between.latency[i] -= earlier.latency[i];
  return between;
}

Latencies UsageTotals::latencies() const {
  Latencies counted;
  for (std::size_t i = 0; i < latency.size(); ++i) counted.add(i, latency[i]);
  return counted;
}

void UserCounts::Slot::record(int status, std::int64_t us) {
  requests.add(1);
  if (status >= 400) (status < 500 ? client_errors : server_errors).add(1);
  duration_us.add(static_cast<std::uint64_t>(std::max<std::int64_t>(us, 0)));
  latency.record(us);
}

UsageTotals UserCounts::Slot::totals() const {
  UsageTotals sum{
      requests.value(), client_errors.value(), server_errors.value(), duration_us.value(), {}};
  for (std::size_t i = 0; i < sum.latency.size(); ++i) sum.latency[i] = latency.at(i);
  return sum;
}

void UserCounts::Slot::take(std::string_view text) {
  std::memcpy(name.data(), text.data(), text.size());
  name_bytes.store(text.size(), std::memory_order_release);
}

UserCounts::Slot& UserCounts::slot_of(std::string_view name) {
  if (name.size() > kNameBytesMax) {
    auto bytes = kNameBytesMax;
    while (bytes > 0 && (static_cast<unsigned char>(name[bytes]) & 0xc0U) == 0x80U) --bytes;
    name = name.substr(0, bytes);  // Never within a character of UTF-8.
  }
  auto at = std::hash<std::string_view>{}(name) % kSlots;
  for (;; at = (at + 1) % kSlots) {
    auto& slot = slots_[at];
    auto const bytes = slot.name_bytes.load(std::memory_order_relaxed);
    if (bytes == 0) break;
    if (std::string_view(slot.name.data(), bytes) == name) return slot;
  }
  if (used_ == kUsersMax) return others_;
  ++used_;
  slots_[at].take(name);
  return slots_[at];
}

void UserCounts::record(std::string_view user, int status, std::int64_t duration_us) {
  slot_of(user.empty() ? kAnonymous : user).record(status, duration_us);
}

void UserCounts::add_to(std::map<std::string, UsageTotals>& totals) const {
  for (auto const& slot : slots_) {
    auto const bytes = slot.name_bytes.load(std::memory_order_acquire);
    if (bytes > 0) totals[std::string(slot.name.data(), bytes)].add(slot.totals());
  }
  totals[std::string(kOthers)].add(others_.totals());
}

}  // namespace subforge::metrics
