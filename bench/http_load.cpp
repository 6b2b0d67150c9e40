// Keep-alive load on an HTTP/1.1 server: each connection has one request under way and sends the
// next one as soon as the answer is complete and right.
//
//   http_load --port P --request FILE [--status 200] [--connections 64] [--count N]
//             [--measure-ms T] [--warmup-ms 300] [--warmup-count 0] [--first-number 1]
//             [--server-pid PID]
//   http_load --port P --mix FILE ...
//
// The file of --request holds a whole request. Ten @ in it stand for a running number of ten
// digits, so that every POST can create something of its own; the answer must then contain that
// number. Without them, every body must equal the first one.
//
// The file of --mix holds many requests, each behind a line `STATUS BYTES WORD`: what the status of
// the answer must be, the size of the request, and what the answer's body must contain. They are
// sent in this order, each once.
//
// Status and length of an answer are checked in any case.
//
// The warm-up takes at least as long, and as many answers, as it is told. Ends when all of a mix
// is answered, or after N answers or T milliseconds counted from the end of the warm-up, and prints
// one line of JSON. `acknowledged` counts all right answers, those outside the measured time
// included; `server_cpu_ns` is what the process PID used in the measured time. Exits with 1 if any
// answer was wrong, missing, or cut off.

#include <strings.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include <fmt/format.h>

#include "common.hpp"

namespace subforge::bench {
namespace {

constexpr std::array<std::string_view, 11> kArguments{
    "port",       "request",   "mix",          "status",       "connections", "count",
    "measure-ms", "warmup-ms", "warmup-count", "first-number", "server-pid"};
constexpr std::string_view kNumberMark = "@@@@@@@@@@";
constexpr std::int64_t kAnswerPatienceNs = 10'000'000'000;

struct AnswerHead {
  std::size_t bytes = 0;  // 0: not complete yet.
  int status = 0;         // 0: not an HTTP answer.
  std::size_t body_bytes = 0;
};

AnswerHead read_head(std::string_view text) {
  constexpr std::string_view kLength = "content-length:";
  AnswerHead head;
  auto const* end = static_cast<char const*>(::memmem(text.data(), text.size(), "\r\n\r\n", 4));
  if (end == nullptr) return head;
  head.bytes = static_cast<std::size_t>(end + 4 - text.data());
  if (!text.starts_with("HTTP/1.1 ")) return head;
  std::from_chars(text.data() + 9, text.data() + 12, head.status);
  for (auto const* line = text.data(); line < end;) {
    auto const left = static_cast<std::size_t>(end + 4 - line);
    line = static_cast<char const*>(std::memchr(line, '\n', left)) + 1;
    if (::strncasecmp(line, kLength.data(), kLength.size()) == 0) {
      line += kLength.size();
      while (*line == ' ') ++line;
      std::from_chars(line, end, head.body_bytes);
      break;
    }
  }
  return head;
}

// A request, and what its answer must be like.
struct Call {
  std::string_view text;
  int status = 0;
  std::string word;  // The body contains it; empty: it equals the first body.
};

// One request for ever, with a running number if it has a place for it.
class Repeated {
 public:
  Repeated(std::string text, int status, std::int64_t first_number)
      : text_(std::move(text)),
        status_(status),
        mark_(text_.find(kNumberMark)),
        next_(first_number) {
    if (text_.find("\r\n\r\n") == std::string::npos) {
      throw std::runtime_error("the request has no blank line");
    }
  }

  std::optional<Call> next() {
    if (mark_ == std::string::npos) return Call{text_, status_, {}};
    auto digits = fmt::format("{:010}", next_++);
    text_.replace(mark_, digits.size(), digits);
    return Call{text_, status_, std::move(digits)};
  }

 private:
  std::string text_;
  int status_;
  std::size_t mark_;
  std::int64_t next_;
};

// Many requests, each once.
class Mix {
 public:
  explicit Mix(std::string content) : content_(std::move(content)), left_(content_) {}

  std::optional<Call> next() {
    if (left_.empty()) return std::nullopt;
    Call call;
    auto const line = left_.substr(0, left_.find('\n'));
    auto const* const end = line.data() + line.size();
    std::size_t bytes = 0;
    auto const status = std::from_chars(line.data(), end, call.status);
    auto const size = std::from_chars(std::min(status.ptr + 1, end), end, bytes);
    call.word = std::string(std::min(size.ptr + 1, end), end);
    left_.remove_prefix(std::min(line.size() + 1, left_.size()));
    if (call.status == 0 || bytes == 0 || bytes > left_.size() || call.word.empty()) {
      throw std::runtime_error(fmt::format("a mix cannot go on with: {}", line.substr(0, 100)));
    }
    call.text = left_.substr(0, bytes);
    left_.remove_prefix(bytes);
    return call;
  }

