#include "realtime/hub.hpp"

#include <algorithm>

#include "base/json_writer.hpp"

namespace subforge::realtime {
namespace {

constexpr std::uint16_t kUnauthorized = 4401;

void write_presence(JsonWriter& json, std::vector<PresenceChange> const& changes) {
  json.begin_array();
  for (auto const& change : changes) {
    json.begin_object();
    json.member("connection_id", change.connection_id);
    json.key("user_id");
    change.user.empty() ? json.null() : json.string(change.user);
    json.end_object();
  }
  json.end_array();
}

// One coming or going is told in the reference's words; more within a tick as their difference.
std::string presence_data(RoomNews const& news, std::size_t entries_max) {
  std::string data;
  JsonWriter json(data);
  json.begin_object();
  if (news.joined.size() + news.left.size() == 1) {
    auto const& one = news.joined.empty() ? news.left.front() : news.joined.front();
    json.member("event", news.joined.empty() ? "user_left" : "user_joined");
    json.member("connection_id", one.connection_id);
    json.key("user_id");
    one.user.empty() ? json.null() : json.string(one.user);
  } else {
    json.member("event", "presence_diff");
    bool const listed = news.joined.size() + news.left.size() <= entries_max;
    json.key("joined");
    write_presence(json, listed ? news.joined : std::vector<PresenceChange>{});
    json.key("left");
    write_presence(json, listed ? news.left : std::vector<PresenceChange>{});
    json.member("joined_count", news.joined.size());
    json.member("left_count", news.left.size());
  }
  json.member("members_count", news.members);
  json.end_object();
  return data;
}

}  // namespace

// --- LoopHub

LoopHub::LoopHub(Hub& hub, EventLoop& loop, net::WebSocketServer& sockets)
    : hub_(hub),
      loop_(loop),
      sockets_(sockets),
      heartbeat_([this] { heartbeat(); }),
      v1_ping_([this] { ping_v1(); }) {}

void LoopHub::add(Viewer& viewer, Protocol protocol) {
  auto& viewers = list(protocol);
  viewer.index_ = viewers.size();
  viewers.push_back(&viewer);
  counts_[static_cast<std::size_t>(protocol)].store(viewers.size(), std::memory_order_relaxed);
  if (protocol == Protocol::v2 && viewer.rooms_only_) ++rooms_only_count_;
  auto& timer = protocol == Protocol::v1 ? v1_ping_ : heartbeat_;
  auto const period_ms =
      protocol == Protocol::v1 ? hub_.limits().v1_ping_ms : hub_.limits().heartbeat_ms;
  if (!timer.armed()) timer.arm(loop_.timers(), loop_.now_ns() + period_ms * 1'000'000);
}

void LoopHub::remove(Viewer& viewer, Protocol protocol) {
  while (!viewer.rooms_.empty()) leave(viewer, std::string(viewer.rooms_.back()));
  auto& viewers = list(protocol);
  viewers[viewer.index_] = viewers.back();
  viewers[viewer.index_]->index_ = viewer.index_;
  viewers.pop_back();
  counts_[static_cast<std::size_t>(protocol)].store(viewers.size(), std::memory_order_relaxed);
  if (protocol == Protocol::v2 && viewer.rooms_only_) --rooms_only_count_;
}

bool LoopHub::is_member(Viewer const& viewer, std::string_view room) {
  return std::ranges::find(viewer.rooms_, room) != viewer.rooms_.end();
}

std::optional<std::size_t> LoopHub::join(Viewer& viewer, std::string const& room,
                                         std::string& why) {
  auto const& limits = hub_.limits();
  if (room.size() > limits.room_name_bytes_max) {
    why = "the room's name is too long";
    return std::nullopt;
  }
  bool const again = is_member(viewer, room);
  if (!again && viewer.rooms_.size() >= limits.rooms_per_connection_max) {
    why = "this connection is in too many rooms";
    return std::nullopt;
  }
  PresenceChange const who{viewer.connection_id_, viewer.identity_->user};
  auto const members = hub_.rooms().join(room, who, again);
  if (members == 0) {
    why = "there are too many rooms";
    return std::nullopt;
  }
  if (!again) {
    viewer.rooms_.push_back(room);
    rooms_[room].push_back(&viewer);
  }
  hub_.presence_soon(*this);
  return members;
}

void LoopHub::leave(Viewer& viewer, std::string const& room) {
  if (std::erase(viewer.rooms_, room) == 0) return;
  auto const here = rooms_.find(room);
  if (here != rooms_.end()) {
    auto& members = here->second;
    if (auto const at = std::ranges::find(members, &viewer); at != members.end()) {
      *at = members.back();
      members.pop_back();
    }
    if (members.empty()) rooms_.erase(here);
  }
  hub_.rooms().leave(room, {viewer.connection_id_, viewer.identity_ ? viewer.identity_->user : ""});
  hub_.presence_soon(*this);
}

void LoopHub::deliver(LiveEvent const& event) {
  if (!list(Protocol::v1).empty()) deliver_v1(event);
  if (!list(Protocol::v2).empty()) deliver_v2(event);
}

void LoopHub::deliver_v1(LiveEvent const& event) {
  if (event.event().audience.to != store::Audience::To::all) return;
  auto const* text = event.v1_text();
  if (text == nullptr) return;
  auto const frame = sockets_.frame(*text);
  for (auto* const viewer : list(Protocol::v1)) {
    if (viewer->may_see()) viewer->socket_->enqueue(frame);
  }
}

void LoopHub::deliver_v2(LiveEvent const& event) {
  using To = store::Audience::To;
  auto const& audience = event.event().audience;
  if (audience.to == To::none || !event.in_v2()) return;
  if (audience.to == To::rooms) return deliver_to_rooms(event, false);
  auto const text = event.v2_text({});
  auto const frame = sockets_.frame(text);
  for (auto* const viewer : list(Protocol::v2)) {
    bool const meant = audience.to == To::all
                           ? !viewer->rooms_only_
                           : viewer->identity_ && viewer->identity_->user == audience.user;
    if (meant && viewer->may_see()) viewer->socket_->enqueue(frame);
  }
  if (audience.to == To::all && rooms_only_count_ > 0) deliver_to_rooms(event, true);
}

void LoopHub::deliver_to_rooms(LiveEvent const& event, bool rooms_only) {
  auto const id = event.event().id;
  auto const origin = event.v2_origin();
  for (auto const& room : event.event().audience.rooms) {
    auto const here = rooms_.find(room);
    if (here == rooms_.end()) continue;
    auto const frame = sockets_.frame(event.v2_text(room));
    for (auto* const viewer : here->second) {
      if (rooms_only && !viewer->rooms_only_) continue;
      if (viewer->last_event_ == id || !viewer->may_see()) continue;
      viewer->last_event_ = id;
      if (!origin.empty() && origin == viewer->connection_id_) continue;
      viewer->socket_->enqueue(frame);
    }
  }
}

void LoopHub::notify_room(std::string const& room, std::string const& text,
                          std::string_view except) {
  auto const here = rooms_.find(room);
  if (here == rooms_.end()) return;
  auto const frame = sockets_.frame(text);
  for (auto* const viewer : here->second) {
    if (viewer->connection_id_ != except) viewer->socket_->enqueue(frame);
  }
}

void LoopHub::notify_all(std::string const& v1, std::string const& v2, std::string const& room,
                         std::string const& v2_in_room) {
  if (auto const& viewers = list(Protocol::v1); !viewers.empty()) {
    auto const frame = sockets_.frame(v1);
    for (auto* const viewer : viewers) {
      if (viewer->may_see()) viewer->socket_->enqueue(frame);
    }
  }
  if (auto const& viewers = list(Protocol::v2); !viewers.empty()) {
    auto const frame = sockets_.frame(v2);
    auto const in_room = sockets_.frame(v2_in_room);
    for (auto* const viewer : viewers) {
      if (!viewer->may_see()) continue;
      if (!viewer->rooms_only_) {
        viewer->socket_->enqueue(frame);
      } else if (is_member(*viewer, room)) {
        viewer->socket_->enqueue(in_room);
      }
    }
  }
}

std::vector<ViewerInfo> LoopHub::viewers(Protocol protocol) {
  std::vector<ViewerInfo> infos;
  for (auto const* const viewer : list(protocol)) infos.push_back(viewer->info());
  return infos;
}

void LoopHub::check_rights() {
  for (auto const& viewers : viewers_) {
    // Closing takes a viewer off the list.
    auto const all = viewers;
    for (auto* const viewer : all) {
      if (!viewer->identity_ || hub_.gate().still_valid(*viewer->identity_)) continue;
      viewer->socket_->close(kUnauthorized, "credentials are no longer valid");
    }
  }
}

void LoopHub::heartbeat() {
  if (list(Protocol::v2).empty()) return;
  std::string data;
  JsonWriter json(data);
  json.begin_object();
  json.member("timestamp", Timestamp::now());
  json.end_object();
  auto const frame = sockets_.frame(write_envelope({.type = "heartbeat", .data = data}));
  for (auto* const viewer : list(Protocol::v2)) viewer->socket_->enqueue(frame);
  heartbeat_.arm(loop_.timers(), loop_.now_ns() + hub_.limits().heartbeat_ms * 1'000'000);
}

void LoopHub::ping_v1() {
  if (list(Protocol::v1).empty()) return;
  auto const now = Timestamp::now();
  std::string text;
  JsonWriter json(text);
  json.begin_object();
  json.member("type", "ping");
  json.key("data");
  json.begin_object();
  json.member("timestamp", now);
  json.end_object();
  json.member("timestamp", now);
  json.end_object();
  auto const frame = sockets_.frame(text);
  for (auto* const viewer : list(Protocol::v1)) viewer->socket_->enqueue(frame);
  v1_ping_.arm(loop_.timers(), loop_.now_ns() + hub_.limits().v1_ping_ms * 1'000'000);
}

// --- Hub

Hub::Hub(store::Store& store, Gate& gate, Projections const& projections, HubLimits const& limits,
         Logger logger)
    : store_(store),
      gate_(gate),
      projections_(projections),
      limits_(limits),
      logger_(logger),
      rooms_(limits.rooms_max) {}

LoopHub& Hub::attach(EventLoop& loop, net::WebSocketServer& sockets) {
  if (presence_ == nullptr) presence_ = std::make_unique<Timer>([this] { tell_presence(); });
  return *loops_.emplace_back(std::make_unique<LoopHub>(*this, loop, sockets));
}

void Hub::on_events(std::span<store::EventPtr const> events) {
  if (connections(Protocol::v1) + connections(Protocol::v2) == 0) return;
  std::vector<LiveEventPtr> live;
  live.reserve(events.size());
  for (auto const& event : events) {
    if (event->audience.to == store::Audience::To::none) continue;
    live.push_back(std::make_shared<LiveEvent const>(event, store_.event_id_text(event->id),
                                                     projections_.find(event->kind)));
  }
  if (live.empty()) return;
  auto const shared = std::make_shared<std::vector<LiveEventPtr> const>(std::move(live));
  for (auto const& to : loops_) {
    to->loop().post([hub = to.get(), shared] {
      for (auto const& event : *shared) hub->deliver(*event);
    });
  }
}

void Hub::check_rights() {
  for (auto const& to : loops_) {
    to->loop().post([hub = to.get()] { hub->check_rights(); });
  }
}

void Hub::notify_room(std::string const& room, std::string const& text, std::string const& except) {
  for (auto const& to : loops_) {
    to->loop().post([hub = to.get(), room, text, except] { hub->notify_room(room, text, except); });
  }
}

void Hub::notify_all(Flash const& flash) {
  if (connections(Protocol::v1) + connections(Protocol::v2) == 0) return;
  auto const now = Timestamp::now();
  std::string v1;
  JsonWriter json(v1);
  json.begin_object();
  json.member("type", flash.v1_type);
  json.member_raw("data", flash.v1_data);
  json.member("timestamp", now);
  json.member("broadcast_id", next_connection_number());
  json.end_object();
  auto const message_id = Uuid::random().to_string();
  auto const envelope = [&](std::string_view room) {
    return write_envelope({.type = flash.v2_type,
                           .room = room,
                           .data = flash.v2_data,
                           .message_id = message_id,
                           .at = now});
  };
  auto const v2 = envelope({});
  auto const v2_in_room = envelope(flash.room);
  for (auto const& to : loops_) {
    to->loop().post([hub = to.get(), v1, v2, room = flash.room, v2_in_room] {
      hub->notify_all(v1, v2, room, v2_in_room);
    });
  }
}

void Hub::presence_soon(LoopHub&) {
  if (presence_asked_.exchange(true, std::memory_order_acq_rel)) return;
  auto& first = loops_.front()->loop();
  first.post([this, &first] {
    presence_->arm(first.timers(), first.now_ns() + limits_.presence_tick_ms * 1'000'000);
  });
}

void Hub::tell_presence() {
  presence_asked_.store(false, std::memory_order_release);
  for (auto const& news : rooms_.take_news()) {
    auto const data = presence_data(news, limits_.presence_entries_max);
    auto const text = write_envelope({.type = "room_message", .room = news.room, .data = data});
    bool const one = news.joined.size() + news.left.size() == 1;
    notify_room(news.room, text,
                one && !news.joined.empty() ? news.joined.front().connection_id : std::string());
  }
}

std::size_t Hub::connections(Protocol protocol) const {
  std::size_t total = 0;
  for (auto const& loop : loops_) total += loop->count(protocol);
  return total;
}

Task<std::vector<ViewerInfo>> Hub::viewers(Protocol protocol) {
  struct Asking {
    LoopHub& hub;
    Protocol protocol;
    std::vector<ViewerInfo> found = {};
    [[nodiscard]] bool await_ready() const noexcept { return false; }
    void await_suspend(std::coroutine_handle<> waiting) {
      auto* const home = EventLoop::current();
      hub.loop().post([this, waiting, home] {
        found = hub.viewers(protocol);
        home->post([waiting] { waiting.resume(); });
      });
    }
    std::vector<ViewerInfo> await_resume() { return std::move(found); }
  };
  std::vector<ViewerInfo> all;
  for (auto const& to : loops_) {
    Asking asking{*to, protocol};
    auto const here = co_await asking;
    all.insert(all.end(), here.begin(), here.end());
  }
  co_return all;
}

}  // namespace subforge::realtime
