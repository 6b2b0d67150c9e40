#include "realtime/hub.hpp"

#include <algorithm>
#include <cassert>

#include "base/json_writer.hpp"
#include "describe/json_text.hpp"
#include "describe/parse_json.hpp"

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

// News as other servers are told of them.
std::string announcement_of(LiveEvent const& news) {
  auto const& event = news.event();
  std::string text;
  JsonWriter json(text);
  json.begin_object();
  json.member("message_id", news.message_id());
  json.member("at", event.at);
  json.member("kind", event.kind);
  json.member("subject", event.subject);
  json.member("actor", event.actor);
  json.member("audience", event.audience.to_text());
  json.member("correlation_id", event.correlation_id);
  json.member("payload", event.payload);
  json.end_object();
  return text;
}

std::optional<store::Event> announced_event(boost::json::object const& announced) {
  auto const text = [&](std::string_view name) {
    return std::string(describe::text_member(announced, name));
  };
  auto const at = Timestamp::parse(text("at"));
  auto audience = store::Audience::parse(text("audience"));
  if (!at || !audience) return std::nullopt;
  store::Event event;
  event.at = *at;
  event.kind = text("kind");
  event.subject = text("subject");
  event.actor = text("actor");
  event.audience = std::move(*audience);
  event.correlation_id = text("correlation_id");
  event.payload = text("payload");
  return event;
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

LiveEventPtr Hub::tell_news(store::Event event, Reach reach) {
  event.at = Timestamp::now();
  auto const news = tell_here(std::move(event), Uuid::random().to_string());
  if (reach == Reach::all_servers && store_.database().is_shared()) {
    auto* const loop = EventLoop::current();
    auto const here = std::ranges::find_if(
        loops_, [&](auto const& candidate) { return &candidate->loop() == loop; });
    assert(here != loops_.end());
    (*here)->tasks().spawn(announce(announcement_of(*news)));
  }
  return news;
}

// Beside the request that it is of: nothing waits for it, and it is no part of what that commits.
Task<void> Hub::announce(std::string text) {
  auto tell = [&](store::Transaction& transaction) { return transaction.announce(text); };
  auto const told = co_await store_.write(tell);
  if (told) co_return;
  logger_.warning("other servers could not be told of news", {{"cause", told.error().context}});
}

void Hub::on_announced(std::string_view text) {
  if (connections() == 0) return;
  boost::system::error_code error;
  auto const value = describe::parse_json(text, error);
  if (error || !value.is_object()) return;
  auto const& announced = value.get_object();
  auto event = announced_event(announced);
  if (!event) return;
  // Of a newer server it may be what is not known here.
  auto const* const projection = projections_.find(event->kind);
  if (projection == nullptr || !projection->is_news) return;
  tell_here(std::move(*event), std::string(describe::text_member(announced, "message_id")));
}

LiveEventPtr Hub::tell_here(store::Event event, std::string news_id) {
  event.id = next_connection_number();
  auto const* const projection = projections_.find(event.kind);
  assert(projection != nullptr && projection->is_news);
  auto const news =
      std::make_shared<LiveEvent const>(std::make_shared<store::Event const>(std::move(event)),
                                        std::string(), projection, std::move(news_id));
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
