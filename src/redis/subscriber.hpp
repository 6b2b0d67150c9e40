// A connection that listens to channels, and to all channels that match patterns. After a loss it
// subscribes anew; what was published meanwhile is lost, as Redis keeps nothing.
#pragma once

#include <functional>
#include <set>
#include <string>
#include <string_view>

#include "redis/link.hpp"

namespace subforge::redis {

struct Message {
  std::string_view pattern;  // Empty if it came by a channel's own name.
  std::string_view channel;
  std::string_view payload;  // Empty where it is a list, as that of __redis__:invalidate.
};

class Subscriber final : private Link::Owner {
 public:
  struct Callbacks {
    // Must not stop or destroy the subscriber.
    std::move_only_function<void(Message const&)> on_message;
    // Everything wanted at that moment is subscribed to; from here on nothing is missed until
    // the next loss. Comes again after each.
    std::move_only_function<void()> on_ready;
  };

  Subscriber(EventLoop& loop, BlockingPool& resolver, RedisOptions options, Logger logger,
             Callbacks callbacks);
  ~Subscriber();

  void start() { link_.start(); }
  void stop() { link_.stop(); }
  [[nodiscard]] bool up() const { return link_.up(); }
  [[nodiscard]] RedisHealth health() const { return link_.health(); }  // From any thread.

  // For CLIENT TRACKING ... REDIRECT; from on_ready to the next loss. 0 if the server does not
  // tell.
  [[nodiscard]] std::int64_t connection_id() const { return link_.connection_id(); }

  // At any time; what is wanted is asked for again after every loss. False: `names_max` are.
  bool subscribe(std::string channel);
  bool subscribe_pattern(std::string pattern);
  void unsubscribe(std::string const& channel);

  static constexpr std::size_t kNamesMax = 100'000;

 private:
  void ask(std::string_view verb, std::string_view name);
  void beat();

  void on_up() override;
  void on_reply(Reply reply) override;
  void on_down(Error const& cause) override;

  Callbacks callbacks_;
  std::set<std::string, std::less<>> channels_;
  std::set<std::string, std::less<>> patterns_;
  std::size_t unanswered_ = 0;  // Subscriptions asked for.
  bool told_ready_ = false;
  bool pinged_ = false;
  bool heard_ = false;  // Since the last beat.
  Timer timer_;
  Link link_;
};

}  // namespace subforge::redis
