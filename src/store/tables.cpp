#include "store/tables.hpp"

#include <algorithm>
#include <array>
#include <bit>

#include <fmt/format.h>
#include <openssl/sha.h>

namespace subforge::store {
namespace {

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

std::optional<Value::Kind> kind_of_column(std::string_view type) {
  if (type == "INTEGER" || type == "bigint") return Value::Kind::integer;
  if (type == "REAL" || type == "double precision") return Value::Kind::real;
  if (type == "TEXT" || type == "text") return Value::Kind::text;
  if (type == "BLOB" || type == "bytea") return Value::Kind::blob;
  return std::nullopt;
}

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

// Of the next rows of PostgreSQL's, those before which there are fewer bytes than a batch may have.
std::string count_of_those_that_fit(Table const& table, std::string const& keys,
                                    std::string const& rest) {
  std::string bytes = "CAST(0 AS BIGINT)";
  for (auto const& column : table.columns) {
    if (column.kind != Value::Kind::text && column.kind != Value::Kind::blob) continue;
    bytes += " + coalesce(octet_length(" + identifier(column.name) + "), 0)";
  }
  return fmt::format(
      "SELECT count(*) FROM (SELECT sum(row_bytes) OVER (ORDER BY {0}) - row_bytes AS before FROM"
      " (SELECT {0}, {1} AS row_bytes{2}{3}) AS next) AS sized WHERE before < {4}",
      keys, bytes, rest, kTableBatchRows, kTableBatchBytes);
}

// The column that gets its value by itself; nothing for a table that has none.
std::optional<std::string> counted_column(Table const& table) {
  auto const key = table.key();
  auto const& column = table.columns[key.front()];
  if (key.size() > 1 || column.kind != Value::Kind::integer) return std::nullopt;
  return column.name;
}

}  // namespace

std::vector<std::size_t> Table::key() const {
  std::vector<std::size_t> key;
  for (std::size_t i = 0; i < columns.size(); ++i) {
    if (columns[i].key > 0) key.push_back(i);
  }
  std::ranges::sort(key, {}, [&](std::size_t i) { return columns[i].key; });
  return key;
}

Value Cell::value() const {
  switch (kind) {
    case Value::Kind::integer: return integer;
    case Value::Kind::real: return real;
    case Value::Kind::text: return bytes;
    case Value::Kind::blob: return Value::blob(bytes);
    case Value::Kind::null: break;
  }
  return nullptr;
}

void RowsChecksum::add(Cells const& row) {
  line_.clear();
  for (auto const& cell : row) {
    line_.push_back(static_cast<char>(cell.kind));
    put(static_cast<std::uint64_t>(cell.integer));
    put(std::bit_cast<std::uint64_t>(cell.real));
    put(cell.bytes.size());
    line_ += cell.bytes;
  }
  static_assert(sizeof(sum_) == SHA256_DIGEST_LENGTH);
  decltype(sum_) hash{};
  ::SHA256(reinterpret_cast<unsigned char const*>(line_.data()), line_.size(),
           reinterpret_cast<unsigned char*>(hash.data()));
  for (std::size_t i = 0; i < hash.size(); ++i) sum_[i] += hash[i];
  ++rows_;
}

std::string RowsChecksum::text() const { return fmt::format("{:016x}{:016x}", sum_[0], sum_[1]); }

void RowsChecksum::put(std::uint64_t number) {
  std::array<char, 8> bytes;  // The lowest first, whatever the processor.
  for (auto& byte : bytes) {
    byte = static_cast<char>(number);
    number >>= 8;
  }
  line_.append(bytes.data(), bytes.size());
}

Task<Result<std::vector<Table>>> read_tables(Session& session) {
  std::vector<Table> tables;
  std::string unknown;
  auto const sql = session.dialect() == Dialect::sqlite ? kSqliteColumns : kPostgresColumns;
  auto const done = co_await session.query(sql, {}, [&](Row const& row) {
    if (tables.empty() || tables.back().name != row.text(0)) {
      tables.push_back({std::string(row.text(0)), {}});
    }
    auto const kind = kind_of_column(row.text(2));
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

Task<Result<RowBatch>> read_rows(Session& session, Table const& table, Cells const& last) {
  auto const key = table.key();
  auto const keys = list_of(table, key);
  std::string behind;
  std::vector<Value> values;
  if (!last.empty()) {
    behind = " WHERE (" + keys + ") > (" + marks(key.size()) + ")";
    for (auto const i : key) values.push_back(last[i].value());
  }
  auto const rest = " FROM " + identifier(table.name) + behind + " ORDER BY " + keys + " LIMIT ";
  auto most = kTableBatchRows;
  // SQLite reads row by row; what PostgreSQL answers is here before the first row is seen.
  if (session.dialect() == Dialect::postgres) {
    auto const fit =
        co_await read_number(session, count_of_those_that_fit(table, keys, rest), values);
    if (!fit) co_return std::unexpected(fit.error());
    most = *fit;
  }
  RowBatch batch;
  if (most == 0) co_return batch;
  auto const sql = "SELECT " + list_of(table, all_columns(table)) + rest + std::to_string(most);
  std::size_t bytes = 0;
  std::int64_t seen = 0;
  auto const done = co_await session.query(sql, values, [&](Row const& row) {
    ++seen;
    if (bytes >= kTableBatchBytes) return;
    auto& cells = batch.rows.emplace_back();
    for (std::size_t i = 0; i < table.columns.size(); ++i) {
      cells.push_back(read_cell(row, static_cast<int>(i), table.columns[i].kind));
      bytes += cells.back().bytes.size();
    }
  });
  if (!done) co_return std::unexpected(done.error());
  batch.more = seen == kTableBatchRows || bytes >= kTableBatchBytes;
  co_return batch;
}

Task<Result<void>> insert_rows(Store& to, Table const& table, std::vector<Cells> const& rows) {
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

Task<Result<void>> clear_tables(Store& to, std::vector<Table> const& tables) {
  auto write = [&](Transaction& transaction) -> Task<Result<void>> {
    for (auto table = tables.rbegin(); table != tables.rend(); ++table) {
      auto const done = co_await transaction.execute("DELETE FROM " + identifier(table->name));
      if (!done) co_return std::unexpected(done.error());
    }
    co_return {};
  };
  co_return co_await to.write(std::move(write));
}

Task<Result<std::int64_t>> read_number(Session& session, std::string sql,
                                       std::span<Value const> values) {
  std::int64_t found = 0;
  auto const done =
      co_await session.query(sql, values, [&](Row const& row) { found = row.integer(0); });
  if (!done) co_return done;
  co_return found;
}

bool has_given_ids(Table const& table) { return counted_column(table).has_value(); }

Task<Result<std::int64_t>> highest_id_given(Session& session, Table const& table) {
  if (session.dialect() == Dialect::sqlite) {
    // A table without AUTOINCREMENT has no note of it, and needs one where ids come from a
    // sequence.
    co_return co_await read_number(
        session,
        fmt::format("SELECT max(coalesce((SELECT seq FROM sqlite_sequence WHERE name ="
                    " '{}'), 0), coalesce((SELECT max({}) FROM {}), 0))",
                    table.name, identifier(*counted_column(table)), identifier(table.name)));
  }
  if (table.name == "events") {
    co_return co_await read_number(session, "SELECT next_event_id() - 1");
  }
  co_return co_await read_number(session,
                                 fmt::format("SELECT coalesce(pg_sequence_last_value(CAST("
                                             "pg_get_serial_sequence('{}', '{}') AS REGCLASS)), 0)",
                                             identifier(table.name), *counted_column(table)));
}

Task<Result<void>> note_highest_id(Store& to, Table const& table, std::int64_t id) {
  std::vector<std::string> statements;
  if (to.database().dialect() == Dialect::sqlite) {
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
  co_return co_await to.write(std::move(write));
}

}  // namespace subforge::store
