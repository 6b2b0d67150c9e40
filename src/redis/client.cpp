#include "redis/client.hpp"

#include <algorithm>
#include <array>
#include <utility>

#include <openssl/evp.h>

#include "base/text.hpp"

namespace subforge::redis {
namespace {

std::string sha1_hex(std::string_view text) {
  std::array<std::uint8_t, EVP_MAX_MD_SIZE> digest{};
  unsigned length = 0;
  ::EVP_Digest(text.data(), text.size(), digest.data(), &length, ::EVP_sha1(), nullptr);
  return hex_encode(std::span(digest).first(length));
}

}  // namespace

Error error_of(Reply const& reply) {
  // States of the server that pass by themselves, or by somebody's hand.
  static constexpr std::array<std::string_view, 8> kPassing = {
      "LOADING", "BUSY", "READONLY", "MASTERDOWN", "OOM", "CLUSTERDOWN", "TRYAGAIN", "MISCONF"};
  if (std::ranges::find(kPassing, reply.error_word()) != kPassing.end())
    return redis_unavailable(reply.text);
  return {ErrorCode::internal, "Redis refused a command", reply.text};
}

Script::Script(std::string_view source) : source_(source), digest_(sha1_hex(source)) {}

Client::Client(EventLoop& loop, BlockingPool& resolver, RedisOptions options, Logger logger)
    : timer_([this] { look_at_time(); }),
      link_(loop, resolver, std::move(options), *this, logger) {}

Client::~Client() { link_.stop(); }

Result<Reply> Client::one_reply(Waiter waiter) {
  if (waiter.failure) return std::unexpected(std::move(*waiter.failure));
  auto& reply = waiter.replies.front();
  if (reply.is_error()) return std::unexpected(error_of(reply));
  return std::move(reply);
}

std::optional<Error> Client::refusal() const {
  if (!link_.up()) return redis_unavailable(link_.health().cause);
  if (pending_.size() < link_.options().commands_max && !link_.output_full()) return std::nullopt;
  return Error{ErrorCode::too_large, "Redis does not keep up with what is asked of it", {}};
}

bool Client::begin(Waiter& waiter, std::span<std::string_view const> arguments,
                   std::int64_t timeout_ms) {
  waiter.failure = refusal();
  if (waiter.failure) return false;
  append_command(link_.output(), arguments);
  expect(&waiter, 1, timeout_ms);
  return true;
}

bool Client::begin(Waiter& waiter, Batch const& batch) {
  waiter.failure = refusal();
  if (waiter.failure) return false;
  waiter.replies.reserve(batch.commands());
  link_.output().append(batch.bytes());
  expect(&waiter, batch.commands(), 0);
  return true;
}

bool Client::send_unanswered(Batch const& batch) {
  if (batch.empty()) return true;
  if (refusal()) return false;
  link_.output().append(batch.bytes());
  expect(nullptr, batch.commands(), 0);
  return true;
}

void Client::expect(Waiter* waiter, std::size_t replies, std::int64_t timeout_ms) {
  auto const wait_ms = timeout_ms > 0 ? timeout_ms : link_.options().command_timeout_ms;
  auto const deadline_ns = monotonic_ns() + wait_ms * 1'000'000;
  pending_.push_back({waiter, replies, deadline_ns});
  if (!timer_.armed()) timer_.arm(loop().timers(), pending_.front().deadline_ns);
}

void Client::look_at_time() {
  if (pending_.empty()) return;
  // Replies come in order, so that what waits behind the first one is later anyway.
  auto const deadline_ns = pending_.front().deadline_ns;
  if (monotonic_ns() >= deadline_ns) return link_.break_off("it does not answer");
  timer_.arm(loop().timers(), deadline_ns);
}

Task<Result<Reply>> Client::run(Script const& script, std::vector<std::string_view> keys,
                                std::vector<std::string_view> arguments) {
  auto const count = std::to_string(keys.size());
  std::vector<std::string_view> words = {"EVALSHA", script.digest(), count};
  words.insert(words.end(), keys.begin(), keys.end());
  words.insert(words.end(), arguments.begin(), arguments.end());
  auto reply = co_await command(words);
  if (reply || !reply.error().context.starts_with("NOSCRIPT")) co_return reply;
  // A server that was started since does not know it yet.
  words[0] = "EVAL";
  words[1] = script.source();
  co_return co_await command(words);
}

void Client::on_up() {
  if (on_connected_) on_connected_();
}

void Client::on_reply(Reply reply) {
  if (pending_.empty()) return link_.break_off("it answers what nobody asked");
  auto& pending = pending_.front();
  if (pending.waiter != nullptr) pending.waiter->replies.push_back(std::move(reply));
  if (--pending.missing > 0) return;
  if (pending.waiter != nullptr) finished_.push_back(pending.waiter);
  pending_.pop_front();
}

void Client::on_replies_end() {
  for (auto* const waiter : std::exchange(finished_, {})) waiter->handle.resume();
}

void Client::on_down(Error const& cause) {
  timer_.cancel();
  for (auto const& pending : std::exchange(pending_, {})) {
    if (pending.waiter == nullptr) continue;
    pending.waiter->failure = cause;
    finished_.push_back(pending.waiter);
  }
  on_replies_end();
}

}  // namespace subforge::redis
