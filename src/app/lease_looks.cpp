#include "app/lease_looks.hpp"

#include <algorithm>

namespace subforge::app {
namespace {

// Leases are looked at so many times within one, or once a second. They are ended two looks early:
// so an agent that dies shows offline within its lease, be it with ten thousand others.
constexpr std::int64_t kLooks = 10;
constexpr std::int64_t kLooksEarly = 2;
constexpr std::int64_t kLookNsMax = 1'000'000'000;

}  // namespace

LeaseLooks::LeaseLooks(domain::Agents& agents, std::int64_t lease_seconds, Logger const& logger)
    : agents_(agents),
      lease_ns_(lease_seconds * 1'000'000'000),
      period_ns_(std::min(kLookNsMax, lease_ns_ / kLooks)),
      logger_(logger),
      looked_ns_(monotonic_ns()),
      later_until_ns_(looked_ns_) {}

void LeaseLooks::could_not_hear(std::int64_t for_us) {
  looked_ns_ = monotonic_ns();
  later_us_ = for_us + (looked_ns_ < later_until_ns_ ? later_us_ : 0);
  later_until_ns_ = looked_ns_ + lease_ns_;
}

Task<bool> LeaseLooks::look() {
  // A process that stood still, or whose database was not there, heard nothing either.
  auto const unheard_ns = monotonic_ns() - looked_ns_;
  if (unheard_ns > lease_ns_ / 2) could_not_hear(unheard_ns / 1'000);
  auto const later_us = monotonic_ns() < later_until_ns_ ? later_us_ : 0;
  for (;;) {
    auto const clock = co_await agents_.lease_clock();
    Result<std::int64_t> ended = 0;
    if (clock) {
      auto const early_us = kLooksEarly * period_ns_ / 1'000;
      ended = co_await agents_.end_leases({clock->micros + early_us - later_us});
    } else {
      ended = std::unexpected(clock.error());
    }
    if (!ended) {
      logger_.warning("agents that are gone could not be made offline",
                      {{"cause", ended.error().context}});
      co_return false;
    }
    looked_ns_ = monotonic_ns();
    if (*ended < domain::Agents::kChangedAtOnce) co_return false;
  }
}

}  // namespace subforge::app
