// Commands to Redis, pipelined over one connection: any number may be under way, and each coroutine
// goes on when its replies are there. Lives on one loop and is used from there.
//
//   auto reply = co_await client.command({"GET", key});
//
// A connection that is lost fails what was under way (it may have been done or not) and is made
// anew by itself; meanwhile commands are refused at once.
#pragma once

#include <coroutine>
#include <cstdint>
#include <deque>
#include <initializer_list>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "redis/link.hpp"
#include "redis/reply.hpp"

namespace subforge::redis {

// Commands sent together, answered together.
class Batch {
 public:
  Batch& add(std::span<std::string_view const> arguments) {
    append_command(bytes_, arguments);
    ++commands_;
    return *this;
  }
  Batch& add(std::initializer_list<std::string_view> arguments) {
    return add(std::span(arguments.begin(), arguments.size()));
  }
  void clear() {
    bytes_.clear();
    commands_ = 0;
  }
  [[nodiscard]] std::string const& bytes() const { return bytes_; }
  [[nodiscard]] std::size_t commands() const { return commands_; }
  [[nodiscard]] bool empty() const { return commands_ == 0; }

 private:
  std::string bytes_;
  std::size_t commands_ = 0;
};

// A Lua script that the server knows by its digest once it has seen it.
class Script {
 public:
  explicit Script(std::string_view source);
  [[nodiscard]] std::string_view source() const { return source_; }
  [[nodiscard]] std::string const& digest() const { return digest_; }

 private:
  std::string_view source_;  // A literal.
  std::string digest_;       // SHA-1 in hexadecimal digits.
};

class Client final : private Link::Owner {
  struct Waiter {
    std::coroutine_handle<> handle;
    std::size_t missing = 1;
    std::vector<Reply> replies;
    std::optional<Error> failure;
  };

 public:
  Client(EventLoop& loop, BlockingPool& resolver, RedisOptions options, Logger logger);
  ~Client();

  void start() { link_.start(); }
  // Fails what is under way. Idempotent.
  void stop() { link_.stop(); }
  [[nodiscard]] bool up() const { return link_.up(); }
  [[nodiscard]] RedisHealth health() const { return link_.health(); }  // From any thread.
  [[nodiscard]] EventLoop& loop() { return link_.loop(); }
  // Calls back once it is up, each time it becomes so. One such callback; set before start().
  void on_connected(std::move_only_function<void()> callback) {
    on_connected_ = std::move(callback);
  }

  // The reply to one command. To be awaited in the expression that calls it: it refers to its
  // arguments. `timeout_ms` is for commands that wait inside the server; 0 is the usual time.
  // Errors: unavailable (no connection, or lost meanwhile; the server is loading or full),
  // too_large (too much is under way), internal (an error reply, in the context).
  auto command(std::span<std::string_view const> arguments, std::int64_t timeout_ms = 0) {
    struct Awaiter {
      Client& client;
      std::span<std::string_view const> arguments;
      std::int64_t timeout_ms;
      Waiter waiter{};
      bool await_ready() { return !client.begin(waiter, arguments, timeout_ms); }
      void await_suspend(std::coroutine_handle<> handle) { waiter.handle = handle; }
      Result<Reply> await_resume() { return one_reply(std::move(waiter)); }
    };
    return Awaiter{*this, arguments, timeout_ms};
  }
  auto command(std::initializer_list<std::string_view> arguments, std::int64_t timeout_ms = 0) {
    return command(std::span(arguments.begin(), arguments.size()), timeout_ms);
  }

  // The replies to all commands of a batch, one each; error replies are among them. Errors:
  // unavailable, too_large.
  auto run(Batch const& batch) {
    struct Awaiter {
      Client& client;
      Batch const& batch;
      Waiter waiter{};
      bool await_ready() { return batch.empty() || !client.begin(waiter, batch); }
      void await_suspend(std::coroutine_handle<> handle) { waiter.handle = handle; }
      Result<std::vector<Reply>> await_resume() {
        if (waiter.failure) return std::unexpected(std::move(*waiter.failure));
        return std::move(waiter.replies);
      }
    };
    return Awaiter{*this, batch};
  }

  // Runs a script. Errors as of command().
  Task<Result<Reply>> run(Script const& script, std::vector<std::string_view> keys,
                          std::vector<std::string_view> arguments);

  // Sends commands whose replies nobody waits for. False if they could not be sent.
  bool send_unanswered(Batch const& batch);

 private:
  struct Pending {
    Waiter* waiter;  // Null where nobody waits.
    std::size_t missing;
    std::int64_t deadline_ns;
  };

  [[nodiscard]] static Result<Reply> one_reply(Waiter waiter);
  // False if it failed at once.
  bool begin(Waiter& waiter, std::span<std::string_view const> arguments, std::int64_t timeout_ms);
  bool begin(Waiter& waiter, Batch const& batch);
  [[nodiscard]] std::optional<Error> refusal() const;
  void expect(Waiter* waiter, std::size_t replies, std::int64_t timeout_ms);
  void look_at_time();

  void on_up() override;
  void on_reply(Reply reply) override;
  void on_replies_end() override;
  void on_down(Error const& cause) override;

  std::move_only_function<void()> on_connected_;
  std::deque<Pending> pending_;
  std::vector<Waiter*> finished_;
  Timer timer_;
  Link link_;
};

// What an error reply means to the caller.
[[nodiscard]] Error error_of(Reply const& reply);

}  // namespace subforge::redis
