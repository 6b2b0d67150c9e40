// What the programs in bench/ share: arguments, loopback sockets, clocks, and the CPU time that a
// server has used. Everything throws std::runtime_error; run() prints it and ends with status 2.
// Standard library and POSIX only, so that no measured code takes part in measuring.
#pragma once

#include <sys/epoll.h>

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace subforge::bench {

// Exit statuses: what was measured is worth nothing if an answer was wrong.
inline constexpr int kWrongAnswers = 1;
inline constexpr int kCannotRun = 2;

inline constexpr std::size_t kScratchBytes = 256UL << 10;

// The command line as `--name value` pairs; a name that is not known is an error.
class Arguments {
 public:
  Arguments(std::span<char*> words, std::span<std::string_view const> known);

  [[nodiscard]] bool has(std::string_view name) const { return values_.contains(name); }
  [[nodiscard]] std::string const& text(std::string_view name) const;
  [[nodiscard]] std::string text(std::string_view name, std::string_view otherwise) const;
  [[nodiscard]] std::int64_t number(std::string_view name, std::int64_t otherwise) const;
  [[nodiscard]] std::uint16_t port() const;  // --port, which every program needs

 private:
  std::map<std::string, std::string, std::less<>> values_;
};

// Calls `program` with the arguments and turns what it throws into a message and kCannotRun.
int run(int argc, char** argv, std::span<std::string_view const> known,
        std::function<int(Arguments const&)> const& program);

[[nodiscard]] std::string read_file(std::string const& path);
void write_file(std::string const& path, std::string_view content);

// An open file descriptor, closed at the end.
class Descriptor {
 public:
  Descriptor() = default;
  explicit Descriptor(int fd) : fd_(fd) {}
  Descriptor(Descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~Descriptor() { close(); }

  void close();
  [[nodiscard]] int get() const { return fd_; }
  [[nodiscard]] bool is_open() const { return fd_ >= 0; }

 private:
  int fd_ = -1;
};

void raise_descriptor_limit();

// Both give non-blocking sockets of 127.0.0.1 that send without delay.
[[nodiscard]] Descriptor listen_on(std::uint16_t port);
[[nodiscard]] Descriptor connect_to(std::uint16_t port);
// The same, but if it is not read, the two kernels together take some hundred kilobytes of what the
// other side sends, where they usually take megabytes.
[[nodiscard]] Descriptor connect_narrowly_to(std::uint16_t port);
// Takes one waiting connection; not open if there is none.
[[nodiscard]] Descriptor accept_from(Descriptor const& listener);

// What one recv gave. Not even one byte and not `ended` means: nothing there yet.
struct Received {
  std::string_view bytes;
  bool ended = false;
};
[[nodiscard]] Received receive(int fd, std::span<char> into);
// How many bytes the socket took, or -1 if it is dead.
[[nodiscard]] std::int64_t send_some(int fd, std::string_view bytes);

// Level-triggered epoll; `key` comes back in data.u64.
class Poller {
 public:
  Poller();
  void add(int fd, std::uint32_t events, std::uint64_t key);
  void modify(int fd, std::uint32_t events, std::uint64_t key);
  // Waits for events; `timeout_ms` -1 waits for ever.
  [[nodiscard]] std::span<epoll_event const> wait(int timeout_ms);

 private:
  Descriptor epoll_;
  std::array<epoll_event, 1024> events_{};
};

[[nodiscard]] std::int64_t monotonic_ns();
[[nodiscard]] std::int64_t own_cpu_ns();

// Another process, as far as its cost goes. Pid 0 stands for none and costs nothing.
class ServerProcess {
 public:
  explicit ServerProcess(std::int64_t pid);

  // User and system time of all threads, those that have ended included, to the nanosecond; unlike
  // /proc/<pid>/schedstat, which knows one thread.
  [[nodiscard]] std::int64_t cpu_ns() const;
  // The same of the first thread alone, to a tick of the kernel's.
  [[nodiscard]] std::int64_t first_thread_cpu_ns() const;
  // How often a thread went to sleep: a server that never catches up with its load hardly does.
  [[nodiscard]] std::int64_t sleeps() const;
  // Memory that it has resident; 0 without a process.
  [[nodiscard]] std::int64_t resident_bytes() const;

 private:
  std::int64_t pid_;
  clockid_t clock_ = 0;
};

// The value below which `share` (0 to 1) of the values lie; reorders them.
[[nodiscard]] double quantile(std::vector<std::int64_t>& values, double share);

}  // namespace subforge::bench
