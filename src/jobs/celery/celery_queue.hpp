// The queue that shares its work with Celery: jobs wait in the lists of a Redis, where workers in
// Python and ours take them, and others' tasks that come there get a record here.
//
// The database stays the truth about every job of ours. A job that is enqueued is a row with a row
// of the outbox, which a relay carries to Redis; one of our workers that takes its message leases
// the row, with its fence, as in the embedded queue, whose rules hold. The message lies in the book
// of unacknowledged ones meanwhile, so that it comes back even if all of ours are gone.
//
// What waits for its time, or for a place among those of a limited name, waits in the database.
#pragma once

#include <atomic>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "jobs/celery/adoption.hpp"
#include "jobs/celery/broker.hpp"
#include "jobs/celery/endings.hpp"
#include "jobs/celery/lost_tasks.hpp"
#include "jobs/celery/mirror.hpp"
#include "jobs/celery/relay.hpp"
#include "jobs/celery/results.hpp"
#include "jobs/celery/task_observer.hpp"
#include "jobs/embedded/embedded_queue.hpp"

namespace subforge::jobs::celery {

struct CeleryOptions {
  redis::RedisOptions broker;
  redis::RedisOptions results;
  // After so long others take what was not acknowledged. All who share a broker should agree.
  std::int64_t visibility_seconds = 3'600;
  // What nobody has any more, and nobody told of for so long, has failed.
  std::int64_t lost_seconds = 21'600;
  std::int64_t result_seconds = 86'400;  // How long results are kept; 0: for ever.
  std::string result_prefix = {};        // Before their keys.
  bool dates_with_offset = false;        // In results, as Celery 5.5 and later have it.
  std::string origin = "subforge";       // Who sends, for people.
};

// On one loop, of which the workers are, too.
class CeleryQueue final : public EmbeddedQueue, public store::LogFollower {
 public:
  // How many messages are looked for in the least urgent lists first: nothing waits for ever.
  static constexpr std::int64_t kFairRound = 20;
  // What begins without a row (celery_drafts.cpp) has one by then.
  static constexpr std::int64_t kRowAfterMs = 100;

  // What it refers to must outlive it. The store must not be opened yet.
  CeleryQueue(EventLoop& loop, BlockingPool& resolver, store::Store& store,
              Registry const& registry, QueueLimits limits, CeleryOptions options, Logger logger);
  ~CeleryQueue() override;

  // With the store open; on the loop, or before it runs.
  void start();
  // Nothing is asked of Redis any more.
  void stop();
  // Nothing that it does by itself is under way. After stop() it is soon so.
  [[nodiscard]] bool at_rest() const {
    return tasks_.running() == 0 && relay_.at_rest() && mirror_.at_rest();
  }
  // Told of everything that happens to tasks from Redis. Before start().
  void observe(TaskObserver& observer) { observer_ = &observer; }
  // Waits until Redis is there, that long at most.
  Task<bool> connected(std::int64_t most_ms);
  [[nodiscard]] std::optional<BrokerHealth> broker_health() const override;
  [[nodiscard]] CeleryOptions const& options() const { return options_; }
  [[nodiscard]] Broker& broker() { return broker_; }
  [[nodiscard]] Results& results() { return results_; }

  Task<Result<std::vector<Enqueued>>> enqueue_in(store::Transaction& transaction,
                                                 std::span<JobSpec const> specs) override;
  Task<Result<Job>> cancel_in(store::Transaction& transaction, Uuid id, std::string actor,
                              std::string why) override;
  Task<Result<Job>> put_back_in(store::Transaction& transaction, Uuid id, std::string actor,
                                bool fresh) override;

  Task<Result<Uuid>> enlist(WorkerInfo const& info) override;
  Task<Result<Claim>> claim(ClaimRequest request) override;
  Task<Result<bool>> waiting(std::span<std::string const> queues) override;
  void on_arrival(std::function<void()> call) override { on_arrival_ = std::move(call); }
  Task<Result<std::vector<Verdict>>> settle(Uuid worker_id,
                                            std::span<Settlement const> settlements) override;
  Task<Result<void>> stopped(Lease lease) override;
  Task<Result<void>> release(Uuid worker_id, std::vector<Lease> leases) override;
  Task<Result<Beat>> beat(Uuid worker_id, std::span<Lease const> held,
                          std::vector<ProgressReport> reports, std::vector<LogLine> lines) override;
  Task<Result<void>> resign(Uuid worker_id) override;
  Task<Result<std::int64_t>> tend() override;
  // What runs has a row afterwards, so that it can be cancelled. On the loop.
  Task<Result<void>> write_rows();
  // Those that wait in the database and have one of the stamps are not wanted any more. On the
  // loop.
  Task<void> revoke_stamped(std::set<std::string> stamps);

  // Any thread.
  void on_events(std::span<store::EventPtr const> events) override;

