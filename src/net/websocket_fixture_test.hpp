// A WebSocketServer on a loop of its own, and the other ends of its connections.
#pragma once

#include <sys/socket.h>
#include <unistd.h>

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>

#include "net/websocket_server.hpp"

namespace subforge::net {

class WebSocketFixture : public testing::Test {
 protected:
  // What a handler saw; outlives the handler, which its connection owns.
  struct Seen {
    WebSocketConnection* connection = nullptr;
    std::vector<std::string> texts;
    std::vector<std::string> binaries;
    std::size_t other_frames = 0;
    int closed = 0;
    // Tells handlers that outlive a test's body that nobody looks any more.
    std::shared_ptr<bool> looking = std::make_shared<bool>(true);
  };

  class SeeingHandler final : public WebSocketHandler {
   public:
    explicit SeeingHandler(Seen& seen) : seen_(seen), looking_(seen.looking) {}
    void on_open(WebSocketConnection& connection) override { seen_.connection = &connection; }
    void on_text(std::string_view message) override { seen_.texts.emplace_back(message); }
    void on_binary(std::string_view message) override { seen_.binaries.emplace_back(message); }
    void on_other_frames(std::size_t count) override { seen_.other_frames += count; }
    void on_closed() override {
      if (!looking_.expired()) ++seen_.closed;
    }

   private:
    Seen& seen_;
    std::weak_ptr<bool> looking_;
  };

  // The other end of a connection.
  class Client {
   public:
    explicit Client(int fd, bool compression = false)
        : fd_(fd), decoder_({}, WsRole::client, compression ? &inflater_ : nullptr) {}
    ~Client() { ::close(fd_); }
    Client(Client const&) = delete;
    Client& operator=(Client const&) = delete;

    void send_bytes(std::string_view bytes) {
      ASSERT_EQ(::send(fd_, bytes.data(), bytes.size(), 0), static_cast<ssize_t>(bytes.size()));
    }
    void send(WsOpcode opcode, std::string_view payload, bool final = true) {
      std::string bytes;
      append_client_frame(bytes, {opcode, payload, {1, 2, 3, 4}, final});
      send_bytes(bytes);
    }
    void send_close(std::uint16_t code) {
      char const payload[] = {static_cast<char>(code >> 8), static_cast<char>(code & 0xff)};
      send(WsOpcode::close, {payload, sizeof payload});
    }
    void read() {
      for (char buffer[65536];;) {
        ssize_t const got = ::recv(fd_, buffer, sizeof buffer, 0);
        ended |= got == 0;
        if (got <= 0) return;
        received_bytes += static_cast<std::size_t>(got);
        std::span<char> bytes(buffer, static_cast<std::size_t>(got));
        for (auto event = decoder_.next(bytes); event.kind != WsEvent::Kind::need_more;
             event = decoder_.next(bytes)) {
          take(event);
        }
      }
    }

    std::vector<std::string> texts;
    std::vector<std::string> pongs;
    int pings = 0;
    std::optional<std::uint16_t> close_code;
    std::string close_reason;
    std::size_t received_bytes = 0;
    bool broken = false;
    bool ended = false;

   private:
    void take(WsEvent const& event) {
      switch (event.kind) {
        case WsEvent::Kind::text: texts.emplace_back(event.payload); break;
        case WsEvent::Kind::ping: ++pings; break;
        case WsEvent::Kind::pong: pongs.emplace_back(event.payload); break;
        case WsEvent::Kind::close:
          close_code = event.close_code;
          close_reason = event.payload;
          break;
        default: broken = true;
      }
    }

    int fd_;
    WsInflater inflater_;
    WsDecoder decoder_;
  };

  void serve(WebSocketLimits const& limits = {}) {
    server_ = std::make_unique<WebSocketServer>(loop_, limits);
  }
  std::unique_ptr<Client> connect(Seen& seen, std::string early = {},
                                  std::optional<WsDeflateTerms> const& deflate = std::nullopt) {
    if (server_ == nullptr) serve();
    int fds[2];
    EXPECT_EQ(0, ::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds));
    server_->adopt(fds[1], Peer{}, std::make_unique<SeeingHandler>(seen), std::move(early),
                   deflate);
    return std::make_unique<Client>(fds[0], deflate.has_value());
  }
  // Lets the loop work off what is there, and `wait_ms` more.
  void turn(std::int64_t wait_ms = 1) {
    Timer stop([this] { loop_.stop(); });
    stop.arm(loop_.timers(), monotonic_ns() + wait_ms * 1'000'000);
    loop_.run();
  }
  void one_turn() {
    loop_.post([this] { loop_.stop(); });
    loop_.run();
  }
  // Turns until `condition` holds; false if it does not within ten seconds.
  template <class Condition>
  bool eventually(Client& client, Condition condition) {
    auto const deadline_ns = monotonic_ns() + 10'000'000'000;
    while (!condition() && monotonic_ns() < deadline_ns) {
      turn();
      client.read();
    }
    return condition();
  }

  EventLoop loop_;
  std::unique_ptr<WebSocketServer> server_;
};

}  // namespace subforge::net
