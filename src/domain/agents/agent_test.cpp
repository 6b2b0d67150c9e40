// The agent record: what each version of the API shows of it and takes, and its bookkeeping.
#include "domain/agents/agent.hpp"

#include <boost/json/parse.hpp>
#include <gtest/gtest.h>

namespace subforge::domain {
namespace {

namespace json = boost::json;
using describe::Api;
using describe::Purpose;

constexpr std::string_view kId = "8a6e0804-2bd0-4672-b79d-d97027f9071a";
constexpr std::string_view kTaskId = "f47ac10b-58cc-4372-a567-0e02b2c3d479";
Timestamp const kMade{1'767'323'045'000'000};  // 2026-01-02T03:04:05Z

Agent sample() {
  Agent agent;
  agent.id = *Uuid::parse(kId);
  agent.name = "scout";
  agent.agent_type = "backend";
  agent.status = AgentStatus::busy;
  agent.description = "Looks around";
  agent.current_task_id = *Uuid::parse(kTaskId);
  agent.current_task_title = "Look";
  agent.model = "claude-3-opus";
  agent.tools = {"read"};
  agent.capabilities = {"plan"};
  agent.configuration.text = R"({"max_tokens":100,"own":true})";
  agent.tags = {"a", "b"};
  agent.metadata.text = R"({"k":0.7})";
  agent.tasks_completed = 3;
  agent.tasks_failed = 1;
  agent.success_rate = 75;
  agent.avg_response_time = 1.5;
  agent.uptime_percentage = 99.5;
  agent.total_runtime = 12.25;
  agent.error_count = 2;
  agent.last_activity = agent.created_at = agent.updated_at = kMade;
  return agent;
}

json::value parsed(std::string const& text) { return json::parse(text); }

// The names of an object's members, in order.
std::string names(json::value const& value) {
  std::string all;
  for (auto const& member : value.get_object()) {
    if (!all.empty()) all += " ";
    all += std::string_view(member.key());
  }
  return all;
}

TEST(Agent, FirstVersionShowsTheUnionOfBothForms) {
  EXPECT_EQ(parsed(to_json(sample(), Api::v1)), json::parse(R"({
    "id": "8a6e0804-2bd0-4672-b79d-d97027f9071a",
    "name": "scout",
    "status": "busy",
    "description": "Looks around",
    "type": "backend",
    "agent_type": "backend",
    "model": "claude-3-opus",
    "tools": ["read"],
    "capabilities": ["plan"],
    "configuration": {"model": "claude-3-opus", "tools": ["read"], "capabilities": ["plan"],
                      "max_tokens": 100, "own": true},
    "current_task": {"id": "f47ac10b-58cc-4372-a567-0e02b2c3d479", "title": "Look"},
    "performance_metrics": {"tasks_completed": 3.0, "tasks_failed": 1.0, "success_rate": 75.0,
                            "avg_response_time": 1.5, "uptime_percentage": 99.5},
    "last_activity": "2026-01-02T03:04:05.000000Z",
    "last_heartbeat": null,
    "is_active": true,
    "created_at": "2026-01-02T03:04:05.000000Z",
    "updated_at": "2026-01-02T03:04:05.000000Z"
  })"));
}

TEST(Agent, SecondVersionShowsItsOwnForm) {
  EXPECT_EQ(parsed(to_json(sample(), Api::v2)), json::parse(R"({
    "id": "8a6e0804-2bd0-4672-b79d-d97027f9071a",
    "name": "scout",
    "type": "backend",
    "status": "busy",
    "current_task": "Look",
    "configuration": {"model": "claude-3-opus", "tools": ["read"], "capabilities": ["plan"],
                      "max_tokens": 100, "temperature": 0.7, "timeout": 300,
                      "custom_instructions": null, "environment_vars": {}},
    "metrics": {"tasks_completed": 3, "tasks_failed": 1, "success_rate": 75.0,
                "avg_response_time": 1.5, "total_runtime": 12.25,
                "last_activity": "2026-01-02T03:04:05.000000Z", "error_count": 2,
                "uptime_percentage": 99.5},
    "created_at": "2026-01-02T03:04:05.000000Z",
    "updated_at": "2026-01-02T03:04:05.000000Z",
    "tags": ["a", "b"],
    "metadata": {"k": 0.7}
  })"));
  auto const v2 = to_json(sample(), Api::v2);
  EXPECT_NE(v2.find(R"("tasks_completed":3,)"), std::string::npos) << "whole numbers in v2";
  auto const v1 = to_json(sample(), Api::v1);
  EXPECT_NE(v1.find(R"("tasks_completed":3.0,)"), std::string::npos) << "floats in v1";
}

TEST(Agent, MetricsAloneAreThoseWithinTheAgent) {
  auto const agent = sample();
  EXPECT_EQ(parsed(metrics_json_v1(agent)),
            parsed(to_json(agent, Api::v1)).at("performance_metrics"));
  EXPECT_EQ(parsed(metrics_json_v2(agent)), parsed(to_json(agent, Api::v2)).at("metrics"));
}

TEST(Agent, FreeKeysWinInTheFirstVersionsConfiguration) {
  auto agent = sample();
  agent.configuration.text = R"({"model":"mine","tools":7,"x":"\"capabilities\""})";
  auto const shown = parsed(flat_configuration(agent).text);
  EXPECT_EQ(shown, json::parse(R"({"capabilities":["plan"],"model":"mine","tools":7,
                                   "x":"\"capabilities\""})"));
  EXPECT_EQ(parsed(to_json(agent, Api::v1)).at("model"), "claude-3-opus");
  agent.configuration.text = R"({"capabilities":[],"model":null,"tools":[]})";
  EXPECT_EQ(flat_configuration(agent).text, agent.configuration.text);
  agent.configuration.text = "{}";
  EXPECT_EQ(names(parsed(flat_configuration(agent).text)), "model tools capabilities");
}

TEST(Agent, WhatDoesNotFitTheSecondVersionStaysAtItsDefault) {
  auto agent = sample();
  agent.configuration.text =
      R"({"max_tokens":"many","temperature":true,"timeout":-5,"custom_instructions":{},
          "environment_vars":[1],"model":"ignored","tools":"none"})";
  auto const seen = configuration_of(agent);
  EXPECT_EQ(seen.max_tokens, 4096);
  EXPECT_EQ(seen.temperature, 0.7);
  EXPECT_EQ(seen.timeout, 300);
  EXPECT_EQ(seen.custom_instructions, std::nullopt);
  EXPECT_TRUE(seen.environment_vars.empty());
  EXPECT_EQ(seen.model, "claude-3-opus");
  EXPECT_EQ(seen.tools, std::vector<std::string>{"read"});
  agent.tasks_completed = 1e300;
  agent.tasks_failed = -2.9;
  EXPECT_EQ(completed_count(agent), 9'000'000'000'000'000'000);
  EXPECT_EQ(failed_count(agent), -2);
}

