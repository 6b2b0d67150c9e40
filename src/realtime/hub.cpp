#include "realtime/hub.hpp"

#include <algorithm>
#include <cassert>
#include <exception>

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

// What a payload below tells. Where its lists are too long for it, only how long they are.
struct Presence {
  std::vector<PresenceChange> joined;
  std::vector<PresenceChange> left;
  std::size_t joined_count = 0;
  std::size_t left_count = 0;
  std::size_t members = 0;

  [[nodiscard]] bool is_listed() const {
    return joined.size() == joined_count && left.size() == left_count;
  }
  void count() {
    joined_count = joined.size();
    left_count = left.size();
  }
};

// One coming or going is told in the reference's words; more within a tick as their difference.
// Not to the connection `origin`, if one is named.
std::string presence_payload(Presence const& presence, std::size_t entries_max,
                             std::string_view origin = {}) {
  std::string payload;
  JsonWriter json(payload);
  json.begin_object();
  json.member("connection_id", origin);
  json.key("data");
  json.begin_object();
  auto const entries = presence.joined_count + presence.left_count;
  if (entries == 1 && presence.is_listed()) {
    bool const came = presence.joined_count == 1;
    auto const& one = came ? presence.joined.front() : presence.left.front();
    json.member("event", came ? "user_joined" : "user_left");
    json.member("connection_id", one.connection_id);
    json.key("user_id");
    one.user.empty() ? json.null() : json.string(one.user);
  } else {
    json.member("event", "presence_diff");
    bool const listed = presence.is_listed() && entries <= entries_max;
    json.key("joined");
    write_presence(json, listed ? presence.joined : std::vector<PresenceChange>{});
    json.key("left");
    write_presence(json, listed ? presence.left : std::vector<PresenceChange>{});
    json.member("joined_count", presence.joined_count);
    json.member("left_count", presence.left_count);
  }
  json.member("members_count", presence.members);
  json.end_object();
  json.end_object();
  return payload;
}

PresenceChange change_in(boost::json::object const& entry) {
  return {std::string(describe::text_member(entry, "connection_id")),
          std::string(describe::text_member(entry, "user_id"))};
}

std::vector<PresenceChange> changes_in(boost::json::value const& list) {
  std::vector<PresenceChange> changes;
  for (auto const& entry : list.as_array()) changes.push_back(change_in(entry.as_object()));
  return changes;
}

// Of a payload as it is made above.
Presence read_presence(std::string_view payload) {
  auto const message = describe::parse_json(payload);
  auto const& data = message.as_object().at("data").as_object();
  auto const number = [&](std::string_view name) { return data.at(name).to_number<std::size_t>(); };
  Presence presence;
  auto const event = describe::text_member(data, "event");
  if (event == "presence_diff") {
    presence.joined = changes_in(data.at("joined"));
    presence.left = changes_in(data.at("left"));
    presence.joined_count = number("joined_count");
    presence.left_count = number("left_count");
  } else {
    (event == "user_joined" ? presence.joined : presence.left).push_back(change_in(data));
    presence.count();
  }
  presence.members = number("members_count");
  return presence;
}

void forget(std::vector<PresenceChange>& list, PresenceChange const& who) {
  std::erase_if(list, [&](PresenceChange const& entry) {
    return who.user.empty() ? entry.user.empty() && entry.connection_id == who.connection_id
                            : entry.user == who.user;
  });
}

// Of each user the last word; that one who was never told of has left harms nobody.
void add(Presence& presence, Presence const& more) {
  presence.members = more.members;
  if (!presence.is_listed() || !more.is_listed()) {
    presence.joined.clear();
    presence.left.clear();
    presence.joined_count += more.joined_count;
    presence.left_count += more.left_count;
    return;
  }
  for (auto const* const list : {&more.joined, &more.left}) {
    for (auto const& who : *list) {
      forget(presence.joined, who);
      forget(presence.left, who);
      (list == &more.joined ? presence.joined : presence.left).push_back(who);
    }
  }
  presence.count();
}

