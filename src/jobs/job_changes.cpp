#include "jobs/job_changes.hpp"

#include <algorithm>

#include "describe/json_text.hpp"
#include "describe/parse_json.hpp"
#include "jobs/job_figures.hpp"
#include "jobs/job_rows.hpp"

namespace subforge::jobs {
namespace {

constexpr std::int64_t kBucketUs = 60'000'000;

// As long as wanted at most, and no letter cut in two.
std::string_view cut(std::string_view text, std::size_t bytes) {
  if (text.size() <= bytes) return text;
  while (bytes > 0 && (static_cast<unsigned char>(text[bytes]) & 0xc0) == 0x80) --bytes;
  return text.substr(0, bytes);
}

void append_news(std::string& out, Job const& job) {
  JsonWriter json(out);
  json.begin_object();
  json.plain_key("task_id");
  json.uuid(job.id);
  json.plain_key("name");
  json.string(job.name);
  json.plain_key("status");
  json.string(describe::to_text(job.status));
  json.plain_key("priority");
  json.integer(job.priority);
  json.plain_key("progress");
  json.number(job.progress);
  json.plain_key("queue");
  json.string(job.queue);
  json.plain_key("retry_count");
  json.integer(job.retry_count);
  if (!job.progress_note.empty()) json.member("progress_note", job.progress_note);
  if (job.error) json.member("error", cut(*job.error, JobChanges::kErrorBytesTold));
  json.end_object();
}

}  // namespace

std::string job_subject(Uuid id) { return "job:" + id.to_string(); }

std::string count_of_status(JobStatus status) {
  return std::string("jobs.status=").append(describe::to_text(status));
}

std::string count_of_priority(std::int64_t priority) {
  return "jobs.priority=" + std::to_string(priority);
}

std::string count_of_both(JobStatus status, std::int64_t priority) {
  return std::string("jobs.status,priority=")
      .append(describe::to_text(status))
      .append(",")
      .append(std::to_string(priority));
}

std::string count_in_queue(std::string_view queue, JobStatus status) {
  return std::string("jobs.status,queue=")
      .append(describe::to_text(status))
      .append(",")
      .append(queue);
}

void JobChanges::count(Job const& job, JobStatus status, std::int64_t change) {
  for (auto& kind : kinds_) {
    if (kind.status != status || kind.priority != job.priority || kind.queue != job.queue) continue;
    kind.change += change;
    return;
  }
  kinds_.push_back({status, job.priority, job.queue, change});
}

// What is the same for all jobs of a kind is worked out once.
void JobChanges::count_kinds() {
  for (auto const& [status, priority, queue, change] : std::exchange(kinds_, {})) {
    counts_.add("jobs", change);
    counts_.add(count_of_status(status), change);
    counts_.add(count_of_priority(priority), change);
    counts_.add(count_of_both(status, priority), change);
    counts_.add(count_in_queue(queue, status), change);
  }
  for (auto const& [status, figures] : std::exchange(ends_, {})) {
    counts_.add(std::string(kDurationCount), figures.duration_us);
    counts_.add(std::string(kTimedCount), figures.ended);
    counts_.add(count_of_ends(status), figures.ended);
  }
}

void JobChanges::moved(Job const& job, JobStatus before) {
  if (before == job.status) return;
  count(job, before, -1);
  count(job, job.status, 1);
}

void JobChanges::ended(Job const& job) {
  auto const from = job.started_at.value_or(job.created_at);
  auto const to = job.completed_at.value_or(from);
  auto const took = std::max<std::int64_t>(to.micros - from.micros, 0);
  for (auto* const figures : {&ends_[job.status], &minutes_[to.micros / kBucketUs]}) {
    ++figures->ended;
    figures->duration_us += took;
  }
  if (!job.batch_id) return;
  auto& batch = batches_[*job.batch_id];
  ++(job.status == JobStatus::success ? batch.succeeded : batch.failed);
}

void JobChanges::reopened(Job const& job, JobStatus before) {
  if (!job.batch_id) return;
  auto& batch = batches_[*job.batch_id];
  --(before == JobStatus::success ? batch.succeeded : batch.failed);
}

void JobChanges::tell(std::string_view kind, Job const& job, std::string const& actor) {
  News* open = nullptr;
  for (auto& [known, news] : news_) {
    if (known == kind && news.actor == actor && news.count < kJobsPerEvent) open = &news;
  }
  if (open == nullptr) {
    open = &news_.emplace_back(kind, News{job_subject(job.id), actor, {}, 0}).second;
  } else {
    open->subject = kSeveralJobs;
    open->jobs.push_back(',');
  }
  ++open->count;
  append_news(open->jobs, job);
}

Task<Result<void>> JobChanges::apply(store::Transaction& transaction) {
  // What a batch releases adds to the counts and the events.
  if (auto done = co_await apply_batches(transaction); !done) co_return done;
  if (auto done = co_await apply_minutes(transaction); !done) co_return done;
  count_kinds();
  if (auto done = co_await counts_.apply(transaction); !done) co_return done;
  co_return co_await publish(transaction);
}

Task<Result<void>> JobChanges::apply_minutes(store::Transaction& transaction) {
  for (auto const& [minute, figures] : minutes_) {
    auto const done = co_await transaction.execute(
        "INSERT INTO job_minutes (minute, ended, duration_us) VALUES ($1, $2, $3)"
        " ON CONFLICT (minute) DO UPDATE SET ended = job_minutes.ended + excluded.ended,"
        " duration_us = job_minutes.duration_us + excluded.duration_us",
        {minute, figures.ended, figures.duration_us});
    if (!done) co_return std::unexpected(done.error());
  }
  co_return {};
}

Task<Result<void>> JobChanges::apply_batches(store::Transaction& transaction) {
  auto const batches = std::exchange(batches_, {});
  for (auto const& [id, batch] : batches) {
    auto const done = co_await transaction.execute(
        "UPDATE job_batches SET succeeded = succeeded + $1, failed = failed + $2"
        " WHERE id = $3 AND done = 0",
        {batch.succeeded, batch.failed, id});
    if (!done) co_return std::unexpected(done.error());
    if (*done == 0) continue;  // It has been reported; what ends later changes nothing.
    if (auto finished = co_await finish_batch(transaction, id, *this); !finished) {
      co_return finished;
    }
  }
  co_return {};
}

Task<Result<void>> JobChanges::publish(store::Transaction& transaction) {
  for (auto& [kind, news] : news_) {
    store::Event event;
    event.kind = kind;
    event.subject = news.subject;
    event.actor = news.actor;
    event.audience = store::Audience::room("background_tasks");
    event.payload = "{\"jobs\":[" + news.jobs + "]}";
    auto const published = co_await transaction.publish(std::move(event));
    if (!published) co_return std::unexpected(published.error());
  }
  news_.clear();
  co_return {};
}

Task<Result<void>> finish_batch(store::Transaction& transaction, Uuid batch, JobChanges& changes) {
  std::optional<Uuid> then;
  std::int64_t total = 0;
  std::int64_t succeeded = 0;
  std::int64_t failed = 0;
  auto const closed = co_await transaction.query(
      "UPDATE job_batches SET done = 1 WHERE id = $1 AND done = 0 AND sealed = 1"
      " AND succeeded + failed = total RETURNING then_id, total, succeeded, failed",
      {batch}, [&](store::Row const& row) {
        then = row.uuid(0);
        total = row.integer(1);
        succeeded = row.integer(2);
        failed = row.integer(3);
      });
  if (!closed) co_return std::unexpected(closed.error());
  if (!then) co_return {};
  auto job = co_await select_job(transaction.session(), *then);
  if (!job) co_return std::unexpected(job.error());
  if (job->stage != Stage::held) co_return {};  // Somebody cancelled it.
  std::string figures;
  JsonWriter json(figures);
  json.begin_object();
  json.key("batch");
  json.begin_object();
  json.member("id", batch);
  json.member("total", total);
  json.member("succeeded", succeeded);
  json.member("failed", failed);
  json.end_object();
  json.end_object();
  job->metadata.text = merged_objects(job->metadata.text, figures);
  job->due_at = std::max(job->due_at, transaction.now());
  job->rank = rank_of(job->due_at, job->priority);
  job->stage = job->due_at > transaction.now() ? Stage::delayed : Stage::ready;
  auto const freed = co_await transaction.execute(
      "UPDATE jobs SET metadata = $1, due_at = $2, rank = $3, stage = $4 WHERE id = $5",
      {job->metadata.text, job->due_at, job->rank, describe::to_text(job->stage), job->id});
  if (!freed) co_return std::unexpected(freed.error());
  changes.tell(kEnqueuedEvent, *job);
  co_return {};
}

std::vector<Uuid> jobs_of_event(store::Event const& event) {
  std::vector<Uuid> ids;
  boost::system::error_code error;
  auto const payload = describe::parse_json(event.payload, error);
  if (error || !payload.is_object()) return ids;
  auto const* const jobs = payload.get_object().if_contains("jobs");
  if (jobs == nullptr || !jobs->is_array()) return ids;
  for (auto const& job : jobs->get_array()) {
    if (!job.is_object()) continue;
    if (auto const id = Uuid::parse(describe::text_member(job.get_object(), "task_id"))) {
      ids.push_back(*id);
    }
  }
  return ids;
}

}  // namespace subforge::jobs
