#include "net/listener.hpp"

#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include <fmt/format.h>

namespace subforge::net {
namespace {

// Connections waiting in the kernel; the kernel caps it by net.core.somaxconn.
constexpr int kBacklog = 4096;
constexpr int kAcceptsPerTurn = 64;
constexpr std::int64_t kPauseNs = 100'000'000;
// How often another free port is tried when one is free for one family of addresses alone.
constexpr int kFreePortTries = 16;

void set_option(int fd, int level, int option, int value) {
  ::setsockopt(fd, level, option, &value, sizeof value);
}

void set_port(sockaddr_storage& address, std::uint16_t port) {
  // Both families have it at the same place, but the standard does not say so.
  if (address.ss_family == AF_INET6) {
    reinterpret_cast<sockaddr_in6&>(address).sin6_port = htons(port);
  } else {
    reinterpret_cast<sockaddr_in&>(address).sin_port = htons(port);
  }
}

bool is_missing_family(int cause) { return cause == EAFNOSUPPORT || cause == EADDRNOTAVAIL; }

// A hosts file may give one address to a name twice.
bool is_repeated(addrinfo const* list, addrinfo const* entry) {
  for (; list != entry; list = list->ai_next) {
    if (list->ai_addrlen == entry->ai_addrlen &&
        std::memcmp(list->ai_addr, entry->ai_addr, entry->ai_addrlen) == 0) {
      return true;
    }
  }
  return false;
}

}  // namespace

// One address that is listened on.
class Listener::Socket final : private IoHandler {
 public:
  explicit Socket(Listener& listener)
      : listener_(listener), resume_([this] { listener_.loop_.modify(fd_, EPOLLIN, *this); }) {}
  ~Socket() {
    resume_.cancel();
    if (fd_ < 0) return;
    if (watched_) listener_.loop_.remove(fd_, *this);
    ::close(fd_);
  }
  Socket(Socket const&) = delete;
  Socket& operator=(Socket const&) = delete;

  // 0 or the errno of what failed.
  int bind(sockaddr_storage const& address, socklen_t length) {
    fd_ = ::socket(address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd_ < 0) return errno;
    set_option(fd_, SOL_SOCKET, SO_REUSEADDR, 1);
    set_option(fd_, IPPROTO_TCP, TCP_NODELAY, 1);  // Accepted sockets inherit it.
    // "::" is every address of both families; others are of one.
    bool const every =
        address.ss_family == AF_INET6 &&
        IN6_IS_ADDR_UNSPECIFIED(&reinterpret_cast<sockaddr_in6 const&>(address).sin6_addr);
    if (address.ss_family == AF_INET6) set_option(fd_, IPPROTO_IPV6, IPV6_V6ONLY, every ? 0 : 1);
    if (::bind(fd_, reinterpret_cast<sockaddr const*>(&address), length) != 0 ||
        ::listen(fd_, kBacklog) != 0) {
      return errno;
    }
    return 0;
  }

  [[nodiscard]] std::uint16_t port() const {
    sockaddr_storage bound{};
    socklen_t length = sizeof bound;
    ::getsockname(fd_, reinterpret_cast<sockaddr*>(&bound), &length);
    return Peer::from(bound).port;
  }

  void watch() {
    listener_.loop_.add(fd_, EPOLLIN, *this);
    watched_ = true;
  }

 private:
  void on_ready(std::uint32_t) override {
    // The callback may close the listener, and this socket with it, only from another turn.
    for (int i = 0; i < kAcceptsPerTurn; ++i) {
      sockaddr_storage from{};
      socklen_t length = sizeof from;
      int const fd =
          ::accept4(fd_, reinterpret_cast<sockaddr*>(&from), &length, SOCK_NONBLOCK | SOCK_CLOEXEC);
      if (fd >= 0) {
        listener_.on_accept_(fd, Peer::from(from));
      } else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
        // Level-triggered readiness would spin until a descriptor is free again.
        listener_.logger_.error("cannot accept connections for a moment",
                                {{"cause", std::strerror(errno)}});
        listener_.loop_.modify(fd_, 0, *this);
        resume_.arm(listener_.loop_.timers(), listener_.loop_.now_ns() + kPauseNs);
        return;
      } else if (errno == EAGAIN) {
        return;
      }
    }
  }

  Listener& listener_;
  Timer resume_;
  int fd_ = -1;
  bool watched_ = false;
};

Listener::Listener(EventLoop& loop, Logger logger, OnAccept on_accept)
    : loop_(loop), logger_(logger), on_accept_(std::move(on_accept)) {}

Listener::~Listener() = default;

Result<void> Listener::listen(std::string const& host, std::uint16_t port) {
  auto const refuse = [&](std::string_view cause) {
    return fail(ErrorCode::unavailable,
                fmt::format("Cannot listen on {}:{}: {}", host, port, cause));
  };
  // This name stands for the loopback addresses, whatever a resolver knows (RFC 6761, section 6.3);
  // without a name getaddrinfo gives just them.
  bool const is_local = host == "localhost";
  addrinfo hints{};
  hints.ai_flags = AI_NUMERICSERV | (is_local ? 0 : AI_PASSIVE);
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  int const code = ::getaddrinfo(is_local ? nullptr : host.c_str(), "0", &hints, &found);
  if (code != 0) {
    return refuse(::gai_strerror(code));
  }
  std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> const owner(found, &::freeaddrinfo);

  int cause = 0;
  for (int attempt = 0; attempt < (port == 0 ? kFreePortTries : 1); ++attempt) {
    std::vector<std::unique_ptr<Socket>> sockets;
    std::uint16_t chosen = port;
    int missing = 0;
    cause = 0;
    for (auto const* entry = found; entry != nullptr && cause == 0; entry = entry->ai_next) {
      if (is_repeated(found, entry)) continue;
      sockaddr_storage address{};
      std::memcpy(&address, entry->ai_addr, entry->ai_addrlen);
      set_port(address, chosen);
      auto socket = std::make_unique<Socket>(*this);
      if (int const failed = socket->bind(address, entry->ai_addrlen); failed == 0) {
        chosen = socket->port();
        sockets.push_back(std::move(socket));
      } else if (is_missing_family(failed)) {
        missing = failed;
      } else {
        cause = failed;
      }
    }
    if (cause == 0 && sockets.empty()) cause = missing;
    if (cause == 0) {
      sockets_ = std::move(sockets);
      port_ = chosen;
      for (auto const& socket : sockets_) socket->watch();
      return {};
    }
    if (cause != EADDRINUSE) break;
  }
  return refuse(cause == EADDRINUSE ? "the address is in use; stop the other server or choose"
                                      " another PORT"
                                    : std::strerror(cause));
}

void Listener::close() { sockets_.clear(); }

}  // namespace subforge::net
