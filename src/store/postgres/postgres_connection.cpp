#include "store/postgres/postgres_connection.hpp"

#include <libpq-fe.h>
#include <poll.h>

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "base/text.hpp"
#include "store/postgres/postgres_result.hpp"

namespace subforge::store {
namespace {

// The server ends a statement that takes too long. One that never answers is given up by us, this
// much later.
constexpr std::int64_t kAnswerGraceMs = 2'000;
// How often who waits for an answer looks whether there will be one.
constexpr std::int64_t kLookNs = 50'000'000;

std::string message_of(pg_conn const* handle) {
  auto text = std::string(trim(PQerrorMessage(handle)));
  std::ranges::replace(text, '\n', ' ');
  return text;
}

std::string session_settings(PostgresOptions const& options, PostgresAccess access) {
  auto settings = fmt::format("-c statement_timeout={} -c jit=off", options.statement_timeout_ms);
  if (access == PostgresAccess::read_only) {
    return settings + fmt::format(" -c lock_timeout={} -c default_transaction_read_only=on",
                                  options.read_lock_timeout_ms);
  }
  return settings + fmt::format(
                        " -c lock_timeout={} -c idle_in_transaction_session_timeout={}"
                        " -c default_transaction_isolation=read\\ committed",
                        options.write_lock_timeout_ms, options.idle_transaction_timeout_ms);
}

// A wait for one socket to become ready, for so long at most.
class Readiness final : private IoHandler {
 public:
  Readiness(EventLoop& loop, int fd, std::uint32_t events, std::int64_t deadline_ns)
      : loop_(loop), fd_(fd), deadline_ns_(deadline_ns) {
    loop_.add(fd_, events, *this);
  }
  ~Readiness() { loop_.remove(fd_, *this); }
  Readiness(Readiness const&) = delete;
  Readiness& operator=(Readiness const&) = delete;

  [[nodiscard]] bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> handle) {
    waiting_ = handle;
    timer_.arm(loop_.timers(), deadline_ns_);
  }
  // Whether it became ready in time.
  [[nodiscard]] bool await_resume() const noexcept { return ready_; }

