// The database port on PostgreSQL: one writer thread that groups commits, and for each event loop a
// few connections to read with, all in libpq's pipeline mode.
#pragma once

#include <memory>
#include <mutex>
#include <vector>

#include "base/log.hpp"
#include "store/database.hpp"
#include "store/migrations.hpp"
#include "store/postgres/postgres_pulse.hpp"
#include "store/postgres/postgres_readers.hpp"
#include "store/postgres/postgres_state.hpp"
#include "store/postgres/postgres_writer.hpp"

namespace subforge::store {

struct PostgresDatabaseOptions {
  PostgresOptions server;
  PostgresWriterOptions writer;
  PostgresReaderLimits readers;
  int schema_version_max = kAnySchemaVersion;  // Where migrate() ends.
};

class PostgresDatabase final : public Database {
 public:
  // Versions below are not tested, and lack what migrations may use.
  static constexpr int kServerVersionMin = 14;

  PostgresDatabase(PostgresDatabaseOptions options, Logger logger);
  ~PostgresDatabase() override;

  // Waits for a server that is just starting, for connect_timeout_ms at most.
  Result<void> migrate() override;
  Result<void> start(CommitListener& listener) override;
  void stop() override;
  Task<Result<void>> read(ReadCost cost, ReadWork work) override;
  [[nodiscard]] Session* inline_reader() override;
  [[nodiscard]] bool submit(WriteJob& job) override;
  [[nodiscard]] bool is_shared() const override { return true; }
  [[nodiscard]] Dialect dialect() const override { return Dialect::postgres; }
  [[nodiscard]] std::string_view name() const override { return "postgresql"; }
  [[nodiscard]] DatabaseHealth health() const override { return state_.health(); }

 private:
  [[nodiscard]] PostgresReaders* readers_of(EventLoop& loop);

  PostgresDatabaseOptions const options_;
  Logger logger_;
  PostgresState state_;
  std::unique_ptr<PostgresConnection> migrated_;  // From migrate() to start(), which gives it away.
  std::unique_ptr<PostgresWriter> writer_;
  std::unique_ptr<PostgresPulse> pulse_;

  std::mutex readers_mutex_;
  std::vector<std::unique_ptr<PostgresReaders>> readers_;
  bool reading_ = false;
};

}  // namespace subforge::store
