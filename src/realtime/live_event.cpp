#include "realtime/live_event.hpp"

#include <algorithm>
#include <cassert>
#include <functional>

#include "base/json_writer.hpp"
#include "describe/exact_json.hpp"
#include "realtime/event_stream.hpp"
#include "realtime/socket_packet.hpp"

namespace subforge::realtime {

Projection const* Projections::find(std::string_view kind) const {
  for (auto const& row : rows_) {
    if (row.kind == kind) return &row;
  }
  return nullptr;
}

std::vector<std::string> Projections::kinds_shown_as(std::span<std::string const> types) const {
  std::vector<std::string> kinds;
  for (auto const& row : rows_) {
    bool const asked = std::ranges::find(types, row.v2.type) != types.end();
    if (row.v2.make != nullptr && asked) kinds.emplace_back(row.kind);
  }
  return kinds;
}

LiveEvent::Shown const& LiveEvent::shown(Protocol protocol) const {
  static constexpr std::size_t kV1 = 0, kV2 = 1, kSocketIo = 2;
  auto const at = protocol == Protocol::v1 ? kV1 : protocol == Protocol::socketio ? kSocketIo : kV2;
  auto& shown = shown_[at];
  shown.made.call([&] {
    if (projection_ == nullptr) return;
    Form const forms[] = {projection_->v1, projection_->v2, projection_->socketio};
    if (forms[at].make == nullptr && at != kSocketIo) return;
    if (at == kV2 && forms[at].make_quickly != nullptr) {
      if (auto message = forms[at].make_quickly(*event_)) {
        shown.carried = true;
        shown.text = std::move(message->data);
        shown.origin = std::move(message->origin);
        return;
      }
    }
    boost::system::error_code error;
    auto const payload = describe::parse_exact_json(event_->payload, error);
    if (error || !payload.is_object()) return;
    if (at == kSocketIo) return make_socketio(shown, payload.get_object());
    auto message = forms[at].make(*event_, payload.get_object());
    if (!message) return;
    shown.carried = true;
    shown.text = at == kV1 ? v1_text(*message) : std::move(message->data);
    shown.origin = std::move(message->origin);
  });
  return shown;
}

std::string LiveEvent::v1_text(Message const& message) const {
  std::string text;
  JsonWriter json(text);
  json.begin_object();
  json.member("type", projection_->v1.type);
  json.member_raw("data", message.data);
  text.append(message.beside);
  json.member("timestamp", event_->at);
  json.member("broadcast_id", event_->id);
  if (in_log()) json.member("event_id", event_id_);
  json.end_object();
  return text;
}

// Under the name of /ws, and in the form that the reference's dashboard looks for; only the last of
// them ends with the offset.
void LiveEvent::make_socketio(Shown& shown, boost::json::object const& payload) const {
  for (auto const* const form : {&projection_->v1, &projection_->socketio}) {
    if (form->make == nullptr) continue;
    auto message = form->make(*event_, payload);
    if (!message) continue;
    if (shown.carried) {
      shown.before = socketio_text(projection_->v1.type, std::move(shown.text), {});
    }
    shown.carried = true;
    shown.text = std::move(message->data);
    if (!message->beside.empty()) {
      shown.text.insert(shown.text.size() - 1, message->beside);
    }
    shown.origin = std::move(message->origin);
    shown.type = form->type;
  }
  if (shown.carried) shown.text = socketio_text(shown.type, std::move(shown.text), event_id_);
}

// The data with what tells the event itself.
std::string LiveEvent::socketio_text(std::string_view type, std::string data,
                                     std::string_view offset) const {
  if (data.ends_with('}')) {
    data.pop_back();
    data.append(data.size() > 1 ? ",\"timestamp\":\"" : "\"timestamp\":\"");
    event_->at.append_to(data);
    data.push_back('"');
    if (in_log()) {
      data.append(",\"event_id\":");
      append_json_string(data, event_id_);
    }
    data.push_back('}');
  }
  return event_packet(type, data, offset);
}

std::string LiveEvent::message_id() const {
  if (!in_log()) return news_id_;
  auto const high = std::hash<std::string>{}(event_id_);
  return Uuid::derived(high, static_cast<std::uint64_t>(event_->id)).to_string();
}

bool LiveEvent::carried_by(Protocol protocol) const { return shown(protocol).carried; }

std::string_view LiveEvent::text(Protocol protocol, std::string_view room,
                                 std::string& buffer) const {
  auto const& shown = this->shown(protocol);
  if (!shown.carried) return {};
  if (protocol == Protocol::v1 || protocol == Protocol::socketio) return shown.text;
  auto envelope = v2_text(room, false);
  if (protocol == Protocol::v2) {
    buffer = std::move(envelope);
  } else {
    buffer.clear();
    append_stream_event(buffer, event_id_, projection_->v2.type, envelope);
  }
  return buffer;
}

std::string LiveEvent::v2_text(std::string_view room, bool kept) const {
  return write_envelope({.type = projection_->v2.type,
                         .room = room,
                         .data = shown(Protocol::v2).text,
                         .message_id = message_id(),
                         .correlation_id = event_->correlation_id,
                         .event_id = event_id_,
                         .kept = kept,
                         .at = event_->at});
}

std::string LiveEvent::kept_text(Protocol protocol) const {
  constexpr std::string_view kMark = ",\"inbox\":true}";
  std::string text;
  switch (protocol) {
    case Protocol::v2: return v2_text({}, true);
    case Protocol::sse:
      append_stream_event(text, {}, projection_->v2.type, v2_text({}, true));
      return text;
    case Protocol::v1:
      text = shown(protocol).text;
      text.pop_back();
      return text.append(kMark);
    case Protocol::socketio:
      // Behind the data stands the offset: },"..."]
      text = shown(protocol).text;
      text.resize(text.size() - event_id_.size() - 5);
      return text.append(kMark).append("]");
  }
  return text;
}

std::string_view LiveEvent::text_before(Protocol protocol) const {
  return protocol == Protocol::socketio ? std::string_view(shown(protocol).before)
                                        : std::string_view();
}

net::WsDeflatedOnce const& LiveEvent::deflated_at(std::size_t index) const {
  deflated_made_.call([this] {
    deflated_ = std::make_unique<net::WsDeflatedOnce[]>(4 + event_->audience.rooms.size());
  });
  return deflated_[index];
}

net::WsDeflatedOnce const& LiveEvent::deflated(Protocol protocol, std::string_view room) const {
  // Only /ws/v2 tells of rooms.
  if (protocol == Protocol::v1) return deflated_at(0);
  if (protocol == Protocol::socketio) return deflated_at(1);
  if (room.empty()) return deflated_at(3);
  auto const& rooms = event_->audience.rooms;
  auto const at = std::ranges::find(rooms, room);
  assert(at != rooms.end());
  return deflated_at(static_cast<std::size_t>(4 + (at - rooms.begin())));
}

std::string_view LiveEvent::origin(Protocol protocol) const { return shown(protocol).origin; }

std::string write_envelope(Envelope const& envelope) {
  std::string text;
  text.reserve(envelope.data.size() + 256);
  JsonWriter json(text);
  json.begin_object();
  json.plain_key("type");
  json.string(envelope.type);
  json.plain_key("room");
  envelope.room.empty() ? json.null() : json.string(envelope.room);
  json.plain_key("data");
  json.raw(envelope.data);
  json.plain_key("timestamp");
  json.timestamp(envelope.at);
  json.plain_key("message_id");
  envelope.message_id.empty() ? json.uuid(Uuid::random()) : json.string(envelope.message_id);
  json.plain_key("correlation_id");
  envelope.correlation_id.empty() ? json.null() : json.string(envelope.correlation_id);
  if (!envelope.event_id.empty()) {
    json.plain_key("event_id");
    json.string(envelope.event_id);
  }
  if (envelope.kept) json.member("inbox", true);
  json.end_object();
  return text;
}

}  // namespace subforge::realtime
