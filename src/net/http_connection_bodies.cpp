// Bodies that are not held in memory: requests' that are streamed to their handler, and answers'
// that lie in files.
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

#include "base/json_writer.hpp"
#include "net/http_connection.hpp"
#include "runtime/blocking_pool.hpp"

namespace subforge::net {
namespace {

constexpr std::size_t kFileBytesPerTurn = 1U << 20;  // Then the other connections have their turn.

}  // namespace

// --- Requests

std::size_t HttpConnection::begin_stream(std::string_view input, BodyPlan const& plan) {
  auto const& head = server_.head_;
  auto const length = head.chunked ? std::nullopt : head.content_length;
  stream_in_ = std::make_shared<BodyStream>(server_, id_, length, plan.bytes_max,
                                            head.expect_continue && input.empty());
  auto rest = input;
  stream_in_->feed(rest);
  state_ = State::serving;
  deadline_in(server_.limits_.body_timeout_ms);
  server_.service_.serve_stream(*this, head, stream_in_);
  return input.size() - rest.size();
}

void HttpConnection::receive_body() {
  auto const stream = stream_in_;  // Whoever is woken may have answered.
  std::ptrdiff_t got = 0;
  if (!input_.empty()) {
    // More came with the head than the block had room for.
    std::string_view rest = input_;
    stream->feed(rest);
    got = static_cast<std::ptrdiff_t>(input_.size() - rest.size());
    input_.erase(0, static_cast<std::size_t>(got));
  } else if (stream->length_) {
    got = stream->receive(fd_);
  } else {
    auto& scratch = server_.loop_.scratch();
    got = ::recv(fd_, scratch.data(), scratch.size(), 0);
    std::string_view rest(scratch.data(), static_cast<std::size_t>(std::max<ssize_t>(got, 0)));
    stream->feed(rest);
    input_.assign(rest);  // The next request, or what the block had no room for.
  }
  bool const ended = got == 0 && stream->open();
  if (ended || (got < 0 && errno != EAGAIN && errno != EINTR)) return close();
  stream->wake();
}

void HttpConnection::resume_body() {
  input_waits_ = false;
  if (!input_.empty()) {
    server_.loop_.post([&server = server_, id = id_] {
      auto* const self = server.find(id);
      if (self != nullptr && !self->input_.empty() && self->takes_body()) self->receive_body();
    });
  }
  watch();
}

void HttpConnection::break_off_body(ParseError const& error) {
  auto const stream = stream_in_;
  stream->break_off(error);
  stream->wake();
}

void HttpConnection::send_continue() {
  if (state_ != State::serving || stream_in_ == nullptr || stream_in_->received_ > 0) return;
  std::string outer;
  outer.swap(server_.output_);
  server_.output_.append("HTTP/1.1 100 Continue\r\n\r\n");
  flush();
  server_.output_.swap(outer);
}

// --- Answers

void HttpConnection::answer(Answer const& answer, std::unique_ptr<FileBody> body) {
  auto& out = server_.output_;
  write_head(answer, "Content-Length: ");
  append_decimal(out, static_cast<std::int64_t>(body->size()));
  out.append("\r\n\r\n");
  if (head_only_) return finish_answer();
  state_ = State::streaming;
  file_ = std::move(body);
}

void HttpConnection::send_file() {
  auto const file = file_;
  if (!file->in_memory()) {
    file_waits_ = false;
    auto read = [file, &server = server_, id = id_] {
      file->read_ahead();
      server.loop().post([&server, id] {
        if (auto* const self = server.find(id); self != nullptr && self->file_ != nullptr) {
          self->send_file();
        }
      });
    };
    watch();
    if (file->pool_.try_submit(std::move(read))) return;
  }
  auto const sent = file->send(fd_, kFileBytesPerTurn);
  if (sent == FileBody::Sent::broken) return close();
  deadline_in(server_.limits_.idle_timeout_ms);
  file_waits_ = sent != FileBody::Sent::all;
  if (file_waits_) return watch();
  file_.reset();
  if (server_.shutting_down_) keep_alive_ = false;
  finish_answer();
  after_flush();
  // What was pipelined behind it; not from here, where another answer may be under construction.
  server_.loop_.post([&server = server_, id = id_] {
    if (auto* const self = server.find(id)) self->resume_input();
  });
}

}  // namespace subforge::net
