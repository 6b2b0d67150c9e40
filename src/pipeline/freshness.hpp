// Whether this process has heard of everything that was committed, where others write to the
// database too: a kept answer may be told only then.
//
// One question to the database serves all who asked before it was sent, and at most one is under
// way: what it costs grows with time and not with the requests (as a leader confirms reads in
// Raft, section 6.4 of Ongaro's dissertation).
#pragma once

#include <coroutine>
#include <memory>
#include <vector>

#include "runtime/event_loop.hpp"
#include "runtime/task.hpp"
#include "store/store.hpp"

namespace subforge::pipeline {

// Of one loop.
class Freshness {
 public:
  Freshness(store::Store& store, EventLoop& loop, TaskGroup& tasks)
      : store_(store), loop_(loop), tasks_(tasks) {}

  // False also if the database does not answer.
  Task<bool> confirm();

 private:
  // Those whom one question serves.
  struct Round {
    std::vector<std::coroutine_handle<>> waiting;
    bool good = false;
  };
  Task<void> ask();

  store::Store& store_;
  EventLoop& loop_;
  TaskGroup& tasks_;
  std::shared_ptr<Round> next_;  // Its question was not sent yet.
  bool asking_ = false;
};

}  // namespace subforge::pipeline
