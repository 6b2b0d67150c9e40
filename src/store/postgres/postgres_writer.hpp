// The one thread that writes: it groups the commits of many jobs, tells the listener of every
// change to the log, hears of other processes' commits, and makes its connection anew when it is
// lost.
//
// All processes' writers take turns: each holds one lock from its begin to its commit. So ids are
// given in the order of commits, and what a job has read stays true until its commit, as it does on
// SQLite.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "base/log.hpp"
#include "store/announcement.hpp"
#include "store/database.hpp"
#include "store/postgres/postgres_connection.hpp"
#include "store/postgres/postgres_state.hpp"

namespace subforge::store {

struct PostgresWriterOptions {
  std::size_t group_jobs_max = 512;     // Writes that share one commit.
  std::size_t queue_jobs_max = 20'000;  // Writes that may wait; one more is refused.
  // A group waits for as many jobs as the last one had, for half the time of a commit at most and
  // never beyond this: those whose writes were just committed often write again at once.
  std::int64_t group_wait_us_max = 2'000;
  int attempts_max = 3;  // Of a job that is lost to a deadlock.
  std::int64_t listener_retry_ms = 200;
  // The pause before the connection is made anew: the first, and what it doubles up to. Each is
  // spread at random over its second half.
  std::int64_t reconnect_ms_min = 50;
  std::int64_t reconnect_ms_max = 1'000;
};

class PostgresWriter {
 public:
  // `connection` is one by open_connection().
  PostgresWriter(PostgresWriterOptions options, PostgresOptions const& server, PostgresState& state,
                 Logger logger, CommitListener& listener,
                 std::unique_ptr<PostgresConnection> connection);
  ~PostgresWriter() { stop(); }
  PostgresWriter(PostgresWriter const&) = delete;
  PostgresWriter& operator=(PostgresWriter const&) = delete;

  // Connects, sees to it that a commit is on disk when it is told, and listens for others' commits.
  [[nodiscard]] static Result<std::unique_ptr<PostgresConnection>> open_connection(
      PostgresOptions const& server);

  // False if the queue is full, the server is gone or the writer was stopped.
  [[nodiscard]] bool submit(WriteJob& job);
  // Finishes what is queued. Not from two threads at once.
  void stop();

 private:
  void run();
  bool wait_for_work();
  void wait_for_company();
  void take_group(std::vector<WriteJob*>& group);
  void run_group(std::span<WriteJob* const> jobs);
  Result<void> run_jobs(std::span<WriteJob* const> jobs);
  Result<void> run_with_retries(WriteJob& job, bool alone);
  Result<void> run_job(WriteJob& job);
  Result<void> commit();
  void fail_all(std::span<WriteJob* const> jobs, Error const& cause);
  void tell(std::span<WriteJob* const> jobs);
  void look_for_changes();
  void let_listener_look();
  void take_notifications();
  void note_loss();
  void fail_queued(std::string const& why);
  void keep_connected();

  PostgresWriterOptions const options_;
  PostgresOptions const& server_;
  PostgresState& state_;
  Logger logger_;
  CommitListener& listener_;
  std::unique_ptr<PostgresConnection> connection_;  // Null while the server is gone.
  bool listener_behind_ = false;
  bool notified_ = false;  // Others committed after the listener last looked.
  AnnouncementReader announcements_;
  std::int64_t listener_asked_ns_ = 0;
  std::int64_t reconnect_ms_ = 0;
  std::int64_t reconnect_at_ns_ = 0;

  std::int64_t commit_ns_ = 0;  // A moving mean.
  std::int64_t committed_ns_ = 0;
  std::size_t last_group_jobs_ = 0;

  struct WakeUp;
  std::shared_ptr<WakeUp> wake_;  // Shared: a loop's turn may end after the writer has.
  std::mutex mutex_;
  std::vector<WriteJob*> queue_;
  std::size_t wake_at_jobs_ = 1;  // The length of the queue that the thread waits for.
  bool accepting_ = true;
  std::thread thread_;
};

}  // namespace subforge::store
