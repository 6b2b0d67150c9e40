#include "api/docs.hpp"

#include <algorithm>
#include <memory>

#include "auth/digest.hpp"
#include "base/text.hpp"
#include "http/content_coding.hpp"
#include "http/openapi.hpp"
#include "web/assets.hpp"

namespace subforge::api {
namespace {

using http::Access;
using http::Request;
using http::Response;
using net::Method;

// Everything comes from this server, and nobody may put a page into a frame of his own.
constexpr std::string_view kAppPolicy =
    "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
// Swagger UI and ReDoc make styles and small pictures as they run, and ReDoc searches in a worker
// that it makes out of its own bundle.
constexpr std::string_view kDocsPolicy =
    "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:;"
    " worker-src 'self' blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

bool belongs_to_docs(std::string_view path) {
  return path == "/docs" || path == "/redoc" || path.starts_with("/docs/");
}

Response serve(web::Asset const& asset, Request const& request) {
  bool const packed = http::accepts_gzip(request.accept_encoding);
  auto response = Response::text(std::string(packed ? asset.gzip_bytes : asset.bytes),
                                 std::string(asset.content_type));
  response.etag.append("\"").append(asset.hash).append(packed ? "-gzip\"" : "\"");
  auto const field = [&](char const* name, std::string_view value) {
    response.fields.emplace_back(name, value);
  };
  response.packable = false;  // Packed, and better, when the program was built.
  if (packed) field("Content-Encoding", "gzip");
  field("Vary", "Accept-Encoding");
  // The names stay when the bytes change, so that browsers have to ask; mostly 304 is the answer.
  field("Cache-Control", "no-cache");
  field("Content-Security-Policy", belongs_to_docs(asset.path) ? kDocsPolicy : kAppPolicy);
  field("Referrer-Policy", "no-referrer");
  return response;
}

http::DocumentInfo document_info(ServerInfo const& info) {
  return {
      info.name,
      info.version,
      info.description,
      "All rights reserved",
      "/docs/assets/licences.txt",
      {{"sockets", "Events as they happen; the WebSocket endpoints have a document of their own."},
       {"agents v2", "Agents with filters, paging, bulk operations and configuration files."},
       {"agents v1", "Agents as clients of the first version know them."},
       {"tasks v2", "Tasks with their dependencies, and filters over them."},
       {"tasks v1", "Tasks as clients of the first version know them, and agents' reports."},
       {"workflows v1", "Workflows as a whole: their state, progress and agents."},
       {"workflows v2", "Workflows with their steps."},
       {"history v1", "Runs of workflows, their phases and handoffs, and agents' performance."},
       {"files v2", "Files: uploads, also resumable ones by tus, downloads and what is in them."},
       {"system v2", "How the system fares, and how its API is used."},
       {"background tasks v2", "Work that outlives a request, its schedules and dead letters."},
       {"websocket v2", "Who is connected, rooms, broadcasts, and what happened."},
       {"system v1", "Snapshots of the system, health and counts."},
       {"auth", "Tokens for API keys."},
       {"dashboard", "What the dashboard of the reference asks for."},
       {"debug", "A look inside, for administrators of a server with DEBUG=true."},
       {"server", "The server itself: what it is, how it fares and what it counted."}}};
}

// A document that stays the same while the server runs.
http::Route document_route(std::string path, std::string name, std::string summary,
                           std::string document) {
  auto const hash = hex_encode(auth::sha256(document)).substr(0, 16);
  auto const text = std::make_shared<http::PackedText const>(std::move(document));
  auto answer = [text, hash](Request const& request) {
    auto const coding = http::choose_coding(request.accept_encoding);
    auto response = Response::json(text->as(coding));
    response.packable = false;
    response.etag.append("\"").append(hash).append(http::etag_suffix(coding)).append("\"");
    if (coding != http::Coding::identity) {
      response.fields.emplace_back("Content-Encoding", http::coding_name(coding));
    }
    response.fields.emplace_back("Vary", "Accept-Encoding");
    response.fields.emplace_back("Cache-Control", "no-cache");
    return response;
  };
  return {.method = Method::get,
          .path = std::move(path),
          .name = std::move(name),
          .summary = std::move(summary),
          .tag = "server",
          .handler = http::SyncHandler(std::move(answer)),
          .access = Access::read,
          .in_document = false};
}

void add_schema(std::vector<http::Schema>& schemas, http::Schema const& schema) {
  if (!schema.empty()) schemas.push_back(schema);
  for (auto const& part : schema.parts) add_schema(schemas, part);
}

std::vector<http::Schema> schemas_of(std::vector<http::Route> const& rows) {
  std::vector<http::Schema> schemas;
  for (auto const& row : rows) {
    if (row.body) add_schema(schemas, row.body->schema);
    for (auto const& answer : row.answers) add_schema(schemas, answer.schema);
  }
  return schemas;
}

}  // namespace

http::Routes page_routes(ServerInfo const& info) {
  http::Routes routes;
  for (auto const& asset : web::assets()) {
    if (belongs_to_docs(asset.path) && !info.docs) continue;
    routes.add({.method = Method::get,
                .path = std::string(asset.path),
                .name = "page:" + std::string(asset.path),
                .summary = "A file of the pages in the browser",
                .tag = "pages",
                .handler = http::SyncHandler(
                    [&asset](Request const& request) { return serve(asset, request); }),
                .access = Access::open,
                .in_document = false});
  }
  return routes;
}

http::Routes document_routes(ServerInfo const& info, std::vector<http::Route> const& rows,
                             realtime::ProtocolAddresses const& addresses,
                             realtime::Projections const& projections) {
  http::Routes routes;
  if (!info.docs) return routes;
  routes.add(document_route("/openapi.json", "openapi", "This API as an OpenAPI document",
                            http::openapi_document(document_info(info), rows)));
  routes.add(document_route("/asyncapi.json", "asyncapi",
                            "The live protocols as an AsyncAPI document",
                            realtime::asyncapi_document(info.name, info.version, addresses,
                                                        projections, schemas_of(rows))));
  return routes;
}

}  // namespace subforge::api
