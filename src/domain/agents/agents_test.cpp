// Agents on a real store: each change is a row, a version and exactly one event.
#include "domain/agents/agents.hpp"

#include <algorithm>
#include <map>
#include <random>

#include <boost/json/parse.hpp>
#include <gtest/gtest.h>

#include "domain/agents/agent_counts.hpp"
#include "store/migrations.hpp"
#include "store/record_sql.hpp"
#include "store/temporary_folder_test.hpp"
#include "store/test_store_test.hpp"

namespace subforge::domain {
namespace {

namespace json = boost::json;
using describe::Api;
using Names = std::vector<std::string>;

StatusBody to(AgentStatus status) {
  StatusBody body;
  body.status = status;
  return body;
}

class AgentsTest : public testing::Test {
 protected:
  template <class T>
  T good(Task<Result<T>> task) {
    auto outcome = store_.run(std::move(task));
    if (!outcome) throw std::runtime_error(outcome.error().message + outcome.error().context);
    if constexpr (!std::is_void_v<T>) return std::move(*outcome);
  }
  template <class T>
  Error failure(Task<Result<T>> task) {
    auto const outcome = store_.run(std::move(task));
    return outcome ? Error{ErrorCode::internal, "no error", {}} : outcome.error();
  }

  Agent create(std::string name, std::string type = "backend",
               AgentStatus status = AgentStatus::idle, Names tags = {}) {
    Agent draft;
    draft.name = std::move(name);
    draft.agent_type = std::move(type);
    draft.status = status;
    draft.tags = std::move(tags);
    return good(agents_.create(std::move(draft), NameRule::any, actor_));
  }
  Agent update(Agent const& agent, std::string_view body, Api api = Api::v2) {
    return good(agents_.update(agent.id, json::parse({body.data(), body.size()}), api, actor_));
  }

  // The one event since the last look, which tells of this agent as it is now.
  store::Event only_event(std::string_view kind, Agent const& agent,
                          LogLevel level = LogLevel::info) {
    auto const events = recorder_.take();
    EXPECT_EQ(events.size(), 1U);
    if (events.empty()) return {};
    auto const& event = *events.back();
    auto const subject = "agent:" + agent.id.to_string();
    EXPECT_EQ(event.kind, kind);
    EXPECT_EQ(event.subject, subject);
    EXPECT_EQ(event.actor, actor_.user);
    EXPECT_EQ(event.version, agent.version);
    EXPECT_EQ(event.level, level);
    EXPECT_EQ(event.at, agent.updated_at);
    EXPECT_EQ(event.audience, store::Audience::everybody({"agents", subject}));
    EXPECT_EQ(json::parse(event.payload).at("agent"), json::parse(stored_json(agent)));
    return event;
  }
  void expect_stored(Agent const& agent) {
    EXPECT_EQ(stored_json(good(agents_.get(agent.id))), stored_json(agent));
  }

  Names names(AgentFilter filter) {
    Names found;
    for (auto const& agent : good(agents_.list(std::move(filter))).rows) {
      found.push_back(agent.name);
    }
    return found;
  }

