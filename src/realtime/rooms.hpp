// Which rooms exist and who is in them; shared by all event loops. Delivery does not come by here:
// each loop knows its own members. Where several servers share a database each tells the others who
// is with it, so that a room's members are those of all.
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
  // `shared`: there may be other servers, which are to be told.
  explicit RoomDirectory(std::size_t rooms_max, bool shared = false)
      : rooms_max_(rooms_max), shared_(shared) {}

  // The number of members after joining; 0 if there are too many rooms. `again`: it was a member.
  std::size_t join(std::string const& room, PresenceChange const& who, bool again);
  // The number of members after leaving; the last one out ends the room.
  std::size_t leave(std::string const& room, PresenceChange const& who);

  // Who came and went since the last call, each user once, and who joined again.
  [[nodiscard]] std::vector<RoomNews> take_news();
  [[nodiscard]] bool has_news() const;

  // For the other servers: of each room in which something changed here since the last call, who
  // came here and who went, and how many members it has here.
  [[nodiscard]] std::vector<RoomNews> take_news_of_here();
  // All who are here, as if they just came; what take_news_of_here() would tell is part of that.
  [[nodiscard]] std::vector<RoomNews> take_all_here();
  // What another server told; `all` if that is all who are there.
  void hear(std::string const& server, std::vector<RoomNews> const& told, bool all,
            std::int64_t now_ns);
  // Servers that were not heard since are gone, and whoever was with them.
  void forget_silent(std::int64_t since_ns);

  [[nodiscard]] std::size_t room_count() const;
  [[nodiscard]] std::size_t members_of(std::string const& room) const;
  [[nodiscard]] std::vector<RoomInfo> list() const;  // By name.
  [[nodiscard]] std::optional<RoomInfo> find(std::string const& room) const;

 private:
  struct Room {
    std::size_t members = 0;  // Here; and on other servers:
    std::size_t members_elsewhere = 0;
    std::map<std::string, std::size_t>
        connections_of;  // Of each user here; an anonymous one is its own.
    std::map<std::string, std::size_t> servers_of;  // Other ones, of each user who is there.
    Timestamp created_at;
    Timestamp last_change;
    std::vector<PresenceChange> joined;
    std::vector<PresenceChange> joined_again;
    std::vector<PresenceChange> left;
    bool in_news = false;
  };
  // One room on another server.
  struct There {
    std::size_t members = 0;
    std::map<std::string, PresenceChange> users;
  };
  struct OtherServer {
    std::int64_t heard_ns = 0;
    std::map<std::string, There> rooms;
  };
  void note(std::string const& name, Room& room);
  void note_here(std::string const& name, PresenceChange const& who, int came);
  void came(std::string const& name, Room& room, PresenceChange const& who);
  void went(std::string const& name, Room& room, PresenceChange const& who);
  void change_there(OtherServer& server, std::string const& name, There now);
  // Forgets a room that nobody is in, and news that nobody here would hear.
  void tidy(std::string const& name);
  [[nodiscard]] static RoomInfo info(std::string const& name, Room const& room);

  std::size_t const rooms_max_;
  bool const shared_;
  // lint: allow(locks): joins and leaves are rare beside messages, which do not come by here.
  mutable std::mutex mutex_;
  std::unordered_map<std::string, Room> rooms_;
  std::vector<std::string> news_;
  std::map<std::string, RoomNews> news_of_here_;
  std::map<std::string, OtherServer> others_;
};

}  // namespace subforge::realtime
