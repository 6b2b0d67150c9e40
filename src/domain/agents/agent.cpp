#include "domain/agents/agent.hpp"

#include <algorithm>

#include <boost/json/monotonic_resource.hpp>
#include <boost/json/object.hpp>

#include "describe/json_text.hpp"
#include "describe/parse_json.hpp"

namespace subforge::domain {
namespace {

namespace json = boost::json;
using describe::Api;
using describe::Codec;
using describe::Issues;
using describe::Purpose;
using describe::Where;

// Members of AgentConfiguration that have a column of their own.
constexpr bool has_column(std::string_view name) {
  return name == "model" || name == "tools" || name == "capabilities";
}

json::object parse_object(std::string const& text) {
  boost::system::error_code error;
  auto value = describe::parse_json(text, error);
  return !error && value.is_object() ? std::move(value.get_object()) : json::object{};
}

// Version 1 lets anything into the free object; what does not fit is left at its default.
void read_known_members(json::object const& object, AgentConfiguration& configuration) {
  Issues ignored;
  describe::for_each_field<AgentConfiguration>([&](auto const& f) {
    using T = typename std::remove_cvref_t<decltype(f)>::Type;
    if (has_column(f.name)) return;
    auto const* value = object.if_contains({f.name.data(), f.name.size()});
    if (value == nullptr) return;
    if (T parsed{}; Codec<T>::read(*value, parsed, f.bounds, {}, ignored)) {
      f.set(configuration, std::move(parsed));
    }
  });
}

template <class T>
std::string text_of(T const& value) {
  std::string text;
  JsonWriter writer(text);
  Codec<T>::write(writer, value);
  return text;
}

// Takes the front off a text that is being compared with an expected form.
bool take(std::string_view& text, std::string_view front) {
  if (!text.starts_with(front)) return false;
  text.remove_prefix(front.size());
  return true;
}

// Takes a value in the form Codec<T> writes it; false also for some that it does write.
template <class T>
bool take_value(std::string_view& text) {
  if constexpr (std::is_same_v<T, std::int64_t>) {
    auto const digits = std::min(text.find_first_not_of("0123456789"), text.size());
    constexpr std::size_t kWithinAnyBounds = 9;
    if (digits == 0 || digits > kWithinAnyBounds) return false;
    text.remove_prefix(digits);
    return true;
  } else if constexpr (std::is_same_v<T, double>) {
    auto const number = text.substr(0, text.find_first_not_of("0123456789.-+e"));
    if (number.find_first_of(".e") == std::string_view::npos) return false;
    text.remove_prefix(number.size());
    return true;
  } else if constexpr (std::is_same_v<T, std::optional<std::string>>) {
    if (take(text, "null")) return true;
    if (!take(text, "\"")) return false;
    auto const end = text.find_first_of("\"\\");
    if (end == std::string_view::npos || text[end] != '"') return false;
    text.remove_prefix(end + 1);
    return true;
  } else {
    static_assert(std::is_same_v<T, std::map<std::string, std::string>>);
    return take(text, "{}");
  }
}

// Whether the free object holds the members that version 2 stores there, in its order and nothing
// else, so that it can be shown as it is.
bool is_as_stored_by_v2(std::string_view text) {
  std::string_view before = "{";
  bool good = true;
  describe::for_each_field<AgentConfiguration>([&](auto const& f) {
    using T = typename std::remove_cvref_t<decltype(f)>::Type;
    if constexpr (std::is_same_v<T, std::string> || std::is_same_v<T, std::vector<std::string>>) {
      return;  // Has a column of its own.
    } else {
      good = good && take(text, before) && take(text, "\"") && take(text, f.name) &&
             take(text, "\":") && take_value<T>(text);
      before = ",";
    }
  });
  return good && text == "}";
}

// The members of one nested object of the answer, as an object of its own.
std::string group_json(Agent const& agent, Api api, std::string_view group) {
  std::string text;
  JsonWriter writer(text);
  writer.begin_object();
  describe::for_each_field<Agent>([&](auto const& f) {
    using T = typename std::remove_cvref_t<decltype(f)>::Type;
    auto const name = f.view(api).out;
    if (describe::group_of(name) != group) return;
    writer.key(describe::leaf_of(name));
    Codec<T>::write(writer, f.get(agent));
  });
  writer.end_object();
  return text;
}

void group_schema(JsonWriter& out, Api api, std::string_view group) {
  describe::SchemaWriter schema(out);
  describe::for_each_field<Agent>([&](auto const& f) {
    using T = typename std::remove_cvref_t<decltype(f)>::Type;
    auto const name = f.view(api).out;
    if (describe::group_of(name) != group) return;
    schema.begin(describe::leaf_of(name), true);
    describe::write_answer_schema<T>(out);
    schema.end(f.text);
  });
}

}  // namespace

AgentStatus shown_status(Agent const& agent) { return status_in_v1(agent.status); }

CurrentTask current_task(Agent const& agent) {
  return {agent.current_task_id, agent.current_task_title};
}

describe::JsonText flat_configuration(Agent const& agent) {
  describe::JsonText flat;
  flat.text.clear();
  JsonWriter out(flat.text);
  out.begin_object();
  // A free key of the same name wins over the column. Most agents have none of them.
  auto const& free = agent.configuration.text;
  auto const is_free = [&](std::string_view quoted) {
    return free.find(quoted) != std::string::npos;
  };
  bool const any_free = is_free("\"model\"") || is_free("\"tools\"") || is_free("\"capabilities\"");
  auto const object = any_free ? parse_object(free) : json::object{};
  if (!object.contains("model")) out.member("model", agent.model);
  if (!object.contains("tools")) out.member_raw("tools", text_of(agent.tools));
  if (!object.contains("capabilities")) {
    out.member_raw("capabilities", text_of(agent.capabilities));
  }
  if (free.size() > 2) out.raw(std::string_view(free).substr(1, free.size() - 2));
  out.end_object();
  return flat;
}

ShownConfiguration shown_configuration(Agent const& agent) { return {&agent}; }

AgentConfiguration configuration_of(Agent const& agent) {
  AgentConfiguration configuration;
  if (agent.configuration.text.size() > 2) {
    // Read with every answer of version 2, so that the document is built on the stack.
    unsigned char memory[4096];
    json::monotonic_resource resource(memory);
    boost::system::error_code error;
    auto const value = describe::parse_json(agent.configuration.text, error, {}, &resource);
    if (!error && value.is_object()) read_known_members(value.get_object(), configuration);
  }
  configuration.model = agent.model;
  configuration.tools = agent.tools;
  configuration.capabilities = agent.capabilities;
  return configuration;
}

void set_configuration(Agent& agent, AgentConfiguration configuration) {
  // Keys of version 1 that version 2 does not know stay as they are.
  auto object = parse_object(agent.configuration.text);
  describe::for_each_field<AgentConfiguration>([&](auto const& f) {
    using T = typename std::remove_cvref_t<decltype(f)>::Type;
    json::string_view const name(f.name.data(), f.name.size());
    if (has_column(f.name)) {
      object.erase(name);
    } else {
      object.insert_or_assign(name, describe::parse_json(text_of<T>(f.get(configuration))));
    }
  });
  agent.configuration.text = describe::json_text(object);
  agent.model = std::move(configuration.model);
  agent.tools = std::move(configuration.tools);
  agent.capabilities = std::move(configuration.capabilities);
}

std::optional<std::string> current_task_text(Agent const& agent) {
  if (agent.current_task_title) return agent.current_task_title;
  if (agent.current_task_id) return agent.current_task_id->to_string();
  return std::nullopt;
}

void set_current_task_text(Agent& agent, std::optional<std::string> text) {
  // Who writes back what was read means the same task, which the text alone does not name.
  if (text == current_task_text(agent)) return;
  agent.current_task_id.reset();
  agent.current_task_title = std::move(text);
}

std::int64_t whole(double figure) {
  return static_cast<std::int64_t>(std::clamp(figure, -9.0e18, 9.0e18));
}

std::int64_t completed_count(Agent const& agent) { return whole(agent.tasks_completed); }

std::int64_t failed_count(Agent const& agent) { return whole(agent.tasks_failed); }

void change_status(Agent& agent, AgentStatus status, Timestamp now) {
  if (agent.status == status) return;
  if (agent.status == AgentStatus::busy && agent.busy_since) {
    auto const busy_us = std::max<std::int64_t>(now.micros - agent.busy_since->micros, 0);
    agent.total_runtime += static_cast<double>(busy_us) / 1e6;
  }
  agent.busy_since.reset();
  if (status == AgentStatus::busy) agent.busy_since = now;
  if (status == AgentStatus::error) ++agent.error_count;
  agent.status = status;
  agent.status_changed_at = now;
}

void recompute_success_rate(Agent& agent) {
  // Version 1 takes any number: one below 0 counts as none, and as the sum may be beyond what a
  // double holds, halves are added.
  double const half_completed = std::max(agent.tasks_completed, 0.0) / 2;
  double const half_total = half_completed + std::max(agent.tasks_failed, 0.0) / 2;
  agent.success_rate = half_total == 0 ? 0 : half_completed / half_total * 100;
}

void write_json(JsonWriter& out, Agent const& agent, Api api) {
  describe::write_record(out, agent, api);
}

std::string to_json(Agent const& agent, Api api) {
  std::string text;
  text.reserve(1024);
  JsonWriter out(text);
  write_json(out, agent, api);
  return text;
}

std::string metrics_json_v1(Agent const& agent) {
  return group_json(agent, Api::v1, "performance_metrics");
}

std::string metrics_json_v2(Agent const& agent) { return group_json(agent, Api::v2, "metrics"); }

bool read_agent(json::value const& body, Agent& agent, Api api, Purpose purpose, Issues& issues) {
  return describe::read_record(body, agent, api, purpose, Where{nullptr, "body"}, issues);
}

std::string stored_json(Agent const& agent) {
  std::string text;
  text.reserve(1024);
  JsonWriter out(text);
  describe::write_stored(out, agent);
  return text;
}

Agent from_stored(json::object const& object) { return describe::read_stored<Agent>(object); }

void agent_schema_v1(JsonWriter& out) { describe::write_schema<Agent>(out, Api::v1); }
void agent_schema_v2(JsonWriter& out) { describe::write_schema<Agent>(out, Api::v2); }
void agent_create_schema_v1(JsonWriter& out) {
  describe::write_body_schema<Agent>(out, Api::v1, Purpose::create);
}
void agent_create_schema_v2(JsonWriter& out) {
  describe::write_body_schema<Agent>(out, Api::v2, Purpose::create);
}
void agent_update_schema_v1(JsonWriter& out) {
  describe::write_body_schema<Agent>(out, Api::v1, Purpose::update);
}
void agent_update_schema_v2(JsonWriter& out) {
  describe::write_body_schema<Agent>(out, Api::v2, Purpose::update);
}
void agent_metrics_schema_v1(JsonWriter& out) { group_schema(out, Api::v1, "performance_metrics"); }
void agent_metrics_schema_v2(JsonWriter& out) { group_schema(out, Api::v2, "metrics"); }
void agent_configuration_schema(JsonWriter& out) {
  describe::write_schema<AgentConfiguration>(out, Api::v2);
}

std::string to_json(AgentConfiguration const& configuration) { return text_of(configuration); }

bool read_configuration(json::value const& body, AgentConfiguration& configuration,
                        Issues& issues) {
  return describe::read_record(body, configuration, Api::v2, Purpose::create,
                               Where{nullptr, "configuration"}, issues);
}

}  // namespace subforge::domain

void subforge::describe::Codec<subforge::domain::ShownConfiguration>::write(
    JsonWriter& json, domain::ShownConfiguration const& value) {
  auto const& agent = *value.agent;
  std::string_view const free = agent.configuration.text;
  if (!domain::is_as_stored_by_v2(free)) {
    Codec<domain::AgentConfiguration>::write(json, domain::configuration_of(agent));
    return;
  }
  json.begin_framed();
  json.framed("{\"model\":");
  json.string(agent.model);
  json.framed(",\"tools\":");
  Codec<std::vector<std::string>>::write(json, agent.tools);
  json.framed(",\"capabilities\":");
  Codec<std::vector<std::string>>::write(json, agent.capabilities);
  json.framed(",");
  json.end_framed(free.substr(1));
}
