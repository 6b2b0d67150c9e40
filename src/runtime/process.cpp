#include "runtime/process.hpp"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

namespace subforge {
namespace {

constexpr int kFirstOtherFd = 3;  // After standard input, output and error.

class Fd {
 public:
  explicit Fd(int fd = -1) : fd_(fd) {}
  ~Fd() { close(); }
  Fd(Fd const&) = delete;
  Fd& operator=(Fd const&) = delete;
  [[nodiscard]] int get() const { return fd_; }
  void reset(int fd) { fd_ = fd; }  // While it has none.
  [[nodiscard]] int release() { return std::exchange(fd_, -1); }
  void close() {
    if (fd_ >= 0) ::close(std::exchange(fd_, -1));
  }

 private:
  int fd_;
};

std::unexpected<Error> system_failure(std::string_view what, int code) {
  return fail(ErrorCode::unavailable, std::string(what) + ": " + std::strerror(code));
}

// The input as a file in memory: the program reads it at its own pace, and nobody has to feed it.
Result<int> input_file(std::string_view input) {
  Fd file(::memfd_create("input", MFD_CLOEXEC));
  if (file.get() < 0) return system_failure("The input could not be kept", errno);
  for (std::size_t done = 0; done < input.size();) {
    auto const wrote =
        ::pwrite(file.get(), input.data() + done, input.size() - done, static_cast<off_t>(done));
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote <= 0) return system_failure("The input could not be kept", errno);
    done += static_cast<std::size_t>(wrote);
  }
  return file.release();
}

// What a child has to know between its start and the program's.
struct Start {
  pid_t parent;
  std::array<int, 3> files;  // To be standard input, output and error.
  int told;                  // Where it writes what went wrong; closed by the program's start.
  char const* folder;        // Empty: where this process is.
  std::int64_t memory_bytes_max;
  char* const* command;
  char* const* environment;
};

// Everything up to the program's start, in a child that has the memory of this process: system
// calls and nothing else. Returns only if something went wrong, which errno tells.
void become(Start const& start) {
  if (::setpgid(0, 0) != 0) return;
  // A program ends with the thread that has started it, however that ends.
  if (::prctl(PR_SET_PDEATHSIG, SIGKILL) != 0) return;
  if (::getppid() != start.parent) return;  // It has ended already.
  for (int to = 0; to < kFirstOtherFd; ++to) {
    auto const from = start.files[static_cast<std::size_t>(to)];
    if ((from == to ? ::fcntl(to, F_SETFD, 0) : ::dup2(from, to)) < 0) return;
  }
  if (::close_range(kFirstOtherFd, ~0U, CLOSE_RANGE_CLOEXEC) != 0) return;
  if (*start.folder != '\0' && ::chdir(start.folder) != 0) return;
  if (start.memory_bytes_max > 0) {
    auto const bytes = static_cast<rlim_t>(start.memory_bytes_max);
    rlimit const limit{bytes, bytes};
    if (::setrlimit(RLIMIT_AS, &limit) != 0) return;
  }
  // This process blocks and ignores signals that the program must hear.
  struct sigaction by_default{};
  by_default.sa_handler = SIG_DFL;
  for (int number = 1; number < NSIG; ++number) ::sigaction(number, &by_default, nullptr);
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  ::execvpe(*start.command, start.command, start.environment);
}

// The child's number; -1 if there is none, which errno tells.
pid_t start_child(Start const& start) {
  // No handler of this process may run in the child.
  sigset_t all;
  sigset_t before;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  auto const child = ::vfork();
  if (child == 0) {
    become(start);
    int const code = errno;
    [[maybe_unused]] auto const wrote = ::write(start.told, &code, sizeof code);
    ::_exit(1);
  }
  int const code = errno;
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  errno = code;
  return child;
}

std::vector<char*> pointers(std::vector<std::string>& texts) {
  std::vector<char*> list;
  for (auto& text : texts) list.push_back(text.data());
  list.push_back(nullptr);
  return list;
}

}  // namespace

void Process::Watched::watch(int fd) {
  fd_ = fd;
  process_.loop_.add(fd_, EPOLLIN, *this);
}

void Process::Watched::close() {
  if (fd_ < 0) return;
  process_.loop_.remove(fd_, *this);
  ::close(std::exchange(fd_, -1));
}

Process::Process(EventLoop& loop, ProcessOptions options, OnLine on_line)
    : loop_(loop),
      options_(std::move(options)),
      on_line_(std::move(on_line)),
      limit_([this] { end_early(ProcessCause::time); }),
      grace_([this] { signal_group(SIGKILL); }) {}

Process::~Process() {
  if (pid_ < 0) return;
  signal_group(SIGKILL);
  ::waitpid(pid_, nullptr, 0);  // It has been killed: this is over at once.
}

Task<Result<ProcessEnd>> Process::run() {
  if (auto spawned = spawn(); !spawned) co_return std::unexpected(spawned.error());
  limit_.arm(loop_.timers(), monotonic_ns() + options_.limits.time_ms * 1'000'000);
  struct Awaiter {
    Process& process;
    [[nodiscard]] bool await_ready() const { return process.ended_; }
    void await_suspend(std::coroutine_handle<> handle) const { process.waiting_ = handle; }
    void await_resume() const {}
  };
  co_await Awaiter{*this};
  co_return std::move(end_);
}

