#include <gtest/gtest.h>

#include "store/postgres/cluster_test.hpp"
#include "store/postgres/postgres_schema.hpp"

namespace subforge::store {
namespace {

TEST(PostgresMigrations, EachRunsOnARealServer) {
  auto& cluster = TestCluster::shared();
  auto const url = cluster.create_database();
  cluster.run(url, std::string(postgres_functions()));
  for (auto const& migration : migrations()) {
    auto const text = postgres_text(migration);
    ASSERT_TRUE(text) << text.error().context;
    ASSERT_NO_THROW(cluster.run(url, *text)) << migration.version << " " << migration.name;
  }
  cluster.run(url, std::string(postgres_functions()));  // As at the next start.
}

}  // namespace
}  // namespace subforge::store
