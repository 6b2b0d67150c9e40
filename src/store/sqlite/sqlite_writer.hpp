// The one thread that writes: it groups the commits of many jobs, tells the listener of every
// change to the log, and keeps the write-ahead log short.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <span>
#include <thread>
#include <vector>

#include "base/log.hpp"
#include "runtime/blocking_pool.hpp"
#include "store/database.hpp"
#include "store/sqlite/sqlite_connection.hpp"

namespace subforge::store {

struct SqliteWriterOptions {
  std::size_t group_jobs_max = 512;     // Writes that share one commit.
  std::size_t queue_jobs_max = 20'000;  // Writes that may wait; one more is refused.
  // A group waits for as many jobs as the last one had, for half the time of a commit at most and
  // never beyond this: those whose writes were just committed often write again at once.
  std::int64_t group_wait_us_max = 2'000;
  // How long a group waits for another process's lock if the one before it did so in vain: else
  // many would wait out the whole time, one after another.
  std::int64_t lock_wait_again_ms = 250;
  // While others write, none of theirs is to find the writer busy with one in the background most
  // of the time: it has this many times as long for them as the last one took. They count as
  // writing for so long after they did.
  std::int64_t background_pauses = 3;
  std::int64_t others_ms = 100;
  std::int64_t change_poll_ms = 200;      // How often another process's writes are looked for.
  std::int64_t checkpoint_pages = 4'000;  // Pages in the log from which on they are copied away.
};

class SqliteWriter {
 public:
  // `checkpointer` is a connection that the writer uses on a thread beside its own.
  SqliteWriter(SqliteWriterOptions options, Logger logger, CommitListener& listener,
               DiskTurns& disk_turns, std::unique_ptr<SqliteConnection> connection,
               std::unique_ptr<SqliteConnection> checkpointer);
  ~SqliteWriter() { stop(); }
  SqliteWriter(SqliteWriter const&) = delete;
  SqliteWriter& operator=(SqliteWriter const&) = delete;

  // False if the queue is full or the writer was stopped.
  [[nodiscard]] bool submit(WriteJob& job);
  // Moves on with every change to the database, before anybody is told of it; from any thread.
  [[nodiscard]] std::int64_t changes() const { return changes_.load(std::memory_order_acquire); }
  // Finishes what is queued. Not from two threads at once.
  void stop();

 private:
  // Where the copying of the log into the database stands.
  enum class Checkpoint : std::uint8_t {
    none,     // The log is short.
    copying,  // A thread beside this one copies the bulk.
    copied,   // What was committed meanwhile is left; the writer copies that between two commits.
  };

  void run();
  [[nodiscard]] std::int64_t ns_to_background() const;
  void wait_for_work(std::unique_lock<std::mutex>& lock);
  void wait_for_company(std::unique_lock<std::mutex>& lock);
  void take_group(std::vector<WriteJob*>& group);
  void run_group(std::span<WriteJob* const> jobs);
  Result<void> sync_commits(bool wanted);
  Result<void> begin();
  Result<void> commit();
  Result<void> run_jobs(std::span<WriteJob* const> jobs);
  Result<void> run_job(WriteJob& job);
  Result<void> run_in_savepoint(WriteJob& job);
  void log_failure(std::size_t writes, Error const& cause);
  void tell(std::span<WriteJob* const> jobs);
  void look_for_changes();
  void shorten_log();

  SqliteWriterOptions const options_;
  Logger logger_;
  CommitListener& listener_;
  DiskTurns& disk_turns_;
  std::unique_ptr<SqliteConnection> connection_;
  std::int64_t data_version_ = 0;
  bool listener_behind_ = false;
  std::int64_t looked_ns_ = 0;

  std::atomic<std::int64_t> changes_{0};
  std::int64_t commit_ns_ = 0;  // A moving mean.
  std::int64_t committed_ns_ = 0;
  std::size_t last_group_jobs_ = 0;
  bool in_background_ = false;           // What the group is that runs, or ran last.
  std::int64_t background_from_ns_ = 0;  // When the next one in the background may begin.
  bool synced_ = true;                   // What the connection does with commits.
  std::int64_t const lock_wait_ms_;
  bool locked_out_ = false;        // The last group waited for the lock in vain.
  std::size_t failed_writes_ = 0;  // Since a failure was logged last.
  std::int64_t failure_logged_ns_ = 0;

  std::atomic<Checkpoint> checkpoint_{Checkpoint::none};
  std::int64_t checkpoint_at_pages_;
  std::int64_t log_pages_ = 0;  // As seen last.
  std::unique_ptr<SqliteConnection> checkpointer_;
  BlockingPool checkpoint_thread_{1, 1};

  std::mutex mutex_;
  // Loops notify at the end of their turn, when the writer may be gone already.
  std::shared_ptr<std::condition_variable> wake_ = std::make_shared<std::condition_variable>();
  std::vector<WriteJob*> queue_;
  std::deque<WriteJob*> background_;  // Each runs alone.
  std::size_t wake_at_jobs_ = 1;      // The length of the queue that the thread waits for.
  bool accepting_ = true;
  std::thread thread_;
};

}  // namespace subforge::store
