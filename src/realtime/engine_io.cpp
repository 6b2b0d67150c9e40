#include "realtime/engine_io.hpp"

#include <algorithm>
#include <charconv>

#include "base/json_writer.hpp"
#include "base/random.hpp"
#include "base/text.hpp"
#include "realtime/connections.hpp"

namespace subforge::realtime {
EngineReply EngineReply::error(EngineError error) {
  constexpr std::string_view kMessages[] = {
      "Transport unknown", "Session ID unknown", "Bad handshake method",
      "Bad request",       "Forbidden",          "Unsupported protocol version"};
  auto const code = static_cast<std::size_t>(error);
  EngineReply reply;
  reply.status = error == EngineError::forbidden ? 403 : 400;
  JsonWriter json(reply.body);
  json.begin_object();
  json.member("code", code);
  json.member("message", kMessages[code]);
  json.end_object();
  return reply;
}

// --- EngineCall

bool EngineCall::await_suspend(std::coroutine_handle<> waiting) {
  waiting_ = waiting;
  home_ = EventLoop::current();
  if (&to_.loop() == home_) {
    beginning_ = true;
    begin_(to_, *this);
    beginning_ = false;
    return !done_;
  }
  to_.loop().post([this] { begin_(to_, *this); });
  return true;
}

void EngineCall::complete(EngineReply reply) {
  reply_ = std::move(reply);
  done_ = true;
  if (beginning_) return;
  home_->post([waiting = waiting_] { waiting.resume(); });
}

// --- EngineLoop

EngineLoop::EngineLoop(EngineServer& server, std::size_t index, EventLoop& loop,
                       net::WebSocketServer& sockets)
    : server_(server), index_(index), loop_(loop), sockets_(sockets) {}

EngineLoop::~EngineLoop() = default;

EngineSession* EngineLoop::find(std::string const& sid) {
  auto const found = sessions_.find(sid);
  return found == sessions_.end() ? nullptr : found->second.get();
}

void EngineLoop::poll(std::string const& sid, EngineCall& call) {
  if (auto* const session = find(sid)) return session->poll(call);
  call.complete(EngineReply::error(EngineError::unknown_session));
}

void EngineLoop::post(std::string const& sid, std::string_view body, EngineCall& call) {
  if (auto* const session = find(sid)) return session->post(body, call);
  call.complete(EngineReply::error(EngineError::unknown_session));
}

EngineSession& EngineLoop::open(Opening opening) {
  auto sid = random_token(kSidBytes) + '.' + std::to_string(index_);
  auto handler = server_.make_handler(*this, std::move(opening));
  auto session = std::make_unique<EngineSession>(*this, sid, std::move(handler));
  auto& opened = *session;
  sessions_.emplace(std::move(sid), std::move(session));
  count_.store(sessions_.size(), std::memory_order_relaxed);
  return opened;
}

std::string EngineLoop::open_packet(EngineSession const& session, bool upgrades) const {
  auto const& limits = server_.limits();
  std::string text = "0";
  JsonWriter json(text);
  json.begin_object();
  json.member("sid", session.sid());
  json.member_raw("upgrades", upgrades ? R"(["websocket"])" : "[]");
  json.member("pingInterval", limits.ping_interval_ms);
  json.member("pingTimeout", limits.ping_timeout_ms);
  json.member("maxPayload", limits.payload_bytes_max);
  json.end_object();
  return text;
}

void EngineLoop::begin_shutdown() {
  shutting_down_ = true;
  // Those on a WebSocket are told with it.
  std::vector<EngineSession*> polling;
  for (auto const& [sid, session] : sessions_) {
    if (session->socket() == nullptr) polling.push_back(session.get());
  }
  for (auto* const session : polling) session->drop();
}

void EngineLoop::flush_later(EngineSession& session) {
  if (std::exchange(session.dirty_, true)) return;
  if (dirty_.empty()) loop_.at_turn_end([this] { flush_all(); });
  dirty_.push_back(&session);
}

void EngineLoop::flush_all() {
  // Answering may end a session, which empties its place.
  for (std::size_t i = 0; i < dirty_.size(); ++i) {
    auto* const session = dirty_[i];
    if (session == nullptr) continue;
    session->dirty_ = false;
    session->flush();
  }
  dirty_.clear();
}

void EngineLoop::retire(EngineSession& session) {
  std::ranges::replace(dirty_, &session, nullptr);
  auto const found = sessions_.find(session.sid());
  if (found == sessions_.end()) return;
  // Its own code may still be on the stack; it is destroyed when the turn ends.
  loop_.at_turn_end([dead = std::move(found->second)] {});
  sessions_.erase(found);
  count_.store(sessions_.size(), std::memory_order_relaxed);
}

// --- EngineServer

EngineServer::EngineServer(EngineLimits const& limits, EngineHandlerMaker make_handler)
    : limits_(limits), make_handler_(std::move(make_handler)) {}

EngineServer::~EngineServer() = default;

EngineLoop& EngineServer::attach(EventLoop& loop, net::WebSocketServer& sockets) {
  return *loops_.emplace_back(std::make_unique<EngineLoop>(*this, loops_.size(), loop, sockets));
}

std::unique_ptr<EngineHandler> EngineServer::make_handler(EngineLoop& loop, Opening opening) const {
  return make_handler_(loop, std::move(opening));
}

EngineLoop& EngineServer::here() {
  auto const* const current = EventLoop::current();
  return **std::ranges::find_if(loops_, [&](auto const& one) { return &one->loop() == current; });
}

EngineLoop* EngineServer::loop_of(std::string_view sid) {
  auto const dot = sid.rfind('.');
  if (dot == std::string_view::npos) return nullptr;
  auto const index = parse_number<std::size_t>(sid.substr(dot + 1));
  return index && *index < loops_.size() ? loops_[*index].get() : nullptr;
}

std::size_t EngineServer::sessions() const {
  std::size_t total = 0;
  for (auto const& loop : loops_) total += loop->count();
  return total;
}

EngineReply EngineServer::open(Opening opening) {
  auto& loop = here();
  if (loop.shutting_down()) return {503, "The server is restarting"};
  auto& session = loop.open(std::move(opening));
  EngineReply reply{200, loop.open_packet(session, /*upgrades=*/true)};
  session.start();
  return reply;
}

Task<EngineReply> EngineServer::poll(std::string sid) {
  auto* const to = loop_of(sid);
  if (to == nullptr) co_return EngineReply::error(EngineError::unknown_session);
  EngineCall call(*to, [&](EngineLoop& loop, EngineCall& self) { loop.poll(sid, self); });
  co_return co_await call;
}

Task<EngineReply> EngineServer::post(std::string sid, std::string_view body) {
  auto* const to = loop_of(sid);
  if (to == nullptr) co_return EngineReply::error(EngineError::unknown_session);
  EngineCall call(*to, [&](EngineLoop& loop, EngineCall& self) { loop.post(sid, body, self); });
  co_return co_await call;
}

}  // namespace subforge::realtime
