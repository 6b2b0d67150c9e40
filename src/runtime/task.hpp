// Task<T>: a lazy coroutine. It starts when awaited, runs on the thread that resumes it, and hands
// its result or its exception to the one that awaits it.
#pragma once

#include <concepts>
#include <coroutine>
#include <exception>
#include <optional>
#include <utility>

#include "runtime/frame_pool.hpp"

namespace subforge {

template <class T = void>
class [[nodiscard]] Task;

// What a task carries for those that it awaits, and they for those that they await: something that
// functions on the way need not know of. Who reads it casts it to what he looks for.
class TaskContext {
 public:
  virtual ~TaskContext() = default;
};

namespace task_detail {

struct PromiseBase {
  std::coroutine_handle<> continuation = std::noop_coroutine();
  std::exception_ptr failure;
  TaskContext* context = nullptr;

  struct Final {
    [[nodiscard]] bool await_ready() const noexcept { return false; }
    template <class Promise>
    std::coroutine_handle<> await_suspend(std::coroutine_handle<Promise> done) noexcept {
      return done.promise().continuation;
    }
    void await_resume() const noexcept {}
  };

  std::suspend_always initial_suspend() noexcept { return {}; }
  Final final_suspend() noexcept { return {}; }
  void unhandled_exception() noexcept { failure = std::current_exception(); }

  static void* operator new(std::size_t bytes) { return allocate_frame(bytes); }
  static void operator delete(void* frame, std::size_t bytes) noexcept { free_frame(frame, bytes); }
};

template <class T>
struct Promise : PromiseBase {
  std::optional<T> value;
  Task<T> get_return_object() noexcept;
  template <class U = T>
  void return_value(U&& result) {
    value.emplace(std::forward<U>(result));
  }
  T take() {
    if (failure) std::rethrow_exception(failure);
    return std::move(*value);
  }
};

template <>
struct Promise<void> : PromiseBase {
  Task<void> get_return_object() noexcept;
  void return_void() noexcept {}
  void take() const {
    if (failure) std::rethrow_exception(failure);
  }
};

}  // namespace task_detail

template <class T>
class [[nodiscard]] Task {
 public:
  using promise_type = task_detail::Promise<T>;
  using Handle = std::coroutine_handle<promise_type>;

  explicit Task(Handle handle) noexcept : handle_(handle) {}
  Task(Task&& other) noexcept : handle_(std::exchange(other.handle_, {})) {}
  Task& operator=(Task&& other) noexcept {
    if (this != &other) {
      if (handle_) handle_.destroy();
      handle_ = std::exchange(other.handle_, {});
    }
    return *this;
  }
  ~Task() {
    if (handle_) handle_.destroy();
  }

  struct Awaiter {
    Handle handle;
    [[nodiscard]] bool await_ready() const noexcept { return handle.done(); }
    template <class Promise>
    std::coroutine_handle<> await_suspend(std::coroutine_handle<Promise> awaiting) noexcept {
      handle.promise().continuation = awaiting;
      if constexpr (std::derived_from<Promise, task_detail::PromiseBase>) {
        auto& context = handle.promise().context;
        if (context == nullptr) context = awaiting.promise().context;
      }
      return handle;
    }
    T await_resume() { return handle.promise().take(); }
  };
  Awaiter operator co_await() noexcept { return Awaiter{handle_}; }

  // `context` must live until the task is done.
  void carry(TaskContext& context) { handle_.promise().context = &context; }

  // Runs a task that never waits for anything outside it, and returns its result. One that does
  // wait is a bug and ends the process: it would be resumed after its frame is gone.
  T run_inline() {
    handle_.resume();
    if (!handle_.done()) std::terminate();
    return handle_.promise().take();
  }

  // Starts the task without awaiting it; `done()` tells whether it finished at once.
  void start(std::coroutine_handle<> continuation) {
    handle_.promise().continuation = continuation;
    handle_.resume();
  }
  [[nodiscard]] bool done() const { return handle_.done(); }
  T take() { return handle_.promise().take(); }

 private:
  Handle handle_;
};

template <class T>
Task<T> task_detail::Promise<T>::get_return_object() noexcept {
  return Task<T>{std::coroutine_handle<Promise<T>>::from_promise(*this)};
}
inline Task<void> task_detail::Promise<void>::get_return_object() noexcept {
  return Task<void>{std::coroutine_handle<Promise<void>>::from_promise(*this)};
}

namespace task_detail {

struct CarriedContext {
  TaskContext* context = nullptr;
  [[nodiscard]] bool await_ready() const noexcept { return false; }
  template <std::derived_from<PromiseBase> Promise>
  bool await_suspend(std::coroutine_handle<Promise> awaiting) noexcept {
    context = awaiting.promise().context;
    return false;
  }
  [[nodiscard]] TaskContext* await_resume() const noexcept { return context; }
};

}  // namespace task_detail

// co_await carried_context() is what the task that awaits it carries, or null.
[[nodiscard]] inline task_detail::CarriedContext carried_context() { return {}; }

// A coroutine nobody awaits: it starts at once and frees itself at its end. An exception leaving it
// is a bug and ends the process. Prefer TaskGroup::spawn, which shutdown can wait for.
struct Detached {
  struct promise_type {
    Detached get_return_object() noexcept { return {}; }
    std::suspend_never initial_suspend() noexcept { return {}; }
    std::suspend_never final_suspend() noexcept { return {}; }
    void return_void() noexcept {}
    void unhandled_exception() noexcept { std::terminate(); }
  };
};

// Counts the coroutines running on one loop, so that shutdown can wait for them.
class TaskGroup {
 public:
  void spawn(Task<void> task) { run(std::move(task)); }
  [[nodiscard]] std::size_t running() const { return running_; }

 private:
  Detached run(Task<void> task) {
    ++running_;
    co_await task;
    --running_;
  }
  std::size_t running_ = 0;
};

}  // namespace subforge
