#include "net/websocket_server.hpp"

#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

namespace subforge::net {
namespace {

void arm(Timer& timer, EventLoop& loop, std::int64_t wait_ms) {
  timer.arm(loop.timers(), loop.now_ns() + wait_ms * 1'000'000);
}

}  // namespace

// --- WebSocketFrames

void WebSocketFrames::add(WebSocketFrame const& frame) {
  each_.push_back(frame);
  text_bytes_max_ = std::max(text_bytes_max_, frame.text_bytes_);
  auto const& span = frame.plain_;
  if (!plain_.empty() && plain_.back().chunk == span.chunk && plain_.back().end == span.begin) {
    plain_.back().end = span.end;
  } else {
    plain_.push_back(span);
  }
}

// --- WebSocketServer

WebSocketServer::WebSocketServer(EventLoop& loop, WebSocketLimits const& limits)
    : loop_(loop),
      limits_(limits),
      window_(loop, [this] { close_window(); }),
      batch_(limits.io_uring) {}

WebSocketServer::~WebSocketServer() {
  // Dropping moves a connection to the graveyard, so the set shrinks as we go.
  while (!connections_.empty()) (*connections_.begin())->drop();
  graveyard_.clear();
  for (auto* const chunk : full_) release(chunk);
  for (auto* const chunk : current_) {
    if (chunk != nullptr) release(chunk);
  }
}

void WebSocketServer::adopt(int fd, Peer const& peer, std::unique_ptr<WebSocketHandler> handler,
                            std::string early, std::optional<WsDeflateTerms> const& deflate) {
  // lint: allow(naked_new): the set is looked up by raw pointer; retire() makes it a unique_ptr.
  auto* const connection = new WebSocketConnection(*this, fd, peer, deflate, std::move(handler));
  connections_.insert(connection);  // Owned by the set until retire() moves it on.
  count_.store(connections_.size(), std::memory_order_relaxed);
  connection->start(std::move(early));
}

void WebSocketServer::begin_shutdown() {
  auto const all = std::vector(connections_.begin(), connections_.end());
  for (auto* const connection : all) connection->close(kWsServiceRestart, "server is restarting");
}

FrameChunk& WebSocketServer::chunk(WsCoding coding) {
  auto*& current = current_[static_cast<std::size_t>(coding)];
  // A full one is held on to: frames in it may be queued until the turn ends.
  if (current != nullptr && current->bytes.size() >= kChunkBytes) {
    full_.push_back(std::exchange(current, nullptr));
  }
  if (current == nullptr) current = make_chunk(FrameChunk::Of::turn);
  turn_end_soon();
  return *current;
}

FrameChunk* WebSocketServer::make_chunk(FrameChunk::Of of) {
  ++chunks_;
  // lint: allow(naked_new): counted by its holders, see release().
  return new FrameChunk{.of = of};
}

WebSocketFrame WebSocketServer::frame(std::string_view text, WsDeflatedOnce const* shared) {
  auto& to = chunk();
  auto const begin = to.bytes.size();
  append_frame(to.bytes, WsOpcode::text, text);
  return {{&to, begin, to.bytes.size()}, text.size(), shared};
}

// The frame for a receiver with this window, deflated if the message has at least `from_bytes`.
FrameSpan const& WebSocketServer::span_of(WebSocketFrame const& frame, std::uint8_t deflate_bits,
                                          std::size_t from_bytes) {
  auto const bytes = frame.text_bytes_;
  if (deflate_bits == 0 || bytes < from_bytes) return frame.plain_;
  // In a message as long as the receiver's window nothing can refer to what is further back.
  bool const window_suffices =
      deflate_bits == WsDeflateTerms::kWindowBitsMax || bytes <= std::size_t{1} << deflate_bits;
  if (!window_suffices) return frame.plain_;
  if (!std::exchange(frame.deflate_tried_, true)) {
    auto const& plain = frame.plain_;
    std::string_view const text(plain.chunk->bytes.data() + plain.end - bytes, bytes);
    auto const payload = frame.shared_ != nullptr ? frame.shared_->payload(text, deflater_)
                                                  : deflater_.deflate(text);
    if (payload) {
      auto& to = chunk(WsCoding::deflated);
      auto const begin = to.bytes.size();
      append_frame(to.bytes, WsOpcode::text, *payload, WsCoding::deflated);
      frame.deflated_ = {&to, begin, to.bytes.size()};
    }
  }
  return frame.deflated_.chunk != nullptr ? frame.deflated_ : frame.plain_;
}

FrameSpan WebSocketServer::control_frame(WsOpcode opcode, std::string_view payload) {
  auto& to = chunk();
  auto const begin = to.bytes.size();
  append_frame(to.bytes, opcode, payload);
  return {&to, begin, to.bytes.size()};
}

FrameSpan WebSocketServer::close_frame(std::uint16_t code, std::string_view reason) {
  auto& to = chunk();
  auto const begin = to.bytes.size();
  append_close_frame(to.bytes, code, reason);
  return {&to, begin, to.bytes.size()};
}

void WebSocketServer::release(FrameChunk* chunk) {
  if (--chunk->holders > 0) return;
  --chunks_;
  // lint: allow(naked_delete): the last holder frees it.
  delete chunk;
}

void WebSocketServer::end_turn(FrameChunk* chunk) {
  chunk->of = FrameChunk::Of::past;
  release(chunk);
}

void WebSocketServer::flush_later(WebSocketConnection& connection) {
  dirty_.push_back(&connection);
  turn_end_soon();
}

void WebSocketServer::flush_within_window(WebSocketConnection& connection) {
  if (waiting_.empty()) window_.arm(limits_.window_ms * 1'000'000);
  waiting_.push_back(&connection);
}

void WebSocketServer::close_window() {
  for (auto* const connection : waiting_) {
    connection->waiting_ = false;
    if (!std::exchange(connection->dirty_, true)) flush_later(*connection);
  }
  waiting_.clear();
}

void WebSocketServer::turn_end_soon() {
  if (std::exchange(turn_end_asked_, true)) return;
  loop_.at_turn_end([this] { flush_all(); });
}

void WebSocketServer::flush_all() {
  turn_end_asked_ = false;
  for (std::size_t begin = 0; begin < dirty_.size();) {
    // A copy: what is closed or drained may make others wait for the end of the turn.
    auto const from = dirty_.begin() + static_cast<std::ptrdiff_t>(begin);
    auto const count = std::min(dirty_.size() - begin, SocketBatch::kOpsMax);
    batched_.assign(from, from + static_cast<std::ptrdiff_t>(count));
    flush_batch();
    begin += count;
  }
  dirty_.clear();
  graveyard_.clear();
  for (auto* const chunk : full_) end_turn(chunk);
  full_.clear();
  for (auto*& current : current_) {
    if (current == nullptr) continue;
    // What waits for the window is gone on with, so that what follows lies behind it.
    if (!waiting_.empty() && current->bytes.size() < kChunkBytes) continue;
    if (current->holders == 1 && current->bytes.capacity() <= 2 * kChunkBytes) {
      current->bytes.clear();  // Nobody lags behind: the next turn uses it again.
    } else {
      end_turn(std::exchange(current, nullptr));
    }
  }
}

void WebSocketServer::flush_batch() {
  auto& all = batched_;
  for (std::size_t i = 0; i < all.size(); ++i) {
    if (i + kAhead < all.size()) all[i + kAhead]->prefetch();
    if (i + 1 < all.size()) all[i + 1]->prefetch_queue();
    all[i]->dirty_ = false;
    if (!all[i]->fits_batch()) all[i]->flush_alone();
  }
  // What has nothing to send any more was sent just now, or one that was closed took it along.
  std::erase_if(all, [](auto const* connection) { return !connection->fits_batch(); });
  std::size_t copied = 0;
  for (auto const* const connection : all) {
    if (connection->queue_.size() > 1) copied += connection->queued_bytes_;
  }
  gathered_.clear();
  gathered_.reserve(copied);
  for (auto const* const connection : all) {
    batch_.add_send(connection->fd_, connection->queue_as_one(gathered_));
  }
  auto const results = batch_.run();
  // First what every queue still holds, then what follows from it, which may add to other queues.
  for (std::size_t i = 0; i < all.size(); ++i) {
    if (results[i] > 0) all[i]->sent(static_cast<std::size_t>(results[i]));
  }
  for (std::size_t i = 0; i < all.size(); ++i) all[i]->settle(results[i]);
}

void WebSocketServer::retire(WebSocketConnection& connection) {
  connections_.erase(&connection);
  count_.store(connections_.size(), std::memory_order_relaxed);
  graveyard_.emplace_back(&connection);
  turn_end_soon();
}

// --- WebSocketConnection

WebSocketConnection::WebSocketConnection(WebSocketServer& server, int fd, Peer const& peer,
                                         std::optional<WsDeflateTerms> const& deflate,
                                         std::unique_ptr<WebSocketHandler> handler)
    : server_(server),
      fd_(fd),
      deflate_bits_(deflate ? deflate->server_window_bits : 0),
      peer_(peer),
      decoder_(WsLimits{server.limits_.message_bytes_max}, WsRole::server,
               deflate ? &server.inflater_ : nullptr),
      heard_ns_(server.loop_.now_ns()),
      handler_(std::move(handler)),
      timer_([this] { on_timer(); }) {}

WebSocketConnection::~WebSocketConnection() {
  release_queue();
  if (fd_ >= 0) ::close(fd_);
}

EventLoop& WebSocketConnection::loop() const { return server_.loop_; }

void WebSocketConnection::start(std::string early) {
  server_.loop_.add(fd_, EPOLLIN, *this);
  timer_.arm(server_.loop_.timers(),
             server_.loop_.now_ns() + server_.limits_.ping_interval_ms * 1'000'000);
  handler_->on_open(*this);
  if (!early.empty()) take(early);
}

void WebSocketConnection::send_text(std::string_view text) {
  if (state_ != State::open) return;
  auto const frame = server_.frame(text);
  enqueue_span(server_.span_of(frame, deflate_bits_, kWsDeflateForOneFromBytes), Send::at_turn_end);
}

void WebSocketConnection::enqueue(WebSocketFrame const& frame, Send send) {
  enqueue_span(server_.span_of(frame, deflate_bits_, kWsDeflateFromBytes), send);
}

void WebSocketConnection::enqueue(WebSocketFrames const& frames, Send send) {
  if (deflate_bits_ != 0 && frames.text_bytes_max_ >= kWsDeflateFromBytes) {
    for (auto const& frame : frames.each_) enqueue(frame, send);
  } else {
    for (auto const& span : frames.plain_) enqueue_span(span, send);
  }
}

void WebSocketConnection::enqueue_span(FrameSpan const& span, Send send) {
  if (state_ != State::open) return;
  // What one turn has for a reader may be more than the queue: what the kernel takes does not wait.
  // An error is dealt with at the end of the turn, as below.
  auto const bytes_max = server_.limits_.queue_bytes_max;
  while (queued_bytes_ >= bytes_max && !output_watched_ && !overflowed_) {
    ssize_t const written = send_queue();
    if (written <= 0) break;
    sent(static_cast<std::size_t>(written));
  }
  // A message of any size has its place as long as less waits: no reader could ever take one that
  // is longer than the queue otherwise, however fast it reads.
  if (overflowed_ || queued_bytes_ >= bytes_max) {
    // Dealt with at the end of the turn: whoever enqueues may be walking a list that closing edits.
    overflowed_ = true;
    if (!std::exchange(dirty_, true)) server_.flush_later(*this);
    return;
  }
  queue(span, send);
}

void WebSocketConnection::queue(FrameSpan const& span, Send send) {
  queued_bytes_ += span.end - span.begin;
  if (!queue_.empty() && queue_.back().chunk == span.chunk && queue_.back().end == span.begin) {
    queue_.back().end = span.end;
  } else {
    ++span.chunk->holders;
    queue_.push_back(span);
  }
  if (send == Send::within_window && server_.limits_.window_ms > 0) {
    if (!dirty_ && !std::exchange(waiting_, true)) server_.flush_within_window(*this);
    return;
  }
  if (!std::exchange(dirty_, true)) server_.flush_later(*this);
}

// A reader that lags holds about as much memory as its queue is long, whatever else the turn laid
// down: where its part of a chunk is small, it takes that along.
void WebSocketConnection::take_along() {
  auto begin = queue_.size();
  while (begin > 0 && queue_[begin - 1].chunk->of == FrameChunk::Of::turn) --begin;
  auto end = begin;
  for (auto i = begin; i < queue_.size(); ++i) {
    auto const span = queue_[i];
    auto const& from = span.chunk->bytes;
    auto const bytes = span.end - span.begin;
    if (from.capacity() <= WebSocketServer::kHeldMax * bytes) {
      queue_[end++] = span;
      continue;
    }
    auto const* const last = end > 0 ? queue_[end - 1].chunk : nullptr;
    bool const goes_on = last != nullptr && last->of == FrameChunk::Of::one &&
                         last->bytes.size() < WebSocketServer::kOwnChunkBytes;
    if (!goes_on) queue_[end++] = {server_.make_chunk(FrameChunk::Of::one), 0, 0};
    auto& own = queue_[end - 1];
    own.chunk->bytes.append(from, span.begin, bytes);
    own.end += bytes;
    server_.release(span.chunk);
  }
  queue_.resize(end);
}

void WebSocketConnection::overflow() {
  // The span being sent may stand in the middle of a frame and must be finished; the rest is
  // dropped, since a reader that missed one event has to recover anyway.
  while (queue_.size() > 1) {
    queued_bytes_ -= queue_.back().end - queue_.back().begin;
    server_.release(queue_.back().chunk);
    queue_.pop_back();
  }
  close(kWsSlowReader, "reading too slowly; reconnect with last_event_id");
  // The reason stands behind what the kernel has not taken: it is there for who reads again as soon
  // as one has to who is silent.
  arm(timer_, server_.loop_, server_.limits_.ping_timeout_ms);
}

void WebSocketConnection::close(std::uint16_t code, std::string_view reason) {
  // At the end of the server nobody waits longer for one that is closing for another reason.
  if (state_ == State::closing) arm(timer_, server_.loop_, server_.limits_.close_timeout_ms);
  if (state_ != State::open) return;
  queue(server_.close_frame(code, reason));
  begin_closing();
}

void WebSocketConnection::begin_closing() {
  if (state_ != State::open) return;
  state_ = State::closing;
  arm(timer_, server_.loop_, server_.limits_.close_timeout_ms);
  handler_->on_closed();
}

void WebSocketConnection::on_ready(std::uint32_t events) {
  if ((events & EPOLLOUT) != 0) flush();
  if (state_ != State::closed && (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0) read();
}

void WebSocketConnection::read() {
  auto& scratch = server_.loop_.scratch();
  for (int reads = 0; reads < WebSocketServer::kReadsPerTurn; ++reads) {
    ssize_t const got = ::recv(fd_, scratch.data(), scratch.size(), 0);
    if (got > 0) {
      take(std::span(scratch.data(), static_cast<std::size_t>(got)));
    } else if (got == 0 || (errno != EAGAIN && errno != EINTR)) {
      drop();
    }
    bool const is_all = got < static_cast<ssize_t>(scratch.size());
    if (is_all || state_ != State::open || !handler_->takes_more()) return;
  }
}

void WebSocketConnection::take(std::span<char> bytes) {
  heard_ns_ = server_.loop_.now_ns();
  if (std::exchange(ping_sent_, false) && state_ == State::open) {
    // The timer waits for an answer to the ping; from here on it is for silence again.
    timer_.arm(server_.loop_.timers(), heard_ns_ + server_.limits_.ping_interval_ms * 1'000'000);
  }
  while (state_ != State::closed) {
    auto const event = decoder_.next(bytes);
    auto const fragments = decoder_.take_fragment_count();
    if (fragments > 0 && state_ == State::open) handler_->on_other_frames(fragments);
    if (event.kind == WsEvent::Kind::need_more) return;
    take_event(event);
  }
}

void WebSocketConnection::take_event(WsEvent const& event) {
  switch (event.kind) {
    case WsEvent::Kind::text:
      if (state_ == State::open) handler_->on_text(event.payload);
      break;
    case WsEvent::Kind::binary:
      if (state_ == State::open) handler_->on_binary(event.payload);
      break;
    case WsEvent::Kind::ping:
      // A flood of pings must not fill the queue of a peer that does not read.
      if (state_ == State::open && queued_bytes_ < server_.limits_.queue_bytes_max / 2) {
        queue(server_.control_frame(WsOpcode::pong, event.payload));
      }
      if (state_ == State::open) handler_->on_other_frames(1);
      break;
    case WsEvent::Kind::pong:
      if (state_ == State::open) handler_->on_other_frames(1);
      break;
    case WsEvent::Kind::close:
      close_received_ = true;
      if (state_ == State::open) {
        queue(server_.close_frame(event.close_code, {}));
        begin_closing();
      } else if (queue_.empty()) {
        drop();  // Our own close frame has been answered.
      }
      break;
    case WsEvent::Kind::error:
      input_broken_ = true;
      close(event.close_code, event.payload);
      break;
    case WsEvent::Kind::need_more: break;
  }
}

void WebSocketConnection::flush() {
  if (state_ == State::closed) return;
  if (std::exchange(overflowed_, false)) overflow();
  while (!queue_.empty()) {
    ssize_t const written = send_queue();
    if (written < 0) {
      if (errno == EINTR) continue;
      return not_sent(errno);
    }
    sent(static_cast<std::size_t>(written));
  }
  all_sent();
}

void WebSocketConnection::flush_alone() {
  flush();
  if (!queue_.empty()) take_along();
}

// Whether what is queued can be one send among others.
bool WebSocketConnection::fits_batch() const {
  if (queue_.empty() || overflowed_) return false;
  return queue_.size() == 1 || queued_bytes_ <= WebSocketServer::kBatchedCopyMax;
}

// Several parts are copied behind what `gathered` holds, which has to have room for them.
std::string_view WebSocketConnection::queue_as_one(std::string& gathered) const {
  if (queue_.size() == 1) return queue_.front().bytes();
  auto const begin = gathered.size();
  for (auto const& span : queue_) gathered.append(span.bytes());
  return std::string_view(gathered).substr(begin);
}

// After a send in a batch, of which sent() knows already.
void WebSocketConnection::settle(int result) {
  if (state_ == State::closed) return;
  if (result < 0 && result != -EINTR) {
    not_sent(-result);
  } else if (queue_.empty()) {
    all_sent();
  } else {
    flush();
  }
  if (!queue_.empty()) take_along();
}

void WebSocketConnection::not_sent(int error) { error == EAGAIN ? watch_output(true) : drop(); }

void WebSocketConnection::all_sent() {
  watch_output(false);
  if (state_ == State::open && std::exchange(drain_wanted_, false)) handler_->on_drained();
  if (state_ != State::closing) return;
  if (close_received_) return drop();
  arm(timer_, server_.loop_, server_.limits_.close_timeout_ms);
  // The peer's close frame would not be recognised; so it hears by the end of our bytes that it
  // need not wait. Dropping at once could reset the connection under the close frame.
  if (std::exchange(input_broken_, false)) ::shutdown(fd_, SHUT_WR);
}

// One system call; as send(2).
ssize_t WebSocketConnection::send_queue() {
  if (queue_.size() == 1) {
    auto const bytes = queue_.front().bytes();
    return ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
  }
  // Between the messages of one room lie those of others. To copy a few hundred bytes costs less
  // than to hand the kernel a list with another part.
  if (queued_bytes_ <= WebSocketServer::kGatherBytesMax * queue_.size()) {
    auto& gathered = server_.gathered_;
    gathered.clear();
    for (auto const& span : queue_) {
      gathered.append(span.bytes());
      if (gathered.size() >= WebSocketServer::kChunkBytes) break;
    }
    return ::send(fd_, gathered.data(), gathered.size(), MSG_NOSIGNAL);
  }
  constexpr std::size_t kPartsMax = 64;
  std::array<iovec, kPartsMax> parts;
  msghdr message{};
  message.msg_iov = parts.data();
  message.msg_iovlen = std::min(queue_.size(), kPartsMax);
  for (std::size_t i = 0; i < message.msg_iovlen; ++i) {
    auto const& span = queue_[i];
    parts[i] = {span.chunk->bytes.data() + span.begin, span.end - span.begin};
  }
  return ::sendmsg(fd_, &message, MSG_NOSIGNAL);
}

void WebSocketConnection::sent(std::size_t bytes) {
  if (bytes == queued_bytes_) return release_queue();
  queued_bytes_ -= bytes;
  std::size_t done = 0;
  for (; done < queue_.size() && bytes > 0; ++done) {
    auto& span = queue_[done];
    auto const length = span.end - span.begin;
    if (bytes < length) {
      span.begin += bytes;
      break;
    }
    bytes -= length;
    server_.release(span.chunk);
  }
  queue_.erase(queue_.begin(), queue_.begin() + static_cast<std::ptrdiff_t>(done));
}

void WebSocketConnection::release_queue() {
  for (auto const& span : queue_) server_.release(span.chunk);
  queue_.clear();
  queued_bytes_ = 0;
}

void WebSocketConnection::watch_output(bool on) {
  if (std::exchange(output_watched_, on) == on) return;
  server_.loop_.modify(fd_, on ? EPOLLIN | EPOLLOUT : EPOLLIN, *this);
}

void WebSocketConnection::on_timer() {
  if (state_ != State::open) return drop();
  auto& loop = server_.loop_;
  std::int64_t const silent_ns = loop.now_ns() - heard_ns_;
  std::int64_t const interval_ns = server_.limits_.ping_interval_ms * 1'000'000;
  std::int64_t const timeout_ns = server_.limits_.ping_timeout_ms * 1'000'000;
  if (ping_sent_ && silent_ns >= interval_ns + timeout_ns) return drop();
  if (silent_ns < interval_ns) {
    timer_.arm(loop.timers(), heard_ns_ + interval_ns);
    return;
  }
  if (!std::exchange(ping_sent_, true)) queue(server_.control_frame(WsOpcode::ping, {}));
  timer_.arm(loop.timers(), heard_ns_ + interval_ns + timeout_ns);
}

void WebSocketConnection::drop() {
  if (state_ == State::closed) return;
  bool const was_open = state_ == State::open;
  state_ = State::closed;
  if (std::exchange(waiting_, false)) std::erase(server_.waiting_, this);
  timer_.cancel();
  server_.loop_.remove(fd_, *this);
  ::close(std::exchange(fd_, -1));
  release_queue();
  if (was_open) handler_->on_closed();
  server_.retire(*this);
}

}  // namespace subforge::net
