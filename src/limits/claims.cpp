#include "limits/claims.hpp"

namespace subforge::limits {

Claims::Claim Claims::take(std::string name) {
  std::lock_guard const lock(mutex_);
  if (!held_.insert(name).second) return {};
  return {*this, std::move(name)};
}

void Claims::release(std::string const& name) {
  std::lock_guard const lock(mutex_);
  held_.erase(name);
}

}  // namespace subforge::limits
