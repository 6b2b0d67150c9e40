#include "redis/reply_parser.hpp"

#include <algorithm>
#include <utility>

#include "base/text.hpp"

namespace subforge::redis {
namespace {

// Taken bytes are dropped once they are so many, rather than at every reply.
constexpr std::size_t kTakenBytesMax = 64U << 10;
// What a list's announced length may reserve before its items are there.
constexpr std::size_t kReservedItemsMax = 1'024;

Error not_redis(std::string context) {
  return {ErrorCode::invalid, "The server does not speak Redis's protocol", std::move(context)};
}
Error over_limit(std::string_view what) {
  return {ErrorCode::too_large, "Redis sent more than is accepted", std::string(what)};
}

}  // namespace

void ReplyParser::reset() {
  input_.clear();
  at_ = scanned_ = bytes_ = items_ = 0;
  open_.clear();
  done_.reset();
  broken_.reset();
}

Result<std::optional<Reply>> ReplyParser::next() {
  if (broken_) return std::unexpected(*broken_);
  while (!done_) {
    auto const stepped = step();
    if (!stepped) {
      broken_ = stepped.error();
      return std::unexpected(*broken_);
    }
    if (!*stepped) {
      if (at_ == input_.size() || at_ > kTakenBytesMax) {
        input_.erase(0, at_);
        scanned_ -= std::min(scanned_, at_);
        at_ = 0;
      }
      return std::nullopt;
    }
  }
  bytes_ = items_ = 0;
  return std::exchange(done_, std::nullopt);
}

Result<std::optional<std::string_view>> ReplyParser::line() {
  auto const end = input_.find("\r\n", std::max(at_, scanned_));
  if (end == std::string::npos) {
    // The last byte may be the first half of the line's end.
    auto const half_end = input_.size() > at_ && input_.back() == '\r' ? 1U : 0U;
    if (input_.size() - at_ - half_end > limits_.line_bytes_max) {
      return std::unexpected(over_limit("a line without an end"));
    }
    scanned_ = std::max(at_, input_.empty() ? 0 : input_.size() - 1);
    return std::nullopt;
  }
  if (end - at_ > limits_.line_bytes_max) return std::unexpected(over_limit("a long line"));
  return std::string_view(input_).substr(at_, end - at_);
}

Result<bool> ReplyParser::step() {
  auto const found = line();
  if (!found) return std::unexpected(found.error());
  if (!*found) return false;
  auto const whole = **found;
  if (whole.empty()) return std::unexpected(not_redis("an empty line"));
  auto const text = whole.substr(1);
  auto const after_line = at_ + whole.size() + 2;
  Reply reply;
  switch (whole.front()) {
    case '$': return take_text(text, after_line);
    case '*': return take_list(text, after_line);
    case '+': reply.kind = Reply::Kind::status; break;
    case '-': reply.kind = Reply::Kind::error; break;
    case ':': {
      auto const number = parse_number<std::int64_t>(text);
      if (!number) return std::unexpected(not_redis("a number that is none"));
      reply.kind = Reply::Kind::integer;
      reply.integer = *number;
      break;
    }
    default: return std::unexpected(not_redis("an unknown kind of value"));
  }
  if (auto const counted = count(text.size()); !counted) return std::unexpected(counted.error());
  if (reply.kind != Reply::Kind::integer) reply.text = text;
  at_ = after_line;
  add(std::move(reply));
  return true;
}

Result<bool> ReplyParser::take_text(std::string_view length, std::size_t after_line) {
  auto const bytes = parse_number<std::int64_t>(length);
  if (!bytes || *bytes < -1) return std::unexpected(not_redis("a length that is none"));
  Reply reply;
  if (*bytes >= 0) {
    auto const size = static_cast<std::size_t>(*bytes);
    if (size > limits_.text_bytes_max) return std::unexpected(over_limit("a long text"));
    if (input_.size() < after_line + size + 2) return false;
    if (input_.compare(after_line + size, 2, "\r\n") != 0) {
      return std::unexpected(not_redis("a text that goes on behind its length"));
    }
    reply.kind = Reply::Kind::text;
    reply.text = input_.substr(after_line, size);
    after_line += size + 2;
  }
  if (auto const counted = count(reply.text.size()); !counted) {
    return std::unexpected(counted.error());
  }
  at_ = after_line;
  add(std::move(reply));
  return true;
}

Result<bool> ReplyParser::take_list(std::string_view length, std::size_t after_line) {
  auto const items = parse_number<std::int64_t>(length);
  if (!items || *items < -1) return std::unexpected(not_redis("a length that is none"));
  if (auto const counted = count(0); !counted) return std::unexpected(counted.error());
  at_ = after_line;
  Reply reply;
  if (*items >= 0) reply.kind = Reply::Kind::list;
  if (*items <= 0) {
    add(std::move(reply));
    return true;
  }
  auto const size = static_cast<std::size_t>(*items);
  if (size > limits_.reply_items_max) return std::unexpected(over_limit("a long list"));
  if (open_.size() >= limits_.depth_max) return std::unexpected(over_limit("lists in lists"));
  reply.items.reserve(std::min(size, kReservedItemsMax));
  open_.push_back({std::move(reply), size});
  return true;
}

Result<void> ReplyParser::count(std::size_t bytes) {
  bytes_ += bytes;
  if (bytes_ > limits_.reply_bytes_max) return std::unexpected(over_limit("a large reply"));
  if (++items_ > limits_.reply_items_max) return std::unexpected(over_limit("many values"));
  return {};
}

void ReplyParser::add(Reply reply) {
  while (!open_.empty()) {
    auto& list = open_.back();
    list.reply.items.push_back(std::move(reply));
    if (--list.missing > 0) return;
    reply = std::move(list.reply);
    open_.pop_back();
  }
  done_ = std::move(reply);
}

}  // namespace subforge::redis
