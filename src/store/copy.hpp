// Copies a whole database into another one, of whatever kind each is.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/function_ref.hpp"
#include "store/store.hpp"

namespace subforge::store {

struct CopiedTable {
  std::string name;
  std::int64_t rows = 0;
  // Of all values of all rows, whatever the order of the rows: equal on both sides.
  std::string checksum;
};

// What is done so far: a table, and how many of its rows.
using CopyProgress = FunctionRef<void(std::string_view table, std::int64_t rows)>;

// Copies every table in batches, reads it all again from the target and compares. Both stores are
// open, so that their schemas are the same; nobody may write to either meanwhile. Errors: invalid,
// if the target was there before `began`, if the source was not, if somebody wrote to the source,
// or if what arrived is not what was sent; then the target is to be thrown away.
[[nodiscard]] Task<Result<std::vector<CopiedTable>>> copy_database(Store& from, Store& to,
                                                                   Timestamp began,
                                                                   CopyProgress progress);

}  // namespace subforge::store