TEST(Agent, SettingTheConfigurationKeepsUnknownKeys) {
  auto agent = sample();
  agent.configuration.text = R"({"own":{"deep":0.7},"max_tokens":1,"model":"free","tools":[]})";
  AgentConfiguration wanted;
  wanted.model = "new";
  wanted.tools = {"edit"};
  wanted.max_tokens = 55;
  wanted.environment_vars = {{"A", "1"}};
  set_configuration(agent, wanted);
  EXPECT_EQ(agent.model, "new");
  EXPECT_EQ(agent.tools, std::vector<std::string>{"edit"});
  EXPECT_TRUE(agent.capabilities.empty());
  EXPECT_EQ(parsed(agent.configuration.text),
            json::parse(R"({"own":{"deep":0.7},"max_tokens":55,"temperature":0.7,"timeout":300,
                            "custom_instructions":null,"environment_vars":{"A":"1"}})"));
  EXPECT_EQ(to_json(configuration_of(agent)), to_json(wanted));
}

// Whether the stored text is shown as it is or taken apart must make no difference.
TEST(Agent, SecondVersionsConfigurationIsTheSameByEitherWay) {
  Agent agent = sample();
  AgentConfiguration set;
  set.custom_instructions = "Say \"yes\"\n";
  set_configuration(agent, set);
  auto const with_escapes = agent.configuration.text;
  set.custom_instructions = "Plain";
  set.environment_vars = {{"B", "2"}, {"A", "1"}};
  set_configuration(agent, set);
  auto const with_variables = agent.configuration.text;
  set = {};
  set.temperature = 1e-7;
  set_configuration(agent, set);
  for (auto const& text :
       {with_escapes, with_variables, agent.configuration.text, std::string("{}"),
        std::string(R"({"max_tokens":100,"own":true})"),
        std::string(
            R"({"max_tokens":-1,"temperature":0.7,"timeout":300,"custom_instructions":null,)"
            R"("environment_vars":{}})"),
        std::string(R"({"max_tokens":1,"temperature":1,"timeout":300,"custom_instructions":null,)"
                    R"("environment_vars":{}})"),
        std::string(R"({"max_tokens":1,"temperature":0.5,"timeout":9999999999,)"
                    R"("custom_instructions":"x","environment_vars":{}})"),
        std::string(R"({"max_tokens":1,"temperature":0.5,"timeout":3,"custom_instructions":"x",)"
                    R"("environment_vars":{},"own":1})"),
        std::string(R"({"temperature":0.5,"max_tokens":1,"timeout":3,"custom_instructions":"x",)"
                    R"("environment_vars":{}})")}) {
    agent.configuration.text = text;
    std::string shown;
    JsonWriter writer(shown);
    describe::Codec<ShownConfiguration>::write(writer, shown_configuration(agent));
    EXPECT_EQ(shown, to_json(configuration_of(agent))) << text;
  }
}

