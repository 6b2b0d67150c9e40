#include "realtime/viewer.hpp"

#include <algorithm>

namespace subforge::realtime {

bool Viewer::is_member(std::string_view room) const {
  return std::ranges::find(rooms_, room) != rooms_.end();
}

void Viewer::write_rooms(JsonWriter& json) const {
  json.key("rooms");
  json.begin_array();
  for (auto const& room : rooms_) json.string(room);
  json.end_array();
}

ConnectionInfo Viewer::connection() const {
  ConnectionInfo info;
  static_cast<ViewerInfo&>(info) = info_;
  info.id = connection_id_;
  info.protocol = protocol_;
  info.shown = shown_;
  if (identity_) info.user = identity_->user;
  info.rooms = rooms_;
  return info;
}

bool may_enter(Identity const& identity, std::string_view room) {
  return !room.empty() && (identity.is_admin || !room.starts_with("admin"));
}

void write_recovered(JsonWriter& json, Recovered const& outcome, store::Store const& store) {
  json.member("recovered", outcome.complete);
  json.member("last_event_id", store.event_id_text(outcome.position));
  if (outcome.complete) {
    json.member("missed_events", outcome.events);
  } else {
    json.member_raw("snapshot", outcome.snapshot);
  }
}

void write_inbox_shown(JsonWriter& json, Recovered const& outcome, store::Store const& store) {
  json.member("last_event_id", store.event_id_text(outcome.position));
  json.member("inbox_messages", outcome.inbox);
}

void write_acknowledged(JsonWriter& json, Acknowledged const& outcome, store::Store const& store) {
  json.member("event_id", store.event_id_text(outcome.up_to));
  json.member("removed", *outcome.removed);
}

}  // namespace subforge::realtime
