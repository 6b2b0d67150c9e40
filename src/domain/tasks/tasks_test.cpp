// Tasks on a real store: what a change to one brings with it for others, and random histories after
// which agents, counts and dependents still say what the tasks say.
#include "domain/tasks/tasks.hpp"

#include <algorithm>
#include <array>
#include <cctype>
#include <map>
#include <random>
#include <stdexcept>
#include <string_view>

#include <boost/json/parse.hpp>
#include <gtest/gtest.h>

#include "base/test_size_test.hpp"
#include "domain/agents/agents.hpp"
#include "domain/system/census.hpp"
#include "store/temporary_folder_test.hpp"
#include "store/test_store_test.hpp"

namespace subforge::domain {
namespace {

using enum TaskStatus;
using describe::Api;

constexpr TaskStatus kStatuses[] = {pending, in_progress, completed, failed, blocked, cancelled};

std::string upper_case(std::string text) {
  std::ranges::transform(text, text.begin(), [](unsigned char c) { return std::toupper(c); });
  return text;
}

class TasksTest : public testing::Test {
 protected:
  template <class T>
  T good(Task<Result<T>> task) {
    auto outcome = store_.run(std::move(task));
    if (!outcome) throw std::runtime_error(outcome.error().message + outcome.error().context);
    if constexpr (!std::is_void_v<T>) return std::move(*outcome);
  }
  template <class T>
  ErrorCode failure(Task<Result<T>> task) {
    auto const outcome = store_.run(std::move(task));
    if (outcome) throw std::runtime_error("no error");
    return outcome.error().code;
  }

  Uuid agent(std::string name) {
    Agent draft;
    draft.name = std::move(name);
    draft.agent_type = "backend";
    return good(agents_.create(std::move(draft), NameRule::any, actor_)).id;
  }
  Uuid create(std::optional<Uuid> agent = {}, TaskStatus status = pending) {
    TaskRecord draft;
    draft.title = "Task " + std::to_string(++made_);
    draft.status = status;
    draft.assigned_agent_id = agent;
    return good(tasks_.create(std::move(draft), actor_)).id;
  }
  TaskRecord task(Uuid id) { return good(tasks_.get(id)); }
  Agent agent_of(Uuid id) { return good(agents_.get(id)); }
  TaskRecord set(Uuid id, TaskStatus status) {
    return good(tasks_.set_status(id, {status, {}, {}}, actor_));
  }
  TaskRecord depend(Uuid id, Uuid on) {
    return good(tasks_.add_dependency(id, on.to_string(), actor_));
  }

