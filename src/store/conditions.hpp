// The conditions of a list, and by which of them its rows are found. PostgreSQL keeps statistics
// and decides by itself. SQLite does not: it may sort half a million rows for a page of fifty, or
// look at a million for the three that there are. So what an index answers is counted, first to
// kFewFirst and no further than to kFewMax: the condition that leaves fewest leads to the rows, if
// those are few; else there are so many that a walk in the order of the list soon meets enough of
// them. What does not lead is only checked. Where the number is kept it is not counted again.
//
//   Conditions conditions(session, "tasks");
//   conditions.equal({{"status", status}});
//   conditions.lists_any("tags", tags, "task_tags");
//   auto const where = co_await conditions.choose(keyset);
#pragma once

#include <functional>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "store/listing.hpp"

namespace subforge::store {

inline constexpr std::int64_t kFewFirst = 100;
inline constexpr std::int64_t kFewFactor = 10;  // From one count that found all many to the next.
inline constexpr std::int64_t kFewMax = 10'000;

class Conditions {
 public:
  using Add = std::function<void(Where&)>;
  struct Equal {
    std::string_view column;
    Value value;  // A text has to outlive this.
  };

  Conditions(Session& session, std::string_view table)
      : session_(session), table_(table), sqlite_(session.dialect() == Dialect::sqlite) {}

  // Nothing finds what meets this but looking at rows.
  void check(Add add) { conditions_.push_back({.check = std::move(add)}); }
  // An index that begins with these columns. It is sorted by `order` and `seq` behind them, and, if
  // it is a partial one, has the rows that `of` says in its words.
  struct Index {
    std::string_view order = {};
    std::string_view of = {};
    std::string_view kept = {};  // The name of a kept count: of the rows that are found.
  };
  // An index answers all of these together.
  void equal(std::vector<Equal> const& equal) { this->equal(equal, Index{}); }
  void equal(std::vector<Equal> const& equal, Index const& index);
  // A flag, and a partial index of those rows that have it.
  void set(std::string_view column);
  // The column, which has an index of its own, is one of these; `kept` as that of Index, of each.
  void any_of(std::string_view column, std::vector<std::string> const& texts,
              std::vector<std::string> kept = {});
  // A time within bounds, of a column with an index of its own.
  void within(std::string_view column, std::optional<Value> least, std::optional<Value> most);
  // One of these texts is on the list that the column keeps as JSON; `index` has such lists.
  void lists_any(std::string_view column, std::vector<std::string> const& texts,
                 std::string_view index);
  // What an index of texts has of each row: all of its text, or up to `rows_each` parts of it, in
  // rows of their own: rowid = seq * rows_each + n. What is no longer than `whole_characters` is
  // within one of them wherever it stands.
  struct Parts {
    std::int64_t rows_each = 1;
    std::size_t whole_characters = std::string::npos;
  };
  // The text is part of what `index` has; `check` says so of the columns themselves.
  void contains(std::string const& text, std::string_view index, Add check) {
    contains(text, index, std::move(check), Parts{});
  }
  void contains(std::string const& text, std::string_view index, Add check, Parts const& parts);

  // What a page of the list is read by.
  Task<Result<Where>> choose(Keyset const& keyset) const;
  // How many rows meet all of them, counted no further than `most`.
  Task<Result<Total>> total(std::int64_t most) const;

 private:
  struct Condition {
    Add check;
    Add find = {};             // In the form that an index answers; empty where none does.
    Add count = {};            // The same, of the rows of `counted`.
    std::string counted = {};  // A table.
    std::vector<std::string> kept = {};  // Kept counts; their sum is the number of what it finds.
    // What `find` has its rows in the order of, and then of `seq`; nothing if in none.
    std::optional<std::string_view> order = {};
    std::vector<std::string_view> fixed = {};  // Columns that have one value in all it finds.
    std::string of = {};  // What tells rows from each other in `counted`, if several are one.

    // Whether it finds rows in the order of this list.
    [[nodiscard]] bool sorted_as(Keyset const& keyset) const;
  };
  void add(std::function<Add(std::string const& before)> const& make,
           std::optional<std::string_view> order, std::vector<std::string_view> fixed = {});

  // How many it finds, counted no further than `most`.
  Task<Result<Total>> found(Condition const& condition, std::int64_t most) const;
  // The one that leads to the rows; null if none does.
  Task<Result<Condition const*>> leading(Keyset const& keyset) const;
  // The one that finds fewest rows; null if all find more than `most`.
  Task<Result<Condition const*>> fewest(std::int64_t most) const;

  Session& session_;
  std::string table_;
  bool sqlite_;
  std::vector<Condition> conditions_;
};

}  // namespace subforge::store