Result<void> Process::spawn() {
  if (options_.command.empty()) return fail(ErrorCode::invalid, "A command names no program");
  Fd kept;
  if (options_.input_file < 0) {
    auto const input = input_file(options_.input);
    if (!input) return std::unexpected(input.error());
    kept.reset(*input);
  }
  int const input = options_.input_file < 0 ? kept.get() : options_.input_file;
  std::array<int, 2> output{};
  if (::pipe2(output.data(), O_CLOEXEC) != 0) return system_failure("No pipe", errno);
  Fd output_end(output[0]);
  Fd const output_given(output[1]);
  std::array<int, 2> errors{};
  if (::pipe2(errors.data(), O_CLOEXEC) != 0) return system_failure("No pipe", errno);
  Fd errors_end(errors[0]);
  Fd const errors_given(errors[1]);
  // A pipe's two ends are two descriptions: the program's own ones keep waiting.
  ::fcntl(output_end.get(), F_SETFL, O_NONBLOCK);
  ::fcntl(errors_end.get(), F_SETFL, O_NONBLOCK);
  if (auto spawned = spawn_with(input, output_given.get(), errors_given.get()); !spawned) {
    return spawned;
  }
  // Debian 12's pidfd_open() has no declaration that C++ can link.
  auto const exit = static_cast<int>(::syscall(SYS_pidfd_open, pid_, 0));
  if (exit < 0) return system_failure("The program cannot be watched", errno);
  output_.watch(output_end.release());
  errors_.watch(errors_end.release());
  exit_.watch(exit);
  return {};
}

// What posix_spawn() does, and cannot: the program ends with this process.
Result<void> Process::spawn_with(int input, int output, int errors) {
  std::array<int, 2> told{};
  if (::pipe2(told.data(), O_CLOEXEC) != 0) return system_failure("No pipe", errno);
  Fd const heard(told[0]);
  Fd said(told[1]);
  auto const arguments = pointers(options_.command);
  auto const environment = pointers(options_.environment);
  pid_ = start_child({.parent = ::getpid(),
                      .files = {input, output, errors},
                      .told = said.get(),
                      .folder = options_.folder.c_str(),
                      .memory_bytes_max = options_.limits.memory_bytes_max,
                      .command = arguments.data(),
                      .environment = environment.data()});
  int code = errno;
  if (pid_ > 0) {
    said.close();
    if (::read(heard.get(), &code, sizeof code) != sizeof code) return {};
    ::waitpid(std::exchange(pid_, -1), nullptr, 0);
  }
  return fail(ErrorCode::invalid,
              options_.command.front() + " cannot be started: " + std::strerror(code));
}

void Process::read_output(int reads) {
  std::array<char, kReadBytes> buffer;
  for (int i = 0; i < reads && output_.fd() >= 0; ++i) {
    auto const count = ::read(output_.fd(), buffer.data(), buffer.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0 && errno == EAGAIN) return;
    if (count <= 0) return output_.close();
    take_output({buffer.data(), static_cast<std::size_t>(count)});
  }
}

void Process::take_output(std::string_view bytes) {
  output_bytes_ += std::ssize(bytes);
  if (output_bytes_ > options_.limits.output_bytes_max) end_early(ProcessCause::output);
  // What comes after the order to end is read, so that the program is not stuck, and left.
  while (!bytes.empty() && end_.cause != ProcessCause::output && end_.cause != ProcessCause::line) {
    auto const end = bytes.find('\n');
    line_ += bytes.substr(0, end);
    if (std::ssize(line_) > options_.limits.line_bytes_max) return end_early(ProcessCause::line);
    if (end == std::string_view::npos) return;
    bytes.remove_prefix(end + 1);
    auto const line = std::exchange(line_, {});
    on_line_(line);
  }
}

void Process::read_errors(int reads) {
  std::array<char, kReadBytes> buffer;
  auto const kept = static_cast<std::size_t>(options_.limits.error_bytes_kept);
  for (int i = 0; i < reads && errors_.fd() >= 0; ++i) {
    auto const count = ::read(errors_.fd(), buffer.data(), buffer.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0 && errno == EAGAIN) return;
    if (count <= 0) return errors_.close();
    auto& text = end_.errors;
    text.append(buffer.data(), static_cast<std::size_t>(count));
    if (text.size() > kept) text.erase(0, text.size() - kept);
  }
}

void Process::on_exit(int /*reads*/) {
  exit_.close();
  limit_.cancel();
  grace_.cancel();
  // The group ends with its leader; as long as that is not waited for, its number names no other.
  signal_group(SIGKILL);
  siginfo_t info{};
  ::waitid(P_PID, static_cast<id_t>(std::exchange(pid_, -1)), &info, WEXITED);
  if (info.si_code == CLD_EXITED) end_.exit_code = info.si_status;
  if (info.si_code != CLD_EXITED) end_.signal = info.si_status;
  // What it wrote is in the pipes by now. They may stay open in a process that left the group.
  read_output(kReadsAtEnd);
  read_errors(kReadsAtEnd);
  output_.close();
  errors_.close();
  if (!line_.empty() && end_.cause == ProcessCause::none) on_line_(line_);
  ended_ = true;
  if (waiting_) std::exchange(waiting_, {}).resume();
}

void Process::end_early(ProcessCause cause) {
  if (end_.cause != ProcessCause::none || pid_ < 0) return;
  end_.cause = cause;
  signal_group(SIGTERM);
  grace_.arm(loop_.timers(), monotonic_ns() + options_.limits.grace_ms * 1'000'000);
}

void Process::kill() {
  if (pid_ < 0) return;
  if (end_.cause == ProcessCause::none) end_.cause = ProcessCause::stopped;
  signal_group(SIGKILL);
}

void Process::signal_group(int number) const {
  if (pid_ > 0) ::kill(-pid_, number);
}

}  // namespace subforge
