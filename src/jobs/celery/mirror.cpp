#include "jobs/celery/mirror.hpp"

#include <algorithm>
#include <array>
#include <cstdlib>

#include <boost/json/object.hpp>
#include <boost/json/value.hpp>

#include "describe/json_text.hpp"
#include "describe/parse_json.hpp"
#include "jobs/celery/outbox.hpp"
#include "jobs/celery/wire.hpp"
#include "jobs/job_rows.hpp"
#include "store/record_sql.hpp"

namespace subforge::jobs::celery {
namespace {

namespace json = boost::json;
using store::Row;
using store::Session;
using store::Transaction;

constexpr std::int64_t kGatherMs = 10;  // What comes until then is written in one transaction.
constexpr std::size_t kWrittenAtOnce = 500;
constexpr std::size_t kErrorBytesMax = 16'384;
constexpr std::size_t kResultBytesMax = 1'048'576;
constexpr std::size_t kNoteBytesMax = 500;
constexpr std::int64_t kOneAndTheSameUs = 300'000;

std::optional<double> number_member(json::object const& of, std::string_view name) {
  auto const* const value = of.if_contains(name);
  if (value == nullptr || !value->is_number()) return std::nullopt;
  return value->to_number<double>();
}

// Of what is no exception.
std::string plain_error(std::string_view result) {
  boost::system::error_code error;
  auto const value = describe::parse_json(result, error);
  auto const* const text = error ? nullptr : value.if_string();
  return text != nullptr && !text->empty() ? std::string(*text) : "It failed without an error";
}

void take_end(ResultMeta const& meta, Job& job) {
  job.stage = Stage::ended;
  // What others say of their time is no reason to keep it for ever, or not at all.
  auto const now = std::max(Timestamp::now(), job.created_at);
  job.completed_at = std::clamp(meta.done_at.value_or(now), job.created_at, now);
  // A start is known from when it was heard; of one that nobody told, that it was before the end.
  bool const began = job.started_at || meta.status != state::kRevoked;
  if (began)
    job.started_at = std::min(job.started_at.value_or(*job.completed_at), *job.completed_at);
  ++job.fence;
  if (meta.status == state::kSuccess && meta.result.size() <= kResultBytesMax) {
    job.status = JobStatus::success;
    job.result.text = meta.result;
    job.error.reset();
    job.progress = 100;
    return;
  }
  job.status = meta.status == state::kRevoked ? JobStatus::revoked : JobStatus::failure;
  job.progress = 0;
  auto const error = read_exception(meta.result);
  job.error = error ? exception_text(*error) : plain_error(meta.result);
  if (meta.status == state::kSuccess) {
    job.error = "The result has " + std::to_string(meta.result.size()) + " bytes; at most " +
                std::to_string(kResultBytesMax) + " are kept";
  }
  job.error = clean_text(*job.error, kErrorBytesMax);
  if (meta.traceback) job.traceback = clean_text(*meta.traceback, kErrorBytesMax);
}

// All processes hear of it, and nothing in it tells one retry from the next: what says the same is
// another one if it is heard a while after the last, which is when it was due again.
void take_retry(ResultMeta const& meta, bool heard, Timestamp at, Job& job) {
  auto const error = read_exception(meta.result);
  auto const text = clean_text(error ? exception_text(*error) : "", kErrorBytesMax);
  bool const known = job.status == JobStatus::retry && job.error == text;
  if (known && (!heard || std::abs(at.micros - job.due_at.micros) < kOneAndTheSameUs)) return;
  job.status = JobStatus::retry;
  job.error = text;
  if (meta.traceback) job.traceback = clean_text(*meta.traceback, kErrorBytesMax);
  ++job.retry_count;
  job.due_at = at;
  job.progress = 0;
  job.progress_note.clear();
}

void take_progress(ResultMeta const& meta, Job& job) {
  auto const told = read_progress(meta.result);
  if (job.status != JobStatus::started) job.started_at = Timestamp::now();
  job.status = JobStatus::started;
  if (meta.status == state::kStarted) return;
  if (told.percent) job.progress = std::clamp(*told.percent, 0.0, 100.0);
  job.progress_note = clean_text(told.note.empty() ? meta.status : told.note, kNoteBytesMax);
}

// The record as the meta says, which was told at that time.
void take_meta(ResultMeta const& meta, bool heard, Timestamp at, Job& job) {
  if (is_final_state(meta.status)) return take_end(meta, job);
  if (meta.status == state::kRetry) return take_retry(meta, heard, at, job);
  if (meta.status == state::kPending || meta.status == state::kReceived) return;
  if (meta.status == state::kRejected) return;
  take_progress(meta, job);
}

}  // namespace

Task<Result<void>> Mirror::write_one(JobRows const& rows, Transaction& transaction,
                                     News const& news, JobChanges& changes) {
  auto const& [meta, heard_ns] = news;
  bool const heard = heard_ns != 0;
  auto const id = uuid_of(meta.task_id);
  auto const before = co_await select_job(transaction.session(), id);
  if (!before && before.error().code == ErrorCode::not_found) co_return {};
  if (!before) co_return std::unexpected(before.error());
  if (before->stage != Stage::outbound) co_return {};
  auto after = *before;
  auto at = transaction.now();
  if (heard && meta.status == state::kRetry) {
    auto const now = co_await shared_clock(transaction.session());
    if (!now) co_return std::unexpected(now.error());
    at.micros = now->micros - (monotonic_ns() - heard_ns) / 1'000;
  }
  take_meta(meta, heard, at, after);
  auto const update = store::update_of_changes<Job>("jobs", "id", id, *before, after);
  if (update.sql.empty()) co_return {};
  auto const done = co_await transaction.execute(update.sql, update.bound.values());
  if (!done) co_return std::unexpected(done.error());
  changes.moved(after, before->status);
  if (after.stage != Stage::ended) {
    changes.tell(kChangedEvent, after);
    co_return {};
  }
  changes.ended(after);
  changes.tell(kEndedEvent, after);
  if (after.status != JobStatus::success) {
    auto const followed = co_await rows.after_failure(transaction, after);
    if (!followed) co_return followed;
  }
  co_return co_await remove_pushes(transaction, std::span(&id, 1));
}

ToldProgress read_progress(std::string_view result) {
  ToldProgress told;
  boost::system::error_code error;
  auto const value = describe::parse_json(result, error);
  auto const* const object = value.if_object();
  if (error || object == nullptr) return told;
  auto const current = number_member(*object, "current");
  auto const total = number_member(*object, "total");
  if (current && total && *total > 0) told.percent = 100 * *current / *total;
  for (auto const* const name : {"percent", "progress"}) {
    if (!told.percent) told.percent = number_member(*object, name);
  }
  for (auto const* const name : {"note", "message", "status", "description"}) {
    if (told.note.empty()) told.note = describe::text_member(*object, name);
  }
  return told;
}

void Mirror::watch(Uuid job) {
  if (watched_.size() < kWatchedMax) watched_.insert(job);
}

void Mirror::heard(std::string_view task_id, std::string_view text) {
  if (watched_.empty() || !watched_.contains(uuid_of(task_id))) return;
  auto meta = read_meta(text);
  if (!meta) {
    return logger_.warning("a result in Redis cannot be read", {{"id", std::string(task_id)}});
  }
  news_.push_back({std::move(*meta), monotonic_ns()});
  if (std::exchange(writing_, true)) return;
  tasks_.spawn(write_soon());
}

Task<void> Mirror::write_soon() {
  while (!news_.empty()) {
    co_await loop_.sleep_ms(kGatherMs);
    auto const written = co_await take_news(std::exchange(news_, {}));
    // What could not be written is looked for later.
    if (!written) {
      logger_.warning("results of other workers could not be written",
                      {{"cause", written.error().message}, {"context", written.error().context}});
    }
  }
  writing_ = false;
}

Task<Result<void>> Mirror::take(std::vector<ResultMeta> metas) {
  std::vector<News> found;
  found.reserve(metas.size());
  for (auto& meta : metas) found.push_back({std::move(meta)});
  return take_news(std::move(found));
}

Task<Result<void>> Mirror::take_news(std::vector<News> news) {
  // What we told of a job ourselves its record has said before: it is of an earlier run.
  std::erase_if(news, [this](News const& one) { return one.meta.log == store_.epoch(); });
  for (std::size_t from = 0; from < news.size(); from += kWrittenAtOnce) {
    auto const part = std::span(news).subspan(from, std::min(kWrittenAtOnce, news.size() - from));
    auto write = [this, part](Transaction& transaction) -> Task<Result<void>> {
      JobChanges changes;
      for (auto const& one : part) {
        if (auto done = co_await write_one(rows_, transaction, one, changes); !done) co_return done;
      }
      co_return co_await changes.apply(transaction);
    };
    if (auto done = co_await store_.write(std::move(write)); !done) co_return done;
    std::vector<ResultMeta> of_later_runs;
    for (auto const& [meta, heard_ns] : part) {
      if (!is_final_state(meta.status)) continue;
      watched_.erase(uuid_of(meta.task_id));
      if (id_of_first_run(meta.task_id) != meta.task_id) of_later_runs.push_back(meta);
    }
    // Workers of Celery's know nothing of the first run.
    if (of_later_runs.empty()) continue;
    if (auto done = co_await results_.store(of_later_runs); !done) co_return done;
  }
  co_return {};
}

Task<Result<void>> Mirror::tend() {
  if (++rounds_ % kLookRounds != 0 || !results_.up()) co_return {};
  co_return co_await look();
}

// A part of those that lie in lists each time, from the oldest on.
Task<Result<void>> Mirror::look() {
  std::vector<std::string> ids;
  std::int64_t last = 0;
  auto read = [&](Session& session) -> Task<Result<std::int64_t>> {
    co_return co_await session.query(
        "SELECT seq, id, task_id FROM jobs LEFT JOIN job_messages ON job_id = id"
        " WHERE stage = 'outbound' AND seq > $1 ORDER BY seq LIMIT $2",
        {looked_until_, kLookedForAtOnce}, [&](Row const& row) {
          last = row.integer(0);
          watch(row.uuid(1));
          ids.push_back(row.is_null(2) ? row.uuid(1).to_string() : std::string(row.text(2)));
        });
  };
  auto const found = co_await store_.read(store::ReadCost::scan, read);
  if (!found) co_return std::unexpected(found.error());
  looked_until_ = static_cast<std::int64_t>(ids.size()) < kLookedForAtOnce ? 0 : last;
  auto const metas = co_await results_.get(ids);
  if (!metas) co_return std::unexpected(metas.error());
  std::vector<ResultMeta> there;
  for (auto const& meta : *metas) {
    if (meta) there.push_back(*meta);
  }
  co_return co_await take(std::move(there));
}

}  // namespace subforge::jobs::celery
