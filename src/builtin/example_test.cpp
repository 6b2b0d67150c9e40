// The example of docs/background-tasks.md, which has it word for word.
#include "builtin/arguments.hpp"
#include "builtin/worker_fixture_test.hpp"
#include "store/counts.hpp"

namespace subforge::builtin {
namespace {

// ("name"): counts the agents of that name and notes how many there were.
Task<jobs::Outcome> count_agents(jobs::JobContext& context) {
  auto const name = Arguments(context).text(0, "name");
  if (!name) co_return jobs::failed_for_good(name.error().message);
  std::int64_t count = 0;
  auto const read = [&](store::Session& session) -> Task<Result<std::int64_t>> {
    co_return co_await session.query("SELECT count(*) FROM agents WHERE name = $1", {*name},
                                     [&](store::Row const& row) { count = row.integer(0); });
  };
  auto const done = co_await context.store().read(store::ReadCost::scan, read);
  if (!done) co_return jobs::failed(done.error().message);  // Tried again, as often as it may.
  context.progress(50, "counted");
  context.log(LogLevel::info, "There are " + std::to_string(count));
  auto const note = [count](store::Transaction& transaction) -> Task<Result<void>> {
    store::CountChanges counts;
    counts.add("example", count);
    co_return co_await counts.apply(transaction);
  };
  co_return jobs::succeeded_with(std::to_string(count), note);
}

void add_example(jobs::Registry& registry) {
  registry.add({.name = "count_agents",
                .handler = [](jobs::JobContext& context) { return count_agents(context); },
                .doc = "How many agents have a name.",
                .automatic_retries = 2,
                .soft_limit_seconds = 60,
                .hard_limit_seconds = 90,
                .concurrency = 1});
}

class ExampleTest : public WorkerFixture {};

TEST_F(ExampleTest, RunsAsThePageTells) {
  add_example(registry_);
  auto const insert = [](store::Transaction& transaction) -> Task<Result<void>> {
    store::CountChanges counts;
    counts.add("example", 1);
    co_return co_await counts.apply(transaction);
  };
  ASSERT_TRUE(run(store_.store().write(insert)));
  auto const id = enqueue({.name = "count_agents", .args = R"(["Ann"])"});
  auto const job = ended(id);
  EXPECT_EQ(job.status, jobs::JobStatus::success) << job.error.value_or("");
  EXPECT_EQ(job.result.text, "0");
  EXPECT_TRUE(until([&] { return lines(id).size() == 1; }));
  EXPECT_EQ(lines(id).front(), "INFO There are 0");
  EXPECT_EQ(ended({.name = "count_agents"}).error, "The argument name is missing");
}

}  // namespace
}  // namespace subforge::builtin