  store::TemporaryFolder folder_;
  store::EventRecorder recorder_;
  store::TestStore store_{folder_.path(), {&recorder_}};
  static constexpr std::int64_t kLeaseSeconds = 60;
  Agents agents_{store_.store(), kLeaseSeconds};
  Actor const actor_{"alice"};
  Uuid const stranger_ = Uuid::random();
};

TEST_F(AgentsTest, TheTableHasTheColumnsOfTheDescription) {
  std::string columns;
  auto read = [&](store::Session& session) -> Task<Result<std::int64_t>> {
    co_return co_await session.query("SELECT name FROM pragma_table_info('agents') ORDER BY cid",
                                     {}, [&](store::Row const& row) {
                                       if (!columns.empty()) columns += ", ";
                                       columns += row.text(0);
                                     });
  };
  good(store_.store().read(store::ReadCost::scan, std::move(read)));
  EXPECT_EQ(columns, "seq, " + store::column_list<Agent>());
}

TEST_F(AgentsTest, CreatingFillsInWhatTheServerKnows) {
  auto const agent = create("scout", "backend", AgentStatus::busy, {"a"});
  EXPECT_NE(agent.id, Uuid{});
  EXPECT_EQ(agent.version, 1);
  EXPECT_GT(agent.created_at.micros, 0);
  EXPECT_EQ(agent.updated_at, agent.created_at);
  EXPECT_EQ(agent.last_activity, agent.created_at);
  EXPECT_EQ(agent.last_heartbeat, agent.created_at);
  EXPECT_EQ(agent.busy_since, agent.created_at);
  expect_stored(agent);
  only_event("agent.created", agent);
}

TEST_F(AgentsTest, NameAndTypeTogetherAreUniqueWhereTheRuleSaysSo) {
  create("scout", "backend");
  recorder_.take();
  Agent draft;
  draft.name = "scout";
  draft.agent_type = "backend";
  auto const refused = failure(agents_.create(draft, NameRule::unique, actor_));
  EXPECT_EQ(refused.code, ErrorCode::conflict);
  EXPECT_EQ(refused.message, "Agent with this name and type already exists");
  EXPECT_TRUE(recorder_.take().empty());
  good(agents_.create(draft, NameRule::any, actor_));
  draft.agent_type = "frontend";
  good(agents_.create(draft, NameRule::unique, actor_));
  EXPECT_EQ(good(agents_.list({})).total, 3);
}

TEST_F(AgentsTest, UpdatingChangesWhatIsGiven) {
  auto const made = create("scout");
  recorder_.take();
  auto const agent = update(made, R"({"name":"new","tags":["x"],"metadata":{"a":1}})");
  EXPECT_EQ(agent.name, "new");
  EXPECT_EQ(agent.tags, Names{"x"});
  EXPECT_EQ(agent.agent_type, "backend");
  EXPECT_EQ(agent.version, 2);
  EXPECT_EQ(agent.created_at, made.created_at);
  EXPECT_GE(agent.updated_at, made.updated_at);
  EXPECT_EQ(agent.last_activity, agent.updated_at);
  expect_stored(agent);
  only_event("agent.updated", agent);

  auto const broken = update(agent, R"({"status":"error"})");
  EXPECT_EQ(broken.error_count, 1);
  EXPECT_EQ(broken.status_changed_at, broken.updated_at);
  only_event("agent.updated", broken, LogLevel::error);
}

TEST_F(AgentsTest, FirstVersionReplacesTheConfigurationWhole) {
  auto const made = create("scout");
  update(made, R"({"configuration":{"a":1,"b":2}})", Api::v1);
  auto const agent = update(made, R"({"configuration":{"b":3}})", Api::v1);
  EXPECT_EQ(agent.configuration.text, R"({"b":3})");
  expect_stored(agent);
}

TEST_F(AgentsTest, StatusMayBringATaskAndTakeItAway) {
  auto const made = create("scout");
  recorder_.take();
  StatusBody body;
  body.status = AgentStatus::busy;
  body.current_task_id = {true, stranger_};
  body.current_task_title = {true, "Dig"};
  auto const busy = good(agents_.set_status(made.id, body, actor_));
  EXPECT_EQ(busy.current_task_id, stranger_);
  EXPECT_EQ(busy.current_task_title, "Dig");
  EXPECT_EQ(busy.busy_since, busy.updated_at);
  expect_stored(busy);
  only_event("agent.status", busy);

  auto const failed = good(agents_.set_status(made.id, to(AgentStatus::error), actor_));
  EXPECT_EQ(failed.current_task_title, "Dig") << "absent: left alone";
  EXPECT_GE(failed.total_runtime, 0);
  only_event("agent.status", failed, LogLevel::error);

  body = to(AgentStatus::idle);
  body.current_task_id.given = body.current_task_title.given = true;
  auto const idle = good(agents_.set_status(made.id, body, actor_));
  EXPECT_EQ(idle.current_task_id, std::nullopt);
  EXPECT_EQ(idle.current_task_title, std::nullopt);
  only_event("agent.status", idle);
}

TEST_F(AgentsTest, MetricsRecomputeTheSuccessRate) {
  auto const made = create("scout");
  recorder_.take();
  MetricsBody body;
  body.tasks_completed = 3;
  body.tasks_failed = 1;
  auto const agent = good(agents_.set_metrics(made.id, body, actor_));
  EXPECT_EQ(agent.success_rate, 75);
  EXPECT_EQ(agent.uptime_percentage, 100) << "null and absent leave a figure alone";
  EXPECT_EQ(agent.last_activity, agent.updated_at);
  expect_stored(agent);
  only_event("agent.metrics", agent);
}

TEST_F(AgentsTest, HeartbeatsWithNewsAreTold) {
  auto const made = create("scout");
  recorder_.take();
  HeartbeatBody body;
  body.status = AgentStatus::offline;
  body.metrics.emplace().success_rate = 12.5;
  auto const agent = good(agents_.heartbeat(made.id, body, actor_));
  EXPECT_FALSE(agent.is_active);
  EXPECT_EQ(agent.success_rate, 12.5) << "as sent, not recomputed";
  EXPECT_EQ(agent.last_heartbeat, agent.updated_at);
  EXPECT_EQ(agent.last_activity, made.last_activity);
  expect_stored(agent);
  only_event("agent.heartbeat", agent);
}

// They would fill the log: it tells of those alone that change what is shown besides their time.
TEST_F(AgentsTest, HeartbeatsWithoutNewsAreNotInTheLog) {
  auto const made = create("scout");
  recorder_.take();
  HeartbeatBody body;
  body.status = AgentStatus::idle;
  body.metrics.emplace().tasks_completed = made.tasks_completed;
  auto agent = good(agents_.heartbeat(made.id, body, actor_));
  EXPECT_EQ(agent.version, 1) << "nobody's change was overtaken";
  EXPECT_EQ(agent.updated_at, made.updated_at);
  EXPECT_GT(agent.last_heartbeat, made.last_heartbeat);
  EXPECT_TRUE(agent.lease_until);
  expect_stored(agent);
  EXPECT_TRUE(recorder_.take().empty());
  EXPECT_EQ(good(agents_.logs(made.id, {.limit = 10})).lines.size(), 1U) << "that it was created";
  body.metrics->tasks_completed = made.tasks_completed + 1;
  agent = good(agents_.heartbeat(made.id, body, actor_));
  only_event("agent.heartbeat", agent);
  body.metrics.reset();
  body.current_task_id = stranger_;
  agent = good(agents_.heartbeat(made.id, body, actor_));
  only_event("agent.heartbeat", agent);
  good(agents_.heartbeat(made.id, body, actor_));
  EXPECT_TRUE(recorder_.take().empty()) << "the same task again";
}

TEST_F(AgentsTest, AHeartbeatThatNamesAnotherTaskDoesNotKeepTheTitleOfTheLast) {
  auto const made = create("scout");
  StatusBody working;
  working.status = AgentStatus::busy;
  working.current_task_id = {true, Uuid::random()};
  working.current_task_title = {true, "Dig"};
  auto const first = good(agents_.set_status(made.id, working, actor_)).current_task_id;
  HeartbeatBody body;
  body.status = AgentStatus::busy;
  EXPECT_EQ(good(agents_.heartbeat(made.id, body, actor_)).current_task_title, "Dig");
  body.current_task_id = first;
  EXPECT_EQ(good(agents_.heartbeat(made.id, body, actor_)).current_task_title, "Dig");
  body.current_task_id = stranger_;
  EXPECT_EQ(good(agents_.heartbeat(made.id, body, actor_)).current_task_title, std::nullopt);
}

TEST_F(AgentsTest, ConfiguringTellsOfTheFile) {
  auto const made = create("scout");
  recorder_.take();
  AgentConfiguration configuration;
  configuration.model = "m";
  auto const agent = good(agents_.configure(made.id, configuration, "a \"b\".yaml", actor_)).agent;
  EXPECT_EQ(agent.model, "m");
  expect_stored(agent);
  auto const event = only_event("agent.configured", agent);
  EXPECT_EQ(json::parse(event.payload).at("filename"), "a \"b\".yaml");
  EXPECT_EQ(good(agents_.logs(made.id, {.limit = 1})).lines.at(0).message,
            "Configuration uploaded from a \"b\".yaml");
}

TEST_F(AgentsTest, RemovedIsGone) {
  auto const agent = create("scout");
  recorder_.take();
  good(agents_.remove(agent.id, actor_));
  auto const events = recorder_.take();
  ASSERT_EQ(events.size(), 1U);
  EXPECT_EQ(events[0]->kind, "agent.deleted");
  EXPECT_EQ(json::parse(events[0]->payload).at("agent").at("name"), "scout");
  EXPECT_EQ(failure(agents_.get(agent.id)).code, ErrorCode::not_found);
}

TEST_F(AgentsTest, AChangeOfAnotherVersionIsRefusedAndChangesNothing) {
  auto const first = create("one");
  auto const second = update(first, R"({"name":"two"})");
  recorder_.take();
  auto const outdated = Precondition::if_match('"' + std::to_string(first.version) + '"');
  auto const body = json::parse(R"({"name":"three"})");
  auto const stale = ErrorCode::stale;
  EXPECT_EQ(failure(agents_.update(first.id, body, Api::v2, actor_, outdated)).code, stale);
  EXPECT_EQ(failure(agents_.set_status(first.id, to(AgentStatus::busy), actor_, outdated)).code,
            stale);
  EXPECT_EQ(failure(agents_.set_metrics(first.id, {}, actor_, outdated)).code, stale);
  EXPECT_EQ(failure(agents_.configure(first.id, {}, "a.json", actor_, outdated)).code, stale);
  EXPECT_EQ(failure(agents_.remove(first.id, actor_, outdated)).code, stale);
  EXPECT_TRUE(recorder_.take().empty());
  expect_stored(second);

  auto const current = Precondition::if_match('"' + std::to_string(second.version) + '"');
  good(agents_.update(first.id, body, Api::v2, actor_, current));
  EXPECT_EQ(failure(agents_.remove(first.id, actor_, current)).code, stale);
  good(agents_.remove(first.id, actor_, Precondition::if_match("*")));
  // What is not there is missing before it is anything else.
  EXPECT_EQ(failure(agents_.remove(first.id, actor_, current)).code, ErrorCode::not_found);
}

TEST_F(AgentsTest, WhoIsNotThereIsNotFound) {
  std::vector<Error> const errors = {
      failure(agents_.get(stranger_)),
      failure(agents_.logs(stranger_, {.limit = 1})),
      failure(agents_.update(stranger_, json::parse("{}"), Api::v2, actor_)),
      failure(agents_.set_status(stranger_, {}, actor_)),
      failure(agents_.set_metrics(stranger_, {}, actor_)),
      failure(agents_.heartbeat(stranger_, {}, actor_)),
      failure(agents_.configure(stranger_, {}, "f", actor_)),
      failure(agents_.remove(stranger_, actor_)),
  };
  for (auto const& error : errors) {
    EXPECT_EQ(error.code, ErrorCode::not_found);
    EXPECT_EQ(error.message, "Agent not found");
  }
  EXPECT_TRUE(recorder_.take().empty());
}

TEST_F(AgentsTest, BulkChangesEachByItselfAndTellsOnce) {
  auto const one = create("one");
  auto const two = create("two");
  recorder_.take();
  BulkBody body{
      {one.id.to_string(), stranger_.to_string(), "junk", two.id.to_string()}, "stop", {}};
  auto const outcome = good(agents_.bulk(body, actor_));
  EXPECT_EQ(outcome.successful(), 2);
  EXPECT_EQ(
      json::parse(outcome.results_json()),
      json::parse(R"([{"agent_id":")" + one.id.to_string() +
                  R"(","success":true,"action":"stop"},{"agent_id":")" + stranger_.to_string() +
                  R"(","success":false,"error":"Agent not found"},)"
                  R"({"agent_id":"junk","success":false,"error":"Agent not found"},)"
                  R"({"agent_id":")" +
                  two.id.to_string() + R"(","success":true,"action":"stop"}])"));
  EXPECT_EQ(good(agents_.get(one.id)).status, AgentStatus::inactive);
  auto const events = recorder_.take();
  ASSERT_EQ(events.size(), 3U);
  for (auto const i : {0U, 1U}) {
    EXPECT_EQ(events[i]->kind, "agent.status");
    EXPECT_EQ(json::parse(events[i]->payload).at("bulk"), true);
    EXPECT_EQ(events[i]->version, 2);
  }
  EXPECT_EQ(events[2]->kind, "agents.bulk_operation");
  EXPECT_EQ(events[2]->subject, "agents");
  EXPECT_EQ(events[2]->actor, "alice");
  EXPECT_EQ(events[2]->audience,
            store::Audience::everybody(
                {"agents", "agent:" + one.id.to_string(), "agent:" + two.id.to_string()}));
  EXPECT_EQ(json::parse(events[2]->payload).at("results"), json::parse(outcome.results_json()));
}