  store::TemporaryFolder folder_;
  store::TestStore store_{folder_.path()};
  Agents agents_{store_.store()};
  Tasks tasks_{store_.store()};
  Actor actor_{"ann"};
  int made_ = 0;
};

TEST_F(TasksTest, AnAssignedTaskMakesItsAgentBusyUntilItIsCompleted) {
  auto const ann = agent("Ann");
  auto const id = create(ann);
  EXPECT_EQ(agent_of(ann).status, AgentStatus::busy);
  EXPECT_EQ(agent_of(ann).current_task_id, id);
  EXPECT_TRUE(set(id, in_progress).started_at);
  auto const done = set(id, completed);
  EXPECT_TRUE(done.completed_at);
  EXPECT_EQ(done.progress_percentage, 100);
  auto const free = agent_of(ann);
  EXPECT_EQ(free.status, AgentStatus::idle);
  EXPECT_FALSE(free.current_task_id);
  EXPECT_EQ(free.tasks_completed, 1);
  EXPECT_EQ(free.success_rate, 100);
}

// The rules of docs/api.md, "Agents and their tasks".
TEST_F(TasksTest, WhatAnAgentSaysOfItselfStandsUntilItsTasksChange) {
  auto const ann = agent("Ann");
  auto const first = create(ann);
  auto const second = create(ann);
  auto const says = [&](StatusBody body) {
    good(agents_.set_status(ann, std::move(body), actor_));
  };
  says({.status = AgentStatus::idle, .current_task_id = {}, .current_task_title = {}});
  EXPECT_EQ(agent_of(ann).status, AgentStatus::idle);
  EXPECT_EQ(agent_of(ann).current_task_id, first) << "what is absent stays";
  set(second, in_progress);
  EXPECT_EQ(agent_of(ann).status, AgentStatus::busy);
  EXPECT_EQ(agent_of(ann).current_task_id, second);
  says({.status = AgentStatus::error, .current_task_id = {}, .current_task_title = {}});
  set(second, completed);
  EXPECT_EQ(agent_of(ann).status, AgentStatus::error) << "no task mends an error";
  EXPECT_EQ(agent_of(ann).current_task_id, first);
  // Busy with nothing: the end of its last task frees it.
  says({.status = AgentStatus::busy,
        .current_task_id = {true, std::nullopt},
        .current_task_title = {true, std::nullopt}});
  set(first, completed);
  EXPECT_EQ(agent_of(ann).status, AgentStatus::idle);
  // Busy with something of its own: it goes on with that.
  auto const third = create(ann);
  says({.status = AgentStatus::busy,
        .current_task_id = {true, std::nullopt},
        .current_task_title = {true, "Dig"}});
  set(third, completed);
  EXPECT_EQ(agent_of(ann).status, AgentStatus::busy);
  EXPECT_EQ(agent_of(ann).current_task_title, "Dig");
}

TEST_F(TasksTest, WhatTasksDidIsAddedToTheBaseThatAClientSet) {
  auto const ann = agent("Ann");
  MetricsBody base;
  base.tasks_completed = 40;
  base.tasks_failed = 9;
  good(agents_.set_metrics(ann, base, actor_));
  set(create(ann), failed);
  EXPECT_EQ(agent_of(ann).tasks_completed, 40);
  EXPECT_EQ(agent_of(ann).tasks_failed, 10);
  EXPECT_EQ(agent_of(ann).success_rate, 80);
}

TEST_F(TasksTest, UnknownAgentsAndDependenciesAreRefused) {
  auto const id = create();
  auto const nobody = Uuid::random();
  TaskRecord draft;
  draft.title = "Nobody's";
  draft.assigned_agent_id = nobody;
  EXPECT_EQ(failure(tasks_.create(draft, actor_)), ErrorCode::bad_reference);
  EXPECT_EQ(failure(tasks_.assign(id, {nobody, {}}, actor_)), ErrorCode::bad_reference);
  EXPECT_EQ(failure(tasks_.add_dependency(id, nobody.to_string(), actor_)),
            ErrorCode::bad_reference);
  EXPECT_EQ(failure(tasks_.add_dependency(id, "not an id", actor_)), ErrorCode::bad_reference);
  EXPECT_EQ(failure(tasks_.get(nobody)), ErrorCode::not_found);
  EXPECT_EQ(good(tasks_.summary()).total, 1);
}

TEST_F(TasksTest, ACycleIsAConflictAndChangesNothing) {
  auto const a = create();
  auto const b = create();
  auto const c = create();
  depend(a, b);
  depend(b, c);
  EXPECT_EQ(failure(tasks_.add_dependency(c, a.to_string(), actor_)), ErrorCode::conflict);
  EXPECT_EQ(failure(tasks_.add_dependency(a, a.to_string(), actor_)), ErrorCode::conflict);
  EXPECT_TRUE(task(c).dependencies.empty());
  EXPECT_TRUE(task(a).dependents.empty());
}

TEST_F(TasksTest, OneIdInTwoSpellingsIsOneDependency) {
  auto const a = create();
  auto const b = create();
  TaskRecord draft;
  draft.title = "Twice";
  draft.dependencies = {{a.to_string()}, {upper_case(a.to_string())}, {upper_case(b.to_string())}};
  auto const id = good(tasks_.create(std::move(draft), actor_)).id;
  EXPECT_EQ(task(id).dependencies.size(), 2U);
  good(tasks_.remove_dependency(id, upper_case(a.to_string()), actor_));
  EXPECT_FALSE(task(id).depends_on(a.to_string()));
  EXPECT_TRUE(task(a).dependents.empty());
  EXPECT_TRUE(task(id).depends_on(b.to_string()));
  EXPECT_EQ(task(b).dependents, std::vector{id.to_string()});
}

TEST_F(TasksTest, ABulkUpdateChangesAllOrNothing) {
  auto const a = create();
  auto const b = create();
  boost::json::object const updates{{"status", "completed"}};
  EXPECT_EQ(failure(tasks_.bulk_update({{a, Uuid::random()}, updates}, actor_)),
            ErrorCode::bad_reference);
  EXPECT_EQ(failure(tasks_.bulk_update({{a, b, a}, updates}, actor_)), ErrorCode::bad_reference);
  EXPECT_EQ(good(tasks_.summary()).pending, 2);
  EXPECT_EQ(good(tasks_.bulk_update({{b, a}, updates}, actor_)).front().id, b);
  EXPECT_EQ(good(tasks_.summary()).completed, 2);
}

TEST_F(TasksTest, TheNameGoesWithTheAgentThatItWasOf) {
  auto const ann = agent("Ann");
  auto const update = [&](Uuid id, char const* body, Api api) {
    return good(tasks_.update(id, boost::json::parse(body), api, actor_));
  };
  auto const id = create(ann);
  EXPECT_FALSE(update(id, R"({"assigned_agent_id":null})", Api::v1).assigned_agent_name);
  auto const other = create(ann);
  auto const named =
      update(other, R"({"assigned_agent_id":null,"assigned_agent_name":"Somebody"})", Api::v1);
  EXPECT_EQ(named.assigned_agent_name, "Somebody");
  EXPECT_EQ(update(other, R"({"assigned_agent_id":null})", Api::v1).assigned_agent_name, "Somebody")
      << "it was not an agent's";
  auto const last = create(ann);
  boost::json::object const nobody{{"assigned_agent_id", nullptr}};
  EXPECT_FALSE(good(tasks_.bulk_update({{last}, nobody}, actor_)).front().assigned_agent_name);
}

TEST_F(TasksTest, WhatIsWrittenBackAsItWasReadKeepsItsAgent) {
  auto const ann = agent("Ann");
  auto const id = create();
  good(tasks_.assign(id, {ann, "Annie"}, actor_));
  boost::json::object const read{{"assigned_agent", upper_case(ann.to_string())}};
  EXPECT_EQ(good(tasks_.update(id, read, Api::v2, actor_)).assigned_agent_name, "Annie");
  good(agents_.remove(ann, actor_));
  EXPECT_EQ(good(tasks_.update(id, read, Api::v2, actor_)).assigned_agent_id, ann);
  boost::json::object const first{{"assigned_agent_id", ann.to_string()}};
  EXPECT_EQ(good(tasks_.update(id, first, Api::v1, actor_)).assigned_agent_name, "Annie");
  EXPECT_EQ(failure(tasks_.update(create(), first, Api::v1, actor_)), ErrorCode::bad_reference);
  EXPECT_EQ(failure(tasks_.update(create(), read, Api::v2, actor_)), ErrorCode::bad_reference);
}

TEST_F(TasksTest, AnEndCountsOnItsOwnDayHoweverTheTaskEndedBefore) {
  constexpr std::int64_t kDayUs = 86'400'000'000;
  using Days = std::map<std::int64_t, std::pair<std::int64_t, std::int64_t>>;
  auto const days = [&] {
    Days found;  // Counted from today; how many completed, and failed.
    auto const today = Timestamp::now().micros / kDayUs;
    auto read = [&](store::Session& session) -> Task<Result<std::int64_t>> {
      co_return co_await session.query(
          "SELECT day, completed, failed FROM task_days", {}, [&](store::Row const& row) {
            found[row.integer(0) - today] = {row.integer(1), row.integer(2)};
          });
    };
    good(store_.store().read(store::ReadCost::scan, read));
    return found;
  };
  auto const id = create();
  set(id, completed);
  auto age = [](store::Transaction& transaction) -> Task<Result<void>> {
    for (auto const* sql : {"UPDATE tasks SET completed_at = completed_at - 86400000000,"
                            " ended_at = ended_at - 86400000000,"
                            " updated_at = updated_at - 86400000000",
                            "UPDATE task_days SET day = day - 1"}) {
      auto const done = co_await transaction.execute(sql, {});
      if (!done) co_return std::unexpected(done.error());
    }
    co_return {};
  };
  good(store_.store().write(age));
  boost::json::object const title{{"title", "Renamed today"}};
  good(tasks_.update(id, title, Api::v1, actor_));
  EXPECT_EQ(days(), (Days{{-1, {1, 0}}}));
  set(id, pending);
  EXPECT_EQ(days(), Days{});
  set(id, failed);
  EXPECT_EQ(days(), (Days{{0, {0, 1}}}));
  good(store_.store().write(age));
  good(tasks_.update(id, title, Api::v1, actor_));
  EXPECT_EQ(days(), (Days{{-1, {0, 1}}})) << "a failed one, too";
  good(tasks_.update(id, boost::json::object{{"status", "completed"}}, Api::v1, actor_));
  EXPECT_EQ(days(), (Days{{0, {1, 0}}}));
}

// Says no to everything.
struct Refusing final : TaskWatcher {
  Task<Result<void>> task_changed_in(store::Transaction&, TaskRecord const*, TaskRecord const*,
                                     Actor const&) override {
    co_return fail(ErrorCode::conflict, "no");
  }
};

TEST_F(TasksTest, WhatAWatcherRefusesHasNotHappened) {
  auto const ann = agent("Ann");
  auto const id = create(ann);
  Refusing refusing;
  Tasks watched{store_.store()};
  watched.watch(refusing);
  EXPECT_EQ(failure(watched.set_status(id, {completed, {}, {}}, actor_)), ErrorCode::conflict);
  EXPECT_EQ(task(id).status, pending);
  EXPECT_EQ(agent_of(ann).current_task_id, id);
  EXPECT_EQ(agent_of(ann).tasks_completed, 0);
  EXPECT_EQ(good(tasks_.summary()).pending, 1);
}

// Plays random changes and compares all that is derived with the tasks themselves.
class RandomTasksTest : public TasksTest, public testing::WithParamInterface<unsigned> {
 protected:
  std::size_t below(std::size_t count) {
    return std::uniform_int_distribution<std::size_t>(0, count - 1)(random_);
  }
  template <class List>
  auto any(List const& list) {
    return list[below(std::size(list))];
  }

