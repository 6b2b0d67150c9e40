// Any bytes as what a server sends. Asserts that they are understood the same however they are cut,
// and that what is broken stays broken.
#include <string>
#include <vector>

#include "pieces.hpp"
#include "redis/reply_parser.hpp"

namespace subforge::redis {
namespace {

using fuzz::require;

struct Outcome {
  std::vector<Reply> replies;
  bool broken = false;
  friend bool operator==(Outcome const&, Outcome const&) = default;
};

// Small, so that inputs reach them.
ReplyLimits limits() {
  ReplyLimits small;
  small.line_bytes_max = 32;
  small.text_bytes_max = 128;
  small.reply_bytes_max = 256;
  small.reply_items_max = 64;
  small.depth_max = 4;
  return small;
}

Outcome parse(fuzz::Pieces const& pieces) {
  ReplyParser parser(limits());
  Outcome outcome;
  for (auto const piece : pieces) {
    parser.feed(piece);
    while (true) {
      auto reply = parser.next();
      if (!reply) {
        require(!parser.next());
        outcome.broken = true;
        return outcome;
      }
      if (!*reply) break;
      outcome.replies.push_back(*std::move(*reply));
    }
  }
  return outcome;
}

void check(std::string_view text) {
  auto const whole = parse({text});
  require(parse(fuzz::cut_at_random(text)) == whole);
  require(parse(fuzz::cut_at_every_byte(text)) == whole);
}

}  // namespace
}  // namespace subforge::redis

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size) {
  subforge::redis::check({reinterpret_cast<char const*>(data), size});
  return 0;
}
