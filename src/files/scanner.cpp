#include "files/scanner.hpp"

#include <arpa/inet.h>
#include <netdb.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cstring>

#include "base/text.hpp"
#include "runtime/process.hpp"

namespace subforge::files {
namespace {

constexpr std::size_t kChunkBytes = 64U << 10;
constexpr std::size_t kReplyBytesMax = 4096;
constexpr int kInfectedExit = 1;  // Of clamscan and those that are called like it.
constexpr std::size_t kFindingBytesMax = 200;

std::unexpected<Error> no_verdict(std::string cause) {
  return fail(ErrorCode::internal, std::move(cause));
}

Descriptor connect_to(ScannerTarget const& target, timeval timeout) {
  auto const open = [&](int family, sockaddr const* address, socklen_t size) {
    Descriptor socket(::socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0));
    ::setsockopt(socket.get(), SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof timeout);
    ::setsockopt(socket.get(), SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout);
    return ::connect(socket.get(), address, size) == 0 ? std::move(socket) : Descriptor();
  };
  if (target.kind == ScannerTarget::Kind::clamd_socket) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (target.path.size() >= sizeof address.sun_path) return {};
    std::memcpy(address.sun_path, target.path.data(), target.path.size());
    return open(AF_UNIX, reinterpret_cast<sockaddr const*>(&address), sizeof address);
  }
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  if (::getaddrinfo(target.path.c_str(), target.port.c_str(), &hints, &found) != 0) return {};
  Descriptor socket;
  for (auto* one = found; one != nullptr && !socket.valid(); one = one->ai_next) {
    socket = open(one->ai_family, one->ai_addr, one->ai_addrlen);
  }
  ::freeaddrinfo(found);
  return socket;
}

bool send_all(int socket, std::string_view bytes) {
  while (!bytes.empty()) {
    auto const sent = ::send(socket, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent <= 0) return false;
    bytes.remove_prefix(static_cast<std::size_t>(sent));
  }
  return true;
}

// Each chunk has its length before it; one of no length ends the stream.
bool send_chunk(int socket, std::string_view bytes) {
  std::uint32_t const length = htonl(static_cast<std::uint32_t>(bytes.size()));
  return send_all(socket, {reinterpret_cast<char const*>(&length), sizeof length}) &&
         send_all(socket, bytes);
}

bool send_file(int socket, int fd) {
  std::string buffer(kChunkBytes, '\0');
  for (off_t at = 0;;) {
    auto const got = ::pread(fd, buffer.data(), buffer.size(), at);
    if (got < 0) return false;
    // An early verdict ends the connection; what it says is still to be read.
    if (!send_chunk(socket, std::string_view(buffer).substr(0, static_cast<std::size_t>(got)))) {
      return true;
    }
    if (got == 0) return true;
    at += got;
  }
}

std::string receive_reply(int socket) {
  std::string reply;
  std::array<char, kReplyBytesMax> buffer;
  while (reply.size() < kReplyBytesMax && reply.find('\0') == std::string::npos) {
    auto const got = ::recv(socket, buffer.data(), buffer.size(), 0);
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
  reply = trim(reply.substr(0, reply.find_first_of(std::string_view("\0\n", 2))));
  if (reply == "stream: OK") return std::nullopt;
  if (reply.starts_with(kStream)) {
    auto const finding = reply.substr(kStream.size());
    if (finding.ends_with(kFound)) {
      return std::string(finding.substr(0, finding.size() - kFound.size()));
    }
  }
  return no_verdict("clamd answered: " + std::string(reply.empty() ? "nothing" : reply));
}

Scanner::Verdict Scanner::ask_clamd(int fd) const {
  timeval timeout{};
  timeout.tv_sec = timeout_seconds_;
  auto const socket = connect_to(target_, timeout);
  if (!socket.valid()) return no_verdict("clamd cannot be reached");
  if (!send_all(socket.get(), std::string_view("zINSTREAM\0", 10)) ||
      !send_file(socket.get(), fd)) {
    return no_verdict("clamd does not take the file");
  }
  return parse_clamd_reply(receive_reply(socket.get()));
}

Task<Scanner::Verdict> Scanner::run_command(std::string path) {
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

Task<Result<void>> Scanner::check(IncomingBlob const& blob) {
  Verdict verdict = std::nullopt;
  if (target_.kind == ScannerTarget::Kind::none) co_return {};
  if (target_.kind == ScannerTarget::Kind::command) {
    verdict = co_await run_command(blob.path());
  } else {
    auto ask = [&] { return ask_clamd(blob.descriptor()); };
    verdict = co_await pool_.run(ask);
    // That too many wait says nothing of the scanner: whoever sends many does not get past it.
    if (!verdict && verdict.error().code == ErrorCode::unavailable) {
      co_return std::unexpected(verdict.error());
    }
  }
  if (!verdict) {
    if (fail_open_) co_return {};
    co_return fail(ErrorCode::unavailable, "Files cannot be scanned for malware at the moment");
  }
  if (!*verdict) co_return {};
  co_return fail(ErrorCode::invalid, "malware was found: " + **verdict);
}

}  // namespace subforge::files