TEST_F(AgentsTest, BulkKnowsFiveOperations) {
  auto const agent = create("one");
  auto const bulk = [&](std::string operation, std::optional<std::string> parameters = {}) {
    BulkBody body{{agent.id.to_string()}, std::move(operation), {}};
    if (parameters) body.parameters = describe::JsonText{*parameters};
    return good(agents_.bulk(body, actor_)).items.at(0);
  };
  EXPECT_EQ(bulk("start").action, "start");
  EXPECT_EQ(good(agents_.get(agent.id)).status, AgentStatus::active);
  EXPECT_EQ(bulk("restart").action, "restart");
  EXPECT_EQ(good(agents_.get(agent.id)).status, AgentStatus::restarting);
  auto const update_text =
      R"({"name":"new","id":"no","created_at":"no","type":"new type","other":1})";
  EXPECT_EQ(bulk("update", update_text).action, "update");
  EXPECT_EQ(good(agents_.get(agent.id)).name, "new");
  EXPECT_EQ(good(agents_.get(agent.id)).agent_type, "new type") << "unlike a single update";
  EXPECT_EQ(good(agents_.get(agent.id)).created_at, agent.created_at);
  EXPECT_EQ(bulk("update").action, "update") << "without parameters only the time moves";
  recorder_.take();
  EXPECT_EQ(bulk("update", R"({"name":7})").error, "name: Input should be a valid string");
  EXPECT_EQ(bulk("update", R"({"type":""})").error,
            "type: String should have at least 1 character");
  EXPECT_EQ(bulk("explode").error, "Unknown operation: explode");
  EXPECT_TRUE(recorder_.take().empty()) << "nothing succeeded, nothing is told";
  EXPECT_EQ(bulk("delete").action, "deleted");
  EXPECT_EQ(bulk("delete").error, "Agent not found");
}

