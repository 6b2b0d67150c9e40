// A connection as the hub sees it, whatever protocol it speaks.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/json_writer.hpp"
#include "base/time.hpp"
#include "net/websocket_server.hpp"
#include "realtime/identity.hpp"
#include "store/store.hpp"

namespace subforge::realtime {

enum class Protocol : std::uint8_t { v1, v2, sse, socketio };
inline constexpr std::size_t kProtocols = 4;

// The close code for who has no credentials, or no longer has them (docs/websocket-protocol.md).
inline constexpr std::uint16_t kUnauthorized = 4401;

// What is known of who is at the other end, and what came from there.
struct ViewerInfo {
  std::int64_t number = 0;  // That no other connection of this process has or had.
  Timestamp connected_at;
  Timestamp last_activity;    // Of the client.
  std::int64_t messages = 0;  // That it sent.
  std::string host;
  std::string user_agent;
};

// A connection, as it is listed.
struct ConnectionInfo : ViewerInfo {
  std::string id;
  Protocol protocol = Protocol::v2;
  std::int64_t shown = 0;           // Messages that it was sent.
  std::optional<std::string> user;  // Once it is known.
  std::vector<std::string> rooms;
};

// How coming back ended.
struct Recovered {
  bool complete = false;      // Everything that was missed has been shown, once and in order.
  std::int64_t position = 0;  // Of the log: what is behind it comes live.
  std::size_t events = 0;     // That were missed and have been shown.
  std::size_t inbox = 0;      // Messages that were kept for the user and have been shown.
  std::string snapshot = {};  // The present state, a JSON object, if not everything could be shown.
};

// What was kept for a user up to an event is removed, or could not be.
struct Acknowledged {
  std::int64_t up_to = 0;
  Result<std::int64_t> removed = 0;  // Messages.
  std::string correlation_id = {};
};

class LiveEvent;
struct CatchUp;
struct Replay;

// Belongs to one loop.
class Viewer {
 public:
  explicit Viewer(Protocol protocol) : protocol_(protocol) {}
  virtual ~Viewer() = default;
  Viewer(Viewer const&) = delete;
  Viewer& operator=(Viewer const&) = delete;

  // One message in the viewer's protocol.
  virtual void push(std::string_view text) = 0;
  // Bytes pushed and not yet sent.
  [[nodiscard]] virtual std::size_t queued_bytes() const = 0;
  // Asks for one LoopHub::drained() once all that was pushed is sent; there is something.
  virtual void tell_when_drained() = 0;
  virtual void recovered(Recovered const& outcome) = 0;
  // All that was kept for the user has been shown, where that does not end coming back.
  virtual void inbox_shown(Recovered const& outcome) = 0;
  // Ends LoopHub::acknowledge().
  virtual void acknowledged(Acknowledged const& /*outcome*/) {}
  virtual void close(std::uint16_t code, std::string_view reason) = 0;
  // Joins or leaves a room as if the client had asked for it, and tells it. False where a right or
  // a limit is against it, or the protocol has no rooms.
  virtual bool move(std::string const&, bool /*in*/) { return false; }

  // The socket, where messages are WebSocket frames that viewers can share.
  [[nodiscard]] net::WebSocketConnection* socket() const { return socket_; }
  [[nodiscard]] Protocol protocol() const { return protocol_; }
  [[nodiscard]] bool may_see() const { return may_see_; }
  [[nodiscard]] std::optional<Identity> const& identity() const { return identity_; }
  [[nodiscard]] std::string const& connection_id() const { return connection_id_; }
  [[nodiscard]] std::vector<std::string> const& rooms() const { return rooms_; }
  [[nodiscard]] bool is_member(std::string_view room) const;
  [[nodiscard]] ViewerInfo const& info() const { return info_; }
  [[nodiscard]] ConnectionInfo connection() const;
  // Messages for a viewer that does not catch up begin behind this position of the log.
  [[nodiscard]] std::int64_t position() const { return seen_; }

 protected:
  friend class LoopHub;
  // Member `rooms`: those it is in.
  void write_rooms(JsonWriter& json) const;

  // Asks for the memory that a delivery looks at.
  void prefetch() const {
    __builtin_prefetch(&protocol_, 1);
    __builtin_prefetch(&shown_, 1);
  }
  // Who it is, as far as it is known.
  void become(std::optional<Identity> who) {
    identity_ = std::move(who);
    may_see_ = identity_ && identity_->can_read;
  }

 private:
  // While it catches up, no event is newer than what it has seen.
  static constexpr std::int64_t kCatchingUp = INT64_MAX;

  // What every delivery looks at stands side by side, in as little memory as may be.
  Protocol const protocol_;
  bool may_see_ = false;
  bool in_several_rooms_ = false;
  bool was_told_ = false;  // An event of the log.

 protected:
  bool rooms_only_ = false;
  net::WebSocketConnection* socket_ = nullptr;

 private:
  std::int64_t seen_ = 0;   // Events up to here are not for it any more.
  std::int64_t shown_ = 0;  // Messages.
  std::int64_t told_ = 0;   // The newest event of several rooms that it heard through one of them.

  std::size_t index_ = 0;          // In the loop's list ...
  std::size_t index_of_user_ = 0;  // ... and in that of the user's viewers there.
  std::optional<Identity> identity_;

 protected:
  std::string connection_id_;
  ViewerInfo info_;

 private:
  std::vector<std::string> rooms_;
  std::shared_ptr<CatchUp> catching_up_;
  std::shared_ptr<Replay> replay_;  // Of the past, while there is one.
  std::size_t acknowledging_ = 0;   // Acknowledgements that are not yet on disk.
  // The newest of each kind of message that may be left out, while the viewer reads too slowly.
  struct Conflated {
    std::string text;
    std::string payload;  // Of comings and goings, whose next ones are added.
  };
  std::map<std::string, Conflated, std::less<>> conflated_;
};

// Rooms whose name begins with "admin" are the administrators'.
[[nodiscard]] bool may_enter(Identity const& identity, std::string_view room);

// Members `recovered`, `last_event_id` and `missed_events` or `snapshot` of the message that ends
// coming back.
void write_recovered(JsonWriter& json, Recovered const& outcome, store::Store const& store);
// Members `last_event_id` and `inbox_messages` of the message that ends what was kept.
void write_inbox_shown(JsonWriter& json, Recovered const& outcome, store::Store const& store);
// Members `event_id` and `removed` of the answer to an acknowledgement that is on disk.
void write_acknowledged(JsonWriter& json, Acknowledged const& outcome, store::Store const& store);

}  // namespace subforge::realtime
