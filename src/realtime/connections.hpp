// The two plain WebSocket protocols: what each connection of /ws (v1) and /ws/v2 says and hears.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include <boost/json/object.hpp>

#include "realtime/hub.hpp"

namespace subforge::realtime {

// How a connection begins: who it is, if that is known from the handshake, and what it asked for.
struct Opening {
  std::optional<Identity> identity;
  bool rooms_only = false;
  std::string host = {};
  std::string user_agent = {};
};

// What both protocols share: being listed in the hub, and proving who one is within a time.
class Connection : public net::WebSocketHandler, public Viewer {
 public:
  Connection(LoopHub& hub, Protocol protocol, Opening opening);

  void on_open(net::WebSocketConnection& socket) final;
  void on_text(std::string_view text) final;
  void on_binary(std::string_view) final {
  }  // Ignored; the reference closes, clients need not care.
  void on_closed() final;

 protected:
  virtual void greet() = 0;
  virtual void take(boost::json::object const& message) = 0;
  // Accepts or refuses the token in `data.token` and says so in the protocol's own form.
  void authenticate(boost::json::object const& message);
  virtual void authenticated(Result<Identity> const& outcome) = 0;
  void send(std::string_view text);

  LoopHub& hub_;

 private:
  Protocol const protocol_;
  Timer auth_timeout_;
};

class ConnectionV1 final : public Connection {
 public:
  ConnectionV1(LoopHub& hub, Opening opening) : Connection(hub, Protocol::v1, std::move(opening)) {}

 private:
  void greet() override;
  void take(boost::json::object const& message) override;
  void authenticated(Result<Identity> const& outcome) override;
  void reply(std::string_view type, std::string_view data);
};

class ConnectionV2 final : public Connection {
 public:
  ConnectionV2(LoopHub& hub, Opening opening) : Connection(hub, Protocol::v2, std::move(opening)) {}

 private:
  void greet() override;
  void take(boost::json::object const& message) override;
  void authenticated(Result<Identity> const& outcome) override;
  void join(std::string const& room, std::string_view correlation_id);
  void leave(std::string const& room, std::string_view correlation_id);
  void publish(boost::json::object const& message, std::string const& room,
               std::string correlation_id);
  void refuse(std::string_view code, std::string_view why, std::string_view room,
              std::string_view correlation_id);

  // Counts messages on their way to disk; shared with their coroutines, which may outlive us.
  struct InFlight {
    ConnectionV2* connection;
    std::size_t count = 0;
  };
  static Task<void> store_message(LoopHub& hub, std::shared_ptr<InFlight> in_flight,
                                  store::Event event);
  std::shared_ptr<InFlight> in_flight_ = std::make_shared<InFlight>(InFlight{this});

 public:
  ~ConnectionV2() override { in_flight_->connection = nullptr; }
};

// Rows for what clients themselves publish (kind room.message).
[[nodiscard]] std::span<Projection const> room_projections();

}  // namespace subforge::realtime
