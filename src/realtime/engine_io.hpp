// Engine.IO, protocol 4: sessions that are reached by long polling, by a WebSocket, or first by the
// one and then by the other. A session belongs to one event loop. Requests of a polling client come
// in on whatever connection, and so on whatever loop; the session's id names its loop, the request
// goes there and the answer comes back. A WebSocket is handed to the session's loop right after its
// handshake and stays. https://socket.io/docs/v4/engine-io-protocol/
#pragma once

#include <atomic>
#include <coroutine>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "net/websocket_server.hpp"
#include "realtime/engine_packet.hpp"
#include "runtime/event_loop.hpp"

namespace subforge::realtime {

class EngineCall;
class EngineLoop;
class EngineServer;
class EngineSession;
class EngineSocket;
struct Opening;

// Of randomness in an id: who knows the id of a session can act for it.
inline constexpr std::size_t kSidBytes = 15;

struct EngineLimits {
  std::int64_t ping_interval_ms = 25'000;
  // From a ping's way into the queue to its pong: a client that does not poll gets no ping, and so
  // this is how long it may go without.
  std::int64_t ping_timeout_ms = 60'000;
  std::int64_t upgrade_timeout_ms = 10'000;   // From a second socket's opening to its use.
  std::int64_t farewell_timeout_ms = 10'000;  // How long the last words wait for a poll.
  std::size_t payload_bytes_max = 1'000'000;  // Of what a client posts, or sends as one message.
  std::size_t packets_received_max = 10'000;  // In one payload.
  // In one answer: python-engineio's client takes no more, and gives up the connection.
  std::size_t packets_sent_max = 16;
  std::size_t queue_bytes_max = 1U << 20;  // That wait for a poll, or one packet more.
};

// The errors of Engine.IO, with the codes and words of its reference.
enum class EngineError : std::uint8_t {
  unknown_transport,
  unknown_session,
  bad_handshake_method,
  bad_request,
  forbidden,
  unsupported_version,
};

// How a request of a polling client is answered: text, or the JSON of an error.
struct EngineReply {
  int status = 200;
  std::string body;

  [[nodiscard]] static EngineReply error(EngineError error);
};

// A packet for any number of sessions.
using EnginePacketText = std::shared_ptr<std::string const>;

// What a protocol does with a session. Owned by it.
class EngineHandler {
 public:
  virtual ~EngineHandler() = default;
  virtual void on_open(EngineSession& session) = 0;
  // Counts something that came, of whatever kind; false if it was too much, and the session closes.
  [[nodiscard]] virtual bool admit() = 0;
  virtual void on_message(std::string_view text) = 0;  // Good until this returns.
  // The session has left polling for a WebSocket.
  virtual void on_moved() = 0;
  // All that was sent has left; asked for by tell_when_drained().
  virtual void on_drained() = 0;
  // The session is gone, or will not speak any more; last call.
  virtual void on_closed() = 0;
};

// Makes the handler of a session that opens on this loop.
using EngineHandlerMaker =
    std::function<std::unique_ptr<EngineHandler>(EngineLoop& loop, Opening opening)>;

class EngineSession {
 public:
  EngineSession(EngineLoop& loop, std::string sid, std::unique_ptr<EngineHandler> handler);
  EngineSession(EngineSession const&) = delete;
  EngineSession& operator=(EngineSession const&) = delete;

  // Queues a whole packet, its type included; it leaves at the end of the loop's turn.
  void send(std::string packet);
  // The same of one that is shared: `frame` is it as laid down for this turn's WebSockets.
  void send(EnginePacketText const& packet, net::WebSocketFrame const& frame);
  // What is queued still goes out, with a goodbye behind it; nothing is received any more.
  void close(std::uint16_t code, std::string_view reason);

  [[nodiscard]] std::string const& sid() const { return sid_; }
  [[nodiscard]] EngineLoop& loop() const { return loop_; }
  [[nodiscard]] bool open() const { return state_ == State::open; }
  // Null while it polls.
  [[nodiscard]] net::WebSocketConnection* socket() const;
  [[nodiscard]] std::size_t queued_bytes() const;
  // Asks for one on_drained(); something is queued.
  void tell_when_drained();

 private:
  friend class EngineLoop;
  friend class EngineServer;
  friend class EngineSocket;
  enum class State : std::uint8_t { open, closing, closed };
  enum class Heart : std::uint8_t { resting, ping_queued, ping_sent };

  void start();
  void queue(EnginePacketText packet);
  void flush();
  void poll(EngineCall& call);
  void post(std::string_view body, EngineCall& call);
  // False if the session has to end for it.
  [[nodiscard]] bool take(EnginePacket const& packet);
  void answer_poll();
  [[nodiscard]] bool accept_probe(EngineSocket& socket);
  // What the probing socket says; false if that is no change of transport.
  [[nodiscard]] bool probed(std::string_view text);
  void socket_gone(EngineSocket& socket);
  void on_timer();
  void arm(std::int64_t milliseconds);
  void end(State state);  // Tells the handler, once.
  static void detach(EngineSocket*& socket, std::uint16_t code, std::string_view reason);
  // At once; a waiting poll is told that there is no such session.
  void drop();

