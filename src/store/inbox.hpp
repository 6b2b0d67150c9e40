// Messages to one user, kept until the user acknowledges them, wherever and whenever that is. They
// are events of the log too; the inbox has its own copy, since the log forgets by other rules.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "store/store.hpp"

namespace subforge::store {

struct InboxLimits {
  std::int64_t messages_max = 1'000;  // Of one user; a new one then pushes out the oldest.
  std::int64_t days = 30;             // That a message is kept; 0 sets no bound.
};

struct KeptMessages {
  std::vector<Event> events;
  bool more = false;  // Behind them.
};

class Inbox {
 public:
  static constexpr std::int64_t kRemovedAtOnce = 10'000;

  Inbox(Store& store, InboxLimits const& limits, Logger logger)
      : store_(store), limits_(limits), logger_(logger) {}

  // Publishes an event whose audience is one user, and keeps it for that user; its id.
  Task<Result<std::int64_t>> send(Transaction& transaction, Event event);
  // What is kept for a user behind `after` and up to `last` (event ids), oldest first: at least
  // one, if there is one, and else at most so many with payloads of so many bytes.
  static Task<Result<KeptMessages>> read(Session& session, std::string_view user,
                                         std::int64_t after, std::int64_t last, std::int64_t limit,
                                         std::size_t bytes_max);
  // Removes what is kept for the user up to an event; how many that were.
  static Task<Result<std::int64_t>> acknowledge(Transaction& transaction, std::string user,
                                                std::int64_t last);
  // Removes at most kRemovedAtOnce of those kept too long; how many that were.
  Task<Result<std::int64_t>> expire(Timestamp now);

 private:
  Store& store_;
  InboxLimits const limits_;
  Logger logger_;
};

}  // namespace subforge::store
