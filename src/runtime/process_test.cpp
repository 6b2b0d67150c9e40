#include "runtime/process.hpp"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

namespace subforge {
namespace {

constexpr std::int64_t kSoonMs = 4'000;  // Well before any limit that a test does not set.

ProcessOptions shell(std::string script) {
  ProcessOptions options;
  options.command = {"/bin/sh", "-c", std::move(script)};
  options.environment = {"PATH=/usr/bin:/bin"};
  return options;
}

struct Ran {
  Result<ProcessEnd> end;
  std::vector<std::string> lines;
  std::int64_t ms = 0;
};

Ran run(ProcessOptions options) {
  EventLoop loop;
  std::vector<std::string> lines;
  auto const began = monotonic_ns();
  Process process(loop, std::move(options),
                  [&](std::string_view line) { lines.emplace_back(line); });
  auto end = block_on(loop, process.run());
  return {std::move(end), std::move(lines), (monotonic_ns() - began) / 1'000'000};
}

// Whether a process has ended within a moment; nobody may have waited for it yet.
bool gone(pid_t pid) {
  for (int i = 0; i < 200; ++i) {
    std::ifstream stat("/proc/" + std::to_string(pid) + "/stat");
    std::string text;
    if (!std::getline(stat, text) || text.find(") Z") != std::string::npos) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return false;
}

TEST(Process, TakesAnOpenFileAsItsInput) {
  int const file = ::memfd_create("input", MFD_CLOEXEC);
  ASSERT_EQ(::pwrite(file, "one\ntwo\n", 8, 0), 8);
  auto options = shell("cat");
  options.input_file = file;
  auto const ran = run(std::move(options));
  ASSERT_TRUE(ran.end) << ran.end.error().message;
  EXPECT_EQ(ran.lines, (std::vector<std::string>{"one", "two"}));
  EXPECT_EQ(::close(file), 0);  // It is still ours.
}

TEST(Process, TakesItsInputAndGivesItsOutputLineByLine) {
  auto options = shell("cat; printf 'no end'");
  options.input = "one\n\ntwo\n";
  auto const ran = run(std::move(options));
  ASSERT_TRUE(ran.end) << ran.end.error().message;
  EXPECT_TRUE(ran.end->success());
  EXPECT_EQ(ran.lines, (std::vector<std::string>{"one", "", "two", "no end"}));
}

TEST(Process, TakesAnInputThatNoPipeWouldHold) {
  auto options = shell("wc -c");
  options.input.assign(3 << 20, 'x');
  EXPECT_EQ(run(std::move(options)).lines, std::vector<std::string>{"3145728"});
}

TEST(Process, ItsArgumentsGoThroughNoShell) {
  ProcessOptions options;
  options.command = {"printf", "%s\n", "$(id) `id` ; rm *"};
  EXPECT_EQ(run(std::move(options)).lines, std::vector<std::string>{"$(id) `id` ; rm *"});
}

TEST(Process, TellsItsExitCodeAndTheEndOfItsErrors) {
  auto options = shell("for i in 1 2 3 4 5 6 7 8 9; do echo line $i >&2; done; exit 7");
  options.limits.error_bytes_kept = 14;
  auto const ran = run(std::move(options));
  ASSERT_TRUE(ran.end);
  EXPECT_FALSE(ran.end->success());
  EXPECT_EQ(ran.end->exit_code, 7);
  EXPECT_EQ(ran.end->errors, "line 8\nline 9\n");
}

TEST(Process, TellsTheSignalThatEndedIt) {
  auto const ran = run(shell("kill -SEGV $$"));
  ASSERT_TRUE(ran.end);
  EXPECT_EQ(ran.end->signal, SIGSEGV);
  EXPECT_FALSE(ran.end->success());
}

TEST(Process, WhatCannotBeStartedIsAnError) {
  ProcessOptions options;
  options.command = {"/nowhere/at-all"};
  auto const ran = run(std::move(options));
  ASSERT_FALSE(ran.end);
  EXPECT_EQ(ran.end.error().message,
            "/nowhere/at-all cannot be started: No such file or directory");
  ASSERT_FALSE(run(ProcessOptions{}).end);
  auto elsewhere = shell("pwd");
  elsewhere.folder = "/nowhere/at-all";
  ASSERT_FALSE(run(std::move(elsewhere)).end);
}

TEST(Process, HasTheEnvironmentAndTheFolderThatItWasGivenAndNoOther) {
  ::setenv("SUBFORGE_TEST_SECRET", "x", 1);
  auto options = shell("env | sort | grep -v -e '^_=' -e '^PWD=' -e '^OLDPWD=' -e SHLVL; pwd");
  options.environment.emplace_back("NAME=a b");
  options.folder = "/";
  EXPECT_EQ(run(std::move(options)).lines,
            (std::vector<std::string>{"NAME=a b", "PATH=/usr/bin:/bin", "/"}));
}

TEST(Process, HasNoDescriptorOfItsParent) {
  int const inherited = ::fcntl(STDERR_FILENO, F_DUPFD, 50);  // Not to be closed on exec.
  ASSERT_GE(inherited, 50);
  auto const ran = run(shell("for fd in /proc/$$/fd/*; do echo ${fd##*/}; done"));
  ::close(inherited);
  for (auto const& fd : ran.lines) EXPECT_LT(std::stoi(fd), 50) << fd;
}

TEST(Process, HearsSignalsThatItsParentBlocksAndIgnores) {
  sigset_t term;
  sigset_t before;
  ::sigemptyset(&term);
  ::sigaddset(&term, SIGTERM);
  ::pthread_sigmask(SIG_BLOCK, &term, &before);
  auto* const ignored = ::signal(SIGPIPE, SIG_IGN);
  auto const blocked = run(shell("kill -TERM $$; sleep 20"));
  auto const pipe = run(shell("kill -PIPE $$; sleep 20"));
  ::signal(SIGPIPE, ignored);
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  ASSERT_TRUE(blocked.end);
  EXPECT_EQ(blocked.end->signal, SIGTERM);
  ASSERT_TRUE(pipe.end);
  EXPECT_EQ(pipe.end->signal, SIGPIPE);
}

TEST(Process, IsAskedToEndAtItsLimit) {
  auto options = shell("trap 'echo asked; exit 0' TERM; echo ready; while :; do sleep 0.01; done");
  options.limits.time_ms = 300;
  auto const ran = run(std::move(options));
  ASSERT_TRUE(ran.end);
  EXPECT_EQ(ran.end->cause, ProcessCause::time);
  EXPECT_FALSE(ran.end->success());
  EXPECT_EQ(ran.lines, (std::vector<std::string>{"ready", "asked"}));
  EXPECT_LT(ran.ms, kSoonMs);
}

TEST(Process, WhoDoesNotHeedIsEndedAfterTheGraceWithItsWholeGroup) {
  auto options =
      shell("trap '' TERM; (trap '' TERM; sleep 60) & echo $!; while :; do sleep 60; done");
  options.limits.time_ms = 200;
  options.limits.grace_ms = 200;
  auto const ran = run(std::move(options));
  ASSERT_TRUE(ran.end);
  EXPECT_EQ(ran.end->cause, ProcessCause::time);
  EXPECT_EQ(ran.end->signal, SIGKILL);
  EXPECT_LT(ran.ms, kSoonMs);
  ASSERT_EQ(ran.lines.size(), 1U);
  EXPECT_TRUE(gone(std::stoi(ran.lines[0])));
}

TEST(Process, LeavesNobodyBehindWhenItsLeaderEnds) {
  // The child holds the pipes open, and is not waited for.
  auto const ran = run(shell("sleep 60 & echo $!"));
  ASSERT_TRUE(ran.end);
  EXPECT_TRUE(ran.end->success());
  EXPECT_LT(ran.ms, kSoonMs);
  ASSERT_EQ(ran.lines.size(), 1U);
  EXPECT_TRUE(gone(std::stoi(ran.lines[0])));
}

TEST(Process, WaitsForNoOneWhoLeftTheGroupAndHoldsThePipes) {
  auto const ran = run(shell("setsid sh -c 'echo $$; exec sleep 5' & sleep 0.3"));
  ASSERT_TRUE(ran.end);
  EXPECT_LT(ran.ms, kSoonMs);
  ASSERT_EQ(ran.lines.size(), 1U);
  ::kill(std::stoi(ran.lines[0]), SIGKILL);
}

TEST(Process, ALineOrAnOutputBeyondItsBoundEndsIt) {
  auto line = shell("head -c 100000 /dev/zero | tr '\\0' x; sleep 60");
  line.limits.line_bytes_max = 1'000;
  auto const long_line = run(std::move(line));
  ASSERT_TRUE(long_line.end);
  EXPECT_EQ(long_line.end->cause, ProcessCause::line);
  EXPECT_TRUE(long_line.lines.empty());
  EXPECT_LT(long_line.ms, kSoonMs);

  auto output = shell("yes");
  output.limits.output_bytes_max = 100'000;
  auto const much = run(std::move(output));
  ASSERT_TRUE(much.end);
  EXPECT_EQ(much.end->cause, ProcessCause::output);
  EXPECT_LE(much.lines.size(), 50'000U);
  EXPECT_LT(much.ms, kSoonMs);
}

TEST(Process, IsHeldToItsMemory) {
  auto options = shell("sleep 0.2; head -c 200000000 /dev/zero | tail | wc -c");
  options.limits.memory_bytes_max = 64 << 20;
  auto const ran = run(std::move(options));
  ASSERT_TRUE(ran.end);
  EXPECT_FALSE(ran.end->errors.empty());  // tail keeps the one long line, as far as it may.
  EXPECT_NE(ran.lines, std::vector<std::string>{"200000000"});
}

TEST(Process, IsStoppedByWhoRunsIt) {
  EventLoop loop;
  Process process(loop, shell("echo ready; exec sleep 60"),
                  [&](std::string_view) { process.stop(); });
  auto const end = block_on(loop, process.run());
  ASSERT_TRUE(end);
  EXPECT_EQ(end->cause, ProcessCause::stopped);
  EXPECT_EQ(end->signal, SIGTERM);
}

TEST(Process, EndsWithItsOwner) {
  pid_t pid = 0;
  {
    EventLoop loop;
    Process process(loop, shell("exec sleep 60"), [](std::string_view) {});
    auto waiting = process.run();
    loop.post([&] {
      waiting.start(std::noop_coroutine());
      loop.stop();
    });
    loop.run();
    pid = process.pid();
    ASSERT_GT(pid, 0);
  }
  EXPECT_TRUE(gone(pid));
}

// As by SIGKILL, of which nobody hears.
TEST(Process, EndsWithAProcessThatHadNoTimeToEndIt) {
  std::array<int, 2> told{};
  ASSERT_EQ(::pipe(told.data()), 0);
  auto const owner = ::fork();
  ASSERT_GE(owner, 0);
  if (owner == 0) {
    EventLoop loop;
    Process process(loop, shell("echo ready; exec sleep 60"), [&](std::string_view) {
      auto const pid = process.pid();
      if (::write(told[1], &pid, sizeof pid) == sizeof pid) ::kill(::getpid(), SIGKILL);
      ::_exit(1);
    });
    (void)block_on(loop, process.run());
    ::_exit(1);
  }
  ::close(told[1]);
  pid_t pid = 0;
  EXPECT_EQ(::read(told[0], &pid, sizeof pid), sizeof pid);
  ::close(told[0]);
  int status = 0;
  ASSERT_EQ(::waitpid(owner, &status, 0), owner);
  EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
  ASSERT_GT(pid, 0);
  EXPECT_TRUE(gone(pid));
}

TEST(Process, ManyRunAtOnce) {
  EventLoop loop;
  int ended = 0;
  auto one = [&]() -> Task<void> {
    std::string said;
    Process process(loop, shell("sleep 0.1; echo done"),
                    [&](std::string_view line) { said = line; });
    auto const end = co_await process.run();
    EXPECT_TRUE(end && end->success());
    EXPECT_EQ(said, "done");
    if (++ended == 30) loop.stop();
  };
  TaskGroup group;
  loop.post([&] {
    for (int i = 0; i < 30; ++i) group.spawn(one());
  });
  auto const began = monotonic_ns();
  loop.run();
  EXPECT_EQ(ended, 30);
  EXPECT_LT(monotonic_ns() - began, 30 * 100'000'000LL);  // Not one after the other.
}

}  // namespace
}  // namespace subforge
