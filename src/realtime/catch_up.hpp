// Coming back: what a viewer missed is read from the log, page by page, until it has seen all that
// its loop has delivered meanwhile; from then on it lives. At the seam nothing is lost, since
// events are on disk before a loop delivers them, and nothing comes twice, since delivery leaves
// out what a viewer has seen.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "realtime/pace.hpp"
#include "runtime/task.hpp"
#include "store/database.hpp"

namespace subforge::realtime {

// What a client says that comes back.
struct Resume {
  std::string last_event_id{};  // Empty: it does not come back, it is new.
  std::vector<std::string> rooms{};
  std::string connection_id{};  // That it had; its own messages are nothing it missed.
};

// The present state for those to whom the log cannot tell everything they missed.
class PresentState {
 public:
  // A JSON object. All queries of the session are within one snapshot.
  virtual Task<Result<std::string>> read(store::Session& session) = 0;

 protected:
  ~PresentState() = default;
};

// A viewer's way back; shared with its coroutine, which may outlive it.
struct CatchUp : Pace {
  std::optional<std::int64_t> position{};  // Seen up to here; nothing: not a position of this log.
  std::int64_t target = 0;                 // What was told before it came may come from here alone.
  std::string own_connection{};
  bool comes_back = false;    // Otherwise it is new, and only its inbox comes first.
  bool inbox = false;         // What is kept for the user is still to be shown ...
  std::int64_t inbox_to = 0;  // ... from behind here up to `position`.
  // Read and not yet shown: it is shown as fast as the viewer reads, however large its events are.
  std::vector<std::shared_ptr<LiveEvent const>> page{};
  std::size_t page_shown = 0;
  bool page_is_kept = false;   // It is of the inbox.
  std::int64_t page_last = 0;  // Where the log, or the inbox, is read up to with it.
  std::size_t rows = 0;        // To be read at once from disk.
  Recovered outcome{};

  // Whether another page is to be read, of the inbox or of the log.
  [[nodiscard]] bool needs_page(bool kept) const {
    return page_is_kept != kept || page_shown == page.size();
  }
  void set_page(std::vector<std::shared_ptr<LiveEvent const>> events, std::int64_t last,
                bool kept) {
    page = std::move(events);
    page_shown = 0;
    page_last = last;
    page_is_kept = kept;
  }
};

}  // namespace subforge::realtime
