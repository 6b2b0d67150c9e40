// A row of the event log: one per change. Every live frame, replay, cache invalidation and wake-up
// is a projection of these rows.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/log.hpp"
#include "base/time.hpp"

namespace subforge::store {

// Who may see an event.
struct Audience {
  enum class To : std::uint8_t {
    none,    // Nobody: it only moves caches and cursors.
    all,     // Everybody; `rooms` are the topic rooms that carry it to who asked for rooms only.
    rooms,   // Members of `rooms`.
    user,    // Every connection of `user`.
    others,  // Everybody but `user`; `rooms` as for `all`.
  };
  To to = To::none;
  std::vector<std::string> rooms;
  std::string user;

  // Whether it is for everybody, or nearly so.
  [[nodiscard]] bool is_public() const { return to == To::all || to == To::others; }
  [[nodiscard]] static Audience nobody() { return {}; }
  [[nodiscard]] static Audience everybody(std::vector<std::string> topic_rooms) {
    return {To::all, std::move(topic_rooms), {}};
  }
  [[nodiscard]] static Audience room(std::string name) {
    return {To::rooms, {std::move(name)}, {}};
  }
  [[nodiscard]] static Audience one(std::string user) { return {To::user, {}, std::move(user)}; }

  // The stored form: a JSON array of the kind and its rooms or user.
  [[nodiscard]] std::string to_text() const;
  [[nodiscard]] static std::optional<Audience> parse(std::string_view text);

  friend bool operator==(Audience const&, Audience const&) = default;
};

struct Event {
  std::int64_t id = 0;  // Position in the log; given by the database.
  Timestamp at;
  std::string kind;  // agent.created, room.message ...
  LogLevel level = LogLevel::info;
  std::string subject;  // agent:<id>, room:<name> ...
  std::string actor;    // Id of the user who caused it; empty for the server itself.
  Audience audience;
  std::int64_t version = 0;  // Of the record after the change; 0 where there is none.
  std::string correlation_id;
  std::string payload = "{}";  // JSON object; its form belongs to the kind.
};

}  // namespace subforge::store
