// One connection to Redis that is made anew whenever it is lost: bytes out, replies in. What they
// mean is its owner's part (client.hpp, subscriber.hpp). Lives on one loop and is used from there.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/log.hpp"
#include "base/result.hpp"
#include "base/time.hpp"
#include "redis/reply.hpp"
#include "redis/reply_parser.hpp"
#include "redis/url.hpp"
#include "runtime/blocking_pool.hpp"
#include "runtime/event_loop.hpp"

namespace subforge::redis {

struct RedisOptions {
  RedisUrl url;
  std::string client_name = "subforge";     // What CLIENT LIST shows; no spaces.
  std::int64_t connect_timeout_ms = 5'000;  // With looking up the name and logging in.
  std::int64_t command_timeout_ms = 5'000;  // A server silent for so long is as good as gone.
  // The pause before the connection is made anew: the first, and what it doubles up to. Each is
  // spread at random over its second half.
  std::int64_t reconnect_ms_min = 50;
  std::int64_t reconnect_ms_max = 1'000;
  std::size_t commands_max = 20'000;                // Under way at once; one more is refused.
  std::size_t output_bytes_max = 64U << 20;         // That the server has not taken yet.
  std::size_t input_bytes_per_turn_max = 1U << 20;  // Then others on the loop have their turn.
  ReplyLimits replies;
};

// Whether the server can be reached, since when that is so, and if not, why.
struct RedisHealth {
  bool up = false;
  Timestamp since = Timestamp::now();
  std::string cause = "not connected yet";
};

class Link final : private IoHandler {
 public:
  class Owner {
   public:
    // Logged in; what is written from now on is sent.
    virtual void on_up() = 0;
    virtual void on_reply(Reply reply) = 0;
    // All replies that had come were told.
    virtual void on_replies_end() {}
    // Lost. What was under way may have been done or not.
    virtual void on_down(Error const& cause) = 0;

   protected:
    ~Owner() = default;
  };

  // All must outlive it. `resolver` looks up names, which would hold up the loop.
  Link(EventLoop& loop, BlockingPool& resolver, RedisOptions options, Owner& owner, Logger logger);
  ~Link();
  Link(Link const&) = delete;
  Link& operator=(Link const&) = delete;

  void start();
  // Closes for good; the owner is told on_down if it was up.
  void stop();
  // Gives the connection up and makes a new one.
  void break_off(std::string cause);

  [[nodiscard]] bool up() const { return state_ == State::up; }
  [[nodiscard]] RedisHealth health() const { return *health_.load(); }  // From any thread.
  [[nodiscard]] RedisOptions const& options() const { return options_; }
  [[nodiscard]] EventLoop& loop() { return loop_; }
  // The server's own number of this connection, while it is up; 0 if it does not tell.
  [[nodiscard]] std::int64_t connection_id() const { return connection_id_; }

  // Where bytes to be sent are appended, while it is up; they leave at the end of the turn.
  [[nodiscard]] std::string& output() {
    flush_soon();
    return output_;
  }
  [[nodiscard]] bool output_full() const { return output_.size() > options_.output_bytes_max; }

 private:
  enum class State : std::uint8_t { stopped, pausing, resolving, connecting, login, up };
  struct Address;

  void connect();
  void resolve_on_pool();
  void connect_to(Result<std::vector<Address>> addresses);
  void try_next_address();
  void begin_login();
  void take_login_reply(Reply const& reply);
  void on_timer();
  void pause();
  void close_socket();

  void on_ready(std::uint32_t events) override;
  void receive();
  void tell_replies();
  void flush_soon();
  void flush();
  void watch(std::uint32_t events);

  EventLoop& loop_;
  BlockingPool& resolver_;
  RedisOptions const options_;
  Owner& owner_;
  Logger logger_;

  State state_ = State::stopped;
  int fd_ = -1;
  std::uint32_t watched_ = 0;
  std::vector<Address> addresses_;  // Still to be tried, the last one first.
  std::string last_failure_;
  std::size_t login_replies_ = 0;  // Still to come.
  std::int64_t reconnect_ms_ = 0;
  std::int64_t connection_id_ = 0;
  std::uint64_t connections_ = 0;  // Tells a late look-up that nobody waits for it.
  Timer timer_;

  ReplyParser parser_;
  std::string output_;
  bool flush_queued_ = false;
  // Callbacks that are on their way when this ends find it empty.
  std::shared_ptr<Link*> self_;

  // Replaced as a whole, so that any thread may look.
  std::atomic<std::shared_ptr<RedisHealth const>> health_{std::make_shared<RedisHealth const>()};
};

// A command as Redis takes it: a list of texts.
void append_command(std::string& out, std::span<std::string_view const> arguments);

// What a caller is told while there is no connection.
inline constexpr std::string_view kUnavailable = "Redis is not available";
[[nodiscard]] Error redis_unavailable(std::string context);

}  // namespace subforge::redis