 private:
  std::string content_;
  std::string_view left_;
};

struct Options {
  std::uint16_t port;
  std::size_t connections;
  std::int64_t count;
  std::int64_t duration_ns;
  std::int64_t warmup_ns;
  std::int64_t warmup_count;
};

class Load {
 public:
  using NextCall = std::function<std::optional<Call>()>;

  Load(Options const& options, NextCall next_call, ServerProcess server)
      : options_(options), next_call_(std::move(next_call)), server_(server) {}

  // Whether every answer was right.
  bool run() {
    clients_.resize(options_.connections);
    for (std::size_t index = 0; index < clients_.size(); ++index) {
      clients_[index].socket = connect_to(options_.port);
      poller_.add(clients_[index].socket.get(), EPOLLIN, index);
    }
    auto const begin_ns = monotonic_ns();
    for (auto& client : clients_) send_next(client);
    turn_until([&] {
      return monotonic_ns() - begin_ns >= options_.warmup_ns &&
             acknowledged_ >= options_.warmup_count;
    });
    begin();
    turn_until([&] {
      return monotonic_ns() - begin_ns_ >= options_.duration_ns || answers_ >= options_.count;
    });
    finish();
    return errors_ == 0;
  }

  void report() {
    double const seconds = static_cast<double>(measured_ns_) / 1e9;
    fmt::print(
        "{{\"requests\": {}, \"seconds\": {:.4f}, \"rate\": {:.1f}, \"errors\": {}, "
        "\"acknowledged\": {}, \"server_cpu_ns\": {}, \"server_sleeps\": {}, "
        "\"load_cpu_ns\": {}, \"body_bytes\": {}, \"p50_us\": {:.1f}, \"p99_us\": {:.1f}}}\n",
        answers_, seconds, static_cast<double>(answers_) / seconds, errors_, acknowledged_,
        server_cpu_ns_, server_sleeps_, load_cpu_ns_, body_.size(),
        quantile(latencies_ns_, 0.5) / 1e3, quantile(latencies_ns_, 0.99) / 1e3);
    if (errors_ > 0) fmt::print(stderr, "{} errors, the first: {}\n", errors_, first_error_);
  }

 private:
  struct Client {
    Descriptor socket;
    std::string partial;
    int status = 0;
    std::string word;
    std::int64_t sent_ns = 0;
    bool waiting = false;
  };

  void begin() {
    measuring_ = true;
    latencies_ns_.reserve(1U << 20);
    server_cpu_ns_ = server_.cpu_ns();
    server_sleeps_ = server_.sleeps();
    load_cpu_ns_ = own_cpu_ns();
    begin_ns_ = monotonic_ns();
  }

  void finish() {
    measured_ns_ = monotonic_ns() - begin_ns_;
    server_cpu_ns_ = server_.cpu_ns() - server_cpu_ns_;
    server_sleeps_ = server_.sleeps() - server_sleeps_;
    load_cpu_ns_ = own_cpu_ns() - load_cpu_ns_;
    measuring_ = false;
    ending_ = true;
    turn_until([&] { return waiting_ == 0; });
    for (auto& client : clients_) {
      if (client.waiting) fail(client, "no answer within 10 s");
    }
  }

  // Gives up when nothing at all has come for a long time; finish() finds what is missing.
  template <class Done>
  void turn_until(Done done) {
    auto heard_ns = monotonic_ns();
    while (!done() && waiting_ > 0) {
      // Never asleep: waking a sleeping client would cost the server's core up to half as much as
      // an answer, and slow servers more often than fast ones, whose clients are busy anyway.
      auto const events = poller_.wait(0);
      for (auto const& event : events) on_ready(clients_[event.data.u64]);
      if (!events.empty()) {
        heard_ns = monotonic_ns();
      } else if (monotonic_ns() - heard_ns > kAnswerPatienceNs) {
        return;
      }
    }
  }

