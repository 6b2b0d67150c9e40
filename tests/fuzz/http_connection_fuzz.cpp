// A whole HTTP connection over a socket pair: whatever bytes come, in whatever pieces, every
// request that is answered is answered in whole and in order, nothing crashes, and the answers
// depend on the bytes alone, never on how they were cut.
#include <sys/socket.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "net/http_connection.hpp"

namespace {

using namespace subforge;
using namespace subforge::net;

// Answers each request at once or later, as the path says, with what it was asked.
class Service final : public HttpService {
 public:
  BodyPlan plan_body(HttpConnection&, RequestHead const&) override { return {512}; }
  void serve(HttpConnection& connection, RequestHead const& head, std::string_view body) override {
    std::string text(head.method_text);
    text.append(" ").append(head.path).append(" ").append(std::to_string(body.size()));
    served.push_back(text);
    if (head.path.starts_with("/l")) {
      pending.emplace_back(connection.defer(), text);
    } else {
      connection.answer({200, "", text});
    }
  }
  void refuse(HttpConnection& connection, RequestHead const*, int status,
              std::string_view reason) override {
    connection.answer({status, "", reason});
  }
  std::vector<std::string> served;
  std::vector<std::pair<PendingAnswer, std::string>> pending;
};

struct Outcome {
  std::vector<std::string> served;
  std::size_t answers = 0;
};

void turn(EventLoop& loop) {
  loop.post([&loop] { loop.stop(); });
  loop.run();
}

std::string drain(int fd) {
  std::string all;
  for (char buffer[65536];;) {
    ssize_t const got = ::recv(fd, buffer, sizeof buffer, 0);
    if (got <= 0) return all;
    all.append(buffer, static_cast<std::size_t>(got));
  }
}

Outcome run(std::string_view bytes, std::size_t piece) {
  int fds[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds) != 0) std::abort();
  EventLoop loop;
  Service service;
  HttpServerLimits limits;
  limits.head.header_bytes_max = 2048;
  limits.head.target_bytes_max = 512;
  std::string received;
  {
    HttpServer server(loop, service, limits, WebSocketLimits{});
    server.adopt(fds[1], Peer{});
    std::size_t completed = 0;
    for (std::size_t at = 0; at < bytes.size(); at += piece) {
      auto const part = bytes.substr(at, piece);
      if (::send(fds[0], part.data(), part.size(), MSG_NOSIGNAL) < 0) break;
      turn(loop);
      while (completed < service.pending.size()) {
        auto const [answer, text] = service.pending[completed++];
        loop.post([answer, text] { answer.complete({200, "", text}); });
        turn(loop);
      }
      received += drain(fds[0]);
    }
    turn(loop);
    received += drain(fds[0]);
  }
  turn(loop);
  ::close(fds[0]);
  // Every request served has its answer, in order.
  Outcome outcome{service.served, 0};
  std::size_t from = 0;
  for (auto const& text : service.served) {
    auto const head_only = text.starts_with("HEAD ");
    auto const wanted = head_only ? std::string("HTTP/1.1 200 OK") : "\r\n\r\n" + text;
    auto const at = received.find(wanted, from);
    if (at == std::string::npos) std::abort();
    from = at + wanted.size();
    ++outcome.answers;
  }
  return outcome;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size) {
  if (size < 2 || size > 8192) return 0;
  std::string_view const bytes(reinterpret_cast<char const*>(data) + 1, size - 1);
  auto const whole = run(bytes, bytes.size());
  auto const cut = run(bytes, 1 + data[0] % 64);
  if (whole.served != cut.served) std::abort();
  return 0;
}
