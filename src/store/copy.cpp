#include "store/copy.hpp"

#include <utility>

#include <fmt/format.h>

#include "store/tables.hpp"

namespace subforge::store {
namespace {

Task<Result<std::int64_t>> number(Store& store, std::string sql) {
  auto read = [&](Session& session) { return read_number(session, sql); };
  co_return co_await store.read(ReadCost::scan, read);
}

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

Task<Result<CopiedTable>> copy_table(Store& from, Store& to, Table const& table,
                                     CopyProgress progress) {
  RowsChecksum sent;
  auto const copied = co_await for_each_rows(
      from, table, [&](std::vector<Cells> const& rows) -> Task<Result<void>> {
        for (auto const& row : rows) sent.add(row);
        auto written = co_await insert_rows(to, table, rows);
        progress(table.name, sent.rows());
        co_return written;
      });
  if (!copied) co_return std::unexpected(copied.error());
  if (has_given_ids(table)) {
    auto read = [&](Session& session) { return highest_id_given(session, table); };
    auto const highest = co_await from.read(ReadCost::scan, read);
    if (!highest) co_return std::unexpected(highest.error());
    if (*highest > 0) {
      auto const noted = co_await note_highest_id(to, table, *highest);
      if (!noted) co_return std::unexpected(noted.error());
    }
  }
  RowsChecksum arrived;
  auto const read =
      co_await for_each_rows(to, table, [&](std::vector<Cells> const& rows) -> Task<Result<void>> {
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
  if (auto cleared = co_await clear_tables(to, *tables); !cleared) {
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
