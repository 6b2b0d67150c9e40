
#include "describe/parse_json.hpp"
#include "realtime/connections.hpp"

namespace subforge::realtime {
namespace {

constexpr std::uint16_t kUnauthorized = 4401;
constexpr std::size_t kMessageDepthMax = 32;

}  // namespace

Connection::Connection(LoopHub& hub, Protocol protocol, Opening opening)
    : hub_(hub), protocol_(protocol), auth_timeout_([this] {
        socket_->close(kUnauthorized, "no auth_request within the time allowed");
      }) {
  identity_ = std::move(opening.identity);
  rooms_only_ = opening.rooms_only;
  info_.host = std::move(opening.host);
  info_.user_agent = std::move(opening.user_agent);
}

void Connection::on_open(net::WebSocketConnection& socket) {
  socket_ = &socket;
  info_.number = hub_.hub().next_connection_number();
  info_.connected_at = info_.last_activity = Timestamp::now();
  if (protocol_ == Protocol::v2) connection_id_ = Uuid::random().to_string();
  hub_.add(*this, protocol_);
  if (!identity_) {
    auto const deadline_ns = hub_.loop().now_ns() + hub_.hub().limits().auth_timeout_ms * 1'000'000;
    auth_timeout_.arm(hub_.loop().timers(), deadline_ns);
  }
  greet();
}

void Connection::on_closed() {
  auth_timeout_.cancel();
  hub_.remove(*this, protocol_);
}

void Connection::on_text(std::string_view text) {
  ++info_.messages;
  info_.last_activity = Timestamp::now();
  boost::system::error_code error;
  auto const value = describe::parse_json(text, error, {.depth_max = kMessageDepthMax});
  // What is not a JSON object is passed over in silence, as clients of the reference expect.
  if (!error && value.is_object()) take(value.get_object());
}

void Connection::authenticate(boost::json::object const& message) {
  std::string token;
  if (auto const* data = message.if_contains("data"); data != nullptr && data->is_object()) {
    auto const* sent = data->get_object().if_contains("token");
    if (sent != nullptr && sent->is_string()) token = sent->get_string().c_str();
  }
  auto outcome = hub_.hub().gate().identify(token);
  if (outcome) {
    // Rooms are left under the old name and would be counted under the new one.
    while (!rooms_.empty() && identity_ && identity_->user != outcome->user) {
      hub_.leave(*this, std::string(rooms_.back()));
    }
    identity_ = *outcome;
    auth_timeout_.cancel();
  }
  authenticated(outcome);
}

void Connection::send(std::string_view text) { socket_->send_text(text); }

}  // namespace subforge::realtime
