#include "realtime/catch_up.hpp"

#include "realtime/hub.hpp"

namespace subforge::realtime {
namespace {

constexpr std::uint16_t kTryAgainLater = 1013;

Task<Result<void>> events_after(store::Session& session, std::int64_t position, std::size_t limit,
                                std::vector<store::Event>& events) {
  static auto const sql = "SELECT " + std::string(store::kEventColumns) +
                          " FROM events WHERE id > $1 ORDER BY id LIMIT $2";
  auto const done = co_await session.query(
      sql, {position, static_cast<std::int64_t>(limit)},
      [&](store::Row const& row) { events.push_back(store::event_from_row(row)); });
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

bool LoopHub::may_resume(Viewer const& viewer) const {
  return viewer.catching_up_ == nullptr && delivered_ <= viewer.seen_;
}

void LoopHub::resume(Viewer& viewer, Resume const& resume) {
  auto way = std::make_shared<CatchUp>();
  way->viewer = &viewer;
  way->position = hub_.store().parse_event_id(resume.last_event_id);
  // An id that this log has not given yet is of a log that went on after a backup was taken.
  if (way->position && *way->position > hub_.store().last_event_id()) way->position.reset();
  way->target = hub_.store().last_event_id();
  way->own_connection = resume.connection_id;
  viewer.seen_ = Viewer::kCatchingUp;
  viewer.catching_up_ = way;
  tasks_.spawn(catch_up(std::move(way)));
}

// Events come from memory as long as they are there; a page then costs what is shown of it.
Task<void> LoopHub::catch_up(std::shared_ptr<CatchUp> way) {
  auto const& limits = hub_.limits();
  for (;;) {
    co_await Turn{loop_};  // A page a turn, so that others have theirs.
    co_await way->drained(limits.lagging_bytes);
    if (way->viewer == nullptr) co_return;
    EventPage page;
    Result<bool> reached = false;
    if (way->position) reached = co_await next_page(*way, page);
    if (reached && !*reached) {
      auto const taken = co_await take_snapshot(*way);
      if (!taken) reached = std::unexpected(taken.error());
      page.last = way->position.value_or(0);
    }
    if (way->viewer == nullptr) co_return;
    auto& viewer = *way->viewer;
    if (!reached) {
      hub_.logger().warning("a connection could not be shown what it missed",
                            {{"cause", reached.error().message}});
      co_return viewer.close(kTryAgainLater, "what was missed cannot be read now; reconnect");
    }
    for (auto const& event : page.events) {
      if (show(viewer, *event, way->own_connection)) ++way->outcome.events;
    }
    way->position = page.last;
    // Nothing that this loop has delivered is left out: from here on the viewer lives.
    if (page.last >= delivered_ && page.last >= way->target) {
      viewer.seen_ = page.last;
      viewer.catching_up_.reset();
      way->outcome.position = page.last;
      if (way->outcome.snapshot.empty()) {
        way->outcome.complete = true;
        viewer.recovered(way->outcome);
      }
      co_return;
    }
  }
}

Task<Result<bool>> LoopHub::next_page(CatchUp& way, EventPage& page) {
  auto const position = *way.position;
  if (auto recent = hub_.recent().after(position, hub_.limits().page_events)) {
    page = std::move(*recent);
    co_return true;
  }
  // Before the read: what is told by now is on disk, and a page that ends before it has a gap.
  auto const told = hub_.store().last_event_id();
  std::vector<store::Event> events;
  auto read = [&](store::Session& session) -> Task<Result<void>> {
    co_return co_await events_after(session, position, hub_.limits().page_events, events);
  };
  auto const done = co_await hub_.store().read(store::ReadCost::scan, read);
  if (!done) co_return std::unexpected(done.error());
  // Ids have no gaps but where old events were removed.
  auto const first = events.empty() ? told + 1 : events.front().id;
  if (first > position + 1) co_return false;
  page.last = events.empty() ? position : events.back().id;
  page.events.reserve(events.size());
  for (auto& event : events) {
    page.events.push_back(hub_.live(std::make_shared<store::Event const>(std::move(event))));
  }
  co_return true;
}

// The state is that of the position or newer; events behind it that are in the state already tell
// what the state tells.
Task<Result<void>> LoopHub::take_snapshot(CatchUp& way) {
  way.position = hub_.store().last_event_id();
  auto read = [&](store::Session& session) { return hub_.present().read(session); };
  auto state = co_await hub_.store().read(store::ReadCost::scan, read);
  if (!state) co_return std::unexpected(state.error());
  way.outcome.complete = false;
  way.outcome.position = *way.position;
  way.outcome.snapshot = std::move(*state);
  if (way.viewer != nullptr) way.viewer->recovered(way.outcome);
  co_return {};
}

}  // namespace subforge::realtime
