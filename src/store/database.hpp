// The database port, implemented on SQLite and PostgreSQL; everything above sees only this.
//
// SQL is written once for every database: one statement a query, placeholders are $1..$n in order
// of first use, ids are bound as 16-byte blobs, times as integer microseconds, JSON as text
// (without U+0000, which not every database can hold). Where dialects differ, Dialect tells which
// one it is. What both understand:
//
//   CAST(x AS BIGINT), CAST(x AS DOUBLE PRECISION)   not INTEGER and REAL, which lose digits
//   ON CONFLICT (key) DO ..., RETURNING              not INSERT OR ...
//   count(*) FILTER (WHERE ...), CASE WHEN ...       a comparison is no number to add up
//   flag = 1, coalesce(a, b), "user", x IS NULL      flags are integers; words of SQL are quoted
//   instr, lower of any letters, max(a, b), round(x, 2)
#pragma once

#include <coroutine>
#include <cstdint>
#include <exception>
#include <functional>
#include <initializer_list>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/function_ref.hpp"
#include "base/result.hpp"
#include "base/time.hpp"
#include "base/uuid.hpp"
#include "runtime/disk_turns.hpp"
#include "runtime/event_loop.hpp"
#include "runtime/task.hpp"
#include "store/event.hpp"

namespace subforge::store {

// One value bound to a statement. Text and blobs are views: they must outlive the query.
class Value {
 public:
  enum class Kind : std::uint8_t { null, integer, real, text, blob };

  Value(std::nullptr_t) {}
  Value(std::nullopt_t) {}
  Value(bool value) : kind_(Kind::integer), integer_(value ? 1 : 0) {}
  Value(std::int64_t value) : kind_(Kind::integer), integer_(value) {}
  Value(int value) : kind_(Kind::integer), integer_(value) {}
  Value(double value) : kind_(Kind::real), real_(value) {}
  Value(std::string_view text) : kind_(Kind::text), text_(text) {}
  Value(std::string const& text) : kind_(Kind::text), text_(text) {}
  Value(char const* text) : kind_(Kind::text), text_(text) {}
  Value(Uuid const& id) : kind_(Kind::blob), text_(id.as_blob()) {}
  Value(Timestamp at) : kind_(Kind::integer), integer_(at.micros) {}
  template <class T>
  Value(std::optional<T> const& maybe) : Value(maybe ? Value(*maybe) : Value(nullptr)) {}
  static Value blob(std::string_view bytes) {
    Value value(bytes);
    value.kind_ = Kind::blob;
    return value;
  }

  [[nodiscard]] Kind kind() const { return kind_; }
  [[nodiscard]] std::int64_t integer() const { return integer_; }
  [[nodiscard]] double real() const { return real_; }
  [[nodiscard]] std::string_view text() const { return text_; }

 private:
  Kind kind_ = Kind::null;
  std::int64_t integer_ = 0;
  double real_ = 0;
  std::string_view text_;
};

// The current row of a query; columns count from 0. Views hold until the callback returns, and the
// callback must not use the session.
class Row {
 public:
  [[nodiscard]] virtual bool is_null(int column) const = 0;
  [[nodiscard]] virtual std::int64_t integer(int column) const = 0;
  [[nodiscard]] virtual double real(int column) const = 0;
  [[nodiscard]] virtual std::string_view text(int column) const = 0;
  [[nodiscard]] virtual std::string_view blob(int column) const = 0;

  [[nodiscard]] Uuid uuid(int column) const { return Uuid::from_blob(blob(column)); }
  [[nodiscard]] Timestamp timestamp(int column) const { return {integer(column)}; }

 protected:
  ~Row() = default;
};

using OnRow = FunctionRef<void(Row const&)>;

enum class Dialect : std::uint8_t { sqlite, postgres };

// One query under way. Built by Session::query, awaited by its caller.
struct Query {
  std::string_view sql;
  std::span<Value const> parameters;
  OnRow on_row;
  Result<std::int64_t> outcome;  // Rows the statement inserted, updated or deleted.
  std::coroutine_handle<> waiting;
  std::exception_ptr failure;  // What on_row threw, if it was called while nobody waited for it.
};

// A connection in use: inside a read snapshot or a write transaction.
class Session {
 public:
  // co_await session.query("SELECT ... $1", {id}, [&](Row const& row) {...}) calls back per row and
  // gives the number of rows changed. Errors: conflict (a unique key), invalid (another
  // constraint), too_large (a value or statement beyond what the database takes), unavailable
  // (database gone, busy beyond its timeout, disk full), internal (bad SQL, or not one value for
  // each placeholder). To be awaited in the expression that calls it: it refers to its arguments.
  auto query(std::string_view sql, std::span<Value const> parameters, OnRow on_row) {
    struct Awaiter {
      Session& session;
      Query query;
      bool await_ready() { return session.start(query); }
      void await_suspend(std::coroutine_handle<> handle) { query.waiting = handle; }
      Result<std::int64_t> await_resume() {
        if (query.failure) std::rethrow_exception(query.failure);
        return std::move(query.outcome);
      }
    };
    return Awaiter{*this, Query{sql, parameters, on_row, 0, {}, {}}};
  }
  auto query(std::string_view sql, std::initializer_list<Value> parameters, OnRow on_row) {
    return query(sql, std::span(parameters.begin(), parameters.size()), on_row);
  }
  auto execute(std::string_view sql, std::span<Value const> parameters) {
    return query(sql, parameters, kIgnoreRows);
  }
  auto execute(std::string_view sql, std::initializer_list<Value> parameters = {}) {
    return query(sql, std::span(parameters.begin(), parameters.size()), kIgnoreRows);
  }

