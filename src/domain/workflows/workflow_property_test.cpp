// Random graphs, random agents, random clocks, and a process that ends at any time: whatever
// happens, the rules of a run hold.
#include <map>
#include <random>

#include <gtest/gtest.h>

#include "base/test_size_test.hpp"
#include "domain/workflows/workflows_fixture_test.hpp"

namespace subforge::domain {
namespace {

using enum WorkflowStatus;

constexpr std::int64_t kShortSeconds = 100;
constexpr std::int64_t kLongSeconds = 100'000;

class RandomRun : protected WorkflowsFixture {
 public:
  explicit RandomRun(unsigned seed) : random_(seed) {}

  void play() {
    auto const id = create(random_steps()).id;
    execute(id);
    int moves = 0;
    while (get(id).run_open) {
      ASSERT_LT(++moves, 2000) << "the run does not come to an end";
      move(id);
      check(id);
      if (testing::Test::HasFailure()) return;
    }
    check_end(id);
  }

 private:
  std::size_t below(std::size_t count) {
    return std::uniform_int_distribution<std::size_t>(0, count - 1)(random_);
  }
  bool chance(double share) { return std::bernoulli_distribution(share)(random_); }

  std::vector<WorkflowStep> random_steps() {
    std::vector<WorkflowStep> steps;
    auto const count = 1 + below(12);
    auto const density = std::uniform_real_distribution<double>(0, 0.6)(random_);
    for (std::size_t i = 0; i < count; ++i) {
      std::vector<std::string> dependencies;
      for (auto const& step : steps) {
        if (chance(density)) dependencies.push_back(step.key);
      }
      steps.push_back(step_of("s" + std::to_string(i), std::move(dependencies),
                              static_cast<std::int64_t>(below(4)),
                              chance(0.5) ? kShortSeconds : kLongSeconds));
    }
    // The order they are listed in must not matter.
    std::ranges::shuffle(steps, random_);
    failing_ = chance(0.5) ? 0.05 : 0.3;
    return steps;
  }

  void move(Uuid id) {
    auto const choice = below(100);
    if (choice < 8) {
      restart();
    } else if (choice < 14) {
      set_status(id, paused);
    } else if (choice < 30) {
      set_status(id, active);
    } else if (choice < 36) {
      sweep_in(kShortSeconds + 1);
    } else if (choice < 38) {
      report_again();
    } else if (choice == 38 && chance(0.2)) {
      set_status(id, cancelled);
    } else if (choice == 39 && chance(0.2) && !open_jobs().empty()) {
      called_off_ = true;
      set_task(open_jobs().front().first, TaskStatus::cancelled);
    } else if (auto const open = open_jobs(); !open.empty()) {
      auto const& [task, job] = open[below(open.size())];
      report(task, chance(failing_) ? TaskStatus::failed : TaskStatus::completed,
             R"({"by":")" + job.step + "\"}");
    }
  }

  // An agent that changes its mind about what has ended long ago.
  void report_again() {
    for (auto const& [task, job] : jobs()) {
      if (is_open(job.status)) continue;
      expect_ended(task);
      return;
    }
  }

  void check(Uuid id) {
    auto const workflow = get(id);
    std::map<std::string, std::int64_t> attempts;
    std::map<std::string, int> open;
    for (auto const& [task, job] : jobs()) {
      EXPECT_EQ(job.attempt, ++attempts[job.step]);
      if (is_open(job.status)) ++open[job.step];
      for (auto const& [key, output] : job.input) {
        EXPECT_EQ(output.at("by").as_string(), key) << "what came before is handed on";
      }
    }
    std::int64_t done = 0;
    std::int64_t failed_steps = 0;
    for (auto const& step : workflow.steps) {
      EXPECT_EQ(attempts[step.key], step.attempts) << "each attempt is one task";
      EXPECT_LE(step.attempts, step.max_retries + 1);
      EXPECT_EQ(open[step.key], step.status == StepStatus::running ? 1 : 0) << step.key;
      EXPECT_EQ(step.deadline_at.has_value(), step.status == StepStatus::running);
      if (step.status == StepStatus::completed) {
        ++done;
        EXPECT_EQ(step.output->text, R"({"by":")" + step.key + "\"}");
      }
      failed_steps += step.status == StepStatus::failed ? 1 : 0;
      if (step.attempts == 0) continue;
      for (auto const& key : step.dependencies) {
        auto const before = std::ranges::find(workflow.steps, key, &WorkflowStep::key);
        EXPECT_EQ(before->status, StepStatus::completed) << key << " before " << step.key;
        EXPECT_LE(*before->completed_at, *step.started_at);
      }
    }
    EXPECT_EQ(workflow.steps_completed, done);
    EXPECT_EQ(workflow.steps_failed, failed_steps);
    if (workflow.status == paused) EXPECT_TRUE(workflow.is_paused);
  }

  void check_end(Uuid id) {
    auto const workflow = get(id);
    EXPECT_TRUE(open_jobs().empty());
    auto const total = static_cast<std::int64_t>(workflow.steps.size());
    if (workflow.status == completed) {
      EXPECT_EQ(workflow.steps_completed, total);
    } else if (workflow.status == failed) {
      EXPECT_GE(workflow.steps_failed, 1);
      for (auto const& step : workflow.steps) {
        if (step.status != StepStatus::failed || called_off_) continue;
        EXPECT_EQ(step.attempts, step.max_retries + 1) << "all retries were used";
      }
    } else {
      EXPECT_EQ(workflow.status, cancelled);
    }
    auto const run = only_run();
    EXPECT_EQ(run.run.phases_completed, workflow.steps_completed);
    EXPECT_EQ(run.run.phases_failed, workflow.steps_failed);
    EXPECT_EQ(run.run.tasks_total, static_cast<std::int64_t>(jobs().size()));
    EXPECT_EQ(static_cast<std::int64_t>(run.phases.size()), total);
    std::int64_t failed_in_phases = 0;
    for (auto const& phase : run.phases) failed_in_phases += phase.tasks_failed;
    EXPECT_EQ(run.run.tasks_failed, failed_in_phases);
    EXPECT_EQ(run.run.tasks_failed, std::ranges::count_if(jobs(), [](auto const& job) {
                return job.second.status == TaskStatus::failed;
              }));
    auto const totals = good(workflows().summary());
    EXPECT_EQ(totals.total, 1);
    EXPECT_NEAR(totals.avg_progress, progress_of(workflow), 1e-5);
  }

  std::mt19937 random_;
  double failing_ = 0;
  bool called_off_ = false;  // A task was cancelled; it was the last.
};

TEST(WorkflowProof, RulesOfARunHoldWhateverHappens) {
  unsigned const runs = tests_are_full() ? 1000 : 40;
  for (unsigned seed = 1; seed <= runs; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    RandomRun(seed).play();
    if (testing::Test::HasFailure()) return;
  }
}

}  // namespace
}  // namespace subforge::domain
