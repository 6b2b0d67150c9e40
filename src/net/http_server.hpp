// The HTTP/1.1 side of one event loop: its connections, and what they need of the service that
// answers requests. Framing, limits, timeouts, pipelining and keep-alive are settled here; the
// service never sees a socket.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/result.hpp"
#include "net/body_stream.hpp"
#include "net/file_body.hpp"
#include "net/http_parser.hpp"
#include "net/peer.hpp"
#include "net/socket_batch.hpp"
#include "net/websocket_server.hpp"
#include "runtime/event_loop.hpp"
#include "runtime/task.hpp"

namespace subforge::net {

class HttpConnection;
class HttpServer;

struct HttpServerLimits {
  HttpLimits head;
  std::int64_t header_timeout_ms = 10'000;  // From the first byte of a head to its last: else 408.
  std::int64_t body_timeout_ms = 30'000;    // From the head to the last byte of the body: else 408.
  // A streamed body has as much time again and again, while it comes at this pace or faster.
  std::uint64_t body_bytes_per_second_min = 1024;
  std::int64_t idle_timeout_ms = 75'000;    // Between requests: closed in silence.
  std::int64_t linger_ms = 1'000;           // How long a refused client is listened to, so that it
                                            // can read the answer before the connection resets.
  std::size_t output_bytes_max = 1U << 20;  // Unsent answers of one connection; pipelined requests
                                            // beyond wait.
  bool io_uring = true;                     // Many in one system call; see SocketBatch.
};

// A complete answer. Framing (Content-Length, Date, Connection) is added when it is written.
struct Answer {
  int status = 200;
  std::string_view fields;  // Whole field lines, each ended by CRLF.
  std::string_view body;
};

// A body that is made while it is sent.
class BodySource {
 public:
  virtual ~BodySource() = default;
  // Appends the next piece; false when there is none left. An error breaks the connection off, so
  // that the client can tell a cut body from a complete one.
  virtual Task<Result<bool>> next(std::string& out) = 0;
  // The body ends only with the connection. Then a client that stops sending is one that is gone.
  [[nodiscard]] virtual bool endless() const { return false; }
  // The connection is gone: next() shall return soon, whatever it was waiting for.
  virtual void abandon() {}
};

// What an answer needs to reach its connection later; copies are fine, the connection may be gone.
class PendingAnswer {
 public:
  PendingAnswer() = default;
  PendingAnswer(HttpServer& server, std::uint64_t connection_id)
      : server_(&server), connection_id_(connection_id) {}
  // On the loop's own thread, once.
  void complete(Answer const& answer) const;
  void complete(Answer const& answer, std::unique_ptr<BodySource> body) const;
  void complete(Answer const& answer, std::unique_ptr<FileBody> body) const;

 private:
  HttpServer* server_ = nullptr;
  std::uint64_t connection_id_ = 0;
};

// Whatever the service wants to remember with a connection.
class ConnectionMemo {
 public:
  virtual ~ConnectionMemo() = default;
};

// How the body of a request is taken.
struct BodyPlan {
  std::uint64_t bytes_max = 0;  // More is answered with 413.
  bool streamed = false;        // Handed on as it comes, rather than gathered first.
  // Whether the answer depends on it. Asked of clients alone that wait for 100 Continue with it:
  // the others have begun to send it.
  bool wanted = true;
};

class HttpService {
 public:
  virtual BodyPlan plan_body(HttpConnection& connection, RequestHead const& head) = 0;
  // Answers now with connection.answer() or .upgrade(), or takes connection.defer() and completes
  // it later. Views are good until this returns.
  virtual void serve(HttpConnection& connection, RequestHead const& head,
                     std::string_view body) = 0;
  // The same for a request whose body is to be streamed and has only begun to come. What is
  // answered before its end closes the connection.
  virtual void serve_stream(HttpConnection& connection, RequestHead const& head,
                            std::shared_ptr<BodyStream> body);
  // A request that never became one: refuse it with connection.answer(). `head` is null where even
  // that could not be read.
  virtual void refuse(HttpConnection& connection, RequestHead const* head, int status,
                      std::string_view reason) = 0;

