#include "http/openapi.hpp"

#include <algorithm>
#include <stdexcept>

#include "base/json_writer.hpp"
#include "base/text.hpp"
#include "net/http_status.hpp"

namespace subforge::http {
namespace {

constexpr std::string_view kReference = "#/components/schemas/";
constexpr std::string_view kProblem = "Problem";
constexpr std::string_view kIssue = "ValidationIssue";

// RFC 9457 with the reference's `detail`: a sentence, or the list of a 422.
constexpr std::string_view kProblemSchema =
    R"({"type":"object","properties":{)"
    R"("detail":{"description":"A sentence, or everything that is wrong with the input.",)"
    R"("oneOf":[{"type":"string"},{"type":"array",)"
    R"("items":{"$ref":"#/components/schemas/ValidationIssue"}}]},)"
    R"("type":{"type":"string","format":"uri-reference"},"title":{"type":"string"},)"
    R"("status":{"type":"integer"},"instance":{"type":"string","format":"uri-reference",)"
    R"("description":"The path that was asked for."},)"
    R"("error_type":{"type":"string","description":"Only for failures of the server."}},)"
    R"("required":["detail","type","title","status","instance"]})";

constexpr std::string_view kIssueSchema =
    R"({"type":"object","properties":{)"
    R"("type":{"type":"string","examples":["missing"]},)"
    R"("loc":{"type":"array","items":{"type":["string","integer"]},)"
    R"("examples":[["body","name"]]},"msg":{"type":"string","examples":["Field required"]},)"
    R"("input":{"description":"What was sent."},)"
    R"("ctx":{"type":"object","description":"The limits that were not kept."}},)"
    R"("required":["type","loc","msg"]})";

constexpr std::string_view kProblemContent =
    R"({"application/json":{"schema":{"$ref":"#/components/schemas/Problem"}},)"
    R"("application/problem+json":{"schema":{"$ref":"#/components/schemas/Problem"}}})";

// What the pipeline answers before any handler, under its name in components/responses.
struct StandardAnswer {
  std::string_view status;
  std::string_view name;
  std::string_view doc;
  bool (*applies)(Route const&);
};

bool has_body(Route const& route) { return route.body.has_value(); }
bool takes_json(Route const& route) {
  return route.body && route.body->media_type == "application/json";
}
bool needs_rights(Route const& route) { return route.access != Access::open; }
bool is_limited(Route const& route) { return route.limit.per_minute > 0; }
bool is_checked(Route const& route) {
  return route.body || !route.path_parameters.empty() || !route.query.empty() ||
         takes_idempotency_key(route);
}
bool is_conditional(Route const& route) { return route.conditional; }
bool takes_key(Route const& route) { return takes_idempotency_key(route); }
bool always(Route const&) { return true; }

constexpr StandardAnswer kStandardAnswers[] = {
    {"400", "BadRequest", "The request is malformed, or is for another host.", &always},
    {"401", "Unauthorized", "Credentials are missing, unknown, revoked or expired.", &needs_rights},
    {"403", "Forbidden", "The credentials do not give the right that this needs.", &needs_rights},
    {"409", "Conflict", "A request with this Idempotency-Key is still under way.", &takes_key},
    {"412", "Stale", "The record is no longer of a version that If-Match names.", &is_conditional},
    {"413", "TooLarge", "The body has more bytes than are taken here.", &has_body},
    {"415", "UnsupportedType", "The body is not of the type that is taken here.", &takes_json},
    {"422", "Invalid", "Parameters or body are not as described.", &is_checked},
    {"429", "TooManyRequests", "The client has used up its requests.", &is_limited},
    {"default", "Failure", "The server failed (500), or cannot serve at the moment (503).",
     &always},
};

// Header fields that routes take by a column of their row.
constexpr std::string_view kIfMatchParameter =
    R"({"name":"If-Match","in":"header","required":false,)"
    R"("description":"ETags of the versions that may be changed.","schema":{"type":"string"}})";

constexpr std::string_view kIdempotencyKeyParameter =
    R"({"name":"Idempotency-Key","in":"header","required":false,)"
    R"("description":"Makes it safe to send the request again: it has its effect once.",)"
    R"("schema":{"type":"string","minLength":1,"maxLength":255}})";

// Those that routes name in `reads`.
struct HeaderField {
  std::string_view name;
  std::string_view doc;
  Parameter::Type type = Parameter::Type::text;
  bool required = false;
};

constexpr HeaderField kReadFields[] = {
    {"Range", "Which bytes; several parts as well."},
    {"If-Range", "The ETag or the date of the version that Range is meant for."},
    {"If-Modified-Since", "Answered with 304 where it was not."},
    {"If-Unmodified-Since", "Answered with 412 where it was modified."},
    {"Tus-Resumable", "The version of tus: 1.0.0.", Parameter::Type::text, true},
    {"X-HTTP-Method-Override", "PATCH or DELETE.", Parameter::Type::text, true},
    {"Upload-Length", "Bytes of the file.", Parameter::Type::integer, true},
    {"Upload-Offset", "Where the upload stands: the body goes on there.", Parameter::Type::integer,
     true},
    {"Upload-Metadata",
     "Names with values in base 64: filename and file_type; filetype, tags and metadata as well."},
    {"Upload-Checksum", "md5, sha1 or sha256, a space, and the body's digest in base 64."},
    {"Upload-Concat", "Refused: no file is put together from several uploads."},
};

std::string_view method_key(net::Method method) {
  switch (method) {
    case net::Method::get: return "get";
    case net::Method::head: return "head";
    case net::Method::post: return "post";
    case net::Method::put: return "put";
    case net::Method::patch: return "patch";
    case net::Method::del: return "delete";
    case net::Method::options: return "options";
    case net::Method::other: break;
  }
  throw std::logic_error("a route of no known method is in the document");
}

std::string_view document_path(Route const& route) {
  std::string_view path = route.path;
  if (path.size() > 1 && path.ends_with('/')) path.remove_suffix(1);
  return path;
}

std::string_view permission_sentence(Access access) {
  switch (access) {
    case Access::open: return "Open to everybody.";
    case Access::read: return "Needs the right to read.";
    case Access::write: return "Needs the right to write.";
    case Access::admin: return "Only for administrators.";
  }
  return {};
}

std::string description_of(Route const& route) {
  std::string text(permission_sentence(route.access));
  if (is_limited(route)) {
    text += " At most ";
    append_decimal(text, route.limit.per_minute);
    text += " requests per minute";
    if (route.limit.per_hour > 0) {
      text += " and ";
      append_decimal(text, route.limit.per_hour);
      text += " per hour";
    }
    text += route.limit.by == ClientKey::user ? " for each user." : " for each address.";
  }
  if (route.cache.seconds > 0) {
    text += " Answers are cached for up to ";
    append_decimal(text, route.cache.seconds);
    text += " s, unless what they show changes.";
  }
  return text;
}

class Document {
 public:
  Document(DocumentInfo const& info, std::vector<Route> const& routes) : info_(info) {
    for (auto const& route : routes) {
      if (route.in_document) rows_.push_back(&route);
    }
  }

