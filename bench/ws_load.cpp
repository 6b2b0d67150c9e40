// Fan-out load on a WebSocket server: many receivers in one room, or spread over several, and one
// sender that publishes bursts into them by turns. A burst is sent in one piece; the next one
// follows when every receiver has had every message of its room.
//
//   ws_load --port P [--path /ws/v2] [--headers FILE] [--room bench] [--rooms 1]
//           [--receivers 2000] [--burst 50] [--bursts 20] [--warmup-bursts 2] [--data-bytes 100]
//           [--interval-us 0] [--server-pid PID] [--capture FILE] [--stuck N] [--recover 1]
//           [--by-turns 1]
//
// With --by-turns, the bursts are published once for each line of standard input, and the line of
// JSON comes after each, so that loads on several servers can take turns while all are connected.
//
// With --interval-us, the messages of a burst follow each other at that distance, whether or not
// those before have arrived.
//
// With --stuck, N further members read nothing once they have joined, and their kernel takes
// little for them, so that most of what they are sent waits in the server. With --recover, nothing
// is published: the receivers connect all at once with a path that says where they come back to,
// and it is measured how long it takes until each was told that it has all.
//
// Speaks the rooms of /ws/v2: join_room, and room_message, of which the sender gets no copy. The
// file of --headers holds further header lines of the handshake. Every message carries a number,
// and each receiver must get each number once and in order. Prints one line of JSON;
// `server_cpu_ns` is what the process PID used for the bursts, `server_first_thread_ns` its first
// thread's part of that. --capture keeps the text of one
// message as it was delivered. Exits with 1 if anything was lost, doubled, disordered or cut off.

#include <poll.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstring>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "common.hpp"
#include "websocket.hpp"

namespace subforge::bench {
namespace {

constexpr std::array<std::string_view, 16> kArguments{
    "port",   "path",    "headers",       "room",       "receivers",  "burst",
    "bursts", "recover", "warmup-bursts", "data-bytes", "server-pid", "capture",
    "stuck",  "rooms",   "interval-us",   "by-turns"};
constexpr std::size_t kJoinsAtOnce = 100;
constexpr std::int64_t kPatienceNs = 20'000'000'000;
constexpr std::int64_t kQuietNs = 200'000'000;
constexpr int kTurnMsMax = 20;

struct Options {
  std::uint16_t port;
  std::string path;
  std::string headers;
  std::string room;
  std::size_t rooms;  // More than one have the name and a number.
  std::size_t receivers;
  std::size_t burst;
  std::size_t bursts;
  std::size_t warmup_bursts;
  std::size_t data_bytes;
  std::int64_t interval_ns;
  std::string capture;
  std::size_t stuck;
  bool recover;
  bool by_turns;
};

struct Client {
  enum class State { connecting, joining, member, failed };

  Descriptor socket;
  State state = State::connecting;
  bool is_sender = false;
  std::size_t joined = 0;  // Rooms.
  bool is_stuck = false;
  std::size_t room = 0;
  std::size_t seen = 0;  // Messages of this burst.
  std::string partial;   // The part of a frame that came without its end.
};

class Load {
 public:
  Load(Options options, ServerProcess server)
      : options_(std::move(options)), server_(server), expected_(options_.rooms) {}

  // Whether everything arrived as it should.
  bool run() {
    if (options_.recover) {
      come_back();
    } else if (join_all()) {
      for (std::size_t count = 0; count < options_.warmup_bursts && publish_burst(); ++count) {
      }
      options_.by_turns ? measure_by_turns() : measure();
      // Whatever comes now was delivered once too often.
      expected_.assign(options_.rooms, {});
      wait_until_quiet();
    }
    return errors_ == 0;
  }

