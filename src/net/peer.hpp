// The other end of a connection.
#pragma once

#include <sys/socket.h>

#include <array>
#include <cstdint>
#include <string>

namespace subforge::net {

struct Peer {
  std::array<std::uint8_t, 16> address{};  // IPv4 in its IPv6-mapped form (RFC 4291 2.5.5.2).
  std::uint16_t port = 0;

  [[nodiscard]] static Peer from(sockaddr_storage const& from);
  [[nodiscard]] bool is_loopback() const;
  [[nodiscard]] std::string address_text() const;  // IPv4 in dotted form.
};

}  // namespace subforge::net
