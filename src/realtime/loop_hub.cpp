#include "realtime/loop_hub.hpp"

#include <algorithm>
#include <iterator>
#include <utility>

#include "base/json_writer.hpp"
#include "realtime/history.hpp"
#include "realtime/hub.hpp"

namespace subforge::realtime {
namespace {

// What shows both ends that the connection is alive.
std::string beat_text(Protocol protocol) {
  if (protocol == Protocol::sse) return ": heartbeat\n\n";
  auto const now = Timestamp::now();
  std::string data;
  JsonWriter json(data);
  json.begin_object();
  json.member("timestamp", now);
  json.end_object();
  if (protocol == Protocol::v2) return write_envelope({.type = "heartbeat", .data = data});
  std::string text;
  JsonWriter message(text);
  message.begin_object();
  message.member("type", "ping");
  message.member_raw("data", data);
  message.member("timestamp", now);
  message.end_object();
  return text;
}

}  // namespace

LoopHub::LoopHub(Hub& hub, EventLoop& loop, net::WebSocketServer& sockets)
    : hub_(hub),
      loop_(loop),
      sockets_(sockets),
      beats_{Timer([this] { beat(Protocol::v1); }), Timer([this] { beat(Protocol::v2); }),
             Timer([this] { beat(Protocol::sse); }), Timer([] {})},
      disk_(loop, hub.limits().pages_at_once) {}

void LoopHub::add(Viewer& viewer) {
  auto const protocol = viewer.protocol_;
  auto& viewers = list(protocol);
  viewer.index_ = viewers.size();
  viewers.push_back(&viewer);
  counts_[static_cast<std::size_t>(protocol)].store(viewers.size(), std::memory_order_relaxed);
  if (viewer.rooms_only_) ++rooms_only_count_;
  viewer.acknowledging_ = 0;
  if (!viewer.connection_id_.empty()) by_id_.emplace(viewer.connection_id_, &viewer);
  enter_user(viewer);
  hub_.connection_added();
  // Either the hub sees this viewer and hands the next event to the loop, or the position read
  // here is behind that event.
  std::atomic_thread_fence(std::memory_order_seq_cst);
  viewer.seen_ = hub_.store().last_event_id();
  if (protocol == Protocol::socketio) return;  // Its sessions look after themselves.
  if (!beats_[static_cast<std::size_t>(protocol)].armed()) beat_later(protocol);
}

void LoopHub::remove(Viewer& viewer) {
  let_go(std::exchange(viewer.catching_up_, nullptr), loop_);
  let_go(std::exchange(viewer.replay_, nullptr), loop_);
  while (!viewer.rooms_.empty()) leave(viewer, std::string(viewer.rooms_.back()));
  by_id_.erase(viewer.connection_id_);
  leave_user(viewer);
  auto& viewers = list(viewer.protocol_);
  viewers[viewer.index_] = viewers.back();
  viewers[viewer.index_]->index_ = viewer.index_;
  viewers.pop_back();
  counts_[static_cast<std::size_t>(viewer.protocol_)].store(viewers.size(),
                                                            std::memory_order_relaxed);
  if (viewer.rooms_only_) --rooms_only_count_;
}

void LoopHub::show_only_rooms(Viewer& viewer, bool only) {
  if (std::exchange(viewer.rooms_only_, only) == only) return;
  only ? ++rooms_only_count_ : --rooms_only_count_;
}

std::optional<std::int64_t> LoopHub::shown_up_to(Viewer const& viewer) const {
  auto const* const way = viewer.catching_up_.get();
  if (way == nullptr) return std::max(delivered_, viewer.seen_);
  return way->comes_back ? std::nullopt : way->position;
}

void LoopHub::identify(Viewer& viewer, Identity identity) {
  // Rooms are left under the old name and would be counted under the new one.
  while (!viewer.rooms_.empty() && viewer.identity_ && viewer.identity_->user != identity.user) {
    leave(viewer, std::string(viewer.rooms_.back()));
  }
  if (!viewer.identity_ && viewer.catching_up_ == nullptr) {
    viewer.seen_ = hub_.store().last_event_id();
  }
  leave_user(viewer);
  viewer.become(std::move(identity));
  enter_user(viewer);
}

void LoopHub::enter_user(Viewer& viewer) {
  if (!viewer.identity_) return;
  auto& theirs = by_user_[viewer.identity_->user];
  viewer.index_of_user_ = theirs.size();
  theirs.push_back(&viewer);
}

void LoopHub::leave_user(Viewer& viewer) {
  if (!viewer.identity_) return;
  auto const here = by_user_.find(viewer.identity_->user);
  auto& theirs = here->second;
  theirs[viewer.index_of_user_] = theirs.back();
  theirs[viewer.index_of_user_]->index_of_user_ = viewer.index_of_user_;
  theirs.pop_back();
  if (theirs.empty()) by_user_.erase(here);
}

std::optional<std::size_t> LoopHub::join(Viewer& viewer, std::string const& room,
                                         std::string& why) {
  auto const& limits = hub_.limits();
  if (room.size() > limits.room_name_bytes_max) {
    why = "the room's name is too long";
    return std::nullopt;
  }
  if (room.contains('\0')) {
    why = "the room's name holds U+0000";
    return std::nullopt;
  }
  bool const again = viewer.is_member(room);
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
    viewer.in_several_rooms_ = viewer.rooms_.size() > 1;
    rooms_[room].members.push_back(&viewer);
  }
  hub_.presence_soon();
  return members;
}