  void report() {
    if (options_.recover) return report_recovery();
    double const seconds = static_cast<double>(measured_ns_) / 1e9;
    auto const deliveries = burst_ns_.size() * options_.burst * options_.receivers / options_.rooms;
    fmt::print(
        "{{\"receivers\": {}, \"rooms\": {}, \"burst\": {}, \"bursts\": {}, \"deliveries\": {}, "
        "\"seconds\": {:.4f}, \"rate\": {:.1f}, \"errors\": {}, \"server_cpu_ns\": {}, "
        "\"server_first_thread_ns\": {}, \"server_sleeps\": {}, \"load_cpu_ns\": {}, "
        "\"frame_bytes\": {}, \"received_bytes\": {}, "
        "\"burst_p50_us\": {:.1f}, \"burst_p99_us\": {:.1f}, \"bytes_per_connection\": {}}}\n",
        options_.receivers, options_.rooms, options_.burst, burst_ns_.size(), deliveries, seconds,
        seconds > 0 ? static_cast<double>(deliveries) / seconds : 0, errors_, server_cpu_ns_,
        server_first_thread_ns_, server_sleeps_, load_cpu_ns_, frame_bytes_, measured_bytes_,
        quantile(burst_ns_, 0.5) / 1e3, quantile(burst_ns_, 0.99) / 1e3, bytes_per_connection_);
    tell_errors();
  }

 private:
  void tell_errors() {
    if (errors_ == 0 || std::exchange(errors_told_, true)) return;
    fmt::print(stderr, "{} errors, the first: {}\n", errors_, first_error_);
  }

  void report_recovery() {
    fmt::print(
        "{{\"receivers\": {}, \"seconds\": {:.4f}, \"messages\": {}, \"errors\": {}, "
        "\"server_cpu_ns\": {}, \"received_bytes\": {}}}\n",
        options_.receivers, static_cast<double>(measured_ns_) / 1e9, messages_, errors_,
        server_cpu_ns_, received_bytes_);
    tell_errors();
  }

  void come_back() {
    clients_.resize(options_.receivers);
    auto const request = handshake();
    auto const cpu_ns = server_.cpu_ns();
    auto const begin_ns = monotonic_ns();
    for (std::size_t next = 0; next < clients_.size() && errors_ == 0; ++next) {
      clients_[next].socket = connect_to(options_.port);
      poller_.add(clients_[next].socket.get(), EPOLLIN, next);
      send_all(clients_[next], request);
    }
    turn_until([&] { return recovered_ == clients_.size(); });
    measured_ns_ = monotonic_ns() - begin_ns;
    server_cpu_ns_ = server_.cpu_ns() - cpu_ns;
    if (recovered_ < clients_.size() && errors_ == 0) {
      fail(clients_.front(), fmt::format("{} of {} came back; the last frame: {}", recovered_,
                                         clients_.size(), last_other_text_));
    }
  }

  // All are of the same length, so that what is looked for in a message stays in its place.
  [[nodiscard]] std::string name_of(std::size_t room) const {
    return options_.rooms == 1 ? options_.room : fmt::format("{}-{:04}", options_.room, room);
  }

  [[nodiscard]] std::string handshake() const {
    return fmt::format(
        "GET {} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Key: {}\r\nSec-WebSocket-Version: 13\r\n{}\r\n",
        options_.path, options_.port, kHandshakeKey, options_.headers);
  }

  void measure_by_turns() {
    for (;;) {
      // Pings are answered meanwhile.
      while (errors_ == 0 && !input_waits()) turn_until(input_waits);
      char letter = 0;
      if (errors_ > 0 || ::read(STDIN_FILENO, &letter, 1) != 1) return;
      if (letter != '\n') continue;
      measure();
      report();
      std::fflush(stdout);
    }
  }

  static bool input_waits() {
    pollfd input{.fd = STDIN_FILENO, .events = POLLIN, .revents = 0};
    return ::poll(&input, 1, 0) > 0;
  }

  void measure() {
    burst_ns_.clear();
    auto const cpu_ns = server_.cpu_ns();
    auto const first_thread_ns = server_.first_thread_cpu_ns();
    auto const sleeps = server_.sleeps();
    auto const load_cpu_ns = own_cpu_ns();
    received_bytes_ = 0;
    auto const begin_ns = monotonic_ns();
    for (std::size_t count = 0; count < options_.bursts; ++count) {
      auto const burst_begin_ns = monotonic_ns();
      if (!publish_burst()) break;
      burst_ns_.push_back(monotonic_ns() - burst_begin_ns);
    }
    measured_ns_ = monotonic_ns() - begin_ns;
    measured_bytes_ = received_bytes_;
    server_cpu_ns_ = server_.cpu_ns() - cpu_ns;
    server_first_thread_ns_ = server_.first_thread_cpu_ns() - first_thread_ns;
    server_sleeps_ = server_.sleeps() - sleeps;
    load_cpu_ns_ = own_cpu_ns() - load_cpu_ns;
  }

