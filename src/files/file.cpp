#include "files/file.hpp"

namespace subforge::files {

using describe::Api;

void write_json(JsonWriter& json, FileRecord const& file, Api api) {
  describe::write_record(json, file, api);
}

std::string to_json(FileRecord const& file) {
  std::string text;
  JsonWriter json(text);
  write_json(json, file, Api::v2);
  return text;
}

std::string stored_json(FileRecord const& file) {
  std::string text;
  JsonWriter json(text);
  describe::write_stored(json, file);
  return text;
}

FileRecord file_from_stored(boost::json::object const& object) {
  return describe::read_stored<FileRecord>(object);
}

void file_schema(JsonWriter& json) { describe::write_schema<FileRecord>(json, Api::v2); }

void file_update_schema(JsonWriter& json) {
  describe::write_body_schema<FileUpdate>(json, Api::v2, describe::Purpose::update);
}

}  // namespace subforge::files
