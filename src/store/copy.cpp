#include "store/copy.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <optional>
#include <utility>

#include <fmt/format.h>
#include <openssl/sha.h>

namespace subforge::store {
namespace {

constexpr std::int64_t kBatchRows = 1'000;

struct Column {
  std::string name;
  Value::Kind kind;
  std::int64_t key = 0;  // Its place in the primary key, from 1 on; 0 if it is no part of it.
};

struct Table {
  std::string name;
  std::vector<Column> columns;

  [[nodiscard]] std::vector<std::size_t> key() const {
    std::vector<std::size_t> key;
    for (std::size_t i = 0; i < columns.size(); ++i) {
      if (columns[i].key > 0) key.push_back(i);
    }
    std::ranges::sort(key, {}, [&](std::size_t i) { return columns[i].key; });
    return key;
  }
};

// One value that outlives the row it was read from.
struct Cell {
  Value::Kind kind = Value::Kind::null;
  std::int64_t integer = 0;
  double real = 0;
  std::string bytes;

  [[nodiscard]] Value value() const {
    switch (kind) {
      case Value::Kind::integer: return integer;
      case Value::Kind::real: return real;
      case Value::Kind::text: return bytes;
      case Value::Kind::blob: return Value::blob(bytes);
      case Value::Kind::null: break;
    }
    return nullptr;
  }
};
using Cells = std::vector<Cell>;

Cell read_cell(Row const& row, int column, Value::Kind kind) {
  Cell cell;
  if (row.is_null(column)) return cell;
  cell.kind = kind;
  if (kind == Value::Kind::integer) cell.integer = row.integer(column);
  if (kind == Value::Kind::real) cell.real = row.real(column);
  if (kind == Value::Kind::text) cell.bytes = row.text(column);
  if (kind == Value::Kind::blob) cell.bytes = row.blob(column);
  return cell;
}

// The sum of the rows' hashes, so that their order does not matter.
class Checksum {
 public:
  void add(Cells const& row) {
    line_.clear();
    for (auto const& cell : row) {
      line_.push_back(static_cast<char>(cell.kind));
      put(static_cast<std::uint64_t>(cell.integer));
      put(std::bit_cast<std::uint64_t>(cell.real));
      put(cell.bytes.size());
      line_ += cell.bytes;
    }
    std::array<std::uint64_t, SHA256_DIGEST_LENGTH / 8> hash{};
    ::SHA256(reinterpret_cast<unsigned char const*>(line_.data()), line_.size(),
             reinterpret_cast<unsigned char*>(hash.data()));
    for (std::size_t i = 0; i < hash.size(); ++i) sum_[i] += hash[i];
    ++rows_;
  }
  [[nodiscard]] std::int64_t rows() const { return rows_; }
  [[nodiscard]] std::string text() const { return fmt::format("{:016x}{:016x}", sum_[0], sum_[1]); }
  friend bool operator==(Checksum const& a, Checksum const& b) {
    return a.sum_ == b.sum_ && a.rows_ == b.rows_;
  }

