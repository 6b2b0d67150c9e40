// Reads replies from bytes that come in any pieces. What a server may make us keep is bounded.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "redis/reply.hpp"

namespace subforge::redis {

struct ReplyLimits {
  std::size_t line_bytes_max = 64U << 10;
  std::size_t text_bytes_max = 64U << 20;
  std::size_t reply_bytes_max = 128U << 20;  // Of all texts of a reply together.
  std::size_t reply_items_max = 1'000'000;   // Values in a reply, lists among them.
  std::size_t depth_max = 8;                 // Lists within one another.
};

class ReplyParser {
 public:
  explicit ReplyParser(ReplyLimits limits = {}) : limits_(limits) {}

  void feed(std::string_view bytes) { input_.append(bytes); }
  // The next whole reply, or nothing until more was fed. After an error it stays broken. Errors:
  // invalid (this is not Redis), too_large.
  [[nodiscard]] Result<std::optional<Reply>> next();
  // As new.
  void reset();

 private:
  struct OpenList {
    Reply reply;
    std::size_t missing;
  };
  // One step forward; false if the bytes don't suffice.
  Result<bool> step();
  Result<bool> take_text(std::string_view length, std::size_t after_line);
  Result<bool> take_list(std::string_view length, std::size_t after_line);
  // The line that begins at `at_`, without its end; nothing if it is not whole.
  Result<std::optional<std::string_view>> line();
  Result<void> count(std::size_t bytes);
  void add(Reply reply);

  ReplyLimits const limits_;
  std::string input_;
  std::size_t at_ = 0;       // What lies before was taken.
  std::size_t scanned_ = 0;  // Up to here there is no end of the line that begins at `at_`.
  std::vector<OpenList> open_;
  std::optional<Reply> done_;
  std::size_t bytes_ = 0;
  std::size_t items_ = 0;
  std::optional<Error> broken_;
};

}  // namespace subforge::redis
