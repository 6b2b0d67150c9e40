#include "jobs/celery/revoked_ids.hpp"

namespace subforge::jobs::celery {

void RevokedIds::add(std::string_view id, std::int64_t now_ns) {
  if (auto const found = known_.find(id); found != known_.end()) {
    found->second->at_ns = now_ns;
    order_.splice(order_.end(), order_, found->second);
    return;
  }
  auto const entry = order_.insert(order_.end(), Entry{std::string(id), now_ns});
  known_.emplace(entry->id, entry);
  purge(now_ns);
}

void RevokedIds::purge(std::int64_t now_ns) {
  while (!order_.empty() && (order_.size() > kIdsMax || order_.front().at_ns < now_ns - kKeptNs)) {
    known_.erase(order_.front().id);
    order_.pop_front();
  }
}

}  // namespace subforge::jobs::celery