  std::string write() {
    json_.begin_object();
    json_.member("openapi", "3.1.0");
    write_info();
    json_.member_raw("servers", R"([{"url":"/","description":"This server."}])");
    write_tags();
    write_paths();
    write_components();
    json_.end_object();
    check_references();
    return std::move(text_);
  }

 private:
  void write_info() {
    json_.key("info");
    json_.begin_object();
    json_.member("title", info_.title);
    json_.member("version", info_.version);
    json_.member("description", info_.description);
    json_.key("license");
    json_.begin_object();
    json_.member("name", info_.license_name);
    json_.member("url", info_.license_url);
    json_.end_object();
    json_.end_object();
  }

  void write_tags() {
    auto tags = info_.tags;
    std::erase_if(tags, [&](DocumentTag const& tag) {
      return std::ranges::none_of(rows_, [&](auto const* row) { return row->tag == tag.name; });
    });
    for (auto const* row : rows_) {
      bool const known =
          std::ranges::any_of(tags, [&](DocumentTag const& tag) { return tag.name == row->tag; });
      if (!known) tags.push_back({row->tag, {}});
    }
    json_.key("tags");
    json_.begin_array();
    for (auto const& tag : tags) {
      json_.begin_object();
      json_.member("name", tag.name);
      if (!tag.description.empty()) json_.member("description", tag.description);
      json_.end_object();
    }
    json_.end_array();
  }