TEST_F(AgentsTest, ListFilters) {
  auto const first = create("Alpha", "backend", AgentStatus::idle, {"red", "big"});
  create("beta", "frontend", AgentStatus::busy, {"blue"});
  create("Gamma_1", "backend", AgentStatus::error);
  create("gamma%2", "backend", AgentStatus::offline, {"redder"});
  HeartbeatBody gone;
  gone.status = AgentStatus::offline;
  good(agents_.heartbeat(first.id, gone, actor_));
  EXPECT_EQ(names({}), (Names{"Alpha", "beta", "Gamma_1", "gamma%2"}));
  EXPECT_EQ(names({.statuses = {AgentStatus::busy, AgentStatus::error}}),
            (Names{"beta", "Gamma_1"}));
  EXPECT_EQ(names({.impossible = true}), Names{});
  EXPECT_EQ(names({.type = "frontend"}), Names{"beta"});
  EXPECT_EQ(names({.is_active = false}), Names{"Alpha"});
  EXPECT_EQ(names({.tags = {"red"}}), Names{"Alpha"}) << "whole tags, not parts of them";
  EXPECT_EQ(names({.tags = {"blue", "big"}}), (Names{"Alpha", "beta"}));
  EXPECT_EQ(names({.search = "GAMMA"}), (Names{"Gamma_1", "gamma%2"}));
  EXPECT_EQ(names({.search = "a_"}), Names{"Gamma_1"}) << "no wildcard";
  EXPECT_EQ(names({.search = "%"}), Names{"gamma%2"});
  EXPECT_EQ(names({.type = "backend", .search = "a", .skip = 1, .limit = 1}), Names{"Gamma_1"});
  EXPECT_EQ(good(agents_.list({.type = "backend", .limit = 1})).total, 3);
}

