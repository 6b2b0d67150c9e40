#include "jobs/celery/relay.hpp"

#include <algorithm>

#include <boost/json/object.hpp>

#include "base/json_writer.hpp"
#include "jobs/celery/wire.hpp"
#include "jobs/job_rows.hpp"

namespace subforge::jobs::celery {

using store::Session;
using store::Transaction;

Task<Result<void>> Relay::flush() {
  if (!parts_.broker.up() || !parts_.results.up()) {
    co_return fail(ErrorCode::unavailable, "Redis is not available");
  }
  if (std::exchange(flushing_, true)) {
    again_ = true;
    co_await end_of_flush();
    co_return flushed_;
  }
  Result<void> done;
  do {
    again_ = false;
    done = co_await carry_all();
    // Redis lost what it had: from the beginning.
    if (!done && done.error().code == ErrorCode::stale) done = co_await carry_all();
  } while (done && again_);
  flushing_ = false;
  flushed_ = done;
  if (std::exchange(pushed_, false) && on_pushed_) on_pushed_();
  for (auto const waiting : std::exchange(waiting_, {})) waiting.resume();
  co_return done;
}

void Relay::wake() {
  if (woken_.exchange(true, std::memory_order_acq_rel)) return;
  parts_.loop.post([this] {
    woken_.store(false, std::memory_order_release);
    if (parts_.broker.up()) tasks_.spawn(flush_by_itself());
  });
}

Task<void> Relay::flush_by_itself() {
  auto const done = co_await flush();
  if (done || done.error().code == ErrorCode::unavailable) co_return;
  parts_.logger.warning("background tasks could not be handed to Redis",
                        {{"cause", done.error().message}, {"context", done.error().context}});
}

void Relay::note_loss(std::int64_t mark) {
  parts_.logger.warning("Redis lost what it had taken; tasks that wait are pushed again",
                        {{"from", mark}, {"to", seen_}});
}

Task<Result<void>> Relay::look() {
  auto const seen = seen_;
  auto const mark = co_await parts_.broker.relayed();
  if (!mark) co_return std::unexpected(mark.error());
  if (*mark < seen) begin_anew();
  co_return co_await keep_ahead(*mark);
}

// A database that was set back, by a copy that was put in its place or a standby that had not all,
// would give rows again that Redis takes for pushed. What it still has to say is said anew: Redis
// may have had it, and a task of it run, since.
Task<Result<void>> Relay::keep_ahead(std::int64_t mark) {
  auto read = [](Session& session) { return newest_row(session); };
  auto const newest = co_await parts_.store.read(store::ReadCost::point, read);
  if (!newest) co_return std::unexpected(newest.error());
  if (*newest >= mark) co_return {};
  auto move = [mark](Transaction& transaction) { return move_behind(transaction, mark); };
  auto const moved = co_await parts_.store.write(move);
  if (!moved) co_return std::unexpected(moved.error());
  if (!*moved) co_return {};
  parts_.logger.warning("the database lost what Redis had taken; tasks that wait are pushed again",
                        {{"from", *newest}, {"to", mark}});
  co_return {};
}

Task<Result<void>> Relay::carry_all() {
  if (!synced_) {
    auto const mark = co_await parts_.broker.relayed();
    if (!mark) co_return std::unexpected(mark.error());
    if (*mark < seen_) note_loss(*mark);
    if (auto ahead = co_await keep_ahead(*mark); !ahead) co_return ahead;
    until_ = seen_ = *mark;
    synced_ = true;
  }
  if (auto moved = co_await move_waiting(); !moved) co_return moved;
  for (;;) {
    auto const more = co_await carry_page();
    if (!more) co_return std::unexpected(more.error());
    if (!*more) co_return {};
  }
}

// What became ready in the database by itself: its time has come, it is tried again, its batch is
// done, its worker was lost.
Task<Result<void>> Relay::move_waiting() {
  for (;;) {
    auto look = [](Session& session) { return anything_waits(session, Timestamp::now()); };
    auto const any = co_await parts_.store.read(store::ReadCost::point, look);
    if (!any) co_return std::unexpected(any.error());
    if (!*any) co_return {};
    auto move = [](Transaction& transaction) { return move_to_outbox(transaction, kRowsAtOnce); };
    auto const moved = co_await parts_.store.write(move);
    if (!moved) co_return std::unexpected(moved.error());
    if (*moved < kRowsAtOnce) co_return {};
  }
}

Task<Result<bool>> Relay::carry_page() {
  std::vector<OutboxRow> rows;
  auto read = [&](Session& session) -> Task<Result<void>> {
    auto page = co_await read_outbox(session, until_, kRowsAtOnce);
    if (!page) co_return std::unexpected(page.error());
    rows = std::move(*page);
    co_return {};
  };
  if (auto done = co_await parts_.store.read(store::ReadCost::point, read); !done) {
    co_return std::unexpected(done.error());
  }
  if (rows.empty()) co_return false;
  bool said = false;
  for (std::size_t from = 0; from < rows.size();) {
    auto to = from;
    while (to < rows.size() && rows[to].kind == OutboxKind::push) ++to;
    if (to > from) {
      auto const done = co_await push(std::span(rows).subspan(from, to - from));
      if (!done) co_return std::unexpected(done.error());
      from = to;
      continue;
    }
    auto const done = co_await say(rows[from]);
    if (!done && done.error().code != ErrorCode::internal) {
      co_return std::unexpected(done.error());
    }
    if (!done) {
      // It will not go better another time, and others wait behind it.
      parts_.logger.warning("Redis could not be told of a background task",
                            {{"id", rows[from].job.id.to_string()},
                             {"cause", done.error().message},
                             {"context", done.error().context}});
    }
    said = true;
    ++from;
  }
  until_ = rows.back().row;
  if (said) {
    auto remove = [until = until_](Transaction& transaction) {
      return remove_said(transaction, until);
    };
    if (auto done = co_await parts_.store.write(remove); !done) {
      co_return std::unexpected(done.error());
    }
  }
  co_return static_cast<std::int64_t>(rows.size()) == kRowsAtOnce;
}

// Workers of Celery may have done meanwhile what one of ours had begun: then its result is there.
Task<Result<std::vector<OutboxRow const*>>> Relay::still_to_do(std::span<OutboxRow const> rows) {
  std::vector<OutboxRow const*> left;
  std::vector<OutboxRow const*> begun;
  std::vector<std::string> ids;
  for (auto const& row : rows) {
    if (row.job.stage != Stage::outbound) continue;
    if (row.job.fence == 0) {
      left.push_back(&row);
      continue;
    }
    begun.push_back(&row);
    ids.push_back(message_of_job(row.job, row.stored, {}).id);
  }
  auto const metas = co_await parts_.results.get(ids);
  if (!metas) co_return std::unexpected(metas.error());
  std::vector<ResultMeta> ended;
  for (std::size_t i = 0; i < begun.size(); ++i) {
    auto const& meta = (*metas)[i];
    bool const of_others = meta && meta->log != parts_.store.epoch();
    if (of_others && is_final_state(meta->status)) {
      ended.push_back(*meta);
    } else {
      left.push_back(begun[i]);
    }
  }
  if (!ended.empty()) {
    if (auto done = co_await parts_.mirror.take(std::move(ended)); !done) {
      co_return std::unexpected(done.error());
    }
  }
  std::ranges::sort(left, {}, &OutboxRow::row);
  co_return left;
}

Task<Result<void>> Relay::push(std::span<OutboxRow const> rows) {
  auto const left = co_await still_to_do(rows);
  if (!left) co_return std::unexpected(left.error());
  std::vector<Push> pushes;
  pushes.reserve(left->size());
  for (auto const* const row : *left) {
    auto message = message_of_job(row->job, row->stored, parts_.origin);
    message.delivery_tag = parts_.broker.tag_of(row->row);
    parts_.mirror.watch(row->job.id);
    // Whoever was interrupted is next; who failed waits its turn like others.
    bool const in_front = row->job.fence > 0 && !row->job.error;
    pushes.push_back({row->row, list_name(message.queue, band_of(message.priority)),
                      write_message(message), in_front});
  }
  if (pushes.empty()) co_return {};
  pushed_ = true;
  auto const failed = co_await parts_.broker.push(pushes, seen_);
  if (!failed) {
    if (failed.error().code == ErrorCode::stale) begin_anew();
    co_return std::unexpected(failed.error());
  }
  seen_ = std::max(seen_, pushes.back().row);
  if (failed->empty()) co_return {};
  parts_.logger.warning("tasks could not be pushed: a key of Redis is no list",
                        {{"count", failed->size()}});
  co_return co_await put_off(*left, *failed);
}

// They wait in the database, and are pushed by new rows: Redis takes none twice.
Task<Result<void>> Relay::put_off(std::span<OutboxRow const* const> rows,
                                  std::span<std::int64_t const> failed) {
  auto write = [rows, failed](Transaction& transaction) -> Task<Result<void>> {
    JobChanges changes;
    for (auto const* const row : rows) {
      if (std::ranges::find(failed, row->row) == failed.end()) continue;
      auto const id = row->job.id;
      auto job = co_await select_job(transaction.session(), id);
      if (!job && job.error().code == ErrorCode::not_found) continue;
      if (!job) co_return std::unexpected(job.error());
      if (job->stage != Stage::outbound) continue;
      auto const before = job->status;
      job->status = status_of_waiting(*job);
      Timestamp const due{transaction.now().micros + kPutOffUs};
      auto const updated = co_await transaction.execute(
          "UPDATE jobs SET stage = 'delayed', status = $1, due_at = $2 WHERE id = $3",
          {describe::to_text(job->status), due, id});
      if (!updated) co_return std::unexpected(updated.error());
      changes.moved(*job, before);
      if (auto done = co_await remove_pushes(transaction, std::span(&id, 1)); !done) co_return done;
    }
    co_return co_await changes.apply(transaction);
  };
  co_return co_await parts_.store.write(std::move(write));
}

Task<Result<void>> Relay::say(OutboxRow const& row) {
  auto message = message_of_job(row.job, row.stored, parts_.origin);
  if (row.kind == OutboxKind::forget) co_return co_await parts_.results.remove(message.id);
  if (row.kind == OutboxKind::cancel) {
    std::string request;
    JsonWriter json(request);
    json.begin_object();
    json.member("method", "revoke");
    json.key("arguments");
    json.begin_object();
    json.member("task_id", message.id);
    json.member("terminate", true);
    json.member("signal", "SIGTERM");
    json.end_object();
    json.member_null("destination");
    json.member_null("pattern");
    json.member_null("matcher");
    json.end_object();
    if (auto told = co_await parts_.broker.tell_workers(request); !told) co_return told;
  }
  // Somebody put it back since.
  if (row.job.stage != Stage::ended) co_return {};
  auto const ended = ended_of_job(row.job, std::move(message));
  co_return co_await parts_.endings.tell(std::span(&ended, 1));
}

}  // namespace subforge::jobs::celery
