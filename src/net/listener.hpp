// Listening sockets: accepts connections on one loop and hands them out.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/log.hpp"
#include "base/result.hpp"
#include "net/peer.hpp"
#include "runtime/event_loop.hpp"

namespace subforge::net {

class Listener final {
 public:
  using OnAccept = std::function<void(int fd, Peer const& peer)>;

  Listener(EventLoop& loop, Logger logger, OnAccept on_accept);
  ~Listener();
  Listener(Listener const&) = delete;
  Listener& operator=(Listener const&) = delete;

  // Binds and listens on every address that `host` stands for (`localhost` is one of IPv4 and one
  // of IPv6), all on one port; port 0 takes a free one. Addresses of a family that this machine
  // does not have are passed over while one is left. Error: unavailable, with a sentence that names
  // the address and the cause. `on_accept` owns the descriptors it is given.
  Result<void> listen(std::string const& host, std::uint16_t port);
  void close();
  [[nodiscard]] std::uint16_t port() const { return port_; }

 private:
  class Socket;

  EventLoop& loop_;
  Logger logger_;
  OnAccept on_accept_;
  std::vector<std::unique_ptr<Socket>> sockets_;
  std::uint16_t port_ = 0;
};

}  // namespace subforge::net