TEST_F(AgentsTest, ListSorts) {
  using Sort = AgentFilter::Sort;
  auto const charlie = create("charlie", "t", AgentStatus::busy);
  create("Bravo", "t", AgentStatus::idle);
  create("alpha", "t", AgentStatus::active);
  update(charlie, R"({"tags":[]})");
  EXPECT_EQ(names({.descending = true}), (Names{"alpha", "Bravo", "charlie"}));
  EXPECT_EQ(names({.sort = Sort::name}), (Names{"alpha", "Bravo", "charlie"}));
  EXPECT_EQ(names({.sort = Sort::name, .descending = true}), (Names{"charlie", "Bravo", "alpha"}));
  EXPECT_EQ(names({.sort = Sort::status}), (Names{"alpha", "charlie", "Bravo"}));
  EXPECT_EQ(names({.sort = Sort::updated}), (Names{"Bravo", "alpha", "charlie"}));
}

TEST_F(AgentsTest, NamesAreComparedInAnyCaseAndScript) {
  create("\u00c4rger");
  create("zeta");
  create("\u0416\u0443\u043a");
  EXPECT_EQ(names({.search = "\u00e4RG"}), Names{"\u00c4rger"});
  EXPECT_EQ(names({.search = "\u0436\u0423"}), Names{"\u0416\u0443\u043a"});
}

TEST_F(AgentsTest, PagesByPositionAreWholeWhateverComesAndGoes) {
  using Sort = AgentFilter::Sort;
  std::vector<Agent> made;
  for (int i = 0; i < 12; ++i) {
    // Few different values, so that pages end among equals; two names differ in their case alone.
    made.push_back(create(i % 2 == 0 ? "Same" : "sAME", i == 5 ? "other" : "t",
                          i % 3 == 0 ? AgentStatus::idle : AgentStatus::busy));
  }
  for (auto const sort : {Sort::created, Sort::name, Sort::status, Sort::updated}) {
    for (bool const descending : {false, true}) {
      AgentFilter filter{.type = "t", .sort = sort, .descending = descending, .limit = 100};
      std::vector<Uuid> expected;
      for (auto const& agent : good(agents_.list(filter)).rows) expected.push_back(agent.id);
      ASSERT_GE(expected.size(), 11U);
      std::vector<Uuid> seen;
      filter.limit = 3;
      for (;;) {
        auto const page = good(agents_.list(filter));
        EXPECT_EQ(page.next, good(agents_.end_of_page(filter)));
        for (auto const& agent : page.rows) seen.push_back(agent.id);
        if (!page.next) break;
        EXPECT_EQ(page.rows.size(), 3U);
        filter.after = page.next;
        create(descending ? "zzz" : "aaa", "t", AgentStatus::active);  // At the front of each.
      }
      // Those made meanwhile may be seen or not; all others are, once and in order.
      std::erase_if(seen,
                    [&](Uuid id) { return std::ranges::find(expected, id) == expected.end(); });
      EXPECT_EQ(seen, expected) << static_cast<int>(sort) << descending;
    }
  }
}

TEST_F(AgentsTest, AFullLastPageIsTheLast) {
  for (int i = 0; i < 4; ++i) create("a" + std::to_string(i));
  auto const first = good(agents_.list_part({.limit = 2}));
  ASSERT_TRUE(first.next);
  auto const second = good(agents_.list_part({.after = first.next, .limit = 2}));
  EXPECT_EQ(second.rows.size(), 2U);
  EXPECT_FALSE(second.next);
  EXPECT_FALSE(good(agents_.list_part({.until = first.next->seq, .limit = 2})).next);
}

