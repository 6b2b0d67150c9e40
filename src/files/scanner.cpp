#include "files/scanner.hpp"

#include <arpa/inet.h>
#include <netdb.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "base/text.hpp"
#include "base/time.hpp"
#include "runtime/process.hpp"

namespace subforge::files {
namespace {

constexpr std::size_t kChunkBytes = 64U << 10;
constexpr std::size_t kReplyBytesMax = 4096;
constexpr int kInfectedExit = 1;  // Of clamscan and those that are called like it.
constexpr std::size_t kFindingBytesMax = 200;
constexpr int kConnectAgainMs = 20;
constexpr std::int64_t kTurnMs = 20;  // Between looks at whether a command may be started.

std::unexpected<Error> no_verdict(std::string cause) {
  return fail(ErrorCode::internal, std::move(cause));
}

// A connection that is given up at a moment that is known from the start.
class Conversation {
 public:
  explicit Conversation(std::int64_t timeout_ms)
      : deadline_ns_(monotonic_ns() + timeout_ms * 1'000'000) {}

  bool connect(ScannerTarget const& target);
  bool send_all(std::string_view bytes);
  // Each chunk has its length before it; one of no length ends the stream.
  bool send_chunk(std::string_view bytes) {
    std::uint32_t const length = htonl(static_cast<std::uint32_t>(bytes.size()));
    return send_all({reinterpret_cast<char const*>(&length), sizeof length}) && send_all(bytes);
  }
  bool send_file(int fd);
  std::string receive_reply();

 private:
  bool connect_to(int family, sockaddr const* address, socklen_t size);
  // Until there is something to do; false when the time is over.
  [[nodiscard]] bool wait(short events) const;

