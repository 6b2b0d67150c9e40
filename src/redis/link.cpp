#include "redis/link.hpp"

#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <initializer_list>
#include <span>

#include "base/json_writer.hpp"
#include "base/random.hpp"

namespace subforge::redis {
namespace {

constexpr std::size_t kKeptBytesMax = 64U << 10;  // Larger buffers are given back when empty.

void append_command(std::string& out, std::initializer_list<std::string_view> arguments) {
  redis::append_command(out, std::span(arguments.begin(), arguments.size()));
}

}  // namespace

struct Link::Address {
  sockaddr_storage address{};
  socklen_t length = 0;
};

namespace {

template <class Address>
Result<std::vector<Address>> look_up(RedisUrl const& url, int flags) {
  addrinfo hints{};
  hints.ai_flags = AI_NUMERICSERV | flags;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  auto const port = std::to_string(url.port);
  if (int const code = ::getaddrinfo(url.host.c_str(), port.c_str(), &hints, &found); code != 0) {
    return std::unexpected(redis_unavailable(url.host + ": " + ::gai_strerror(code)));
  }
  std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> const owner(found, &::freeaddrinfo);
  std::vector<Address> addresses;
  for (auto const* entry = found; entry != nullptr; entry = entry->ai_next) {
    auto& address = addresses.emplace_back();
    std::memcpy(&address.address, entry->ai_addr, entry->ai_addrlen);
    address.length = entry->ai_addrlen;
  }
  std::ranges::reverse(addresses);
  return addresses;
}

}  // namespace

void append_command(std::string& out, std::span<std::string_view const> arguments) {
  out.push_back('*');
  append_decimal(out, static_cast<std::int64_t>(arguments.size()));
  for (auto const argument : arguments) {
    out.append("\r\n$");
    append_decimal(out, static_cast<std::int64_t>(argument.size()));
    out.append("\r\n");
    out.append(argument);
  }
  out.append("\r\n");
}

Error redis_unavailable(std::string context) {
  return {ErrorCode::unavailable, std::string(kUnavailable), std::move(context)};
}

Link::Link(EventLoop& loop, BlockingPool& resolver, RedisOptions options, Owner& owner,
           Logger logger)
    : loop_(loop),
      resolver_(resolver),
      options_(std::move(options)),
      owner_(owner),
      logger_(logger),
      timer_([this] { on_timer(); }),
      parser_(options_.replies),
      self_(std::make_shared<Link*>(this)) {}

Link::~Link() {
  *self_ = nullptr;
  close_socket();
}

void Link::start() {
  if (state_ == State::stopped) connect();
}

void Link::stop() {
  bool const was_up = up();
  close_socket();
  timer_.cancel();
  state_ = State::stopped;
  ++connections_;
  if (was_up) owner_.on_down(redis_unavailable("the connection was closed"));
}

// --- Connecting

void Link::connect() {
  ++connections_;
  timer_.arm(loop_.timers(), monotonic_ns() + options_.connect_timeout_ms * 1'000'000);
  // What is an address already needs no other thread.
  if (auto numeric = look_up<Address>(options_.url, AI_NUMERICHOST)) {
    return connect_to(std::move(numeric));
  }
  resolve_on_pool();
}

void Link::resolve_on_pool() {
  state_ = State::resolving;
  bool const taken = resolver_.try_submit(
      [url = options_.url, self = self_, loop = &loop_, connection = connections_] {
        loop->post([self, connection, addresses = look_up<Address>(url, 0)]() mutable {
          auto* const link = *self;
          if (link == nullptr || link->connections_ != connection) return;
          link->connect_to(std::move(addresses));
        });
      });
  if (!taken) break_off("nobody was free to look up " + options_.url.host);
}

void Link::connect_to(Result<std::vector<Address>> addresses) {
  if (!addresses) return break_off(std::move(addresses.error().context));
  addresses_ = *std::move(addresses);
  last_failure_ = "it has no address";
  try_next_address();
}

void Link::try_next_address() {
  close_socket();
  while (!addresses_.empty()) {
    auto const address = addresses_.back();
    addresses_.pop_back();
    fd_ = ::socket(address.address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd_ < 0) {
      last_failure_ = std::strerror(errno);
      continue;
    }
    int const on = 1;
    ::setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    ::setsockopt(fd_, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    auto const* const generic = reinterpret_cast<sockaddr const*>(&address.address);
    if (::connect(fd_, generic, address.length) == 0 || errno == EINPROGRESS) {
      state_ = State::connecting;
      watched_ = EPOLLOUT;
      loop_.add(fd_, watched_, *this);
      return;
    }
    last_failure_ = std::strerror(errno);
    ::close(fd_);
    fd_ = -1;
  }
  break_off(last_failure_);
}

void Link::begin_login() {
  state_ = State::login;
  auto const& url = options_.url;
  auto const database = std::to_string(url.database);
  auto& out = output_;
  login_replies_ = 3;
  if (!url.password.empty()) {
    ++login_replies_;
    if (url.user.empty()) {
      append_command(out, {"AUTH", url.password});
    } else {
      append_command(out, {"AUTH", url.user, url.password});
    }
  }
  append_command(out, {"SELECT", database});
  append_command(out, {"CLIENT", "SETNAME", options_.client_name});
  append_command(out, {"CLIENT", "ID"});
  flush();
}

void Link::take_login_reply(Reply const& reply) {
  --login_replies_;
  // A server that forbids to set the name, which is for people only, or to ask for the number can
  // do without.
  if (reply.is_error() && login_replies_ > 1) return break_off(reply.text);
  if (login_replies_ > 0) return;
  connection_id_ = reply.integer;
  timer_.cancel();
  state_ = State::up;
  reconnect_ms_ = 0;
  logger_.info("connected to Redis", {{"server", options_.url.address()}});
  health_ = std::make_shared<RedisHealth const>(true, Timestamp::now(), std::string());
  owner_.on_up();
}

void Link::on_timer() {
  if (state_ == State::pausing) return connect();
  break_off("it does not answer");
}

void Link::break_off(std::string cause) {
  if (state_ == State::stopped || state_ == State::pausing) return;
  bool const was_up = up();
  close_socket();
  pause();
  auto const before = health();
  auto const since = was_up ? Timestamp::now() : before.since;
  health_ = std::make_shared<RedisHealth const>(false, since, cause);
  if (was_up || before.cause != cause) {
    logger_.warning("no connection to Redis",
                    {{"server", options_.url.address()}, {"cause", cause}});
  }
  if (was_up) owner_.on_down(redis_unavailable(std::move(cause)));
}

void Link::pause() {
  state_ = State::pausing;
  ++connections_;
  reconnect_ms_ = reconnect_ms_ == 0 ? options_.reconnect_ms_min
                                     : std::min(reconnect_ms_ * 2, options_.reconnect_ms_max);
  auto const half = std::max<std::int64_t>(reconnect_ms_ / 2, 1);
  auto const spread = static_cast<std::int64_t>(fast_random() % static_cast<std::uint64_t>(half));
  timer_.arm(loop_.timers(), monotonic_ns() + (half + spread) * 1'000'000);
}

void Link::close_socket() {
  output_.clear();
  parser_.reset();
  if (fd_ < 0) return;
  loop_.remove(fd_, *this);
  ::close(fd_);
  fd_ = -1;
}

// --- Bytes

void Link::on_ready(std::uint32_t events) {
  if (state_ == State::connecting) {
    int failure = 0;
    socklen_t length = sizeof failure;
    ::getsockopt(fd_, SOL_SOCKET, SO_ERROR, &failure, &length);
    if (failure == 0 && (events & EPOLLOUT) == 0) failure = ECONNRESET;
    if (failure == 0) return begin_login();
    last_failure_ = std::strerror(failure);
    return try_next_address();
  }
  if ((events & EPOLLOUT) != 0) flush();
  if (fd_ >= 0 && (events & ~static_cast<std::uint32_t>(EPOLLOUT)) != 0) receive();
}

void Link::receive() {
  auto& scratch = loop_.scratch();
  auto const connection = connections_;
  for (std::size_t taken = 0; taken < options_.input_bytes_per_turn_max;) {
    ssize_t const got = ::recv(fd_, scratch.data(), scratch.size(), 0);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && errno == EAGAIN) return;
    if (got <= 0) {
      return break_off(got == 0 ? "the server closed the connection" : std::strerror(errno));
    }
    auto const bytes = static_cast<std::size_t>(got);
    taken += bytes;
    parser_.feed({scratch.data(), bytes});
    auto const self = self_;
    tell_replies();
    // Whoever was told may have ended this, or the connection.
    if (*self == nullptr || connections_ != connection) return;
    if (bytes < scratch.size()) return;
  }
}

void Link::tell_replies() {
  auto const connection = connections_;
  while (connections_ == connection) {
    auto reply = parser_.next();
    if (!reply) return break_off(reply.error().message + ": " + reply.error().context);
    if (!*reply) break;
    if (state_ == State::login) {
      take_login_reply(**reply);
    } else {
      owner_.on_reply(std::move(**reply));
    }
  }
  if (connections_ == connection) owner_.on_replies_end();
}

void Link::flush_soon() {
  if (std::exchange(flush_queued_, true)) return;
  loop_.at_turn_end([self = self_] {
    if (auto* const link = *self) {
      link->flush_queued_ = false;
      if (link->fd_ >= 0) link->flush();
    }
  });
}

void Link::flush() {
  std::size_t sent = 0;
  while (sent < output_.size()) {
    auto const count = ::send(fd_, output_.data() + sent, output_.size() - sent, MSG_NOSIGNAL);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0 && errno == EAGAIN) break;
    if (count < 0) return break_off(std::strerror(errno));
    sent += static_cast<std::size_t>(count);
  }
  if (sent < output_.size()) {
    output_.erase(0, sent);
    return watch(EPOLLIN | EPOLLOUT);
  }
  output_.clear();
  if (output_.capacity() > kKeptBytesMax) output_ = {};
  watch(EPOLLIN);
}

void Link::watch(std::uint32_t events) {
  if (watched_ == events) return;
  watched_ = events;
  loop_.modify(fd_, events, *this);
}

}  // namespace subforge::redis
