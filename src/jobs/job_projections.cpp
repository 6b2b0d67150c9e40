// What viewers see of events about background tasks.
#include <boost/json/array.hpp>
#include <boost/json/object.hpp>

#include "describe/json_text.hpp"
#include "jobs/job_changes.hpp"

namespace subforge::jobs {
namespace {

using boost::json::object;
using realtime::Message;
using store::Event;

// One job as members of the message, several as a list.
Message message_of(Event const& event, object const& payload, std::string_view what) {
  Message message;
  JsonWriter json(message.data);
  json.begin_object();
  auto const* const jobs = payload.if_contains("jobs");
  bool const listed = jobs != nullptr && jobs->is_array();
  if (listed && jobs->get_array().size() == 1 && jobs->get_array()[0].is_object()) {
    json.member("event", "background_task_" + std::string(what));
    for (auto const& [name, value] : jobs->get_array()[0].get_object()) {
      json.member_raw(name, describe::json_text(value));
    }
  } else {
    json.member("event", "background_tasks_" + std::string(what));
    json.member_raw("tasks", listed ? describe::json_text(*jobs) : "[]");
  }
  json.member("updated_by", event.actor);
  json.end_object();
  return message;
}

std::optional<Message> created(Event const& event, object const& payload) {
  return message_of(event, payload, "created");
}
std::optional<Message> updated(Event const& event, object const& payload) {
  return message_of(event, payload, "updated");
}

constexpr std::string_view kType = "task_update";
constexpr realtime::Projection kProjections[] = {
    {kEnqueuedEvent, {}, {kType, &created, "event:text updated_by:text *"}, {}},
    {kChangedEvent, {}, {kType, &updated, "event:text updated_by:text *"}, {}},
    {kEndedEvent, {}, {kType, &updated, "event:text updated_by:text *"}, {}},
    {kCancelledEvent, {}, {kType, &updated, "event:text updated_by:text *"}, {}},
};

}  // namespace

std::span<realtime::Projection const> job_projections() { return kProjections; }

}  // namespace subforge::jobs