  // The last one is the sender. Members are told of others that join; that is over before anything
  // is measured.
  bool join_all() {
    clients_.resize(options_.receivers + options_.stuck + 1);
    clients_.back().is_sender = true;
    for (std::size_t i = 0; i < clients_.size(); ++i) clients_[i].room = i % options_.rooms;
    for (std::size_t i = 0; i < options_.stuck; ++i)
      clients_[options_.receivers + i].is_stuck = true;
    auto const request = handshake();
    auto const resident = server_.resident_bytes();
    for (std::size_t next = 0; next < clients_.size() && errors_ == 0;) {
      for (std::size_t count = 0; count < kJoinsAtOnce && next < clients_.size(); ++count) {
        Client& client = clients_[next];
        client.socket =
            client.is_stuck ? connect_narrowly_to(options_.port) : connect_to(options_.port);
        poller_.add(client.socket.get(), EPOLLIN, next++);
        send_all(client, request);
      }
      turn_until([&] { return joined_ == next; });
      if (joined_ < next && errors_ == 0) {
        fail(clients_[next - 1],
             fmt::format("{} of {} joined; the last frame: {}", joined_, next, last_other_text_));
      }
    }
    wait_until_quiet();
    bytes_per_connection_ =
        (server_.resident_bytes() - resident) / static_cast<std::int64_t>(clients_.size());
    return errors_ == 0;
  }

  // False when not everything arrived.
  bool publish_burst() {
    expected_.assign(options_.rooms, {});
    outgoing_.clear();
    std::vector<std::size_t> ends;  // Of the messages in `outgoing_`.
    for (std::size_t count = 0; count < options_.burst; ++count) {
      auto const room = count % options_.rooms;
      auto& expected = expected_[room];
      expected.push_back(number_text(++number_));
      append_masked_frame(
          outgoing_, Opcode::text,
          fmt::format(R"({{"type":"room_message","room":"{}","data":{{"message":"{} {:.>{}}"}}}})",
                      name_of(room), expected.back(), "", options_.data_bytes));
      ends.push_back(outgoing_.size());
    }
    for (auto& client : clients_) client.seen = 0;
    complete_ = 0;
    if (options_.interval_ns == 0) {
      send_all(clients_.back(), outgoing_);
    } else {
      send_one_by_one(ends);
    }
    turn_until([&] { return complete_ == options_.receivers; });
    if (complete_ < options_.receivers && errors_ == 0) {
      fail(clients_.back(), fmt::format("{} of {} receivers had the whole burst after 20 s",
                                        complete_, options_.receivers));
    }
    return errors_ == 0;
  }

  // What has arrived meanwhile is read, but not waited for.
  void send_one_by_one(std::vector<std::size_t> const& ends) {
    auto due_ns = monotonic_ns();
    std::size_t begin = 0;
    for (auto const end : ends) {
      turn_until([&] { return monotonic_ns() >= due_ns; }, 0);
      send_all(clients_.back(), std::string_view(outgoing_).substr(begin, end - begin));
      begin = end;
      due_ns += options_.interval_ns;
    }
  }

  // Gives up at the first error, and after kPatienceNs.
  template <class Done>
  void turn_until(Done done, int turn_ms_max = kTurnMsMax) {
    auto const patience_ends_ns = monotonic_ns() + kPatienceNs;
    while (!done() && errors_ == 0) {
      for (auto const& event : poller_.wait(turn_ms_max)) on_ready(clients_[event.data.u64]);
      if (monotonic_ns() > patience_ends_ns) return;
    }
  }

  void wait_until_quiet() {
    auto quiet_since_ns = monotonic_ns();
    turn_until([&] {
      if (received_bytes_ > 0) quiet_since_ns = monotonic_ns();
      received_bytes_ = 0;
      return monotonic_ns() - quiet_since_ns > kQuietNs;
    });
  }