TEST(Agent, CurrentTaskOfTheSecondVersionIsTitleOrId) {
  auto agent = sample();
  EXPECT_EQ(current_task_text(agent), "Look");
  agent.current_task_title.reset();
  EXPECT_EQ(current_task_text(agent), kTaskId);
  set_current_task_text(agent, std::string(kTaskId));
  EXPECT_EQ(agent.current_task_id, Uuid::parse(kTaskId)) << "as it was read";
  set_current_task_text(agent, "Other");
  EXPECT_EQ(agent.current_task_id, std::nullopt);
  EXPECT_EQ(agent.current_task_title, "Other");
  set_current_task_text(agent, std::nullopt);
  EXPECT_EQ(current_task_text(agent), std::nullopt);
}

TEST(Agent, StatusChangesAreBookedOnce) {
  Agent agent;
  auto const at = [](std::int64_t seconds) {
    return Timestamp{kMade.micros + seconds * 1'000'000};
  };
  change_status(agent, AgentStatus::idle, at(1));
  EXPECT_EQ(agent.status_changed_at, Timestamp{}) << "idle already: nothing changed";
  change_status(agent, AgentStatus::busy, at(10));
  EXPECT_EQ(agent.status_changed_at, at(10));
  EXPECT_EQ(agent.busy_since, at(10));
  change_status(agent, AgentStatus::busy, at(15));
  EXPECT_EQ(agent.busy_since, at(10)) << "still the same time of being busy";
  change_status(agent, AgentStatus::error, at(20));
  EXPECT_EQ(agent.total_runtime, 10);
  EXPECT_EQ(agent.error_count, 1);
  EXPECT_EQ(agent.busy_since, std::nullopt);
  change_status(agent, AgentStatus::error, at(21));
  EXPECT_EQ(agent.error_count, 1);
  change_status(agent, AgentStatus::busy, at(30));
  change_status(agent, AgentStatus::idle, at(25));
  EXPECT_EQ(agent.total_runtime, 10) << "a clock set back takes nothing away";
}

TEST(Agent, SuccessRateIsAShareOfAll) {
  auto agent = sample();
  agent.tasks_completed = 1;
  agent.tasks_failed = 3;
  recompute_success_rate(agent);
  EXPECT_EQ(agent.success_rate, 25);
  agent.tasks_completed = agent.tasks_failed = 0;
  recompute_success_rate(agent);
  EXPECT_EQ(agent.success_rate, 0);
  agent.tasks_completed = agent.tasks_failed = 1e308;
  recompute_success_rate(agent);
  EXPECT_EQ(agent.success_rate, 50);
  agent.tasks_completed = 3;
  agent.tasks_failed = -1;
  recompute_success_rate(agent);
  EXPECT_EQ(agent.success_rate, 100);
  agent.tasks_completed = -3;
  recompute_success_rate(agent);
  EXPECT_EQ(agent.success_rate, 0);
}

TEST(Agent, StatesTheFirstVersionDoesNotKnowLookLikeTheirNearest) {
  auto agent = sample();
  agent.status = AgentStatus::inactive;
  EXPECT_EQ(parsed(to_json(agent, Api::v1)).at("status"), "offline");
  EXPECT_EQ(parsed(to_json(agent, Api::v2)).at("status"), "inactive");
  agent.status = AgentStatus::restarting;
  EXPECT_EQ(parsed(to_json(agent, Api::v1)).at("status"), "busy");
  EXPECT_EQ(parsed(to_json(agent, Api::v2)).at("status"), "restarting");
}

// The types and places of everything that is wrong with a body.
std::string wrong(std::string_view body, Agent& agent, Api api, Purpose purpose) {
  describe::Issues issues;
  read_agent(json::parse({body.data(), body.size()}), agent, api, purpose, issues);
  std::string all;
  for (auto const& issue : issues.list()) {
    if (!all.empty()) all += "; ";
    all += issue.type;
    for (auto const& step : issue.loc) {
      auto const* name = std::get_if<std::string>(&step);
      all += " " + (name != nullptr ? *name : std::to_string(std::get<std::int64_t>(step)));
    }
  }
  return all;
}

