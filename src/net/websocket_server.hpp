// The WebSocket side of one event loop. Frames of a turn are laid one after the other in one shared
// chunk; a connection queues spans of it, so that an event costs one frame however many receive it,
// and one send per receiver and turn however many events there were, many sends in a system call.
// Who agreed to compressed messages gets a second frame of the event, which is made when the first
// of them is to have it.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "net/peer.hpp"
#include "net/socket_batch.hpp"
#include "net/websocket_codec.hpp"
#include "net/websocket_deflate.hpp"
#include "net/websocket_handshake.hpp"
#include "runtime/event_loop.hpp"
#include "runtime/fine_timer.hpp"

namespace subforge::net {

class WebSocketConnection;
class WebSocketServer;

struct WebSocketLimits {
  std::size_t message_bytes_max = 1U << 20;  // Of a message received: else 1009.
  // Unsent bytes of one connection with which it is closed if there is to be one message more.
  std::size_t queue_bytes_max = 1U << 20;
  std::int64_t ping_interval_ms = 20'000;  // Silence after which the peer is asked for a sign ...
  std::int64_t ping_timeout_ms = 20'000;   // ... and how long it may take to give one.
  std::int64_t close_timeout_ms = 2'000;   // How long the peer may take to return a close frame.
  bool compression = true;                 // Compressed messages are agreed to (RFC 7692).
  std::int64_t window_ms = 1;              // See Send::within_window; 0 for none.
  bool io_uring = true;                    // Sends to many in one system call; see SocketBatch.
};

// Shorter messages are sent as they are: deflating them costs several microseconds and would save a
// hundred bytes or two.
inline constexpr std::size_t kWsDeflateFromBytes = 512;
// What goes to one receiver alone has to be worth it by itself.
inline constexpr std::size_t kWsDeflateForOneFromBytes = 4096;

// A reader too slow for its queue is told so, if it still reads; it may come back.
inline constexpr std::uint16_t kWsSlowReader = 4408;

// When a queued message leaves.
enum class Send : std::uint8_t {
  at_turn_end,
  // When the window closes that begins with the first message queued so on this loop: whatever is
  // queued by then leaves in one system call. With the turn, if something does that leaves then.
  within_window,
};

// What a protocol does with a connection. Owned by it.
class WebSocketHandler {
 public:
  virtual ~WebSocketHandler() = default;
  virtual void on_open(WebSocketConnection& connection) = 0;
  // A whole message; the view is good until this returns.
  virtual void on_text(std::string_view message) = 0;
  virtual void on_binary(std::string_view message) = 0;
  // So many frames came that end no message: pings, which are answered already, pongs, and parts of
  // a message that others follow.
  virtual void on_other_frames(std::size_t /*count*/) {}
  // Whether more of what the client has sent already is to be read in the same turn.
  [[nodiscard]] virtual bool takes_more() const { return true; }
  // All that was queued has left; asked for by tell_when_drained().
  virtual void on_drained() {}
  // The connection is gone, or will not speak any more; last call.
  virtual void on_closed() = 0;
  // Whose connection it is to be, perhaps on another loop; null: that of the handshake's loop.
  // Asked once, on that loop; everything else happens on the new one.
  virtual WebSocketServer* home() { return nullptr; }
};

// Bytes that several connections may have queued. Belongs to one loop.
struct FrameChunk {
  // Laid down in this turn; in one before; or taken along by one connection.
  enum class Of : std::uint8_t { turn, past, one };

  std::string bytes = {};
  std::uint32_t holders = 1;
  Of of = Of::turn;
};

struct FrameSpan {
  FrameChunk* chunk = nullptr;
  std::size_t begin = 0;
  std::size_t end = 0;

  [[nodiscard]] std::string_view bytes() const {
    return std::string_view(chunk->bytes).substr(begin, end - begin);
  }
};

// One message as frames; made by WebSocketServer::frame().
class WebSocketFrame {
 public:
  WebSocketFrame(FrameSpan const& plain, std::size_t text_bytes, WsDeflatedOnce const* shared)
      : plain_(plain), text_bytes_(text_bytes), shared_(shared) {}

 private:
  friend class WebSocketServer;
  friend class WebSocketFrames;

