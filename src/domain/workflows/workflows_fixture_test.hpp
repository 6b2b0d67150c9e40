// Workflows on a real store, with a desk that plays the part of the agents: it is handed tasks and
// reports their ends when a test says so, inside a transaction as tasks do.
#pragma once

#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include <boost/json/parse.hpp>
#include <gtest/gtest.h>

#include "domain/history/history.hpp"
#include "domain/workflows/workflows.hpp"
#include "store/temporary_folder_test.hpp"
#include "store/test_store_test.hpp"

namespace subforge::domain {

class Desk final : public StepTasks {
 public:
  struct Job {
    Uuid workflow_id;
    std::string step;
    std::int64_t attempt = 0;
    PartState state = PartState::open;
    std::vector<std::string> inputs;  // Outputs of the steps before, as they were handed over.
  };

  Task<Result<void>> give_out(store::Transaction&, Workflow const& workflow,
                              WorkflowStep const& step, Actor const&) override {
    Job job{workflow.id, step.key, step.attempts, PartState::open, {}};
    for (auto const& other : workflow.steps) {
      if (std::ranges::find(step.dependencies, other.key) == step.dependencies.end()) continue;
      EXPECT_EQ(other.status, StepStatus::completed) << step.key << " before " << other.key;
      job.inputs.push_back(other.output ? other.output->text : "null");
    }
    EXPECT_TRUE(jobs_.emplace(*step.task_id, std::move(job)).second) << "given out twice";
    order_.push_back(*step.task_id);
    co_return Result<void>{};
  }
  Task<Result<void>> end(store::Transaction& transaction, Uuid task_id, AttemptEnd how,
                         Actor const& actor) override {
    auto& job = jobs_.at(task_id);
    if (job.state != PartState::open) co_return Result<void>{};
    auto const state = how == AttemptEnd::failed ? PartState::failed : PartState::cancelled;
    co_return co_await tell(transaction, task_id, state, {}, actor);
  }

  // As the change of a task in `transaction` is told.
  Task<Result<void>> tell(store::Transaction& transaction, Uuid task_id, PartState state,
                          std::optional<describe::JsonText> result, Actor const& actor) {
    auto& job = jobs_.at(task_id);
    PartChange change{task_id, PartTask{job.workflow_id, job.state},
                      PartTask{job.workflow_id, state}, std::move(result)};
    job.state = state;
    return workflows->task_changed_in(transaction, std::move(change), actor);
  }

  [[nodiscard]] std::vector<Uuid> open() const {
    std::vector<Uuid> ids;
    for (auto const& id : order_) {
      if (jobs_.at(id).state == PartState::open) ids.push_back(id);
    }
    return ids;
  }
  [[nodiscard]] std::map<Uuid, Job> const& jobs() const { return jobs_; }
  // The open task of this step.
  [[nodiscard]] Uuid task(std::string const& step) const {
    for (auto const& id : open()) {
      if (jobs_.at(id).step == step) return id;
    }
    throw std::runtime_error("no open task for step " + step);
  }
  [[nodiscard]] std::vector<std::string> open_steps() const {
    std::vector<std::string> steps;
    for (auto const& id : open()) steps.push_back(jobs_.at(id).step);
    return steps;
  }

  Workflows* workflows = nullptr;

 private:
  std::map<Uuid, Job> jobs_;
  std::vector<Uuid> order_;
};

class WorkflowsFixture {
 public:
  WorkflowsFixture() { open(); }

  // What a process that dies and one that starts are to the tables.
  void restart() {
    workflows_.reset();
    store_.reset();
    open();
  }

  template <class T>
  T good(Task<Result<T>> task) {
    auto outcome = store_->run(std::move(task));
    if (!outcome) throw std::runtime_error(outcome.error().message + outcome.error().context);
    if constexpr (!std::is_void_v<T>) return std::move(*outcome);
  }
  template <class T>
  Error failure(Task<Result<T>> task) {
    auto const outcome = store_->run(std::move(task));
    return outcome ? Error{ErrorCode::internal, "no error", {}} : outcome.error();
  }

  Workflow create(std::vector<WorkflowStep> steps) {
    Workflow draft;
    draft.name = "Release";
    draft.steps = std::move(steps);
    return good(workflows_->create(std::move(draft), actor_));
  }
  Workflow get(Uuid id) { return good(workflows_->get(id, WithSteps::yes)); }
  Workflow execute(Uuid id) { return good(workflows_->execute(id, {}, actor_)); }
  Workflow set_status(Uuid id, WorkflowStatus status) {
    return good(workflows_->set_status(id, {status, std::nullopt}, actor_));
  }
  Result<void> try_report(Uuid task, PartState state, std::string output = "{}") {
    auto report = [&](store::Transaction& transaction) {
      return desk_.tell(transaction, task, state, describe::JsonText{output}, actor_);
    };
    return store_->run(store_->store().write(std::move(report)));
  }
  void report(Uuid task, PartState state, std::string output = "{}") {
    auto const done = try_report(task, state, std::move(output));
    if (!done) throw std::runtime_error(done.error().message + done.error().context);
  }
  void report(std::string const& step, PartState state, std::string output = "{}") {
    report(desk_.task(step), state, std::move(output));
  }
  std::int64_t sweep_in(std::int64_t seconds) {
    return good(workflows_->sweep({Timestamp::now().micros + seconds * 1'000'000}));
  }
  RunDetail only_run() {
    History history(store_->store());
    auto const page = good(history.runs({}));
    EXPECT_EQ(page.total, 1);
    return good(history.run(page.runs.at(0).id));
  }

  [[nodiscard]] Desk& desk() { return desk_; }
  [[nodiscard]] Workflows& workflows() { return *workflows_; }
  [[nodiscard]] store::TestStore& store() { return *store_; }
  [[nodiscard]] Actor const& actor() const { return actor_; }

 private:
  void open() {
    store_ = std::make_unique<store::TestStore>(folder_.path());
    workflows_ = std::make_unique<Workflows>(store_->store(), desk_);
    desk_.workflows = workflows_.get();
  }

  store::TemporaryFolder folder_;
  Desk desk_;
  std::unique_ptr<store::TestStore> store_;
  std::unique_ptr<Workflows> workflows_;
  Actor actor_{"ann"};
};

inline WorkflowStep step_of(std::string key, std::vector<std::string> dependencies = {},
                            std::int64_t max_retries = 0, std::int64_t timeout = 300) {
  WorkflowStep step;
  step.name = "Step " + key;
  step.task_template = "Do " + key;
  step.key = std::move(key);
  step.dependencies = std::move(dependencies);
  step.max_retries = max_retries;
  step.timeout = timeout;
  return step;
}

}  // namespace subforge::domain
