#include "store/postgres/postgres_database.hpp"

#include "store/database_contract_test.hpp"
#include "store/postgres/cluster_test.hpp"

namespace subforge::store {
namespace {

class PostgresPlace final : public DatabasePlace {
 public:
  std::unique_ptr<Database> open(DatabaseLimits const& limits) override {
    PostgresDatabaseOptions options;
    options.server.url = url_;
    options.writer.queue_jobs_max = limits.write_queue_max;
    options.readers.scan_connections = limits.scan_threads;
    options.readers.scan_queue_max = limits.scan_queue_max;
    return std::make_unique<PostgresDatabase>(options, quiet_logger());
  }
  [[nodiscard]] std::string blob_type() const override { return "BYTEA"; }

 private:
  std::string url_ = TestCluster::shared().create_database();
};

DatabaseAdapter postgres() {
  return {"postgres", [] { return std::make_unique<PostgresPlace>(); }};
}
std::string name_of(testing::TestParamInfo<DatabaseAdapter> const& info) { return info.param.name; }

INSTANTIATE_TEST_SUITE_P(Postgres, DatabaseContract, testing::Values(postgres()), name_of);
INSTANTIATE_TEST_SUITE_P(Postgres, EventLogContract, testing::Values(postgres()), name_of);

}  // namespace
}  // namespace subforge::store
