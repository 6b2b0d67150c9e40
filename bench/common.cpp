#include "common.hpp"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <system_error>
#include <utility>

#include <fmt/format.h>

namespace subforge::bench {

namespace {

[[noreturn]] void throw_errno(std::string_view what) {
  throw std::system_error(errno, std::generic_category(), std::string(what));
}

int checked(int result, std::string_view what) {
  if (result < 0) throw_errno(what);
  return result;
}

sockaddr_in loopback(std::uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

void send_without_delay(int fd) {
  int const on = 1;
  checked(::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on), "TCP_NODELAY");
}

std::int64_t read_clock(clockid_t clock) {
  timespec now{};
  checked(::clock_gettime(clock, &now), "clock_gettime");
  return std::int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

}  // namespace

Arguments::Arguments(std::span<char*> words, std::span<std::string_view const> known) {
  for (std::size_t index = 0; index < words.size(); index += 2) {
    std::string_view const word = words[index];
    if (!word.starts_with("--") || std::ranges::find(known, word.substr(2)) == known.end()) {
      throw std::runtime_error(
          fmt::format("what is {}? Known: --{}", word, fmt::join(known, " --")));
    }
    if (index + 1 == words.size()) throw std::runtime_error(fmt::format("{} needs a value", word));
    values_[std::string(word.substr(2))] = words[index + 1];
  }
}

std::string const& Arguments::text(std::string_view name) const {
  auto const found = values_.find(name);
  if (found == values_.end()) throw std::runtime_error(fmt::format("--{} is missing", name));
  return found->second;
}

std::string Arguments::text(std::string_view name, std::string_view otherwise) const {
  return has(name) ? text(name) : std::string(otherwise);
}

std::int64_t Arguments::number(std::string_view name, std::int64_t otherwise) const {
  if (!has(name)) return otherwise;
  std::string const& word = text(name);
  std::int64_t value = 0;
  auto const [end, error] = std::from_chars(word.data(), word.data() + word.size(), value);
  if (error != std::errc{} || end != word.data() + word.size() || value < 0) {
    throw std::runtime_error(fmt::format("--{} takes a number from 0 on, not {}", name, word));
  }
  return value;
}

std::uint16_t Arguments::port() const {
  std::int64_t const value = number("port", 0);
  if (value < 1 || value > 65535) throw std::runtime_error("--port is missing or out of range");
  return static_cast<std::uint16_t>(value);
}

int run(int argc, char** argv, std::span<std::string_view const> known,
        std::function<int(Arguments const&)> const& program) {
  try {
    auto const words = std::span(argv, static_cast<std::size_t>(argc)).subspan(1);
    return program(Arguments(words, known));
  } catch (std::exception const& error) {
    fmt::print(stderr, "{}: {}\n", argv[0], error.what());
    return kCannotRun;
  }
}

std::string read_file(std::string const& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error("cannot read " + path);
  std::ostringstream content;
  content << file.rdbuf();
  return std::move(content).str();
}

void write_file(std::string const& path, std::string_view content) {
  std::ofstream file(path, std::ios::binary);
  file << content;
  if (!file.flush()) throw std::runtime_error("cannot write " + path);
}

void Descriptor::close() {
  if (fd_ >= 0) ::close(std::exchange(fd_, -1));
}

void raise_descriptor_limit() {
  rlimit limit{};
  checked(::getrlimit(RLIMIT_NOFILE, &limit), "getrlimit");
  limit.rlim_cur = limit.rlim_max;
  checked(::setrlimit(RLIMIT_NOFILE, &limit), "setrlimit");
}

Descriptor listen_on(std::uint16_t port) {
  Descriptor listener(
      checked(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), "socket"));
  int const on = 1;
  checked(::setsockopt(listener.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on), "SO_REUSEADDR");
  auto const address = loopback(port);
  checked(::bind(listener.get(), reinterpret_cast<sockaddr const*>(&address), sizeof address),
          "bind");
  checked(::listen(listener.get(), 4096), "listen");
  return listener;
}

namespace {

Descriptor connect_on(Descriptor socket, std::uint16_t port) {
  auto const address = loopback(port);
  checked(::connect(socket.get(), reinterpret_cast<sockaddr const*>(&address), sizeof address),
          "connect");
  checked(::fcntl(socket.get(), F_SETFL, O_NONBLOCK), "O_NONBLOCK");
  send_without_delay(socket.get());
  return socket;
}

Descriptor tcp_socket() {
  return Descriptor(checked(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket"));
}

}  // namespace

Descriptor connect_to(std::uint16_t port) { return connect_on(tcp_socket(), port); }

Descriptor connect_narrowly_to(std::uint16_t port) {
  auto socket = tcp_socket();
  int const receive_bytes = 4096;
  // The buffer that the other side's kernel gives a connection grows with its segments.
  int const segment_bytes = 536;
  checked(::setsockopt(socket.get(), SOL_SOCKET, SO_RCVBUF, &receive_bytes, sizeof receive_bytes),
          "SO_RCVBUF");
  checked(::setsockopt(socket.get(), IPPROTO_TCP, TCP_MAXSEG, &segment_bytes, sizeof segment_bytes),
          "TCP_MAXSEG");
  return connect_on(std::move(socket), port);
}

Descriptor accept_from(Descriptor const& listener) {
  Descriptor socket(::accept4(listener.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
  if (socket.is_open()) {
    send_without_delay(socket.get());
  } else if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED) {
    throw_errno("accept");
  }
  return socket;
}

Received receive(int fd, std::span<char> into) {
  ssize_t const count = ::recv(fd, into.data(), into.size(), 0);
  if (count > 0) return {{into.data(), static_cast<std::size_t>(count)}};
  bool const not_yet = count < 0 && (errno == EAGAIN || errno == EINTR);
  return {{}, !not_yet};
}

std::int64_t send_some(int fd, std::string_view bytes) {
  ssize_t const count = ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
  if (count >= 0) return count;
  return errno == EAGAIN || errno == EINTR ? 0 : -1;
}

Poller::Poller() : epoll_(checked(::epoll_create1(EPOLL_CLOEXEC), "epoll_create1")) {}

void Poller::add(int fd, std::uint32_t events, std::uint64_t key) {
  epoll_event event{.events = events, .data = {.u64 = key}};
  checked(::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event), "epoll_ctl");
}

void Poller::modify(int fd, std::uint32_t events, std::uint64_t key) {
  epoll_event event{.events = events, .data = {.u64 = key}};
  checked(::epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, fd, &event), "epoll_ctl");
}

std::span<epoll_event const> Poller::wait(int timeout_ms) {
  int const count =
      ::epoll_wait(epoll_.get(), events_.data(), static_cast<int>(events_.size()), timeout_ms);
  if (count < 0 && errno != EINTR) throw_errno("epoll_wait");
  return std::span(events_).first(static_cast<std::size_t>(std::max(count, 0)));
}

std::int64_t monotonic_ns() { return read_clock(CLOCK_MONOTONIC); }

std::int64_t own_cpu_ns() { return read_clock(CLOCK_PROCESS_CPUTIME_ID); }

ServerProcess::ServerProcess(std::int64_t pid) : pid_(pid) {
  if (pid == 0) return;
  int const error = ::clock_getcpuclockid(static_cast<pid_t>(pid), &clock_);
  if (error != 0) throw std::system_error(error, std::generic_category(), "clock_getcpuclockid");
}

std::int64_t ServerProcess::cpu_ns() const { return pid_ == 0 ? 0 : read_clock(clock_); }

std::int64_t ServerProcess::first_thread_cpu_ns() const {
  std::int64_t cpu_ns = 0;
  if (pid_ != 0) std::ifstream(fmt::format("/proc/{}/schedstat", pid_)) >> cpu_ns;
  return cpu_ns;
}

std::int64_t ServerProcess::sleeps() const {
  if (pid_ == 0) return 0;
  std::int64_t total = 0;
  for (auto const& task : std::filesystem::directory_iterator(fmt::format("/proc/{}/task", pid_))) {
    std::ifstream status(task.path() / "status");
    for (std::string word; status >> word;) {
      std::int64_t count = 0;
      if (word == "voluntary_ctxt_switches:" && status >> count) total += count;
    }
  }
  return total;
}

std::int64_t ServerProcess::resident_bytes() const {
  if (pid_ == 0) return 0;
  std::ifstream pages(fmt::format("/proc/{}/statm", pid_));
  std::int64_t all = 0;
  std::int64_t resident = 0;
  pages >> all >> resident;
  return resident * ::sysconf(_SC_PAGESIZE);
}

double quantile(std::vector<std::int64_t>& values, double share) {
  if (values.empty()) return 0;
  auto const last = static_cast<double>(values.size() - 1);
  auto const place = values.begin() + static_cast<std::ptrdiff_t>(share * last);
  std::ranges::nth_element(values, place);
  return static_cast<double>(*place);
}

}  // namespace subforge::bench
