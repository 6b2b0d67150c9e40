// Everything that is wrong with an input, in the form clients know from Pydantic: a type, the
// place, a sentence and the offending input.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace subforge {
class JsonWriter;
}

namespace subforge::describe {

// Where in the input something stands: names and list positions from the outside in. A chain of
// stack objects, so that a valid input costs nothing.
struct Where {
  Where const* outer = nullptr;
  std::variant<std::string_view, std::int64_t> step;
};

struct Issue {
  std::string type;  // missing, string_too_long, uuid_parsing ...
  std::vector<std::variant<std::string, std::int64_t>> loc;
  std::string msg;
  std::string input;  // JSON text; empty leaves the member out.
  std::string ctx;    // JSON text; empty leaves the member out.
};

class Issues {
 public:
  static constexpr std::size_t kIssuesMax = 100;       // More say nothing a client needs.
  static constexpr std::size_t kInputBytesMax = 1024;  // Longer inputs are not echoed.

  void add(Where const& where, std::string type, std::string msg, std::string input = {},
           std::string ctx = {});
  [[nodiscard]] bool empty() const { return list_.empty(); }
  [[nodiscard]] std::vector<Issue> const& list() const { return list_; }

  // The first of them in one sentence: its place within the body, and what is wrong there.
  [[nodiscard]] std::string first() const;

  // The list as the `detail` of a 422 answer.
  void write(JsonWriter& json) const;

 private:
  std::vector<Issue> list_;
};

}  // namespace subforge::describe