 private:
  // What this process works on.
  struct Held {
    std::unique_ptr<TaskMessage> message;
    Uuid worker;
    std::int64_t fence = 0;  // Those without a row have one below zero, which no row has.
    std::int64_t started_ns = 0;
    std::shared_ptr<Job const> draft = {};
    bool settling = false;        // Its row is about to be written with its end.
    bool revoked_before = false;  // Before it was begun, and put back since.
  };
  // By job; each of its starts has another fence.
  using HeldJobs = std::unordered_multimap<Uuid, Held>;
  // What lists gave.
  struct Picked {
    std::vector<Popped> popped;
    bool more = false;        // There may be more in them.
    bool waits_here = false;  // There may be something in the database.
    bool unsure = false;      // More may have been taken.
  };
  // A job that begins without a row.
  struct Begun {
    Received received;
    std::shared_ptr<Job const> draft;
  };
  struct Unwritten {
    Uuid job;
    std::int64_t fence = 0;
    std::int64_t begun_ns = 0;
  };
  struct Taken {
    Adoption adoption;
    Claim claim;
  };
  // What this process worked on, of which only the row says how it ended.
  struct ByRow {
    Lease lease;
    Held held;
  };
  // An end that Redis was not told of yet.
  struct Untold {
    Uuid worker;
    std::vector<Ended> ended;
    std::vector<std::string> tags;
    std::vector<ByRow> by_row = {};
  };

  Task<Result<void>> settled_in(store::Transaction& transaction, Settlement const& settlement,
                                JobRows::Settled const& settled) override;
  Task<Result<void>> ended_in(store::Transaction& transaction, Uuid id) override;
  [[nodiscard]] std::vector<std::string> lists_of(std::span<std::string const> queues);
  Task<Picked> pop(ClaimRequest const& request);
  Task<std::vector<Received>> read(Uuid worker, std::vector<Popped> popped);
  Task<Result<void>> leave_to_others(Uuid worker, std::vector<Popped>& popped);
  Task<void> say_what_is_served();
  Task<Result<void>> know_former_logs();
  Task<Result<Taken>> take(ClaimRequest request, std::vector<Received> const& received);
  Task<void> give_back(Uuid worker, std::vector<Received> const& received);
  Task<Result<void>> give_back_unheld(Uuid worker, std::vector<Lease> const& held);
  Task<Result<Claim>> begin(Uuid worker, std::vector<Received> const& received, Taken taken);
  [[nodiscard]] bool may_begin(Received const& one, Timestamp now) const;
  [[nodiscard]] HeldJobs::iterator find_held(Uuid job, std::int64_t fence);
  [[nodiscard]] HeldJobs::iterator find_held(Lease const& lease) {
    return find_held(lease.id, lease.fence);
  }
  [[nodiscard]] bool has_begun(Uuid job, Uuid worker) const;
  Task<Result<std::vector<Begun>>> set_apart(Uuid worker, std::vector<Received>& received);
  Task<Result<void>> look_at_rows(Uuid worker, std::span<Uuid const> ids, std::set<Uuid>& known);
  Task<Result<Claim>> next_delayed();
  void begin_without_rows(Uuid worker, std::vector<Begun> begun, Claim& claim);
  void wait_for_rows(std::int64_t at_least_ns);
  Task<void> write_rows_by_and_by();
  Task<Result<void>> write_rows_begun_before(std::int64_t before_ns);
  Task<Result<void>> fill_messages(std::vector<ClaimedJob> const& jobs,
                                   std::vector<TaskMessage>& messages);
  Task<void> look_again(std::vector<std::string> lists);
  [[nodiscard]] bool row_may_differ(Settlement const& settlement) const;
  Task<Result<std::optional<Job>>> row_of(Uuid id);
  [[nodiscard]] Ended end_of(Settlement const& settlement, Verdict verdict, std::optional<Job> row,
                             TaskMessage message) const;
  Task<Result<void>> look_at_row(ByRow& one, Untold& untold);
  Task<void> tell(Untold untold);
  Task<void> revoke(std::vector<Uuid> ids);
  Task<void> tell_untold();
  Task<Result<void>> hear_those_who_tell();
  Task<void> renew_all();
  void note_refusal(Result<void> const& tended);
  Task<Result<std::int64_t>> expire_outbound();
  Task<Result<void>> reclaim();
  Task<Result<void>> reclaim_from(Uuid worker);
  Task<Result<void>> sweep();
  void let_go(Uuid worker);
  Task<Result<std::set<Uuid>>> holders() override;

  EventLoop& loop_;
  CeleryOptions const options_;
  TaskObserver* observer_ = nullptr;
  std::function<void()> on_arrival_;
  Broker broker_;
  Results results_;
  Endings endings_;
  Mirror mirror_;
  Relay relay_;
  LostTasks lost_;
  Adopter const adopter_;
  TaskGroup tasks_;
  HeldJobs held_;
  std::int64_t begun_ = 0;
  std::deque<Unwritten> unwritten_;  // As they began; some may have ended.
  Timer rows_due_;
  std::vector<Untold> untold_;
  // What has expired: taken out of its list, but not written yet; and what was in no list, until it
  // is looked for again.
  std::set<Uuid> taken_out_;
  std::map<Uuid, Timestamp> elsewhere_;
  // Set while Redis is there and refuses what it is told, as one that is full does.
  std::atomic<std::shared_ptr<BrokerHealth const>> refused_;
  bool telling_ = false;
  std::set<std::string> served_;  // The queues that workers of this process take from.
  std::int64_t warn_of_others_at_ns_ = 0;
  std::int64_t claims_ = 0;
  std::int64_t rounds_ = 0;
};

}  // namespace subforge::jobs::celery
