#include "redis/subscriber.hpp"

#include <array>
#include <utility>

namespace subforge::redis {

Subscriber::Subscriber(EventLoop& loop, BlockingPool& resolver, RedisOptions options, Logger logger,
                       Callbacks callbacks)
    : callbacks_(std::move(callbacks)),
      timer_([this] { beat(); }),
      link_(loop, resolver, std::move(options), *this, logger) {}

Subscriber::~Subscriber() { link_.stop(); }

bool Subscriber::subscribe(std::string channel) {
  if (channels_.size() + patterns_.size() >= kNamesMax) return false;
  auto const [place, is_new] = channels_.insert(std::move(channel));
  if (is_new) ask("SUBSCRIBE", *place);
  return true;
}

bool Subscriber::subscribe_pattern(std::string pattern) {
  if (channels_.size() + patterns_.size() >= kNamesMax) return false;
  auto const [place, is_new] = patterns_.insert(std::move(pattern));
  if (is_new) ask("PSUBSCRIBE", *place);
  return true;
}

void Subscriber::unsubscribe(std::string const& channel) {
  if (channels_.erase(channel) > 0) ask("UNSUBSCRIBE", channel);
}

void Subscriber::ask(std::string_view verb, std::string_view name) {
  if (!link_.up()) return;
  if (verb != "UNSUBSCRIBE") ++unanswered_;
  std::array<std::string_view, 2> const words = {verb, name};
  append_command(link_.output(), words);
}

void Subscriber::on_up() {
  unanswered_ = 0;
  told_ready_ = pinged_ = false;
  heard_ = true;
  for (auto const& channel : channels_) ask("SUBSCRIBE", channel);
  for (auto const& pattern : patterns_) ask("PSUBSCRIBE", pattern);
  beat();
}

// Nothing may come for hours, so that only a question tells a silent server from a dead one. The
// first one also tells when everything asked for at the start is subscribed to.
void Subscriber::beat() {
  if (pinged_ && !heard_) return link_.break_off("it does not answer");
  heard_ = false;
  pinged_ = true;
  std::array<std::string_view, 1> const words = {"PING"};
  append_command(link_.output(), words);
  timer_.arm(link_.loop().timers(),
             monotonic_ns() + link_.options().command_timeout_ms * 1'000'000);
}

void Subscriber::on_reply(Reply reply) {
  heard_ = true;
  auto const& items = reply.items;
  if (items.size() == 3 && items[0].text == "message") {
    callbacks_.on_message({{}, items[1].text, items[2].text});
  } else if (items.size() == 4 && items[0].text == "pmessage") {
    callbacks_.on_message({items[1].text, items[2].text, items[3].text});
  } else if (items.size() == 3 && items[0].text.ends_with("subscribe")) {
    if (!items[0].text.contains("unsub") && unanswered_ > 0) --unanswered_;
  } else if (reply.is_error()) {
    return link_.break_off(reply.text);
  }
  if (unanswered_ == 0 && !std::exchange(told_ready_, true) && callbacks_.on_ready) {
    callbacks_.on_ready();
  }
}

void Subscriber::on_down(Error const&) {
  timer_.cancel();
  told_ready_ = false;
}

}  // namespace subforge::redis
