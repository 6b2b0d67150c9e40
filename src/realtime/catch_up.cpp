#include "realtime/catch_up.hpp"

#include <algorithm>

#include "realtime/history.hpp"
#include "realtime/hub.hpp"
#include "store/event_history.hpp"
#include "store/inbox.hpp"

namespace subforge::realtime {
namespace {

constexpr std::int64_t kInboxPage = 20;

// At least one, if there is one; `cut` says that what came behind would have been too much.
Task<Result<void>> events_after(store::Session& session, std::int64_t position, std::size_t rows,
                                std::size_t bytes_max, store::PackedEvents& events, bool& cut) {
  static auto const sql = "SELECT " + std::string(store::kEventColumns) +
                          " FROM events WHERE id > $1 ORDER BY id LIMIT $2";
  std::size_t bytes = 0;
  auto const done = co_await session.query(sql, {position, static_cast<std::int64_t>(rows)},
                                           [&](store::Row const& row) {
                                             if (cut) return;
                                             auto const event = store::event_view(row);
                                             bytes += event.payload.size();
                                             cut = bytes > bytes_max && events.size() > 0;
                                             if (!cut) events.add(event);
                                           });
  if (!done) co_return std::unexpected(done.error());
  co_return {};
}

struct Turn {
  EventLoop& loop;
  [[nodiscard]] bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> waiting) const {
    loop.post([waiting] { waiting.resume(); });
  }
  void await_resume() const noexcept {}
};

}  // namespace

LiveEventPtr CatchUpPage::take(Hub const& hub) {
  auto const at = next_++;
  if (stored_ == nullptr) return std::move(live_[at]);
  return hub.live(std::make_shared<store::Event const>(stored_->at(at)));
}

bool LoopHub::may_resume(Viewer const& viewer) const {
  auto const* const way = viewer.catching_up_.get();
  return !viewer.was_told_ && (way == nullptr || !way->comes_back);
}

void LoopHub::resume(Viewer& viewer, Resume const& resume) {
  bool const comes_back = !resume.last_event_id.empty();
  if (!comes_back && viewer.catching_up_ != nullptr) {
    viewer.catching_up_->inbox_to = 0;
    viewer.catching_up_->inbox = true;
    viewer.catching_up_->page = {};
    return;
  }
  let_go(std::exchange(viewer.catching_up_, nullptr), loop_);
  auto way = std::make_shared<CatchUp>();
  way->viewer = &viewer;
  way->comes_back = comes_back;
  way->target = hub_.store().last_event_id();
  if (way->comes_back) {
    way->position = hub_.store().parse_event_id(resume.last_event_id);
    way->is_ahead = way->position && *way->position > way->target;
  } else {
    way->position = std::max(delivered_, viewer.seen_);
  }
  way->own_connection = resume.connection_id;
  viewer.seen_ = Viewer::kCatchingUp;
  viewer.catching_up_ = way;
  tasks_.spawn(catch_up(std::move(way)));
}

Task<void> LoopHub::catch_up(std::shared_ptr<CatchUp> way) {
  for (;;) {
    co_await Turn{loop_};  // A page a turn, so that others have theirs.
    co_await way->drained(hub_.limits().lagging_bytes);
    if (way->viewer == nullptr) co_return;
    auto const gone_on = co_await go_on_catching_up(*way);
    if (way->viewer == nullptr) co_return;
    if (!gone_on) {
      hub_.logger().warning("a connection could not be shown what it missed",
                            {{"cause", gone_on.error().message}});
      co_return way->viewer->close(net::kWsTryAgainLater,
                                   "what was missed cannot be read now; reconnect");
    }
    // Nothing that this loop has delivered is left out: from here on the viewer lives. What ends it
    // does not come behind much that waits.
    if (!way->inbox && way->position.value_or(-1) >= std::max(delivered_, way->target) &&
        way->viewer->queued_bytes() < hub_.limits().lagging_bytes) {
      co_return end_catching_up(*way->viewer);
    }
  }
}

Task<Result<void>> LoopHub::go_on_catching_up(CatchUp& way) {
  if (way.is_ahead) return look_ahead(way);
  if (!way.position) return take_snapshot(way);
  if (way.inbox) return show_inbox(way);
  return show_missed(way);
}

// Another server told it what this one is about to hear of. But an id that the log has not given is
// of a log that went on after a backup was taken.
Task<Result<void>> LoopHub::look_ahead(CatchUp& way) {
  auto& store = hub_.store();
  std::int64_t newest = store.last_event_id();
  if (store.database().is_shared()) {
    auto const read = co_await store.read(store::ReadCost::point, &store::last_id_given);
    if (!read) co_return std::unexpected(read.error());
    newest = *read;
  }
  if (*way.position > newest) way.position.reset();
  way.is_ahead = false;
  co_return Result<void>{};
}

void LoopHub::end_catching_up(Viewer& viewer) {
  auto const way = std::exchange(viewer.catching_up_, nullptr);
  auto& outcome = way->outcome;
  outcome.position = viewer.seen_ = *way->position;
  if (way->comes_back && outcome.snapshot.empty()) {
    outcome.complete = true;
    viewer.recovered(outcome);
  } else if (outcome.inbox > 0) {
    viewer.inbox_shown(outcome);
  }
  tell_conflated(viewer);
}

bool LoopHub::acknowledge(Viewer& viewer, std::int64_t up_to, std::string correlation_id) {
  if (viewer.acknowledging_ >= hub_.limits().in_flight_max) return false;
  ++viewer.acknowledging_;
  tasks_.spawn(
      clear_inbox(viewer.connection_id_, viewer.identity_->user, up_to, std::move(correlation_id)));
  return true;
}

