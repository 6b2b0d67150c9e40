// The tasks that this program can run: a table of values, put together by the composition root.
#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "jobs/job.hpp"
#include "runtime/task.hpp"
#include "store/store.hpp"

namespace subforge::jobs {

class JobContext;

// What a change to our own data does in the transaction that completes the job: it happens once,
// with the result, or not at all. It may be called again if the transaction is run again.
using Effect = std::function<Task<Result<void>>(store::Transaction&)>;

// How one start of a job ended.
struct Outcome {
  enum class Kind : std::uint8_t {
    success,
    failure,  // Tried again if its definition says so and tries are left.
    retry,    // The handler asks for another try; without any left it is a failure.
    revoked,  // It need not be done any more.
  };
  Kind kind = Kind::success;
  std::string data = "null";  // JSON.
  std::string error = {};
  std::string traceback = {};
  std::optional<std::int64_t> retry_after_ms = {};  // Instead of the definition's backoff.
  bool for_good = false;                            // Of a failure: no further try.
  std::string metadata = {};  // A JSON object whose members are merged into the record's.
  Effect effect = {};         // Of a success alone.
};

[[nodiscard]] Outcome succeeded(std::string json = "null");
// finish_in: the effect commits with the completion.
[[nodiscard]] Outcome succeeded_with(std::string json, Effect effect);
[[nodiscard]] Outcome failed(std::string error);
[[nodiscard]] Outcome failed_for_good(std::string error);
[[nodiscard]] Outcome try_again(std::string error, std::optional<std::int64_t> after_ms = {});
[[nodiscard]] Outcome withdrawn(std::string why);

// A coroutine on the worker's event loop. An exception that leaves it is a failure with its text.
using Handler = std::function<Task<Outcome>(JobContext&)>;

// So many starts in so much time, evenly spread after a burst of `burst`.
struct StartRate {
  std::int64_t count = 0;  // 0: no limit.
  double per_seconds = 1;
  std::int64_t burst = 1;
};

// "10/m", "5/s", "100/h", "0.5/s" or a number of starts a second, as Celery writes them.
[[nodiscard]] std::optional<StartRate> parse_rate(std::string_view text);

// What an end without success brings with it, in the transaction that writes that end, whoever or
// whatever ended the job: the handler, a limit, a worker that was lost, somebody who cancelled it.
// What expires was never started, and has none.
using OnFailure = std::function<Task<Result<void>>(store::Transaction&, Job const&)>;

struct Definition {
  std::string name;
  Handler handler = {};
  std::string doc = {};
  std::string queue{kDefaultQueue};
  std::int64_t priority = priority::kNormal;
  std::int64_t max_retries = 3;           // Of automatic tries and those by hand together.
  std::int64_t automatic_retries = 0;     // How many of them a failure uses up by itself.
  std::int64_t backoff_ms = 1'000;        // Before the first retry; each further one doubles it ...
  std::int64_t backoff_max_ms = 600'000;  // ... up to here; half of it is left to chance.
  double soft_limit_seconds = 1'500;      // The handler is asked to stop ...
  double hard_limit_seconds = 1'800;      // ... and the job has failed, whatever it does.
  std::int64_t concurrency = 0;           // That run at once, over all processes; 0: no limit.
  StartRate rate = {};                    // Over all processes, too.
  OnFailure on_failure = {};

  [[nodiscard]] bool limited() const { return concurrency > 0 || rate.count > 0; }
};

// How long a job waits before try number `retry` (from 1): backoff doubled each time, capped, of
// which the upper half is a matter of chance; `chance` is any number.
[[nodiscard]] std::int64_t backoff_ms(Definition const& definition, std::int64_t retry,
                                      std::uint64_t chance);

class Registry {
 public:
  // Versions that are kept, since somebody may be looking at an older one.
  static constexpr std::size_t kChangesMax = 10'000;

  // Of two with one name the later counts. Not after workers were started.
  void add(Definition definition);
  // Good as long as the registry, as it was when it was found. Any thread.
  [[nodiscard]] Definition const* find(std::string_view name) const;
  [[nodiscard]] std::vector<std::string> names() const;      // Sorted.
  [[nodiscard]] std::vector<Definition const*> all() const;  // By name. Any thread.
  // From now on one has other limits; the queue is to be told (Queue::limits_changed). By one
  // thread at a time, while others find. False: there is none of this name, or there were too many
  // changes.
  bool change(std::string_view name, std::function<void(Definition&)> const& change);

 private:
  std::map<std::string, std::atomic<Definition const*>, std::less<>> newest_;
  std::vector<std::unique_ptr<Definition const>> versions_;
};

}  // namespace subforge::jobs
