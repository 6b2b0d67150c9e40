// One connection to PostgreSQL in pipeline mode, used by one thread at a time: either by a thread
// that waits for each answer (the writer), or on an event loop, where many queries may be under way
// and each coroutine goes on when its answer is there.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/event_loop.hpp"
#include "store/database.hpp"
#include "store/postgres/postgres_state.hpp"
#include "store/postgres/postgres_statements.hpp"

struct pg_conn;
struct pg_result;

namespace subforge::store {

enum class PostgresAccess : std::uint8_t { read_write, read_only };

class PostgresConnection final : public Session, private IoHandler {
 public:
  // Connects and waits for it, for connect_timeout_ms at most.
  [[nodiscard]] static Result<std::unique_ptr<PostgresConnection>> open(
      PostgresOptions const& options, PostgresAccess access);
  // The same on the calling loop, where the connection then stays. `state` is watched, and spares
  // looking up the host's name, which would hold up the loop.
  [[nodiscard]] static Task<Result<std::unique_ptr<PostgresConnection>>> connect(
      PostgresOptions const& options, PostgresAccess access, PostgresState const& state);
  ~PostgresConnection();
  PostgresConnection(PostgresConnection const&) = delete;
  PostgresConnection& operator=(PostgresConnection const&) = delete;

  // From now on it is gone when the server falls silent.
  void watch(PostgresState const& state) { state_ = &state; }

  // Runs any number of statements without parameters or rows, and waits: for the schema.
  Result<void> run_script(std::string const& sql);

  // Sends a statement without parameters or rows along with the next query, in the same packet: for
  // transaction control. If it fails, that query is not run and has its error. `sql` stays.
  void defer(char const* sql) { deferred_.emplace_back(sql); }
  void forget_deferred() { deferred_.clear(); }
  [[nodiscard]] bool has_deferred() const { return !deferred_.empty(); }
  // Sends a statement whose answer nobody waits for.
  void send_unanswered(std::string_view sql);

  // Starts the query; true if it is finished, with an error, else it is resumed.
  bool start(Query& query) override;
  [[nodiscard]] Dialect dialect() const override { return Dialect::postgres; }

  // Queries under way.
  [[nodiscard]] std::size_t waiting() const { return waiting_; }
  // Gone for good: what is asked of it is unavailable.
  [[nodiscard]] bool broken() const { return broken_; }
  [[nodiscard]] std::string const& why_broken() const { return why_broken_; }
  // Statements that failed so far.
  [[nodiscard]] std::int64_t failures() const { return failures_; }
  // Failures so far that may not come again.
  [[nodiscard]] std::int64_t retryable_failures() const { return retryable_failures_; }
  // Whether a deferred statement failed, so that there is no transaction to go on with.
  [[nodiscard]] bool deferred_failed() const { return deferred_failed_; }
  void begin_anew() { deferred_failed_ = false; }
  // What the last statement was, as the server calls it (COMMIT, ROLLBACK, INSERT 0 1 ...).
  [[nodiscard]] std::string const& last_command() const { return last_command_; }

  // For a thread that waits: whether the server answers a question, or did answer the one before
  // that it was not waited for. One that does not keeps owing the answer.
  [[nodiscard]] bool answers_within(std::int64_t wait_ms);
  // For the thread that waits: takes in what the server sent by itself; true if another session
  // notified this one. With what it was told by that, if by anything.
  bool take_notifications(FunctionRef<void(std::string_view)> on_text);
  [[nodiscard]] int socket() const { return fd_; }
  [[nodiscard]] std::string host_address() const;
  [[nodiscard]] std::string parameter(char const* name) const;

 private:
  // What the server still owes an answer for, in order. A query ends with a `sync`, at which an
  // error of any step since the last one is over.
  struct Step {
    enum class Kind : std::uint8_t { prepare, deferred, query, sync };
    Kind kind;
    Query* query = nullptr;  // Null where nobody waits.
    std::string text;        // What is deferred; the name of what is prepared.
  };

  explicit PostgresConnection(pg_conn* handle, PostgresOptions const& options);
  [[nodiscard]] static Result<pg_conn*> begin_connecting(PostgresOptions const& options,
                                                         PostgresAccess access,
                                                         std::string const& host_address);
  Result<void> finish_connecting();
  void attach(EventLoop& loop);

  void on_ready(std::uint32_t events) override;
  Result<void> send(std::string_view sql, std::span<Value const> values, Step::Kind kind,
                    Query* query);
  Result<void> send_all(Query& query);
  bool flush();
  void wait_for_answers();
  void receive();
  void take(pg_result* result);
  void take_rows(pg_result* result, Query& query);
  void take_failure(pg_result* result);
  void finish(Query& query);
  void break_off(std::string why);
  void break_off_unasked(std::string why);
  void resume_finished();
  void arm_guard();
  void guard_time();
  // Whether nobody should wait any longer.
  [[nodiscard]] bool is_hopeless() const;

  pg_conn* handle_;
  PostgresState const* state_ = nullptr;
  std::int64_t const answer_timeout_ns_;
  int fd_ = -1;
  EventLoop* loop_ = nullptr;
  bool watches_writing_ = false;
  std::unique_ptr<Timer> guard_;
  std::int64_t progress_ns_ = 0;  // When something was last sent into silence, or came.

  PostgresStatements statements_;
  PostgresValues values_;
  std::vector<std::string_view> deferred_;
  std::deque<Step> steps_;
  std::optional<Error> segment_failure_;  // Since the last sync.
  std::vector<Query*> finished_;

  std::size_t waiting_ = 0;
  bool broken_ = false;
  std::string why_broken_;
  std::int64_t failures_ = 0;
  std::int64_t retryable_failures_ = 0;
  bool deferred_failed_ = false;
  std::string last_command_;
};

}  // namespace subforge::store
