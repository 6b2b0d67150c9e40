// The one write path and the one event log.
//
// store.write(fn) runs fn in a transaction in which it changes rows and publishes events; the
// caller goes on once all of it is on disk. Followers of the log hear each event once, in log
// order, before the writer is told of its success.
#pragma once

#include <atomic>
#include <coroutine>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "base/log.hpp"
#include "store/database.hpp"
#include "store/event.hpp"
#include "store/write_companion.hpp"

namespace subforge::store {

// What fn gets: a session plus the right to append to the log.
class Transaction {
 public:
  Transaction(Session& session, std::vector<Event>& events, Timestamp now)
      : session_(session), events_(events), now_(now) {}

  [[nodiscard]] Session& session() { return session_; }
  // One time for everything a transaction writes.
  [[nodiscard]] Timestamp now() const { return now_; }

  auto query(std::string_view sql, std::initializer_list<Value> parameters, OnRow on_row) {
    return session_.query(sql, parameters, on_row);
  }
  auto execute(std::string_view sql, std::initializer_list<Value> parameters = {}) {
    return session_.execute(sql, parameters);
  }
  auto execute(std::string_view sql, std::span<Value const> parameters) {
    return session_.execute(sql, parameters);
  }

  // Appends an event; its id and time are filled in.
  Task<Result<std::int64_t>> publish(Event event);
  // Several, whose ids follow each other; gives the first of these.
  Task<Result<std::int64_t>> publish(std::vector<Event> events);
  // Tells the other servers at this database with the commit, and keeps nothing of it; nothing
  // where it is not shared. `text` is UTF-8 without U+0000.
  Task<Result<std::int64_t>> announce(std::string_view text);

 private:
  Task<Result<std::int64_t>> insert(std::span<Event> events);
  Task<Result<std::int64_t>> note_rooms(std::span<Event const> events);

  Session& session_;
  std::vector<Event>& events_;
  Timestamp now_;
};

// Events are shared, unchanging, by everybody who follows the log.
using EventPtr = std::shared_ptr<Event const>;

class LogFollower {
 public:
  // On the database's thread; must not block. Each event comes once, in log order.
  virtual void on_events(std::span<EventPtr const> events) = 0;
  // What another server announced, on the same thread.
  virtual void on_announced(std::string_view) {}

 protected:
  ~LogFollower() = default;
};

class Store final : private CommitListener {
 public:
  Store(Database& database, Logger logger) : database_(database), logger_(logger) {}
  Store(Store const&) = delete;
  Store& operator=(Store const&) = delete;

  // Migrates, reads where the log stands and starts. Followers must be added before.
  Result<void> open();
  void close() { database_.stop(); }

  void follow(LogFollower& follower) { followers_.push_back(&follower); }

  // fn: Task<Result<T>>(Transaction&). Runs on the database's thread, waits for nothing but its
  // transaction, and returns the error of any statement that failed. Continues on the loop that
  // awaited, after the commit. A WriteCompanion that the awaiting task carries is committed with
  // it.
  template <class Fn>
  auto write(Fn fn, Undo undo = Undo::job) -> std::invoke_result_t<Fn, Transaction&>;

  // fn: Task<Result<T>>(Session&).
  template <class Fn>
  auto read(ReadCost cost, Fn fn) -> std::invoke_result_t<Fn, Session&>;

  // For a hot path that wants a point read without a frame of its own: the calling loop's session,
  // or null where only read() leads to one.
  [[nodiscard]] Session* inline_reader() { return database_.inline_reader(); }

  [[nodiscard]] Database& database() { return database_; }
  // The newest event followers have been told of.
  [[nodiscard]] std::int64_t last_event_id() const {
    return last_id_.load(std::memory_order_acquire);
  }
  // Whether followers have heard of everything that was committed before the call, by whichever
  // process. Asks the database; without need where it is not shared, since whoever is told of a
  // write's success is told after them.
  Task<Result<bool>> is_up_to_date();
  // Names this log: ids of another log, or of one restored from a backup, never look like its own.
  [[nodiscard]] std::string const& epoch() const { return epoch_; }
  // The opaque text clients see for an event's id, and back; nothing for another log's id.
  [[nodiscard]] std::string event_id_text(std::int64_t id) const;
  [[nodiscard]] std::optional<std::int64_t> parse_event_id(std::string_view text) const;

