#include "net/http_connection.hpp"

#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "base/json_writer.hpp"
#include "net/http_status.hpp"

namespace subforge::net {
namespace {

constexpr std::size_t kKeptBytesMax = 64U << 10;  // Larger buffers are given back when empty.

[[nodiscard]] bool has_body(int status) { return status >= 200 && status != 204 && status != 304; }

}  // namespace

struct HttpConnection::Body {
  std::string head;
  std::string content;
  std::uint64_t length;  // Where it is not chunked.
  bool chunked;
  ChunkedDecoder decoder;
};

HttpConnection::HttpConnection(HttpServer& server, std::uint64_t id, int fd, Peer const& peer)
    : server_(server), id_(id), fd_(fd), peer_(peer), watched_(EPOLLIN), timer_([this] {
        on_timer();
      }) {
  server_.loop_.add(fd_, watched_, *this);
  deadline_in(server_.limits_.idle_timeout_ms);
}

HttpConnection::~HttpConnection() {
  if (fd_ >= 0) {
    server_.loop_.remove(fd_, *this);
    ::close(fd_);
  }
}

// --- Bytes in

void HttpConnection::on_ready(std::uint32_t events) {
  if ((events & EPOLLOUT) != 0 && send_backlog()) {
    after_flush();
    resume_input();
  }
  if (fd_ < 0 || (events & ~static_cast<std::uint32_t>(EPOLLOUT)) == 0) return;
  if (state_ == State::reading && events == EPOLLIN) {
    server_.read_together(*this);
  } else if (state_ == State::reading || state_ == State::lingering) {
    read();
  } else if ((events & EPOLLIN) != 0 && takes_body()) {
    server_.receive_body_last(*this);
  } else if ((events & (EPOLLHUP | EPOLLERR | EPOLLRDHUP)) != 0) {
    close();
  } else {
    input_waits_ = true;  // Until then it is not asked for again.
    watch();
  }
}

void HttpConnection::read() {
  auto& scratch = server_.loop_.scratch();
  ssize_t const got = ::recv(fd_, scratch.data(), scratch.size(), 0);
  if (got > 0) return received({scratch.data(), static_cast<std::size_t>(got)});
  receive_failed(got == 0 ? 0 : errno);
}

void HttpConnection::received(std::string_view bytes) {
  if (state_ == State::lingering) return;
  if (state_ != State::reading) {  // A request has begun since they were asked for.
    input_.append(bytes);
    input_waits_ = true;
    return watch();
  }
  if (input_.empty()) {
    process(bytes, /*owned=*/false);
  } else {
    input_.append(bytes);
    process(input_, /*owned=*/true);
  }
}

void HttpConnection::receive_failed(int error) {
  if (error == EAGAIN || error == EINTR) return;
  if (error != 0) return close();
  // Answers already made may still be on their way to a client that only stopped sending.
  if (sends_together_) server_.send_all();
  if (backlog_.empty()) return close();
  peer_finished_ = true;
  keep_alive_ = false;
  watch();
}

void HttpConnection::process(std::string_view input, bool owned) {
  for (bool held = true; held; input = input_, owned = true) {
    auto const used = take_requests(input);
    if (fd_ < 0) return server_.output_.clear();
    if (!owned) {
      input_.assign(input.substr(used));
    } else if (used == input_.size()) {
      input_ = {};  // An idle connection keeps no memory for input.
    } else {
      input_.erase(0, used);
    }
    // Requests are left that only waited for room. If the kernel takes all there is, nothing else
    // will ever wake this connection for them.
    held = output_is_full() && !input_.empty() && !upgraded_;
    flush();
    held = held && fd_ >= 0 && state_ == State::reading && backlog_.empty();
  }
}

bool HttpConnection::output_is_full() const {
  return backlog_.size() + server_.output_.size() >= server_.limits_.output_bytes_max;
}

std::size_t HttpConnection::take_requests(std::string_view input) {
  std::size_t used = 0;
  while (state_ == State::reading && !upgraded_ && used < input.size() && !output_is_full()) {
    auto const rest = input.substr(used);
    auto const taken = body_ != nullptr ? take_body(rest) : take_head(rest);
    if (taken == 0) break;
    used += taken;
  }
  return used;
}

std::size_t HttpConnection::take_head(std::string_view input) {
  auto const& limits = server_.limits_.head;
  auto const length = scanner_.scan(input, limits);
  if (!length) {
    refuse(length.error());
    return input.size();
  }
  if (*length == 0) {
    if (!std::exchange(head_begun_, true)) deadline_in(server_.limits_.header_timeout_ms);
    return 0;
  }
  scanner_.reset();
  head_begun_ = false;
  auto& head = server_.head_;
  auto const head_text = input.substr(0, *length);
  if (auto const parsed = parse_head(head_text, limits, head); !parsed) {
    refuse(parsed.error());
    return input.size();
  }
  keep_alive_ = head.keep_alive && !server_.shutting_down_;
  head_only_ = head.method == Method::head;
  http_1_0_ = head.version_minor == 0;
  auto const content_length = head.content_length.value_or(0);
  if (!head.chunked && content_length == 0) {
    serve({});
    return *length;
  }
  auto const plan = server_.service_.plan_body(*this, head);
  if (content_length > plan.bytes_max) {
    refuse({413, "The body is larger than this route accepts."}, &head);
    return input.size();
  }
  if (plan.streamed) return *length + begin_stream(input.substr(*length), plan);
  if (!head.chunked && input.size() - *length >= content_length) {
    serve(input.substr(*length, content_length));
    return *length + content_length;
  }
  if (!plan.wanted && input.size() == *length) {
    keep_alive_ = false;  // It may send the body all the same (RFC 9110 section 10.1.1).
    refused_ = true;
    serve({});
    return *length;
  }
  body_ = std::make_unique<Body>(Body{std::string(head_text),
                                      {},
                                      content_length,
                                      head.chunked,
                                      ChunkedDecoder({.body_bytes_max = plan.bytes_max})});
  if (head.expect_continue && input.size() == *length) {
    server_.output_.append("HTTP/1.1 100 Continue\r\n\r\n");
  }
  deadline_in(server_.limits_.body_timeout_ms);
  return *length;
}

std::size_t HttpConnection::take_body(std::string_view input) {
  auto const before = input.size();
  bool complete = false;
  if (!body_->chunked) {
    auto const wanted = body_->length - body_->content.size();
    body_->content.append(input.substr(0, wanted));
    input.remove_prefix(std::min<std::size_t>(wanted, input.size()));
    complete = body_->content.size() == body_->length;
  } else {
    for (bool going = true; going;) {
      auto const step = body_->decoder.next(input);
      switch (step.kind) {
        case ChunkedDecoder::Kind::data: body_->content.append(step.data); break;
        case ChunkedDecoder::Kind::need_more: going = false; break;
        case ChunkedDecoder::Kind::done:
          complete = true;
          going = false;
          break;
        case ChunkedDecoder::Kind::error: refuse(step.error, head_of_body()); return before;
      }
    }
  }
  if (complete) {
    auto const body = std::move(body_);
    // Parsed once already; the views of the first time are gone.
    if (parse_head(body->head, server_.limits_.head, server_.head_)) serve(body->content);
  }
  return before - input.size();
}

void HttpConnection::serve(std::string_view body) {
  state_ = State::serving;
  server_.service_.serve(*this, server_.head_, body);
}

// Parsed once already; the views of the first time are gone.
RequestHead const* HttpConnection::head_of_body() {
  auto& head = server_.head_;
  return parse_head(body_->head, server_.limits_.head, head) ? &head : nullptr;
}

void HttpConnection::refuse(ParseError const& error, RequestHead const* head) {
  auto const body = std::move(body_);  // `head` may be of its text.
  keep_alive_ = false;
  refused_ = true;
  state_ = State::serving;
  server_.service_.refuse(*this, head, error.status, error.reason);
}

// --- Answers out

void HttpConnection::write_head(Answer const& answer, std::string_view framing) {
  auto& out = server_.output_;
  if (auto const unread = std::exchange(stream_in_, nullptr); unread && !unread->complete_) {
    keep_alive_ = false;  // Where the next request would begin, nobody knows yet.
    refused_ = true;
  }
  out.append("HTTP/1.1 ");
  append_decimal(out, answer.status);
  out.push_back(' ');
  out.append(reason_phrase(answer.status));
  out.append("\r\n");
  out.append(server_.date_field());
  out.append(answer.fields);
  if (!keep_alive_) {
    out.append("Connection: close\r\n");
  } else if (http_1_0_) {
    out.append("Connection: keep-alive\r\n");
  }
  out.append(framing);
}

void HttpConnection::answer(Answer const& answer) {
  auto& out = server_.output_;
  write_head(answer, {});
  if (has_body(answer.status)) {
    out.append("Content-Length: ");
    append_decimal(out, static_cast<std::int64_t>(answer.body.size()));
    out.append("\r\n\r\n");
    if (!head_only_) out.append(answer.body);
  } else {
    out.append("\r\n");
  }
  finish_answer();
}

void HttpConnection::finish_answer() {
  state_ = keep_alive_ ? State::reading : State::lingering;
  input_waits_ = false;
  deadline_ns_ = server_.loop_.now_ns() + server_.limits_.idle_timeout_ms * 1'000'000;
}

void HttpConnection::answer(Answer const& answer, std::unique_ptr<BodySource> body) {
  bool const chunked = !http_1_0_;
  if (!chunked) keep_alive_ = false;  // Only the end of the connection can end such a body.
  write_head(answer, chunked ? "Transfer-Encoding: chunked\r\n\r\n" : "\r\n");
  if (head_only_) return finish_answer();
  state_ = State::streaming;
  server_.loop_.post([&server = server_, id = id_, chunked, source = std::move(body)]() mutable {
    if (auto* const self = server.find(id)) self->pump(server, id, std::move(source), chunked);
  });
}

Detached HttpConnection::pump(HttpServer& server, std::uint64_t id,
                              std::unique_ptr<BodySource> source, bool chunked) {
  // `this` may be gone after any wait; only what find() returns may be touched.
  struct Drained {
    HttpConnection& connection;
    [[nodiscard]] bool await_ready() const { return connection.backlog_.empty(); }
    void await_suspend(std::coroutine_handle<> waiting) { connection.drained_ = waiting; }
    void await_resume() const {}
  };
  stream_ = source.get();
  watch();
  for (;;) {
    std::string piece;
    auto const more = co_await source->next(piece);
    auto* self = server.find(id);
    if (self == nullptr) co_return;
    if (!more || !*more) self->stream_ = nullptr;
    if (!more) {
      self->close();
      co_return;
    }
    auto& out = server.output_;
    if (chunked) {
      append_chunk(out, piece);
      if (!*more) out.append(kLastChunk);
    } else {
      out.append(piece);
    }
    if (!*more) {
      if (server.shutting_down_) self->keep_alive_ = false;
      self->finish_answer();
      self->flush();
      self->resume_input();
      co_return;
    }
    self->flush();
    self = server.find(id);
    if (self == nullptr) co_return;
    co_await Drained{*self};
    if (server.find(id) == nullptr) co_return;
  }
}

PendingAnswer HttpConnection::defer() { return {server_, id_}; }

template <class Body>
void HttpConnection::complete(Answer const& answer, std::unique_ptr<Body> body) {
  if (state_ != State::serving) return;
  if (server_.shutting_down_) keep_alive_ = false;
  // Another connection's answer may be under construction further up the stack.
  std::string outer;
  outer.swap(server_.output_);
  if (body != nullptr) {
    this->answer(answer, std::move(body));
  } else {
    this->answer(answer);
  }
  flush();
  resume_input();
  server_.output_.swap(outer);
}

template void HttpConnection::complete(Answer const&, std::unique_ptr<BodySource>);
template void HttpConnection::complete(Answer const&, std::unique_ptr<FileBody>);

void HttpConnection::flush() {
  auto& out = server_.output_;
  if (sends_together_) server_.send_all();  // What was to leave before.
  if (fd_ >= 0 && !out.empty()) {
    if (!backlog_.empty()) {
      backlog_.append(out);
    } else if (!may_send_together() || !server_.send_together(*this)) {
      int const flags = MSG_NOSIGNAL | (file_ != nullptr ? MSG_MORE : 0);
      ssize_t const written = ::send(fd_, out.data(), out.size(), flags);
      if (written < 0 && errno != EAGAIN && errno != EINTR) {
        out.clear();
        return close();
      }
      auto const sent = static_cast<std::size_t>(std::max<ssize_t>(written, 0));
      if (sent < out.size()) backlog_.assign(out, sent);
    }
  }
  out.clear();
  if (out.capacity() > 16 * kKeptBytesMax) out.shrink_to_fit();
  if (fd_ >= 0) after_flush();
}

// Whether nothing hangs on the answer's having left but the next one.
bool HttpConnection::may_send_together() const {
  return (state_ == State::reading || state_ == State::streaming) && !upgraded_ &&
         file_ == nullptr && !peer_finished_;
}

// Of what left together with others'.
void HttpConnection::settle(int result) {
  if (result < 0 && result != -EAGAIN && result != -EINTR) return close();
  if (fd_ >= 0) watch();
}

bool HttpConnection::send_backlog() {
  while (backlog_sent_ < backlog_.size()) {
    ssize_t const written =
        ::send(fd_, backlog_.data() + backlog_sent_, backlog_.size() - backlog_sent_, MSG_NOSIGNAL);
    if (written < 0) {
      if (errno == EINTR) continue;
      if (errno == EAGAIN) break;
      close();
      return false;
    }
    backlog_sent_ += static_cast<std::size_t>(written);
    deadline_in(server_.limits_.idle_timeout_ms);
  }
  if (backlog_sent_ == backlog_.size()) {
    backlog_ = {};
    backlog_sent_ = 0;
  }
  return true;
}

void HttpConnection::after_flush() {
  if (backlog_.empty()) {
    if (upgraded_) return server_.hand_over(*this);
    if (file_ != nullptr) return send_file();
    if (state_ == State::lingering) return linger_or_close();
    if (peer_finished_) return close();
    if (drained_) {
      server_.loop_.post([waiting = std::exchange(drained_, {})] { waiting.resume(); });
    }
  }
  watch();
}

void HttpConnection::resume_input() {
  bool const ready = fd_ >= 0 && state_ == State::reading && backlog_.empty();
  if (ready && !input_.empty()) process(input_, /*owned=*/true);
}

void HttpConnection::watch() {
  bool const wants_input =
      (state_ == State::reading && backlog_.empty()) || state_ == State::lingering || takes_body();
  std::uint32_t const wanted =
      (wants_input && !peer_finished_ ? static_cast<std::uint32_t>(EPOLLIN) : 0U) |
      (backlog_.empty() && !file_waits_ ? 0U : static_cast<std::uint32_t>(EPOLLOUT)) |
      (stream_ != nullptr && stream_->endless() ? static_cast<std::uint32_t>(EPOLLRDHUP) : 0U);
  // While a request is served input stays watched until some arrives: most clients send none, and
  // switching twice would cost two system calls a request.
  bool const leave =
      state_ == State::serving && backlog_.empty() && !input_waits_ && stream_in_ == nullptr;
  if (fd_ < 0 || wanted == watched_ || leave) return;
  watched_ = wanted;
  server_.loop_.modify(fd_, watched_, *this);
}

// --- The end

void HttpConnection::upgrade(std::string_view accept_key,
                             std::optional<WsDeflateTerms> const& offered, std::string_view fields,
                             std::unique_ptr<WebSocketHandler> handler) {
  auto& out = server_.output_;
  out.append("HTTP/1.1 101 Switching Protocols\r\n");
  out.append(server_.date_field());
  out.append("Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ");
  out.append(accept_key).append("\r\n");
  if (offered && server_.websockets_.limits().compression) {
    deflate_ = offered;
    out.append("Sec-WebSocket-Extensions: ").append(deflate_answer(*offered)).append("\r\n");
  }
  out.append(fields).append("\r\n");
  upgraded_ = true;
  websocket_ = std::move(handler);
}

void HttpConnection::linger_or_close() {
  if (!refused_ || peer_finished_) return close();
  // The client may still be sending; closing now would reset the connection under the answer.
  refused_ = false;
  input_ = {};
  ::shutdown(fd_, SHUT_WR);
  deadline_in(server_.limits_.linger_ms);
  watch();
}

void HttpConnection::deadline_in(std::int64_t milliseconds) {
  deadline_ns_ = server_.loop_.now_ns() + milliseconds * 1'000'000;
  if (!timer_.armed() || deadline_ns_ < armed_ns_) {
    armed_ns_ = deadline_ns_;
    timer_.arm(server_.loop_.timers(), armed_ns_);
  }
}

void HttpConnection::on_timer() {
  auto const now_ns = server_.loop_.now_ns();
  if (state_ == State::serving && stream_in_ != nullptr && stream_in_->open()) {
    auto const window_ms = server_.limits_.body_timeout_ms;
    auto const pace = server_.limits_.body_bytes_per_second_min;
    auto const wanted = pace * static_cast<std::uint64_t>(window_ms) / 1000;
    deadline_in(window_ms);
    if (stream_in_->starved(std::max<std::uint64_t>(wanted, 1))) {
      break_off_body({408, "The body did not arrive in time."});
    }
    return;
  }
  bool const busy =
      state_ == State::serving || (state_ == State::streaming && backlog_.empty() && !file_waits_);
  if (busy) return deadline_in(server_.limits_.idle_timeout_ms);
  if (now_ns < deadline_ns_) {
    armed_ns_ = deadline_ns_;
    timer_.arm(server_.loop_.timers(), armed_ns_);
    return;
  }
  if (state_ == State::reading && backlog_.empty() && (head_begun_ || body_ != nullptr)) {
    deadline_in(server_.limits_.linger_ms);
    if (body_ != nullptr) {
      refuse({408, "The body did not arrive in time."}, head_of_body());
    } else {
      refuse({408, "The request head did not arrive in time."});
    }
    return flush();
  }
  close();
}

void HttpConnection::close() {
  if (sends_together_) server_.send_all();
  if (fd_ < 0) return;
  if (reads_together_ || body_waits_) server_.forget(*this);
  timer_.cancel();
  server_.loop_.remove(fd_, *this);
  ::close(std::exchange(fd_, -1));
  if (stream_ != nullptr) std::exchange(stream_, nullptr)->abandon();
  file_.reset();
  if (auto const unread = std::exchange(stream_in_, nullptr)) {
    unread->break_off({400, "The connection ended before the body did."});
    server_.loop_.post([unread] { unread->wake(); });
  }
  if (drained_) {
    server_.loop_.post([waiting = std::exchange(drained_, {})] { waiting.resume(); });
  }
  server_.drop(*this);
}

}  // namespace subforge::net