 protected:
  ~HttpService() = default;
};

class HttpServer {
 public:
  HttpServer(EventLoop& loop, HttpService& service, HttpServerLimits const& limits,
             WebSocketLimits const& websocket_limits);
  ~HttpServer();
  HttpServer(HttpServer const&) = delete;
  HttpServer& operator=(HttpServer const&) = delete;

  void adopt(int fd, Peer const& peer);
  // Takes a connection only to tell it that there are too many (503).
  void adopt_to_refuse(int fd, Peer const& peer);
  // From any thread; without those that became WebSockets.
  [[nodiscard]] std::size_t connection_count() const {
    return count_.load(std::memory_order_relaxed);
  }
  [[nodiscard]] WebSocketServer& websockets() { return websockets_; }
  [[nodiscard]] EventLoop& loop() { return loop_; }

  // Closes what is idle, lets the rest finish its request, says goodbye to sockets (1012).
  void begin_shutdown();
  [[nodiscard]] bool shutting_down() const { return shutting_down_; }
  [[nodiscard]] bool idle() const { return connections_.empty() && websockets_.count() == 0; }

 private:
  friend class BodyStream;
  friend class HttpConnection;
  friend class PendingAnswer;

  // What one connection sends with the others at the end of the turn.
  struct Together {
    HttpConnection* connection;
    std::size_t begin;
    std::size_t end;
    int result = 0;  // Of one that failed, or left in part.
    [[nodiscard]] std::string_view of(std::string_view bytes) const {
      return bytes.substr(begin, end - begin);
    }
  };
  // Together connections are read from and written to for a part of what each costs alone. What
  // they receive so has little room, enough for most requests; what is longer is read on alone.
  static constexpr std::size_t kTogetherReadBytes = 4096;
  // Longer answers leave at once, as do all beyond as many bytes in a turn ...
  static constexpr std::size_t kTogetherAnswerBytesMax = 64U << 10;
  static constexpr std::size_t kTogetherBytesMax = 1U << 20;
  // ... and the first does not wait for later ones longer than this.
  static constexpr std::int64_t kTogetherNs = 200'000;
  // Bodies that are served while they come are received when everything else of a turn is done, for
  // about this time; who is left comes first in the next turn.
  static constexpr std::int64_t kBodiesNs = 1'000'000;

  [[nodiscard]] HttpConnection* find(std::uint64_t id) const;
  void read_together(HttpConnection& connection);
  [[nodiscard]] bool send_together(HttpConnection& connection);
  void receive_body_last(HttpConnection& connection);
  void end_turn_soon();
  void end_turn();
  void receive_all();
  void receive(std::span<HttpConnection*> from);
  void send_all();
  void receive_bodies();
  void forget(HttpConnection& connection);
  void drop(HttpConnection& connection);
  void hand_over(HttpConnection& connection);   // After a WebSocket handshake.
  [[nodiscard]] std::string_view date_field();  // "Date: ...\r\n", made once a second.

  EventLoop& loop_;
  HttpService& service_;
  HttpServerLimits const limits_;
  WebSocketServer websockets_;
  bool shutting_down_ = false;
  std::uint64_t next_id_ = 1;
  std::unordered_map<std::uint64_t, std::unique_ptr<HttpConnection>> connections_;
  std::atomic<std::size_t> count_{0};

  // Shared by all connections of the loop, since one is served at a time.
  RequestHead head_;
  std::string output_;
  std::string date_;
  std::int64_t date_second_ = -1;

  SocketBatch batch_;
  std::vector<HttpConnection*> readable_;  // Null: gone.
  std::unique_ptr<char[]> read_buffers_;   // One for each receive of a batch.
  std::vector<Together> together_;
  std::string together_bytes_;
  std::int64_t together_since_ns_ = 0;
  std::deque<HttpConnection*> bodies_;
  bool turn_end_asked_ = false;
};

}  // namespace subforge::net
