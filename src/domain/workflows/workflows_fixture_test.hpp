// Workflows and tasks on a real store; the tests play the part of the agents, who see the tasks
// that were given out and report on them.
#pragma once

#include <algorithm>
#include <filesystem>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <boost/json/parse.hpp>
#include <gtest/gtest.h>

#include "domain/history/history.hpp"
#include "domain/workflows/workflow_tasks.hpp"
#include "store/migrations.hpp"
#include "store/temporary_folder_test.hpp"
#include "store/test_store_test.hpp"

namespace subforge::domain {

// What agents know of a step's task: what is written in it.
struct Job {
  std::string step;
  std::int64_t attempt = 0;
  TaskStatus status = TaskStatus::pending;
  boost::json::object input;  // Outputs of the steps before.
};

class WorkflowsFixture {
 public:
  WorkflowsFixture() { open(); }

  // What a process that dies and one that starts are to the tables.
  void restart() {
    site_.reset();
    open();
  }

  template <class T>
  T good(Task<Result<T>> task) {
    auto outcome = site_->store.run(std::move(task));
    if (!outcome) throw std::runtime_error(outcome.error().message + outcome.error().context);
    if constexpr (!std::is_void_v<T>) return std::move(*outcome);
  }
  template <class T>
  Error failure(Task<Result<T>> task) {
    auto const outcome = site_->store.run(std::move(task));
    return outcome ? Error{ErrorCode::internal, "no error", {}} : outcome.error();
  }

  Workflow create(std::vector<WorkflowStep> steps) {
    Workflow draft;
    draft.name = "Release";
    draft.steps = std::move(steps);
    return good(site_->workflows.create(std::move(draft), actor_));
  }
  Workflow get(Uuid id) { return good(site_->workflows.get(id, WithSteps::yes)); }
  Workflow execute(Uuid id) { return good(site_->workflows.execute(id, {}, actor_)); }
  Workflow set_status(Uuid id, WorkflowStatus status) {
    return good(site_->workflows.set_status(id, {status, std::nullopt}, actor_));
  }
  Result<void> try_report(Uuid task, TaskStatus status, std::string output = "{}") {
    TaskReportBody body;
    body.result.given = true;
    body.result.value.text = std::move(output);
    auto const done = site_->store.run(site_->tasks.report(task, status, std::move(body), actor_));
    if (!done) return std::unexpected(done.error());
    return {};
  }
  void report(Uuid task, TaskStatus status, std::string output = "{}") {
    auto const done = try_report(task, status, std::move(output));
    if (!done) throw std::runtime_error(done.error().message + done.error().context);
  }
  void report(std::string const& step, TaskStatus status, std::string output = "{}") {
    report(task(step), status, std::move(output));
  }
  void set_task(Uuid task, TaskStatus status) {
    good(site_->tasks.set_status(task, {status, {}, {}}, actor_));
  }
  Task<Result<TaskRecord>> update_task(Uuid task, boost::json::object body) {
    return site_->tasks.update(task, std::move(body), describe::Api::v1, actor_);
  }
  // The task of an attempt that has ended says nothing else any more.
  void expect_ended(Uuid task) {
    for (auto const status :
         {TaskStatus::pending, TaskStatus::completed, TaskStatus::failed, TaskStatus::cancelled}) {
      if (status == job(task).status) continue;
      auto const refused = failure(site_->tasks.set_status(task, {status, {}, {}}, actor_));
      EXPECT_EQ(refused.code, ErrorCode::conflict);
    }
  }
  void set_task(std::string const& step, TaskStatus status) { set_task(task(step), status); }

  // All tasks of steps, in the order they were given out.
  std::vector<std::pair<Uuid, Job>> jobs() {
    TaskFilter filter;
    filter.task_type = "workflow_step";
    filter.limit = kTaskCountMax;
    auto const page = good(site_->tasks.list(std::move(filter)));
    std::vector<std::pair<Uuid, Job>> jobs;
    for (auto const& task : page.rows) {
      auto const metadata = boost::json::parse(task.metadata.text);
      auto const& about = metadata.at("workflow");
      jobs.emplace_back(task.id,
                        Job{about.at("step").as_string().c_str(), about.at("attempt").as_int64(),
                            task.status, metadata.at("input").as_object()});
    }
    std::ranges::reverse(jobs);
    return jobs;
  }
  std::vector<std::pair<Uuid, Job>> open_jobs() {
    auto open = jobs();
    std::erase_if(open, [](auto const& job) { return !is_open(job.second.status); });
    return open;
  }
  std::vector<std::string> open_steps() {
    std::vector<std::string> steps;
    for (auto const& [id, job] : open_jobs()) steps.push_back(job.step);
    return steps;
  }
  // The open task of this step.
  Uuid task(std::string const& step) {
    for (auto const& [id, job] : open_jobs()) {
      if (job.step == step) return id;
    }
    throw std::runtime_error("no open task for step " + step);
  }
  Job job(Uuid id) {
    for (auto const& [known, job] : jobs()) {
      if (known == id) return job;
    }
    throw std::runtime_error("no such task");
  }
  std::int64_t sweep_in(std::int64_t seconds) {
    return good(site_->workflows.sweep({Timestamp::now().micros + seconds * 1'000'000}));
  }
  RunDetail only_run() {
    History history(site_->store.store());
    auto const page = good(history.runs({}));
    EXPECT_EQ(page.total, 1);
    return good(history.run(page.rows.at(0).id));
  }

  [[nodiscard]] Workflows& workflows() { return site_->workflows; }
  [[nodiscard]] Tasks& tasks() { return site_->tasks; }
  [[nodiscard]] store::TestStore& store() { return site_->store; }
  [[nodiscard]] Actor const& actor() const { return actor_; }

 private:
  // What one process has.
  struct Site {
    explicit Site(std::filesystem::path const& folder)
        : store(folder),
          tasks(store.store()),
          workflow_tasks(tasks),
          workflows(store.store(), workflow_tasks) {
      workflow_tasks.serve(workflows);
    }
    store::TestStore store;
    Tasks tasks;
    WorkflowTasks workflow_tasks;
    Workflows workflows;
  };

  void open() { site_ = std::make_unique<Site>(folder_.path()); }

  store::TemporaryFolder folder_;
  std::unique_ptr<Site> site_;
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
