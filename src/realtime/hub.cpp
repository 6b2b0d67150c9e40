#include "realtime/hub.hpp"

#include <algorithm>
#include <cassert>

#include "base/json_writer.hpp"

namespace subforge::realtime {
namespace {

void write_presence(JsonWriter& json, std::vector<PresenceChange> const& changes) {
  json.begin_array();
  for (auto const& change : changes) {
    json.begin_object();
    json.member("connection_id", change.connection_id);
    json.key("user_id");
    change.user.empty() ? json.null() : json.string(change.user);
    json.end_object();
  }
  json.end_array();
}

// One coming or going is told in the reference's words; more within a tick as their difference.
// Whoever came alone need not be told.
std::string presence_payload(RoomNews const& news, std::size_t entries_max) {
  std::string payload;
  JsonWriter json(payload);
  json.begin_object();
  bool const one_came = news.joined.size() == 1 && news.left.empty();
  json.member("connection_id", one_came ? news.joined.front().connection_id : std::string());
  json.key("data");
  json.begin_object();
  if (news.joined.size() + news.left.size() == 1) {
    auto const& one = news.joined.empty() ? news.left.front() : news.joined.front();
    json.member("event", news.joined.empty() ? "user_left" : "user_joined");
    json.member("connection_id", one.connection_id);
    json.key("user_id");
    one.user.empty() ? json.null() : json.string(one.user);
  } else {
    json.member("event", "presence_diff");
    bool const listed = news.joined.size() + news.left.size() <= entries_max;
    json.key("joined");
    write_presence(json, listed ? news.joined : std::vector<PresenceChange>{});
    json.key("left");
    write_presence(json, listed ? news.left : std::vector<PresenceChange>{});
    json.member("joined_count", news.joined.size());
    json.member("left_count", news.left.size());
  }
  json.member("members_count", news.members);
  json.end_object();
  json.end_object();
  return payload;
}

}  // namespace

Hub::Hub(store::Store& store, Gate& gate, PresentState& present, Projections const& projections,
         HubLimits const& limits, Logger logger)
    : store_(store),
      gate_(gate),
      present_(present),
      projections_(projections),
      limits_(limits),
      logger_(logger),
      rooms_(limits.rooms_max),
      recent_(limits.recent_events, limits.recent_bytes) {}

LoopHub& Hub::attach(EventLoop& loop, net::WebSocketServer& sockets) {
  if (presence_ == nullptr) presence_ = std::make_unique<Timer>([this] { tell_presence(); });
  return *loops_.emplace_back(std::make_unique<LoopHub>(*this, loop, sockets));
}

LiveEventPtr Hub::live(store::EventPtr event) const {
  auto id = store_.event_id_text(event->id);
  auto const* const projection = projections_.find(event->kind);
  return std::make_shared<LiveEvent const>(std::move(event), std::move(id), projection);
}

void Hub::on_events(std::span<store::EventPtr const> events) {
  auto const last = events.back()->id;
  auto shared = std::make_shared<std::vector<LiveEventPtr>>();
  shared->reserve(events.size());
  for (auto const& event : events) {
    if (event->audience.to != store::Audience::To::none) shared->push_back(live(event));
  }
  recent_.add(events.front()->id - 1, *shared, last);
  if (shared->empty()) return;
  std::atomic_thread_fence(std::memory_order_seq_cst);  // See LoopHub::add().
  if (connections() == 0) return;
  for (auto const& to : loops_) {
    to->loop().post([hub = to.get(), shared, last] { hub->deliver(*shared, last); });
  }
}

LiveEventPtr Hub::tell_news(store::Event event) {
  event.id = next_connection_number();
  event.at = Timestamp::now();
  auto const* const projection = projections_.find(event.kind);
  assert(projection != nullptr && projection->is_news);
  auto const news = std::make_shared<LiveEvent const>(
      std::make_shared<store::Event const>(std::move(event)), std::string(), projection);
  if (connections() == 0) return news;
  for (auto const& to : loops_) {
    to->loop().post([hub = to.get(), news] { hub->deliver(*news); });
  }
  return news;
}

void Hub::check_rights() {
  for (auto const& to : loops_) {
    to->loop().post([hub = to.get()] { hub->check_rights(); });
  }
}

void Hub::presence_soon(LoopHub&) {
  if (presence_asked_.exchange(true, std::memory_order_acq_rel)) return;
  auto& first = loops_.front()->loop();
  first.post([this, &first] {
    presence_->arm(first.timers(), first.now_ns() + limits_.presence_tick_ms * 1'000'000);
  });
}

void Hub::tell_presence() {
  presence_asked_.store(false, std::memory_order_release);
  for (auto const& news : rooms_.take_news()) {
    store::Event event;
    event.kind = "room.presence";
    event.audience = store::Audience::room(news.room);
    event.payload = presence_payload(news, limits_.presence_entries_max);
    tell_news(std::move(event));
  }
}

std::size_t Hub::connections() const {
  std::size_t total = 0;
  for (std::size_t i = 0; i < kProtocols; ++i) total += connections(static_cast<Protocol>(i));
  return total;
}

std::size_t Hub::connections(Protocol protocol) const {
  std::size_t total = 0;
  for (auto const& loop : loops_) total += loop->count(protocol);
  return total;
}

void Hub::connection_added() {
  auto const now = connections();
  auto peak = peak_.load(std::memory_order_relaxed);
  while (peak < now && !peak_.compare_exchange_weak(peak, now, std::memory_order_relaxed)) {
  }
}

Task<void> Hub::visit(std::function<bool(LoopHub&)> visit_one) {
  auto* const home = EventLoop::current();
  for (auto const& loop : loops_) {
    co_await loop->loop().resume_here();
    if (!visit_one(*loop)) break;
  }
  co_await home->resume_here();
}

Task<std::vector<ConnectionInfo>> Hub::list_connections() {
  std::vector<ConnectionInfo> all;
  co_await visit([&](LoopHub& loop) {
    loop.list_connections(all);
    return true;
  });
  co_return all;
}

}  // namespace subforge::realtime
