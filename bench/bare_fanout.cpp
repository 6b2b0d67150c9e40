// The practical limit for fan-out: a WebSocket server with one room that does nothing but pass on.
// Messages that came in one turn of its loop go into one buffer, and each receiver gets that buffer
// with one send; only the number within a message differs from the one it was given.
//
//   bare_fanout --port P --message FILE
//
// The file holds the text of one delivered message with its `seq-` number; run.py takes it from the
// server that is compared with this, so that both deliver the same bytes.

#include <array>
#include <cstring>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include <fmt/format.h>

#include "common.hpp"
#include "websocket.hpp"

namespace subforge::bench {
namespace {

constexpr std::array<std::string_view, 2> kArguments{"port", "message"};
constexpr std::uint64_t kListener = ~0ULL;
constexpr std::size_t kPendingBytesMax = 64UL << 20;  // A receiver further behind is dropped.
constexpr std::string_view kJoined = R"({"type":"join_room","data":{"status":"joined"}})";

struct Client {
  Descriptor socket;
  bool is_open = false;  // The handshake is done.
  bool is_member = false;
  std::string partial;  // What came without its end.
  std::string pending;  // What the socket did not take yet.
};

class Server {
 public:
  Server(std::uint16_t port, std::string_view message) : listener_(listen_on(port)) {
    auto const number_at = message.find(kNumberMark);
    if (number_at == std::string_view::npos) throw std::runtime_error("the message has no number");
    append_frame_header(frame_, Opcode::text, message.size());
    number_at_ = frame_.size() + number_at;
    frame_ += message;
    poller_.add(listener_.get(), EPOLLIN, kListener);
  }

  [[noreturn]] void serve() {
    for (;;) {
      for (auto const& event : poller_.wait(-1)) {
        if (event.data.u64 == kListener) {
          accept_all();
        } else {
          on_ready(clients_[event.data.u64], event.events);
        }
      }
      flush_batch();
    }
  }

 private:
  void accept_all() {
    for (;;) {
      Descriptor socket = accept_from(listener_);
      if (!socket.is_open()) return;
      auto const fd = static_cast<std::size_t>(socket.get());
      if (fd >= clients_.size()) clients_.resize(fd + 1024);
      poller_.add(socket.get(), EPOLLIN, fd);
      clients_[fd] = Client{.socket = std::move(socket), .partial = {}, .pending = {}};
    }
  }

  void on_ready(Client& client, std::uint32_t events) {
    if (!client.socket.is_open()) return;
    if ((events & EPOLLOUT) != 0) send_pending(client);
    if ((events & ~static_cast<std::uint32_t>(EPOLLOUT)) == 0) return;
    auto const kept = client.partial.size();
    std::memcpy(scratch_.data(), client.partial.data(), kept);
    auto const received = receive(client.socket.get(), std::span(scratch_).subspan(kept));
    if (received.ended) return drop(client);
    auto rest = std::span(scratch_).first(kept + received.bytes.size());
    if (!client.is_open) rest = read_handshake(client, rest);
    if (client.is_open) rest = read_frames(client, rest);
    client.partial.assign(rest.data(), rest.size());
  }

  std::span<char> read_handshake(Client& client, std::span<char> data) {
    auto const end = std::string_view(data.data(), data.size()).find("\r\n\r\n");
    if (end == std::string_view::npos) return data;
    client.is_open = true;
    send(client, fmt::format("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                             "Connection: Upgrade\r\nSec-WebSocket-Accept: {}\r\n\r\n",
                             kHandshakeAccept));
    return data.subspan(end + 4);
  }

  std::span<char> read_frames(Client& client, std::span<char> rest) {
    for (;;) {
      Frame const frame = read_frame(rest);
      if (frame.bytes == 0) return rest;
      std::string_view const text(frame.payload.data(), frame.payload.size());
      auto const number_at = text.find(kNumberMark);
      if (number_at != std::string_view::npos) {
        publish(client, text.substr(number_at, kNumberBytes));
      } else if (text.find("\"join_room\"") != std::string_view::npos) {
        join(client);
      }
      rest = rest.subspan(frame.bytes);
    }
  }

  void join(Client& client) {
    client.is_member = true;
    std::string reply;
    append_frame_header(reply, Opcode::text, kJoined.size());
    send(client, reply += kJoined);
  }

  void publish(Client const& sender, std::string_view number) {
    if (!batch_.empty() && batch_sender_ != sender.socket.get()) flush_batch();
    batch_sender_ = sender.socket.get();
    auto const begin = batch_.size();
    batch_ += frame_;
    number.copy(batch_.data() + begin + number_at_, number.size());
  }

  void flush_batch() {
    if (batch_.empty()) return;
    for (auto& client : clients_) {
      if (client.is_member && client.socket.get() != batch_sender_) send(client, batch_);
    }
    batch_.clear();
  }

  void send(Client& client, std::string_view bytes) {
    if (client.pending.empty()) {
      auto const sent = send_some(client.socket.get(), bytes);
      if (sent < 0) return drop(client);
      bytes.remove_prefix(static_cast<std::size_t>(sent));
      if (bytes.empty()) return;
      auto const fd = client.socket.get();
      poller_.modify(fd, EPOLLIN | EPOLLOUT, static_cast<std::uint64_t>(fd));
    }
    client.pending += bytes;
    if (client.pending.size() > kPendingBytesMax) drop(client);
  }

  void send_pending(Client& client) {
    auto const sent = send_some(client.socket.get(), client.pending);
    if (sent < 0) return drop(client);
    client.pending.erase(0, static_cast<std::size_t>(sent));
    auto const fd = client.socket.get();
    if (client.pending.empty()) poller_.modify(fd, EPOLLIN, static_cast<std::uint64_t>(fd));
  }

  static void drop(Client& client) { client = Client{}; }

  Poller poller_;
  Descriptor listener_;
  std::vector<Client> clients_;  // By descriptor.
  std::array<char, kScratchBytes> scratch_;

  std::string frame_;
  std::size_t number_at_ = 0;
  std::string batch_;
  int batch_sender_ = -1;
};

int serve(Arguments const& arguments) {
  raise_descriptor_limit();
  auto const server =
      std::make_unique<Server>(arguments.port(), read_file(arguments.text("message")));
  server->serve();
}

}  // namespace
}  // namespace subforge::bench

int main(int argc, char** argv) {
  return subforge::bench::run(argc, argv, subforge::bench::kArguments, subforge::bench::serve);
}
