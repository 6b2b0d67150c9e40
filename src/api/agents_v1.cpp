#include "api/agents_v1.hpp"

#include "api/handler_parts.hpp"
#include "api/listed.hpp"
#include "base/json_writer.hpp"
#include "pipeline/once.hpp"

namespace subforge::api {
namespace {

using describe::Api;
using describe::Purpose;
using domain::Agent;
using domain::AgentFilter;
using domain::Agents;
using domain::AgentStatus;
using http::Request;
using http::Response;
using http::Route;
using net::Method;

http::Schema const kAgentSchema{"AgentV1", &domain::agent_schema_v1};

Response agent_response(Result<Agent> const& agent) {
  if (!agent) return Response::from(agent.error());
  auto response = Response::json(domain::to_json(*agent, Api::v1));
  // A heartbeat without news shows here alone, and makes no new version.
  auto const heard = agent->last_heartbeat.value_or(Timestamp{});
  response.etag = etag_of(agent->version, heard.micros);
  return response;
}

AgentFilter agent_filter_of(Request const& request) {
  AgentFilter filter;
  if (auto const status = request.text("status")) {
    auto const known = describe::from_text<AgentStatus>(*status);
    // A filter finds what the list shows: two states look like their relatives here.
    for (auto const& [value, name] : names_of(AgentStatus{})) {
      if (known && domain::status_in_v1(value) == *known) filter.statuses.push_back(value);
    }
    filter.impossible = filter.statuses.empty();
  }
  filter.type = request.text("agent_type");
  filter.is_active = request.boolean("is_active");
  filter.skip = request.integer("skip");
  filter.limit = request.integer("limit");
  return filter;
}

Task<Response> list_agents(Agents& agents, Request const& request) {
  return listed(agents, request, agent_filter_of(request));
}

Task<Response> get_agent(Agents& agents, Request const& request) {
  co_return agent_response(co_await agents.get(request.uuid(0)));
}

Task<Response> create_agent(Agents& agents, Request const& request) {
  auto const read = [](auto const& value, Agent& out, describe::Issues& issues) {
    return domain::read_agent(value, out, Api::v1, Purpose::create, issues);
  };
  auto draft = read_body<Agent>(request, read);
  if (!draft) co_return std::move(draft.error());
  co_return co_await pipeline::answer_with(
      request, agents.create(std::move(*draft), domain::NameRule::unique, actor_of(request)),
      agent_response);
}

Task<Response> update_agent(Agents& agents, Request const& request) {
  auto body = http::parse_json_body(request);
  if (!body) co_return std::move(body.error());
  Agent scratch;
  describe::Issues issues;
  if (!domain::read_agent(*body, scratch, Api::v1, Purpose::update, issues)) {
    co_return Response::invalid(issues);
  }
  co_return agent_response(co_await agents.update(request.uuid(0), std::move(*body), Api::v1,
                                                  actor_of(request), condition_of(request)));
}

Task<Response> set_agent_status(Agents& agents, Request const& request) {
  auto body = read_body<domain::StatusBody>(request, &domain::read_status_body);
  if (!body) co_return std::move(body.error());
  co_return agent_response(co_await agents.set_status(request.uuid(0), std::move(*body),
                                                      actor_of(request), condition_of(request)));
}

Task<Response> set_metrics(Agents& agents, Request const& request) {
  auto body = read_body<domain::MetricsBody>(request, &domain::read_metrics_body);
  if (!body) co_return std::move(body.error());
  co_return agent_response(co_await agents.set_metrics(request.uuid(0), std::move(*body),
                                                       actor_of(request), condition_of(request)));
}

Task<Response> heartbeat(Agents& agents, Request const& request) {
  auto body = read_body<domain::HeartbeatBody>(request, &domain::read_heartbeat_body);
  if (!body) co_return std::move(body.error());
  auto const timestamp = body->timestamp.value.value_or(Timestamp::now());
  auto const received = [timestamp](Result<Agent> const& agent) {
    if (!agent) return Response::from(agent.error());
    Response response;
    JsonWriter json(response.body);
    json.begin_object();
    json.member("status", "heartbeat_received");
    json.member("timestamp", timestamp);
    json.end_object();
    return response;
  };
  co_return co_await pipeline::answer_with(
      request,
      agents.heartbeat(request.uuid(0), std::move(*body), actor_of(request), condition_of(request)),
      received);
}

Task<Response> delete_agent(Agents& agents, Request const& request) {
  auto const removed =
      co_await agents.remove(request.uuid(0), actor_of(request), condition_of(request));
  if (!removed) co_return Response::from(removed.error());
  co_return Response::json(R"({"message":"Agent deleted successfully"})");
}

Task<Response> agents_summary(Agents& agents, Request const&) {
  auto const summary = co_await agents.summary();
  if (!summary) co_return Response::from(summary.error());
  Response response;
  JsonWriter json(response.body);
  json.begin_object();
  json.member("total_agents", summary->total);
  json.member("active_agents", summary->active);
  json.member("idle_agents", summary->idle);
  json.member("busy_agents", summary->busy);
  json.member("offline_agents", summary->offline);
  json.member("avg_success_rate", summary->avg_success_rate);
  json.member("avg_response_time", summary->avg_response_time);
  json.member("avg_uptime", summary->avg_uptime);
  json.end_object();
  co_return response;
}

constexpr describe::Shape kAgentsSummary =
    "total_agents:integer active_agents:integer idle_agents:integer busy_agents:integer"
    " offline_agents:integer avg_success_rate:number avg_response_time:number avg_uptime:number";
constexpr describe::Shape kHeartbeatReceived = "status=heartbeat_received timestamp:time";

}  // namespace

http::Routes agents_v1(Agents& agents) {
  using enum http::Access;
  auto const id = uuid_parameter("agent_id", "The agent's id.");
  http::Answer const agent{200, "The agent.", kAgentSchema};
  http::Answer const unknown{404, "There is no such agent."};
  // Binds the service a handler needs; the row shows which handler it is.
  auto const with = [&agents](auto handler) -> http::AsyncHandler {
    return [&agents, handler](Request const& request) { return handler(agents, request); };
  };
  http::Routes routes("/api/v1/agents");
  routes
      .add({.method = Method::get,
            .path = "/",
            .name = "v1_list_agents",
            .summary = "List agents in the order they were made",
            .tag = "agents v1",
            .handler = with(&list_agents),
            .access = read,
            .query = {text_parameter("status", "Only agents in this state."),
                      text_parameter("agent_type", "Only agents of this type."),
                      flag_parameter("is_active", "Only agents that are, or are not, active."),
                      integer_parameter("skip", 0, 0, std::nullopt, "How many to leave out."),
                      integer_parameter("limit", 100, 1, kListLimitMax, "How many at most."),
                      cursor_parameter()},
            .answers = {{200, "The agents.", kAgentSchema, http::Shape::list}}})
      .add({.method = Method::post,
            .path = "/",
            .name = "v1_create_agent",
            .summary = "Create an agent",
            .tag = "agents v1",
            .handler = with(&create_agent),
            .access = write,
            .body = http::BodySpec{{"AgentCreateV1", &domain::agent_create_schema_v1}},
            .answers = {agent, {409, "An agent with this name and type exists."}}})
      .add({.method = Method::get,
            .path = "/stats/summary",
            .name = "v1_agents_summary",
            .summary = "Counts and averages over all agents",
            .tag = "agents v1",
            .handler = with(&agents_summary),
            .access = read,
            .answers = {{200, "The figures.", {"AgentsSummaryV1", kAgentsSummary}}}})
      .add({.method = Method::get,
            .path = "/{agent_id}",
            .name = "v1_get_agent",
            .summary = "Get an agent",
            .tag = "agents v1",
            .handler = with(&get_agent),
            .access = read,
            .path_parameters = {id},
            .answers = {agent, unknown}})
      .add({.method = Method::put,
            .path = "/{agent_id}",
            .name = "v1_update_agent",
            .summary = "Change an agent; only members that are sent change",
            .tag = "agents v1",
            .handler = with(&update_agent),
            .access = write,
            .conditional = true,
            .path_parameters = {id},
            .body = http::BodySpec{{"AgentUpdateV1", &domain::agent_update_schema_v1}},
            .answers = {agent, unknown}})
      .add({.method = Method::patch,
            .path = "/{agent_id}/status",
            .name = "v1_set_agent_status",
            .summary = "Set an agent's status and current task",
            .tag = "agents v1",
            .handler = with(&set_agent_status),
            .access = write,
            .conditional = true,
            .path_parameters = {id},
            .body = http::BodySpec{{"AgentStatusV1", &domain::status_body_schema}},
            .answers = {agent, unknown}})
      .add({.method = Method::patch,
            .path = "/{agent_id}/metrics",
            .name = "v1_set_agent_metrics",
            .summary = "Set an agent's performance figures",
            .tag = "agents v1",
            .handler = with(&set_metrics),
            .access = write,
            .conditional = true,
            .path_parameters = {id},
            .body = http::BodySpec{{"AgentMetricsUpdateV1", &domain::metrics_body_schema}},
            .answers = {agent, unknown}})
      .add({.method = Method::post,
            .path = "/{agent_id}/heartbeat",
            .name = "v1_agent_heartbeat",
            .summary = "Tell that an agent is alive",
            .tag = "agents v1",
            .handler = with(&heartbeat),
            .access = write,
            .conditional = true,
            .path_parameters = {id},
            .body = http::BodySpec{{"AgentHeartbeatV1", &domain::heartbeat_body_schema}},
            .answers = {{200, "Taken.", {"HeartbeatReceivedV1", kHeartbeatReceived}}, unknown}})
      .add({.method = Method::del,
            .path = "/{agent_id}",
            .name = "v1_delete_agent",
            .summary = "Delete an agent",
            .tag = "agents v1",
            .handler = with(&delete_agent),
            .access = write,
            .conditional = true,
            .path_parameters = {id},
            .answers = {{200, "Deleted.", {"Message", kMessage}}, unknown}});
  return routes;
}

}  // namespace subforge::api