Task<void> LoopHub::clear_inbox(std::string connection_id, std::string user, std::int64_t up_to,
                                std::string correlation_id) {
  auto remove = [&](store::Transaction& transaction) {
    return store::Inbox::acknowledge(transaction, user, up_to);
  };
  auto const removed = co_await hub_.store().write(remove);
  auto* const viewer = find(connection_id);  // It may have gone meanwhile.
  if (viewer == nullptr) co_return;
  --viewer->acknowledging_;
  viewer->acknowledged({up_to, removed, std::move(correlation_id)});
}

// What is kept for the user and is not behind the place from which the log tells everything.
// Whoever is new has that before anything else, so that acknowledging what comes later loses none
// of it.
Task<Result<void>> LoopHub::show_inbox(CatchUp& way) {
  auto const user = way.viewer->identity_->user;
  using Of = CatchUpPage::Of;
  if (!way.page.is_of(Of::inbox) || way.page.is_shown()) {
    auto read = [&](store::Session& session) {
      return store::Inbox::read(session, user, way.inbox_to, *way.position, kInboxPage,
                                hub_.limits().page_bytes);
    };
    auto kept = co_await hub_.store().read(store::ReadCost::point, read);
    if (!kept) co_return std::unexpected(kept.error());
    if (way.viewer == nullptr || way.viewer->identity_->user != user) co_return Result<void>{};
    auto const last = kept->more ? kept->events.back().id : *way.position;
    std::vector<LiveEventPtr> live;
    for (auto& event : kept->events) {
      live.push_back(hub_.live(std::make_shared<store::Event const>(std::move(event))));
    }
    way.page = {std::move(live), last, Of::inbox};
  }
  while (!way.page.is_shown()) {
    if (way.viewer->queued_bytes() >= hub_.limits().lagging_bytes) co_return Result<void>{};
    auto const live = way.page.take(hub_);
    bool const is_for_it = may_know(*way.viewer->identity_, live->event().audience);
    if (!is_for_it || !live->carried_by(way.viewer->protocol_)) continue;
    count_shown(*way.viewer);
    way.viewer->push(live->kept_text(way.viewer->protocol_));
    ++way.outcome.inbox;
  }
  way.inbox_to = way.page.last();
  if (way.inbox_to >= *way.position) way.inbox = false;
  co_return Result<void>{};
}

Task<Result<void>> LoopHub::show_missed(CatchUp& way) {
  if (!way.page.is_of(CatchUpPage::Of::log) || way.page.is_shown()) {
    auto const reached = co_await next_page(way);
    if (!reached) co_return std::unexpected(reached.error());
    if (way.viewer == nullptr) co_return Result<void>{};
    if (!*reached) {
      way.position.reset();
      co_return Result<void>{};
    }
  }
  while (!way.page.is_shown()) {
    if (way.viewer->queued_bytes() >= hub_.limits().lagging_bytes) co_return Result<void>{};
    auto const event = way.page.take(hub_);
    if (show(*way.viewer, *event, way.own_connection)) ++way.outcome.events;
    way.position = event->event().id;
  }
  way.position = way.page.last();
  co_return Result<void>{};
}

bool LoopHub::take_recent(CatchUp& way) {
  auto recent = hub_.recent().after(*way.position, hub_.limits().page_events);
  if (recent) way.page = {std::move(recent->events), recent->last, CatchUpPage::Of::log};
  return recent.has_value();
}

// Events come from memory as long as they are there; a page then costs what is shown of it.
Task<Result<bool>> LoopHub::next_page(CatchUp& way) {
  auto const position = *way.position;
  auto const& limits = hub_.limits();
  if (take_recent(way)) co_return true;
  // A crowd does not ask the database for more than it answers at once; and what was read for one
  // may be what the next one wants.
  auto const turn = co_await disk_.next();
  if (way.viewer == nullptr || take_recent(way)) co_return true;
  // Before the read: what is told by now is on disk, and a page that ends before it has a gap.
  auto const told = hub_.store().last_event_id();
  if (way.rows == 0) way.rows = limits.page_events;
  auto events = std::make_unique<store::PackedEvents>();
  bool cut = false;
  auto read = [&](store::Session& session) {
    return events_after(session, position, way.rows, limits.page_bytes, *events, cut);
  };
  auto const done = co_await hub_.store().read(store::ReadCost::scan, read);
  if (!done) co_return std::unexpected(done.error());
  // Large events are read fewer at a time, so that none is read often.
  way.rows = cut ? events->size() + 1 : std::min(way.rows * 2, limits.page_events);
  // Ids have no gaps but where old events were removed.
  auto const count = events->size();
  auto const first = count == 0 ? told + 1 : events->id(0);
  if (first > position + 1) co_return false;
  auto const last = count == 0 ? position : events->id(count - 1);
  way.page = {std::move(events), last};
  co_return true;
}

// The state is that of the position or newer; events behind it that are in the state already tell
// what the state tells.
Task<Result<void>> LoopHub::take_snapshot(CatchUp& way) {
  auto const turn = co_await disk_.next();
  if (way.viewer == nullptr) co_return Result<void>{};
  way.position = hub_.store().last_event_id();
  auto read = [&](store::Session& session) { return hub_.present().read(session); };
  auto state = co_await hub_.store().read(store::ReadCost::scan, read);
  if (!state) co_return std::unexpected(state.error());
  way.outcome.complete = false;
  way.outcome.position = *way.position;
  way.outcome.snapshot = std::move(*state);
  if (way.viewer != nullptr) way.viewer->recovered(way.outcome);
  way.inbox = true;  // The rest of it, which has an end of its own.
  way.outcome.inbox = 0;
  co_return {};
}

}  // namespace subforge::realtime
