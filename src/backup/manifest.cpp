#include "backup/manifest.hpp"

#include <exception>

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/value.hpp>

#include "backup/chunks.hpp"
#include "base/json_writer.hpp"
#include "describe/codec.hpp"
#include "describe/parse_json.hpp"

namespace subforge::backup {
namespace {

namespace json = boost::json;
using Kind = store::Value::Kind;

constexpr std::string_view kChecksumKey = ",\n\"sha256\":\"";
constexpr std::string_view kEnd = "\"}\n";
constexpr std::size_t kDigestLength = 64;

constexpr std::array<std::pair<Kind, std::string_view>, 4> kKinds{
    {{Kind::integer, "integer"}, {Kind::real, "real"}, {Kind::text, "text"}, {Kind::blob, "blob"}}};

void write_texts(JsonWriter& to, std::string_view key, std::vector<std::string> const& texts) {
  to.key(key);
  to.begin_array();
  for (auto const& text : texts) to.string(text);
  to.end_array();
}

void write_table(JsonWriter& to, KeptTable const& kept) {
  to.begin_object();
  to.key("name");
  to.string(kept.table.name);
  to.key("rows");
  to.integer(kept.rows);
  to.key("checksum");
  to.string(kept.checksum);
  to.key("highest_id");
  to.integer(kept.highest_id);
  to.key("columns");
  to.begin_array();
  for (auto const& column : kept.table.columns) {
    to.begin_object();
    to.key("name");
    to.string(column.name);
    to.key("kind");
    for (auto const& [kind, name] : kKinds) {
      if (kind == column.kind) to.string(name);
    }
    to.key("key");
    to.integer(column.key);
    to.end_object();
  }
  to.end_array();
  write_texts(to, "chunks", kept.chunks);
  to.end_object();
}

void write_file_entry(JsonWriter& to, KeptFile const& file) {
  to.begin_object();
  to.key("source");
  to.string(file.source);
  to.key("name");
  to.string(file.name);
  to.key("content");
  to.string(file.content);
  to.key("bytes");
  to.integer(file.bytes);
  write_texts(to, "chunks", file.chunks);
  to.end_object();
}

void write_packed(JsonWriter& to, PackedChunk const& chunk) {
  to.begin_array();
  to.string(chunk.digest);
  to.integer(chunk.offset);
  to.integer(chunk.bytes);
  to.integer(chunk.unpacked);
  to.end_array();
}

std::string text_of(json::object const& object, std::string_view key) {
  return std::string(object.at(key).as_string());
}
std::int64_t number_of(json::value const& value) { return value.to_number<std::int64_t>(); }

std::vector<std::string> texts_of(json::object const& object, std::string_view key) {
  std::vector<std::string> texts;
  for (auto const& text : object.at(key).as_array()) texts.emplace_back(text.as_string());
  return texts;
}

KeptTable read_table(json::object const& object) {
  KeptTable kept;
  kept.table.name = text_of(object, "name");
  kept.rows = number_of(object.at("rows"));
  kept.checksum = text_of(object, "checksum");
  kept.highest_id = number_of(object.at("highest_id"));
  for (auto const& value : object.at("columns").as_array()) {
    auto const& column = value.as_object();
    auto kind = Kind::null;
    for (auto const& [one, name] : kKinds) {
      if (text_of(column, "kind") == name) kind = one;
    }
    kept.table.columns.push_back({text_of(column, "name"), kind, number_of(column.at("key"))});
  }
  kept.chunks = texts_of(object, "chunks");
  return kept;
}

Manifest read_manifest(json::object const& object) {
  Manifest manifest;
  manifest.id = text_of(object, "id");
  manifest.kind = text_of(object, "kind") == "full" ? BackupKind::full : BackupKind::incremental;
  if (object.at("base").is_string()) manifest.base = text_of(object, "base");
  manifest.created_at = Timestamp::parse(text_of(object, "created_at")).value_or(Timestamp{});
  manifest.database = text_of(object, "database");
  manifest.schema_version = number_of(object.at("schema_version"));
  manifest.log_epoch = text_of(object, "log_epoch");
  manifest.last_event_id = number_of(object.at("last_event_id"));
  for (auto const& table : object.at("tables").as_array()) {
    manifest.tables.push_back(read_table(table.as_object()));
  }
  for (auto const& value : object.at("files").as_array()) {
    auto const& file = value.as_object();
    manifest.files.push_back({text_of(file, "source"), text_of(file, "name"),
                              text_of(file, "content"), number_of(file.at("bytes")),
                              texts_of(file, "chunks")});
  }
  for (auto const& value : object.at("packed").as_array()) {
    auto const& chunk = value.as_array();
    manifest.packed.push_back({std::string(chunk.at(0).as_string()), number_of(chunk.at(1)),
                               number_of(chunk.at(2)), number_of(chunk.at(3))});
  }
  return manifest;
}

}  // namespace

std::string to_text(Manifest const& manifest) {
  std::string text;
  JsonWriter to(text);
  to.begin_object();
  to.key("format");
  to.integer(kFormat);
  to.key("id");
  to.string(manifest.id);
  to.key("kind");
  to.string(describe::to_text(manifest.kind));
  to.key("base");
  manifest.base ? to.string(*manifest.base) : to.null();
  to.key("created_at");
  to.string(manifest.created_at.to_string());
  to.key("database");
  to.string(manifest.database);
  to.key("schema_version");
  to.integer(manifest.schema_version);
  to.key("log_epoch");
  to.string(manifest.log_epoch);
  to.key("last_event_id");
  to.integer(manifest.last_event_id);
  to.key("tables");
  to.begin_array();
  for (auto const& table : manifest.tables) write_table(to, table);
  to.end_array();
  to.key("files");
  to.begin_array();
  for (auto const& file : manifest.files) write_file_entry(to, file);
  to.end_array();
  to.key("packed");
  to.begin_array();
  for (auto const& chunk : manifest.packed) write_packed(to, chunk);
  to.end_array();
  to.end_object();
  text.pop_back();  // The last brace comes behind the checksum, which is of all before it.
  auto const digest = digest_of(text);
  text += kChecksumKey;
  text += digest;
  text += kEnd;
  return text;
}

Result<Manifest> parse_manifest(std::string_view text, std::filesystem::path const& path) {
  auto const damaged = [&](std::string_view why) {
    return fail(ErrorCode::invalid, path.string() + " is damaged: " + std::string(why));
  };
  auto const tail = kChecksumKey.size() + kDigestLength + kEnd.size();
  if (text.size() < tail || !text.ends_with(kEnd)) return damaged("its end is missing");
  auto const body = text.substr(0, text.size() - tail);
  auto const note = text.substr(body.size());
  if (!note.starts_with(kChecksumKey) ||
      note.substr(kChecksumKey.size(), kDigestLength) != digest_of(body)) {
    return damaged("its checksum does not fit");
  }
  auto const value = describe::parse_json_text(text);
  if (!value) return std::unexpected(value.error());
  try {
    auto const& object = value->as_object();
    if (auto const format = number_of(object.at("format")); format != kFormat) {
      return fail(ErrorCode::invalid, path.string() + " has the format " + std::to_string(format) +
                                          ", which this subforge does not know");
    }
    return read_manifest(object);
  } catch (std::exception const& wrong) {
    return damaged(wrong.what());
  }
}

}  // namespace subforge::backup
