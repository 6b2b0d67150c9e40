// The lists of Redis in which Celery's messages wait, and the book that is kept of those that were
// taken and not acknowledged yet: kombu's keys and rules, so that Python workers and ours share
// both. Beside them lie a few keys of our own, under the name of the database's event log:
//
//   subforge.<log>.relayed        the newest row of the outbox that was pushed
//   subforge.<log>.workers        workers that took something
//   subforge.<log>.held.<worker>  the tags of what that worker has not acknowledged
//
// Lives on one loop and is used from there.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "base/uuid.hpp"
#include "jobs/celery/message.hpp"
#include "redis/client.hpp"
#include "redis/subscriber.hpp"
#include "runtime/task.hpp"

namespace subforge::jobs::celery {

// An element of a list that was taken from it.
struct Popped {
  std::string list;
  std::string tag;  // Empty: it is no message at all, and is nowhere any more.
  std::string text;
};

// An element to be pushed for a row of the outbox.
struct Push {
  std::int64_t row = 0;
  std::string list;
  std::string text;
  bool in_front = false;  // It was taken once already, and is the next.
};

// What lies in the book under a tag.
struct Unacked {
  std::string tag;
  std::string text;  // The message alone.
};

// An element that goes back to a list, to its front or behind what is there.
struct GivenBack {
  std::string tag;
  std::string list;
  std::string text;
  bool behind = false;
};

class Broker {
 public:
  static constexpr std::int64_t kSweptAtOnce = 1'000;
  static constexpr std::int64_t kMutexMs = 300'000;  // As kombu has it.
  // No record holds so much; what is larger never leaves Redis.
  static constexpr std::int64_t kMessageBytesMax = 1'000'000;
  static constexpr std::int64_t kPoppedBytesMax = 32'000'000;  // Then the rest waits.

  Broker(EventLoop& loop, BlockingPool& resolver, redis::RedisOptions options, Logger logger);

  // `log` names the database that this broker's keys belong to.
  void start(std::string log);
  void stop();
  [[nodiscard]] bool up() const { return client_.up(); }
  [[nodiscard]] redis::RedisHealth health() const { return client_.health(); }  // Any thread.
  [[nodiscard]] redis::Client& client() { return client_; }

  // The tag of what is pushed for a row of the outbox, and the row of a tag; 0 if it is another's.
  [[nodiscard]] std::string tag_of(std::int64_t row) const;
  [[nodiscard]] std::int64_t row_of(std::string_view tag) const;

  // Several databases may share a broker. Whose message it is by its tag: nothing, if it is ours or
  // nobody's. Ours are those of logs that this one was restored from, too.
  [[nodiscard]] std::optional<std::string> others_of(std::string_view tag) const;
  // Where workers of others leave what is ours of a list, and which list of ours that is.
  [[nodiscard]] std::string own_list(std::string_view list) const {
    return prefix_ + std::string(list);
  }
  [[nodiscard]] std::string_view shared_list(std::string_view list) const;
  void came_from(std::span<std::string_view const> logs);
  // Says that workers of this database take from these queues, which counts for a day.
  Task<Result<void>> serve(std::set<std::string> const& queues);
  // For each owner and queue, whether workers of that owner take from it.
  Task<Result<std::vector<bool>>> served(
      std::span<std::pair<std::string, std::string> const> places);

  // Called whenever something may have come into a list that look() found empty.
  void on_arrival(std::function<void()> call) { on_arrival_ = std::move(call); }
  // Called each time that the connection is there again.
  void on_connected(std::function<void()> call) { on_connected_ = std::move(call); }

  // Pushes those that no process has pushed yet, which the newest row tells that was. The rows that
  // could not be, since a key of somebody else's is in the place of their list. Error: stale, if
  // Redis knows of no row as new as `seen`: it lost what it had, and nothing was pushed.
  Task<Result<std::vector<std::int64_t>>> push(std::span<Push const> pushes, std::int64_t seen);
  // Pushes messages of nobody's outbox.
  Task<Result<void>> send(std::span<TaskMessage const> messages);
  // The newest row that was pushed; 0 if Redis knows of none.
  Task<Result<std::int64_t>> relayed();

  // Takes up to `most` elements, the first lists first, and enters them in the book and among what
  // the worker holds, in one step.
  Task<Result<std::vector<Popped>>> pop(std::span<std::string const> lists, std::size_t most,
                                        Uuid worker);
  // Takes elements with these tags out of a list, and nobody will have them: those that were there.
  // Only among so many that are next.
  static constexpr std::int64_t kLookedThrough = 20'000;
  Task<Result<std::vector<std::string>>> take_out(std::string_view list,
                                                  std::span<std::string const> tags);
  // Which of these messages, by the ids of their tasks, are in one of the lists or with a worker.
  // Only so many are looked through.
  static constexpr std::int64_t kSearchedBytesMax = 16'000'000;
  struct Found {
    std::vector<std::string> ids;
    bool all = false;  // Everything was looked through: others are in none.
  };
  Task<Result<Found>> find(std::span<std::string const> lists,
                           std::span<std::string const> task_ids);
  // Whether anything is in one of them. If not, on_arrival tells when that changes.
  Task<Result<bool>> look(std::span<std::string const> lists);
  // Takes tags out of the book, and from the worker.
  Task<Result<void>> acknowledge(Uuid worker, std::span<std::string const> tags);
  // The same for a worker that was lost: what somebody else has by now stays in the book.
  Task<Result<void>> take_away(Uuid lost, std::span<std::string const> tags);
  // Puts what the worker holds, or whoever held it, into lists again: of those in front the last
  // one given is the next popped. What is not in the book, or not with the worker any more, stays
  // where it is.
  Task<Result<void>> give_back(std::optional<Uuid> worker, std::span<GivenBack const> elements);
  // Says anew when the worker took what it holds, so that it is not taken for dead.
  Task<Result<void>> renew(Uuid worker);

  // Workers that took something and did not leave, and what one of them holds.
  Task<Result<std::vector<Uuid>>> takers();
  // Those among them that hold anything.
  Task<Result<std::set<Uuid>>> holders();
  Task<Result<std::vector<Unacked>>> held_by(Uuid worker);
  // Once it holds nothing.
  Task<Result<void>> forget(Uuid worker);

  // What was taken so long ago by anybody and not acknowledged, the newest first; nothing while
  // another one looks. end_sweep() lets others look again.
  Task<Result<std::vector<Unacked>>> begin_sweep(std::int64_t seconds);
  Task<Result<void>> end_sweep();

  // The queue that an exchange leads to.
  Task<Result<std::string>> queue_for(std::string_view exchange, std::string_view routing_key);
  // Enters a queue where tools look for queues.
  Task<Result<void>> bind(std::span<std::string const> queues);
  // Publishes a letter to the workers of Celery.
  Task<Result<void>> tell_workers(std::string_view request);

 private:
  [[nodiscard]] std::string held_key(Uuid worker) const;
  void load_scripts();
  void track();

  Logger logger_;
  std::int64_t const database_;
  std::string prefix_;
  std::set<std::string, std::less<>> former_prefixes_;
  std::string sweep_token_;
  std::function<void()> on_arrival_;
  std::function<void()> on_connected_;
  redis::Client client_;
  redis::Subscriber wakes_;
  bool listening_ = false;
};

// The message alone of what lies in the book; empty if it is none.
[[nodiscard]] std::string message_of_unacked(std::string_view entry);
// A message as it is put back: marked as delivered before.
[[nodiscard]] std::string marked_redelivered(std::string_view text);

}  // namespace subforge::jobs::celery
