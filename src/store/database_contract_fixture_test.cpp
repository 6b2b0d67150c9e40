#include <fcntl.h>
#include <unistd.h>

#include <chrono>
#include <thread>

#include "store/database_contract_test.hpp"

namespace subforge::store {

Logger quiet_logger() {
  static LogSink sink(STDERR_FILENO);
  return {sink, LogFormat::text, LogLevel::critical};
}

bool eventually(std::function<bool()> const& condition) {
  auto const deadline_ns = monotonic_ns() + 30'000'000'000;
  while (!condition()) {
    if (monotonic_ns() > deadline_ns) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return true;
}

TestJob::Body inserting(std::int64_t id) {
  return statements({"INSERT INTO sample (id, number) VALUES (" + std::to_string(id) + ", 0)"});
}

ErrorCode code_of(Result<void> const& outcome) {
  EXPECT_FALSE(outcome) << "it succeeded";
  return outcome ? ErrorCode::not_found : outcome.error().code;
}

TestJob::Body statements(std::vector<std::string> sql) {
  return [sql = std::move(sql)](Session& session) -> Task<Result<void>> {
    for (auto const& one : sql) {
      auto const done = co_await session.execute(one);
      if (!done) co_return std::unexpected(done.error());
    }
    co_return {};
  };
}

Roadblock::Roadblock(Database& database)
    : job_([this](Session&) -> Task<Result<void>> {
        std::unique_lock lock(mutex_);
        standing_ = true;
        wake_.notify_all();
        wake_.wait(lock, [this] { return open_; });
        co_return {};
      }) {
  EXPECT_TRUE(database.submit(job_));
  std::unique_lock lock(mutex_);
  wake_.wait(lock, [this] { return standing_; });
}

void Roadblock::release() {
  {
    std::lock_guard const lock(mutex_);
    open_ = true;
    wake_.notify_all();
  }
  if (!std::exchange(finished_, true)) EXPECT_TRUE(job_.wait());
}

Result<void> TestListener::verdict() {
  if (failing_ == 0) return {};
  --failing_;
  return fail(ErrorCode::unavailable, "told to fail");
}

Task<Result<void>> TestListener::committed(Session&, std::vector<Event> events) {
  std::lock_guard const lock(mutex_);
  for (auto const& event : events) told_.push_back(event.id);
  co_return verdict();
}

Task<Result<void>> TestListener::changed_elsewhere(Session& session) {
  std::function<void()> call;
  {
    std::lock_guard const lock(mutex_);
    ++changes_;
    call = std::exchange(in_next_look_, nullptr);
  }
  if (call) call();
  auto const looked = co_await session.query("SELECT 1", {}, [](Row const&) {});
  EXPECT_TRUE(looked) << looked.error().context;
  std::lock_guard const lock(mutex_);
  co_return verdict();
}

std::vector<std::int64_t> TestListener::told() const {
  std::lock_guard const lock(mutex_);
  return told_;
}

int TestListener::changes() const {
  std::lock_guard const lock(mutex_);
  return changes_;
}

void TestListener::fail_next(int calls) {
  std::lock_guard const lock(mutex_);
  failing_ = calls;
}

void TestListener::in_next_look(std::function<void()> call) {
  std::lock_guard const lock(mutex_);
  in_next_look_ = std::move(call);
}

void DatabaseContract::start(DatabaseLimits const& limits) {
  database_ = place_->open(limits);
  auto const migrated = database_->migrate();
  ASSERT_TRUE(migrated) << migrated.error().context;
  auto const started = database_->start(listener_);
  ASSERT_TRUE(started) << started.error().context;
  auto const made = write(
      "CREATE TABLE sample (id BIGINT NOT NULL PRIMARY KEY, number BIGINT,"
      " amount DOUBLE PRECISION, words TEXT, bytes " +
      place_->blob_type() +
      ", tag TEXT UNIQUE, positive BIGINT CHECK (positive > 0),"
      " parent BIGINT REFERENCES sample (id))");
  ASSERT_TRUE(made) << made.error().context;
}

Result<void> DatabaseContract::write(TestJob::Body body) {
  TestJob job(std::move(body));
  if (!database_->submit(job)) return fail(ErrorCode::unavailable, "not accepted");
  return job.wait();
}

Result<void> DatabaseContract::read(ReadCost cost, std::function<Task<void>(Session&)> body) {
  return block_on(loop_, database_->read(cost, body));
}

std::int64_t DatabaseContract::number(std::string sql, ReadCost cost) {
  std::int64_t found = -1;
  auto const body = [&](Session& session) -> Task<void> {
    auto const done =
        co_await session.query(sql, {}, [&](Row const& row) { found = row.integer(0); });
    EXPECT_TRUE(done) << done.error().context;
  };
  auto const outcome = read(cost, body);
  EXPECT_TRUE(outcome) << outcome.error().context;
  return found;
}

void TestFollower::on_events(std::span<EventPtr const> events) {
  std::lock_guard const lock(mutex_);
  events_.insert(events_.end(), events.begin(), events.end());
}

void TestFollower::on_announced(std::string_view text) {
  std::lock_guard const lock(mutex_);
  announced_.emplace_back(text);
}

std::vector<std::string> TestFollower::announced() const {
  std::lock_guard const lock(mutex_);
  return announced_;
}

std::vector<std::int64_t> TestFollower::ids() const {
  std::lock_guard const lock(mutex_);
  std::vector<std::int64_t> ids;
  ids.reserve(events_.size());
  for (auto const& event : events_) ids.push_back(event->id);
  return ids;
}

std::vector<EventPtr> TestFollower::events() const {
  std::lock_guard const lock(mutex_);
  return events_;
}

std::int64_t TestFollower::last() const {
  std::lock_guard const lock(mutex_);
  return events_.empty() ? 0 : events_.back()->id;
}

std::unique_ptr<OpenStore> EventLogContract::open() {
  auto opened = std::make_unique<OpenStore>(place_->open({}));
  auto const done = opened->store.open();
  EXPECT_TRUE(done) << done.error().context;
  return opened;
}

Event test_event(std::string what) {
  Event event;
  event.kind = "test." + what;
  event.subject = "test:" + what;
  event.audience = Audience::everybody({"tests"});
  event.payload = "{\"what\":\"" + what + "\"}";
  return event;
}

Task<Result<std::int64_t>> publish_one(Store& store, std::string what) {
  auto const publish = [&what](Transaction& transaction) -> Task<Result<std::int64_t>> {
    co_return co_await transaction.publish(test_event(what));
  };
  co_return co_await store.write(publish);
}

}  // namespace subforge::store
