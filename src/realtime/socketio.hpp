// Socket.IO, protocol 5, in the namespace `/`: who is connected, the rooms, and what clients say.
// Rooms and events are those of the contract (websocket.md section 3).
#pragma once

#include <array>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include <boost/json/array.hpp>

#include "realtime/connections.hpp"
#include "realtime/engine_io.hpp"
#include "realtime/hub.hpp"
#include "realtime/message_rate.hpp"

namespace subforge::realtime {

class SocketIo;
class SocketIoConnection;
class SocketIoLoop;
struct SocketPacket;

struct SocketIoLimits {
  std::int64_t connect_timeout_ms = 10'000;  // From a session's opening to its CONNECT packet.
  std::size_t rooms_per_connection_max = 100;
  std::size_t name_bytes_max = 180;  // Of a workflow's id; the hub bounds those of its rooms.
};

// The rooms that may be joined by name; everybody is in `dashboard` until they leave it. Besides
// them there is one for each workflow, workflow_<id>, that somebody has subscribed to.
inline constexpr std::array<std::string_view, 7> kSocketIoRooms = {
    "agents", "tasks", "metrics", "workflows", "system", "dashboard", "admin"};

// Names that mean something to clients' libraries, which cut the connection when they hear them.
[[nodiscard]] bool is_reserved_event(std::string_view name);

// What is known of a connection.
struct SocketIoInfo {
  std::string sid;
  std::string host;
  std::string user_agent;
  Timestamp connected_at;
  std::vector<std::string> rooms;
};

// One connection: an Engine.IO session, from its opening on, that may be connected to `/`. As a
// viewer it is shown all changes of records while it is in `dashboard`, and otherwise those of the
// rooms that it joined.
class SocketIoConnection final : public EngineHandler, public Viewer {
 public:
  SocketIoConnection(SocketIoLoop& loop, Opening opening);

  void on_open(EngineSession& session) override;
  [[nodiscard]] bool admit() override;
  void on_message(std::string_view text) override;
  void on_moved() override { share_frames(); }
  void on_drained() override;
  void on_closed() override;

  void push(std::string_view text) override;
  [[nodiscard]] std::size_t queued_bytes() const override { return session_->queued_bytes(); }
  void tell_when_drained() override { session_->tell_when_drained(); }
  void recovered(Recovered const& outcome) override;
  void inbox_shown(Recovered const& outcome) override;
  void acknowledged(Acknowledged const& outcome) override;
  void close(std::uint16_t code, std::string_view reason) override;

  [[nodiscard]] SocketIoInfo state() const;

 private:
  friend class SocketIoLoop;

  [[nodiscard]] bool connected() const { return !connection_id_.empty(); }
  void connect(SocketPacket const& packet);
  void disconnect();
  // Answers CONNECT; with what coming back ended in, if the client did.
  void welcome(Recovered const* outcome);
  void take_event(SocketPacket const& packet);
  [[nodiscard]] bool handle(std::string_view name, boost::json::value const& argument);
  void join_room(boost::json::value const& argument);
  void leave_room(boost::json::value const& argument);
  void follow_workflow(boost::json::value const& argument, bool follow);
  // False, with the reason, if a right or a limit is against it.
  [[nodiscard]] bool enter(std::string const& room, std::string& why);
  void leave(std::string const& room);
  void rooms_changed();
  void share_frames();
  // `ack_id` as of SocketPacket: told once the messages are removed.
  void acknowledge(boost::json::value const& argument, std::string_view ack_id);
  void relay(std::string_view name, boost::json::value const& argument);
  void pong(boost::json::value const& argument);
  void emit(std::string_view name, std::string_view data, std::string_view offset = {});
  void refuse(std::string_view why);
  void connect_within_time();
  // Where the client stands, as it may come back with; empty while that cannot be said.
  [[nodiscard]] std::string offset() const;

  SocketIoLoop& loop_;
  std::optional<Identity> shown_;  // By the handshake.
  bool const offsets_;
  MessageRate rate_;
  EngineSession* session_ = nullptr;
  std::string pid_;              // By which the client knows that it was recognised.
  std::string place_;            // Its rooms, at the end of its offsets; empty: the usual ones.
  std::size_t list_index_ = 0;   // In the loop's list.
  std::uint64_t last_mark_ = 0;  // So that what goes to several rooms comes once.
  std::vector<std::string> joined_;
  Timer connect_timeout_;
};

// The connections of one event loop.
class SocketIoLoop {
 public:
  SocketIoLoop(SocketIo& all, EngineLoop& engine, LoopHub& hub)
      : all_(all), engine_(engine), hub_(hub) {}
  SocketIoLoop(SocketIoLoop const&) = delete;
  SocketIoLoop& operator=(SocketIoLoop const&) = delete;

  void add(SocketIoConnection& connection);
  void remove(SocketIoConnection& connection);
  // False if the connection is in too many rooms.
  [[nodiscard]] bool join(SocketIoConnection& connection, std::string const& room);
  void leave(SocketIoConnection& connection, std::string const& room);
  // A packet to the members of these rooms here, to each once.
  void emit(std::span<std::string const> rooms, EnginePacketText const& packet);
  void emit_to_all(EnginePacketText const& packet);
  [[nodiscard]] std::vector<SocketIoInfo> infos() const;

  [[nodiscard]] SocketIo& all() { return all_; }
  [[nodiscard]] EngineLoop& engine() { return engine_; }
  [[nodiscard]] LoopHub& hub() { return hub_; }

 private:
  SocketIo& all_;
  EngineLoop& engine_;
  LoopHub& hub_;
  std::vector<SocketIoConnection*> connections_;
  std::unordered_map<std::string, std::vector<SocketIoConnection*>> rooms_;
  std::uint64_t mark_ = 0;
};

class SocketIo final : public store::LogFollower {
 public:
  SocketIo(Gate& gate, EngineLimits const& engine_limits, SocketIoLimits const& limits);

  // Before any request: one per event loop.
  EngineLoop& attach(LoopHub& hub, net::WebSocketServer& sockets);
  // From any thread: an event to the members of these rooms, to each once; of none: to everybody.
  void emit(std::vector<std::string> rooms, std::string_view name, std::string_view data);
  // On a loop's thread: the same, to those of all servers that share the database. Of the others,
  // none that cannot be reached now hears of it.
  void emit_everywhere(std::vector<std::string> rooms, std::string_view name,
                       std::string_view data);
  // Those come by the hub.
  void on_events(std::span<store::EventPtr const>) override {}
  // What another server emitted everywhere. On the database's thread.
  void on_announced(std::string_view text) override;
  // Asks every loop in turn; goes on on the one that asked.
  [[nodiscard]] Task<std::vector<SocketIoInfo>> infos();

  [[nodiscard]] EngineServer& engine() { return engine_; }
  [[nodiscard]] EngineServer const& engine() const { return engine_; }
  [[nodiscard]] Gate& gate() { return gate_; }
  [[nodiscard]] SocketIoLimits const& limits() const { return limits_; }

 private:
  Gate& gate_;
  SocketIoLimits const limits_;
  std::vector<std::unique_ptr<SocketIoLoop>> loops_;
  EngineServer engine_;  // Its sessions refer to the loops.
};

}  // namespace subforge::realtime
