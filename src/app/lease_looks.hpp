// Ends the leases of agents that are not heard of.
#pragma once

#include <cstdint>

#include "base/log.hpp"
#include "domain/agents/agents.hpp"
#include "runtime/task.hpp"

namespace subforge::app {

class LeaseLooks {
 public:
  LeaseLooks(domain::Agents& agents, std::int64_t lease_seconds, Logger const& logger);

  // Between two looks.
  [[nodiscard]] std::int64_t period_ns() const { return period_ns_; }
  // Up to now no heartbeat could come for so long: that was no time of the leases of before.
  void could_not_hear(std::int64_t for_us);
  // A chore's work.
  Task<bool> look();

 private:
  domain::Agents& agents_;
  std::int64_t const lease_ns_;
  std::int64_t const period_ns_;
  Logger const& logger_;
  std::int64_t looked_ns_;       // Last.
  std::int64_t later_us_ = 0;    // What could not be heard makes leases end later ...
  std::int64_t later_until_ns_;  // ... until one that was given since could end.
};

}  // namespace subforge::app
