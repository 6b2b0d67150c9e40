#include "realtime/rooms.hpp"

#include <algorithm>
#include <iterator>
#include <utility>

namespace subforge::realtime {
namespace {

std::string const& key_of(PresenceChange const& who) {
  return who.user.empty() ? who.connection_id : who.user;
}

// Takes out what is said of the same user, if anything is: came and went between two looks.
bool cancel(std::vector<PresenceChange>& list, PresenceChange const& who) {
  return std::erase_if(list, [&](PresenceChange const& entry) {
           return entry.user.empty() == who.user.empty() && key_of(entry) == key_of(who);
         }) > 0;
}

}  // namespace

std::size_t RoomDirectory::join(std::string const& name, PresenceChange const& who, bool again) {
  std::lock_guard const lock(mutex_);
  auto found = rooms_.find(name);
  if (found == rooms_.end()) {
    if (rooms_.size() >= rooms_max_) return 0;
    found = rooms_.emplace(name, Room{}).first;
    found->second.created_at = Timestamp::now();
  }
  auto& room = found->second;
  room.last_change = Timestamp::now();
  if (again) {
    // Joining twice is announced again, as the reference does, with an unchanged count.
    room.joined_again.push_back(who);
    note(name, room);
    return room.members;
  }
  ++room.members;
  bool const first = ++room.connections_of[key_of(who)] == 1;
  if (first && !cancel(room.left, who)) room.joined.push_back(who);
  if (first) note(name, room);
  return room.members;
}

std::size_t RoomDirectory::leave(std::string const& name, PresenceChange const& who) {
  std::lock_guard const lock(mutex_);
  auto const found = rooms_.find(name);
  if (found == rooms_.end() || found->second.members == 0) return 0;
  auto& room = found->second;
  --room.members;
  room.last_change = Timestamp::now();
  auto const count = room.connections_of.find(key_of(who));
  bool const last = count != room.connections_of.end() && --count->second == 0;
  if (last) room.connections_of.erase(count);
  if (room.members == 0) {
    // Nobody is left to hear of it.
    rooms_.erase(found);
    return 0;
  }
  if (!last) return room.members;
  // Only who came since the last look was never there; who joined again was.
  cancel(room.joined_again, who);
  if (!cancel(room.joined, who)) room.left.push_back(who);
  note(name, room);
  return room.members;
}

void RoomDirectory::note(std::string const& name, Room& room) {
  if (!std::exchange(room.in_news, true)) news_.push_back(name);
}

std::vector<RoomNews> RoomDirectory::take_news() {
  std::lock_guard const lock(mutex_);
  std::vector<RoomNews> all;
  for (auto& name : news_) {
    auto const found = rooms_.find(name);
    if (found == rooms_.end()) continue;
    auto& room = found->second;
    if (!std::exchange(room.in_news, false)) continue;
    auto joined = std::exchange(room.joined, {});
    std::ranges::move(std::exchange(room.joined_again, {}), std::back_inserter(joined));
    auto left = std::exchange(room.left, {});
    if (joined.empty() && left.empty()) continue;
    all.push_back({std::move(name), std::move(joined), std::move(left), room.members});
  }
  news_.clear();
  return all;
}

bool RoomDirectory::has_news() const {
  std::lock_guard const lock(mutex_);
  return !news_.empty();
}

std::size_t RoomDirectory::room_count() const {
  std::lock_guard const lock(mutex_);
  return rooms_.size();
}

RoomInfo RoomDirectory::info(std::string const& name, Room const& room) {
  RoomInfo made{name, room.members, {}, room.created_at, room.last_change};
  for (auto const& [member, connections] : room.connections_of) made.members.push_back(member);
  return made;
}

std::vector<RoomInfo> RoomDirectory::list() const {
  std::vector<RoomInfo> all;
  {
    std::lock_guard const lock(mutex_);
    all.reserve(rooms_.size());
    for (auto const& [name, room] : rooms_) all.push_back(info(name, room));
  }
  std::ranges::sort(all, {}, &RoomInfo::name);
  return all;
}

std::optional<RoomInfo> RoomDirectory::find(std::string const& name) const {
  std::lock_guard const lock(mutex_);
  auto const found = rooms_.find(name);
  if (found == rooms_.end()) return std::nullopt;
  return info(name, found->second);
}

std::size_t RoomDirectory::members_of(std::string const& name) const {
  std::lock_guard const lock(mutex_);
  auto const found = rooms_.find(name);
  return found == rooms_.end() ? 0 : found->second.members;
}

}  // namespace subforge::realtime