  void send_all(Client& client, std::string_view bytes) {
    auto const patience_ends_ns = monotonic_ns() + kPatienceNs;
    while (!bytes.empty()) {
      auto const sent = send_some(client.socket.get(), bytes);
      if (sent < 0 || monotonic_ns() > patience_ends_ns) {
        return fail(client, "the connection takes nothing more");
      }
      bytes.remove_prefix(static_cast<std::size_t>(sent));
    }
  }

  void on_ready(Client& client) {
    if (client.state == Client::State::failed) return;
    if (client.is_stuck && client.state == Client::State::member) {
      return poller_.modify(client.socket.get(), 0,
                            static_cast<std::uint64_t>(&client - clients_.data()));
    }
    auto const kept = client.partial.size();
    std::memcpy(scratch_.data(), client.partial.data(), kept);
    auto const received = receive(client.socket.get(), std::span(scratch_).subspan(kept));
    if (received.ended) return fail(client, "the connection was closed");
    received_bytes_ += static_cast<std::int64_t>(received.bytes.size());
    auto rest = std::span(scratch_).first(kept + received.bytes.size());
    if (client.state == Client::State::connecting) rest = read_handshake(client, rest);
    if (client.state != Client::State::connecting) rest = read_frames(client, rest);
    client.partial.assign(rest.data(), rest.size());
    if (client.partial.size() == scratch_.size()) fail(client, "a frame without end");
  }

  // Returns what follows the head of the answer.
  std::span<char> read_handshake(Client& client, std::span<char> data) {
    std::string_view const text(data.data(), data.size());
    auto const end = text.find("\r\n\r\n");
    if (end == std::string_view::npos) return data;
    if (!text.starts_with("HTTP/1.1 101 ") || text.find(kHandshakeAccept) > end) {
      fail(client, fmt::format("no WebSocket: {}", text.substr(0, 300)));
      return {};
    }
    client.state = options_.recover ? Client::State::member : Client::State::joining;
    if (options_.recover) return data.subspan(end + 4);
    std::string join;
    for (std::size_t room = 0; room < options_.rooms; ++room) {
      if (!client.is_sender && room != client.room) continue;
      append_masked_frame(join, Opcode::text,
                          fmt::format(R"({{"type":"join_room","room":"{}"}})", name_of(room)));
    }
    send_all(client, join);
    return data.subspan(end + 4);
  }

  // Returns the part of a frame that is left.
  std::span<char> read_frames(Client& client, std::span<char> rest) {
    while (client.state != Client::State::failed) {
      Frame const frame = read_frame(rest);
      if (frame.bytes == 0) return rest;
      if (!take_expected(client, frame)) on_other_frame(client, frame);
      rest = rest.subspan(frame.bytes);
    }
    return {};
  }

  // The common case, made cheap: the next message, with its number where it was the last time.
  bool take_expected(Client& client, Frame const& frame) {
    auto const& expected = expected_[client.room];
    if (client.seen >= expected.size() || client.is_sender || frame.opcode != Opcode::text ||
        !frame.is_final || frame.payload.size() < number_at_ + kNumberBytes ||
        std::memcmp(frame.payload.data() + number_at_, expected[client.seen].data(),
                    kNumberBytes) != 0) {
      return false;
    }
    if (++client.seen == expected.size()) ++complete_;
    return true;
  }

  void on_other_frame(Client& client, Frame const& frame) {
    std::string_view const text(frame.payload.data(), frame.payload.size());
    if (frame.opcode == Opcode::ping) {
      std::string pong;
      append_masked_frame(pong, Opcode::pong, text);
      return send_all(client, pong);
    }
    if (frame.opcode == Opcode::pong) return;
    if (frame.opcode != Opcode::text || !frame.is_final) {
      return fail(client, "a frame that is neither whole text nor ping: the server closes?");
    }
    ++messages_;
    if (options_.recover) {
      if (text.find("\"recovered\":true") != text.npos) ++recovered_;
      if (text.find("\"recovered\":false") != text.npos) fail(client, "not all could be shown");
      return;
    }
    auto const number_at = text.find(kNumberMark);
    if (number_at != std::string_view::npos) return on_message(client, frame, number_at);
    last_other_text_ = text.substr(0, 300);
    if (client.state == Client::State::joining && text.find("\"join_room\"") != text.npos) {
      if (client.is_sender && ++client.joined < options_.rooms) return;
      client.state = Client::State::member;
      ++joined_;
    }
  }