  void send_next(Client& client) {
    if (ending_) return;
    auto call = next_call_();
    if (!call) return;
    client.status = call->status;
    client.word = std::move(call->word);
    client.sent_ns = monotonic_ns();
    client.waiting = true;
    ++waiting_;
    auto const sent = send_some(client.socket.get(), call->text);
    if (sent != static_cast<std::int64_t>(call->text.size())) {
      fail(client, "the connection did not take a request");
    }
  }

  void on_ready(Client& client) {
    if (!client.socket.is_open()) return;  // It failed in this very turn.
    auto const received = receive(client.socket.get(), scratch_);
    if (received.ended) return fail(client, "the connection was closed");
    if (received.bytes.empty()) return;
    std::string_view text = received.bytes;
    if (!client.partial.empty()) text = client.partial.append(text);
    auto const head = read_head(text);
    if (head.bytes == 0 || text.size() < head.bytes + head.body_bytes) {
      if (client.partial.empty()) client.partial = text;
      return;
    }
    if (auto const wrong = find_fault(client, head, text); !wrong.empty()) {
      return fail(client, wrong);
    }
    client.partial.clear();
    on_right_answer(client);
  }

  void on_right_answer(Client& client) {
    client.waiting = false;
    --waiting_;
    ++acknowledged_;
    if (measuring_) {
      ++answers_;
      latencies_ns_.push_back(monotonic_ns() - client.sent_ns);
    }
    send_next(client);
  }

  // What is wrong with a complete answer; empty if nothing is.
  std::string find_fault(Client const& client, AnswerHead const& head, std::string_view text) {
    if (!client.waiting) return "an answer that nobody asked for";
    if (head.status != client.status) {
      return fmt::format("status {}: {}", head.status, text.substr(0, 300));
    }
    if (text.size() != head.bytes + head.body_bytes) return "more bytes than one answer has";
    auto const body = text.substr(head.bytes);
    if (!client.word.empty()) {
      bool const matches = body.find(client.word) != body.npos;
      return matches ? "" : "an answer to another request: " + std::string(body.substr(0, 300));
    }
    if (body_.empty()) body_ = body;
    return body == body_ ? "" : "not the same body as before: " + std::string(body.substr(0, 300));
  }

  // A connection on which something went wrong is not used any more.
  void fail(Client& client, std::string_view what) {
    if (errors_++ == 0) first_error_ = what;
    if (client.waiting) --waiting_;
    client = Client{};
  }

  Options options_;
  NextCall next_call_;
  ServerProcess server_;
  Poller poller_;
  std::vector<Client> clients_;
  std::array<char, kScratchBytes> scratch_;

  std::size_t waiting_ = 0;
  bool measuring_ = false;
  bool ending_ = false;
  std::int64_t begin_ns_ = 0;
  std::int64_t measured_ns_ = 0;
  std::int64_t server_cpu_ns_ = 0;
  std::int64_t server_sleeps_ = 0;
  std::int64_t load_cpu_ns_ = 0;
  std::int64_t answers_ = 0;
  std::int64_t acknowledged_ = 0;
  std::int64_t errors_ = 0;
  std::string first_error_;
  std::string body_;
  std::vector<std::int64_t> latencies_ns_;
};

Load::NextCall calls_of(Arguments const& arguments) {
  if (arguments.has("mix")) {
    auto const mix = std::make_shared<Mix>(read_file(arguments.text("mix")));
    return [mix] { return mix->next(); };
  }
  auto const repeated = std::make_shared<Repeated>(
      read_file(arguments.text("request")), static_cast<int>(arguments.number("status", 200)),
      arguments.number("first-number", 1));
  return [repeated] { return repeated->next(); };
}

int load(Arguments const& arguments) {
  raise_descriptor_limit();
  Options const options{
      .port = arguments.port(),
      .connections = static_cast<std::size_t>(arguments.number("connections", 64)),
      .count = arguments.number("count", 1'000'000'000),
      .duration_ns = arguments.number("measure-ms", 3'600'000) * 1'000'000,
      .warmup_ns = arguments.number("warmup-ms", 300) * 1'000'000,
      .warmup_count = arguments.number("warmup-count", 0)};
  auto const load = std::make_unique<Load>(options, calls_of(arguments),
                                           ServerProcess(arguments.number("server-pid", 0)));
  bool const right = load->run();
  load->report();
  return right ? 0 : kWrongAnswers;
}

}  // namespace
}  // namespace subforge::bench

int main(int argc, char** argv) {
  return subforge::bench::run(argc, argv, subforge::bench::kArguments, subforge::bench::load);
}
