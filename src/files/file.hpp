// The record of an uploaded file: one declaration from which the API, the table's columns and the
// event log's payload follow.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/time.hpp"
#include "describe/record.hpp"

namespace subforge::files {

enum class FileType : std::uint8_t { agent_configs, data_files, images, documents };

constexpr std::array<std::pair<FileType, std::string_view>, 4> names_of(FileType) {
  using enum FileType;
  return {{{agent_configs, "agent_configs"},
           {data_files, "data_files"},
           {images, "images"},
           {documents, "documents"}}};
}

struct FileRecord {
  std::string id;  // 12 hexadecimal digits.
  std::int64_t version = 1;
  std::string filename;  // Id, time and the extension of the original name.
  std::string original_filename;
  FileType file_type = FileType::data_files;
  std::int64_t file_size = 0;
  std::string mime_type;
  std::string upload_path;  // Where the file appears to be, whatever UPLOAD_DIR is.
  std::string uploaded_by;  // Id of the user; empty for the server itself.
  Timestamp uploaded_at;
  describe::JsonText metadata;
  std::vector<std::string> tags;
  std::string checksum;
  std::string sha256;
  describe::JsonValue analysis;

  static constexpr auto describe();
};

inline constexpr std::int64_t kTagsMax = 100;
inline constexpr std::int64_t kTagBytesMax = 100;

constexpr auto FileRecord::describe() {
  using describe::field;
  using F = FileRecord;
  return describe::fields(
      field("id", &F::id), field("version", &F::version).internal(),
      field("filename", &F::filename), field("original_filename", &F::original_filename),
      field("file_type", &F::file_type), field("file_size", &F::file_size).doc("In bytes."),
      field("mime_type", &F::mime_type),
      field("upload_path", &F::upload_path).doc("Logical: begins with uploads/ everywhere."),
      field("uploaded_by", &F::uploaded_by), field("uploaded_at", &F::uploaded_at),
      field("metadata", &F::metadata), field("tags", &F::tags),
      field("checksum", &F::checksum).doc("MD5 of the content."), field("sha256", &F::sha256),
      field("analysis", &F::analysis)
          .doc("How far processing is and what it found out; null where there is nothing to do."));
}

// PUT metadata: tags replace, members of metadata replace those of the same name.
struct FileUpdate {
  describe::Given<std::optional<std::vector<std::string>>> tags;
  describe::Given<std::optional<describe::JsonText>> metadata;
  static constexpr auto describe() {
    using describe::field;
    return describe::fields(field("tags", &FileUpdate::tags).length(0, kTagBytesMax).writable(),
                            field("metadata", &FileUpdate::metadata).writable());
  }
};

[[nodiscard]] std::string to_json(FileRecord const& file);
void write_json(JsonWriter& json, FileRecord const& file, describe::Api api);
[[nodiscard]] std::string stored_json(FileRecord const& file);
[[nodiscard]] FileRecord file_from_stored(boost::json::object const& object);
void file_schema(JsonWriter& json);
void file_update_schema(JsonWriter& json);

}  // namespace subforge::files