 private:
  Task<Result<void>> committed(Session& session, std::vector<Event> events) override;
  Task<Result<void>> changed_elsewhere(Session& session) override;
  void announced(std::string_view text) override;
  Task<Result<void>> load_state(Session& session);
  // Reads and tells everything after the last event told.
  Task<Result<void>> tell_gap(Session& session);
  void tell(std::vector<EventPtr> const& events);

  Database& database_;
  Logger logger_;
  std::vector<LogFollower*> followers_;
  std::atomic<std::int64_t> last_id_{0};
  std::atomic<std::int64_t> told_id_{0};  // All followers are done with it.
  std::string epoch_;
  bool loaded_ =
      false;  // Of the database's thread: before, there is no "after the last event told".
};

// Reads rows of the log; the columns every such query selects, a row of them as it is, and the
// event that it makes.
inline constexpr std::string_view kEventColumns =
    "id, at, kind, level, subject, actor, audience, version, correlation_id, payload";
struct EventView {
  std::int64_t id = 0;
  Timestamp at;
  std::string_view kind;
  LogLevel level = LogLevel::info;
  std::string_view subject;
  std::string_view actor;
  std::string_view audience;  // As it is stored.
  std::int64_t version = 0;
  std::string_view correlation_id;
  std::string_view payload;
};
[[nodiscard]] EventView event_view(Row const& row);  // Good as long as the row.
[[nodiscard]] Event event_of(EventView const& view);
[[nodiscard]] Event event_from_row(Row const& row);

template <class Fn>
auto Store::write(Fn fn, Undo undo) -> std::invoke_result_t<Fn, Transaction&> {
  using Outcome = decltype(fn(std::declval<Transaction&>()).take());

  struct Job final : WriteJob {
    Job(Fn& f, Undo undoes) : WriteJob(undoes), fn(f) {}
    Task<Result<void>> run(Session& session) override {
      Transaction transaction(session, events, Timestamp::now());
      result.emplace(co_await fn(transaction));
      if (!*result) co_return std::unexpected(result->error());
      if (companion == nullptr) co_return {};
      co_return co_await companion->join(transaction, typeid(Outcome), &*result);
    }
    void finished() override {
      loop->post([this] { waiting.resume(); });
    }
    Fn& fn;
    std::optional<Outcome> result;
    EventLoop* loop = EventLoop::current();
    std::coroutine_handle<> waiting;
    WriteCompanion* companion = nullptr;
  };

  struct Awaiter {
    Job& job;
    Database& database;
    [[nodiscard]] bool await_ready() const noexcept { return false; }
    bool await_suspend(std::coroutine_handle<> handle) {
      job.waiting = handle;
      if (database.submit(job)) return true;
      job.outcome = fail(ErrorCode::unavailable, "The database does not accept writes now");
      return false;
    }
    void await_resume() const noexcept {}
  };

  Job job(fn, undo);
  job.companion = dynamic_cast<WriteCompanion*>(co_await carried_context());
  co_await Awaiter{job, database_};
  if (!job.outcome) co_return std::unexpected(std::move(job.outcome.error()));
  co_return std::move(*job.result);
}

template <class Fn>
auto Store::read(ReadCost cost, Fn fn) -> std::invoke_result_t<Fn, Session&> {
  using Outcome = decltype(fn(std::declval<Session&>()).take());
  if (cost == ReadCost::point) {
    if (auto* const session = database_.inline_reader()) co_return co_await fn(*session);
  }
  std::optional<Outcome> outcome;
  auto work = [&](Session& session) -> Task<void> { outcome.emplace(co_await fn(session)); };
  auto const done = co_await database_.read(cost, work);
  if (!done) co_return std::unexpected(done.error());
  co_return std::move(*outcome);
}

}  // namespace subforge::store