  void write_paths() {
    std::vector<std::string_view> paths;
    for (auto const* row : rows_) {
      auto const path = document_path(*row);
      if (std::ranges::find(paths, path) == paths.end()) paths.push_back(path);
    }
    json_.key("paths");
    json_.begin_object();
    for (auto const path : paths) {
      json_.key(path);
      json_.begin_object();
      for (auto const* row : rows_) {
        if (document_path(*row) == path) write_operation(*row);
      }
      json_.end_object();
    }
    json_.end_object();
  }

  void write_operation(Route const& route) {
    json_.key(method_key(route.method));
    json_.begin_object();
    json_.member("operationId", route.name);
    json_.member("summary", route.summary);
    json_.member("description", description_of(route));
    json_.key("tags");
    json_.begin_array();
    json_.string(route.tag);
    json_.end_array();
    json_.member_raw("security", needs_rights(route) ? R"([{"bearer":[]}])" : "[]");
    if (!route.path_parameters.empty() || !route.query.empty() || !route.reads.empty() ||
        route.conditional || takes_idempotency_key(route)) {
      json_.key("parameters");
      json_.begin_array();
      for (auto const& parameter : route.path_parameters) write_parameter(parameter, "path");
      for (auto const& parameter : route.query) write_parameter(parameter, "query");
      for (auto const& name : route.reads) write_header_field(name);
      if (route.conditional) json_.raw(kIfMatchParameter);
      if (takes_idempotency_key(route)) json_.raw(kIdempotencyKeyParameter);
      json_.end_array();
    }
    if (route.body) {
      json_.key("requestBody");
      json_.begin_object();
      json_.member("required", true);
      write_content(route.body->media_type, route.body->schema, Shape::one);
      json_.end_object();
    }
    write_answers(route);
    json_.end_object();
  }

  void write_parameter(Parameter const& parameter, std::string_view place) {
    json_.begin_object();
    json_.member("name", parameter.name);
    json_.member("in", place);
    json_.member("required", place == "path");
    if (!parameter.doc.empty()) json_.member("description", parameter.doc);
    json_.key("schema");
    json_.begin_object();
    write_parameter_schema(parameter);
    json_.end_object();
    json_.end_object();
  }

  void write_header_field(std::string_view name) {
    auto const* const field = std::ranges::find_if(kReadFields, [&](HeaderField const& known) {
      return equal_ignoring_case(known.name, name);
    });
    if (field == std::end(kReadFields)) {
      throw std::logic_error("the document does not know the field " + std::string(name));
    }
    json_.begin_object();
    json_.member("name", field->name);
    json_.member("in", "header");
    json_.member("required", field->required);
    json_.member("description", field->doc);
    json_.key("schema");
    json_.begin_object();
    json_.member("type", field->type == Parameter::Type::integer ? "integer" : "string");
    json_.end_object();
    json_.end_object();
  }

  void write_parameter_schema(Parameter const& parameter) {
    using Type = Parameter::Type;
    switch (parameter.type) {
      case Type::integer: json_.member("type", "integer"); break;
      case Type::boolean: json_.member("type", "boolean"); break;
      case Type::text:
      case Type::choice: json_.member("type", "string"); break;
      case Type::uuid:
        json_.member("type", "string");
        json_.member("format", "uuid");
        break;
      case Type::timestamp:
        json_.member("type", "string");
        json_.member("format", "date-time");
        break;
    }
    if (parameter.fallback) json_.member("default", *parameter.fallback);
    if (parameter.least) json_.member("minimum", *parameter.least);
    if (parameter.most) json_.member("maximum", *parameter.most);
    if (parameter.choices.empty()) return;
    json_.key("enum");
    json_.begin_array();
    for (auto const& choice : parameter.choices) json_.string(choice);
    json_.end_array();
  }

  void write_answers(Route const& route) {
    if (route.answers.empty() || route.answers.front().status >= 300) {
      throw std::logic_error("the route " + route.name + " does not say what success is");
    }
    json_.key("responses");
    json_.begin_object();
    for (auto const& answer : route.answers) {
      json_.key(std::to_string(answer.status));
      json_.begin_object();
      json_.member("description",
                   answer.doc.empty() ? net::reason_phrase(answer.status) : answer.doc);
      write_answer_content(answer);
      json_.end_object();
    }
    for (auto const& standard : kStandardAnswers) {
      bool const own = std::ranges::any_of(route.answers, [&](Answer const& answer) {
        return std::to_string(answer.status) == standard.status;
      });
      if (own || !standard.applies(route)) continue;
      json_.key(standard.status);
      json_.begin_object();
      json_.member("$ref", "#/components/responses/" + std::string(standard.name));
      json_.end_object();
    }
    json_.end_object();
  }

