#include "domain/workflows/workflow.hpp"

#include <algorithm>
#include <cmath>

#include <boost/json/object.hpp>

#include "describe/json_text.hpp"
#include "describe/parse_json.hpp"
#include "domain/workflows/step_graph.hpp"

namespace subforge::domain {
namespace {

namespace json = boost::json;
using describe::Api;
using describe::Issues;
using describe::Purpose;
using describe::Where;

double percent(std::int64_t part, std::int64_t whole) {
  if (whole <= 0) return 0;
  return std::min(100.0, static_cast<double>(part) / static_cast<double>(whole) * 100);
}

}  // namespace

bool check_agent_entries(json::object const& body, bool id_required, Where const& where,
                         Issues& issues) {
  auto const* list = body.if_contains("assigned_agents");
  if (list == nullptr || !list->is_array()) return true;
  bool good = true;
  Where const place{&where, std::string_view("assigned_agents")};
  for (std::size_t i = 0; i < list->get_array().size(); ++i) {
    auto const* entry = list->get_array()[i].if_object();
    if (entry == nullptr) continue;  // Reported already.
    Where const item{&place, static_cast<std::int64_t>(i)};
    for (auto const& member : *entry) {
      if (member.value().is_string()) continue;
      issues.add({&item, std::string_view(member.key())}, "string_type",
                 "Input should be a valid string", describe::input_text(member.value()));
      good = false;
    }
    if (id_required && !entry->contains("id")) {
      issues.add(item, "value_error", "Value error, each assigned agent must have an id",
                 describe::input_text(list->get_array()[i]));
      good = false;
    }
  }
  return good;
}

std::int64_t retry_count(WorkflowStep const& step) {
  return std::max<std::int64_t>(step.attempts - 1, 0);
}

bool has_parts(Workflow const& w) { return w.steps_total + w.tasks_total > 0; }

std::int64_t total_count(Workflow const& w) {
  return has_parts(w) ? w.steps_total + w.tasks_total : w.base_total;
}

std::int64_t completed_count(Workflow const& w) {
  return has_parts(w) ? w.steps_completed + w.tasks_completed : w.base_completed;
}

std::int64_t failed_count(Workflow const& w) {
  return has_parts(w) ? w.steps_failed + w.tasks_failed : w.base_failed;
}

double progress_of(Workflow const& w) {
  return has_parts(w) ? percent(completed_count(w), total_count(w)) : w.base_progress;
}

double success_rate_of(Workflow const& w) {
  return has_parts(w) ? percent(completed_count(w), completed_count(w) + failed_count(w))
                      : w.base_success;
}

InitialStatus initial_status(Workflow const& w) {
  return describe::from_text<InitialStatus>(describe::to_text(w.status))
      .value_or(InitialStatus::active);
}

void set_initial_status(Workflow& w, InitialStatus status) {
  w.status = *describe::from_text<WorkflowStatus>(describe::to_text(status));
  w.is_paused = w.status == WorkflowStatus::paused;
}

WorkflowStatus status_of(Workflow const& w) { return w.status; }

void want_initial_status(Workflow& w, InitialStatus status) {
  w.wanted_status = describe::from_text<WorkflowStatus>(describe::to_text(status));
}

void want_status(Workflow& w, WorkflowStatus status) { w.wanted_status = status; }

std::string description_text(Workflow const& w) { return w.description.value_or(""); }

// Who writes back what was read changes nothing, also where what is shown stands for something
// else.
void set_description_text(Workflow& w, std::string text) {
  if (text != description_text(w)) w.description = std::move(text);
}

std::vector<WorkflowStep> steps_of(Workflow const& w) { return w.steps; }

void set_steps(Workflow& w, std::vector<WorkflowStep> steps) { w.steps = std::move(steps); }

void set_base_progress(Workflow& w, double percentage) { w.base_progress = percentage; }

void set_base_total(Workflow& w, std::int64_t count) { w.base_total = count; }

void set_base_completed(Workflow& w, std::int64_t count) { w.base_completed = count; }

void set_base_failed(Workflow& w, std::int64_t count) { w.base_failed = count; }

void set_base_success(Workflow& w, double percentage) { w.base_success = percentage; }

std::optional<Timestamp> completion_estimate(Workflow const& w) {
  if (w.estimated_completion || !w.estimated_duration_hours) return w.estimated_completion;
  auto const& begin = w.started_at ? w.started_at : w.scheduled_at;
  // Beyond what a date can show nothing is estimated.
  constexpr double kHoursMax = 24.0 * 365 * 1000;
  if (!begin || std::fabs(*w.estimated_duration_hours) > kHoursMax) return std::nullopt;
  auto const micros = std::llround(*w.estimated_duration_hours * 3600e6);
  return Timestamp{begin->micros + micros};
}

void set_completion_estimate(Workflow& w, std::optional<Timestamp> at) {
  if (at != completion_estimate(w)) w.estimated_completion = at;
}

std::optional<std::string> creator_of(Workflow const& w) {
  if (w.created_by.empty()) return std::nullopt;
  return w.created_by;
}

std::vector<std::string> agent_ids(AssignedAgents const& agents) {
  std::vector<std::string> ids;
  for (auto const& entry : agents.entries) {
    boost::system::error_code error;
    auto const value = describe::parse_json(entry.text, error);
    auto const* object = error ? nullptr : value.if_object();
    auto const* id = object == nullptr ? nullptr : object->if_contains("id");
    ids.emplace_back(id != nullptr && id->is_string() ? std::string_view(id->get_string())
                                                      : std::string_view());
  }
  return ids;
}

void write_json(JsonWriter& out, Workflow const& workflow, Api api) {
  describe::write_record(out, workflow, api);
}

void write_json(JsonWriter& out, WorkflowStep const& step) {
  describe::write_record(out, step, Api::v2);
}

std::string to_json(Workflow const& workflow, Api api) {
  std::string text;
  text.reserve(1024);
  JsonWriter out(text);
  write_json(out, workflow, api);
  return text;
}

bool read_workflow(json::value const& body, Workflow& workflow, Api api, Purpose purpose,
                   Issues& issues) {
  Where const where{nullptr, "body"};
  bool good = describe::read_record(body, workflow, api, purpose, where, issues);
  auto const* object = body.if_object();
  if (object == nullptr) return false;
  if (api == Api::v1) {
    good = check_agent_entries(*object, purpose == Purpose::create, where, issues) && good;
    if (purpose == Purpose::update) good = check_task_counts(*object, where, issues) && good;
  } else if (good && object->contains("steps")) {
    good = check_steps(workflow.steps, {&where, std::string_view("steps")}, issues);
  }
  return good;
}

std::string stored_json(Workflow const& workflow) {
  std::string text;
  text.reserve(1024);
  JsonWriter out(text);
  describe::write_stored(out, workflow);
  if (workflow.steps.empty()) return text;
  text.pop_back();
  text.append(",\"steps\":");
  JsonWriter list(text);
  list.begin_array();
  for (auto step : workflow.steps) {
    step.output.reset();
    describe::write_stored(list, step);
  }
  list.end_array();
  text.push_back('}');
  return text;
}

Workflow workflow_from_stored(json::object const& object) {
  auto workflow = describe::read_stored<Workflow>(object);
  auto const* steps = object.if_contains("steps");
  if (steps == nullptr || !steps->is_array()) return workflow;
  for (auto const& step : steps->get_array()) {
    if (step.is_object()) {
      workflow.steps.push_back(describe::read_stored<WorkflowStep>(step.get_object()));
    }
  }
  return workflow;
}

void workflow_schema_v1(JsonWriter& out) { describe::write_schema<Workflow>(out, Api::v1); }
void workflow_schema_v2(JsonWriter& out) { describe::write_schema<Workflow>(out, Api::v2); }
void workflow_create_schema_v1(JsonWriter& out) {
  describe::write_body_schema<Workflow>(out, Api::v1, Purpose::create);
}
void workflow_create_schema_v2(JsonWriter& out) {
  describe::write_body_schema<Workflow>(out, Api::v2, Purpose::create);
}
void workflow_update_schema_v1(JsonWriter& out) {
  describe::write_body_schema<Workflow>(out, Api::v1, Purpose::update);
}
void workflow_update_schema_v2(JsonWriter& out) {
  describe::write_body_schema<Workflow>(out, Api::v2, Purpose::update);
}

}  // namespace subforge::domain

