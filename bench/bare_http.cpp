// The practical limit for a keep-alive GET: one epoll loop that reads to the blank line, whatever
// stands before it, and sends the same bytes every time. One recv and one send per request.
//
//   bare_http --port P --answer FILE
//
// The file holds a whole HTTP answer; run.py takes it from the server that is compared with this.

#include <array>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "common.hpp"

namespace subforge::bench {
namespace {

constexpr std::array<std::string_view, 2> kArguments{"port", "answer"};
constexpr std::uint64_t kListener = ~0ULL;

class Server {
 public:
  Server(std::uint16_t port, std::string answer)
      : listener_(listen_on(port)), answer_(std::move(answer)) {
    poller_.add(listener_.get(), EPOLLIN, kListener);
  }

  [[noreturn]] void serve() {
    for (;;) {
      for (auto const& event : poller_.wait(-1)) {
        if (event.data.u64 == kListener) {
          accept_all();
        } else {
          on_ready(static_cast<int>(event.data.u64));
        }
      }
    }
  }

 private:
  struct Client {
    Descriptor socket;
    std::string partial;  // The part of a request that came without its end.
  };

  void accept_all() {
    for (;;) {
      Descriptor socket = accept_from(listener_);
      if (!socket.is_open()) return;
      auto const fd = static_cast<std::size_t>(socket.get());
      if (fd >= clients_.size()) clients_.resize(fd + 64);
      poller_.add(socket.get(), EPOLLIN, fd);
      clients_[fd] = Client{std::move(socket), {}};
    }
  }

  void on_ready(int fd) {
    Client& client = clients_[static_cast<std::size_t>(fd)];
    auto const received = receive(fd, scratch_);
    bool alive = !received.ended;
    if (client.partial.empty()) {
      std::string_view rest = received.bytes;
      alive = alive && answer_all(fd, rest);
      client.partial = rest;
    } else {
      client.partial += received.bytes;
      std::string_view rest = client.partial;
      alive = alive && answer_all(fd, rest);
      client.partial.erase(0, client.partial.size() - rest.size());
    }
    if (!alive) client = Client{};
  }

  // Answers every request that has come whole and leaves the rest; false when the client is gone.
  // A client that does not take its answer at once is not one that measures anything.
  bool answer_all(int fd, std::string_view& rest) {
    for (;;) {
      auto const* end = static_cast<char const*>(::memmem(rest.data(), rest.size(), "\r\n\r\n", 4));
      if (end == nullptr) return true;
      rest.remove_prefix(static_cast<std::size_t>(end + 4 - rest.data()));
      if (send_some(fd, answer_) != static_cast<std::int64_t>(answer_.size())) return false;
    }
  }

  Poller poller_;
  Descriptor listener_;
  std::string answer_;
  std::vector<Client> clients_;  // By descriptor.
  std::array<char, kScratchBytes> scratch_;
};

int serve(Arguments const& arguments) {
  raise_descriptor_limit();
  auto const server =
      std::make_unique<Server>(arguments.port(), read_file(arguments.text("answer")));
  server->serve();
}

}  // namespace
}  // namespace subforge::bench

int main(int argc, char** argv) {
  return subforge::bench::run(argc, argv, subforge::bench::kArguments, subforge::bench::serve);
}
