// Counts that are kept while records change, in the same transaction, so that a total costs the
// same to read whatever the number of records.
//
//   CountChanges counts;
//   counts.add("tasks", 1);
//   counts.add("tasks.status=pending", 1);
//   if (auto done = co_await counts.apply(transaction); !done) co_return ...
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "store/store.hpp"

namespace subforge::store {

// A figure as a sum keeps it: in whole millionths, so that what is taken away is what was added.
// What lies beyond 1e8 on either side counts as that, so that the sum of 90,000 such figures is
// still a number of the database.
inline constexpr double kMillionths = 1e6;
[[nodiscard]] std::int64_t millionths(double figure);

class CountChanges {
 public:
  void add(std::string name, std::int64_t change) { changes_[std::move(name)] += change; }
  // All in the order of their names, several with one statement: that way writers on several
  // machines cannot wait for each other in a circle.
  Task<Result<void>> apply(Transaction& transaction) const;

 private:
  std::map<std::string, std::int64_t> changes_;
};

using Counts = std::map<std::string, std::int64_t, std::less<>>;

// The counts named `record` and `record.<anything>`.
Task<Result<Counts>> read_counts(Session& session, std::string record);
// Of one name; 0 if it was never counted.
Task<Result<std::int64_t>> read_count(Session& session, std::string name);

}  // namespace subforge::store