void LoopHub::leave(Viewer& viewer, std::string const& room) {
  if (std::erase(viewer.rooms_, room) == 0) return;
  viewer.in_several_rooms_ = viewer.rooms_.size() > 1;
  auto const here = rooms_.find(room);
  if (here != rooms_.end()) {
    auto& members = here->second.members;
    if (auto const at = std::ranges::find(members, &viewer); at != members.end()) {
      *at = members.back();
      members.pop_back();
    }
    if (members.empty()) rooms_.erase(here);
  }
  hub_.rooms().leave(room, {viewer.connection_id_, viewer.identity_ ? viewer.identity_->user : ""});
  hub_.presence_soon();
}

void LoopHub::drained(Viewer& viewer) {
  if (viewer.catching_up_ == nullptr) tell_conflated(viewer);
  go_on(viewer.catching_up_, loop_);
  go_on(viewer.replay_, loop_);
}

bool LoopHub::begin_replay(Viewer& viewer, std::shared_ptr<Replay> replay) {
  if (viewer.replay_ != nullptr) return false;
  viewer.replay_ = std::move(replay);
  return true;
}

void LoopHub::replay_ended(Viewer& viewer) { viewer.replay_.reset(); }

// ---- What there is

void LoopHub::list_connections(std::vector<ConnectionInfo>& all) const {
  for (auto const& viewers : viewers_) {
    for (auto const* const viewer : viewers) all.push_back(viewer->connection());
  }
}

Viewer* LoopHub::find(std::string_view connection_id) const {
  auto const found = by_id_.find(connection_id);
  return found == by_id_.end() ? nullptr : found->second;
}

std::vector<Viewer*> LoopHub::connections_of(std::string const& user) {
  std::vector<Viewer*> found;
  auto const theirs = by_user_.find(user);
  if (theirs == by_user_.end()) return found;
  std::ranges::copy_if(theirs->second, std::back_inserter(found),
                       [](Viewer const* viewer) { return viewer->protocol_ == Protocol::v2; });
  return found;
}

std::size_t LoopHub::count_reached(LiveEvent const& event) const {
  auto const& audience = event.event().audience;
  auto const is_reached = [&](Viewer const* viewer) {
    std::string_view room;
    return viewer->may_see() && event.carried_by(viewer->protocol_) &&
           is_for(*viewer, audience, room);
  };
  auto const count = [&](std::vector<Viewer*> const& viewers) {
    return static_cast<std::size_t>(std::ranges::count_if(viewers, is_reached));
  };
  if (audience.to == store::Audience::To::user) {
    auto const theirs = by_user_.find(audience.user);
    return theirs == by_user_.end() ? 0 : count(theirs->second);
  }
  std::size_t all = 0;
  for (auto const& viewers : viewers_) all += count(viewers);
  return all;
}

void LoopHub::add_last_told(std::unordered_map<std::string, Timestamp>& rooms) const {
  for (auto const& [name, room] : rooms_) {
    auto& last = rooms[name];
    last = std::max(last, room.last_told);
  }
}

std::size_t LoopHub::count_authenticated() const {
  std::size_t count = 0;
  for (auto const& viewers : viewers_) {
    count += static_cast<std::size_t>(std::ranges::count_if(
        viewers, [](Viewer const* viewer) { return viewer->identity_.has_value(); }));
  }
  return count;
}

std::size_t LoopHub::queued_bytes() const {
  std::size_t bytes = 0;
  for (auto const& viewers : viewers_) {
    for (auto const* const viewer : viewers) bytes += viewer->queued_bytes();
  }
  return bytes;
}

void LoopHub::check_rights() {
  for (auto const& viewers : viewers_) {
    // Closing takes a viewer off the list.
    auto const all = viewers;
    for (auto* const viewer : all) {
      if (!viewer->identity_ || hub_.gate().still_valid(*viewer->identity_)) continue;
      viewer->close(kUnauthorized, "credentials are no longer valid");
    }
  }
}

void LoopHub::beat_later(Protocol protocol) {
  auto const period_ms = hub_.limits().beat_ms[static_cast<std::size_t>(protocol)];
  beats_[static_cast<std::size_t>(protocol)].arm(loop_.timers(),
                                                 loop_.now_ns() + period_ms * 1'000'000);
}

void LoopHub::beat(Protocol protocol) {
  if (list(protocol).empty()) return;
  auto const text = beat_text(protocol);
  std::optional<net::WebSocketFrame> frame;
  if (protocol != Protocol::sse) frame = sockets_.frame(text);
  for (auto* const viewer : list(protocol))
    push_or_conflate(*viewer, {.kind = "beat"}, text, frame ? &*frame : nullptr);
  beat_later(protocol);
}

void LoopHub::close_streams(std::uint16_t code, std::string_view reason) {
  for (auto* const viewer : list(Protocol::sse)) viewer->close(code, reason);
}

}  // namespace subforge::realtime
