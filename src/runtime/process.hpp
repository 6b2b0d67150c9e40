// Runs a program: no shell between, a process group of its own, its output read as it comes, and an
// end that is certain. Everything happens on one event loop, which never waits for the program.
#pragma once

#include <sys/types.h>

#include <coroutine>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "runtime/event_loop.hpp"

namespace subforge {

struct ProcessLimits {
  std::int64_t time_ms = 60'000;             // Then the group is asked to end.
  std::int64_t grace_ms = 5'000;             // Then it is ended.
  std::int64_t line_bytes_max = 64 << 10;    // One line of output; a longer one ends the program.
  std::int64_t output_bytes_max = 16 << 20;  // All of the output; more of it ends the program.
  std::int64_t error_bytes_kept = 8 << 10;   // The end of what it wrote to standard error.
  std::int64_t memory_bytes_max = 0;         // Address space of each of its processes; 0 for any.
};

struct ProcessOptions {
  std::vector<std::string> command;      // The program, looked up in PATH, and its arguments.
  std::vector<std::string> environment;  // NAME=value, all that it gets.
  std::string folder;                    // Where it runs; empty for where this process does.
  std::string input;                     // Its standard input, whole.
  ProcessLimits limits;
  int input_file = -1;  // An open file instead of `input`; it stays the caller's.
};

// Why a program was ended, if it did not end by itself.
enum class ProcessCause : std::uint8_t { none, stopped, time, line, output };

struct ProcessEnd {
  ProcessCause cause = ProcessCause::none;
  int exit_code = 0;   // Of one that ended by itself.
  int signal = 0;      // That ended it; 0 for none.
  std::string errors;  // The end of its standard error.

  [[nodiscard]] bool success() const {
    return cause == ProcessCause::none && exit_code == 0 && signal == 0;
  }
};

class Process final {
 public:
  static constexpr std::size_t kReadBytes = 16U << 10;
  static constexpr int kReadsPerTurn = 16;  // So that who writes without end holds up nobody.
  static constexpr int kReadsAtEnd = 128;   // More than a pipe holds.

  // Called with each line of standard output, without its end.
  using OnLine = std::function<void(std::string_view)>;

  Process(EventLoop& loop, ProcessOptions options, OnLine on_line);
  ~Process();
  Process(Process const&) = delete;
  Process& operator=(Process const&) = delete;

  // Starts the program and waits for its end, once. When it has ended, so has what is left of its
  // group. Error: invalid, if it cannot be started.
  Task<Result<ProcessEnd>> run();
  // Asks the group to end (SIGTERM), and ends it (SIGKILL) after the grace.
  void stop() { end_early(ProcessCause::stopped); }
  // Ends it at once.
  void kill();
  [[nodiscard]] pid_t pid() const { return pid_; }

 private:
  // A descriptor that is watched and closed with this.
  class Watched final : public IoHandler {
   public:
    using Ready = void (Process::*)(int reads);
    Watched(Process& process, Ready ready) : process_(process), ready_(ready) {}
    ~Watched() { close(); }
    Watched(Watched const&) = delete;
    Watched& operator=(Watched const&) = delete;
    void watch(int fd);
    void close();
    [[nodiscard]] int fd() const { return fd_; }
    void on_ready(std::uint32_t /*events*/) override { (process_.*ready_)(kReadsPerTurn); }

   private:
    Process& process_;
    Ready ready_;
    int fd_ = -1;
  };

  Result<void> spawn();
  Result<void> spawn_with(int input, int output, int errors);
  void read_output(int reads);
  void read_errors(int reads);
  void take_output(std::string_view bytes);
  void on_exit(int /*reads*/);
  void end_early(ProcessCause cause);
  void signal_group(int number) const;

  EventLoop& loop_;
  ProcessOptions options_;
  OnLine on_line_;
  Watched output_{*this, &Process::read_output};
  Watched errors_{*this, &Process::read_errors};
  Watched exit_{*this, &Process::on_exit};
  Timer limit_;
  Timer grace_;
  pid_t pid_ = -1;  // While it has not been waited for.
  std::string line_;
  std::int64_t output_bytes_ = 0;
  ProcessEnd end_;
  bool ended_ = false;
  std::coroutine_handle<> waiting_;
};

}  // namespace subforge