  void move() {
    if (ids_.empty() || below(6) == 0) {
      ids_.push_back(
          create(below(3) == 0 ? std::nullopt : std::optional(any(people_)), any(kStatuses)));
      return;
    }
    auto const id = any(ids_);
    switch (below(7)) {
      case 0:
      case 1: set(id, any(kStatuses)); break;
      case 2: good(tasks_.assign(id, {any(people_), {}}, actor_)); break;
      case 3: link(id, any(ids_)); break;
      case 4: {
        auto const percent = static_cast<double>(below(1001)) / 10;
        good(tasks_.set_progress(id, {percent, {}, {}}, actor_));
        break;
      }
      case 5: update(id); break;
      default: remove(id);
    }
  }
  void link(Uuid id, Uuid on) {
    if (below(3) == 0) {
      good(tasks_.remove_dependency(id, on.to_string(), actor_));
      return;
    }
    auto const done = store_.run(tasks_.add_dependency(id, on.to_string(), actor_));
    if (!done) EXPECT_EQ(done.error().code, ErrorCode::conflict);
  }
  void update(Uuid id) {
    boost::json::object body{{"is_blocked", below(2) == 0}, {"is_urgent", below(2) == 0}};
    if (below(2) == 0) body["status"] = describe::to_text(any(kStatuses));
    if (below(4) == 0) body["assigned_agent_id"] = nullptr;
    if (below(3) == 0) body["task_type"] = any(std::array{"", "docs", "review.deep"});
    if (below(3) == 0) body["actual_duration_minutes"] = std::int64_t{17} * ++made_;
    good(tasks_.update(id, std::move(body), Api::v1, actor_));
  }
  void remove(Uuid id) {
    auto const last = task(id);
    if (last.assigned_agent_id && last.status == completed) ++gone_[*last.assigned_agent_id].first;
    if (last.assigned_agent_id && last.status == failed) ++gone_[*last.assigned_agent_id].second;
    good(tasks_.remove(id, actor_));
    std::erase(ids_, id);
  }

