// The schema's history: one entry per version, applied in order, never changed after release.
#pragma once

#include <span>
#include <string_view>

namespace subforge::store {

struct Migration {
  int version;
  std::string_view name;
  std::string_view sqlite;  // Statements, each ended by a semicolon.
  // The same for PostgreSQL; empty if translating the types of the other text is enough.
  std::string_view postgres = {};
};

[[nodiscard]] std::span<Migration const> migrations();

// For whoever wants all of them.
inline constexpr int kAnySchemaVersion = 1'000'000;

}  // namespace subforge::store
