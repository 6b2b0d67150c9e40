#include "net/peer.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>

#include <algorithm>
#include <cstring>

namespace subforge::net {
namespace {

constexpr std::array<std::uint8_t, 12> kMappedPrefix{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

bool is_mapped(std::array<std::uint8_t, 16> const& address) {
  return std::equal(kMappedPrefix.begin(), kMappedPrefix.end(), address.begin());
}

}  // namespace

Peer Peer::from(sockaddr_storage const& from) {
  Peer peer;
  if (from.ss_family == AF_INET) {
    sockaddr_in in{};
    std::memcpy(&in, &from, sizeof in);
    std::ranges::copy(kMappedPrefix, peer.address.begin());
    std::memcpy(peer.address.data() + kMappedPrefix.size(), &in.sin_addr, 4);
    peer.port = ntohs(in.sin_port);
  } else if (from.ss_family == AF_INET6) {
    sockaddr_in6 in{};
    std::memcpy(&in, &from, sizeof in);
    std::memcpy(peer.address.data(), &in.sin6_addr, 16);
    peer.port = ntohs(in.sin6_port);
  }
  return peer;
}

bool Peer::is_loopback() const {
  if (is_mapped(address)) return address[12] == 127;
  std::array<std::uint8_t, 16> loopback{};
  loopback[15] = 1;
  return address == loopback;
}

std::string Peer::address_text() const {
  char text[INET6_ADDRSTRLEN];
  bool const v4 = is_mapped(address);
  void const* const bytes = v4 ? address.data() + kMappedPrefix.size() : address.data();
  if (::inet_ntop(v4 ? AF_INET : AF_INET6, bytes, text, sizeof text) == nullptr) return {};
  return text;
}

}  // namespace subforge::net
