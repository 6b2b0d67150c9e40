#include "realtime/live_event.hpp"

#include <algorithm>
#include <cassert>
#include <functional>

#include "base/json_writer.hpp"
#include "describe/parse_json.hpp"
#include "realtime/event_stream.hpp"
#include "realtime/socket_packet.hpp"

namespace subforge::realtime {

Projection const* Projections::find(std::string_view kind) const {
  for (auto const& row : rows_) {
    if (row.kind == kind) return &row;
  }
  return nullptr;
}

void LiveEvent::project() const {
  std::call_once(projected_, [this] {
    if (projection_ == nullptr) return;
    boost::system::error_code error;
    auto const payload = describe::parse_json(event_->payload, error);
    if (error || !payload.is_object()) return;
    if (projection_->v1.make != nullptr) {
      if (auto const message = projection_->v1.make(*event_, payload.get_object())) {
        std::string text;
        JsonWriter json(text);
        json.begin_object();
        json.member("type", projection_->v1.type);
        json.member_raw("data", message->data);
        json.member("timestamp", event_->at);
        json.member("broadcast_id", event_->id);
        if (in_log()) json.member("event_id", event_id_);
        json.end_object();
        v1_text_ = std::move(text);
      }
    }
    if (projection_->socketio.make != nullptr) {
      if (auto const message = projection_->socketio.make(*event_, payload.get_object())) {
        socketio_text_ = event_packet(projection_->socketio.type, with_origin(*message), event_id_);
      }
    }
    if (projection_->v2.make != nullptr) v2_ = projection_->v2.make(*event_, payload.get_object());
    if (!v2_) return;
    if (in_log()) {
      // The same on every machine and in every replay, since it names the same message.
      auto const high = std::hash<std::string>{}(event_id_);
      message_id_ = Uuid::derived(high, static_cast<std::uint64_t>(event_->id)).to_string();
    } else {
      message_id_ = Uuid::random().to_string();
    }
  });
}

// The data of Socket.IO with what tells the event itself.
std::string LiveEvent::with_origin(Message const& message) const {
  std::string data = message.data;
  data.pop_back();
  data.append(data.size() > 1 ? ",\"timestamp\":\"" : "\"timestamp\":\"");
  event_->at.append_to(data);
  data.push_back('"');
  if (in_log()) {
    data.append(",\"event_id\":");
    append_json_string(data, event_id_);
  }
  data.push_back('}');
  return data;
}

bool LiveEvent::carried_by(Protocol protocol) const {
  project();
  switch (protocol) {
    case Protocol::v1: return v1_text_.has_value();
    case Protocol::v2:
    case Protocol::sse: return v2_.has_value();
    case Protocol::socketio: return socketio_text_.has_value();
  }
  return false;
}

std::string_view LiveEvent::text(Protocol protocol, std::string_view room,
                                 std::string& buffer) const {
  if (!carried_by(protocol)) return {};
  if (protocol == Protocol::v1) return *v1_text_;
  if (protocol == Protocol::socketio) return *socketio_text_;
  auto envelope = write_envelope({.type = projection_->v2.type,
                                  .room = room,
                                  .data = v2_->data,
                                  .message_id = message_id_,
                                  .correlation_id = event_->correlation_id,
                                  .event_id = event_id_,
                                  .at = event_->at});
  if (protocol == Protocol::v2) {
    buffer = std::move(envelope);
  } else {
    buffer.clear();
    append_stream_event(buffer, event_id_, projection_->v2.type, envelope);
  }
  return buffer;
}

net::WsDeflatedOnce const& LiveEvent::deflated(Protocol protocol, std::string_view room) const {
  // Only /ws/v2 tells of rooms.
  if (protocol == Protocol::v1) return deflated_[0];
  if (protocol == Protocol::socketio) return deflated_[1];
  if (room.empty()) return deflated_[2];
  auto const& rooms = event_->audience.rooms;
  auto const at = std::ranges::find(rooms, room);
  assert(at != rooms.end());
  return deflated_[static_cast<std::size_t>(3 + (at - rooms.begin()))];
}

std::string_view LiveEvent::origin(Protocol protocol) const {
  project();
  bool const shows_v2 = protocol == Protocol::v2 || protocol == Protocol::sse;
  return shows_v2 && v2_ ? std::string_view(v2_->origin) : std::string_view{};
}

Message const* LiveEvent::v2() const {
  project();
  return v2_ ? &*v2_ : nullptr;
}

std::string write_envelope(Envelope const& envelope) {
  std::string text;
  text.reserve(envelope.data.size() + 256);
  JsonWriter json(text);
  json.begin_object();
  json.member("type", envelope.type);
  json.key("room");
  envelope.room.empty() ? json.null() : json.string(envelope.room);
  json.member_raw("data", envelope.data);
  json.member("timestamp", envelope.at);
  json.key("message_id");
  envelope.message_id.empty() ? json.uuid(Uuid::random()) : json.string(envelope.message_id);
  json.key("correlation_id");
  envelope.correlation_id.empty() ? json.null() : json.string(envelope.correlation_id);
  if (!envelope.event_id.empty()) json.member("event_id", envelope.event_id);
  json.end_object();
  return text;
}

}  // namespace subforge::realtime
