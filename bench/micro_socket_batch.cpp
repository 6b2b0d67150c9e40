// What a short message to each of many TCP connections costs: by send(2), and by io_uring in
// batches.
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <string>
#include <vector>

#include <benchmark/benchmark.h>

#include "net/socket_batch.hpp"

namespace subforge::net {
namespace {

constexpr std::size_t kConnections = SocketBatch::kOpsMax;

// Both ends of connections over loopback.
class Connections {
 public:
  Connections() {
    int const listener = ::socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof address;
    auto* const any = reinterpret_cast<sockaddr*>(&address);
    ::bind(listener, any, length);
    ::listen(listener, kConnections);
    ::getsockname(listener, any, &length);
    for (std::size_t i = 0; i < kConnections; ++i) {
      receiving.push_back(::socket(AF_INET, SOCK_STREAM, 0));
      ::connect(receiving.back(), any, length);
      sending.push_back(::accept4(listener, nullptr, nullptr, SOCK_NONBLOCK));
      int const on = 1;
      ::setsockopt(sending.back(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    }
    ::close(listener);
  }
  ~Connections() {
    for (int const fd : sending) ::close(fd);
    for (int const fd : receiving) ::close(fd);
  }
  Connections(Connections const&) = delete;
  Connections& operator=(Connections const&) = delete;

  void drain() const {
    char buffer[4096];
    for (int const fd : receiving) ::recv(fd, buffer, sizeof buffer, 0);
  }

  std::vector<int> sending;
  std::vector<int> receiving;
};

// With 1 by io_uring, where the kernel has it.
void send_to_each(benchmark::State& state) {
  Connections const connections;
  SocketBatch batch(state.range(0) != 0);
  std::string const message(150, 'x');
  for (auto _ : state) {
    for (int const fd : connections.sending) batch.add_send(fd, message);
    for (int const sent : batch.run()) {
      if (sent != static_cast<int>(message.size())) state.SkipWithError("not sent");
    }
    state.PauseTiming();
    connections.drain();
    state.ResumeTiming();
  }
  state.SetLabel(batch.by_ring() ? "io_uring" : "send");
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(kConnections));
}
BENCHMARK(send_to_each)->Arg(0)->Arg(1);

}  // namespace
}  // namespace subforge::net

BENCHMARK_MAIN();
