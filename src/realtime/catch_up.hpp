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

#include "realtime/live_event.hpp"
#include "realtime/pace.hpp"
#include "runtime/task.hpp"
#include "store/packed_events.hpp"

namespace subforge::realtime {

class Hub;

// The id of no event of any log.
inline constexpr std::string_view kNoEvent = "?";

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

// What was read and is not yet shown: it is shown as fast as the viewer reads, however large its
// events are.
class CatchUpPage {
 public:
  enum class Of : std::uint8_t { log, inbox };

  CatchUpPage() = default;
  // Ready to be shown; the log, or the inbox, is read up to `last` with them.
  CatchUpPage(std::vector<LiveEventPtr> events, std::int64_t last, Of of)
      : live_(std::move(events)), last_(last), of_(of) {}
  // As they lie on disk: what they look like is made one by one.
  CatchUpPage(std::unique_ptr<store::PackedEvents> events, std::int64_t last)
      : stored_(std::move(events)), last_(last) {}

  [[nodiscard]] bool is_shown() const { return next_ == size(); }
  [[nodiscard]] bool is_of(Of of) const { return of_ == of; }
  [[nodiscard]] std::int64_t last() const { return last_; }
  // The next one; not if all is shown.
  [[nodiscard]] LiveEventPtr take(Hub const& hub);

 private:
  [[nodiscard]] std::size_t size() const {
    return stored_ != nullptr ? stored_->size() : live_.size();
  }

  std::vector<LiveEventPtr> live_;
  std::unique_ptr<store::PackedEvents> stored_;
  std::size_t next_ = 0;
  std::int64_t last_ = 0;
  Of of_ = Of::log;
};

// A viewer's way back; shared with its coroutine, which may outlive it.
struct CatchUp : Pace {
  std::optional<std::int64_t> position{};  // Seen up to here; nothing: not a position of this log.
  std::int64_t target = 0;                 // What was told before it came may come from here alone.
  bool is_ahead = false;  // Of what this server has heard: whether the log has it is to be asked.
  std::string own_connection{};
  bool comes_back = false;    // Otherwise it is new, and only its inbox comes first.
  bool inbox = true;          // What is kept for the user is still to be shown ...
  std::int64_t inbox_to = 0;  // ... from behind here up to `position`.
  CatchUpPage page{};
  std::size_t rows = 0;  // To be read at once from disk.
  Recovered outcome{};
};

}  // namespace subforge::realtime