  void write_answer_content(Answer const& answer) {
    if (answer.status == 204) return;
    bool const described = !answer.schema.empty();
    if (answer.status >= 400 && !described) return json_.member_raw("content", kProblemContent);
    write_content(answer.media_type, answer.schema, answer.shape);
  }

  // Without a schema: text, or whatever the media type allows.
  void write_content(std::string_view media_type, Schema const& schema, Shape shape) {
    json_.key("content");
    json_.begin_object();
    json_.key(media_type);
    json_.begin_object();
    json_.key("schema");
    json_.begin_object();
    if (schema.empty()) {
      if (media_type.starts_with("text/")) json_.member("type", "string");
    } else if (shape == Shape::list) {
      json_.member("type", "array");
      json_.key("items");
      json_.begin_object();
      write_reference(schema);
      json_.end_object();
    } else {
      write_reference(schema);
    }
    json_.end_object();
    json_.end_object();
    json_.end_object();
  }

  void write_reference(Schema const& schema) {
    json_.member("$ref", std::string(kReference) + schema.name);
    keep(schema);
  }

  void keep(Schema const& schema) {
    auto const known = std::ranges::find(schemas_, schema.name, &Schema::name);
    if (known == schemas_.end()) {
      schemas_.push_back(schema);
    } else if (known->content != schema.content) {
      throw std::logic_error("two different schemas are called " + schema.name);
    }
    for (auto const& part : schema.parts) keep(part);
  }

  void write_components() {
    json_.key("components");
    json_.begin_object();
    json_.key("schemas");
    json_.begin_object();
    for (auto const& schema : schemas_) {
      json_.key(schema.name);
      schema.write(json_);
    }
    json_.member_raw(kProblem, kProblemSchema);
    json_.member_raw(kIssue, kIssueSchema);
    json_.end_object();
    write_standard_answers();
    json_.key("securitySchemes");
    json_.begin_object();
    json_.member_raw(
        "bearer",
        R"({"type":"http","scheme":"bearer","description":"An API key, or a token that was )"
        R"(issued for one. Not needed as long as the server has no key."})");
    json_.end_object();
    json_.end_object();
  }

  void check_references() const {
    auto const before = "\"" + std::string(kReference);
    for (auto at = text_.find(before); at != std::string::npos; at = text_.find(before, at)) {
      at += before.size();
      auto const name = std::string_view(text_).substr(at, text_.find('"', at) - at);
      bool const known = name == kProblem || name == kIssue ||
                         std::ranges::find(schemas_, name, &Schema::name) != schemas_.end();
      if (!known) throw std::logic_error("there is no schema " + std::string(name));
    }
  }

  // Only those that some row refers to.
  void write_standard_answers() {
    json_.key("responses");
    json_.begin_object();
    for (auto const& standard : kStandardAnswers) {
      bool const used =
          std::ranges::any_of(rows_, [&](auto const* row) { return standard.applies(*row); });
      if (!used) continue;
      json_.key(standard.name);
      json_.begin_object();
      json_.member("description", standard.doc);
      if (standard.status == "429" || standard.status == "default") {
        json_.member_raw("headers", R"({"Retry-After":{"description":"Seconds to wait.",)"
                                    R"("schema":{"type":"integer"}}})");
      }
      json_.member_raw("content", kProblemContent);
      json_.end_object();
    }
    json_.end_object();
  }

  DocumentInfo const& info_;
  std::vector<Route const*> rows_;
  std::vector<Schema> schemas_;  // Those that were referred to, in that order.
  std::string text_;
  JsonWriter json_{text_};
};

}  // namespace

void Schema::write(JsonWriter& json) const {
  if (auto const* line = std::get_if<describe::Shape>(&content)) {
    return describe::write_shape(json, *line);
  }
  json.begin_object();
  if (auto const* write_members = std::get_if<Members>(&content)) (*write_members)(json);
  json.end_object();
}

std::string openapi_document(DocumentInfo const& info, std::vector<Route> const& routes) {
  return Document(info, routes).write();
}

}  // namespace subforge::http
