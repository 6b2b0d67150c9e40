#include "store/sqlite/sqlite_database.hpp"

#include "store/database_contract_test.hpp"
#include "store/temporary_folder_test.hpp"

namespace subforge::store {
namespace {

class SqlitePlace final : public DatabasePlace {
 public:
  std::unique_ptr<Database> open(DatabaseLimits const& limits) override {
    SqliteDatabaseOptions options;
    options.connection.path = (folder_.path() / "test.db").string();
    options.writer.queue_jobs_max = limits.write_queue_max;
    options.scan_threads = limits.scan_threads;
    options.scan_queue_max = limits.scan_queue_max;
    return std::make_unique<SqliteDatabase>(options, quiet_logger());
  }
  [[nodiscard]] std::string blob_type() const override { return "BLOB"; }

 private:
  TemporaryFolder folder_;
};

DatabaseAdapter sqlite() {
  return {"sqlite", [] { return std::make_unique<SqlitePlace>(); }};
}
std::string name_of(testing::TestParamInfo<DatabaseAdapter> const& info) { return info.param.name; }

}  // namespace

INSTANTIATE_TEST_SUITE_P(Adapters, DatabaseContract, testing::Values(sqlite()), name_of);
INSTANTIATE_TEST_SUITE_P(Adapters, EventLogContract, testing::Values(sqlite()), name_of);

}  // namespace subforge::store