namespace subforge::describe {

using domain::AssignedAgents;

bool Codec<AssignedAgents>::read(boost::json::value const& in, AssignedAgents& out, Bounds const&,
                                 Where const& where, Issues& issues) {
  auto const* list = in.if_array();
  if (list == nullptr || list->size() > AssignedAgents::kMax) {
    issues.add(
        where, list == nullptr ? "list_type" : "too_long",
        list == nullptr ? "Input should be a valid list" : "List should have at most 1000 items",
        input_text(in));
    return false;
  }
  out.entries.clear();
  bool good = true;
  for (std::size_t i = 0; i < list->size(); ++i) {
    Where const item{&where, static_cast<std::int64_t>(i)};
    good = Codec<JsonText>::read((*list)[i], out.entries.emplace_back(), {}, item, issues) && good;
  }
  return good;
}

void Codec<AssignedAgents>::write(JsonWriter& json, AssignedAgents const& value) {
  json.begin_array();
  for (auto const& entry : value.entries) json.raw(entry.text);
  json.end_array();
}

void Codec<AssignedAgents>::schema(JsonWriter& json, Bounds const&) {
  json.member("type", "array");
  json.member("maxItems", AssignedAgents::kMax);
  json.member_raw("items", R"({"type":"object","additionalProperties":true})");
}

}  // namespace subforge::describe
