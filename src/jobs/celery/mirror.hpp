// What workers of Celery make of our jobs, back into our records: states, progress, results and
// errors, as they lie in the store of results. It hears of each one when it is stored, and looks
// now and then for those that it did not hear of.
//
// Lives on one loop and is used from there.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "base/log.hpp"
#include "jobs/celery/result_meta.hpp"
#include "jobs/celery/results.hpp"
#include "jobs/job_rows.hpp"
#include "runtime/event_loop.hpp"
#include "store/store.hpp"

namespace subforge::jobs::celery {

// How far a task is, from a state of its own making: {"current": 1, "total": 2}, {"percent": 50},
// {"progress": 50}, with a text under "note", "message", "status" or "description".
struct ToldProgress {
  std::optional<double> percent;
  std::string note;
};
[[nodiscard]] ToldProgress read_progress(std::string_view result);

class Mirror {
 public:
  static constexpr std::size_t kWatchedMax = 100'000;  // More are only looked for.
  static constexpr std::int64_t kLookedForAtOnce = 500;
  static constexpr std::int64_t kLookRounds = 5;  // Of tend(), which is called once a second.

  Mirror(EventLoop& loop, store::Store& store, Results& results, JobRows const& rows, Logger logger)
      : loop_(loop), store_(store), results_(results), rows_(rows), logger_(logger) {}

  // The job lies in a list now: others may run it.
  void watch(Uuid job);
  // One of our own workers has it.
  void forget(Uuid job) { watched_.erase(job); }
  // A result that somebody stored.
  void heard(std::string_view task_id, std::string_view text);
  // Writes what a meta that lies in Redis says of a job that waits for others, if its record does
  // not say it already.
  Task<Result<void>> take(std::vector<ResultMeta> metas);
  // Once a second.
  Task<Result<void>> tend();
  // Nothing that it does by itself is under way.
  [[nodiscard]] bool at_rest() const { return tasks_.running() == 0; }

 private:
  // What was heard happened then, even if it is what happened before; what was found may have been
  // heard.
  struct News {
    ResultMeta meta;
    std::int64_t heard_ns = 0;  // 0: it was found.
  };
  static Task<Result<void>> write_one(JobRows const& rows, store::Transaction& transaction,
                                      News const& news, JobChanges& changes);
  Task<Result<void>> take_news(std::vector<News> news);
  Task<void> write_soon();
  Task<Result<void>> look();

  EventLoop& loop_;
  store::Store& store_;
  Results& results_;
  JobRows const& rows_;
  Logger logger_;
  std::unordered_set<Uuid> watched_;
  std::vector<News> news_;
  TaskGroup tasks_;
  bool writing_ = false;
  std::int64_t rounds_ = 0;
  std::int64_t looked_until_ = 0;
};

}  // namespace subforge::jobs::celery
