#include "files/quota.hpp"

#include <fmt/format.h>

namespace subforge::files {

std::unexpected<Error> quota_exceeded(std::int64_t bytes_max) {
  return fail(ErrorCode::too_large,
              fmt::format("Storage quota exceeded. Maximum allowed: {} bytes", bytes_max));
}

Quotas::Share::~Share() {
  std::lock_guard const lock(quotas_.mutex_);
  auto const found = quotas_.under_way_.find(user_);
  if (found == quotas_.under_way_.end()) return;
  found->second -= taken_;
  if (found->second == 0) quotas_.under_way_.erase(found);
}

Result<void> Quotas::Share::take(std::int64_t bytes) {
  if (quotas_.bytes_max_ <= 0) return {};
  std::lock_guard const lock(quotas_.mutex_);
  auto& under_way = quotas_.under_way_[user_];
  under_way += bytes;
  taken_ += bytes;
  if (stored_ + under_way > quotas_.bytes_max_) return quota_exceeded(quotas_.bytes_max_);
  return {};
}

std::int64_t Quotas::under_way(std::string const& user) {
  std::lock_guard const lock(mutex_);
  auto const found = under_way_.find(user);
  return found == under_way_.end() ? 0 : found->second;
}

}  // namespace subforge::files