 private:
  void put(std::uint64_t number) {
    for (int shift = 0; shift < 64; shift += 8) line_.push_back(static_cast<char>(number >> shift));
  }
  std::array<std::uint64_t, SHA256_DIGEST_LENGTH / 8> sum_{};
  std::int64_t rows_ = 0;
  std::string line_;
};

// Tables in the order in which they were made, so that what is referred to comes first.
constexpr std::string_view kSqliteColumns =
    "SELECT t.name, c.name, c.type, c.pk FROM pragma_table_list t"
    " JOIN sqlite_master m ON m.type = 'table' AND m.name = t.name"
    " JOIN pragma_table_info(t.name) c"
    " WHERE t.schema = 'main' AND t.type = 'table' AND t.name NOT LIKE 'sqlite\\_%' ESCAPE '\\'"
    " AND t.name <> 'schema_migrations' ORDER BY m.rowid, c.cid";
// The table events_removed stands for SQLite's own note of the highest id.
constexpr std::string_view kPostgresColumns =
    "SELECT CAST(c.relname AS TEXT), CAST(a.attname AS TEXT), format_type(a.atttypid, NULL),"
    " coalesce(array_position(CAST(i.indkey AS SMALLINT[]), a.attnum) + 1, 0)"
    " FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0"
    "  AND NOT a.attisdropped AND a.attgenerated = ''"
    " LEFT JOIN pg_index i ON i.indrelid = c.oid AND i.indisprimary"
    " WHERE c.relkind = 'r' AND c.relnamespace = CAST(current_schema() AS REGNAMESPACE)"
    " AND c.relname NOT IN ('schema_migrations', 'events_removed') ORDER BY c.oid, a.attnum";

std::optional<Value::Kind> kind_of(std::string_view type) {
  if (type == "INTEGER" || type == "bigint") return Value::Kind::integer;
  if (type == "REAL" || type == "double precision") return Value::Kind::real;
  if (type == "TEXT" || type == "text") return Value::Kind::text;
  if (type == "BLOB" || type == "bytea") return Value::Kind::blob;
  return std::nullopt;
}

Task<Result<std::vector<Table>>> read_tables(Session& session) {
  std::vector<Table> tables;
  std::string unknown;
  auto const sql = session.dialect() == Dialect::sqlite ? kSqliteColumns : kPostgresColumns;
  auto const done = co_await session.query(sql, {}, [&](Row const& row) {
    if (tables.empty() || tables.back().name != row.text(0)) {
      tables.push_back({std::string(row.text(0)), {}});
    }
    auto const kind = kind_of(row.text(2));
    if (!kind) unknown = fmt::format("{}.{} of type {}", row.text(0), row.text(1), row.text(2));
    tables.back().columns.push_back(
        {std::string(row.text(1)), kind.value_or(Value::Kind::null), row.integer(3)});
  });
  if (!done) co_return std::unexpected(done.error());
  for (auto const& table : tables) {
    if (table.key().empty()) unknown = table.name + " without a primary key";
  }
  if (!unknown.empty()) {
    co_return fail(ErrorCode::internal, "The database has what cannot be copied: " + unknown);
  }
  co_return tables;
}

std::string identifier(std::string_view name) { return "\"" + std::string(name) + "\""; }

template <class Columns>
std::string list_of(Table const& table, Columns const& columns) {
  std::string list;
  for (auto const i : columns) {
    list += (list.empty() ? "" : ", ") + identifier(table.columns[i].name);
  }
  return list;
}

std::string marks(std::size_t count) {
  std::string list;
  for (std::size_t i = 1; i <= count; ++i) list += (i == 1 ? "$" : ", $") + std::to_string(i);
  return list;
}

std::vector<std::size_t> all_columns(Table const& table) {
  std::vector<std::size_t> all(table.columns.size());
  for (std::size_t i = 0; i < all.size(); ++i) all[i] = i;
  return all;
}

// The rows behind `last` in the order of the primary key; the first ones if it is empty.
Task<Result<std::vector<Cells>>> read_batch(Session& session, Table const& table,
                                            Cells const& last) {
  auto const key = table.key();
  auto sql = "SELECT " + list_of(table, all_columns(table)) + " FROM " + identifier(table.name);
  std::vector<Value> values;
  if (!last.empty()) {
    sql += " WHERE (" + list_of(table, key) + ") > (" + marks(key.size()) + ")";
    for (auto const i : key) values.push_back(last[i].value());
  }
  sql += " ORDER BY " + list_of(table, key) + " LIMIT " + std::to_string(kBatchRows);
  std::vector<Cells> rows;
  auto const done = co_await session.query(sql, values, [&](Row const& row) {
    auto& cells = rows.emplace_back();
    for (std::size_t i = 0; i < table.columns.size(); ++i) {
      cells.push_back(read_cell(row, static_cast<int>(i), table.columns[i].kind));
    }
  });
  if (!done) co_return std::unexpected(done.error());
  co_return rows;
}

Task<Result<void>> write_batch(Store& to, Table const& table, std::vector<Cells> const& rows) {
  auto const sql = "INSERT INTO " + identifier(table.name) + " (" +
                   list_of(table, all_columns(table)) + ") VALUES (" + marks(table.columns.size()) +
                   ")";
  auto write = [&](Transaction& transaction) -> Task<Result<void>> {
    std::vector<Value> values;
    for (auto const& row : rows) {
      values.clear();
      for (auto const& cell : row) values.push_back(cell.value());
      auto const done = co_await transaction.execute(sql, values);
      if (!done) co_return std::unexpected(done.error());
    }
    co_return {};
  };
  co_return co_await to.write(std::move(write));
}

// Calls `take` with every batch of a table.
template <class Take>
Task<Result<void>> for_each_batch(Store& from, Table const& table, Take take) {
  Cells last;
  for (;;) {
    auto read = [&](Session& session) { return read_batch(session, table, last); };
    auto rows = co_await from.read(ReadCost::scan, read);
    if (!rows) co_return std::unexpected(rows.error());
    if (rows->empty()) co_return {};
    if (auto taken = co_await take(*rows); !taken) co_return taken;
    last = std::move(rows->back());
    if (std::ssize(*rows) < kBatchRows) co_return {};
  }
}

Task<Result<std::int64_t>> number(Store& store, std::string sql) {
  auto read = [&](Session& session) -> Task<Result<std::int64_t>> {
    std::int64_t found = 0;
    auto const done =
        co_await session.query(sql, {}, [&](Row const& row) { found = row.integer(0); });
    if (!done) co_return done;
    co_return found;
  };
  co_return co_await store.read(ReadCost::scan, read);
}

// ---- Ids that are never given twice ----------------------------------------------------------

// The column that gets its value by itself; nothing for a table that has none.
std::optional<std::string> counted_column(Table const& table) {
  auto const key = table.key();
  auto const& column = table.columns[key.front()];
  if (key.size() > 1 || column.kind != Value::Kind::integer) return std::nullopt;
  return column.name;
}

Task<Result<std::int64_t>> highest_given(Store& store, Table const& table) {
  if (store.database().dialect() == Dialect::sqlite) {
    co_return co_await number(
        store,
        "SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = '" + table.name + "'");
  }
  if (table.name == "events") co_return co_await number(store, "SELECT next_event_id() - 1");
  co_return co_await number(store,
                            fmt::format("SELECT coalesce(pg_sequence_last_value(CAST("
                                        "pg_get_serial_sequence('{}', '{}') AS REGCLASS)), 0)",
                                        identifier(table.name), *counted_column(table)));
}

Task<Result<void>> note_highest_given(Store& store, Table const& table, std::int64_t id) {
  std::vector<std::string> statements;
  if (store.database().dialect() == Dialect::sqlite) {
    statements = {
        "DELETE FROM sqlite_sequence WHERE name = '" + table.name + "'",
        fmt::format("INSERT INTO sqlite_sequence (name, seq) VALUES ('{}', {})", table.name, id)};
  } else if (table.name == "events") {
    statements = {fmt::format("UPDATE events_removed SET id = {}", id)};
  } else {
    statements = {fmt::format("SELECT setval(pg_get_serial_sequence('{}', '{}'), {})",
                              identifier(table.name), *counted_column(table), id)};
  }
  auto write = [&](Transaction& transaction) -> Task<Result<void>> {
    for (auto const& sql : statements) {
      auto const done = co_await transaction.execute(sql);
      if (!done) co_return std::unexpected(done.error());
    }
    co_return {};
  };
  co_return co_await store.write(std::move(write));
}

// ---- One table after the other ---------------------------------------------------------------

Task<Result<void>> check_ages(Store& from, Store& to, Timestamp began) {
  auto const sql = "SELECT min(applied_at) FROM schema_migrations";
  auto const source = co_await number(from, sql);
  if (!source) co_return std::unexpected(source.error());
  if (*source >= began.micros) {
    co_return fail(ErrorCode::invalid, "The source was empty; there is nothing to copy");
  }
  auto const target = co_await number(to, sql);
  if (!target) co_return std::unexpected(target.error());
  if (*target < began.micros) {
    co_return fail(ErrorCode::invalid, "The target is not empty; name a new database");
  }
  co_return {};
}

// What the migrations filled in: the source has its own.
Task<Result<void>> clear(Store& to, std::vector<Table> const& tables) {
  auto write = [&](Transaction& transaction) -> Task<Result<void>> {
    for (auto table = tables.rbegin(); table != tables.rend(); ++table) {
      auto const done = co_await transaction.execute("DELETE FROM " + identifier(table->name));
      if (!done) co_return std::unexpected(done.error());
    }
    co_return {};
  };
  co_return co_await to.write(std::move(write));
}

Task<Result<CopiedTable>> copy_table(Store& from, Store& to, Table const& table,
                                     CopyProgress progress) {
  Checksum sent;
  auto const copied = co_await for_each_batch(
      from, table, [&](std::vector<Cells> const& rows) -> Task<Result<void>> {
        for (auto const& row : rows) sent.add(row);
        auto written = co_await write_batch(to, table, rows);
        progress(table.name, sent.rows());
        co_return written;
      });
  if (!copied) co_return std::unexpected(copied.error());
  if (counted_column(table)) {
    auto const highest = co_await highest_given(from, table);
    if (!highest) co_return std::unexpected(highest.error());
    if (*highest > 0) {
      auto const noted = co_await note_highest_given(to, table, *highest);
      if (!noted) co_return std::unexpected(noted.error());
    }
  }
  Checksum arrived;
  auto const read =
      co_await for_each_batch(to, table, [&](std::vector<Cells> const& rows) -> Task<Result<void>> {
        for (auto const& row : rows) arrived.add(row);
        co_return {};
      });
  if (!read) co_return std::unexpected(read.error());
  if (!(sent == arrived)) {
    co_return fail(
        ErrorCode::invalid,
        fmt::format("The table {} did not arrive whole: {} rows with checksum {} were"
                    " sent, {} with {} are there",
                    table.name, sent.rows(), sent.text(), arrived.rows(), arrived.text()));
  }
  co_return CopiedTable{table.name, sent.rows(), sent.text()};
}

}  // namespace

Task<Result<std::vector<CopiedTable>>> copy_database(Store& from, Store& to, Timestamp began,
                                                     CopyProgress progress) {
  if (auto good = co_await check_ages(from, to, began); !good) {
    co_return std::unexpected(good.error());
  }
  auto const tables = co_await from.read(ReadCost::scan, read_tables);
  if (!tables) co_return std::unexpected(tables.error());
  constexpr auto kNewest = "SELECT coalesce(max(id), 0) FROM events";
  auto const before = co_await number(from, kNewest);
  if (!before) co_return std::unexpected(before.error());
  if (auto cleared = co_await clear(to, *tables); !cleared) {
    co_return std::unexpected(cleared.error());
  }
  std::vector<CopiedTable> copied;
  for (auto const& table : *tables) {
    auto one = co_await copy_table(from, to, table, progress);
    if (!one) co_return std::unexpected(std::move(one.error()).with_context(table.name));
    copied.push_back(std::move(*one));
  }
  auto const after = co_await number(from, kNewest);
  if (!after) co_return std::unexpected(after.error());
  if (*after != *before) {
    co_return fail(ErrorCode::invalid,
                   "Somebody wrote to the source meanwhile; stop the server and copy into a new"
                   " database");
  }
  co_return copied;
}

}  // namespace subforge::store
