// Listening sockets: accepts connections on one loop and hands them out.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "base/log.hpp"
#include "base/result.hpp"
#include "net/peer.hpp"
#include "runtime/event_loop.hpp"

namespace subforge::net {

class Listener final : private IoHandler {
 public:
  using OnAccept = std::function<void(int fd, Peer const& peer)>;

  Listener(EventLoop& loop, Logger logger, OnAccept on_accept);
  ~Listener() { close(); }
  Listener(Listener const&) = delete;
  Listener& operator=(Listener const&) = delete;

  // Binds and listens; port 0 takes a free one. Error: unavailable, with a sentence that names the
  // address and the cause. `on_accept` owns the descriptors it is given.
  Result<void> listen(std::string const& host, std::uint16_t port);
  void close();
  [[nodiscard]] std::uint16_t port() const { return port_; }

 private:
  // Connections waiting in the kernel; the kernel caps it by net.core.somaxconn.
  static constexpr int kBacklog = 4096;
  static constexpr int kAcceptsPerTurn = 64;
  static constexpr std::int64_t kPauseNs = 100'000'000;

  void on_ready(std::uint32_t events) override;

  EventLoop& loop_;
  Logger logger_;
  OnAccept on_accept_;
  Timer resume_;
  int fd_ = -1;
  std::uint16_t port_ = 0;
};

}  // namespace subforge::net
