#include "api/agents_v2.hpp"

#include <fmt/format.h>

#include "api/handler_parts.hpp"
#include "api/listed.hpp"
#include "base/json_writer.hpp"
#include "base/text.hpp"
#include "base/utf8.hpp"
#include "describe/parse_json.hpp"
#include "describe/yaml.hpp"
#include "http/multipart.hpp"
#include "pipeline/once.hpp"

namespace subforge::api {
namespace {

using describe::Api;
using describe::Purpose;
using domain::Agent;
using domain::AgentConfiguration;
using domain::AgentFilter;
using domain::Agents;
using domain::AgentStatus;
using http::ClientKey;
using http::Parameter;
using http::Request;
using http::Response;
using net::Method;

constexpr std::uint64_t kConfigurationUploadBytesMax = 1U << 20;

http::Schema const kAgentSchema{"AgentV2", &domain::agent_schema_v2};

Response unknown_agent(std::string_view id) {
  return Response::problem(404, fmt::format("Agent {} not found", id));
}

// The error of something done to the agent named in the path.
Response failure(Error const& error, std::string_view id) {
  return error.code == ErrorCode::not_found ? unknown_agent(id) : Response::from(error);
}

Response agent_response(Agent const& agent, int status = 200) {
  auto response = Response::json(domain::to_json(agent, Api::v2), status);
  response.etag = etag_of(agent.version);
  return response;
}

AgentFilter agent_filter_of(Request const& request) {
  AgentFilter filter;
  if (auto const status = request.text("status")) {
    if (auto const known = describe::from_text<AgentStatus>(*status)) {
      filter.statuses.push_back(*known);
    } else {
      filter.impossible = true;
    }
  }
  filter.type = request.text("type");
  if (auto const tags = request.text("tags")) {
    for (auto const tag : split_list(*tags, ',')) filter.tags.emplace_back(tag);
  }
  filter.search = request.text("search");
  auto const sort = request.text("sort_by").value_or("created_at");
  if (sort == "name") filter.sort = AgentFilter::Sort::name;
  if (sort == "status") filter.sort = AgentFilter::Sort::status;
  if (sort == "updated_at") filter.sort = AgentFilter::Sort::updated;
  filter.descending = request.text("sort_order").value_or("desc") == "desc";
  filter.skip = request.integer("skip");
  filter.limit = request.integer("limit");
  return filter;
}

Task<Response> list_agents(Agents& agents, Request const& request) {
  auto filter = agent_filter_of(request);
  auto after = read_cursor(request);
  if (!after) co_return std::move(after.error());
  filter.after = std::move(*after);
  auto const page = co_await agents.list(std::move(filter));
  if (!page) co_return Response::from(page.error());
  co_return page_response(request, *page, Api::v2);
}

Task<Response> get_agent(Agents& agents, Request const& request) {
  auto const id = id_of(request);
  if (!id) co_return unknown_agent(request.path_values.front());
  auto const agent = co_await agents.get(*id);
  if (!agent) co_return failure(agent.error(), request.path_values.front());
  co_return agent_response(*agent);
}

Task<Response> create_agent(Agents& agents, Request const& request) {
  auto const read = [](auto const& value, Agent& out, describe::Issues& issues) {
    out.status = AgentStatus::active;
    // Members of a configuration that was not sent have their defaults too.
    domain::set_configuration(out, AgentConfiguration{});
    return domain::read_agent(value, out, Api::v2, Purpose::create, issues);
  };
  auto draft = read_body<Agent>(request, read);
  if (!draft) co_return std::move(draft.error());
  auto const created = [](Result<Agent> const& agent) {
    return agent ? agent_response(*agent, 201) : Response::from(agent.error());
  };
  co_return co_await pipeline::answer_with(
      request, agents.create(std::move(*draft), domain::NameRule::any, actor_of(request)), created);
}

Task<Response> update_agent(Agents& agents, Request const& request) {
  auto body = http::parse_json_body(request);
  if (!body) co_return std::move(body.error());
  Agent scratch;
  describe::Issues issues;
  if (!domain::read_agent(*body, scratch, Api::v2, Purpose::update, issues)) {
    co_return Response::invalid(issues);
  }
  auto const id = id_of(request);
  if (!id) co_return unknown_agent(request.path_values.front());
  auto const agent = co_await agents.update(*id, std::move(*body), Api::v2, actor_of(request),
                                            condition_of(request));
  if (!agent) co_return failure(agent.error(), request.path_values.front());
  co_return agent_response(*agent);
}

Task<Response> delete_agent(Agents& agents, Request const& request) {
  auto const id = id_of(request);
  if (!id) co_return unknown_agent(request.path_values.front());
  auto const removed = co_await agents.remove(*id, actor_of(request), condition_of(request));
  if (!removed) co_return failure(removed.error(), request.path_values.front());
  co_return Response::empty(204);
}

Response bulk_response(Result<domain::BulkOutcome> const& outcome) {
  if (!outcome) return Response::from(outcome.error());
  auto const total = static_cast<std::int64_t>(outcome->items.size());
  Response response;
  JsonWriter json(response.body);
  json.begin_object();
  json.member("operation", outcome->operation);
  json.member("total_agents", total);
  json.member("successful", outcome->successful());
  json.member("failed", total - outcome->successful());
  json.member_raw("results", outcome->results_json());
  json.end_object();
  return response;
}

Task<Response> bulk_operation(Agents& agents, Request const& request) {
  auto body = read_body<domain::BulkBody>(request, &domain::read_bulk_body);
  if (!body) co_return std::move(body.error());
  co_return co_await pipeline::answer_with(
      request, agents.bulk(std::move(*body), actor_of(request)), bulk_response);
}

// The file's content as a configuration, or the sentence of a 400.
std::expected<AgentConfiguration, std::string> parse_configuration(std::string const& filename,
                                                                   std::string const& content) {
  if (!is_valid_utf8(content)) return std::unexpected("the file is not UTF-8 text");
  auto const value = filename.ends_with(".json") ? describe::parse_json_text(content)
                                                 : describe::parse_yaml_text(content);
  if (!value) return std::unexpected(value.error().message);
  if (!value->is_object()) return std::unexpected("the content is not an object");
  AgentConfiguration configuration;
  describe::Issues issues;
  if (domain::read_configuration(*value, configuration, issues)) {
    if (domain::to_json(configuration).size() <= domain::kConfigurationBytesMax) {
      return configuration;
    }
    return std::unexpected(
        fmt::format("it has more than {} bytes", domain::kConfigurationBytesMax));
  }
  std::string cause;
  for (auto const& issue : issues.list()) {
    if (!cause.empty()) cause += "; ";
    for (std::size_t i = 1; i < issue.loc.size(); ++i) {
      if (auto const* name = std::get_if<std::string>(&issue.loc[i])) cause += *name + ": ";
    }
    cause += issue.msg;
  }
  return std::unexpected(std::move(cause));
}

Response missing_file() {
  describe::Issues issues;
  describe::Where const body{nullptr, "body"};
  issues.add({&body, std::string_view("file")}, "missing", "Field required", "null");
  return Response::invalid(issues);
}

Task<Response> upload_configuration(Agents& agents, BlockingPool& pool, Request const& request) {
  auto const parts = http::parse_multipart(request.content_type, request.body);
  if (!parts) co_return Response::problem(400, parts.error().message);
  http::Part const* file = nullptr;
  for (auto const& part : *parts) {
    if (part.name == "file" && part.filename) file = &part;
  }
  if (file == nullptr) co_return missing_file();
  auto const filename = to_lower(*file->filename);
  if (!filename.ends_with(".json") && !filename.ends_with(".yaml") && !filename.ends_with(".yml")) {
    co_return Response::problem(400, "Only JSON and YAML configuration files are supported");
  }
  auto const id = id_of(request);
  if (!id) co_return unknown_agent(request.path_values.front());
  if (auto const agent = co_await agents.get(*id); !agent) {
    co_return failure(agent.error(), request.path_values.front());
  }
  auto parse = [filename, content = std::string(file->content)]()
      -> Result<std::expected<AgentConfiguration, std::string>> {
    return parse_configuration(filename, content);
  };
  auto const parsed = co_await pool.run(std::move(parse));
  if (!parsed) co_return Response::from(parsed.error());
  if (!*parsed) {
    co_return Response::problem(400, "Invalid configuration format: " + parsed->error());
  }
  auto const configured = [&](Result<domain::ConfiguredAgent> const& done) {
    if (!done) return failure(done.error(), request.path_values.front());
    Response response;
    JsonWriter json(response.body);
    json.begin_object();
    json.member("message", "Configuration uploaded successfully");
    json.member("agent_id", done->agent.id);
    json.key("background_task_id");
    done->task_id ? json.uuid(*done->task_id) : json.null();
    json.member_raw("configuration", domain::to_json(**parsed));
    json.end_object();
    return response;
  };
  co_return co_await pipeline::answer_with(
      request,
      agents.configure(*id, **parsed, *file->filename, actor_of(request), condition_of(request)),
      configured);
}

Task<Response> get_metrics(Agents& agents, Request const& request) {
  auto const id = id_of(request);
  if (!id) co_return unknown_agent(request.path_values.front());
  auto const agent = co_await agents.get(*id);
  if (!agent) co_return failure(agent.error(), request.path_values.front());
  co_return Response::json(domain::metrics_json_v2(*agent));
}

std::optional<LogLevel> level_named(std::optional<std::string> const& name) {
  for (auto const level :
       {LogLevel::debug, LogLevel::info, LogLevel::warning, LogLevel::error, LogLevel::critical}) {
    if (name && *name == log_level_name(level)) return level;
  }
  return std::nullopt;
}

Task<Response> get_logs(Agents& agents, Request const& request) {
  auto const id = id_of(request);
  if (!id) co_return unknown_agent(request.path_values.front());
  auto const level = request.text("level");
  auto after = read_cursor(request);
  if (!after) co_return std::move(after.error());
  auto const page =
      co_await agents.logs(*id, {level_named(level), std::move(*after), request.integer("limit")});
  if (!page) co_return failure(page.error(), request.path_values.front());
  Response response;
  JsonWriter json(response.body);
  json.begin_object();
  json.member("agent_id", request.path_values.front());
  json.key("logs");
  json.begin_array();
  for (auto const& line : page->lines) {
    json.begin_object();
    json.member("timestamp", line.at);
    json.member("level", log_level_name(line.level));
    json.member("message", line.message);
    json.key("details");
    json.begin_object();
    json.key("task_id");
    line.task_id ? json.uuid(*line.task_id) : json.null();
    json.member_null("duration");
    json.end_object();
    json.end_object();
  }
  json.end_array();
  json.member("total_count", page->lines.size());
  json.key("level_filter");
  level ? json.string(*level) : json.null();
  json.end_object();
  add_page_fields(response, request, page->total, page->next);
  co_return response;
}

void upload_schema(JsonWriter& json) {
  json.member("type", "object");
  json.member_raw("properties",
                  R"({"file":{"type":"string","contentMediaType":"application/octet-stream",)"
                  R"("description":"A .json, .yaml or .yml file."}})");
  json.member_raw("required", R"(["file"])");
}

constexpr describe::Shape kBulkStarted =
    "operation:text total_agents:integer successful:integer failed:integer"
    " results:[{agent_id:text success:boolean action?:text error?:text}]";
constexpr describe::Shape kConfigurationUploaded =
    "message:text agent_id:id background_task_id:id|null configuration:AgentConfiguration";
constexpr describe::Shape kLogs =
    "agent_id:text logs:[{timestamp:time level:text message:text"
    " details:{task_id:id|null duration:null}}] total_count:integer level_filter:text|null";

}  // namespace

http::Routes agents_v2(Agents& agents, BlockingPool& pool) {
  using enum http::Access;
  Parameter const id{.name = "agent_id", .doc = "The agent's id."};
  http::Answer const agent{200, "The agent.", kAgentSchema};
  http::Answer const unknown{404, "There is no such agent."};
  http::CachePolicy const whole_list{60, "agent:*"};
  http::CachePolicy const one_agent{30, "agent:{}"};
  auto const with = [&agents](auto handler) -> http::AsyncHandler {
    return [&agents, handler](Request const& request) { return handler(agents, request); };
  };
  http::Routes routes("/api/v2/agents");
  routes
      .add({.method = Method::get,
            .path = "/",
            .name = "v2_list_agents",
            .summary = "List, filter, sort and page agents",
            .tag = "agents v2",
            .handler = with(&list_agents),
            .access = read,
            .limit = {100, ClientKey::address},
            .cache = whole_list,
            .query = {integer_parameter("skip", 0, 0, std::nullopt, "How many to leave out."),
                      integer_parameter("limit", 100, 1, 1000, "How many at most."),
                      cursor_parameter(), text_parameter("status", "Only agents in this state."),
                      text_parameter("type", "Only agents of this type."),
                      text_parameter("tags", "Comma separated; agents that have any of them."),
                      text_parameter("search", "Part of the name, in any case."),
                      text_parameter("sort_by",
                                     "created_at (also for unknown names), name, status or"
                                     " updated_at."),
                      choice_parameter("sort_order", {"asc", "desc"}, "desc if not given.")},
            .answers = {{200, "The agents.", kAgentSchema, http::Shape::list}},
            .failure = "Failed to retrieve agents"})
      .add({.method = Method::post,
            .path = "/",
            .name = "v2_create_agent",
            .summary = "Create an agent",
            .tag = "agents v2",
            .handler = with(&create_agent),
            .access = write,
            .limit = {20, ClientKey::user},
            .body = http::BodySpec{{"AgentCreateV2", &domain::agent_create_schema_v2}},
            .answers = {{201, "The new agent.", kAgentSchema}},
            .failure = "Failed to create agent"})
      .add({.method = Method::post,
            .path = "/bulk-operation",
            .name = "v2_bulk_agents",
            .summary = "Start, stop, restart, delete or update several agents",
            .tag = "agents v2",
            .handler = with(&bulk_operation),
            .access = write,
            .limit = {10, ClientKey::user},
            .body = http::BodySpec{{"AgentBulkOperation", &domain::bulk_body_schema}},
            .answers = {{200, "What became of each.", {"AgentBulkOutcome", kBulkStarted}}},
            .failure = "Failed to perform bulk operation"})
      .add({.method = Method::get,
            .path = "/{agent_id}",
            .name = "v2_get_agent",
            .summary = "Get an agent",
            .tag = "agents v2",
            .handler = with(&get_agent),
            .access = read,
            .limit = {200, ClientKey::address},
            .cache = one_agent,
            .path_parameters = {id},
            .answers = {agent, unknown},
            .failure = "Failed to retrieve agent"})
      .add({.method = Method::put,
            .path = "/{agent_id}",
            .name = "v2_update_agent",
            .summary = "Change an agent; only members that are sent change",
            .tag = "agents v2",
            .handler = with(&update_agent),
            .access = write,
            .limit = {50, ClientKey::user},
            .conditional = true,
            .path_parameters = {id},
            .body = http::BodySpec{{"AgentUpdateV2", &domain::agent_update_schema_v2}},
            .answers = {agent, unknown},
            .failure = "Failed to update agent"})
      .add({.method = Method::del,
            .path = "/{agent_id}",
            .name = "v2_delete_agent",
            .summary = "Delete an agent",
            .tag = "agents v2",
            .handler = with(&delete_agent),
            .access = write,
            .limit = {20, ClientKey::user},
            .conditional = true,
            .path_parameters = {id},
            .answers = {{204, "Deleted."}, unknown},
            .failure = "Failed to delete agent"})
      .add({.method = Method::post,
            .path = "/{agent_id}/configuration/upload",
            .name = "v2_upload_agent_configuration",
            .summary = "Set an agent's configuration from a JSON or YAML file",
            .tag = "agents v2",
            .handler = http::AsyncHandler([&agents, &pool](Request const& request) {
              return upload_configuration(agents, pool, request);
            }),
            .access = write,
            .limit = {10, ClientKey::user},
            .conditional = true,
            .path_parameters = {id},
            .body =
                http::BodySpec{{"AgentConfigurationUpload", &upload_schema}, "multipart/form-data"},
            .body_bytes_max = kConfigurationUploadBytesMax,
            .answers = {{200,
                         "The configuration now in force.",
                         {"AgentConfigurationUploaded",
                          kConfigurationUploaded,
                          {{"AgentConfiguration", &domain::agent_configuration_schema}}}},
                        {400, "The file is not a configuration."},
                        unknown},
            .failure = "Failed to upload configuration"})
      .add({.method = Method::get,
            .path = "/{agent_id}/metrics",
            .name = "v2_get_agent_metrics",
            .summary = "Get an agent's figures",
            .tag = "agents v2",
            .handler = with(&get_metrics),
            .access = read,
            .limit = {100, ClientKey::address},
            .cache = one_agent,
            .path_parameters = {id},
            .answers = {{200, "The figures.", {"AgentMetricsV2", &domain::agent_metrics_schema_v2}},
                        unknown},
            .failure = "Failed to retrieve agent metrics"})
      .add({.method = Method::get,
            .path = "/{agent_id}/logs",
            .name = "v2_get_agent_logs",
            .summary = "Get an agent's newest log lines",
            .tag = "agents v2",
            .handler = with(&get_logs),
            .access = read,
            .limit = {50, ClientKey::address},
            .path_parameters = {id},
            .query = {integer_parameter("limit", 100, 1, 1000, "How many at most."),
                      cursor_parameter(),
                      choice_parameter("level", {"DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"},
                                       "Only lines of this level.")},
            .answers = {{200, "The lines.", {"AgentLogsV2", kLogs}}, unknown},
            .failure = "Failed to retrieve agent logs"});
  return routes;
}

}  // namespace subforge::api
