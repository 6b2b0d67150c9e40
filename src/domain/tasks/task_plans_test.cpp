// How SQLite finds the pages and totals of lists of tasks: by an index that has them in order, so
// that a page costs the same whatever the number of tasks.
#include <functional>
#include <string>

#include <gtest/gtest.h>

#include "store/listing.hpp"
#include "store/temporary_folder_test.hpp"
#include "store/test_store_test.hpp"

namespace subforge::domain {
namespace {

using store::Where;

struct Case {
  std::string name;
  std::function<void(Where&)> filter;
  std::string index;
};

class TaskPlansTest : public testing::Test {
 protected:
  std::string plan(std::string const& sql, Where const& where) {
    std::string steps;
    auto read = [&](store::Session& session) -> Task<Result<std::int64_t>> {
      co_return co_await session.query(
          "EXPLAIN QUERY PLAN " + sql, where.values(),
          [&](store::Row const& row) { steps.append(row.text(3)) += '\n'; });
    };
    auto const done = store_.run(store_.store().read(store::ReadCost::scan, read));
    if (!done) throw std::runtime_error(done.error().context);
    return steps;
  }

  store::TemporaryFolder folder_;
  store::TestStore store_{folder_.path()};
};

TEST_F(TaskPlansTest, EachFilterHasAnIndexInTheOrderOfTheList) {
  Uuid const id = Uuid::random();
  auto const equals = [](std::string column, std::string value) {
    return [=](Where& where) { where.equals(column, value); };
  };
  Case const cases[] = {
      {"status", equals("status", "pending"), "tasks_by_status "},
      {"priority", equals("priority", "high"), "tasks_by_priority "},
      {"agent", [&](Where& w) { w.equals("assigned_agent_id", store::Value(id)); },
       "tasks_by_agent "},
      {"agent's name", equals("assigned_agent_name", "Ann"), "tasks_by_agent_name "},
      {"workflow", [&](Where& w) { w.equals("workflow_id", store::Value(id)); },
       "tasks_by_workflow "},
      {"type", equals("task_type", "docs"), "tasks_by_type "},
      {"blocked", [](Where& w) { w.both("is_blocked = 1"); }, "tasks_blocked"},
      {"urgent", [](Where& w) { w.both("is_urgent = 1"); }, "tasks_urgent"},
      {"status and priority",
       [](Where& w) {
         w.equals("status", std::string("pending"));
         w.equals("priority", std::string("high"));
       },
       "tasks_by_status_and_priority "},
      {"agent and status",
       [&](Where& w) {
         w.equals("assigned_agent_id", store::Value(id));
         w.equals("status", std::string("pending"));
       },
       "tasks_of_agents "},
  };
  for (auto const& one : cases) {
    for (bool const deep : {false, true}) {
      Where where;
      one.filter(where);
      store::PageBounds bounds;
      if (deep) bounds.after = store::Position{.seq = 500};
      auto const sql = page_sql("id, title", "tasks", {.descending = true}, where, bounds);
      auto const steps = plan(sql, where);
      EXPECT_NE(steps.find("INDEX " + one.index), std::string::npos) << one.name << ": " << steps;
      EXPECT_EQ(steps.find("B-TREE"), std::string::npos) << one.name << ": " << steps;
    }
  }
}

TEST_F(TaskPlansTest, ADeepPageOfAllTasksIsFoundByItsPosition) {
  Where where;
  store::PageBounds const bounds{.after = store::Position{.seq = 500}, .until = {}};
  auto const sql = page_sql("id, title", "tasks", {.descending = true}, where, bounds);
  EXPECT_EQ(plan(sql, where), "SEARCH tasks USING INTEGER PRIMARY KEY (rowid<?)\n");
}

}  // namespace
}  // namespace subforge::domain