 private:
  void on_ready(std::uint32_t) override {
    timer_.cancel();
    ready_ = true;
    waiting_.resume();
  }
  EventLoop& loop_;
  int fd_;
  std::int64_t deadline_ns_;
  bool ready_ = false;
  std::coroutine_handle<> waiting_;
  Timer timer_{[this] { waiting_.resume(); }};
};

int wait_for_socket(int fd, short events, std::int64_t deadline_ns) {
  pollfd one{fd, events, 0};
  auto const left_ms = std::max<std::int64_t>((deadline_ns - monotonic_ns()) / 1'000'000, 0);
  return ::poll(&one, 1, static_cast<int>(std::min<std::int64_t>(left_ms + 1, 60'000)));
}

using Parameters = std::unique_ptr<PQconninfoOption, decltype(&PQconninfoFree)>;

}  // namespace

// ---- Connecting ------------------------------------------------------------------------------

PostgresConnection::PostgresConnection(pg_conn* handle, PostgresOptions const& options)
    : handle_(handle),
      answer_timeout_ns_((options.statement_timeout_ms + kAnswerGraceMs) * 1'000'000) {
  // Remarks are no errors; libpq by itself would print them.
  PQsetNoticeProcessor(handle_, [](void*, char const*) {}, nullptr);
}

PostgresConnection::~PostgresConnection() {
  // The loop may be gone by now; it forgets a socket that is closed.
  PQfinish(handle_);
}

Result<pg_conn*> PostgresConnection::begin_connecting(PostgresOptions const& options,
                                                      PostgresAccess access,
                                                      std::string const& host_address) {
  char* problem = nullptr;
  Parameters const given(PQconninfoParse(options.url.c_str(), &problem), &PQconninfoFree);
  if (given == nullptr) {
    std::string const why = problem == nullptr ? "no memory" : problem;
    PQfreemem(problem);
    return fail(ErrorCode::invalid, "DATABASE_URL cannot be used", why);
  }
  std::vector<std::string> texts;
  std::vector<char const*> names;
  std::vector<char const*> values;
  auto const add = [&](char const* name, char const* value) {
    names.push_back(name);
    values.push_back(value);
  };
  auto settings = session_settings(options, access);
  bool names_application = false;
  for (auto const* one = given.get(); one->keyword != nullptr; ++one) {
    if (one->val == nullptr) continue;
    std::string_view const name(one->keyword);
    if (name == "options") {
      settings = std::string(one->val) + " " + settings;
    } else {
      names_application |= name == "application_name";
      add(one->keyword, one->val);
    }
  }
  add("options", settings.c_str());
  add("client_encoding", "UTF8");
  if (!names_application) add("application_name", "subforge");
  if (!host_address.empty()) add("hostaddr", host_address.c_str());
  names.push_back(nullptr);
  values.push_back(nullptr);
  auto* const handle = PQconnectStartParams(names.data(), values.data(), 0);
  if (handle == nullptr) return fail(ErrorCode::unavailable, "No memory for a connection");
  return handle;
}

Result<void> PostgresConnection::finish_connecting() {
  if (PQstatus(handle_) != CONNECTION_OK) {
    broken_ = true;
    return std::unexpected(postgres_unavailable(message_of(handle_)));
  }
  fd_ = PQsocket(handle_);
  if (PQsetnonblocking(handle_, 1) != 0 || PQenterPipelineMode(handle_) != 1) {
    broken_ = true;
    return std::unexpected(postgres_unavailable(message_of(handle_)));
  }
  return {};
}

auto PostgresConnection::open(PostgresOptions const& options, PostgresAccess access)
    -> Result<std::unique_ptr<PostgresConnection>> {
  auto const begun = begin_connecting(options, access, {});
  if (!begun) return std::unexpected(begun.error());
  std::unique_ptr<PostgresConnection> connection(new PostgresConnection(*begun, options));
  auto const deadline_ns = monotonic_ns() + options.connect_timeout_ms * 1'000'000;
  auto polled = PQstatus(*begun) == CONNECTION_BAD ? PGRES_POLLING_FAILED : PGRES_POLLING_WRITING;
  while (polled == PGRES_POLLING_READING || polled == PGRES_POLLING_WRITING) {
    short const events = polled == PGRES_POLLING_READING ? POLLIN : POLLOUT;
    wait_for_socket(PQsocket(*begun), events, deadline_ns);
    if (monotonic_ns() >= deadline_ns) {
      return std::unexpected(postgres_unavailable("the server does not answer"));
    }
    polled = PQconnectPoll(*begun);
  }
  if (auto done = connection->finish_connecting(); !done) return std::unexpected(done.error());
  return connection;
}

auto PostgresConnection::connect(PostgresOptions const& options, PostgresAccess access,
                                 PostgresState const& state)
    -> Task<Result<std::unique_ptr<PostgresConnection>>> {
  auto& loop = *EventLoop::current();
  auto const begun = begin_connecting(options, access, state.host_address());
  if (!begun) co_return std::unexpected(begun.error());
  std::unique_ptr<PostgresConnection> connection(new PostgresConnection(*begun, options));
  auto const deadline_ns = monotonic_ns() + options.reader_connect_timeout_ms * 1'000'000;
  auto polled = PQstatus(*begun) == CONNECTION_BAD ? PGRES_POLLING_FAILED : PGRES_POLLING_WRITING;
  while (polled == PGRES_POLLING_READING || polled == PGRES_POLLING_WRITING) {
    bool is_ready = false;
    {
      Readiness ready(loop, PQsocket(*begun), polled == PGRES_POLLING_READING ? EPOLLIN : EPOLLOUT,
                      std::min(deadline_ns, monotonic_ns() + kLookNs));
      is_ready = co_await ready;
    }
    if (state.silent() || monotonic_ns() >= deadline_ns) {
      co_return std::unexpected(postgres_unavailable("the server does not answer"));
    }
    if (is_ready) polled = PQconnectPoll(*begun);
  }
  if (auto done = connection->finish_connecting(); !done) co_return std::unexpected(done.error());
  connection->watch(state);
  connection->attach(loop);
  co_return connection;
}

void PostgresConnection::attach(EventLoop& loop) {
  loop_ = &loop;
  loop.add(fd_, EPOLLIN, *this);
  guard_ = std::make_unique<Timer>([this] { guard_time(); });
}

std::string PostgresConnection::host_address() const {
  auto const* address = PQhostaddr(handle_);
  return address == nullptr ? "" : address;
}

std::string PostgresConnection::parameter(char const* name) const {
  auto const* value = PQparameterStatus(handle_, name);
  return value == nullptr ? "" : value;
}

Result<void> PostgresConnection::run_script(std::string const& sql) {
  // Several statements in one text are not for the pipeline.
  if (broken_ || PQexitPipelineMode(handle_) != 1) {
    return std::unexpected(postgres_unavailable(message_of(handle_)));
  }
  std::unique_ptr<pg_result, decltype(&PQclear)> const result(PQexec(handle_, sql.c_str()),
                                                              &PQclear);
  auto const status = PQresultStatus(result.get());
  Result<void> outcome;
  if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK) {
    outcome = std::unexpected(error_of(result.get(), sql.substr(0, 1'000)));
  }
  if (PQstatus(handle_) != CONNECTION_OK || PQenterPipelineMode(handle_) != 1) {
    break_off(message_of(handle_));
  }
  return outcome;
}

// ---- Sending ---------------------------------------------------------------------------------

Result<void> PostgresConnection::send(std::string_view sql, std::span<Value const> values,
                                      Step::Kind kind, Query* query) {
  if (statements_.full()) {
    statements_.clear();
    if (PQsendQueryParams(handle_, "DEALLOCATE ALL", 0, nullptr, nullptr, nullptr, nullptr, 1) !=
        1) {
      return std::unexpected(postgres_unavailable(message_of(handle_)));
    }
    steps_.push_back({Step::Kind::deferred, nullptr, "DEALLOCATE ALL"});
  }
  auto const found = statements_.find(sql, values);
  auto const& statement = *found.statement;
  if (found.is_new) {
    if (PQsendPrepare(handle_, statement.name.c_str(), statement.sql.c_str(),
                      static_cast<int>(statement.types.size()), statement.types.data()) != 1) {
      return std::unexpected(postgres_unavailable(message_of(handle_)));
    }
    steps_.push_back({Step::Kind::prepare, nullptr, statement.name});
  }
  values_.encode(statement, values);
  if (PQsendQueryPrepared(handle_, statement.name.c_str(), values_.count(), values_.pointers(),
                          values_.lengths(), values_.formats(), 1) != 1) {
    return std::unexpected(postgres_unavailable(message_of(handle_)));
  }
  steps_.push_back({kind, query, kind == Step::Kind::deferred ? std::string(sql) : std::string()});
  return {};
}

Result<void> PostgresConnection::send_all(Query& query) {
  for (auto const sql : deferred_) {
    if (auto sent = send(sql, {}, Step::Kind::deferred, nullptr); !sent) return sent;
  }
  deferred_.clear();
  return send(query.sql, query.parameters, Step::Kind::query, &query);
}

bool PostgresConnection::start(Query& query) {
  if (broken_) {
    ++failures_;
    query.outcome = std::unexpected(postgres_unavailable(why_broken_));
    return true;
  }
  // Checked before anything is sent, so that what was deferred stays for the next query.
  if (auto fits = statements_.check(query.sql, query.parameters.size()); !fits) {
    ++failures_;
    query.outcome = std::unexpected(std::move(fits.error()));
    return true;
  }
  if (steps_.empty()) progress_ns_ = monotonic_ns();
  auto const sent = send_all(query);
  if (!sent || PQpipelineSync(handle_) != 1) {
    ++failures_;
    // It is answered here; who else waits for this connection hears of its end.
    std::erase_if(steps_, [&](Step const& step) { return step.query == &query; });
    break_off_unasked(sent ? message_of(handle_) : sent.error().context);
    query.outcome = std::unexpected(postgres_unavailable(why_broken_));
    return true;
  }
  steps_.push_back({Step::Kind::sync, &query, {}});
  ++waiting_;
  if (!flush()) break_off_unasked(message_of(handle_));
  if (loop_ != nullptr) {
    if (!broken_ && !guard_->armed()) arm_guard();
    return false;
  }
  wait_for_answers();
  return true;
}

void PostgresConnection::send_unanswered(std::string_view sql) {
  if (broken_) return;
  if (!send(sql, {}, Step::Kind::deferred, nullptr) || PQpipelineSync(handle_) != 1) {
    return break_off_unasked(message_of(handle_));
  }
  steps_.push_back({Step::Kind::sync, nullptr, {}});
  if (!flush()) break_off_unasked(message_of(handle_));
}

// False if the connection is gone.
bool PostgresConnection::flush() {
  int const left = PQflush(handle_);
  if (left < 0) return false;
  if (loop_ != nullptr && (left == 1) != watches_writing_) {
    watches_writing_ = left == 1;
    loop_->modify(fd_, watches_writing_ ? EPOLLIN | EPOLLOUT : EPOLLIN, *this);
  }
  return true;
}

// ---- Receiving -------------------------------------------------------------------------------

void PostgresConnection::on_ready(std::uint32_t) {
  if (!flush()) break_off(message_of(handle_));
  if (!broken_) receive();
  resume_finished();  // Last: whoever goes on may end this connection.
}

void PostgresConnection::wait_for_answers() {
  while (!steps_.empty() && !broken_) {
    int const left = PQflush(handle_);
    if (left < 0) return break_off(message_of(handle_));
    short const events = left == 1 ? POLLIN | POLLOUT : POLLIN;
    wait_for_socket(fd_, events, monotonic_ns() + kLookNs);
    receive();
    if (is_hopeless()) break_off("the server does not answer");
  }
}

void PostgresConnection::receive() {
  if (PQconsumeInput(handle_) != 1) return break_off(message_of(handle_));
  while (!steps_.empty() && PQisBusy(handle_) == 0) {
    auto* const result = PQgetResult(handle_);
    if (result == nullptr) {
      // The end of what one step answers; a sync has no such end.
      if (steps_.front().kind == Step::Kind::sync) break;
      steps_.pop_front();
      continue;
    }
    progress_ns_ = monotonic_ns();
    if (state_ != nullptr) state_->note_answer(progress_ns_);
    take(result);
    PQclear(result);
    if (PQstatus(handle_) != CONNECTION_OK) return break_off(message_of(handle_));
  }
}

void PostgresConnection::take(pg_result* result) {
  auto& step = steps_.front();
  switch (PQresultStatus(result)) {
    case PGRES_PIPELINE_SYNC: {
      auto* const query = step.query;
      auto failure = std::exchange(segment_failure_, std::nullopt);
      steps_.pop_front();
      if (query == nullptr) return;
      if (failure) query->outcome = std::unexpected(std::move(*failure));
      return finish(*query);
    }
    case PGRES_COMMAND_OK:
    case PGRES_TUPLES_OK:
      if (step.kind == Step::Kind::query) take_rows(result, *step.query);
      return;
    default: return take_failure(result);
  }
}

void PostgresConnection::take_rows(pg_result* result, Query& query) {
  last_command_ = PQcmdStatus(result);
  query.outcome = changed_rows(result);
  try {
    int const count = PQntuples(result);
    for (int i = 0; i < count; ++i) query.on_row(PostgresRow(result, i));
  } catch (...) {
    query.failure = std::current_exception();
  }
}

void PostgresConnection::take_failure(pg_result* result) {
  auto const& step = steps_.front();
  if (step.kind == Step::Kind::prepare) statements_.forget(step.text);
  if (segment_failure_) return;  // The rest of the segment is only skipped.
  ++failures_;
  if (is_worth_another_try(sqlstate_of(result))) ++retryable_failures_;
  if (step.kind == Step::Kind::deferred) deferred_failed_ = true;
  if (PQresultStatus(result) == PGRES_EMPTY_QUERY) {
    segment_failure_ = {ErrorCode::database, "Database error occurred", "an empty statement"};
    return;
  }
  auto const failed =
      std::ranges::find_if(steps_, [](Step const& one) { return one.kind != Step::Kind::prepare; });
  segment_failure_ = error_of(
      result, failed->query != nullptr ? failed->query->sql : std::string_view(failed->text));
}

void PostgresConnection::finish(Query& query) {
  --waiting_;
  if (loop_ != nullptr) finished_.push_back(&query);
}

void PostgresConnection::resume_finished() {
  auto const ready = std::exchange(finished_, {});
  for (auto* const query : ready) query->waiting.resume();
}

void PostgresConnection::break_off(std::string why) {
  if (std::exchange(broken_, true)) return;
  why_broken_ = why.empty() ? "the connection was lost" : std::move(why);
  if (loop_ != nullptr) {
    loop_->remove(fd_, *this);
    guard_->cancel();
  }
  ++failures_;
  for (auto const& step : steps_) {
    if (step.kind != Step::Kind::sync || step.query == nullptr) continue;
    step.query->outcome = std::unexpected(postgres_unavailable(why_broken_));
    finish(*step.query);
  }
  steps_.clear();
}

// Outside on_ready(), after which the finished go on: whoever asks just now is not waiting yet.
void PostgresConnection::break_off_unasked(std::string why) {
  break_off(std::move(why));
  // As long as one of them waits, the connection stays.
  if (!finished_.empty()) loop_->post([this] { resume_finished(); });
}

void PostgresConnection::guard_time() {
  if (steps_.empty()) return;
  if (!is_hopeless()) return arm_guard();
  break_off("the server does not answer");
  resume_finished();
}

void PostgresConnection::arm_guard() { guard_->arm(loop_->timers(), monotonic_ns() + kLookNs); }

bool PostgresConnection::is_hopeless() const {
  if (state_ != nullptr && state_->silent()) return true;
  return monotonic_ns() >= progress_ns_ + answer_timeout_ns_;
}

bool PostgresConnection::answers_within(std::int64_t wait_ms) {
  if (steps_.empty()) send_unanswered("SELECT 1");
  auto const deadline_ns = monotonic_ns() + wait_ms * 1'000'000;
  while (!broken_ && !steps_.empty() && monotonic_ns() < deadline_ns) {
    wait_for_socket(fd_, POLLIN, deadline_ns);
    receive();
  }
  return !broken_ && steps_.empty();
}

bool PostgresConnection::take_notifications(FunctionRef<void(std::string_view)> on_text) {
  if (broken_) return false;
  receive();
  bool from_others = false;
  while (auto* const notification = PQnotifies(handle_)) {
    if (notification->be_pid != PQbackendPID(handle_)) {
      from_others = true;
      if (std::string_view const text = notification->extra; !text.empty()) on_text(text);
    }
    PQfreemem(notification);
  }
  return from_others;
}

}  // namespace subforge::store
