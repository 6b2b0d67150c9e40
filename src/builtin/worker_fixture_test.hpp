// A worker on a real store, for the tests of what it is given to do.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "jobs/embedded/embedded_queue.hpp"
#include "jobs/jobs.hpp"
#include "jobs/worker.hpp"
#include "store/temporary_folder_test.hpp"
#include "store/test_store_test.hpp"

namespace subforge::builtin {

class WorkerFixture : public testing::Test {
 protected:
  ~WorkerFixture() override {
    if (worker_ == nullptr) return;
    loop_.post([this] { worker_->begin_shutdown(500); });
    until([this] { return worker_->done() && worker_->running() == 0; });
  }

  template <class T>
  T run(Task<T> task) {
    return block_on(loop_, std::move(task));
  }
  // After the registry was filled.
  Uuid enqueue(jobs::JobSpec spec) {
    auto const added = run(jobs_.enqueue({std::move(spec)}));
    EXPECT_TRUE(added) << added.error().message;
    if (worker_ == nullptr) begin();
    return added ? added->front().id : Uuid{};
  }
  jobs::Job job(Uuid id) {
    auto found = run(jobs_.get(id));
    EXPECT_TRUE(found) << found.error().message;
    return found ? std::move(*found) : jobs::Job{};
  }
  // Once it has ended, or looks again after ten seconds.
  jobs::Job ended(Uuid id) {
    EXPECT_TRUE(until([&] { return jobs::is_final(job(id).status); }));
    return job(id);
  }
  jobs::Job ended(jobs::JobSpec spec) { return ended(enqueue(std::move(spec))); }
  std::vector<std::string> lines(Uuid id) {
    std::vector<std::string> texts;
    auto const found = run(jobs_.lines(id, 0, 1'000));
    EXPECT_TRUE(found);
    if (!found) return texts;
    for (auto const& line : *found) {
      texts.push_back(std::string(log_level_name(line.level)) + " " + line.text);
    }
    return texts;
  }
  // Lets the loop turn until the condition holds, ten seconds at most.
  template <class Condition>
  bool until(Condition condition) {
    constexpr int kTimes = 1'000;
    auto const wait = [](EventLoop& loop) -> Task<void> { co_await loop.sleep_ms(10); };
    for (int i = 0; i < kTimes; ++i) {
      if (condition()) return true;
      run(wait(loop_));
    }
    return condition();
  }

  store::TemporaryFolder folder_;
  store::TestStore store_{folder_.path()};
  EventLoop loop_;
  BlockingPool pool_{2, 100};
  jobs::Registry registry_;
  jobs::EmbeddedQueue queue_{store_.store(), registry_, {}, store::TestStore::logger()};
  jobs::Jobs jobs_{store_.store(), queue_};
  std::unique_ptr<jobs::Worker> worker_;

 private:
  void begin() {
    jobs::WorkerOptions options;
    options.report_ms = 30;  // It finds work by looking, since nobody wakes it.
    options.look_ms = 20;
    options.grace_ms = 200;
    worker_ = std::make_unique<jobs::Worker>(
        loop_,
        jobs::Worker::Parts{store_.store(), queue_, registry_, pool_, store::TestStore::logger()},
        std::move(options));
    loop_.post([this] { worker_->start(); });
  }
};

}  // namespace subforge::builtin
