#include "describe/record.hpp"

#include "describe/json_text.hpp"

namespace subforge::describe {

void Frame::add(std::string_view group, std::string_view leaf) {
  std::string piece = pieces_.empty() ? "{" : "";
  if (group != group_) {
    if (!group_.empty()) piece += '}';
    if (!pieces_.empty()) piece += ',';
    if (!group.empty()) piece.append(1, '"').append(group).append("\":{");
    group_ = group;
  } else if (!pieces_.empty()) {
    piece += ',';
  }
  piece.append(1, '"').append(leaf).append("\":");
  pieces_.push_back(std::move(piece));
}

void Frame::finish() {
  std::string piece = pieces_.empty() ? "{" : "";
  if (!group_.empty()) piece += '}';
  pieces_.push_back(piece + '}');
}

boost::json::value const* find_member(boost::json::object const& object, std::string_view path) {
  auto const group = group_of(path);
  auto const leaf = leaf_of(path);
  auto const* within = &object;
  if (!group.empty()) {
    auto const* outer = object.if_contains({group.data(), group.size()});
    if (outer == nullptr || !outer->is_object()) return nullptr;
    within = &outer->get_object();
  }
  return within->if_contains({leaf.data(), leaf.size()});
}

void add_missing(boost::json::object const& object, std::string_view path, Where const& where,
                 Issues& issues) {
  auto const group = group_of(path);
  Where const outer{&where, group};
  Where const place{group.empty() ? &where : &outer, leaf_of(path)};
  issues.add(place, "missing", "Field required", json_text(object));
}

void add_not_object(boost::json::value const& body, Where const& where, Issues& issues) {
  issues.add(where, "dict_type", "Input should be a valid dictionary", input_text(body));
}

SchemaWriter::SchemaWriter(JsonWriter& json) : json_(json) {
  json_.member("type", "object");
  json_.key("properties");
  json_.begin_object();
}

SchemaWriter::~SchemaWriter() {
  close_group();
  json_.end_object();
  write_required(required_);
}

void SchemaWriter::begin(std::string_view path, bool required) {
  auto const group = group_of(path);
  if (group != group_) {
    close_group();
    if (!group.empty()) {
      json_.key(group);
      json_.begin_object();
      json_.member("type", "object");
      json_.key("properties");
      json_.begin_object();
      if (required) required_.push_back(group);
    }
    group_ = group;
  }
  if (required) (group.empty() ? required_ : group_required_).push_back(leaf_of(path));
  json_.key(leaf_of(path));
  json_.begin_object();
}

void SchemaWriter::end(std::string_view doc) {
  if (!doc.empty()) json_.member("description", doc);
  json_.end_object();
}

void SchemaWriter::close_group() {
  if (group_.empty()) return;
  json_.end_object();
  write_required(group_required_);
  json_.end_object();
  group_required_.clear();
  group_ = {};
}

void SchemaWriter::write_required(std::vector<std::string_view> const& names) {
  if (names.empty()) return;
  json_.key("required");
  json_.begin_array();
  for (auto const name : names) json_.string(name);
  json_.end_array();
}

}  // namespace subforge::describe