  // A message that is not the next one, or whose number stands elsewhere than last time.
  void on_message(Client& client, Frame const& frame, std::size_t number_at) {
    std::string_view const text(frame.payload.data(), frame.payload.size());
    if (client.is_sender) return fail(client, "the sender got a copy");
    auto const& expected = expected_[client.room];
    if (client.seen >= expected.size()) {
      return fail(client, fmt::format("a message once too often: {}", text));
    }
    if (text.substr(number_at, kNumberBytes) != expected[client.seen]) {
      return fail(client, fmt::format("{} should have come, not {}", expected[client.seen], text));
    }
    number_at_ = number_at;
    frame_bytes_ = frame.bytes;
    if (!options_.capture.empty()) write_file(std::exchange(options_.capture, {}), text);
    if (!take_expected(client, frame)) fail(client, "a message out of place");
  }

  void fail(Client& client, std::string_view what) {
    if (errors_++ == 0) first_error_ = what;
    client.state = Client::State::failed;
    client.socket.close();
  }

  Options options_;
  ServerProcess server_;
  Poller poller_;
  std::vector<Client> clients_;
  std::array<char, kScratchBytes> scratch_;

  std::size_t joined_ = 0;
  std::size_t recovered_ = 0;
  std::int64_t messages_ = 0;  // While coming back.
  std::int64_t bytes_per_connection_ = 0;
  std::size_t complete_ = 0;  // Receivers that have the whole burst.
  std::int64_t number_ = 0;
  std::vector<std::vector<std::string>> expected_;  // The numbers of this burst, by room, in order.
  std::string outgoing_;
  std::size_t number_at_ = 0;
  std::string last_other_text_;

  std::int64_t received_bytes_ = 0;  // Since it was last set to 0.
  std::int64_t measured_bytes_ = 0;
  std::size_t frame_bytes_ = 0;
  std::vector<std::int64_t> burst_ns_;
  std::int64_t measured_ns_ = 0;
  std::int64_t server_cpu_ns_ = 0;
  std::int64_t server_first_thread_ns_ = 0;
  std::int64_t server_sleeps_ = 0;
  std::int64_t load_cpu_ns_ = 0;
  std::int64_t errors_ = 0;
  std::string first_error_;
  bool errors_told_ = false;
};

int load(Arguments const& arguments) {
  raise_descriptor_limit();
  auto const count = [&](std::string_view name, std::int64_t otherwise) {
    return static_cast<std::size_t>(arguments.number(name, otherwise));
  };
  Options options{.port = arguments.port(),
                  .path = arguments.text("path", "/ws/v2"),
                  .headers = arguments.has("headers") ? read_file(arguments.text("headers")) : "",
                  .room = arguments.text("room", "bench"),
                  .rooms = count("rooms", 1),
                  .receivers = count("receivers", 2000),
                  .burst = count("burst", 50),
                  .bursts = count("bursts", 20),
                  .warmup_bursts = count("warmup-bursts", 2),
                  .data_bytes = count("data-bytes", 100),
                  .interval_ns = arguments.number("interval-us", 0) * 1000,
                  .capture = arguments.text("capture", ""),
                  .stuck = count("stuck", 0),
                  .recover = arguments.number("recover", 0) != 0,
                  .by_turns = arguments.number("by-turns", 0) != 0};
  if (options.receivers == 0 || options.burst == 0) throw std::runtime_error("nothing to receive");
  if (options.rooms == 0 || options.burst % options.rooms != 0 ||
      options.receivers % options.rooms != 0) {
    throw std::runtime_error("every room needs as many receivers and as many messages");
  }
  bool const by_turns = options.by_turns;
  auto const load =
      std::make_unique<Load>(std::move(options), ServerProcess(arguments.number("server-pid", 0)));
  bool const right = load->run();
  if (!by_turns || !right) load->report();
  return right ? 0 : kWrongAnswers;
}

}  // namespace
}  // namespace subforge::bench

int main(int argc, char** argv) {
  return subforge::bench::run(argc, argv, subforge::bench::kArguments, subforge::bench::load);
}
