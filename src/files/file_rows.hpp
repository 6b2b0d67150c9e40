// The rows of files within somebody's transaction, and the events that tell of their changes.
#pragma once

#include <cstdint>
#include <string>

#include "domain/actor.hpp"
#include "files/file.hpp"
#include "store/store.hpp"

namespace subforge::files {

// Files are counted by the day (UTC) of their upload.
inline constexpr std::int64_t kMicrosPerDay = 86'400'000'000;

// Error: not_found.
[[nodiscard]] Task<Result<FileRecord>> select_file(store::Session& session, std::string id);

// Tells that this happened to the file.
[[nodiscard]] Task<Result<void>> publish_file(store::Transaction& transaction,
                                              FileRecord const& file, std::string kind,
                                              domain::Actor const& actor);

// Writes what differs, gives `after` its version, and tells of it.
[[nodiscard]] Task<Result<void>> write_file(store::Transaction& transaction,
                                            FileRecord const& before, FileRecord& after,
                                            std::string kind, domain::Actor const& actor);

}  // namespace subforge::files
