// Lists of records: a filter as SQL, one page of what it finds, and how much it finds.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "store/database.hpp"
#include "store/keyset.hpp"
#include "store/record_sql.hpp"

namespace subforge::store {

// The conditions of a filter and the values they bind, starting at $1. Texts are copied.
class Where {
 public:
  void both(std::string_view condition) {
    sql_ += sql_.empty() ? " WHERE " : " AND ";
    sql_ += condition;
  }
  // The mark of a value, to be put into the next condition.
  std::string mark(Value const& value) {
    bound_.add(value);
    return "$" + std::to_string(++count_);
  }
  std::string mark(std::string text) {
    bound_.add_text(std::move(text));
    return "$" + std::to_string(++count_);
  }
  void equals(std::string_view column, Value const& value) { compare(column, " = ", mark(value)); }
  void equals(std::string_view column, std::string const& text) {
    compare(column, " = ", mark(text));
  }
  void at_least(std::string_view column, Value const& value) {
    compare(column, " >= ", mark(value));
  }
  void at_most(std::string_view column, Value const& value) {
    compare(column, " <= ", mark(value));
  }
  // One of these texts is on the list that the column keeps as JSON.
  void lists_any(std::string_view column, std::vector<std::string> const& texts);
  // The text is part of one of the columns, whatever the case.
  void contains(std::initializer_list<std::string_view> columns, std::string_view text);
  // The same by an index of texts: of a query that reads the index itself, or of any other query
  // of the table that it is made of, whose rows the index knows by `seq`. Only where
  // has_text_index().
  void indexed(std::string_view index, std::string_view text);
  void indexed_seq(std::string_view index, std::string_view text, std::string_view seq = "rowid");
  void behind(Keyset const& keyset, Position const& position) {
    both(keyset.behind(position, bound_, count_));
  }

  [[nodiscard]] std::string const& sql() const { return sql_; }
  [[nodiscard]] std::span<Value const> values() const { return bound_.values(); }

 private:
  void compare(std::string_view column, std::string_view operation, std::string const& mark) {
    both(std::string(column).append(operation).append(mark));
  }
  std::string sql_;
  BoundRecord bound_;
  int count_ = 0;
};

// Whether a search for this text can use an index of texts (migration "search") by its name: on
// SQLite, from three characters on. PostgreSQL chooses its index for contains() by itself.
[[nodiscard]] bool has_text_index(Session const& session, std::optional<std::string> const& text);

// Which part of a list is wanted.
struct PageBounds {
  std::optional<Position> after;      // Only what comes behind it.
  std::optional<std::int64_t> until;  // No further than the record of this sequence; of lists that
                                      // are sorted by sequence alone.
  std::int64_t skip = 0;
  std::int64_t limit = 100;
};

// Of a filter with members of these names.
template <class Filter>
[[nodiscard]] PageBounds bounds_of(Filter const& filter) {
  return {filter.after, filter.until, filter.skip, filter.limit};
}

template <describe::Record R>
struct Page {
  std::vector<R> rows;
  std::int64_t total = 0;  // Matches before paging, counted no further than somebody chose.
  bool total_capped = false;
  std::optional<Position> next = {};  // Behind the last of the page, where more follow.
};

struct Total {
  std::int64_t count = 0;
  bool capped = false;  // There are more than `most`.
};

// How many rows meet the conditions, counted no further than `most`; or how many different values
// `of` has in them.
Task<Result<Total>> count_matches(Session& session, std::string_view table, Where where,
                                  std::int64_t most, std::string_view of = {});

// Where a page of `bounds.limit` rows ends, if more follow.
Task<Result<std::optional<Position>>> end_of_page(Session& session, std::string_view table,
                                                  Keyset keyset, Where where, PageBounds bounds);

// The query of one page and one row more, which tells whether another page follows.
[[nodiscard]] std::string page_sql(std::string_view columns, std::string_view table,
                                   Keyset const& keyset, Where& where, PageBounds const& bounds);

// What a page reads of a row: as many columns as the record has, with no comma but between them.
template <describe::Record R>
struct PageColumns {
  std::string sql = column_list<R>();
  R (*read)(Row const& row) = &read_row<R>;
};
template <describe::Record R>
[[nodiscard]] PageColumns<R> const& all_columns() {
  static PageColumns<R> const columns;
  return columns;
}

// One page of `table`; its total is left at 0. Where `skip` and `limit` lead beyond all numbers,
// nothing is found.
template <describe::Record R>
Task<Result<Page<R>>> select_page(Session& session, std::string_view table, Keyset keyset,
                                  Where where, PageBounds bounds,
                                  PageColumns<R> const& columns = all_columns<R>()) {
  auto const column_count = static_cast<int>(std::ranges::count(columns.sql, ',')) + 1;
  auto const sql = page_sql(columns.sql, table, keyset, where, bounds);
  Page<R> page;
  Position last;
  auto const done = co_await session.query(sql, where.values(), [&](Row const& row) {
    if (static_cast<std::int64_t>(page.rows.size()) == bounds.limit) {
      page.next = std::move(last);
      return;
    }
    page.rows.push_back(columns.read(row));
    last = keyset.position(row, column_count);
  });
  if (!done) co_return std::unexpected(done.error());
  co_return page;
}

}  // namespace subforge::store
