#include "net/http_server.hpp"

#include <unistd.h>

#include <ctime>
#include <exception>

#include "net/http_connection.hpp"

namespace subforge::net {

HttpServer::HttpServer(EventLoop& loop, HttpService& service, HttpServerLimits const& limits,
                       WebSocketLimits const& websocket_limits)
    : loop_(loop), service_(service), limits_(limits), websockets_(loop, websocket_limits) {}

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
