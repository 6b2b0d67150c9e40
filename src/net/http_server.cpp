#include "net/http_server.hpp"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <ctime>
#include <exception>
#include <utility>

#include "net/http_connection.hpp"

namespace subforge::net {

HttpServer::HttpServer(EventLoop& loop, HttpService& service, HttpServerLimits const& limits,
                       WebSocketLimits const& websocket_limits)
    : loop_(loop),
      service_(service),
      limits_(limits),
      websockets_(loop, websocket_limits),
      batch_(limits.io_uring) {}

HttpServer::~HttpServer() = default;

void HttpServer::adopt(int fd, Peer const& peer) {
  auto const id = next_id_++;
  connections_.emplace(id, std::make_unique<HttpConnection>(*this, id, fd, peer));
  count_.store(connections_.size(), std::memory_order_relaxed);
}

void HttpServer::adopt_to_refuse(int fd, Peer const& peer) {
  adopt(fd, peer);
  auto* const connection = find(next_id_ - 1);
  connection->refuse({503, "The server has too many connections; try again later."});
  connection->flush();
}

HttpConnection* HttpServer::find(std::uint64_t id) const {
  auto const found = connections_.find(id);
  return found == connections_.end() ? nullptr : found->second.get();
}

void HttpServer::drop(HttpConnection& connection) {
  auto const found = connections_.find(connection.id_);
  if (found == connections_.end()) return;
  // Its own code may still be on the stack; it is destroyed when the turn ends.
  loop_.at_turn_end([dead = std::move(found->second)] {});
  connections_.erase(found);
  count_.store(connections_.size(), std::memory_order_relaxed);
}

void HttpServer::hand_over(HttpConnection& connection) {
  connection.timer_.cancel();
  loop_.remove(connection.fd_, connection);
  int const fd = std::exchange(connection.fd_, -1);
  auto* const home = connection.websocket_->home();
  if (home == nullptr || home == &websockets_) {
    websockets_.adopt(fd, connection.peer_, std::move(connection.websocket_),
                      std::move(connection.input_), connection.deflate_);
  } else {
    home->loop().post(
        [home, fd, peer = connection.peer_, handler = std::move(connection.websocket_),
         early = std::move(connection.input_), deflate = connection.deflate_]() mutable {
          home->adopt(fd, peer, std::move(handler), std::move(early), deflate);
        });
  }
  drop(connection);
}

void HttpServer::end_turn_soon() {
  if (std::exchange(turn_end_asked_, true)) return;
  loop_.at_turn_end([this] {
    turn_end_asked_ = false;
    receive_all();
    send_all();
    receive_bodies();
  });
}

void HttpServer::read_together(HttpConnection& connection) {
  connection.reads_together_ = true;
  readable_.push_back(&connection);
  end_turn_soon();
}

void HttpServer::receive_body_last(HttpConnection& connection) {
  if (!std::exchange(connection.body_waits_, true)) bodies_.push_back(&connection);
  end_turn_soon();
}

void HttpServer::forget(HttpConnection& connection) {
  if (std::exchange(connection.reads_together_, false)) {
    std::ranges::replace(readable_, &connection, nullptr);
  }
  if (std::exchange(connection.body_waits_, false)) std::erase(bodies_, &connection);
}

void HttpServer::receive_all() {
  constexpr std::size_t kSlice = SocketBatch::kOpsMax;
  for (std::size_t begin = 0; begin < readable_.size(); begin += kSlice) {
    auto const slice = std::span(readable_).subspan(begin);
    receive(slice.first(std::min(slice.size(), kSlice)));
  }
  readable_.clear();
}

void HttpServer::receive(std::span<HttpConnection*> from) {
  auto const take = [](HttpConnection*& entry) {
    auto* const connection = std::exchange(entry, nullptr);
    if (connection != nullptr) connection->reads_together_ = false;
    return connection;
  };
  if (from.size() < SocketBatch::kFew) {
    for (auto*& entry : from) {
      if (auto* const connection = take(entry)) connection->read();
    }
    return;
  }
  if (read_buffers_ == nullptr) {
    read_buffers_ =
        std::make_unique_for_overwrite<char[]>(SocketBatch::kOpsMax * kTogetherReadBytes);
  }
  auto const buffer = [this](std::size_t i) {
    return std::span(read_buffers_.get() + i * kTogetherReadBytes, kTogetherReadBytes);
  };
  for (std::size_t i = 0; i < from.size(); ++i) {
    batch_.add_receive(from[i] != nullptr ? from[i]->fd_ : -1, buffer(i));
  }
  // A copy: what follows from the first may be sent before the last has its turn.
  std::array<int, SocketBatch::kOpsMax> results;
  std::ranges::copy(batch_.run(), results.begin());
  for (std::size_t i = 0; i < from.size(); ++i) {
    auto* const connection = take(from[i]);
    if (connection == nullptr) continue;
    if (results[i] <= 0) {
      connection->receive_failed(-results[i]);
      continue;
    }
    auto const got = static_cast<std::size_t>(results[i]);
    connection->received({buffer(i).data(), got});
    bool const goes_on = got == kTogetherReadBytes && connection->fd_ >= 0 &&
                         connection->state_ == HttpConnection::State::reading;
    if (goes_on) connection->read();
  }
}

bool HttpServer::send_together(HttpConnection& connection) {
  bool const fits = output_.size() <= kTogetherAnswerBytesMax &&
                    together_bytes_.size() + output_.size() <= kTogetherBytesMax;
  if (!fits) return false;
  auto const now_ns = monotonic_ns();
  if (together_.empty()) together_since_ns_ = now_ns;
  auto const begin = together_bytes_.size();
  together_bytes_.append(output_);
  together_.push_back({&connection, begin, together_bytes_.size()});
  connection.sends_together_ = true;
  if (now_ns - together_since_ns_ > kTogetherNs) {
    send_all();
  } else {
    end_turn_soon();
  }
  return true;
}

void HttpServer::send_all() {
  if (together_.empty()) return;
  // What follows from a failure may ask for further sends.
  auto sends = std::exchange(together_, {});
  auto bytes = std::exchange(together_bytes_, {});
  std::size_t failed = 0;
  for (std::size_t begin = 0; begin < sends.size(); begin += SocketBatch::kOpsMax) {
    auto slice = std::span(sends).subspan(begin);
    slice = slice.first(std::min(slice.size(), SocketBatch::kOpsMax));
    for (auto const& send : slice) {
      batch_.add_send(send.connection->fd_, send.of(bytes));
    }
    auto const results = batch_.run();
    for (std::size_t i = 0; i < slice.size(); ++i) {
      auto& connection = *slice[i].connection;
      connection.sends_together_ = false;
      auto const sent = static_cast<std::size_t>(std::max(results[i], 0));
      auto const rest = slice[i].of(bytes).substr(sent);
      if (rest.empty()) continue;
      connection.backlog_.assign(rest);
      sends[failed++] = {&connection, 0, 0, results[i]};
    }
  }
  for (auto const& send : std::span(sends).first(failed)) send.connection->settle(send.result);
  if (!together_.empty()) return;
  sends.clear();
  bytes.clear();
  together_.swap(sends);  // Their memory is of use in the next turn.
  together_bytes_.swap(bytes);
}

// Those that are left are reported by epoll again, as what they wait with is not read yet.
void HttpServer::receive_bodies() {
  auto const begun_ns = monotonic_ns();
  for (auto left = bodies_.size(); left > 0 && !bodies_.empty(); --left) {
    auto& connection = *bodies_.front();
    bodies_.pop_front();
    connection.body_waits_ = false;
    if (connection.takes_body()) connection.receive_body();
    if (monotonic_ns() - begun_ns > kBodiesNs) return;
  }
}

void HttpServer::begin_shutdown() {
  shutting_down_ = true;
  std::vector<HttpConnection*> idle;
  for (auto const& [id, connection] : connections_) {
    bool const between_requests = connection->state_ == HttpConnection::State::reading &&
                                  !connection->head_begun_ && connection->body_ == nullptr &&
                                  connection->backlog_.empty();
    if (between_requests) idle.push_back(connection.get());
  }
  for (auto* const connection : idle) connection->close();
  websockets_.begin_shutdown();
}

std::string_view HttpServer::date_field() {
  std::int64_t const second = loop_.wall_now().micros / 1'000'000;
  if (second != date_second_) {
    date_second_ = second;
    std::time_t const time = second;
    std::tm parts{};
    ::gmtime_r(&time, &parts);
    char text[48];
    // IMF-fixdate (RFC 9110 section 5.6.7); the C locale's names are the English ones it asks for.
    auto const length =
        std::strftime(text, sizeof text, "Date: %a, %d %b %Y %H:%M:%S GMT\r\n", &parts);
    date_.assign(text, length);
  }
  return date_;
}

void HttpService::serve_stream(HttpConnection&, RequestHead const&, std::shared_ptr<BodyStream>) {
  std::terminate();  // It planned what it does not do.
}

void PendingAnswer::complete(Answer const& answer) const {
  complete(answer, std::unique_ptr<BodySource>());
}

void PendingAnswer::complete(Answer const& answer, std::unique_ptr<BodySource> body) const {
  if (server_ == nullptr) return;
  if (auto* const connection = server_->find(connection_id_)) {
    connection->complete(answer, std::move(body));
  }
}

void PendingAnswer::complete(Answer const& answer, std::unique_ptr<FileBody> body) const {
  if (server_ == nullptr) return;
  if (auto* const connection = server_->find(connection_id_)) {
    connection->complete(answer, std::move(body));
  }
}

}  // namespace subforge::net