  void check() {
    TaskFilter every;
    every.limit = kTaskCountMax;
    auto const page = good(tasks_.list(every));
    ASSERT_EQ(page.rows.size(), ids_.size());
    EXPECT_EQ(page.total, std::ssize(page.rows));
    check_counts(page.rows);
    check_figures(page.rows);
    check_days(page.rows);
    check_lists(page.rows);
    for (auto const& person : people_) check_agent(person, page.rows);
    for (auto const& one : page.rows) check_dependents(one, page.rows);
  }
  void check_counts(std::vector<TaskRecord> const& all) {
    auto const summary = good(tasks_.summary());
    double progress = 0;
    for (auto const& one : all) progress += one.progress_percentage;
    if (!all.empty()) {
      EXPECT_NEAR(summary.avg_progress, progress / static_cast<double>(all.size()), 1e-6);
    }
    EXPECT_EQ(summary.blocked, std::ranges::count(all, true, &TaskRecord::is_blocked));
    EXPECT_EQ(summary.urgent, std::ranges::count(all, true, &TaskRecord::is_urgent));
    for (auto const status : kStatuses) {
      TaskFilter filter;
      filter.status = status;
      EXPECT_EQ(good(tasks_.list(filter)).total,
                std::ranges::count(all, status, &TaskRecord::status));
      for (auto const& [priority, name] : names_of(TaskPriority{})) {
        filter.priority = priority;
        EXPECT_EQ(good(tasks_.list(filter)).total,
                  std::ranges::count_if(all, [&](TaskRecord const& one) {
                    return one.status == status && one.priority == priority;
                  }));
      }
    }
  }
  void check_lists(std::vector<TaskRecord> const& all) {
    for (auto const& person : people_) {
      TaskFilter filter;
      filter.assigned_agent_id = person;
      EXPECT_EQ(good(tasks_.list(filter)).total,
                std::ranges::count(all, filter.assigned_agent_id, &TaskRecord::assigned_agent_id));
      filter.status = completed;
      EXPECT_EQ(good(tasks_.list(filter)).total,
                std::ranges::count_if(all, [&](TaskRecord const& one) {
                  return one.assigned_agent_id == person && one.status == completed;
                }));
    }
    for (auto const* type : {"docs", "review.deep", "none such"}) {
      TaskFilter filter;
      filter.task_type = type;
      EXPECT_EQ(good(tasks_.list(filter)).total,
                std::ranges::count(all, filter.task_type, &TaskRecord::task_type));
    }
  }
  void check_figures(std::vector<TaskRecord> const& all) {
    std::map<std::string, std::int64_t> types;
    double minutes = 0;
    for (auto const& one : all) {
      ++types[one.task_type.value_or("unspecified")];
      if (one.status == completed) {
        minutes += static_cast<double>(one.actual_duration_minutes.value_or(0));
      }
    }
    auto const figures = good(store_.store().read(
        store::ReadCost::scan, [](store::Session& session) { return task_figures(session); }));
    auto const done = std::ranges::count(all, completed, &TaskRecord::status);
    EXPECT_EQ(figures.by_type, types);
    EXPECT_EQ(figures.total, std::ssize(all));
    EXPECT_NEAR(figures.avg_duration_minutes, done > 0 ? minutes / static_cast<double>(done) : 0,
                1e-9);
  }
  void check_days(std::vector<TaskRecord> const& all) {
    using Ended = std::pair<std::int64_t, std::int64_t>;  // How many completed, and failed.
    std::map<std::pair<std::int64_t, bool>, Ended> days;  // By day, and whether they had an agent.
    for (auto const& one : all) {
      if (one.status != completed && one.status != TaskStatus::failed) continue;
      auto const at = one.ended_at.value();
      auto& day = days[{at.micros / 86'400'000'000, one.assigned_agent_id.has_value()}];
      ++(one.status == completed ? day.first : day.second);
    }
    decltype(days) kept;
    auto read = [&](store::Session& session) -> Task<Result<std::int64_t>> {
      co_return co_await session.query("SELECT day, agent, completed, failed FROM task_days", {},
                                       [&](store::Row const& row) {
                                         auto& day = kept[{row.integer(0), !row.text(1).empty()}];
                                         day.first += row.integer(2);
                                         day.second += row.integer(3);
                                       });
    };
    good(store_.store().read(store::ReadCost::scan, read));
    EXPECT_EQ(kept, days);
  }
  void check_agent(Uuid id, std::vector<TaskRecord> const& all) {
    auto const now = agent_of(id);
    auto const has = [&](auto const& rule) {
      return std::ranges::count_if(
          all, [&](TaskRecord const& one) { return one.assigned_agent_id == id && rule(one); });
    };
    auto const in = [](TaskStatus status) {
      return [status](TaskRecord const& one) { return one.status == status; };
    };
    auto const open = has([](TaskRecord const& one) { return is_open(one.status); });
    EXPECT_EQ(now.status, open > 0 ? AgentStatus::busy : AgentStatus::idle);
    EXPECT_EQ(now.current_task_id.has_value(), open > 0);
    if (now.current_task_id) {
      bool const working = has(in(in_progress)) > 0;
      EXPECT_EQ(has([&](TaskRecord const& one) {
                  return one.id == *now.current_task_id &&
                         (working ? one.status == in_progress : is_open(one.status));
                }),
                1);
    }
    auto const done = static_cast<double>(has(in(completed)) + gone_[id].first);
    auto const lost = static_cast<double>(has(in(failed)) + gone_[id].second);
    EXPECT_EQ(now.tasks_completed, done);
    EXPECT_EQ(now.tasks_failed, lost);
    if (done + lost > 0) EXPECT_NEAR(now.success_rate, done / (done + lost) * 100, 1e-9);
  }
  static void check_dependents(TaskRecord const& one, std::vector<TaskRecord> const& all) {
    std::vector<std::string> expected;
    for (auto const& other : all) {
      if (other.depends_on(one.id.to_string())) expected.push_back(other.id.to_string());
    }
    auto told = one.dependents;
    std::ranges::sort(told);
    std::ranges::sort(expected);
    EXPECT_EQ(told, expected);
  }

  std::mt19937 random_{GetParam()};
  std::vector<Uuid> people_;
  std::vector<Uuid> ids_;
  std::map<Uuid, std::pair<std::int64_t, std::int64_t>> gone_;  // Done, failed, then deleted.
};

TEST_P(RandomTasksTest, AgentsCountsAndDependentsSayWhatTheTasksSay) {
  for (auto const* name : {"Ann", "Bob", "Cleo"}) people_.push_back(agent(name));
  int const steps = tests_are_full() ? 240 : 25;
  for (int step = 0; step < steps && !HasFailure(); ++step) {
    SCOPED_TRACE("step " + std::to_string(step));
    move();
    check();
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, RandomTasksTest, testing::Range(0U, 6U));

}  // namespace
}  // namespace subforge::domain
