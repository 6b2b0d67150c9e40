// A Redis server of the tests' own, on a free port of the loopback address, with its files in a
// temporary folder.
#pragma once

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace subforge::redis {

class TestServer {
 public:
  // `arguments` are more of the server's own, such as --requirepass.
  explicit TestServer(std::vector<std::string> arguments = {}) : arguments_(std::move(arguments)) {
    auto pattern = (std::filesystem::temp_directory_path() / "subforge-redis-XXXXXX").string();
    if (::mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("mkdtemp " + pattern);
    folder_ = pattern;
    // Somebody else may take the port between the look and the start.
    for (int attempt = 0; attempt < 5; ++attempt) {
      port_ = free_port();
      if (try_start()) return;
    }
    throw std::runtime_error("redis-server does not start; ./dev setup installs it");
  }
  ~TestServer() {
    stop();
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
  }
  TestServer(TestServer const&) = delete;
  TestServer& operator=(TestServer const&) = delete;

  [[nodiscard]] std::uint16_t port() const { return port_; }
  [[nodiscard]] std::string url(std::string const& path = "/0", std::string const& login = {}) {
    return "redis://" + login + "127.0.0.1:" + std::to_string(port_) + path;
  }

  // What was written before is there again, on the same port.
  void start() {
    if (!try_start()) throw std::runtime_error("redis-server does not start again");
  }
  void stop() { end(SIGTERM); }
  void kill() { end(SIGKILL); }
  // It stands still without letting go of its connections.
  void freeze() { ::kill(process_, SIGSTOP); }
  void thaw() { ::kill(process_, SIGCONT); }

 private:
  [[nodiscard]] static std::uint16_t free_port() {
    int const fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address = loopback(0);
    socklen_t length = sizeof address;
    ::bind(fd, reinterpret_cast<sockaddr const*>(&address), length);
    ::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &length);
    ::close(fd);
    return ntohs(address.sin_port);
  }
  [[nodiscard]] static sockaddr_in loopback(std::uint16_t port) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(port);
    return address;
  }

  bool try_start() {
    std::vector<std::string> words = {"redis-server", "--port", std::to_string(port_), "--bind",
                                      "127.0.0.1", "--dir", folder_.string(), "--save", "",
                                      // Kept over restarts, on disk at every write.
                                      "--appendonly", "yes", "--appendfsync", "always"};
    words.insert(words.end(), arguments_.begin(), arguments_.end());
    std::vector<char*> pointers;
    for (auto& word : words) pointers.push_back(word.data());
    pointers.push_back(nullptr);
    auto const log = (folder_ / "log").string();
    process_ = ::fork();
    if (process_ == 0) {
      int const out = ::open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0644);
      ::dup2(out, 1);
      ::dup2(out, 2);
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      ::execvp(pointers.front(), pointers.data());
      ::_exit(127);
    }
    for (int i = 0; i < 2'000; ++i) {
      if (answers()) return true;
      if (::waitpid(process_, nullptr, WNOHANG) != 0) break;
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    end(SIGKILL);
    return false;
  }

  // Any answer will do, -NOAUTH as well; -LOADING is none yet.
  [[nodiscard]] bool answers() const {
    int const fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    auto const address = loopback(port_);
    bool good = ::connect(fd, reinterpret_cast<sockaddr const*>(&address), sizeof address) == 0;
    std::array<char, 64> buffer{};
    if (good) good = ::send(fd, "PING\r\n", 6, MSG_NOSIGNAL) == 6;
    ssize_t const got = good ? ::recv(fd, buffer.data(), buffer.size(), 0) : 0;
    ::close(fd);
    std::string_view const answer(buffer.data(), static_cast<std::size_t>(got > 0 ? got : 0));
    return answer.starts_with("+PONG") || answer.starts_with("-NOAUTH");
  }

  void end(int signal) {
    if (process_ == 0) return;
    ::kill(process_, SIGCONT);
    ::kill(process_, signal);
    ::waitpid(process_, nullptr, 0);
    process_ = 0;
  }

  std::vector<std::string> arguments_;
  std::filesystem::path folder_;
  std::uint16_t port_ = 0;
  pid_t process_ = 0;
};

}  // namespace subforge::redis
