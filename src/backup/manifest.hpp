// What a backup consists of: one JSON document that ends with its own checksum.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "backup/pack.hpp"
#include "base/result.hpp"
#include "base/time.hpp"
#include "store/tables.hpp"

namespace subforge::backup {

inline constexpr std::int64_t kFormat = 1;
inline constexpr std::string_view kManifestName = "manifest.json";
inline constexpr std::string_view kPackName = "chunks.pack";

enum class BackupKind : std::uint8_t { full, incremental };
constexpr std::array<std::pair<BackupKind, std::string_view>, 2> names_of(BackupKind) {
  return {{{BackupKind::full, "full"}, {BackupKind::incremental, "incremental"}}};
}

struct KeptTable {
  store::Table table;
  std::int64_t rows = 0;
  std::string checksum;         // Of its rows, as store/tables.hpp computes it.
  std::int64_t highest_id = 0;  // That it gave to a row by itself.
  std::vector<std::string> chunks;
};

struct KeptFile {
  std::string source;
  std::string name;          // Its path within the folder of its source.
  std::string content = {};  // As its source told it: ListedFile.
  std::int64_t bytes = 0;
  std::vector<std::string> chunks = {};
};

struct Manifest {
  std::string id;
  BackupKind kind = BackupKind::full;
  std::optional<std::string> base;  // The backup before it in its chain, which it needs.
  Timestamp created_at;
  std::string database;  // Which kind it was taken from.
  std::int64_t schema_version = 0;
  std::string log_epoch;
  std::int64_t last_event_id = 0;
  std::vector<KeptTable> tables;
  std::vector<KeptFile> files;
  std::vector<PackedChunk> packed;  // In its own pack; the others are in those before it.
};

[[nodiscard]] std::string to_text(Manifest const& manifest);
// Errors: invalid, with a sentence, if the text is not what was written.
[[nodiscard]] Result<Manifest> parse_manifest(std::string_view text,
                                              std::filesystem::path const& path);

}  // namespace subforge::backup
