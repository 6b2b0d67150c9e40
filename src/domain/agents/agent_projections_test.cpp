// What viewers of each protocol see of each kind of event about agents.
#include <boost/json/object.hpp>
#include <boost/json/parse.hpp>
#include <gtest/gtest.h>

#include "domain/agents/agents.hpp"

namespace subforge::domain {
namespace {

namespace json = boost::json;
using describe::Api;
using realtime::Message;

Agent sample_agent() {
  Agent agent;
  agent.id = *Uuid::parse("8a6e0804-2bd0-4672-b79d-d97027f9071a");
  agent.name = "scout";
  agent.agent_type = "backend";
  agent.status = AgentStatus::restarting;
  agent.current_task_title = "Dig";
  agent.tasks_completed = 2;
  return agent;
}

struct SeenForm {
  std::string_view type;
  std::optional<Message> message;
  explicit operator bool() const { return message.has_value(); }
};

struct Seen {
  SeenForm v1;
  SeenForm v2;
  SeenForm socketio;
};

Seen project(std::string_view kind, std::string const& payload) {
  realtime::Projections projections;
  projections.add(agent_projections());
  auto const* row = projections.find(kind);
  EXPECT_NE(row, nullptr) << kind;
  if (row == nullptr) return {};
  store::Event event;
  event.kind = kind;
  event.actor = "alice";
  auto const object = json::parse(payload).get_object();
  Seen seen;
  if (row->v1.make != nullptr) seen.v1 = {row->v1.type, row->v1.make(event, object)};
  if (row->v2.make != nullptr) seen.v2 = {row->v2.type, row->v2.make(event, object)};
  if (row->socketio.make != nullptr) {
    seen.socketio = {row->socketio.type, row->socketio.make(event, object)};
  }
  return seen;
}

std::string payload(std::string const& extra = {}) {
  return "{\"agent\":" + stored_json(sample_agent()) + extra + "}";
}

json::value data_of(SeenForm const& seen, std::string_view type) {
  EXPECT_TRUE(static_cast<bool>(seen));
  if (!seen) return nullptr;
  EXPECT_EQ(seen.type, type);
  EXPECT_EQ(seen.message->origin, "");
  return json::parse(seen.message->data);
}

json::value shown(Api api) { return json::parse(to_json(sample_agent(), api)); }
std::string const kQuotedId = R"("8a6e0804-2bd0-4672-b79d-d97027f9071a")";

TEST(AgentProjections, Created) {
  auto const seen = project("agent.created", payload());
  EXPECT_EQ(data_of(seen.v1, "agent_created"), shown(Api::v1));
  EXPECT_EQ(data_of(seen.v2, "agent_update"), (json::value{{"event", "agent_created"},
                                                           {"agent", shown(Api::v2)},
                                                           {"background_task_id", nullptr}}));
}

TEST(AgentProjections, UpdatedAndConfiguredLookAlike) {
  for (auto const* kind : {"agent.updated", "agent.configured"}) {
    auto const seen = project(kind, payload());
    EXPECT_EQ(data_of(seen.v1, "agent_updated"), shown(Api::v1));
    EXPECT_EQ(data_of(seen.v2, "agent_update"),
              (json::value{
                  {"event", "agent_updated"}, {"agent", shown(Api::v2)}, {"updated_by", "alice"}}));
  }
}

TEST(AgentProjections, StatusIsShortInTheFirstVersion) {
  auto const seen = project("agent.status", payload());
  EXPECT_EQ(data_of(seen.v1, "agent_status_updated"),
            json::parse(R"({"agent_id":)" + kQuotedId +
                        R"(,"status":"busy","current_task":{"id":null,"title":"Dig"}})"));
  EXPECT_EQ(data_of(seen.v2, "agent_update").at("agent"), shown(Api::v2));
}

TEST(AgentProjections, MetricsAreAloneInTheFirstVersion) {
  auto const seen = project("agent.metrics", payload());
  EXPECT_EQ(data_of(seen.v1, "agent_metrics_updated"),
            json::parse(R"({"agent_id":)" + kQuotedId + R"(,"metrics":)" +
                        metrics_json_v1(sample_agent()) + "}"));
  EXPECT_EQ(data_of(seen.v2, "agent_update").at("event"), "agent_updated");
}

TEST(AgentProjections, HeartbeatsAreNotInTheFirstVersion) {
  auto const seen = project("agent.heartbeat", payload());
  EXPECT_FALSE(seen.v1);
  EXPECT_EQ(data_of(seen.v2, "agent_update").at("agent"), shown(Api::v2));
}

TEST(AgentProjections, Deleted) {
  auto const seen = project("agent.deleted", payload());
  EXPECT_EQ(data_of(seen.v1, "agent_deleted"), json::parse(R"({"agent_id":)" + kQuotedId + "}"));
  EXPECT_EQ(data_of(seen.v2, "agent_update"),
            json::parse(R"({"event":"agent_deleted","agent_id":)" + kQuotedId +
                        R"(,"deleted_by":"alice"})"));
}

TEST(AgentProjections, PartsOfABulkOperationShowInTheFirstVersionAlone) {
  for (auto const* kind : {"agent.status", "agent.updated", "agent.deleted"}) {
    auto const seen = project(kind, payload(R"(,"bulk":true)"));
    EXPECT_TRUE(seen.v1) << kind;
    EXPECT_FALSE(seen.v2) << kind;
  }
}

TEST(AgentProjections, ABulkOperationShowsInTheSecondVersionAlone) {
  auto const seen = project("agents.bulk_operation",
                            R"({"operation":"stop","results":[{"agent_id":"x","success":true}]})");
  EXPECT_FALSE(seen.v1);
  EXPECT_EQ(data_of(seen.v2, "agent_update"),
            json::parse(R"({"event":"bulk_operation","operation":"stop",
                            "results":[{"agent_id":"x","success":true}],
                            "performed_by":"alice"})"));
}

TEST(AgentProjections, SocketIoTellsOneEventWithTheActionInIt) {
  for (auto const& [kind, action] :
       {std::pair{"agent.created", "create"}, std::pair{"agent.status", "update"},
        std::pair{"agent.heartbeat", "update"}, std::pair{"agent.deleted", "delete"}}) {
    auto const data = data_of(project(kind, payload()).socketio, "agent_status_update");
    EXPECT_EQ(data.at("agent_id"), data.at("agentId"));
    EXPECT_EQ(data.at("agentId"), json::parse(kQuotedId));
    EXPECT_EQ(data.at("action"), action);
    EXPECT_EQ(data.at("status"), "busy");
    EXPECT_EQ(data.at("currentTask"), "Dig");
    EXPECT_EQ(data.at("tasksCompleted"), 2);
  }
}

TEST(AgentProjections, EveryKindHasOneRow) {
  auto const rows = agent_projections();
  for (std::size_t i = 0; i < rows.size(); ++i) {
    for (std::size_t k = 0; k < i; ++k) EXPECT_NE(rows[i].kind, rows[k].kind);
  }
}

}  // namespace
}  // namespace subforge::domain
