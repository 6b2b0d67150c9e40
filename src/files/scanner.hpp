// Asks a scanner for malware before a file becomes visible: clamd over its socket, or a command.
#pragma once

#include <atomic>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/log.hpp"
#include "base/result.hpp"
#include "files/blob_store.hpp"
#include "runtime/blocking_pool.hpp"
#include "runtime/task.hpp"

namespace subforge::files {

struct ScannerTarget {
  enum class Kind : std::uint8_t { none, clamd_socket, clamd_address, command };
  Kind kind = Kind::none;
  std::string path;  // Of the socket, or the host.
  std::string port;
  std::vector<std::string> command;  // The file's path is added.

  // "clamd:/path", "clamd:host:port", "command:program argument ..." or nothing. Error: invalid.
  [[nodiscard]] static Result<ScannerTarget> parse(std::string_view text);
};

class Scanner {
 public:
  // Where there is no verdict, a scanner that fails open lets the file pass. `pool` is for scans
  // alone: one that hangs holds its thread until the time is over.
  Scanner(ScannerTarget target, bool fail_open, std::int64_t timeout_seconds, BlockingPool& pool,
          Logger logger)
      : target_(std::move(target)),
        fail_open_(fail_open),
        timeout_seconds_(timeout_seconds),
        pool_(pool),
        logger_(logger) {}

  // Error: invalid, with what was found, or because the scanner does not take such a long one;
  // unavailable where there is no verdict, or where too many wait for theirs.
  Task<Result<void>> check(IncomingBlob const& blob);

  // Files that nobody gave a verdict on, so far.
  [[nodiscard]] std::int64_t without_verdict() const { return without_verdict_; }

 private:
  // What was found; nothing in a clean file.
  using Verdict = Result<std::optional<std::string>>;
  [[nodiscard]] Verdict ask_clamd(int fd) const;
  Task<Verdict> ask_command(std::string path);
  Task<Verdict> run_command(std::string path) const;
  void note(Error const& cause);

  // Each may take a gigabyte for its signatures.
  static constexpr int kCommandsMax = 4;
  static constexpr std::int64_t kLogNs = 10'000'000'000;

  ScannerTarget const target_;
  bool const fail_open_;
  std::int64_t const timeout_seconds_;
  BlockingPool& pool_;
  Logger logger_;
  std::atomic<int> commands_{0};
  std::atomic<std::int64_t> without_verdict_{0};
  std::atomic<std::int64_t> logged_ns_{0};
};

// What clamd's answer to INSTREAM says. Errors: too_large where its StreamMaxLength is crossed,
// internal for all that is no verdict.
[[nodiscard]] Result<std::optional<std::string>> parse_clamd_reply(std::string_view reply);

}  // namespace subforge::files
