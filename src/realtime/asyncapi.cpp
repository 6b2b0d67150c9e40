#include "realtime/asyncapi.hpp"

#include <algorithm>
#include <stdexcept>
#include <vector>

#include "realtime/messages.hpp"

namespace subforge::realtime {
namespace {

// A message of the document.
struct Entry {
  Protocol protocol;
  bool from_client = false;
  std::string_view type;
  describe::Shape shape;
  std::string_view doc;
  bool is_event = false;
  bool is_news = false;
  std::string key = {};
};

struct Channel {
  Protocol protocol;
  std::string_view key;
  std::string_view address;
  std::string_view doc;
};

void add_projections(Projections const& projections, std::vector<Entry>& entries) {
  for (auto const& row : projections.rows()) {
    auto const add = [&](Protocol protocol, Form const& form) {
      if (form.make == nullptr) return;
      // Many kinds look alike.
      auto const known = std::ranges::find_if(entries, [&](Entry const& entry) {
        return entry.protocol == protocol && !entry.from_client && entry.type == form.type &&
               entry.shape == form.shape;
      });
      if (known != entries.end()) {
        known->is_news |= row.is_news;
        return;
      }
      entries.push_back({.protocol = protocol,
                         .type = form.type,
                         .shape = form.shape,
                         .doc = "What happened.",
                         .is_event = true,
                         .is_news = row.is_news});
    };
    add(Protocol::v1, row.v1);
    add(Protocol::v2, row.v2);
    add(Protocol::sse, row.v2);
    add(Protocol::socketio, row.v1);
    add(Protocol::socketio, row.socketio);
  }
}

std::string_view prefix(Protocol protocol) {
  switch (protocol) {
    case Protocol::v1: return "v1";
    case Protocol::v2: return "v2";
    case Protocol::sse: return "sse";
    case Protocol::socketio: return "socketio";
  }
  return {};
}

std::vector<Entry> all_entries(Projections const& projections) {
  std::vector<Entry> entries;
  for (auto const& row : client_messages()) {
    entries.push_back({.protocol = row.protocol,
                       .from_client = true,
                       .type = row.type,
                       .shape = row.shape,
                       .doc = row.doc});
  }
  for (auto const& row : server_messages()) {
    entries.push_back({.protocol = row.protocol,
                       .type = row.type,
                       .shape = row.shape,
                       .doc = row.doc,
                       .is_news = row.is_news});
  }
  add_projections(projections, entries);
  for (auto& entry : entries) {
    auto const base = std::string(prefix(entry.protocol))
                          .append(entry.from_client ? "-client-" : "-")
                          .append(entry.type);
    auto const taken = [&](std::string const& key) {
      return std::ranges::find(entries, key, &Entry::key) != entries.end();
    };
    auto key = base;
    for (int n = 2; taken(key); ++n) key = base + "-" + std::to_string(n);
    entry.key = std::move(key);
  }
  return entries;
}

std::string schema_of(describe::Shape shape) {
  std::string text;
  JsonWriter json(text);
  describe::write_shape(json, shape);
  return text;
}

// {"allOf": [what all have, the shape]}, so that both are written once.
void write_client_payload(JsonWriter& json, Entry const& entry) {
  json.begin_object();
  json.key("allOf");
  json.begin_array();
  json.raw(schema_of("type=" + std::string(entry.type)));
  if (!entry.shape.empty()) json.raw(schema_of(entry.shape));
  json.end_array();
  json.end_object();
}

void write_server_payload(JsonWriter& json, Entry const& entry) {
  json.begin_object();
  json.member("type", "object");
  json.key("allOf");
  json.begin_array();
  json.begin_object();
  bool const v1 = entry.protocol == Protocol::v1;
  json.member("$ref", v1 ? "#/components/schemas/EnvelopeV1" : "#/components/schemas/EnvelopeV2");
  json.end_object();
  json.end_array();
  json.key("properties");
  json.begin_object();
  json.key("type");
  json.begin_object();
  json.member("const", entry.type);
  json.end_object();
  json.member_raw("data", schema_of(entry.shape));
  json.end_object();
  json.end_object();
}

// An event of Socket.IO: its first argument.
void write_argument(JsonWriter& json, Entry const& entry) {
  if (!entry.is_event) return json.raw(schema_of(entry.shape));
  json.begin_object();
  json.key("allOf");
  json.begin_array();
  json.raw(schema_of(entry.shape));
  json.raw(schema_of("timestamp:time event_id?:text inbox?:boolean *"));
  json.end_array();
  json.end_object();
}

void write_messages(JsonWriter& json, std::vector<Entry> const& entries) {
  json.begin_object();
  for (auto const& entry : entries) {
    json.key(entry.key);
    json.begin_object();
    json.member("name", entry.type);
    json.member("title", entry.type);
    json.member("summary", entry.doc);
    json.member("contentType", "application/json");
    json.key("payload");
    if (entry.protocol == Protocol::socketio) {
      write_argument(json, entry);
    } else if (entry.from_client) {
      write_client_payload(json, entry);
    } else {
      write_server_payload(json, entry);
    }
    if (entry.is_news) json.member("x-conflated", true);
    json.end_object();
  }
  json.end_object();
}

void write_reference(JsonWriter& json, std::string_view before, std::string_view key) {
  json.begin_object();
  json.member("$ref", std::string(before).append(key));
  json.end_object();
}

void write_channel(JsonWriter& json, Channel const& channel, std::vector<Entry> const& entries) {
  json.key(channel.key);
  json.begin_object();
  json.member("address", channel.address);
  json.member("description", channel.doc);
  json.key("messages");
  json.begin_object();
  for (auto const& entry : entries) {
    if (entry.protocol != channel.protocol) continue;
    json.key(entry.key);
    write_reference(json, "#/components/messages/", entry.key);
  }
  json.end_object();
  json.end_object();
}

void write_operation(JsonWriter& json, Channel const& channel, bool from_client,
                     std::vector<Entry> const& entries) {
  auto const is_of = [&](Entry const& entry) {
    return entry.protocol == channel.protocol && entry.from_client == from_client;
  };
  if (std::ranges::none_of(entries, is_of)) return;
  json.key(std::string(from_client ? "hear-" : "tell-").append(channel.key));
  json.begin_object();
  json.member("action", from_client ? "receive" : "send");
  json.member("summary", from_client ? "What clients say." : "What clients hear.");
  json.key("channel");
  write_reference(json, "#/channels/", channel.key);
  json.member_raw("security", R"([{"$ref":"#/components/securitySchemes/bearer"}])");
  json.key("messages");
  json.begin_array();
  for (auto const& entry : entries) {
    if (!is_of(entry)) continue;
    write_reference(json, "#/channels/", std::string(channel.key) + "/messages/" + entry.key);
  }
  json.end_array();
  json.end_object();
}

// The schemas that shapes name, and those that they name in turn, in the order in which they do.
void write_schemas(JsonWriter& json, std::string text, std::span<http::Schema const> schemas) {
  constexpr std::string_view kBefore = "\"#/components/schemas/";
  std::vector<std::string> written = {"EnvelopeV1", "EnvelopeV2"};
  json.begin_object();
  json.member_raw(written[0], schema_of("type:text data:any timestamp:time broadcast_id?:integer"
                                        " event_id?:text event_type?:text inbox?:boolean"));
  json.member_raw(written[1],
                  schema_of("type:text room:text|null data:object timestamp:time message_id:id"
                            " correlation_id:text|null event_id?:text inbox?:boolean"));
  for (auto at = text.find(kBefore); at != std::string::npos; at = text.find(kBefore, at)) {
    at += kBefore.size();
    auto const name = text.substr(at, text.find('"', at) - at);
    if (std::ranges::find(written, name) != written.end()) continue;
    written.push_back(name);
    auto const schema = std::ranges::find(schemas, name, &http::Schema::name);
    if (schema == schemas.end()) {
      throw std::logic_error("a message names a schema that there is not: " + name);
    }
    auto const before = text.size();
    JsonWriter one(text);
    schema->write(one);
    json.member_raw(name, std::string_view(text).substr(before));
  }
  json.end_object();
}

}  // namespace

std::string asyncapi_document(std::string_view title, std::string_view version,
                              ProtocolAddresses const& addresses, Projections const& projections,
                              std::span<http::Schema const> schemas) {
  auto const entries = all_entries(projections);
  Channel const channels[] = {
      {Protocol::v2, "websocket-v2", addresses.v2, "WebSocket, version 2: rooms, history, inbox."},
      {Protocol::v1, "websocket-v1", addresses.v1, "WebSocket, version 1."},
      {Protocol::sse, "event-stream", addresses.sse,
       "Server-sent events: what /ws/v2 shows. `data` of each event is the message."},
      {Protocol::socketio, "socketio", addresses.socketio,
       "Socket.IO 5 over Engine.IO 4: a message is an event, its payload the first argument."},
  };
  std::string document;
  JsonWriter json(document);
  json.begin_object();
  json.member("asyncapi", "3.0.0");
  json.key("info");
  json.begin_object();
  json.member("title", title);
  json.member("version", version);
  json.member("description",
              "The live protocols: what clients say, and what they hear of every change.");
  json.end_object();
  json.member("defaultContentType", "application/json");
  json.key("channels");
  json.begin_object();
  for (auto const& channel : channels) write_channel(json, channel, entries);
  json.end_object();
  json.key("operations");
  json.begin_object();
  for (auto const& channel : channels) {
    for (bool const from_client : {true, false}) {
      write_operation(json, channel, from_client, entries);
    }
  }
  json.end_object();
  json.key("components");
  json.begin_object();
  std::string messages;
  JsonWriter messages_json(messages);
  write_messages(messages_json, entries);
  json.member_raw("securitySchemes",
                  R"({"bearer":{"type":"http","scheme":"bearer","description":)"
                  R"("An API key or a token made of one; none in local mode."}})");
  json.member_raw("messages", messages);
  json.key("schemas");
  write_schemas(json, messages, schemas);
  json.end_object();
  json.end_object();
  return document;
}

}  // namespace subforge::realtime
