// Any bytes as an element of a queue's list. Asserts that reading never fails, that what can be run
// can be written and read again as the same task, and that its next try is one, too.
#include <string>

#include "describe/json_text.hpp"
#include "jobs/celery/message.hpp"
#include "jobs/celery/result_meta.hpp"
#include "pieces.hpp"

namespace subforge::jobs::celery {
namespace {

using fuzz::require;

// A number beyond a double's range has no text: it is carried as null.
bool has_infinity(TaskMessage const& message) {
  return describe::has_infinity(message.headers) || describe::has_infinity(message.chord) ||
         describe::has_infinity(message.callbacks) || describe::has_infinity(message.errbacks) ||
         describe::has_infinity(message.chain);
}

void check(std::string_view text) {
  auto const first = read_message(text);
  if (auto const meta = read_meta(text)) require(read_meta(write_meta(*meta)).has_value());
  if (first.fault || has_infinity(first.message)) return;
  auto const again = read_message(write_message(first.message));
  require(!again.fault && again.message.id == first.message.id);
  require(again.message.task == first.message.task && again.message.args == first.message.args);
  require(again.message.kwargs == first.message.kwargs && again.message.eta == first.message.eta);
  require(again.message.chain == first.message.chain && again.message.chord == first.message.chord);
  auto const next = read_message(write_message(next_try(first.message, {})));
  require(!next.fault && next.message.retries == first.message.retries + 1);
  require(next.message.args == first.message.args);
}

}  // namespace
}  // namespace subforge::jobs::celery

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size) {
  subforge::jobs::celery::check({reinterpret_cast<char const*>(data), size});
  return 0;
}
