#include "realtime/history.hpp"

#include <algorithm>
#include <unordered_map>

#include "base/json_writer.hpp"
#include "store/event_history.hpp"

namespace subforge::realtime {
namespace {

// The room under which an event is told: the one that was asked for, or what it was sent to.
std::string_view room_of(store::Event const& event, std::string_view asked) {
  if (!asked.empty()) return asked;
  auto const& audience = event.audience;
  if (audience.to != store::Audience::To::rooms || audience.rooms.empty()) return {};
  return audience.rooms.front();
}

void write_room(JsonWriter& json, std::string_view room) {
  json.key("room");
  room.empty() ? json.null() : json.string(room);
}

std::string replayed(Replay const& replay, LiveEvent const& event) {
  std::string data;
  JsonWriter json(data);
  json.begin_object();
  json.member("event_id", event.event_id());
  json.member("event_type", event.v2_type());
  json.member_raw("original_data", event.v2_data());
  json.member("timestamp", event.event().at);
  json.member("is_replay", true);
  json.end_object();
  return write_envelope({.type = "event_history",
                         .room = room_of(event.event(), replay.room),
                         .data = data,
                         .correlation_id = replay.correlation_id});
}

std::string end_of(Replay const& replay) {
  std::string data;
  JsonWriter json(data);
  json.begin_object();
  json.member("status", "completed");
  json.member("events_count", replay.told);
  json.end_object();
  return write_envelope({.type = "replay_events",
                         .room = replay.room,
                         .data = data,
                         .correlation_id = replay.correlation_id});
}

// Nothing if it is not kept any more.
Task<Result<LiveEventPtr>> read_event(Hub& hub, std::int64_t id) {
  static auto const sql =
      "SELECT " + std::string(store::kEventColumns) + " FROM events WHERE id = $1";
  LiveEventPtr found;
  auto read = [&](store::Session& session) -> Task<Result<std::int64_t>> {
    co_return co_await session.query(sql, {id}, [&](store::Row const& row) {
      found = hub.live(std::make_shared<store::Event const>(store::event_from_row(row)));
    });
  };
  auto const done = co_await hub.store().read(store::ReadCost::point, read);
  if (!done) co_return std::unexpected(done.error());
  co_return found;
}

Task<void> run(LoopHub& hub, std::shared_ptr<Replay> replay) {
  for (auto const id : replay->events) {
    co_await replay->drained(hub.hub().limits().lagging_bytes);
    if (replay->viewer == nullptr) co_return;
    auto const event = co_await read_event(hub.hub(), id);
    if (replay->viewer == nullptr) co_return;
    if (!event) {
      co_return replay->viewer->close(net::kWsTryAgainLater,
                                      "what happened cannot be read now; reconnect");
    }
    if (*event == nullptr) continue;
    hub.tell(*replay->viewer, replayed(*replay, **event));
    ++replay->told;
  }
  if (replay->viewer == nullptr) co_return;
  if (replay->tell_end) hub.tell(*replay->viewer, end_of(*replay));
  hub.replay_ended(*replay->viewer);
}

// Nothing where nothing can match.
std::optional<store::HistoryFilter> filter_of(Hub& hub, Identity const& who,
                                              HistoryQuestion const& question) {
  if (question.room && !may_enter(who, *question.room)) return std::nullopt;
  store::HistoryFilter filter{.room = question.room,
                              .since = question.since,
                              .first_ones = question.tells_first_ones(),
                              .limit = question.limit};
  if (question.after) filter.after = hub.store().parse_event_id(*question.after);
  if (!question.event_types.empty()) {
    filter.kinds = hub.projections().kinds_shown_as(question.event_types);
    if (filter.kinds.empty()) return std::nullopt;
  }
  return filter;
}

}  // namespace

std::optional<std::string> fault_of(Hub& hub, HistoryQuestion const& question) {
  for (auto const& type : question.event_types) {
    bool const shown = !hub.projections().kinds_shown_as(std::span(&type, 1)).empty();
    if (!shown && !describe::from_text<MessageType>(type)) return "Invalid event type: " + type;
  }
  if (question.after && !hub.store().parse_event_id(*question.after)) {
    return "after is the event_id of no event here";
  }
  return std::nullopt;
}

bool may_know(Identity const& who, store::Audience const& audience) {
  using To = store::Audience::To;
  if (!who.can_read) return false;
  switch (audience.to) {
    case To::none: return false;
    case To::all: return true;
    case To::others: return who.user != audience.user;
    case To::user: return who.user == audience.user;
    case To::rooms:
      return std::ranges::any_of(audience.rooms,
                                 [&](std::string const& room) { return may_enter(who, room); });
  }
  return false;
}

Task<Result<PastEvents>> past_events(Hub& hub, Identity who, HistoryQuestion question,
                                     std::size_t bytes_max) {
  PastEvents past;
  past.first_ones = question.tells_first_ones();
  auto filter = filter_of(hub, who, question);
  if (!filter) co_return past;
  filter->bytes_max = bytes_max;
  // Some are told by another one, such as what a bulk operation did to each agent.
  std::unordered_map<std::int64_t, LiveEventPtr> shown;
  auto const wanted = [&](store::EventPtr const& event) {
    if (!may_know(who, event->audience)) return false;
    auto live = hub.live(event);
    if (!live->carried_by(Protocol::v2)) return false;
    shown.emplace(event->id, std::move(live));
    return true;
  };
  auto read = [&](store::Session& session) {
    return store::find_events(session, std::move(*filter), wanted);
  };
  auto found = co_await hub.store().read(store::ReadCost::scan, read);
  if (!found) co_return std::unexpected(found.error());
  past.complete = found->complete;
  if (found->next) past.next = hub.store().event_id_text(*found->next);
  for (auto const& event : found->events) past.events.push_back(shown.at(event->id));
  past.shorten(bytes_max);
  co_return past;
}

Task<Result<std::vector<std::int64_t>>> past_ids(Hub& hub, Identity who, HistoryQuestion question) {
  std::vector<std::int64_t> ids;
  auto filter = filter_of(hub, who, question);
  if (!filter) co_return ids;
  filter->ids_alone = true;
  auto const wanted = [&](store::EventPtr const& event) {
    return may_know(who, event->audience) && hub.live(event)->carried_by(Protocol::v2);
  };
  auto read = [&](store::Session& session) {
    return store::find_events(session, std::move(*filter), wanted);
  };
  auto const found = co_await hub.store().read(store::ReadCost::scan, read);
  if (!found) co_return std::unexpected(found.error());
  for (auto const& event : found->events) ids.push_back(event->id);
  co_return ids;
}

void PastEvents::shorten(std::size_t bytes_max) {
  std::size_t bytes = 0;
  std::size_t kept = 0;
  for (; kept < events.size(); ++kept) {
    bytes += events[first_ones ? kept : events.size() - 1 - kept]->v2_data().size();
    if (kept > 0 && bytes > bytes_max) break;
  }
  if (kept == events.size()) return;
  if (first_ones) {
    events.resize(kept);
    next = events.back()->event_id();
  } else {
    events.erase(events.begin(), events.end() - static_cast<std::ptrdiff_t>(kept));
    complete = false;
  }
}

void write_history(JsonWriter& json, PastEvents const& past, HistoryQuestion const& question) {
  json.key("events");
  json.begin_array();
  auto const count = past.events.size();
  for (std::size_t i = 0; i < count; ++i) {
    auto const& event = past.events[question.order == HistoryOrder::asc ? i : count - 1 - i];
    json.begin_object();
    json.member("event_id", event->event_id());
    json.member("event_type", event->v2_type());
    write_room(json, room_of(event->event(), question.room.value_or("")));
    json.member_raw("data", event->v2_data());
    json.member("timestamp", event->event().at);
    json.key("user_id");
    auto const& actor = event->event().actor;
    actor.empty() ? json.null() : json.string(actor);
    json.end_object();
  }
  json.end_array();
  json.member("total_count", past.events.size());
  json.member("complete", past.complete);
  if (past.first_ones) {
    json.key("next");
    past.next.empty() ? json.null() : json.string(past.next);
  }
}

bool replay(LoopHub& hub, Viewer& viewer, std::vector<std::int64_t> past,
            HistoryQuestion const& question, std::string correlation_id, bool tell_end) {
  auto replay = std::make_shared<Replay>();
  replay->viewer = &viewer;
  replay->events = std::move(past);
  replay->room = question.room.value_or("");
  replay->correlation_id = std::move(correlation_id);
  replay->tell_end = tell_end;
  if (!hub.begin_replay(viewer, replay)) return false;
  hub.tasks().spawn(run(hub, std::move(replay)));
  return true;
}

}  // namespace subforge::realtime
