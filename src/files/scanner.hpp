// Asks a scanner for malware before a file becomes visible: clamd over its socket, or a command.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

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
  Scanner(ScannerTarget target, bool fail_open, std::int64_t timeout_seconds, BlockingPool& pool)
      : target_(std::move(target)),
        fail_open_(fail_open),
        timeout_seconds_(timeout_seconds),
        pool_(pool) {}

  // Error: invalid, with what was found; unavailable where there is no verdict, or where too many
  // wait for theirs.
  Task<Result<void>> check(IncomingBlob const& blob);

 private:
  // What was found; nothing in a clean file.
  using Verdict = Result<std::optional<std::string>>;
  [[nodiscard]] Verdict ask_clamd(int fd) const;
  Task<Verdict> run_command(std::string path);

  ScannerTarget const target_;
  bool const fail_open_;
  std::int64_t const timeout_seconds_;
  BlockingPool& pool_;
};

// What clamd's answer to INSTREAM says.
[[nodiscard]] Result<std::optional<std::string>> parse_clamd_reply(std::string_view reply);

}  // namespace subforge::files