TEST_F(AgentsTest, SummaryCountsAndAverages) {
  EXPECT_EQ(good(agents_.summary()).avg_uptime, 100) << "without any agent";
  auto const one = create("one", "t", AgentStatus::active);
  create("two", "t", AgentStatus::error);
  auto const three = create("three", "t", AgentStatus::idle);
  good(agents_.bulk({{three.id.to_string()}, "stop", {}}, actor_));
  MetricsBody metrics;
  metrics.tasks_completed = 1;
  metrics.avg_response_time = 6;
  metrics.uptime_percentage = 40;
  good(agents_.set_metrics(one.id, metrics, actor_));
  auto const summary = good(agents_.summary());
  EXPECT_EQ(summary.total, 3);
  EXPECT_EQ(summary.active, 1);
  EXPECT_EQ(summary.idle, 0);
  EXPECT_EQ(summary.busy, 0);
  EXPECT_EQ(summary.offline, 1) << "inactive looks offline";
  EXPECT_DOUBLE_EQ(summary.avg_success_rate, 100.0 / 3);
  EXPECT_DOUBLE_EQ(summary.avg_response_time, 2);
  EXPECT_DOUBLE_EQ(summary.avg_uptime, 80);
}

TEST_F(AgentsTest, LargeFiguresAreInTheSummaryAsTheyAre) {
  MetricsBody metrics;
  metrics.avg_response_time = 5e9;  // A client that reckons in nanoseconds.
  metrics.tasks_completed = 3e9;
  auto const one = create("one");
  auto const two = create("two");
  good(agents_.set_metrics(one.id, metrics, actor_));
  metrics.avg_response_time = 0.25;
  good(agents_.set_metrics(two.id, metrics, actor_));
  auto const totals = [&] {
    return good(store_.store().read(store::ReadCost::scan,
                                    [](store::Session& session) { return agent_totals(session); }));
  };
  EXPECT_DOUBLE_EQ(totals().response_time, 5e9 + 0.25);
  EXPECT_EQ(totals().tasks_completed, 6e9);
  EXPECT_DOUBLE_EQ(good(agents_.summary()).avg_response_time, 2.5e9 + 0.125);
  // As they were kept before, and made anew.
  auto spoil = [](store::Transaction& transaction) -> Task<Result<void>> {
    for (std::string const sql :
         {"DELETE FROM record_counts WHERE name LIKE 'agents.%.large'",
          "UPDATE record_counts SET n = 100000000250000 WHERE name = 'agents.response_time'"}) {
      auto const done = co_await transaction.execute(sql, {});
      if (!done) co_return std::unexpected(done.error());
    }
    for (auto const& migration : store::migrations()) {
      if (migration.name != "sums over agents in two counts") continue;
      auto sql = migration.sqlite;
      for (auto end = sql.find(';'); end != sql.npos; end = sql.find(';')) {
        auto const done = co_await transaction.execute(std::string(sql.substr(0, end)), {});
        if (!done) co_return std::unexpected(done.error());
        sql.remove_prefix(end + 1);
      }
    }
    co_return {};
  };
  good(store_.store().write(spoil));
  EXPECT_DOUBLE_EQ(totals().response_time, 5e9 + 0.25);
  EXPECT_EQ(totals().tasks_completed, 6e9);
  EXPECT_EQ(totals().uptime, 200);
  good(agents_.remove(one.id, actor_));
  EXPECT_EQ(totals().response_time, 0.25) << "what is taken away is what was added";
}

