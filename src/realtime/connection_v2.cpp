
#include "base/json_writer.hpp"
#include "describe/json_text.hpp"
#include "realtime/connections.hpp"
#include "realtime/messages.hpp"

namespace subforge::realtime {
namespace {

using describe::text_member;

std::string room_status(std::string_view room, std::optional<std::size_t> members,
                        std::string_view status) {
  std::string data;
  JsonWriter json(data);
  json.begin_object();
  json.member("room", room);
  if (members) json.member("members_count", *members);
  json.member("status", status);
  json.end_object();
  return data;
}

}  // namespace

Message sent_message(store::Event const& event, boost::json::object const& payload) {
  auto const* data = payload.if_contains("data");
  auto object = data != nullptr && data->is_object() ? data->get_object() : boost::json::object{};
  object["sent_by"] = event.actor;
  object["sent_at"] = event.at.to_string();
  auto const* echo = payload.if_contains("echo");
  bool const echoed = echo != nullptr && echo->is_bool() && echo->get_bool();
  return Message{describe::json_text(object),
                 echoed ? std::string() : std::string(text_member(payload, "connection_id"))};
}

namespace {

std::optional<Message> room_message(store::Event const& event, boost::json::object const& payload) {
  return sent_message(event, payload);
}

}  // namespace

// The payload as publish() writes it ends with the data, which only has to be continued.
std::optional<Message> quick_room_message(store::Event const& event) {
  std::string_view rest = event.payload;
  auto const skip = [&rest](std::string_view text) {
    if (!rest.starts_with(text)) return false;
    rest.remove_prefix(text.size());
    return true;
  };
  if (!skip(R"({"connection_id":")")) return std::nullopt;
  auto const connection = rest.substr(0, rest.find_first_of("\"\\"));
  rest.remove_prefix(connection.size());
  bool const echoed = skip(R"(","echo":true,"data":)");
  if (!echoed && !skip(R"(","echo":false,"data":)")) return std::nullopt;
  if (!rest.starts_with('{') || !rest.ends_with("}}")) return std::nullopt;
  rest.remove_suffix(2);
  // What a client says of the sender does not count.
  if (rest.find("\"sent_") != rest.npos) return std::nullopt;
  Message message;
  message.data.reserve(rest.size() + event.actor.size() + 64);
  message.data.append(rest).append(rest.size() > 1 ? ",\"sent_by\":" : "\"sent_by\":");
  append_json_string(message.data, event.actor);
  message.data.append(",\"sent_at\":\"");
  event.at.append_to(message.data);
  message.data.append("\"}");
  if (!echoed) message.origin = connection;
  return message;
}

namespace {

std::optional<Message> presence(store::Event const&, boost::json::object const& payload) {
  auto const* data = payload.if_contains("data");
  if (data == nullptr) return std::nullopt;
  return Message{describe::json_text(*data), std::string(text_member(payload, "connection_id"))};
}

constexpr std::string_view kAbsolutePath = "absolute_path";

// On /ws what happened stands beside the data of the file.
std::optional<Message> file_event_v1(store::Event const&, boost::json::object const& payload) {
  auto data = payload;
  data.erase("event");
  return Message{.data = describe::json_text(data),
                 .beside = ",\"event_type\":" + json_string(text_member(payload, "event"))};
}

std::optional<Message> file_change_v2(store::Event const&, boost::json::object const& payload) {
  auto data = payload;
  data.erase(kAbsolutePath);
  return Message{describe::json_text(data)};
}

constexpr Projection kRoomProjections[] = {
    {kFileChanged,
     {"file_system_event", &file_event_v1,
      "file_path:text absolute_path:text file_name:text file_category:text file_size:integer *"},
     {"file_change", &file_change_v2,
      "event:text file_path:text file_name:text file_category:text file_size:integer"}},
    {"room.message",
     {},
     {"room_message", &room_message, "sent_by:text sent_at:time *", &quick_room_message}},
    {kPresence,
     {},
     {"room_message", &presence,
      "event=user_joined connection_id:text user_id:text|null members_count:integer;"
      "event=user_left connection_id:text user_id:text|null members_count:integer;"
      "event=presence_diff joined:[object] left:[object] joined_count:integer left_count:integer"
      " members_count:integer"},
     {},
     /*is_news=*/true},
};

}  // namespace

std::span<Projection const> room_projections() { return kRoomProjections; }

void ConnectionV2::greet() {
  std::string data;
  JsonWriter json(data);
  json.begin_object();
  json.member("connection_id", connection_id());
  json.member("state", identity() ? "authenticated" : "connecting");
  json.member("message", "Connection established");
  write_position(json);
  json.end_object();
  send(write_envelope({.type = "connection_state", .data = data}));
}

void ConnectionV2::take(boost::json::object const& message) {
  auto const type = message.contains("type") ? text_member(message, "type") : "ping";
  auto const* const row = find_client_message(Protocol::v2, type);
  if (row == nullptr) return;  // Silence, as clients of the reference expect.
  auto const room = std::string(text_member(message, "room"));
  auto const correlation_id = std::string(text_member(message, "correlation_id"));
  if (type == "auth_request") {
    auto const fault = fault_beside_token(message, row->shape);
    return fault ? refuse("invalid", fault->text, room, correlation_id) : authenticate(message);
  }
  if (auto const fault = describe::find_fault(message, row->shape)) {
    // So do they where no room is named.
    if (fault->missing && fault->member == "room") return;
    return refuse("invalid", fault->text, room, correlation_id);
  }
  if (row->needs != Needs::nothing && !may_see()) {
    return refuse("unauthorized", "authenticate first with auth_request", room, correlation_id);
  }
  if (row->needs == Needs::writing && !identity()->can_write) {
    return refuse("forbidden", "publishing needs the right to write", room, correlation_id);
  }
  if (type == "ping") return pong(correlation_id);
  if (type == "connection_state" || type == "recover") {
    return come_back(resume_of(message), correlation_id);
  }
  if (type == "ack") return acknowledge(message, correlation_id);
  if (type == "event_history" || type == "replay_events") {
    return ask_past(message, type == "replay_events", correlation_id);
  }
  if (room.empty()) return;
  if (!may_enter(*identity(), room)) {
    return refuse("forbidden", "this room is for administrators", room, correlation_id);
  }
  if (type == "join_room") {
    join(room, correlation_id);
  } else if (type == "leave_room") {
    leave(room, correlation_id);
  } else {
    publish(message, room, correlation_id);
  }
}

void ConnectionV2::pong(std::string_view correlation_id) {
  std::string data;
  JsonWriter json(data);
  json.begin_object();
  json.member("timestamp", Timestamp::now());
  json.end_object();
  send(write_envelope({.type = "pong", .data = data, .correlation_id = correlation_id}));
}

void ConnectionV2::come_back(Resume asked, std::string_view correlation_id) {
  if (asked.last_event_id.empty()) {
    for (auto const& room : asked.rooms) rejoin(room);
    return;
  }
  if (!hub_.may_resume(*this)) {
    return refuse(
        "too_late",
        "events have come since the connection began; give last_event_id in the handshake,"
        " in auth_request, or in the first message",
        {}, correlation_id);
  }
  begin(asked);
}

void ConnectionV2::rejoin(std::string const& room) {
  if (room.empty()) return;
  if (!may_enter(*identity(), room)) {
    return refuse("forbidden", "this room is for administrators", room, {});
  }
  join(room, {});
}

void ConnectionV2::recovered(Recovered const& outcome) {
  std::string data;
  JsonWriter json(data);
  json.begin_object();
  json.member("connection_id", connection_id());
  json.member("state", "authenticated");
  write_recovered(json, outcome, hub_.hub().store());
  write_rooms(json);
  json.end_object();
  send(write_envelope({.type = "connection_state", .data = data}));
}

void ConnectionV2::inbox_shown(Recovered const& outcome) {
  std::string data;
  JsonWriter json(data);
  json.begin_object();
  json.member("connection_id", connection_id());
  json.member("state", "authenticated");
  write_inbox_shown(json, outcome, hub_.hub().store());
  json.end_object();
  send(write_envelope({.type = "connection_state", .data = data}));
}

bool ConnectionV2::move(std::string const& room, bool in) {
  if (!may_see() || !may_enter(*identity(), room)) return false;
  if (in) return join(room, {});
  if (!is_member(room)) return false;
  leave(room, {});
  return true;
}

bool ConnectionV2::join(std::string const& room, std::string_view correlation_id) {
  std::string why;
  auto const members = hub_.join(*this, room, why);
  if (!members) {
    refuse("limit", why, room, correlation_id);
    return false;
  }
  auto const data = room_status(room, members, "joined");
  send(write_envelope(
      {.type = "join_room", .room = room, .data = data, .correlation_id = correlation_id}));
  return true;
}

void ConnectionV2::leave(std::string const& room, std::string_view correlation_id) {
  hub_.leave(*this, room);
  auto const data = room_status(room, std::nullopt, "left");
  send(write_envelope(
      {.type = "leave_room", .room = room, .data = data, .correlation_id = correlation_id}));
}

void ConnectionV2::publish(boost::json::object const& message, std::string const& room,
                           std::string correlation_id) {
  if (!is_member(room)) {
    return refuse("not_a_member", "join the room before publishing to it", room, correlation_id);
  }
  if (in_flight_->count >= hub_.hub().limits().in_flight_max) {
    return refuse("limit", "too many messages are being stored; wait for their acknowledgement",
                  room, correlation_id);
  }
  auto const* data = message.if_contains("data");
  if (data != nullptr && describe::has_infinity(*data)) {
    return refuse("invalid", "data holds a number beyond the range of a double", room,
                  correlation_id);
  }
  auto const* echo = message.if_contains("echo");
  store::Event event;
  event.kind = "room.message";
  event.level = LogLevel::debug;
  event.subject = "room:" + room;
  event.actor = identity()->user;
  event.audience = store::Audience::room(room);
  event.correlation_id = std::move(correlation_id);
  auto const text = data != nullptr && data->is_object() ? describe::json_text(*data) : "{}";
  constexpr std::size_t kBesideData = 100;
  event.payload.clear();
  event.payload.reserve(text.size() + kBesideData);
  JsonWriter json(event.payload);
  json.begin_object();
  json.member("connection_id", connection_id());
  json.member("echo", echo != nullptr && echo->is_bool() && echo->get_bool());
  json.key("data");
  json.raw(text);
  json.end_object();
  ++in_flight_->count;
  // What comes in one turn is stored by one write.
  if (in_flight_->to_store.empty()) {
    hub_.loop().at_turn_end([&hub = hub_, in_flight = in_flight_] {
      hub.tasks().spawn(store_messages(hub, in_flight));
    });
  }
  in_flight_->to_store.push_back(std::move(event));
}

Task<void> ConnectionV2::store_messages(LoopHub& hub, std::shared_ptr<InFlight> in_flight) {
  auto const events = std::exchange(in_flight->to_store, {});
  auto append = [&](store::Transaction& transaction) { return transaction.publish(events); };
  auto const stored = co_await hub.hub().store().write(append, store::Undo::commit);
  in_flight->count -= events.size();
  for (std::size_t i = 0; i < events.size(); ++i) {
    auto* const connection = in_flight->connection;
    if (connection == nullptr || !connection->socket()->open()) co_return;
    auto const& room = events[i].audience.rooms.front();
    auto const& correlation_id = events[i].correlation_id;
    if (!stored) {
      connection->refuse("unavailable", stored.error().message, room, correlation_id);
    } else if (!correlation_id.empty()) {
      auto const id = *stored + static_cast<std::int64_t>(i);
      auto const event_id = hub.hub().store().event_id_text(id);
      std::string data;
      JsonWriter json(data);
      json.begin_object();
      json.member("event_id", event_id);
      json.end_object();
      // Who catches up does not stand there yet.
      auto const shown = hub.shown_up_to(*connection);
      bool const stands_there = shown && *shown >= id;
      connection->send(write_envelope({.type = "ack",
                                       .room = room,
                                       .data = data,
                                       .correlation_id = correlation_id,
                                       .event_id = stands_there ? event_id : std::string()}));
    }
  }
}

void ConnectionV2::acknowledge(boost::json::object const& message, std::string correlation_id) {
  auto const up_to = acknowledged_in(message);
  if (!up_to) {
    return refuse("invalid", "event_id is that of no event here", {}, correlation_id);
  }
  if (!hub_.acknowledge(*this, *up_to, correlation_id)) {
    return refuse("limit", "too many acknowledgements are being stored", {}, correlation_id);
  }
}

void ConnectionV2::acknowledged(Acknowledged const& outcome) {
  if (!socket()->open()) return;
  auto const& correlation_id = outcome.correlation_id;
  if (!outcome.removed) {
    return refuse("unavailable", outcome.removed.error().message, {}, correlation_id);
  }
  if (correlation_id.empty()) return;
  std::string data;
  JsonWriter json(data);
  json.begin_object();
  write_acknowledged(json, outcome, hub_.hub().store());
  json.end_object();
  send(write_envelope({.type = "ack", .data = data, .correlation_id = correlation_id}));
}

void ConnectionV2::ask_past(boost::json::object const& message, bool again,
                            std::string correlation_id) {
  HistoryQuestion question;
  if (auto const* const data = message.if_contains("data"); data != nullptr && !data->is_null()) {
    describe::Issues issues;
    describe::Where const where{nullptr, "data"};
    if (!describe::read_record(*data, question, describe::Api::v2, describe::Purpose::create, where,
                               issues)) {
      return refuse("invalid", issues.first(), {}, correlation_id);
    }
  }
  if (auto const room = text_member(message, "room"); !room.empty()) question.room = room;
  if (auto const fault = fault_of(hub_.hub(), question)) {
    return refuse("invalid", *fault, {}, correlation_id);
  }
  if (question.room && !may_enter(*identity(), *question.room)) {
    return refuse("forbidden", "this room is for administrators", *question.room, correlation_id);
  }
  if (in_flight_->asks_past) {
    return refuse("limit", "another question about the past is being answered", {}, correlation_id);
  }
  in_flight_->asks_past = true;
  auto const tell = again ? &tell_past_again : &tell_past;
  hub_.tasks().spawn(
      tell(hub_, in_flight_, *identity(), std::move(question), std::move(correlation_id)));
}

Task<void> ConnectionV2::tell_past(LoopHub& hub, std::shared_ptr<InFlight> in_flight, Identity who,
                                   HistoryQuestion question, std::string correlation_id) {
  // More at once would pass for a slow reader.
  auto const past =
      co_await past_events(hub.hub(), std::move(who), question, hub.hub().limits().lagging_bytes);
  in_flight->asks_past = false;
  auto* const connection = in_flight->connection;
  if (connection == nullptr || !connection->socket()->open()) co_return;
  if (!past) {
    co_return connection->refuse("unavailable", past.error().message, {}, correlation_id);
  }
  std::string data;
  JsonWriter json(data);
  json.begin_object();
  write_history(json, *past, question);
  json.end_object();
  connection->send(write_envelope({.type = "event_history",
                                   .room = question.room.value_or(""),
                                   .data = data,
                                   .correlation_id = correlation_id}));
}

Task<void> ConnectionV2::tell_past_again(LoopHub& hub, std::shared_ptr<InFlight> in_flight,
                                         Identity who, HistoryQuestion question,
                                         std::string correlation_id) {
  auto past = co_await past_ids(hub.hub(), std::move(who), question);
  in_flight->asks_past = false;
  auto* const connection = in_flight->connection;
  if (connection == nullptr || !connection->socket()->open()) co_return;
  if (!past) {
    connection->refuse("unavailable", past.error().message, {}, correlation_id);
  } else if (!replay(hub, *connection, std::move(*past), question, correlation_id, true)) {
    connection->refuse("limit", "another replay is under way", {}, correlation_id);
  }
}

void ConnectionV2::authenticated(Result<Identity> const& outcome) {
  std::string data;
  JsonWriter json(data);
  json.begin_object();
  if (outcome) {
    json.member("user_id", outcome->user);
    json.key("permissions");
    json.begin_array();
    for (auto const& permission : outcome->permissions) json.string(permission);
    json.end_array();
    json.member("state", "authenticated");
    write_position(json);
  } else {
    ++hub_.heard().refused;
    json.member("error", outcome.error().message);
  }
  json.end_object();
  send(write_envelope({.type = outcome ? "auth_success" : "auth_error", .data = data}));
}

void ConnectionV2::refuse(std::string_view code, std::string_view why, std::string_view room,
                          std::string_view correlation_id) {
  ++hub_.heard().refused;
  std::string data;
  JsonWriter json(data);
  json.begin_object();
  json.member("code", code);
  json.member("message", why);
  json.end_object();
  send(write_envelope(
      {.type = "error", .room = room, .data = data, .correlation_id = correlation_id}));
}

}  // namespace subforge::realtime
