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
    return room.members + room.members_elsewhere;
  }
  ++room.members;
  bool const first = ++room.connections_of[key_of(who)] == 1;
  if (first && !room.servers_of.contains(key_of(who))) came(name, room, who);
  note_here(name, who, first ? 1 : 0);
  return room.members + room.members_elsewhere;
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
  note_here(name, who, last ? -1 : 0);
  if (last && !room.servers_of.contains(key_of(who))) went(name, room, who);
  auto const left = room.members + room.members_elsewhere;
  tidy(name);
  return left;
}

void RoomDirectory::came(std::string const& name, Room& room, PresenceChange const& who) {
  if (!cancel(room.left, who)) room.joined.push_back(who);
  note(name, room);
}

void RoomDirectory::went(std::string const& name, Room& room, PresenceChange const& who) {
  // Only who came since the last look was never there; who joined again was.
  cancel(room.joined_again, who);
  if (!cancel(room.joined, who)) room.left.push_back(who);
  note(name, room);
}

void RoomDirectory::tidy(std::string const& name) {
  auto const found = rooms_.find(name);
  if (found == rooms_.end()) return;
  auto& room = found->second;
  if (room.members == 0 && room.members_elsewhere == 0) {
    rooms_.erase(found);
  } else if (room.members == 0) {
    room.joined.clear();
    room.joined_again.clear();
    room.left.clear();
  }
}

// --- Other servers

void RoomDirectory::note_here(std::string const& name, PresenceChange const& who, int came) {
  if (!shared_) return;
  auto& news = news_of_here_[name];
  if (came > 0 && !cancel(news.left, who)) news.joined.push_back(who);
  if (came < 0 && !cancel(news.joined, who)) news.left.push_back(who);
}

std::vector<RoomNews> RoomDirectory::take_news_of_here() {
  std::lock_guard const lock(mutex_);
  std::vector<RoomNews> all;
  for (auto& [name, news] : news_of_here_) {
    auto const found = rooms_.find(name);
    news.room = name;
    news.members = found == rooms_.end() ? 0 : found->second.members;
    all.push_back(std::move(news));
  }
  news_of_here_.clear();
  return all;
}

std::vector<RoomNews> RoomDirectory::take_all_here() {
  std::lock_guard const lock(mutex_);
  std::vector<RoomNews> all;
  for (auto const& [name, room] : rooms_) {
    if (room.members == 0) continue;
    RoomNews news{name, {}, {}, room.members};
    for (auto const& [user, connections] : room.connections_of) news.joined.push_back({{}, user});
    all.push_back(std::move(news));
  }
  news_of_here_.clear();
  return all;
}

void RoomDirectory::hear(std::string const& server, std::vector<RoomNews> const& told, bool all,
                         std::int64_t now_ns) {
  std::lock_guard const lock(mutex_);
  auto& other = others_[server];
  other.heard_ns = now_ns;
  std::map<std::string, There> now;
  for (auto const& news : told) {
    auto const before = other.rooms.find(news.room);
    There there;
    if (!all && before != other.rooms.end()) there = before->second;
    there.members = news.members;
    for (auto const& who : news.left) there.users.erase(key_of(who));
    for (auto const& who : news.joined) there.users.try_emplace(key_of(who), who);
    now.insert_or_assign(news.room, std::move(there));
  }
  if (all) {
    for (auto const& [name, there] : other.rooms) now.try_emplace(name);
  }
  for (auto& [name, there] : now) change_there(other, name, std::move(there));
}

void RoomDirectory::forget_silent(std::int64_t since_ns) {
  std::lock_guard const lock(mutex_);
  for (auto other = others_.begin(); other != others_.end();) {
    auto& server = other->second;
    if (server.heard_ns >= since_ns) {
      ++other;
      continue;
    }
    while (!server.rooms.empty())
      change_there(server, std::string(server.rooms.begin()->first), {});
    other = others_.erase(other);
  }
}

void RoomDirectory::change_there(OtherServer& server, std::string const& name, There now) {
  auto& before = server.rooms[name];
  auto const same_user = [](auto const& a, auto const& b) { return a.first == b.first; };
  if (now.members == before.members && now.members > 0 &&
      std::ranges::equal(now.users, before.users, same_user)) {
    return;
  }
  auto& room = rooms_[name];
  if (room.created_at == Timestamp{}) room.created_at = Timestamp::now();
  room.last_change = Timestamp::now();
  room.members_elsewhere += now.members;
  room.members_elsewhere -= before.members;
  for (auto const& [user, who] : now.users) {
    if (before.users.contains(user) || ++room.servers_of[user] > 1) continue;
    if (!room.connections_of.contains(user)) came(name, room, who);
  }
  for (auto const& [user, who] : before.users) {
    if (now.users.contains(user) || --room.servers_of[user] > 0) continue;
    room.servers_of.erase(user);
    if (!room.connections_of.contains(user)) went(name, room, who);
  }
  bool const is_left = now.members == 0;
  before = std::move(now);
  if (is_left) server.rooms.erase(name);
  tidy(name);
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
    all.push_back({std::move(name), std::move(joined), std::move(left),
                   room.members + room.members_elsewhere});
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
  RoomInfo made{name, room.members + room.members_elsewhere, {}, room.created_at, room.last_change};
  for (auto const& [member, connections] : room.connections_of) made.members.push_back(member);
  for (auto const& [member, servers] : room.servers_of) {
    if (!room.connections_of.contains(member)) made.members.push_back(member);
  }
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
  return found == rooms_.end() ? 0 : found->second.members + found->second.members_elsewhere;
}

}  // namespace subforge::realtime
