// Paging by position instead of by number: a page begins behind the last record of the one before,
// so that records that come or go meanwhile shift nothing and deep pages cost what the first does.
//
// A list is sorted by one expression and, among equals, by the table's `seq`, which every record
// has its own of. store/listing.hpp makes pages of it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>

#include "store/database.hpp"
#include "store/record_sql.hpp"

namespace subforge::store {

// A place in a sorted list: right behind the record that has these values.
struct Position {
  std::variant<std::int64_t, double, std::string> value = std::int64_t{0};
  std::int64_t seq = 0;

  friend bool operator==(Position const&, Position const&) = default;
};

struct Keyset {
  // The SQL that the list is sorted by, never null; empty where it is sorted by `seq` alone.
  std::string_view expression = {};
  bool descending = false;
  Value::Kind kind = Value::Kind::text;  // Of the expression: text, integer or real.
  std::string_view seq = "seq";          // Where the query has the sequence of another table.

  // " ORDER BY ...".
  [[nodiscard]] std::string order() const;
  // ", <expression>, seq": what a query has to select behind its own columns for position().
  [[nodiscard]] std::string columns() const;
  // The condition that only rows behind the position meet. Its values are added to `bound`, and
  // their marks are numbered from `count` + 1 on.
  [[nodiscard]] std::string behind(Position const& position, BoundRecord& bound, int& count) const;
  // Of a row with columns(), the first of which is number `column`.
  [[nodiscard]] Position position(Row const& row, int column) const;
};

}  // namespace subforge::store
