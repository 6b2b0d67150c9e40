#include "jobs/celery/revoked_ids.hpp"

#include <algorithm>

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>

#include "describe/json_text.hpp"

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

std::set<std::string> stamp_keys(boost::json::object const& by_header) {
  std::set<std::string> keys;
  for (auto const& member : by_header) {
    auto const add = [&](boost::json::value const& value) {
      keys.insert(std::string(std::string_view(member.key())) + '\n' + describe::json_text(value));
    };
    if (auto const* const list = member.value().if_array(); list != nullptr) {
      for (auto const& value : *list) add(value);
    } else {
      add(member.value());
    }
  }
  return keys;
}

bool RevokedStamps::has_any_of(boost::json::object const* stamps) const {
  if (stamps == nullptr || known_.empty()) return false;
  return std::ranges::any_of(stamp_keys(*stamps),
                             [this](auto const& key) { return known_.contains(key); });
}

}  // namespace subforge::jobs::celery
