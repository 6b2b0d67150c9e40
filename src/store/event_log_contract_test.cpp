#include <algorithm>
#include <atomic>
#include <limits>
#include <stdexcept>
#include <thread>

#include "base/time.hpp"
#include "runtime/loop_threads_test.hpp"
#include "store/counts.hpp"
#include "store/database_contract_test.hpp"
#include "store/event_history.hpp"
#include "store/event_retention.hpp"

namespace subforge::store {
namespace {

std::vector<std::int64_t> counting_from(std::int64_t first, std::size_t count) {
  std::vector<std::int64_t> ids(count);
  for (auto& id : ids) id = first++;
  return ids;
}

// All rows of the log, in order of their ids.
std::vector<Event> whole_log(Store& store) {
  EventLoop loop;
  auto const read = [](Session& session) -> Task<Result<std::vector<Event>>> {
    std::vector<Event> events;
    auto const done =
        co_await session.query("SELECT " + std::string(kEventColumns) + " FROM events ORDER BY id",
                               {}, [&](Row const& row) { events.push_back(event_from_row(row)); });
    if (!done) co_return std::unexpected(done.error());
    co_return events;
  };
  return block_on(loop, store.read(ReadCost::scan, read)).value_or(std::vector<Event>{});
}

std::int64_t count_of(Store& store, std::string sql) {
  EventLoop loop;
  auto const read = [&sql](Session& session) -> Task<Result<std::int64_t>> {
    std::int64_t count = -1;
    auto const done =
        co_await session.query(sql, {}, [&](Row const& row) { count = row.integer(0); });
    if (!done) co_return std::unexpected(done.error());
    co_return count;
  };
  return block_on(loop, store.read(ReadCost::scan, read)).value_or(-2);
}

TEST_P(EventLogContract, AnEventComesBackAsItWasPublished) {
  auto const one = open();
  std::vector<Event> published;
  for (auto const& audience :
       {Audience::nobody(), Audience::everybody({}), Audience::everybody({"agents", "agent:1"}),
        Audience::room("a \"quoted\" room, with: marks"),
        Audience{Audience::To::user, {}, "ann"}}) {
    Event event;
    event.kind = "test.audience";
    event.level = LogLevel::warning;
    event.subject = "thing:\xc3\xa4";
    event.actor = "someone";
    event.audience = audience;
    event.version = 1LL << 40;
    event.correlation_id = "request-1";
    event.payload = R"({"list":[1,"two",null]})";
    published.push_back(std::move(event));
  }
  auto const publish = [&](Transaction& transaction) -> Task<Result<std::int64_t>> {
    for (auto& event : published) {
      auto const id = co_await transaction.publish(event);
      if (!id) co_return std::unexpected(id.error());
      event.id = *id;
      event.at = transaction.now();
    }
    co_return 0;
  };
  ASSERT_TRUE(block_on(loop_, one->store.write(publish)));
  auto const log = whole_log(one->store);
  auto const heard = one->follower.events();
  ASSERT_EQ(log.size(), published.size());
  ASSERT_EQ(heard.size(), published.size());
  for (std::size_t i = 0; i < log.size(); ++i) {
    for (auto const* const copy : {&log[i], heard[i].get()}) {
      auto const& expected = published[i];
      EXPECT_EQ(copy->id, expected.id);
      EXPECT_EQ(copy->at, expected.at);
      EXPECT_EQ(copy->kind, expected.kind);
      EXPECT_EQ(copy->level, expected.level);
      EXPECT_EQ(copy->subject, expected.subject);
      EXPECT_EQ(copy->actor, expected.actor);
      EXPECT_EQ(copy->audience, expected.audience);
      EXPECT_EQ(copy->version, expected.version);
      EXPECT_EQ(copy->correlation_id, expected.correlation_id);
      EXPECT_EQ(copy->payload, expected.payload);
    }
  }
}

// Of several that are published at once, in more statements than one, each has its id and its
// place.
TEST_P(EventLogContract, EventsPublishedAtOnceFollowEachOther) {
  auto const one = open();
  auto& store = one->store;
  constexpr std::int64_t kEvents = 45;
  std::vector<Event> events;
  for (std::int64_t i = 0; i < kEvents; ++i) {
    auto event = test_event("at once");
    event.payload = "{\"number\":" + std::to_string(i) + "}";
    if (i % 3 == 0) event.audience = Audience::room("x");
    if (i % 3 == 1) event.audience = Audience::everybody({"x", "y", "x"});
    events.push_back(std::move(event));
  }
  auto const publish = [&](Transaction& transaction) -> Task<Result<std::int64_t>> {
    EXPECT_EQ(co_await transaction.publish(test_event("before")), 1);
    EXPECT_EQ(co_await transaction.publish(events), 2);
    EXPECT_TRUE(co_await transaction.publish(std::vector<Event>{}));
    co_return co_await transaction.publish(test_event("behind"));
  };
  EXPECT_EQ(block_on(loop_, store.write(publish)), kEvents + 2);
  auto const log = whole_log(store);
  auto const heard = one->follower.events();
  ASSERT_EQ(log.size(), std::size_t{kEvents + 2});
  ASSERT_EQ(heard.size(), log.size());
  for (std::size_t i = 0; i < log.size(); ++i) {
    EXPECT_EQ(log[i].id, static_cast<std::int64_t>(i) + 1);
    EXPECT_EQ(heard[i]->id, log[i].id);
    EXPECT_EQ(heard[i]->payload, log[i].payload);
    if (i == 0 || i > events.size()) continue;
    EXPECT_EQ(log[i].payload, events[i - 1].payload);
    EXPECT_EQ(log[i].audience, events[i - 1].audience);
  }
}

// Of several that change at once, in more statements than one, each has its own change and no
// other's, whether it was kept before or not.
TEST_P(EventLogContract, CountsThatChangeAtOnceAreEachChanged) {
  auto const one = open();
  Counts expected;
  for (std::int64_t const changed : {1, 2, 7, 8, 9, 15, 16, 31}) {
    CountChanges counts;
    for (std::int64_t i = 0; i < changed; ++i) {
      auto const name = "at once." + std::to_string(i);
      counts.add(name, 100 * changed + i);
      expected[name] += 100 * changed + i;
    }
    counts.add("at once.not at all", 1);
    counts.add("at once.not at all", -1);
    auto const change = [&](Transaction& transaction) -> Task<Result<void>> {
      co_return co_await counts.apply(transaction);
    };
    ASSERT_TRUE(block_on(loop_, one->store.write(change)));
    auto const read = [](Session& session) -> Task<Result<Counts>> {
      co_return co_await read_counts(session, "at once");
    };
    EXPECT_EQ(block_on(loop_, one->store.read(ReadCost::scan, read)), expected);
  }
}

// What is removed is the log's beginning, however little is removed at once; ids go on behind what
// was given.
TEST_P(EventLogContract, OldEventsLeaveTheLogFromItsBeginning) {
  auto const one = open();
  auto& store = one->store;
  constexpr std::int64_t kEvents = EventRetention::kRemovedAtOnce + 100;
  auto const publish = [](Transaction& transaction) -> Task<Result<std::int64_t>> {
    for (std::int64_t i = 0; i < kEvents; ++i) {
      if (auto const id = co_await transaction.publish(test_event("e")); !id) co_return id;
    }
    co_return 0;
  };
  ASSERT_TRUE(block_on(loop_, store.write(publish)));
  auto const now = Timestamp::now();
  // On the loop of the test: a new one for each read would be a new client of the database.
  auto const ids = [&] {
    std::vector<std::int64_t> found;
    auto const read = [&](Session& session) -> Task<Result<std::int64_t>> {
      co_return co_await session.query("SELECT id FROM events ORDER BY id", {},
                                       [&](Row const& row) { found.push_back(row.integer(0)); });
    };
    EXPECT_TRUE(block_on(loop_, store.read(ReadCost::scan, read)));
    return found;
  };
  auto const thin = [&](std::int64_t days, std::int64_t count, Timestamp at) {
    return block_on(loop_, EventRetention(store, days, count).thin(at)).value_or(-1);
  };
  EXPECT_EQ(thin(0, 0, now), 0);
  EXPECT_EQ(thin(1, kEvents, now), 0);
  EXPECT_EQ(thin(0, kEvents - 10, now), 10);
  EXPECT_EQ(ids().front(), 11);
  EXPECT_EQ(thin(0, 50, now), EventRetention::kRemovedAtOnce);
  EXPECT_EQ(thin(0, 50, now), 40);
  EXPECT_EQ(ids(), counting_from(kEvents - 49, 50));
  Timestamp const later{now.micros + 2 * 86'400'000'000};
  EXPECT_EQ(thin(3, 0, later), 0);
  EXPECT_EQ(thin(1, 0, later), 50);
  EXPECT_TRUE(ids().empty());
  EXPECT_EQ(block_on(loop_, publish_one(store, "next")).value_or(-1), kEvents + 1);
}

// The newest that match, oldest first, whichever way leads to them.
TEST_P(EventLogContract, HistoryIsFoundByRoomKindAndTime) {
  auto const one = open();
  auto& store = one->store;
  auto const event = [](std::string kind, Audience audience) {
    auto made = test_event("e");
    made.kind = std::move(kind);
    made.audience = std::move(audience);
    return made;
  };
  auto const publish = [&](std::vector<Event> events) {
    auto all = [&](Transaction& transaction) -> Task<Result<std::int64_t>> {
      for (auto& made : events) {
        if (auto const id = co_await transaction.publish(made); !id) co_return id;
      }
      co_return 0;
    };
    ASSERT_TRUE(block_on(loop_, store.write(all)));
  };
  publish({event("a", Audience::everybody({"x", "y"})), event("b", Audience::room("x")),
           event("a", Audience::everybody({"x", "x"})), event("c", Audience::everybody({}))});
  auto const middle = Timestamp::now();
  publish({event("b", Audience::room("y")), event("a", Audience::room("x"))});
  bool complete = false;
  auto const ask = [&](HistoryFilter const& filter, auto wanted) {
    auto read = [&](Session& session) { return find_events(session, filter, wanted); };
    auto const found = block_on(loop_, store.read(ReadCost::scan, read)).value_or(History{});
    std::vector<std::int64_t> ids;
    for (auto const& found_event : found.events) ids.push_back(found_event->id);
    complete = found.complete;
    return ids;
  };
  using Ids = std::vector<std::int64_t>;
  auto const any = [](EventPtr const&) { return true; };
  EXPECT_EQ(ask({}, any), (Ids{1, 2, 3, 4, 5, 6}));
  EXPECT_EQ(ask({.limit = 2}, any), (Ids{5, 6}));
  EXPECT_EQ(ask({.limit = 0}, any), Ids{});
  EXPECT_EQ(ask({.room = "x"}, any), (Ids{1, 2, 3, 6}));
  EXPECT_EQ(ask({.room = "y", .limit = 1}, any), Ids{5});
  EXPECT_EQ(ask({.room = "z"}, any), Ids{});
  EXPECT_EQ(ask({.kinds = {"a"}}, any), (Ids{1, 3, 6}));
  EXPECT_EQ(ask({.kinds = {"a", "c"}, .limit = 2}, any), (Ids{4, 6}));
  EXPECT_EQ(ask({.room = "x", .kinds = {"b"}}, any), Ids{2});
  EXPECT_EQ(ask({.since = middle}, any), (Ids{5, 6}));
  EXPECT_EQ(ask({.room = "x", .since = middle}, any), Ids{6});
  EXPECT_EQ(ask({.since = Timestamp{0}}, any).size(), 6U);
  EXPECT_EQ(ask({.since = Timestamp::now()}, any), Ids{});
  auto const odd = [](EventPtr const& seen) { return seen->id % 2 == 1; };
  EXPECT_EQ(ask({.limit = 2}, odd), (Ids{3, 5}));
  EXPECT_TRUE(complete);
  // A clock that was a day ahead, and was set back.
  auto const day = Timestamp{Timestamp::now().micros + 86'400'000'000};
  auto ahead = [day](Transaction& transaction) -> Task<Result<std::int64_t>> {
    co_return co_await transaction.execute("UPDATE events SET at = $1 WHERE id <= 2", {day});
  };
  ASSERT_TRUE(block_on(loop_, store.write(ahead)));
  EXPECT_EQ(ask({.since = Timestamp{day.micros - 1'000'000}}, any), (Ids{1, 2}));
  EXPECT_EQ(ask({.since = Timestamp{day.micros - 1'000'000}, .first_ones = true}, any),
            (Ids{1, 2}));
  EXPECT_EQ(block_on(loop_, store.read(ReadCost::point, &events_kept)).value_or(-1), 6);
  // What leaves the log leaves its rooms.
  auto const rooms_noted = [&] {
    std::int64_t count = -1;
    auto read = [&](Session& session) -> Task<Result<std::int64_t>> {
      co_return co_await session.query("SELECT count(*) FROM event_rooms", {},
                                       [&](Row const& row) { count = row.integer(0); });
    };
    EXPECT_TRUE(block_on(loop_, store.read(ReadCost::scan, read)));
    return count;
  };
  EXPECT_EQ(rooms_noted(), 6);
  EXPECT_EQ(block_on(loop_, EventRetention(store, 0, 2).thin(Timestamp::now())).value_or(-1), 4);
  EXPECT_EQ(rooms_noted(), 2);
  EXPECT_EQ(ask({.room = "x"}, any), Ids{6});
  EXPECT_FALSE(complete) << "older ones may have been for it";
  EXPECT_EQ(ask({.room = "x", .limit = 1}, any), Ids{6});
  EXPECT_TRUE(complete) << "as many as were asked for";
  EXPECT_EQ(ask({.since = middle}, any), (Ids{5, 6}));
  EXPECT_FALSE(complete) << "the first of them is newer than that";
  EXPECT_EQ(ask({.since = Timestamp::now()}, any), Ids{});
  EXPECT_TRUE(complete);
}

// Read page by page, a filter tells exactly what it tells at once.
TEST_P(EventLogContract, HistoryIsReadInPagesWithoutGapOrRepeat) {
  auto const one = open();
  auto& store = one->store;
  constexpr std::int64_t kEvents = 400;
  auto const publish = [](Transaction& transaction) -> Task<Result<std::int64_t>> {
    for (std::int64_t i = 0; i < kEvents; ++i) {
      auto event = test_event("paged");
      event.kind = std::string(1, static_cast<char>('a' + i * i % 5));
      if (i % 3 == 0) event.audience = Audience::room(i % 2 == 0 ? "x" : "y");
      if (auto const id = co_await transaction.publish(std::move(event)); !id) co_return id;
    }
    co_return 0;
  };
  ASSERT_TRUE(block_on(loop_, store.write(publish)));
  auto const ask = [&](HistoryFilter const& filter) {
    auto const wanted = [](EventPtr const& event) { return event->id % 7 != 0; };
    auto read = [&](Session& session) { return find_events(session, filter, wanted); };
    return block_on(loop_, store.read(ReadCost::scan, read)).value_or(History{});
  };
  for (HistoryFilter filter :
       {HistoryFilter{}, HistoryFilter{.room = "x"}, HistoryFilter{.kinds = {"a", "b", "e"}},
        HistoryFilter{.kinds = {"?"}}, HistoryFilter{.room = "y", .kinds = {"a"}}}) {
    filter.limit = kEvents;
    auto const all = ask(filter).events;
    std::vector<EventPtr> paged;
    filter.first_ones = true;
    filter.after = 0;
    for (filter.limit = 1; filter.after; filter.limit = filter.limit * 2 % 61 + 1) {
      auto const page = ask(filter);
      ASSERT_LE(std::ssize(page.events), filter.limit);
      ASSERT_TRUE(!page.next || *page.next > *filter.after);
      paged.insert(paged.end(), page.events.begin(), page.events.end());
      filter.after = page.next;
    }
    auto const id_of = [](EventPtr const& event) { return event->id; };
    EXPECT_TRUE(std::ranges::equal(paged, all, {}, id_of, id_of));
    EXPECT_EQ(all.empty(), filter.kinds == std::vector<std::string>{"?"});
  }
  ASSERT_TRUE(block_on(loop_, EventRetention(store, 0, 100).thin(Timestamp::now())));
  EXPECT_FALSE(ask({.after = 10, .first_ones = true}).complete);
  EXPECT_TRUE(ask({.after = kEvents - 100, .first_ones = true}).complete);
}

// A page of a room's history costs what it shows, not the room.
TEST_P(EventLogContract, HistoryOfARoomCostsAsMuchAsThatOfAll) {
  constexpr int kEvents = 4'000;
  auto const one = open();
  auto& store = one->store;
  auto all = [&](Transaction& transaction) -> Task<Result<std::int64_t>> {
    for (int i = 0; i < kEvents; ++i) {
      auto event = test_event("e");
      event.audience = Audience::room("x");
      event.payload = "{\"text\":\"" + std::string(200, 'x') + "\"}";
      if (auto const id = co_await transaction.publish(std::move(event)); !id) co_return id;
    }
    co_return 0;
  };
  ASSERT_TRUE(block_on(loop_, store.write(all)));
  auto const nanoseconds_of = [&](HistoryFilter const& filter) {
    auto least = std::numeric_limits<std::int64_t>::max();
    for (int i = 0; i < 3; ++i) {
      auto const before_ns = monotonic_ns();
      auto read = [&](Session& session) {
        return find_events(session, filter, [](EventPtr const&) { return false; });
      };
      EXPECT_TRUE(block_on(loop_, store.read(ReadCost::scan, read)));
      least = std::min(least, monotonic_ns() - before_ns);
    }
    return least;
  };
  EXPECT_LT(nanoseconds_of({.room = "x"}), 6 * nanoseconds_of({}));
  EXPECT_LT(nanoseconds_of({.room = "x", .first_ones = true}),
            6 * nanoseconds_of({.first_ones = true}));
}

// One question looks at so many events, and says when there may be more.
TEST_P(EventLogContract, HistoryLooksAtNoMoreThanItMay) {
  auto const one = open();
  auto& store = one->store;
  auto const publish = [](Transaction& transaction) -> Task<Result<std::int64_t>> {
    for (std::int64_t i = 0; i < HistoryFilter::kLookedAtMax + 10; ++i) {
      if (auto const id = co_await transaction.publish(test_event("e")); !id) co_return id;
    }
    co_return 0;
  };
  ASSERT_TRUE(block_on(loop_, store.write(publish)));
  auto read = [&](Session& session) {
    return find_events(session, {.limit = 5},
                       [](EventPtr const& event) { return event->id <= 12; });
  };
  auto const found = block_on(loop_, store.read(ReadCost::scan, read));
  ASSERT_TRUE(found);
  EXPECT_FALSE(found->complete);
  ASSERT_EQ(found->events.size(), 2U);
  EXPECT_EQ(found->events.back()->id, 12);
}

// However large events are, a question holds about as many bytes of them as it may tell.
TEST_P(EventLogContract, HistoryHoldsNoMoreBytesThanItMay) {
  auto const one = open();
  auto& store = one->store;
  constexpr std::size_t kBytes = 200'000;
  auto const publish = [](Transaction& transaction) -> Task<Result<std::int64_t>> {
    for (int i = 0; i < 6; ++i) {
      auto event = test_event("large");
      event.payload = "{\"text\":\"" + std::string(kBytes, 'x') + "\"}";
      if (auto const id = co_await transaction.publish(std::move(event)); !id) co_return id;
    }
    co_return 0;
  };
  ASSERT_TRUE(block_on(loop_, store.write(publish)));
  auto const ask = [&](HistoryFilter const& filter) {
    auto read = [&](Session& session) {
      return find_events(session, filter, [](EventPtr const&) { return true; });
    };
    return block_on(loop_, store.read(ReadCost::scan, read)).value_or(History{});
  };
  auto const ids = [](History const& history) {
    std::vector<std::int64_t> all;
    for (auto const& event : history.events) all.push_back(event->id);
    return all;
  };
  auto const newest = ask({.bytes_max = kBytes + 100});
  EXPECT_EQ(ids(newest), counting_from(5, 2)) << "one more than may be, which says that there is";
  EXPECT_FALSE(newest.complete);
  auto const first = ask({.after = 0, .first_ones = true, .bytes_max = kBytes + 100});
  EXPECT_EQ(ids(first), counting_from(1, 2));
  EXPECT_EQ(first.next, 2);
  EXPECT_EQ(ids(ask({})), counting_from(1, 6));
  auto const alone = ask({.bytes_max = kBytes, .ids_alone = true});
  EXPECT_EQ(ids(alone), counting_from(1, 6));
  EXPECT_TRUE(alone.complete);
  for (auto const& event : alone.events) EXPECT_LT(event->payload.size(), 10U);
}

// Writers on several loops, every third of which fails after it has published: ids have no gaps,
// the follower hears each event once and in order, and has heard a writer's own before it
// continues.
TEST_P(EventLogContract, ConcurrentWritersGetIdsInCommitOrderWithoutGaps) {
  auto const one = open();
  auto& store = one->store;
  constexpr int kWriters = 48;
  constexpr int kEach = 25;
  LoopThreads loops(3);
  std::atomic<int> wrong{0};
  std::atomic<int> committed{0};
  auto const writer = [&](int number) -> Task<void> {
    for (int i = 0; i < kEach; ++i) {
      bool const fails = (number + i) % 3 == 0;
      auto const publish = [&](Transaction& transaction) -> Task<Result<std::int64_t>> {
        auto const first = co_await transaction.publish(test_event("first"));
        auto const second = co_await transaction.publish(test_event("second"));
        if (!first || !second || *second != *first + 1) ++wrong;
        if (fails) co_return fail(ErrorCode::conflict, "told to fail");
        co_return second;
      };
      auto* const home = EventLoop::current();
      auto const id = co_await store.write(publish);
      if (EventLoop::current() != home) ++wrong;
      if (id.has_value() == fails) ++wrong;
      if (!id) continue;
      ++committed;
      if (one->follower.last() < *id || store.last_event_id() < *id) ++wrong;
    }
  };
  for (int i = 0; i < kWriters; ++i) {
    loops.start(static_cast<std::size_t>(i) % loops.size(), writer(i));
  }
  loops.wait();
  EXPECT_EQ(wrong.load(), 0);
  auto const expected = counting_from(1, 2 * static_cast<std::size_t>(committed.load()));
  EXPECT_EQ(committed.load(), kWriters * kEach * 2 / 3);
  EXPECT_EQ(one->follower.ids(), expected);
  auto const log = whole_log(store);
  ASSERT_EQ(log.size(), expected.size());
  for (std::size_t i = 0; i < log.size(); ++i) {
    ASSERT_EQ(log[i].id, expected[i]);
    ASSERT_EQ(log[i].kind, i % 2 == 0 ? "test.first" : "test.second");
  }
}

TEST_P(EventLogContract, AWriterSeesItsOwnWriteAtOnceByBothKindsOfRead) {
  auto const one = open();
  auto& store = one->store;
  LoopThreads loops(2);
  std::atomic<int> wrong{0};
  auto const writer = [&]() -> Task<void> {
    for (int i = 0; i < 50; ++i) {
      auto const id = co_await publish_one(store, "own");
      for (auto const cost : {ReadCost::point, ReadCost::scan}) {
        auto const read = [&](Session& session) -> Task<Result<int>> {
          int found = 0;
          auto const done = co_await session.query("SELECT id FROM events WHERE id = $1",
                                                   {id.value_or(-1)}, [&](Row const&) { ++found; });
          if (!done) co_return std::unexpected(done.error());
          co_return found;
        };
        auto const found = co_await store.read(cost, read);
        if (found != 1) ++wrong;
      }
    }
  };
  for (std::size_t i = 0; i < 8; ++i) loops.start(i % 2, writer());
  loops.wait();
  EXPECT_EQ(wrong.load(), 0);
}

TEST_P(EventLogContract, AWriteThatThrowsFailsAlone) {
  auto const one = open();
  auto& store = one->store;
  auto const both = [&]() -> Task<std::pair<ErrorCode, bool>> {
    auto const broken = [](Transaction& transaction) -> Task<Result<int>> {
      EXPECT_TRUE(co_await transaction.publish(test_event("lost")));
      throw std::runtime_error("a bug");
    };
    auto const failed = co_await store.write(broken);
    auto const fine = co_await publish_one(store, "kept");
    co_return std::pair{failed ? ErrorCode::not_found : failed.error().code, fine.has_value()};
  };
  EXPECT_EQ(block_on(loop_, both()), (std::pair{ErrorCode::internal, true}));
  EXPECT_EQ(one->follower.ids(), counting_from(1, 1));
  EXPECT_EQ(whole_log(store).at(0).kind, "test.kept");
}

TEST_P(EventLogContract, OpeningTellsNothingOfThePastAndContinuesTheIds) {
  std::string epoch;
  {
    auto const before = open();
    for (int i = 0; i < 5; ++i) ASSERT_TRUE(block_on(loop_, publish_one(before->store, "early")));
    epoch = before->store.epoch();
    EXPECT_FALSE(epoch.empty());
  }
  auto const after = open();
  EXPECT_EQ(after->store.last_event_id(), 5);
  EXPECT_EQ(after->store.epoch(), epoch);
  EXPECT_EQ(after->follower.ids(), std::vector<std::int64_t>{});
  ASSERT_TRUE(block_on(loop_, publish_one(after->store, "late")));
  EXPECT_EQ(after->follower.ids(), counting_from(6, 1));
}

TEST_P(EventLogContract, WhoReopensALogThatAgeHasEmptiedStandsAtItsEnd) {
  {
    auto const before = open();
    for (int i = 0; i < 5; ++i) ASSERT_TRUE(block_on(loop_, publish_one(before->store, "early")));
    auto const later = Timestamp{Timestamp::now().micros + 2 * 86'400'000'000};
    EXPECT_EQ(block_on(loop_, EventRetention(before->store, 1, 0).thin(later)).value_or(-1), 5);
  }
  auto const after = open();
  EXPECT_EQ(after->store.last_event_id(), 5);
  EXPECT_EQ(block_on(loop_, after->store.read(ReadCost::point, &events_kept)).value_or(-1), 0);
  auto const is_complete_after = [&](std::int64_t id) {
    auto read = [&](Session& session) {
      return find_events(session, {.after = id, .first_ones = true},
                         [](EventPtr const&) { return true; });
    };
    return block_on(loop_, after->store.read(ReadCost::scan, read)).value_or(History{}).complete;
  };
  EXPECT_TRUE(is_complete_after(5)) << "nothing was missed";
  EXPECT_FALSE(is_complete_after(4));
  ASSERT_TRUE(block_on(loop_, publish_one(after->store, "late")));
  EXPECT_EQ(after->follower.ids(), counting_from(6, 1));
  EXPECT_TRUE(is_complete_after(5));
}

TEST_P(EventLogContract, AnIdIsNeverGivenTwiceNotEvenAfterTheNewestWereRemoved) {
  {
    auto const before = open();
    for (int i = 0; i < 5; ++i) ASSERT_TRUE(block_on(loop_, publish_one(before->store, "early")));
    auto const remove = [](Transaction& transaction) -> Task<Result<std::int64_t>> {
      co_return co_await transaction.execute("DELETE FROM events WHERE id > 2");
    };
    EXPECT_EQ(block_on(loop_, before->store.write(remove)), 3);
    EXPECT_EQ(block_on(loop_, publish_one(before->store, "next")), 6);
    EXPECT_EQ(before->follower.last(), 6);
  }
  auto const after = open();
  EXPECT_EQ(block_on(loop_, publish_one(after->store, "last")), 7);
  EXPECT_EQ(after->follower.ids(), counting_from(7, 1));
}

TEST_P(EventLogContract, AfterCloseWritesAndReadsAreUnavailable) {
  auto const one = open();
  one->store.close();
  auto const id = block_on(loop_, publish_one(one->store, "late"));
  ASSERT_FALSE(id);
  EXPECT_EQ(id.error().code, ErrorCode::unavailable);
  EXPECT_EQ(count_of(one->store, "SELECT count(*) FROM events"), -2);
}

TEST_P(EventLogContract, AnotherProcessesEventsAreToldWithinASecond) {
  auto const here = open();
  auto const there = open();
  for (int i = 0; i < 3; ++i) {
    auto const id = block_on(loop_, publish_one(there->store, "there"));
    ASSERT_TRUE(id);
    auto const written_ns = monotonic_ns();
    ASSERT_TRUE(eventually([&] { return here->follower.last() == *id; }));
    EXPECT_LT(monotonic_ns() - written_ns, 1'000'000'000);
    EXPECT_EQ(here->follower.events().back()->payload, "{\"what\":\"there\"}");
  }
  EXPECT_EQ(here->follower.ids(), counting_from(1, 3));
  EXPECT_EQ(there->follower.ids(), counting_from(1, 3));
}

// What is announced is heard by the others, once and in order, and by nobody where there are none;
// what is not committed is not heard of.
TEST_P(EventLogContract, AnnouncementsComeToTheOtherProcessesOnly) {
  auto const here = open();
  auto const there = open();
  auto const also_there = open();
  std::vector<std::string> const texts{R"({"n":1})", R"({"n":1})",
                                       "\xf0\x9f\x90\x9d" + std::string(100'000, 'a'), "last"};
  auto announce = [&](Transaction& transaction, std::string_view text,
                      bool fails) -> Task<Result<std::int64_t>> {
    auto const announced = co_await transaction.announce(text);
    if (announced && fails) co_return fail(ErrorCode::conflict, "changed its mind");
    co_return announced;
  };
  for (auto const& text : texts) {
    auto undone = [&](Transaction& transaction) { return announce(transaction, "undone", true); };
    EXPECT_FALSE(block_on(loop_, here->store.write(undone)));
    auto done = [&](Transaction& transaction) { return announce(transaction, text, false); };
    ASSERT_TRUE(block_on(loop_, here->store.write(done)));
  }
  // It is behind them.
  auto const id = block_on(loop_, publish_one(here->store, "here"));
  ASSERT_TRUE(id);
  auto const expected = here->database->is_shared() ? texts : std::vector<std::string>{};
  for (auto const* const other : {there.get(), also_there.get()}) {
    ASSERT_TRUE(eventually([&] {
      return other->follower.last() == *id && other->follower.announced().size() >= expected.size();
    }));
    EXPECT_EQ(other->follower.announced(), expected);
  }
  EXPECT_TRUE(here->follower.announced().empty());
}

// Two processes write at once; each tells its followers the same log, whole and in order.
TEST_P(EventLogContract, TwoProcessesInterleaveInOneOrder) {
  auto const here = open();
  auto const there = open();
  constexpr std::size_t kWriters = 8;
  constexpr int kEach = 20;
  LoopThreads loops(2);
  std::atomic<int> failed{0};
  auto const writer = [&](OpenStore& one, std::string name) -> Task<void> {
    for (int i = 0; i < kEach; ++i) {
      auto const id = co_await publish_one(one.store, name);
      if (!id || one.follower.last() < *id) ++failed;
      if (i % 5 == 4) co_await EventLoop::current()->sleep_ms(1);  // The other has its turn.
    }
  };
  for (std::size_t i = 0; i < kWriters; ++i) {
    loops.start(0, writer(*here, "here"));
    loops.start(1, writer(*there, "there"));
  }
  loops.wait();
  EXPECT_EQ(failed.load(), 0);
  auto const expected = counting_from(1, 2 * kWriters * kEach);
  for (auto const* const one : {here.get(), there.get()}) {
    EXPECT_TRUE(eventually([&] { return one->follower.ids().size() >= expected.size(); }));
    EXPECT_EQ(one->follower.ids(), expected);
  }
  auto const log = whole_log(here->store);
  ASSERT_EQ(log.size(), expected.size());
  auto const heard_here = here->follower.events();
  auto const heard_there = there->follower.events();
  std::size_t changes = 0;
  for (std::size_t i = 0; i < log.size(); ++i) {
    ASSERT_EQ(log[i].kind, heard_here[i]->kind);
    ASSERT_EQ(log[i].kind, heard_there[i]->kind);
    if (i > 0 && log[i].kind != log[i - 1].kind) ++changes;
  }
  EXPECT_GT(changes, 1U);  // They did take turns.
}

// Whoever reads the log again and again, each time behind the last id seen, gets every event: none
// appears later with an id that was passed already. Jobs that fail take ids and give them back.
TEST_P(EventLogContract, ATailNeverSkipsWhatTwoProcessesWriteAtOnce) {
  auto const here = open();
  auto const there = open();
  constexpr std::size_t kWriters = 6;
  constexpr int kEach = 60;
  LoopThreads loops(2);
  std::atomic<std::size_t> written{0};
  std::atomic<int> unexpected{0};
  auto const writer = [&](Store& store, std::size_t number) -> Task<void> {
    for (int i = 0; i < kEach; ++i) {
      bool const fails = (static_cast<std::size_t>(i) + number) % 4 == 0;
      auto const publish = [&](Transaction& transaction) -> Task<Result<std::int64_t>> {
        auto const id = co_await transaction.publish(test_event("tail"));
        if (fails) co_return fail(ErrorCode::conflict, "told to fail");
        co_return id;
      };
      auto const id = co_await store.write(publish);
      if (id.has_value() == fails) ++unexpected;
      if (id) ++written;
    }
  };
  for (std::size_t i = 0; i < kWriters; ++i) {
    loops.start(0, writer(here->store, i));
    loops.start(1, writer(there->store, i));
  }
  std::vector<std::int64_t> seen;
  std::size_t polls = 0;
  auto const poll = [&](Session& session) -> Task<Result<std::int64_t>> {
    co_return co_await session.query("SELECT id FROM events WHERE id > $1 ORDER BY id",
                                     {seen.empty() ? 0 : seen.back()},
                                     [&](Row const& row) { seen.push_back(row.integer(0)); });
  };
  constexpr std::size_t kAll = 2 * kWriters * kEach * 3 / 4;
  EXPECT_TRUE(eventually([&] {
    ++polls;
    EXPECT_TRUE(block_on(loop_, here->store.read(ReadCost::point, poll)));
    return seen.size() >= kAll;
  }));
  loops.wait();
  EXPECT_EQ(unexpected.load(), 0);
  EXPECT_EQ(written.load(), kAll);
  EXPECT_EQ(seen, counting_from(1, kAll));
  EXPECT_GT(polls, 3U);
}

TEST_P(EventLogContract, ManyEventsOfAnotherProcessAreToldInFull) {
  auto const here = open();
  auto const there = open();
  constexpr std::size_t kMany = 3'500;  // More than are read at once.
  auto const publish = [](Transaction& transaction) -> Task<Result<std::int64_t>> {
    for (std::size_t i = 0; i < kMany; ++i) {
      auto const id = co_await transaction.publish(test_event("many"));
      if (!id) co_return id;
    }
    co_return 0;
  };
  ASSERT_TRUE(block_on(loop_, there->store.write(publish)));
  // Whether this write or the poll comes first: what was missed is told before it.
  ASSERT_TRUE(block_on(loop_, publish_one(here->store, "after")));
  EXPECT_EQ(here->follower.ids(), counting_from(1, kMany + 1));
}

}  // namespace

GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(EventLogContract);

}  // namespace subforge::store