  FrameSpan plain_;
  std::size_t text_bytes_;
  WsDeflatedOnce const* shared_;
  // Worked out when first needed; stays empty if it would not be shorter.
  mutable FrameSpan deflated_;
  mutable bool deflate_tried_ = false;
};

// Messages that follow each other, for receivers that get all of them: each queues what lies side
// by side as one.
class WebSocketFrames {
 public:
  // Made by WebSocketServer::frame() in the same turn; best right behind the one before.
  void add(WebSocketFrame const& frame);
  [[nodiscard]] bool empty() const { return each_.empty(); }
  [[nodiscard]] std::size_t size() const { return each_.size(); }
  [[nodiscard]] WebSocketFrame const& operator[](std::size_t i) const { return each_[i]; }

 private:
  friend class WebSocketConnection;

  std::vector<WebSocketFrame> each_;
  std::vector<FrameSpan> plain_;
  std::size_t text_bytes_max_ = 0;
};

class WebSocketConnection final : private IoHandler {
 public:
  WebSocketConnection(WebSocketServer& server, int fd, Peer const& peer,
                      std::optional<WsDeflateTerms> const& deflate,
                      std::unique_ptr<WebSocketHandler> handler);
  ~WebSocketConnection();
  WebSocketConnection(WebSocketConnection const&) = delete;
  WebSocketConnection& operator=(WebSocketConnection const&) = delete;

  // Queues a text message; it leaves at the end of the loop's turn.
  void send_text(std::string_view text);
  // Queues a message that WebSocketServer::frame() laid down in this turn.
  void enqueue(WebSocketFrame const& frame, Send send = Send::at_turn_end);
  void enqueue(WebSocketFrames const& frames, Send send = Send::at_turn_end);
  // Asks for the memory that enqueue() and sending will need: of thousands of connections that are
  // written to by turns, none is in the cache any more when it is its turn.
  void prefetch() const {
    __builtin_prefetch(&fd_, 1);  // Not the server_ before it: that would wait for where it is.
    __builtin_prefetch(&queued_bytes_, 1);
  }
  void prefetch_queue() const { __builtin_prefetch(queue_.data(), 1); }
  // Asks for one on_drained(); something is queued.
  void tell_when_drained() { drain_wanted_ = true; }
  // Says goodbye and closes; nothing is sent or received after.
  void close(std::uint16_t code, std::string_view reason);

  [[nodiscard]] Peer const& peer() const { return peer_; }
  [[nodiscard]] EventLoop& loop() const;
  [[nodiscard]] WebSocketServer& server() const { return server_; }
  [[nodiscard]] std::size_t queued_bytes() const { return queued_bytes_; }
  [[nodiscard]] bool open() const { return state_ == State::open; }

 private:
  friend class WebSocketServer;
  enum class State : std::uint8_t { open, closing, closed };

  void start(std::string early);
  void on_ready(std::uint32_t events) override;
  void on_timer();
  void read();
  void take(std::span<char> bytes);
  void take_event(WsEvent const& event);
  void enqueue_span(FrameSpan const& span, Send send);
  void queue(FrameSpan const& span, Send send = Send::at_turn_end);
  void take_along();
  void overflow();
  void flush();
  void flush_alone();
  [[nodiscard]] bool fits_batch() const;
  [[nodiscard]] std::string_view queue_as_one(std::string& gathered) const;
  void settle(int result);
  void not_sent(int error);
  void all_sent();
  [[nodiscard]] ssize_t send_queue();
  void sent(std::size_t bytes);
  void release_queue();
  void watch_output(bool on);
  void begin_closing();
  void drop();

  WebSocketServer& server_;
  int fd_;
  std::uint8_t const deflate_bits_;  // Of the peer's window; 0 if it takes no compressed messages.
  State state_ = State::open;
  bool dirty_ = false;       // Waits for the end of the turn ...
  bool waiting_ = false;     // ... or of the window.
  bool overflowed_ = false;  // The queue is full: to be closed as a slow reader.
  bool output_watched_ = false;
  bool drain_wanted_ = false;
  bool ping_sent_ = false;
  bool close_received_ = false;
  bool input_broken_ = false;  // Nothing that comes can be understood any more.
  // Beside what stands above, so that delivering a message touches as little memory as may be.
  std::vector<FrameSpan> queue_;
  std::size_t queued_bytes_ = 0;
  Peer const peer_;
  WsDecoder decoder_;
  std::int64_t heard_ns_;
  std::unique_ptr<WebSocketHandler> handler_;
  Timer timer_;
};

class WebSocketServer {
 public:
  WebSocketServer(EventLoop& loop, WebSocketLimits const& limits);
  ~WebSocketServer();
  WebSocketServer(WebSocketServer const&) = delete;
  WebSocketServer& operator=(WebSocketServer const&) = delete;