// What is kept with each change is what a look at all agents would tell.
TEST_F(AgentsTest, SumsAreThoseOfAllAgentsWhateverHappens) {
  std::mt19937 random(7);
  auto const below = [&](std::int64_t count) {
    return std::uniform_int_distribution<std::int64_t>(0, count - 1)(random);
  };
  std::vector<Uuid> ids;
  for (int step = 0; step < 100; ++step) {
    auto const id = ids.empty() ? Uuid{} : ids[static_cast<std::size_t>(below(std::ssize(ids)))];
    auto const what = ids.size() < 3 ? 0 : below(5);
    if (what == 0) {
      ids.push_back(create("n" + std::to_string(step), "t" + std::to_string(below(3))).id);
    } else if (what == 1) {
      good(agents_.remove(id, actor_));
      std::erase(ids, id);
    } else if (what == 2) {
      MetricsBody metrics;
      metrics.tasks_completed = below(10);
      metrics.tasks_failed = below(10);
      metrics.avg_response_time = static_cast<double>(below(1000)) / 7;
      // Sums come back from what no sum can hold.
      if (below(4) == 0) metrics.avg_response_time = below(2) == 0 ? -1e300 : 1e300;
      metrics.uptime_percentage = static_cast<double>(below(10000)) / 100;
      good(agents_.set_metrics(id, metrics, actor_));
    } else if (what == 3) {
      good(agents_.set_status(id, to(below(2) == 0 ? AgentStatus::busy : AgentStatus::idle),
                              actor_));
    } else {
      Agent changed;
      changed.id = id;
      update(changed, R"({"description":"other"})");
    }
    AgentFilter every;
    every.limit = 1000;
    auto const all = good(agents_.list(every)).rows;
    auto const totals = good(store_.store().read(
        store::ReadCost::scan, [](store::Session& session) { return agent_totals(session); }));
    ASSERT_EQ(totals.agents, std::ssize(all));
    std::map<AgentStatus, std::int64_t> by_status;
    std::map<std::string, std::int64_t> by_type;
    double success = 0, response = 0, beyond = 0, uptime = 0, completed = 0, failed = 0;
    for (auto const& one : all) {
      ++by_status[one.status];
      ++by_type[one.agent_type];
      success += one.success_rate;
      auto const bounded = std::clamp(one.avg_response_time, -1e15, 1e15);
      (std::abs(bounded) == 1e15 ? beyond : response) += bounded;
      uptime += one.uptime_percentage;
      completed += one.tasks_completed;
      failed += one.tasks_failed;
    }
    ASSERT_EQ(totals.by_status, by_status);
    ASSERT_EQ(totals.by_type, by_type);
    ASSERT_NEAR(totals.success_rate, success, 1e-4);
    // Of a sum beyond 1e15 a number shows no such small parts.
    ASSERT_NEAR(totals.response_time, beyond + response, std::max(1e-4, std::abs(beyond) * 1e-15));
    ASSERT_NEAR(totals.uptime, uptime, 1e-4);
    ASSERT_EQ(totals.tasks_completed, completed);
    ASSERT_EQ(totals.tasks_failed, failed);
  }
}

TEST_F(AgentsTest, LogsAreTheEventsAboutTheAgentNewestFirst) {
  auto const agent = create("scout");
  create("other");
  auto body = to(AgentStatus::error);
  body.current_task_id = {true, stranger_};
  body.current_task_title = {true, "Dig"};
  good(agents_.set_status(agent.id, body, actor_));
  HeartbeatBody same;
  same.status = AgentStatus::error;
  good(agents_.heartbeat(agent.id, same, actor_));
  auto const lines = good(agents_.logs(agent.id, {.limit = 10})).lines;
  ASSERT_EQ(lines.size(), 2U) << "no line of the heartbeat, which told nothing new";
  EXPECT_EQ(lines[0].message, "Status: error, working on Dig");
  EXPECT_EQ(lines[0].level, LogLevel::error);
  EXPECT_EQ(lines[0].task_id, stranger_);
  EXPECT_EQ(lines[1].message, "Agent created");
  EXPECT_EQ(lines[1].at, agent.created_at);
  EXPECT_EQ(good(agents_.logs(agent.id, {.level = LogLevel::error, .limit = 10})).lines.size(), 1U);
  EXPECT_EQ(good(agents_.logs(agent.id, {.limit = 1})).lines.size(), 1U);
}

TEST_F(AgentsTest, RestartsEndOnceTheirTimeIsUp) {
  auto const agent = create("scout");
  good(agents_.bulk({{agent.id.to_string()}, "restart", {}}, actor_));
  auto const since = good(agents_.get(agent.id)).status_changed_at;
  recorder_.take();
  EXPECT_EQ(good(agents_.finish_restarts({since.micros - 1})), 0);
  EXPECT_TRUE(recorder_.take().empty());
  EXPECT_EQ(good(agents_.finish_restarts(since)), 1);
  auto const back = good(agents_.get(agent.id));
  EXPECT_EQ(back.status, AgentStatus::active);
  auto const events = recorder_.take();
  ASSERT_EQ(events.size(), 1U);
  EXPECT_EQ(events[0]->kind, "agent.status");
  EXPECT_EQ(events[0]->actor, "") << "the server itself";
  EXPECT_EQ(events[0]->version, back.version);
  EXPECT_EQ(good(agents_.finish_restarts(Timestamp::now())), 0);
}

