
#include "base/json_writer.hpp"
#include "describe/json_text.hpp"
#include "realtime/connections.hpp"
#include "realtime/messages.hpp"

namespace subforge::realtime {

void ConnectionV1::reply(std::string_view type, std::string_view data) {
  std::string text;
  JsonWriter json(text);
  json.begin_object();
  json.member("type", type);
  json.member_raw("data", data);
  json.member("timestamp", Timestamp::now());
  json.end_object();
  send(text);
}

void ConnectionV1::greet() {
  std::string data;
  JsonWriter json(data);
  json.begin_object();
  json.member("message", "Connected to SubForge Dashboard");
  json.member("timestamp", Timestamp::now());
  json.member("connection_id", info_.number);
  write_position(json);
  json.end_object();
  reply("connection_established", data);
}

void ConnectionV1::take(boost::json::object const& message) {
  auto const name = describe::text_member(message, "type");
  auto const* const row = find_client_message(Protocol::v1, name);
  // Silence, as clients of the reference expect; there is no message for what is wrong.
  if (row == nullptr) return;
  if (name == "auth_request") {
    auto const fault = fault_beside_token(message, row->shape);
    return fault ? authenticated(fail(ErrorCode::invalid, fault->text)) : authenticate(message);
  }
  if (describe::find_fault(message, row->shape)) return;
  if (name == "ping") {
    std::string data;
    JsonWriter json(data);
    json.begin_object();
    json.member("timestamp", Timestamp::now());
    json.end_object();
    reply("pong", data);
  } else if (name == "subscribe") {
    auto const* data = message.if_contains("data");
    bool const echoed = data != nullptr && data->is_object();
    reply("subscription_acknowledged", echoed ? describe::json_text(*data) : "{}");
  } else if (!may_see()) {
    return;
  } else if (name == "recover") {
    come_back(resume_of(message), {});
  } else if (auto const up_to = acknowledged_in(message)) {
    (void)hub_.acknowledge(*this, *up_to, {});  // What is not acknowledged comes again.
  }
}

void ConnectionV1::come_back(Resume asked, std::string_view) {
  if (asked.last_event_id.empty()) return;
  if (!hub_.may_resume(*this)) {
    if (!hub_.shown_up_to(*this)) return;  // It does so already, and will be told how that ended.
    // What was missed would come behind what it has been shown: it gets the present state instead.
    asked.last_event_id = kNoEvent;
  }
  begin(asked);
}

void ConnectionV1::authenticated(Result<Identity> const& outcome) {
  std::string data;
  JsonWriter json(data);
  json.begin_object();
  if (outcome) {
    json.member("user_id", outcome->user);
    write_position(json);
  } else {
    ++hub_.heard().refused;
    json.member("error", outcome.error().message);
  }
  json.end_object();
  reply(outcome ? "auth_success" : "auth_error", data);
}

void ConnectionV1::recovered(Recovered const& outcome) {
  std::string data;
  JsonWriter json(data);
  json.begin_object();
  write_recovered(json, outcome, hub_.hub().store());
  json.end_object();
  reply("connection_recovered", data);
}

void ConnectionV1::inbox_shown(Recovered const& outcome) {
  std::string data;
  JsonWriter json(data);
  json.begin_object();
  write_inbox_shown(json, outcome, hub_.hub().store());
  json.end_object();
  reply("inbox_shown", data);
}

void ConnectionV1::acknowledged(Acknowledged const& outcome) {
  if (!socket()->open() || !outcome.removed) return;
  std::string data;
  JsonWriter json(data);
  json.begin_object();
  write_acknowledged(json, outcome, hub_.hub().store());
  json.end_object();
  reply("ack", data);
}

}  // namespace subforge::realtime