  // Takes over a socket after its handshake, in which compressed messages may have been agreed on;
  // `early` is what the client sent right behind it.
  void adopt(int fd, Peer const& peer, std::unique_ptr<WebSocketHandler> handler, std::string early,
             std::optional<WsDeflateTerms> const& deflate = std::nullopt);
  // From any thread.
  [[nodiscard]] std::size_t count() const { return count_.load(std::memory_order_relaxed); }
  // Chunks that somebody holds.
  [[nodiscard]] std::size_t chunks() const { return chunks_; }
  void begin_shutdown();

  // Lays a text message down in this turn's chunk, for any number of enqueue() calls in this turn.
  // What other loops send too is deflated once for all of them if they share `shared`, which has to
  // outlive the frame.
  [[nodiscard]] WebSocketFrame frame(std::string_view text, WsDeflatedOnce const* shared = nullptr);

  [[nodiscard]] EventLoop& loop() { return loop_; }
  [[nodiscard]] WebSocketLimits const& limits() const { return limits_; }

 private:
  friend class WebSocketConnection;

  // A chunk is begun anew beyond this, so that one laggard does not hold a long burst in memory.
  static constexpr std::size_t kChunkBytes = 256U << 10;
  // A laggard may hold so many times what it has queued, so that many can share a chunk; what it
  // takes along instead lies in chunks of about this size.
  static constexpr std::size_t kHeldMax = 4;
  static constexpr std::size_t kOwnChunkBytes = 64U << 10;
  // Parts of a queue are sent as one copy where they have no more bytes than this in the mean.
  static constexpr std::size_t kGatherBytesMax = 4096;
  // Longer queues of several parts are sent for themselves: copies for a batch lie side by side.
  static constexpr std::size_t kBatchedCopyMax = 16U << 10;
  // How far ahead of a connection that is written to the next ones' memory is asked for.
  static constexpr std::size_t kAhead = 2;
  // What a client sends at once is read at once up to so many times the loop's buffer, so that a
  // burst is handled, stored and passed on in one turn; others then have theirs.
  static constexpr int kReadsPerTurn = 2;

  [[nodiscard]] FrameSpan control_frame(WsOpcode opcode, std::string_view payload);
  [[nodiscard]] FrameSpan close_frame(std::uint16_t code, std::string_view reason);
  [[nodiscard]] FrameSpan const& span_of(WebSocketFrame const& frame, std::uint8_t deflate_bits,
                                         std::size_t from_bytes);
  [[nodiscard]] FrameChunk& chunk(WsCoding coding = WsCoding::plain);
  [[nodiscard]] FrameChunk* make_chunk(FrameChunk::Of of);
  void release(FrameChunk* chunk);
  void end_turn(FrameChunk* chunk);
  void flush_later(WebSocketConnection& connection);
  void flush_within_window(WebSocketConnection& connection);
  void close_window();
  void flush_all();
  void flush_batch();
  void retire(WebSocketConnection& connection);
  void turn_end_soon();

  EventLoop& loop_;
  WebSocketLimits const limits_;
  std::unordered_set<WebSocketConnection*> connections_;
  std::vector<WebSocketConnection*> dirty_;
  std::vector<WebSocketConnection*> waiting_;  // For the window to close.
  FineTimer window_;
  std::vector<std::unique_ptr<WebSocketConnection>> graveyard_;
  // By coding, so that frames which follow each other in a queue lie side by side. Held by the
  // server itself too, and those that got full in this turn as well.
  std::array<FrameChunk*, 2> current_{};
  std::vector<FrameChunk*> full_;
  std::size_t chunks_ = 0;
  // One of each serves all connections.
  WsInflater inflater_;
  WsDeflater deflater_;
  std::string gathered_;  // Parts of queues, while they are sent.
  SocketBatch batch_;
  std::vector<WebSocketConnection*> batched_;  // Whose sends it makes.
  bool turn_end_asked_ = false;
  std::atomic<std::size_t> count_{0};
};

}  // namespace subforge::net
