// What the proofs by histories share: processes that submit and processes that work, which die,
// stand still for longer than their lease, and come back; and what must hold in the end.
//
// SUBFORGE_TEST_SIZE=full goes on for longer with a new seed; SUBFORGE_TEST_SEED=<n> repeats a run
// as far as the kernel lets it.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "base/test_size_test.hpp"
#include "jobs/queue_contract_test.hpp"
#include "store/postgres/cluster_test.hpp"

namespace subforge::jobs {

constexpr std::int64_t kHistoryLookMs = 150;  // A second of the server; five of them are a lease.

// SQLite's file or PostgreSQL's URL, and Redis' where the queue is there.
struct HistoryPlaces {
  std::string database;
  std::string broker = {};
};
[[nodiscard]] std::unique_ptr<store::Database> open_history_database(std::string const& place);

// Processes by what they do: "work"; "submit", by the port; "send", as clients of Celery do.
class Fleet {
 public:
  Fleet(std::filesystem::path folder, HistoryPlaces places)
      : folder_(std::move(folder)), places_(std::move(places)) {}
  ~Fleet();
  Fleet(Fleet const&) = delete;
  Fleet& operator=(Fleet const&) = delete;

  void start(std::string const& role);
  // From the next start on, wall clocks go ahead by what the file says, such as "+1d".
  void jump(std::string const& offset);
  [[nodiscard]] std::size_t size() const { return members_.size(); }
  [[nodiscard]] std::string role(std::size_t i) const { return members_[i].role; }
  void freeze(std::size_t i);
  void thaw(std::size_t i);
  void end(std::size_t i);
  void end_all(std::string const& role);
  // Starts those anew that gave up, since what they need was not there.
  void revive();
  // The ids that a role was told are taken.
  [[nodiscard]] std::set<Uuid> acknowledged(std::string const& role) const;

 private:
  struct Member {
    pid_t pid;
    std::string role;
  };
  void set_clock_of_child() const;

  std::filesystem::path folder_;
  HistoryPlaces places_;
  std::filesystem::path clock_;
  std::vector<Member> members_;
};

struct History {
  std::map<Uuid, JobStatus> jobs;
  std::set<Uuid> with_effect;  // Those whose success has one.
  std::map<std::string, std::int64_t> effects;
  std::map<Uuid, int> ends;  // Rows of the log that tell its end.

  [[nodiscard]] bool over(std::set<Uuid> const& acknowledged) const;
};
Task<Result<History>> read_history(store::Session& session);
// Each acknowledged task ended once and its effect was counted once.
void check_history(History const& found, std::set<Uuid> const& acknowledged);

[[nodiscard]] std::uint64_t seed_of_proofs();

// Something else that can be hurt: it is called with what is left to chance.
using Blow = std::function<void(std::uint64_t chance)>;
// Kills, freezes and revives at random for so long; every fourth time by one of the blows.
void make_trouble(Fleet& fleet, EventLoop& loop, std::mt19937_64& random, std::int64_t for_ms,
                  std::vector<Blow> const& blows = {});
// More of it, until so many were acknowledged to each of these roles as make it a proof.
void make_trouble_until_enough(Fleet& fleet, EventLoop& loop, std::mt19937_64& random,
                               std::vector<std::string> const& roles,
                               std::vector<Blow> const& blows = {});
void wait_on(EventLoop& loop, std::int64_t ms);
// Until it is over, or nothing more ends for a while. `over` renews what was found.
void wait_while_it_goes_on(EventLoop& loop, History const& found,
                           std::function<bool()> const& over);
// PostgreSQL is started anew, or stands still.
[[nodiscard]] Blow blow_to(store::TestCluster& cluster, EventLoop& loop);

}  // namespace subforge::jobs
