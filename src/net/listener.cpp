#include "net/listener.hpp"

#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>

#include <fmt/format.h>

namespace subforge::net {
namespace {

void set_option(int fd, int level, int option, int value) {
  ::setsockopt(fd, level, option, &value, sizeof value);
}

}  // namespace

Listener::Listener(EventLoop& loop, Logger logger, OnAccept on_accept)
    : loop_(loop), logger_(logger), on_accept_(std::move(on_accept)), resume_([this] {
        if (fd_ >= 0) loop_.modify(fd_, EPOLLIN, *this);
      }) {}

Result<void> Listener::listen(std::string const& host, std::uint16_t port) {
  auto const refuse = [&](std::string_view cause) {
    return fail(ErrorCode::unavailable,
                fmt::format("Cannot listen on {}:{}: {}", host, port, cause));
  };
  addrinfo hints{};
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  if (int const code = ::getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &found);
      code != 0) {
    return refuse(::gai_strerror(code));
  }
  std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> const owner(found, &::freeaddrinfo);

  fd_ = ::socket(found->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd_ < 0) return refuse(std::strerror(errno));
  set_option(fd_, SOL_SOCKET, SO_REUSEADDR, 1);
  set_option(fd_, IPPROTO_TCP, TCP_NODELAY, 1);  // Accepted sockets inherit it.
  if (found->ai_family == AF_INET6) set_option(fd_, IPPROTO_IPV6, IPV6_V6ONLY, 0);
  if (::bind(fd_, found->ai_addr, found->ai_addrlen) != 0 || ::listen(fd_, kBacklog) != 0) {
    int const cause = errno;
    ::close(std::exchange(fd_, -1));
    return refuse(cause == EADDRINUSE ? "the address is in use; stop the other server or choose"
                                        " another PORT"
                                      : std::strerror(cause));
  }
  sockaddr_storage bound{};
  socklen_t length = sizeof bound;
  ::getsockname(fd_, reinterpret_cast<sockaddr*>(&bound), &length);
  port_ = Peer::from(bound).port;
  loop_.add(fd_, EPOLLIN, *this);
  return {};
}

void Listener::close() {
  resume_.cancel();
  if (fd_ < 0) return;
  loop_.remove(fd_, *this);
  ::close(std::exchange(fd_, -1));
}

void Listener::on_ready(std::uint32_t) {
  for (int i = 0; i < kAcceptsPerTurn && fd_ >= 0; ++i) {
    sockaddr_storage from{};
    socklen_t length = sizeof from;
    int const fd =
        ::accept4(fd_, reinterpret_cast<sockaddr*>(&from), &length, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0) {
      on_accept_(fd, Peer::from(from));
    } else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
      // Level-triggered readiness would spin until a descriptor is free again.
      logger_.error("cannot accept connections for a moment", {{"cause", std::strerror(errno)}});
      loop_.modify(fd_, 0, *this);
      resume_.arm(loop_.timers(), loop_.now_ns() + kPauseNs);
      return;
    } else if (errno == EAGAIN) {
      return;
    }
  }
}

}  // namespace subforge::net
