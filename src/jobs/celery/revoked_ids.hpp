// Ids of tasks that workers were told not to start, and stamps of such tasks. Nothing of it is
// stored with the tasks: each worker remembers what it heard, as Celery's do, the newest so many
// for so long.
#pragma once

#include <cstdint>
#include <list>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>

#include <boost/json/fwd.hpp>

namespace subforge::jobs::celery {

class RevokedIds {
 public:
  static constexpr std::size_t kIdsMax = 50'000;               // Of more the oldest are forgotten.
  static constexpr std::int64_t kKeptNs = 10'800'000'000'000;  // Three hours.

  // `now_ns` is of the monotonic clock. One that is known is as new as ever.
  void add(std::string_view id, std::int64_t now_ns);
  [[nodiscard]] bool contains(std::string_view id) const { return known_.contains(id); }
  [[nodiscard]] bool empty() const { return order_.empty(); }
  [[nodiscard]] std::size_t size() const { return order_.size(); }
  void purge(std::int64_t now_ns);

  struct Entry {
    std::string id;
    std::int64_t at_ns;
  };
  [[nodiscard]] std::list<Entry> const& entries() const { return order_; }  // The oldest first.

 private:
  std::list<Entry> order_;
  std::unordered_map<std::string_view, std::list<Entry>::iterator> known_;  // Views of the entries.
};

// Each value of each header, in a form that can be compared. `by_header` has one, or a list.
[[nodiscard]] std::set<std::string> stamp_keys(boost::json::object const& by_header);

class RevokedStamps {
 public:
  void add(std::set<std::string> const& keys, std::int64_t now_ns) {
    for (auto const& key : keys) known_.add(key, now_ns);
  }
  // `stamps` as a message has them, or none.
  [[nodiscard]] bool has_any_of(boost::json::object const* stamps) const;

 private:
  RevokedIds known_;
};

}  // namespace subforge::jobs::celery