  std::int64_t const deadline_ns_;
  Descriptor socket_;
};

bool Conversation::wait(short events) const {
  for (;;) {
    auto const left_ms = (deadline_ns_ - monotonic_ns()) / 1'000'000;
    if (left_ms <= 0) return false;
    pollfd one{socket_.get(), events, 0};
    auto const code = ::poll(&one, 1, static_cast<int>(std::min<std::int64_t>(left_ms, 60'000)));
    if (code > 0) return true;
    if (code < 0 && errno != EINTR) return false;
  }
}

bool Conversation::connect_to(int family, sockaddr const* address, socklen_t size) {
  socket_ = Descriptor(::socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  // A local one whose queue is full says EAGAIN and cannot be waited for.
  while (::connect(socket_.get(), address, size) != 0) {
    if (errno == EISCONN) return true;
    if (errno == EAGAIN && monotonic_ns() < deadline_ns_) {
      ::poll(nullptr, 0, kConnectAgainMs);
      continue;
    }
    if (errno != EINPROGRESS || !wait(POLLOUT)) return false;
    int error = 0;
    socklen_t bytes = sizeof error;
    ::getsockopt(socket_.get(), SOL_SOCKET, SO_ERROR, &error, &bytes);
    return error == 0;
  }
  return true;
}

bool Conversation::connect(ScannerTarget const& target) {
  if (target.kind == ScannerTarget::Kind::clamd_socket) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (target.path.size() >= sizeof address.sun_path) return false;
    std::memcpy(address.sun_path, target.path.data(), target.path.size());
    return connect_to(AF_UNIX, reinterpret_cast<sockaddr const*>(&address), sizeof address);
  }
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  if (::getaddrinfo(target.path.c_str(), target.port.c_str(), &hints, &found) != 0) return false;
  bool connected = false;
  for (auto* one = found; one != nullptr && !connected; one = one->ai_next) {
    connected = connect_to(one->ai_family, one->ai_addr, one->ai_addrlen);
  }
  ::freeaddrinfo(found);
  return connected;
}

bool Conversation::send_all(std::string_view bytes) {
  while (!bytes.empty()) {
    auto const sent = ::send(socket_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent < 0 && (errno == EAGAIN || errno == EINTR)) {
      if (!wait(POLLOUT)) return false;
      continue;
    }
    if (sent <= 0) return false;
    bytes.remove_prefix(static_cast<std::size_t>(sent));
  }
  return true;
}

bool Conversation::send_file(int fd) {
  std::string buffer(kChunkBytes, '\0');
  for (off_t at = 0;;) {
    auto const got = ::pread(fd, buffer.data(), buffer.size(), at);
    if (got < 0) return false;
    // An early verdict ends the connection; what it says is still to be read.
    if (!send_chunk(std::string_view(buffer).substr(0, static_cast<std::size_t>(got)))) return true;
    if (got == 0) return true;
    at += got;
  }
}

std::string Conversation::receive_reply() {
  std::string reply;
  std::array<char, kReplyBytesMax> buffer;
  while (reply.size() < kReplyBytesMax && reply.find('\0') == std::string::npos) {
    auto const got = ::recv(socket_.get(), buffer.data(), buffer.size(), 0);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
      if (!wait(POLLIN)) break;
      continue;
    }
    if (got <= 0) break;
    reply.append(buffer.data(), static_cast<std::size_t>(got));
  }
  return reply;
}

}  // namespace

Result<ScannerTarget> ScannerTarget::parse(std::string_view text) {
  ScannerTarget target;
  if (text.empty()) return target;
  constexpr std::string_view kClamd = "clamd:";
  constexpr std::string_view kCommand = "command:";
  if (text.starts_with(kCommand)) {
    target.kind = Kind::command;
    for (auto const part : split_list(text.substr(kCommand.size()), ' ')) {
      target.command.emplace_back(part);
    }
    if (!target.command.empty()) return target;
  } else if (text.starts_with(kClamd)) {
    auto const place = text.substr(kClamd.size());
    auto const colon = place.rfind(':');
    target.kind = place.starts_with('/') ? Kind::clamd_socket : Kind::clamd_address;
    target.path = place.substr(0, target.kind == Kind::clamd_socket ? place.npos : colon);
    if (target.kind == Kind::clamd_socket) return target;
    if (colon != std::string_view::npos && parse_number<std::uint16_t>(place.substr(colon + 1))) {
      target.port = place.substr(colon + 1);
      return target;
    }
  }
  return fail(ErrorCode::invalid, "MALWARE_SCANNER=" + std::string(text) +
                                      ": allowed is clamd:/path/of/socket, clamd:host:port or"
                                      " command:program with arguments");
}

Result<std::optional<std::string>> parse_clamd_reply(std::string_view reply) {
  constexpr std::string_view kStream = "stream: ";
  constexpr std::string_view kFound = " FOUND";
  constexpr std::string_view kTooLong = "INSTREAM size limit exceeded";
  reply = trim(reply.substr(0, reply.find_first_of(std::string_view("\0\n", 2))));
  if (reply == "stream: OK") return std::nullopt;
  if (reply.starts_with(kStream)) {
    auto const finding = reply.substr(kStream.size());
    if (finding.ends_with(kFound)) {
      return std::string(finding.substr(0, finding.size() - kFound.size()));
    }
  }
  if (reply.starts_with(kTooLong)) {
    return fail(ErrorCode::too_large, "it is longer than the malware scanner takes");
  }
  return no_verdict("clamd answered: " + std::string(reply.empty() ? "nothing" : reply));
}

Scanner::Verdict Scanner::ask_clamd(int fd) const {
  Conversation conversation(timeout_seconds_ * 1'000);
  if (!conversation.connect(target_)) return no_verdict("clamd cannot be reached");
  if (!conversation.send_all(std::string_view("zINSTREAM\0", 10)) || !conversation.send_file(fd)) {
    return no_verdict("clamd does not take the file");
  }
  return parse_clamd_reply(conversation.receive_reply());
}

// Waits for its turn among the commands, as long as one of them may take.
Task<Scanner::Verdict> Scanner::ask_command(std::string path) {
  auto const deadline_ns = monotonic_ns() + timeout_seconds_ * 1'000'000'000;
  while (commands_.fetch_add(1) >= kCommandsMax) {
    --commands_;
    if (monotonic_ns() >= deadline_ns) {
      co_return fail(ErrorCode::unavailable, "Too many files wait for the malware scanner");
    }
    co_await EventLoop::current()->sleep_ms(kTurnMs);
  }
  auto verdict = co_await run_command(std::move(path));
  --commands_;
  co_return verdict;
}

Task<Scanner::Verdict> Scanner::run_command(std::string path) const {
  ProcessOptions options;
  options.command = target_.command;
  options.command.push_back(std::move(path));
  options.environment = {"PATH=/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin"};
  options.limits.time_ms = timeout_seconds_ * 1000;
  std::string last;
  Process process(*EventLoop::current(), std::move(options), [&](std::string_view line) {
    if (!line.empty()) last = line.substr(0, kFindingBytesMax);
  });
  auto const end = co_await process.run();
  if (!end) co_return no_verdict("the command cannot be started");
  if (end->success()) co_return std::nullopt;
  if (end->cause == ProcessCause::none && end->exit_code == kInfectedExit) {
    co_return last.empty() ? std::string("malware") : last;
  }
  co_return no_verdict("the command failed: " + end->errors);
}

// A scanner that is away leaves every file without one; a line now and then tells that as well.
void Scanner::note(Error const& cause) {
  auto const count = ++without_verdict_;
  auto const now_ns = monotonic_ns();
  auto last_ns = logged_ns_.load();
  if (last_ns != 0 && now_ns - last_ns < kLogNs) return;
  if (!logged_ns_.compare_exchange_strong(last_ns, now_ns)) return;
  logger_.warning(fail_open_ ? "a file was stored without a malware scan"
                             : "a file was refused without a malware scan",
                  {{"cause", cause.message}, {"files_so_far", count}});
}

Task<Result<void>> Scanner::check(IncomingBlob const& blob) {
  Verdict verdict = std::nullopt;
  if (target_.kind == ScannerTarget::Kind::none) co_return {};
  if (target_.kind == ScannerTarget::Kind::command) {
    verdict = co_await ask_command(blob.path());
  } else {
    auto ask = [&] { return ask_clamd(blob.descriptor()); };
    verdict = co_await pool_.run(ask);
  }
  if (verdict) {
    if (!*verdict) co_return {};
    co_return fail(ErrorCode::invalid, "malware was found: " + **verdict);
  }
  auto const& cause = verdict.error();
  // That too many wait says nothing of the scanner: whoever sends many does not get past it. Nor
  // does whoever makes a file longer than it takes.
  if (cause.code == ErrorCode::unavailable) co_return std::unexpected(cause);
  if (cause.code == ErrorCode::too_large) co_return fail(ErrorCode::invalid, cause.message);
  note(cause);
  if (fail_open_) co_return {};
  co_return fail(ErrorCode::unavailable, "Files cannot be scanned for malware at the moment");
}

}  // namespace subforge::files
