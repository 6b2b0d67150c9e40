// Tables as they are, whatever is in them: for copying and keeping whole databases.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "store/store.hpp"

namespace subforge::store {

struct TableColumn {
  std::string name;
  Value::Kind kind = Value::Kind::null;
  std::int64_t key = 0;  // Its place in the primary key, from 1 on; 0 if it is no part of it.
};

struct Table {
  std::string name;
  std::vector<TableColumn> columns;

  [[nodiscard]] std::vector<std::size_t> key() const;
};

// One value that outlives the row it was read from.
struct Cell {
  Value::Kind kind = Value::Kind::null;
  std::int64_t integer = 0;
  double real = 0;
  std::string bytes;

  [[nodiscard]] Value value() const;
};
using Cells = std::vector<Cell>;

// The sum of the rows' hashes, so that their order does not matter.
class RowsChecksum {
 public:
  void add(Cells const& row);
  [[nodiscard]] std::int64_t rows() const { return rows_; }
  [[nodiscard]] std::string text() const;
  friend bool operator==(RowsChecksum const& a, RowsChecksum const& b) {
    return a.sum_ == b.sum_ && a.rows_ == b.rows_;
  }

 private:
  void put(std::uint64_t number);
  std::array<std::uint64_t, 4> sum_{};
  std::int64_t rows_ = 0;
  std::string line_;
};

inline constexpr std::int64_t kTableBatchRows = 1'000;
inline constexpr std::size_t kTableBatchBytes = 4U << 20;

struct RowBatch {
  std::vector<Cells> rows;
  bool more = false;  // Behind them.
};

// All tables but the one that notes the schema's version, in the order in which they were made, so
// that what is referred to comes first. Error: internal, if there is one that cannot be copied.
[[nodiscard]] Task<Result<std::vector<Table>>> read_tables(Session& session);
// The rows behind `last` in the order of the primary key, the first ones if it is empty: at most
// kTableBatchRows, and none once there are kTableBatchBytes, so that it is no matter how long rows
// are.
[[nodiscard]] Task<Result<RowBatch>> read_rows(Session& session, Table const& table,
                                               Cells const& last);
[[nodiscard]] Task<Result<void>> insert_rows(Store& to, Table const& table,
                                             std::vector<Cells> const& rows);
// Removes what the migrations filled in.
[[nodiscard]] Task<Result<void>> clear_tables(Store& to, std::vector<Table> const& tables);

// Whether the rows of a table get ids by themselves, none of which is ever given twice; and the
// highest one given so far, of rows that are gone as well.
[[nodiscard]] bool has_given_ids(Table const& table);
[[nodiscard]] Task<Result<std::int64_t>> highest_id_given(Session& session, Table const& table);
[[nodiscard]] Task<Result<void>> note_highest_id(Store& to, Table const& table, std::int64_t id);

// Calls `take`, a Task<Result<void>>(std::vector<Cells> const&), with every row of a table, batch
// by batch, each in a snapshot of its own.
template <class Take>
Task<Result<void>> for_each_rows(Store& from, Table const& table, Take take) {
  Cells last;
  for (;;) {
    auto read = [&](Session& session) { return read_rows(session, table, last); };
    auto batch = co_await from.read(ReadCost::scan, read);
    if (!batch) co_return std::unexpected(batch.error());
    if (batch->rows.empty()) co_return {};
    if (auto taken = co_await take(batch->rows); !taken) co_return taken;
    if (!batch->more) co_return {};
    last = std::move(batch->rows.back());
  }
}

// The first value of the first row.
[[nodiscard]] Task<Result<std::int64_t>> read_number(Session& session, std::string sql,
                                                     std::span<Value const> values = {});

}  // namespace subforge::store