  // Whether other servers may be writing to it now: what they committed is heard of a moment later.
  [[nodiscard]] virtual bool is_shared() const { return false; }
  [[nodiscard]] virtual Dialect dialect() const = 0;

 protected:
  ~Session() = default;
  // Runs or sends the query. True if it is finished; else `query.waiting` is resumed later, on the
  // loop that asked.
  virtual bool start(Query& query) = 0;

 private:
  static constexpr auto ignore_row = [](Row const&) {};
  static inline OnRow const kIgnoreRows{ignore_row};
};

// What an error undoes if the job had changed something before.
enum class Undo : std::uint8_t {
  job,  // What the job did.
  // Where that is cheaper, all that shares its commit: every job of it then ends with an error. For
  // jobs of a few statements that nothing makes fail behind the first but the database's own end,
  // which fails the others too.
  commit,
};

// When a job is to run.
enum class Urgency : std::uint8_t {
  soon,
  // When others do not wait for it: SQLite's writer runs one at a time, between the groups of those
  // that run soon, and does not sync its commit: the next one of others does.
  background,
};

// One caller's part of a write transaction. Many jobs may share a commit; each succeeds or fails
// alone (but for Undo::commit), and none is told so before the commit is on disk.
class WriteJob {
 public:
  WriteJob() = default;
  explicit WriteJob(Undo undoes) : undo(undoes) {}
  explicit WriteJob(Urgency when) : urgency(when) {}

  // Waits for nothing but `session`. An error or an exception undoes what the job did. So does a
  // failed statement, even if the job then reports success: not every database can go on after one.
  // A job whose statement failed because of others (a deadlock) is undone and run again.
  virtual Task<Result<void>> run(Session& session) = 0;
  // Called on the thread of the database after the outcome is final. Must not block.
  virtual void finished() = 0;

  Undo const undo = Undo::job;
  Urgency const urgency = Urgency::soon;
  Result<void> outcome;
  std::vector<Event> events;  // What the job appended to the event log.

 protected:
  ~WriteJob() = default;
};

// How long a read may take, which decides where it runs.
enum class ReadCost : std::uint8_t {
  point,  // A few rows by key: on the loop's own connection; each query sees what is newest.
  scan,   // Anything longer: beside the loop's work, all queries within one snapshot.
  whole,  // The same for minutes, such as everything there is; one at a time, if others would wait.
};

using ReadWork = FunctionRef<Task<void>(Session&)>;

// Hears of every change to the log, on the database's own thread and before any writer is told of
// its success. Must not block for anything but `session`. After an error changed_elsewhere is
// called again soon, until it succeeds.
class CommitListener {
 public:
  // Events of this process's commit, in log order; `session` may be read from.
  virtual Task<Result<void>> committed(Session& session, std::vector<Event> events) = 0;
  // Another process may have written.
  virtual Task<Result<void>> changed_elsewhere(Session& session) = 0;
  // What another process announced, in the order of commits; must not block.
  virtual void announced(std::string_view text) = 0;

 protected:
  ~CommitListener() = default;
};

// Whether the database can be reached, since when that is so, and if not, why.
struct DatabaseHealth {
  bool up = true;
  Timestamp since = Timestamp::now();
  std::string cause;
};

class Database {
 public:
  virtual ~Database() = default;

  // Brings the schema up to what this binary knows. Error: unavailable, or invalid if the database
  // is newer than the binary.
  virtual Result<void> migrate() = 0;
  // Starts accepting reads and writes; once, after migrate(). `listener` must outlive stop().
  virtual Result<void> start(CommitListener& listener) = 0;
  // Finishes what is queued, and refuses what comes later, from any thread. What the loops read
  // inline just then goes on undisturbed; the last connections close with this object. Idempotent.
  virtual void stop() = 0;

  // Runs `work` with a session to read from. Error: unavailable.
  virtual Task<Result<void>> read(ReadCost cost, ReadWork work) = 0;
  // The calling loop's own session, for point reads without any hand-over; null where the database
  // has none, and after stop().
  [[nodiscard]] virtual Session* inline_reader() = 0;
  // Queues a write; `job` must live until finished(). False if the queue is full or closed.
  [[nodiscard]] virtual bool submit(WriteJob& job) = 0;

  // Whether other servers may be writing to it now: what they committed is heard of a moment later.
  [[nodiscard]] virtual bool is_shared() const { return false; }
  [[nodiscard]] virtual Dialect dialect() const = 0;
  [[nodiscard]] virtual std::string_view name() const = 0;
  // From any thread. A file is always there.
  [[nodiscard]] virtual DatabaseHealth health() const { return {}; }
  // Where commits go first that this process writes to a disk itself.
  [[nodiscard]] DiskTurns& disk_turns() { return disk_turns_; }

 private:
  DiskTurns disk_turns_;
};

}  // namespace subforge::store