// An agent that dies is offline within its lease, and back with its next heartbeat.
TEST_F(AgentsTest, AnAgentThatIsNotHeardOfIsOffline) {
  auto const silent = create("never heard of", "backend", AgentStatus::active);
  auto const agent = create("scout");
  HeartbeatBody alive;
  alive.status = AgentStatus::active;
  auto const heard = good(agents_.heartbeat(agent.id, alive, actor_));
  auto const end = heard.lease_until.value();
  auto const lease_us = end.micros - heard.last_heartbeat->micros;
  EXPECT_LT(std::abs(lease_us - kLeaseSeconds * 1'000'000), 500'000);
  recorder_.take();
  EXPECT_EQ(good(agents_.end_leases({end.micros - 1})), 0);
  EXPECT_TRUE(recorder_.take().empty());
  EXPECT_EQ(good(agents_.end_leases(end)), 1);
  auto const gone = good(agents_.get(agent.id));
  EXPECT_EQ(gone.status, AgentStatus::offline);
  EXPECT_FALSE(gone.is_active);
  EXPECT_EQ(gone.lease_until, std::nullopt);
  auto const events = recorder_.take();
  ASSERT_EQ(events.size(), 1U);
  EXPECT_EQ(events[0]->kind, "agent.lapsed");
  EXPECT_EQ(events[0]->level, LogLevel::warning);
  EXPECT_EQ(events[0]->actor, "") << "the server itself";
  EXPECT_EQ(events[0]->version, gone.version);
  EXPECT_EQ(good(agents_.logs(agent.id, {.limit = 1})).lines.front().message,
            "No heartbeat came in time: offline");
  EXPECT_EQ(good(agents_.end_leases(end)), 0);
  EXPECT_EQ(good(agents_.get(silent.id)).status, AgentStatus::active) << "it has no lease";
  auto const back = good(agents_.heartbeat(agent.id, alive, actor_));
  EXPECT_EQ(back.status, AgentStatus::active);
  EXPECT_TRUE(back.is_active);
  EXPECT_TRUE(back.lease_until);
  // Who is brought back by somebody else has a lease as well.
  auto const set = [&](AgentStatus status) {
    StatusBody body;
    body.status = status;
    return good(agents_.set_status(agent.id, body, actor_));
  };
  EXPECT_EQ(set(AgentStatus::offline).lease_until, std::nullopt);
  auto const brought = set(AgentStatus::active);
  ASSERT_TRUE(brought.lease_until);
  EXPECT_EQ(good(agents_.end_leases(*brought.lease_until)), 1);
  EXPECT_EQ(good(agents_.get(agent.id)).status, AgentStatus::offline);
  BulkBody restart;
  restart.operation = "restart";
  restart.agent_ids = {agent.id.to_string(), silent.id.to_string()};
  good(agents_.bulk(restart, actor_));
  EXPECT_EQ(good(agents_.finish_restarts(Timestamp::now())), 2);
  auto const restarted = good(agents_.get(agent.id));
  EXPECT_EQ(restarted.status, AgentStatus::active);
  ASSERT_TRUE(restarted.lease_until);
  EXPECT_EQ(good(agents_.end_leases(*restarted.lease_until)), 1);
  EXPECT_EQ(good(agents_.get(silent.id)).status, AgentStatus::active) << "it never beat";
  // Those that are found dead together are offline with one commit.
  for (auto const& one : {silent, agent, create("third")}) {
    good(agents_.heartbeat(one.id, alive, actor_));
  }
  recorder_.take();
  auto const later = Timestamp{Timestamp::now().micros + kLeaseSeconds * 1'000'000};
  EXPECT_EQ(good(agents_.end_leases(later)), 3);
  auto const together = recorder_.take();
  ASSERT_EQ(together.size(), 3U);
  EXPECT_EQ(together[0]->at, together[1]->at);
  EXPECT_EQ(together[0]->at, together[2]->at);
  // Who leaves by itself has none.
  alive.status = AgentStatus::offline;
  EXPECT_EQ(good(agents_.heartbeat(agent.id, alive, actor_)).lease_until, std::nullopt);
}

// A shorter setting, or a clock that was set back between two runs.
TEST_F(AgentsTest, NoLeaseOfARunBeforeIsLongerThanANewOne) {
  auto const agent = create("scout");
  HeartbeatBody alive;
  alive.status = AgentStatus::active;
  auto const given = good(agents_.heartbeat(agent.id, alive, actor_)).lease_until.value();
  Agents after(store_.store(), 1);
  EXPECT_EQ(good(after.shorten_leases()), 1);
  auto const left = good(agents_.get(agent.id)).lease_until.value();
  EXPECT_LE(left.micros, given.micros - (kLeaseSeconds - 2) * 1'000'000);
  EXPECT_EQ(good(after.shorten_leases()), 0);
}

// What was stored last, be it a heartbeat that no event tells of.
TEST_F(AgentsTest, WhenAHeartbeatCouldLastComeIsKnown) {
  auto const agent = create("scout");
  HeartbeatBody alive;
  alive.status = AgentStatus::active;
  good(agents_.heartbeat(agent.id, alive, actor_));
  auto const created = create("second");
  EXPECT_GE(good(agents_.last_could_beat()).value(), created.created_at);
  auto const heard = good(agents_.heartbeat(agent.id, alive, actor_));
  EXPECT_EQ(good(agents_.last_could_beat()), heard.last_heartbeat);
}

}  // namespace
}  // namespace subforge::domain