// What one server tells the others of rooms; and the question to which all answer with all of it.
constexpr std::string_view kRoomsTold = "rooms.told";
constexpr std::string_view kRoomsAsked = "rooms.asked";

std::string rooms_text(std::string_view server, std::vector<RoomNews> const& rooms, bool all) {
  std::string text;
  JsonWriter json(text);
  json.begin_object();
  json.member("kind", kRoomsTold);
  json.member("server", server);
  json.member("all", all);
  json.key("rooms");
  json.begin_array();
  for (auto const& room : rooms) {
    json.begin_object();
    json.member("room", room.room);
    json.member("members", room.members);
    json.key("joined");
    write_presence(json, room.joined);
    json.key("left");
    write_presence(json, room.left);
    json.end_object();
  }
  json.end_array();
  json.end_object();
  return text;
}

std::vector<RoomNews> rooms_in(boost::json::object const& told) {
  std::vector<RoomNews> rooms;
  for (auto const& entry : told.at("rooms").as_array()) {
    auto const& room = entry.as_object();
    rooms.push_back({std::string(describe::text_member(room, "room")),
                     changes_in(room.at("joined")), changes_in(room.at("left")),
                     room.at("members").to_number<std::size_t>()});
  }
  return rooms;
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
      rooms_(limits.rooms_max, store.database().is_shared()),
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

Task<void> Hub::remember_past(std::int64_t after, Timestamp since) {
  static auto const sql = "SELECT " + std::string(store::kEventColumns) +
                          " FROM events WHERE id > $1 AND id <= $2 ORDER BY id";
  auto const rows = static_cast<std::int64_t>(limits_.page_events);
  after = std::max<std::int64_t>(after, 0);
  for (auto floor = recent_.begin(store_.last_event_id()); floor > after;) {
    auto const before = std::max(floor - rows, after);
    // Behind this one all are there and not too old.
    auto begin = floor;
    std::vector<LiveEventPtr> page;
    auto read = [&](store::Session& session) -> Task<Result<std::int64_t>> {
      co_return co_await session.query(sql, {before, floor}, [&](store::Row const& row) {
        auto event = store::event_from_row(row);
        bool const is_old = event.at < since;
        begin = is_old ? event.id : std::min(begin, event.id - 1);
        if (is_old) return page.clear();
        if (event.audience.to == store::Audience::To::none) return;
        page.push_back(live(std::make_shared<store::Event const>(std::move(event))));
      });
    };
    auto const done = co_await store_.read(store::ReadCost::scan, std::move(read));
    // What is not remembered is read by who wants it.
    if (!done || !recent_.prepend(begin, page, floor) || begin > before) co_return;
    floor = before;
  }
}

LiveEventPtr Hub::tell_news(store::Event event, Reach reach) {
  event.at = Timestamp::now();
  auto const news = tell_here(std::move(event), Uuid::random().to_string());
  if (reach == Reach::all_servers && store_.database().is_shared()) {
    announce_soon(announcement_of(*news));
  }
  return news;
}

void Hub::announce_soon(std::string text) {
  auto* const loop = EventLoop::current();
  auto const here = std::ranges::find_if(
      loops_, [&](auto const& candidate) { return &candidate->loop() == loop; });
  assert(here != loops_.end());
  (*here)->tasks().spawn(announce(std::move(text)));
}

// Beside the request that it is of: nothing waits for it, and it is no part of what that commits.
Task<void> Hub::announce(std::string text) {
  auto tell = [&](store::Transaction& transaction) { return transaction.announce(text); };
  auto const told = co_await store_.write(tell);
  // A line for each time that it begins to fail.
  bool const before = told_others_.exchange(told.has_value(), std::memory_order_relaxed);
  if (told || !before) co_return;
  logger_.warning("other servers could not be told of news", {{"cause", told.error().context}});
}

void Hub::on_announced(std::string_view text) {
  boost::system::error_code error;
  auto const value = describe::parse_json(text, error);
  if (error || !value.is_object()) return;
  auto const& announced = value.get_object();
  auto const kind = describe::text_member(announced, "kind");
  if (kind == kRoomsTold) return hear_of_rooms(announced);
  if (kind == kRoomsAsked) return loops_.front()->loop().post([this] { tell_all_rooms(); });
  if (connections() == 0) return;
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

// --- Rooms of several servers

void Hub::share_rooms() {
  if (!store_.database().is_shared()) return;
  rooms_told_ = std::make_unique<Timer>([this] {
    tell_all_rooms();
    rooms_.forget_silent(monotonic_ns() - 3 * limits_.rooms_told_ms * 1'000'000);
    if (rooms_.has_news()) presence_soon();
    rooms_told_->arm(loops_.front()->loop().timers(),
                     monotonic_ns() + limits_.rooms_told_ms * 1'000'000);
  });
  rooms_told_->arm(loops_.front()->loop().timers(),
                   monotonic_ns() + limits_.rooms_told_ms * 1'000'000);
  std::string question;
  JsonWriter json(question);
  json.begin_object();
  json.member("kind", kRoomsAsked);
  json.end_object();
  announce_soon(std::move(question));
}

// Changes are told as they happen; all of it, in case that one was not heard, and so that nobody
// takes this server for dead.
void Hub::tell_all_rooms() {
  auto const all = rooms_.take_all_here();
  if (all.empty() && !had_rooms_) return;
  had_rooms_ = !all.empty();
  announce_soon(rooms_text(server_id_, all, true));
}

void Hub::hear_of_rooms(boost::json::object const& announced) {
  auto const server = std::string(describe::text_member(announced, "server"));
  try {
    rooms_.hear(server, rooms_in(announced), announced.at("all").as_bool(), monotonic_ns());
  } catch (std::exception const&) {
    return;  // A server of another version tells it otherwise.
  }
  if (rooms_.has_news()) presence_soon();
}

void Hub::presence_soon() {
  if (presence_asked_.exchange(true, std::memory_order_acq_rel)) return;
  auto& first = loops_.front()->loop();
  first.post([this, &first] {
    presence_->arm(first.timers(), first.now_ns() + limits_.presence_tick_ms * 1'000'000);
  });
}

void Hub::tell_presence() {
  presence_asked_.store(false, std::memory_order_release);
  if (auto const here = rooms_.take_news_of_here(); !here.empty()) {
    had_rooms_ = true;
    announce_soon(rooms_text(server_id_, here, false));
  }
  for (auto const& news : rooms_.take_news()) {
    store::Event event;
    event.kind = kPresence;
    event.audience = store::Audience::room(news.room);
    // Whoever came alone need not be told.
    bool const one_came = news.joined.size() == 1 && news.left.empty();
    auto const origin = one_came ? news.joined.front().connection_id : std::string();
    Presence presence{.joined = news.joined, .left = news.left, .members = news.members};
    presence.count();
    event.payload = presence_payload(presence, limits_.presence_entries_max, origin);
    tell_news(std::move(event));
  }
}

std::string Hub::add_presence(std::string_view before, std::string_view after) const {
  auto presence = read_presence(before);
  add(presence, read_presence(after));
  return presence_payload(presence, limits_.presence_entries_max);
}

std::string Hub::presence_text(LiveEvent const& news, std::string payload, Protocol protocol,
                               std::string_view room) const {
  auto event = std::make_shared<store::Event>(news.event());
  event->payload = std::move(payload);
  LiveEvent const made(std::move(event), {}, projections_.find(kPresence),
                       Uuid::random().to_string());
  std::string buffer;
  return std::string(made.text(protocol, room, buffer));
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
