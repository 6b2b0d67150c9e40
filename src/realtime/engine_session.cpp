// One session, and the WebSockets that are or would be its transport.
#include <algorithm>

#include "base/utf8.hpp"
#include "realtime/connections.hpp"
#include "realtime/engine_io.hpp"

namespace subforge::realtime {
namespace {

constexpr std::string_view kPing = "2";
constexpr std::string_view kClose = "1";
constexpr std::string_view kNoop = "6";

}  // namespace

// --- EngineSession

EngineSession::EngineSession(EngineLoop& loop, std::string sid,
                             std::unique_ptr<EngineHandler> handler)
    : loop_(loop),
      sid_(std::move(sid)),
      handler_(std::move(handler)),
      timer_([this] { on_timer(); }) {}

void EngineSession::start() {
  arm(loop_.server().limits().ping_interval_ms);
  handler_->on_open(*this);
}

void EngineSession::arm(std::int64_t milliseconds) {
  timer_.arm(loop_.loop().timers(), loop_.loop().now_ns() + milliseconds * 1'000'000);
}

// --- Out

void EngineSession::send(std::string packet) {
  if (state_ != State::open) return;
  if (socket_ != nullptr) return socket_->connection_->send_text(packet);
  queue(std::make_shared<std::string const>(std::move(packet)));
}

void EngineSession::send(EnginePacketText const& packet, net::WebSocketFrame const& frame) {
  if (state_ != State::open) return;
  if (socket_ != nullptr) return socket_->connection_->enqueue(frame);
  queue(packet);
}

net::WebSocketConnection* EngineSession::socket() const {
  return socket_ != nullptr ? socket_->connection_ : nullptr;
}

std::size_t EngineSession::queued_bytes() const {
  return socket_ != nullptr ? socket_->connection_->queued_bytes() : queue_bytes_;
}

void EngineSession::tell_when_drained() {
  if (socket_ != nullptr) return socket_->connection_->tell_when_drained();
  drain_wanted_ = true;
}

void EngineSession::queue(EnginePacketText packet) {
  // Overflow is dealt with at the end of the turn: whoever sends may be walking a list that closing
  // edits.
  overflowed_ = overflowed_ || queue_bytes_ >= loop_.server().limits().queue_bytes_max;
  if (!overflowed_) {
    queue_bytes_ += packet->size();
    queue_.push_back(std::move(packet));
  }
  loop_.flush_later(*this);
}

void EngineSession::flush() {
  if (overflowed_) return drop();
  if (poll_ != nullptr && !queue_.empty()) answer_poll();
}

void EngineSession::answer_poll() {
  EngineReply reply;
  auto const count = std::min(queue_.size(), loop_.server().limits().packets_sent_max);
  for (std::size_t i = 0; i < count; ++i) {
    auto const& packet = *queue_[i];
    if (i > 0) reply.body.push_back(kEngineSeparator);
    reply.body.append(packet);
    queue_bytes_ -= packet.size();
    if (packet == kPing && heart_ == Heart::ping_queued) heart_ = Heart::ping_sent;
  }
  queue_.erase(queue_.begin(), queue_.begin() + static_cast<std::ptrdiff_t>(count));
  std::exchange(poll_, nullptr)->complete(std::move(reply));
  if (!queue_.empty()) return;
  if (state_ == State::closing) return drop();
  if (std::exchange(drain_wanted_, false)) handler_->on_drained();
}

// --- In

void EngineSession::poll(EngineCall& call) {
  if (socket_ != nullptr) return call.complete(EngineReply::error(EngineError::bad_request));
  if (poll_ != nullptr) {
    // Two readers would each get half of what is said.
    std::exchange(poll_, nullptr)->complete({200, std::string(kClose)});
    drop();
    return call.complete(EngineReply::error(EngineError::bad_request));
  }
  poll_ = &call;
  if (!queue_.empty()) {
    answer_poll();
  } else if (probe_ != nullptr && probe_->probed_) {
    // The client stops polling in order to change over.
    std::exchange(poll_, nullptr)->complete({200, std::string(kNoop)});
  }
}

void EngineSession::post(std::string_view body, EngineCall& call) {
  auto const refuse = [&] { call.complete(EngineReply::error(EngineError::bad_request)); };
  if (socket_ != nullptr || state_ != State::open) return refuse();
  EnginePayload payload(body);
  bool good = is_valid_utf8(body);
  for (std::size_t count = 0; good && state_ == State::open; ++count) {
    auto const packet = payload.next();
    if (!packet) break;
    good = count < loop_.server().limits().packets_received_max && take(*packet);
  }
  if (good && !payload.broken()) return call.complete({200, "ok"});
  drop();
  refuse();
}

bool EngineSession::take(EnginePacket const& packet) {
  if (!handler_->admit()) return true;
  switch (packet.type) {
    case EnginePacketType::message: handler_->on_message(packet.data); return true;
    case EnginePacketType::pong:
      if (heart_ == Heart::ping_sent) {
        heart_ = Heart::resting;
        arm(loop_.server().limits().ping_interval_ms);
      }
      return true;
    case EnginePacketType::close:
      if (poll_ != nullptr) std::exchange(poll_, nullptr)->complete({200, std::string(kNoop)});
      drop();
      return true;
    case EnginePacketType::binary:  // What it belongs to has been refused by the protocol above.
    case EnginePacketType::upgrade:
    case EnginePacketType::noop: return true;
    case EnginePacketType::open:
    case EnginePacketType::ping: return false;  // These are the server's to send.
  }
  return false;
}

void EngineSession::on_timer() {
  if (state_ != State::open || heart_ != Heart::resting) return drop();
  heart_ = socket_ != nullptr ? Heart::ping_sent : Heart::ping_queued;
  send(std::string(kPing));
  arm(loop_.server().limits().ping_timeout_ms);
}

// --- Changing over to a WebSocket

bool EngineSession::accept_probe(EngineSocket& socket) {
  if (state_ != State::open || socket_ != nullptr || probe_ != nullptr) return false;
  probe_ = &socket;
  return true;
}

bool EngineSession::probed(std::string_view text) {
  if (text == "2probe") {
    probe_->probed_ = true;
    probe_->connection_->send_text("3probe");
    if (poll_ != nullptr) std::exchange(poll_, nullptr)->complete({200, std::string(kNoop)});
    return true;
  }
  if (text != "5" || !probe_->probed_) return false;
  if (poll_ != nullptr) std::exchange(poll_, nullptr)->complete({200, std::string(kNoop)});
  socket_ = std::exchange(probe_, nullptr);
  for (auto const& packet : queue_) socket_->connection_->send_text(*packet);
  queue_ = {};
  queue_bytes_ = 0;
  if (heart_ == Heart::ping_queued) heart_ = Heart::ping_sent;
  handler_->on_moved();
  // The queue of the socket is another one: whoever waited for this one looks again.
  if (std::exchange(drain_wanted_, false)) handler_->on_drained();
  return true;
}

void EngineSession::socket_gone(EngineSocket& socket) {
  if (probe_ == &socket) {
    probe_ = nullptr;  // Polling goes on.
  } else if (socket_ == &socket) {
    socket_ = nullptr;
    drop();
  }
}

// --- The end

void EngineSession::close(std::uint16_t code, std::string_view reason) {
  if (state_ != State::open) return;
  end(State::closing);
  detach(probe_, code, reason);
  if (socket_ != nullptr) {
    detach(socket_, code, reason);
    return drop();
  }
  queue(std::make_shared<std::string const>(kClose));
  arm(loop_.server().limits().farewell_timeout_ms);
}

void EngineSession::drop() {
  if (state_ == State::closed) return;
  end(State::closed);
  timer_.cancel();
  if (poll_ != nullptr) {
    std::exchange(poll_, nullptr)->complete(EngineReply::error(EngineError::unknown_session));
  }
  detach(probe_, net::kWsNormal, {});
  detach(socket_, net::kWsNormal, {});
  loop_.retire(*this);
}

void EngineSession::end(State state) {
  if (std::exchange(state_, state) == State::open) handler_->on_closed();
}

void EngineSession::detach(EngineSocket*& socket, std::uint16_t code, std::string_view reason) {
  if (socket == nullptr) return;
  auto* const old = std::exchange(socket, nullptr);
  old->session_ = nullptr;
  old->connection_->close(code, reason);
}

// --- EngineSocket

EngineSocket::EngineSocket(EngineLoop& loop, Opening opening)
    : loop_(loop),
      opening_(std::make_unique<Opening>(std::move(opening))),
      upgrade_timeout_([this] {
        connection_->close(net::kWsNormal, "the change of transport took too long");
      }) {}

EngineSocket::EngineSocket(EngineLoop& loop, std::string sid)
    : loop_(loop), sid_(std::move(sid)), upgrade_timeout_([this] {
        connection_->close(net::kWsNormal, "the change of transport took too long");
      }) {}

EngineSocket::~EngineSocket() = default;

net::WebSocketServer* EngineSocket::home() { return &loop_.sockets(); }

void EngineSocket::on_open(net::WebSocketConnection& connection) {
  connection_ = &connection;
  if (loop_.shutting_down()) {
    return connection.close(net::kWsServiceRestart, "server is restarting");
  }
  if (opening_ != nullptr) {
    auto& session = loop_.open(std::move(*std::exchange(opening_, nullptr)));
    session_ = &session;
    session.socket_ = this;
    connection.send_text(loop_.open_packet(session, /*upgrades=*/false));
    return session.start();
  }
  auto* const session = loop_.find(sid_);
  if (session == nullptr || !session->accept_probe(*this)) {
    return connection.close(net::kWsNormal, "there is no such session that polls");
  }
  session_ = session;
  auto const& limits = loop_.server().limits();
  upgrade_timeout_.arm(loop_.loop().timers(),
                       loop_.loop().now_ns() + limits.upgrade_timeout_ms * 1'000'000);
}

void EngineSocket::on_text(std::string_view message) {
  if (session_ == nullptr) return;
  if (session_->socket_ != this) {
    if (!session_->probed(message)) {
      connection_->close(net::kWsProtocolError, "this is no change of transport");
    } else if (session_->socket_ == this) {
      upgrade_timeout_.cancel();
    }
    return;
  }
  if (message.size() > loop_.server().limits().payload_bytes_max) {
    return connection_->close(net::kWsTooBig, "the message is too large");
  }
  auto const packet = parse_engine_packet(message);
  if (!packet || packet->type == EnginePacketType::binary || !session_->take(*packet)) {
    connection_->close(net::kWsProtocolError, "this is no packet of Engine.IO");
  }
}

void EngineSocket::count(std::size_t frames) {
  while (frames > 0 && session_ != nullptr && session_->handler_->admit()) --frames;
}

void EngineSocket::on_drained() {
  if (session_ != nullptr && session_->socket_ == this) session_->handler_->on_drained();
}

void EngineSocket::on_closed() {
  upgrade_timeout_.cancel();
  if (session_ != nullptr) std::exchange(session_, nullptr)->socket_gone(*this);
}

}  // namespace subforge::realtime