  EngineLoop& loop_;
  std::string const sid_;
  std::unique_ptr<EngineHandler> handler_;
  State state_ = State::open;
  Heart heart_ = Heart::resting;
  bool dirty_ = false;              // Waits for the end of the turn.
  bool overflowed_ = false;         // The queue is full: to be closed as a slow reader.
  EngineCall* poll_ = nullptr;      // The request that waits for something to answer.
  EngineSocket* socket_ = nullptr;  // Once it is on a WebSocket.
  EngineSocket* probe_ = nullptr;   // A WebSocket that would take over.
  bool drain_wanted_ = false;
  std::vector<EnginePacketText> queue_;
  std::size_t queue_bytes_ = 0;
  Timer timer_;
};

// A WebSocket of a session: its only transport, or one that takes over from polling.
class EngineSocket final : public net::WebSocketHandler {
 public:
  // A session of its own, on the loop where it opens.
  EngineSocket(EngineLoop& loop, Opening opening);
  // For the session of that id on that loop.
  EngineSocket(EngineLoop& loop, std::string sid);
  ~EngineSocket() override;

  net::WebSocketServer* home() override;
  void on_open(net::WebSocketConnection& connection) override;
  void on_text(std::string_view message) override;
  void on_binary(std::string_view) override { count(1); }
  void on_other_frames(std::size_t frames) override { count(frames); }
  void on_drained() override;
  void on_closed() override;

 private:
  friend class EngineSession;
  // So many things came that are of no use.
  void count(std::size_t frames);

  EngineLoop& loop_;
  std::string const sid_;
  std::unique_ptr<Opening> opening_;
  net::WebSocketConnection* connection_ = nullptr;
  EngineSession* session_ = nullptr;
  bool probed_ = false;
  Timer upgrade_timeout_;
};

// The sessions of one event loop.
class EngineLoop {
 public:
  EngineLoop(EngineServer& server, std::size_t index, EventLoop& loop,
             net::WebSocketServer& sockets);
  ~EngineLoop();
  EngineLoop(EngineLoop const&) = delete;
  EngineLoop& operator=(EngineLoop const&) = delete;

  [[nodiscard]] EngineServer& server() { return server_; }
  [[nodiscard]] EventLoop& loop() { return loop_; }
  [[nodiscard]] net::WebSocketServer& sockets() { return sockets_; }
  [[nodiscard]] std::size_t index() const { return index_; }
  // From any thread.
  [[nodiscard]] std::size_t count() const { return count_.load(std::memory_order_relaxed); }

  // For polling clients; `call` is completed sooner or later.
  void poll(std::string const& sid, EngineCall& call);
  void post(std::string const& sid, std::string_view body, EngineCall& call);
  [[nodiscard]] EngineSession& open(Opening opening);
  // The first packet of a session, which tells the client its id and what to expect.
  [[nodiscard]] std::string open_packet(EngineSession const& session, bool upgrades) const;
  void begin_shutdown();
  [[nodiscard]] bool shutting_down() const { return shutting_down_; }

 private:
  friend class EngineSession;
  friend class EngineSocket;

  [[nodiscard]] EngineSession* find(std::string const& sid);
  void flush_later(EngineSession& session);
  void flush_all();
  void retire(EngineSession& session);

  EngineServer& server_;
  std::size_t const index_;
  EventLoop& loop_;
  net::WebSocketServer& sockets_;
  bool shutting_down_ = false;
  std::unordered_map<std::string, std::unique_ptr<EngineSession>> sessions_;
  std::vector<EngineSession*> dirty_;
  std::atomic<std::size_t> count_{0};
};

// A request that goes to a session's loop and comes back with the answer.
class EngineCall {
 public:
  using Begin = std::function<void(EngineLoop& loop, EngineCall& call)>;
  EngineCall(EngineLoop& to, Begin begin) : to_(to), begin_(std::move(begin)) {}
  EngineCall(EngineCall const&) = delete;
  EngineCall& operator=(EngineCall const&) = delete;

  // On the session's loop, once; the call may be gone after it.
  void complete(EngineReply reply);

  [[nodiscard]] bool await_ready() const noexcept { return false; }
  bool await_suspend(std::coroutine_handle<> waiting);
  EngineReply await_resume() { return std::move(reply_); }

 private:
  EngineLoop& to_;
  Begin begin_;
  EventLoop* home_ = nullptr;
  std::coroutine_handle<> waiting_;
  bool beginning_ = false;
  bool done_ = false;
  EngineReply reply_;
};

class EngineServer {
 public:
  EngineServer(EngineLimits const& limits, EngineHandlerMaker make_handler);
  ~EngineServer();

  // Before any request: one per event loop.
  EngineLoop& attach(EventLoop& loop, net::WebSocketServer& sockets);
  [[nodiscard]] EngineLimits const& limits() const { return limits_; }
  [[nodiscard]] std::unique_ptr<EngineHandler> make_handler(EngineLoop& loop,
                                                            Opening opening) const;
  // That of the calling thread.
  [[nodiscard]] EngineLoop& here();
  [[nodiscard]] std::vector<std::unique_ptr<EngineLoop>> const& loops() const { return loops_; }
  // Where the session of that id would be; null if there is no such loop.
  [[nodiscard]] EngineLoop* loop_of(std::string_view sid);
  [[nodiscard]] std::size_t sessions() const;

  // A new session of a polling client, on the calling thread's loop.
  [[nodiscard]] EngineReply open(Opening opening);
  // The session's next packets; waits for some.
  [[nodiscard]] Task<EngineReply> poll(std::string sid);
  // `body` must stay until it is done.
  [[nodiscard]] Task<EngineReply> post(std::string sid, std::string_view body);

 private:
  EngineLimits const limits_;
  EngineHandlerMaker const make_handler_;
  std::vector<std::unique_ptr<EngineLoop>> loops_;
};

}  // namespace subforge::realtime
