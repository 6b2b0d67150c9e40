// Expected failures as values. A function that can fail for a reason its caller should handle
// returns Result<T>; exceptions are left for start-up and for bugs.
#pragma once

#include <cstdint>
#include <expected>
#include <string>
#include <utility>

namespace subforge {

// What went wrong, in the terms a caller can act on. The HTTP layer maps each to one status.
enum class ErrorCode : std::uint8_t {
  invalid,        // The caller's input is wrong.
  not_found,      // The thing named does not exist.
  bad_reference,  // Something that the input refers to does not exist.
  conflict,       // It exists already, or changed meanwhile.
  stale,          // It is no longer as the caller requires it to be.
  unauthorized,   // No valid credentials.
  forbidden,      // Valid credentials without the right.
  too_large,      // A named limit is exceeded.
  unavailable,    // A component is down or shutting down; trying again later may work.
  database,       // The database failed at something that it should be able to do.
  internal,       // A bug or a broken invariant.
};

// `message` is safe to show to a client; `context` is for the log only.
struct Error {
  ErrorCode code = ErrorCode::internal;
  std::string message;
  std::string context;

  // The same error with a note, for the log, on what was being done.
  [[nodiscard]] Error with_context(std::string_view what) && {
    context = context.empty() ? std::string(what) : std::string(what) + ": " + context;
    return std::move(*this);
  }
};

template <class T>
using Result = std::expected<T, Error>;

[[nodiscard]] inline std::unexpected<Error> fail(ErrorCode code, std::string message,
                                                 std::string context = {}) {
  return std::unexpected(Error{code, std::move(message), std::move(context)});
}

}  // namespace subforge