TEST(AgentBody, FirstVersionCreates) {
  Agent agent;
  EXPECT_EQ(wrong(R"({"name":"n","agent_type":"t","description":null,"model":"m","tools":["x"],
                      "capabilities":["y"],"configuration":{"z":1},"status":"error",
                      "current_task_title":"not yet","tags":["no"],"id":"no"})",
                  agent, Api::v1, Purpose::create),
            "");
  EXPECT_EQ(agent.name, "n");
  EXPECT_EQ(agent.agent_type, "t");
  EXPECT_EQ(agent.model, "m");
  EXPECT_EQ(agent.status, AgentStatus::error);
  EXPECT_EQ(agent.configuration.text, R"({"z":1})");
  EXPECT_EQ(agent.current_task_title, std::nullopt);
  EXPECT_TRUE(agent.tags.empty());
  EXPECT_EQ(wrong("{}", agent, Api::v1, Purpose::create),
            "missing body name; missing body agent_type");
  auto const longest = std::string(101, 'm');
  EXPECT_EQ(wrong(R"({"name":"","agent_type":")" + longest + R"(","model":")" + longest +
                      R"(","status":"sleeping"})",
                  agent, Api::v1, Purpose::create),
            "string_too_short body name; string_too_long body agent_type;"
            " string_pattern_mismatch body status; string_too_long body model");
}

TEST(AgentBody, SecondVersionCreatesAndNeverChangesTheType) {
  Agent agent;
  EXPECT_EQ(wrong(R"({"name":"n","type":"t","status":"busy","tags":["a"],"metadata":{"b":1},
                      "configuration":{"max_tokens":5}})",
                  agent, Api::v2, Purpose::create),
            "");
  EXPECT_EQ(agent.agent_type, "t");
  EXPECT_EQ(agent.status, AgentStatus::idle) << "not accepted when an agent is made";
  EXPECT_EQ(agent.tools, (std::vector<std::string>{"read", "write", "edit"}));
  EXPECT_EQ(configuration_of(agent).max_tokens, 5);
  EXPECT_EQ(wrong(R"({"type":"other","name":"m"})", agent, Api::v2, Purpose::update), "");
  EXPECT_EQ(agent.agent_type, "t");
  EXPECT_EQ(agent.name, "m");
  EXPECT_EQ(wrong(R"({"name":null,"status":null,"configuration":null,"tags":null,"metadata":null,
                      "current_task":null})",
                  agent, Api::v2, Purpose::update),
            "string_type body name; string_type body status; dict_type body configuration;"
            " list_type body tags; dict_type body metadata");
}

TEST(Agent, StoredFormComesBackWhole) {
  auto agent = sample();
  agent.version = 9;
  agent.status_changed_at = kMade;
  agent.busy_since = kMade;
  agent.last_heartbeat = kMade;
  auto const stored = stored_json(agent);
  auto const back = from_stored(json::parse(stored).get_object());
  EXPECT_EQ(stored_json(back), stored);
  EXPECT_EQ(back.version, 9);
  EXPECT_EQ(to_json(back, Api::v1), to_json(agent, Api::v1));
  EXPECT_EQ(to_json(back, Api::v2), to_json(agent, Api::v2));
}

json::value schema(void (*write)(JsonWriter&)) {
  std::string text;
  JsonWriter out(text);
  out.begin_object();
  write(out);
  out.end_object();
  return json::parse(text);
}

TEST(AgentSchema, NamesExactlyWhatIsWritten) {
  auto const agent = sample();
  auto const same_names = [](json::value const& properties, json::value const& shown) {
    EXPECT_EQ(properties.get_object().size(), shown.get_object().size());
    for (auto const& member : shown.get_object()) {
      EXPECT_TRUE(properties.get_object().contains(member.key())) << member.key();
    }
  };
  for (auto const api : {Api::v1, Api::v2}) {
    auto const whole = schema(api == Api::v1 ? &agent_schema_v1 : &agent_schema_v2);
    same_names(whole.at("properties"), parsed(to_json(agent, api)));
    auto const metrics =
        schema(api == Api::v1 ? &agent_metrics_schema_v1 : &agent_metrics_schema_v2);
    same_names(metrics.at("properties"),
               parsed(api == Api::v1 ? metrics_json_v1(agent) : metrics_json_v2(agent)));
  }
  same_names(schema(&agent_configuration_schema).at("properties"),
             parsed(to_json(AgentConfiguration{})));
}

TEST(AgentSchema, BodiesRequireNameAndTypeOnlyToCreate) {
  EXPECT_EQ(schema(&agent_create_schema_v1).at("required"),
            json::parse(R"(["name","agent_type"])"));
  EXPECT_EQ(schema(&agent_create_schema_v2).at("required"), json::parse(R"(["name","type"])"));
  EXPECT_FALSE(schema(&agent_update_schema_v1).get_object().contains("required"));
  auto const update = schema(&agent_update_schema_v2);
  EXPECT_EQ(names(update.at("properties")), "name status current_task configuration tags metadata");
}

}  // namespace
}  // namespace subforge::domain
