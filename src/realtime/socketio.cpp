#include "realtime/socketio.hpp"

#include <algorithm>

#include "base/json_writer.hpp"
#include "describe/codec.hpp"
#include "describe/json_text.hpp"
#include "describe/parse_json.hpp"
#include "realtime/socket_packet.hpp"

namespace subforge::realtime {
namespace {

constexpr std::string_view kEmitted = "socketio.emitted";  // What servers tell each other.

}  // namespace

bool is_reserved_event(std::string_view name) {
  constexpr std::string_view kReserved[] = {"connect",       "connect_error", "disconnect",
                                            "disconnecting", "newListener",   "removeListener"};
  return std::ranges::find(kReserved, name) != std::end(kReserved);
}

// --- SocketIoLoop

void SocketIoLoop::add(SocketIoConnection& connection) {
  connection.list_index_ = connections_.size();
  connections_.push_back(&connection);
}

void SocketIoLoop::remove(SocketIoConnection& connection) {
  while (!connection.joined_.empty()) leave(connection, std::string(connection.joined_.back()));
  connections_[connection.list_index_] = connections_.back();
  connections_[connection.list_index_]->list_index_ = connection.list_index_;
  connections_.pop_back();
}

bool SocketIoLoop::join(SocketIoConnection& connection, std::string const& room) {
  auto& rooms = connection.joined_;
  if (std::ranges::find(rooms, room) != rooms.end()) return true;
  if (rooms.size() >= all_.limits().rooms_per_connection_max) return false;
  rooms.push_back(room);
  rooms_[room].push_back(&connection);
  return true;
}

void SocketIoLoop::leave(SocketIoConnection& connection, std::string const& room) {
  if (std::erase(connection.joined_, room) == 0) return;
  auto const here = rooms_.find(room);
  std::erase(here->second, &connection);
  if (here->second.empty()) rooms_.erase(here);
}

void SocketIoLoop::emit(std::span<std::string const> rooms, EnginePacketText const& packet) {
  std::optional<net::WebSocketFrame> frame;
  ++mark_;
  for (auto const& room : rooms) {
    auto const here = rooms_.find(room);
    if (here == rooms_.end()) continue;
    if (!frame) frame.emplace(engine_.sockets().frame(*packet));
    for (auto* const connection : here->second) {
      if (std::exchange(connection->last_mark_, mark_) == mark_) continue;
      hub_.count_shown(*connection);
      connection->session_->send(packet, *frame);
    }
  }
}

void SocketIoLoop::emit_to_all(EnginePacketText const& packet) {
  if (connections_.empty()) return;
  auto const frame = engine_.sockets().frame(*packet);
  for (auto* const connection : connections_) {
    hub_.count_shown(*connection);
    connection->session_->send(packet, frame);
  }
}

std::vector<SocketIoInfo> SocketIoLoop::infos() const {
  std::vector<SocketIoInfo> infos;
  for (auto const* const connection : connections_) infos.push_back(connection->state());
  return infos;
}

// --- SocketIo

SocketIo::SocketIo(Gate& gate, EngineLimits const& engine_limits, SocketIoLimits const& limits)
    : gate_(gate),
      limits_(limits),
      engine_(engine_limits, [this](EngineLoop& loop, Opening opening) {
        return std::make_unique<SocketIoConnection>(*loops_[loop.index()], std::move(opening));
      }) {}

EngineLoop& SocketIo::attach(LoopHub& hub, net::WebSocketServer& sockets) {
  auto& engine = engine_.attach(hub.loop(), sockets);
  loops_.push_back(std::make_unique<SocketIoLoop>(*this, engine, hub));
  return engine;
}

void SocketIo::emit(std::vector<std::string> rooms, std::string_view name, std::string_view data) {
  if (engine_.sessions() == 0) return;
  auto const packet = std::make_shared<std::string const>(event_packet(name, data));
  auto const to = std::make_shared<std::vector<std::string> const>(std::move(rooms));
  for (auto const& loop : loops_) {
    loop->engine().loop().post([loop = loop.get(), to, packet] {
      to->empty() ? loop->emit_to_all(packet) : loop->emit(*to, packet);
    });
  }
}

void SocketIo::emit_everywhere(std::vector<std::string> rooms, std::string_view name,
                               std::string_view data) {
  auto& hub = loops_.front()->hub().hub();
  if (hub.store().database().is_shared()) {
    std::string text;
    JsonWriter json(text);
    json.begin_object();
    json.member("kind", kEmitted);
    json.key("rooms");
    describe::Codec<std::vector<std::string>>::write(json, rooms);
    json.member("event", name);
    json.member("data", data);
    json.end_object();
    hub.announce_soon(std::move(text));
  }
  emit(std::move(rooms), name, data);
}

void SocketIo::on_announced(std::string_view text) {
  if (engine_.sessions() == 0) return;
  boost::system::error_code error;
  auto const value = describe::parse_json(text, error);
  auto const* const emitted = value.if_object();
  if (emitted == nullptr || describe::text_member(*emitted, "kind") != kEmitted) return;
  auto const* const names = emitted->if_contains("rooms");
  if (names == nullptr || !names->is_array()) return;
  std::vector<std::string> rooms;
  for (auto const& name : names->get_array()) {
    if (name.is_string()) rooms.emplace_back(std::string_view(name.get_string()));
  }
  // Of none it would go to everybody.
  if (rooms.empty() && !names->get_array().empty()) return;
  emit(std::move(rooms), describe::text_member(*emitted, "event"),
       describe::text_member(*emitted, "data"));
}

Task<std::vector<SocketIoInfo>> SocketIo::infos() {
  auto* const home = EventLoop::current();
  std::vector<SocketIoInfo> all;
  for (auto const& loop : loops_) {
    co_await loop->engine().loop().resume_here();
    auto const here = loop->infos();
    all.insert(all.end(), here.begin(), here.end());
  }
  co_await home->resume_here();
  co_return all;
}

}  // namespace subforge::realtime
