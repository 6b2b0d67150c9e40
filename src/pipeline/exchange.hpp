// What the stages of the pipeline share; only its own sources include this.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "http/content_coding.hpp"
#include "pipeline/once.hpp"
#include "pipeline/pipeline.hpp"

namespace subforge::pipeline {

struct Pipeline::Memo final : net::ConnectionMemo {
  std::string peer;
  std::uint64_t address_key = 0;
  std::string host;  // The last one that was found allowed.
  std::string authorization;
  std::uint64_t auth_version = 0;
  auth::PrincipalPtr principal;
};

struct Pipeline::Exchange {
  std::uint64_t id = 0;
  net::HttpConnection* connection = nullptr;  // Only while the request is being served.
  net::PendingAnswer pending;
  http::Route const* route = nullptr;
  http::SocketHandler const* socket = nullptr;  // Of a WebSocket handshake.
  std::size_t route_index = 0;
  std::int64_t start_ns = 0;
  net::Method method = net::Method::other;
  std::string_view method_text;
  std::string_view path;
  std::string_view query;
  std::string_view content_type;
  std::string_view authorization;
  std::string if_match;
  std::string_view idempotency_key;  // Only while the request is being served.
  std::vector<std::string> read;     // What the route reads besides.
  std::string_view if_none_match;
  std::string_view accept_encoding;
  std::string_view origin;
  std::string_view host;
  std::string_view traceparent;
  std::string_view user_agent;
  std::string_view last_event_id;
  std::string query_token;  // As a field Authorization has it.
  bool wants_problem_json = false;
  std::string request_id;
  std::string_view peer;
  auth::PrincipalPtr principal;
  limits::Verdict verdict;
  bool limited = false;
  std::string_view cache_state = {};  // X-Cache; empty where the route has no cache.
  bool to_confirm = false;  // An answer is kept, of which it is not known yet whether it is good.
  bool unchanged = false;   // The client has what is kept.
  bool form_chosen = false;
  bool packable = false;  // Whether the form depends on Accept-Encoding.
  http::Coding coding = http::Coding::identity;
  std::string packed;  // The body in that coding.
  cache::Ticket ticket;
  std::string cache_key;                       // Where the answer is to be kept.
  std::optional<net::WsDeflateTerms> deflate;  // What the handshake of a WebSocket offers.
};

struct Pipeline::Errand {
  static void* operator new(std::size_t bytes) { return allocate_frame(bytes); }
  static void operator delete(void* errand, std::size_t bytes) noexcept {
    free_frame(errand, bytes);
  }

  Exchange exchange;
  http::Request request;
  std::string peer;
  std::optional<Once> once;
};

inline void append_field(std::string& out, std::string_view name, std::string_view value) {
  out.append(name).append(": ").append(value).append("\r\n");
}

// Whether one of the entity tags of an If-None-Match field is this one (RFC 9110 section 13.1.2:
// weak comparison). `suffix` belongs to the tag, before its last quote.
[[nodiscard]] bool matches_etag(std::string_view field, std::string_view etag,
                                std::string_view suffix);

}  // namespace subforge::pipeline
