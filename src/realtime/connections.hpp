// The two plain WebSocket protocols: what each connection of /ws (v1) and /ws/v2 says and hears.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include <boost/json/object.hpp>

#include "describe/shape.hpp"
#include "realtime/history.hpp"
#include "realtime/hub.hpp"
#include "realtime/message_rate.hpp"

namespace subforge::realtime {

// How a connection begins: who it is, if that is known from the handshake, and what it asked for.
struct Opening {
  std::optional<Identity> identity;
  bool rooms_only = false;
  Resume resume = {};
  std::string host = {};
  std::string user_agent = {};
  bool offsets = true;  // Of Socket.IO: whether events carry where they stand in the log.
};

// What both protocols share: being listed in the hub, proving who one is within a time, and coming
// back to where one was.
class Connection : public net::WebSocketHandler, public Viewer {
 public:
  Connection(LoopHub& hub, Protocol protocol, Opening opening);

  void on_open(net::WebSocketConnection& socket) final;
  void on_text(std::string_view text) final;
  // Ignored; the reference closes, clients need not care.
  void on_binary(std::string_view) final { (void)admit(); }
  void on_other_frames(std::size_t count) final {
    while (count > 0 && admit()) --count;
  }
  void on_drained() final { hub_.drained(*this); }
  void on_closed() final;

  void push(std::string_view text) final { socket_->send_text(text); }
  [[nodiscard]] std::size_t queued_bytes() const final { return socket_->queued_bytes(); }
  void tell_when_drained() final { socket_->tell_when_drained(); }
  void close(std::uint16_t code, std::string_view reason) final { socket_->close(code, reason); }

 protected:
  virtual void greet() = 0;
  virtual void take(boost::json::object const& message) = 0;
  // Accepts or refuses the token in `data.token` and says so in the protocol's own form.
  void authenticate(boost::json::object const& message);
  virtual void authenticated(Result<Identity> const& outcome) = 0;
  // What is wrong with an auth_request besides its token, of which the answer to that tells.
  static std::optional<describe::ShapeFault> fault_beside_token(boost::json::object const& message,
                                                                describe::Shape shape);
  // What a message of a connection asks that sees already; says so where it is too late.
  virtual void come_back(Resume asked, std::string_view correlation_id) = 0;
  // Joins a room that was asked for in coming back and says so, or why not.
  virtual void rejoin(std::string const& room) = 0;
  // The event up to which a message acknowledges; nothing if it names none of this log.
  [[nodiscard]] std::optional<std::int64_t> acknowledged_in(boost::json::object const& message);
  // Members of `data`, or of the message if it has none: last_event_id, rooms, connection_id.
  static Resume resume_of(boost::json::object const& message);
  // Goes on where `asked` says, or just joins its rooms.
  void begin(Resume const& asked);
  void send(std::string_view text) { hub_.tell(*this, text); }
  // Member `last_event_id`, behind which the viewer is told what happens, if it may see that and
  // does not come back.
  void write_position(JsonWriter& json) const;

  LoopHub& hub_;

 private:
  // Those that are not for who it is from now on; tells it.
  void leave_rooms_of_before(Identity const& now);
  // Counts what came; false if it was too much, and the connection closes.
  bool admit();

  Resume resume_;  // Asked for in the handshake or with a token, until it begins.
  MessageRate rate_;
  Timer auth_timeout_;
};

class ConnectionV1 final : public Connection {
 public:
  ConnectionV1(LoopHub& hub, Opening opening) : Connection(hub, Protocol::v1, std::move(opening)) {}

 private:
  void greet() override;
  void take(boost::json::object const& message) override;
  void authenticated(Result<Identity> const& outcome) override;
  void recovered(Recovered const& outcome) override;
  void inbox_shown(Recovered const& outcome) override;
  void acknowledged(Acknowledged const& outcome) override;
  void rejoin(std::string const&) override {}  // There are no rooms.
  void come_back(Resume asked, std::string_view correlation_id) override;
  void reply(std::string_view type, std::string_view data);
};

class ConnectionV2 final : public Connection {
 public:
  ConnectionV2(LoopHub& hub, Opening opening) : Connection(hub, Protocol::v2, std::move(opening)) {}

  // What is being stored is to be done by the time more comes, rather than refused.
  [[nodiscard]] bool takes_more() const override {
    return in_flight_->count < hub_.hub().limits().in_flight_max / 2;
  }

 private:
  void greet() override;
  void take(boost::json::object const& message) override;
  void authenticated(Result<Identity> const& outcome) override;
  void recovered(Recovered const& outcome) override;
  void inbox_shown(Recovered const& outcome) override;
  void acknowledged(Acknowledged const& outcome) override;
  void rejoin(std::string const& room) override;
  void pong(std::string_view correlation_id);
  void acknowledge(boost::json::object const& message, std::string correlation_id);
  void come_back(Resume asked, std::string_view correlation_id) override;
  bool move(std::string const& room, bool in) override;
  bool join(std::string const& room, std::string_view correlation_id);
  void leave(std::string const& room, std::string_view correlation_id);
  void publish(boost::json::object const& message, std::string const& room,
               std::string correlation_id);
  // What happened: in one message, or sent again one by one.
  void ask_past(boost::json::object const& message, bool again, std::string correlation_id);
  void refuse(std::string_view code, std::string_view why, std::string_view room,
              std::string_view correlation_id);

  // What is being done for it; shared with the coroutines that do it, which may outlive us.
  struct InFlight {
    ConnectionV2* connection;
    std::size_t count = 0;
    bool asks_past = false;
    std::vector<store::Event> to_store{};  // Published in this turn.
  };
  static Task<void> store_messages(LoopHub& hub, std::shared_ptr<InFlight> in_flight);
  static Task<void> tell_past(LoopHub& hub, std::shared_ptr<InFlight> in_flight, Identity who,
                              HistoryQuestion question, std::string correlation_id);
  static Task<void> tell_past_again(LoopHub& hub, std::shared_ptr<InFlight> in_flight, Identity who,
                                    HistoryQuestion question, std::string correlation_id);
  std::shared_ptr<InFlight> in_flight_ = std::make_shared<InFlight>(InFlight{this});

 public:
  ~ConnectionV2() override { in_flight_->connection = nullptr; }
};

// What somebody sent: member `data` of the payload, with who sent it and when.
[[nodiscard]] Message sent_message(store::Event const& event, boost::json::object const& payload);

// The same for a message of a client as it is stored; nothing where it is stored otherwise.
[[nodiscard]] std::optional<Message> quick_room_message(store::Event const& event);

// A file was created, modified, deleted or moved. Its payload has `event` (file_created ...),
// `file_path`, `absolute_path`, `file_name`, `file_category` and `file_size` (0 if it is gone); /ws
// shows it as `file_system_event`, /ws/v2 as `file_change`. Its audience is everybody, through the
// room kFilesRoom.
inline constexpr std::string_view kFileChanged = "file.changed";
inline constexpr std::string_view kFilesRoom = "files";

// Rows for what clients themselves publish (kind room.message), who comes and goes, and files.
[[nodiscard]] std::span<Projection const> room_projections();

}  // namespace subforge::realtime
