// Which rooms exist on this machine and who is in them; shared by all event loops. Delivery does
// not come by here: each loop knows its own members.
#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/time.hpp"

namespace subforge::realtime {

struct PresenceChange {
  std::string connection_id;
  std::string user;  // Empty: anonymous.
};

// What happened in a room since the last look.
struct RoomNews {
  std::string room;
  std::vector<PresenceChange> joined;
  std::vector<PresenceChange> left;
  std::size_t members = 0;
};

// A room, as it is listed.
struct RoomInfo {
  std::string name;
  std::size_t connections = 0;
  std::vector<std::string> members;  // Users; connections of those that are anonymous.
  Timestamp created_at;
  Timestamp last_change;  // When somebody came or went.
};

class RoomDirectory {
 public:
  explicit RoomDirectory(std::size_t rooms_max) : rooms_max_(rooms_max) {}

  // The number of members after joining; 0 if there are too many rooms. `again`: it was a member.
  std::size_t join(std::string const& room, PresenceChange const& who, bool again);
  // The number of members after leaving; the last one out ends the room.
  std::size_t leave(std::string const& room, PresenceChange const& who);

  // Who came and went since the last call, each user once, and who joined again.
  [[nodiscard]] std::vector<RoomNews> take_news();
  [[nodiscard]] bool has_news() const;
  [[nodiscard]] std::size_t room_count() const;
  [[nodiscard]] std::size_t members_of(std::string const& room) const;
  [[nodiscard]] std::vector<RoomInfo> list() const;  // By name.
  [[nodiscard]] std::optional<RoomInfo> find(std::string const& room) const;

 private:
  struct Room {
    std::size_t members = 0;
    std::map<std::string, std::size_t>
        connections_of;  // Of each user; an anonymous one is its own.
    Timestamp created_at;
    Timestamp last_change;
    std::vector<PresenceChange> joined;
    std::vector<PresenceChange> joined_again;
    std::vector<PresenceChange> left;
    bool in_news = false;
  };
  void note(std::string const& name, Room& room);
  [[nodiscard]] static RoomInfo info(std::string const& name, Room const& room);

  std::size_t const rooms_max_;
  // lint: allow(locks): joins and leaves are rare beside messages, which do not come by here.
  mutable std::mutex mutex_;
  std::unordered_map<std::string, Room> rooms_;
  std::vector<std::string> news_;
};

}  // namespace subforge::realtime
