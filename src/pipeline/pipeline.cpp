#include "pipeline/pipeline.hpp"

#include <algorithm>

#include <fmt/format.h>

#include "auth/digest.hpp"
#include "base/json_writer.hpp"
#include "base/random.hpp"
#include "base/text.hpp"
#include "base/utf8.hpp"
#include "base/uuid.hpp"
#include "http/problem.hpp"
#include "net/websocket_handshake.hpp"
#include "pipeline/exchange.hpp"
#include "runtime/frame_pool.hpp"

namespace subforge::pipeline {
namespace {

using http::Access;
using http::Response;
using http::Route;

constexpr std::size_t kRequestIdBytesMax = 128;
constexpr std::string_view kExposedFields =
    "X-Total-Count, X-Total-Count-Capped, X-Page-Size, X-Current-Page, X-Total-Pages,"
    " X-Request-ID, X-Cache, ETag, Link, Retry-After, RateLimit, RateLimit-Policy,"
    " Idempotency-Replayed, Content-Disposition, Content-Range, Accept-Ranges, Location,"
    " Content-Location, Upload-Offset, Upload-Length, Upload-Expires, Upload-Metadata,"
    " Tus-Resumable, Tus-Version, Tus-Extension, Tus-Checksum-Algorithm, Tus-Max-Size";

// A client's own id is kept if it can stand in a header and a log line as it is.
bool usable_request_id(std::string_view id) {
  return !id.empty() && id.size() <= kRequestIdBytesMax &&
         std::ranges::all_of(id, [](char c) { return c > ' ' && c < 0x7f && c != '"'; });
}

// The values of a list field, which may be sent in several lines (RFC 9110 section 5.3).
std::string all_values(net::RequestHead const& head, std::string_view lowercase_name) {
  std::string all;
  for (auto const& field : head.fields()) {
    if (!equal_ignoring_case(field.name, lowercase_name)) continue;
    if (!all.empty()) all.append(", ");
    all.append(field.value);
  }
  return all;
}

std::string policy_line(http::RateLimit const& limit) {
  if (limit.per_minute <= 0) return {};
  return fmt::format("RateLimit-Policy: \"minute\";q={};w=60, \"hour\";q={};w=3600\r\n",
                     limit.per_minute, limit.per_hour);
}

// The trace id of a traceparent (W3C Trace Context, section 3.2.2): version-traceid-parentid-flags
// in small hexadecimal digits. Version ff and ids of zeros are none; later versions may append.
std::string_view trace_id_of(std::string_view traceparent) {
  constexpr std::size_t kBytes = 55;
  bool const long_enough =
      traceparent.size() == kBytes ||
      (traceparent.size() > kBytes && traceparent[kBytes] == '-' && !traceparent.starts_with("00"));
  if (!long_enough || traceparent[2] != '-' || traceparent[35] != '-' || traceparent[52] != '-') {
    return {};
  }
  auto const trace_id = traceparent.substr(3, 32);
  auto const parent_id = traceparent.substr(36, 16);
  auto const flags = traceparent.substr(53, 2);
  for (auto const part : {traceparent.substr(0, 2), trace_id, parent_id, flags}) {
    if (part.find_first_not_of("0123456789abcdef") != std::string_view::npos) return {};
  }
  auto const zeros = [](std::string_view id) {
    return id.find_first_not_of('0') == std::string_view::npos;
  };
  if (traceparent.starts_with("ff") || zeros(trace_id) || zeros(parent_id)) return {};
  return trace_id;
}

void answer_with_body(net::HttpConnection& connection, net::Answer const& answer,
                      Response& response) {
  if (response.stream) return connection.answer(answer, std::move(response.stream));
  if (response.file) return connection.answer(answer, std::move(response.file));
  connection.answer(answer);
}

void complete_with_body(net::PendingAnswer const& pending, net::Answer const& answer,
                        Response& response) {
  if (response.stream) return pending.complete(answer, std::move(response.stream));
  if (response.file) return pending.complete(answer, std::move(response.file));
  pending.complete(answer);
}

// What the reference's error handlers add to a failure of the server's own.
void set_failure(Response& response, Route const* route) {
  if (response.status != 500) return;
  if (route != nullptr && !route->failure.empty()) {
    response.body.clear();
    append_json_string(response.body, route->failure);
  }
}

}  // namespace

Pipeline::Pipeline(Shared shared, EventLoop& loop, std::size_t loop_index, SocketQuota quota)
    : shared_(shared),
      loop_(loop),
      loop_index_(loop_index),
      quota_(std::move(quota)),
      log_(shared.logger, loop),
      freshness_(shared.repeated.store, loop, tasks_) {
  for (auto const& route : shared_.routes) {
    policies_.push_back(policy_line(shared_.limiter.scaled(route.limit)));
  }
}

net::BodyPlan Pipeline::plan_body(net::HttpConnection& connection, net::RequestHead const& head) {
  auto const* const route = shared_.router.find(head.method, head.path).route;
  net::BodyPlan plan{shared_.settings.json_body_bytes_max};
  if (head.expect_continue) plan.wanted = wants_body(memo_of(connection), route, head);
  if (route == nullptr) return plan;
  if (route->body_bytes_max > 0) plan.bytes_max = route->body_bytes_max;
  plan.streamed = route->streamed_body;
  return plan;
}

void Pipeline::serve(net::HttpConnection& connection, net::RequestHead const& head,
                     std::string_view body) {
  admit(connection, head, {body, nullptr});
}

void Pipeline::serve_stream(net::HttpConnection& connection, net::RequestHead const& head,
                            std::shared_ptr<net::BodyStream> body) {
  admit(connection, head, {{}, std::move(body)});
}

Pipeline::Exchange Pipeline::begin(net::HttpConnection& connection,
                                   net::RequestHead const* head) const {
  Exchange exchange;
  exchange.id = current_exchange_;
  exchange.connection = &connection;
  exchange.start_ns = monotonic_ns();
  exchange.peer = memo_of(connection).peer;
  exchange.method_text = "-";
  exchange.path = "-";
  if (head != nullptr) {
    exchange.method = head->method;
    exchange.method_text = head->method_text;
    exchange.path = head->path;
    exchange.query = head->query;
    exchange.content_type = head->content_type;
    exchange.authorization = head->authorization;
    exchange.if_none_match = head->if_none_match;
    exchange.accept_encoding = head->accept_encoding;
    exchange.origin = head->origin;
    exchange.host = head->host;
    exchange.traceparent = head->traceparent;
    exchange.user_agent = head->user_agent;
    exchange.wants_problem_json = http::accepts_problem_json(head->accept);
    if (usable_request_id(head->x_request_id)) exchange.request_id = head->x_request_id;
  }
  if (exchange.request_id.empty()) {
    std::uint64_t const number = fast_random();
    exchange.request_id = hex_encode({reinterpret_cast<std::uint8_t const*>(&number), 8});
  }
  return exchange;
}

void Pipeline::admit(net::HttpConnection& connection, net::RequestHead const& head, Body body) {
  auto const outer = std::exchange(current_exchange_, next_exchange_++);
  auto& memo = memo_of(connection);
  auto exchange = begin(connection, &head);
  auto const match = shared_.router.find(head.method, head.path);
  exchange.route = match.route;
  if (match.route != nullptr && match.route->event_stream) admit_event_source(exchange, head);
  exchange.route_index = match.route != nullptr ? match.index : shared_.metrics.unrouted();

  if (!host_allowed(memo, head.host)) {
    finish(exchange, [] {
      auto response = Response::text("Invalid host header", "text/plain; charset=utf-8");
      response.status = 400;
      return response;
    }());
  } else if (head.method == net::Method::options &&
             (match.route == nullptr || !head.find("access-control-request-method").empty())) {
    finish(exchange, preflight(exchange, match.path_known ? match.allow : std::string_view{},
                               head.find("access-control-request-headers")));
  } else if (match.route == nullptr) {
    finish(
        exchange,
        match.path_known
            ? Response::problem(405, "Method Not Allowed").with("Allow", std::string(match.allow))
            : Response::problem(404, "Not Found"));
  } else if (auto refused = authorize(exchange, memo, exchange.authorization)) {
    finish(exchange, std::move(*refused));
  } else if (auto excess = limit(exchange, memo)) {
    finish(exchange, std::move(*excess));
  } else if (match.route->refuse_origin != nullptr && !origin_allowed(head.origin, head.host)) {
    finish(exchange, match.route->refuse_origin(head.origin));
  } else if (is_forged(exchange)) {
    finish(exchange, origin_refused(exchange));
  } else if (!serve_from_cache(exchange)) {
    if (match.route->conditional) exchange.if_match = all_values(head, "if-match");
    for (auto const& name : match.route->reads) exchange.read.emplace_back(head.find(name));
    if (http::takes_idempotency_key(*match.route)) {
      exchange.idempotency_key = head.find("idempotency-key");
    }
    exchange.socket = http::socket_handler(*match.route, head.upgrade_websocket);
    if (exchange.socket != nullptr) {
      auto const accepted = net::validate_handshake(head);
      if (!accepted) {
        auto response = Response::problem(accepted.error().status, accepted.error().reason);
        if (accepted.error().status == 426) {
          response.fields.emplace_back("Upgrade", "websocket");
          response.fields.emplace_back("Connection", "Upgrade");
          response.fields.emplace_back("Sec-WebSocket-Version", "13");
        }
        finish(exchange, std::move(response));
      } else {
        exchange.cache_key = *accepted;  // Handed on to open_socket().
        exchange.deflate = net::accept_deflate(head);
        handle(exchange, match, std::move(body));
      }
    } else {
      handle(exchange, match, std::move(body));
    }
  }
  current_exchange_ = outer;
}

void Pipeline::refuse(net::HttpConnection& connection, net::RequestHead const* head, int status,
                      std::string_view reason) {
  current_exchange_ = next_exchange_++;
  auto exchange = begin(connection, head);
  exchange.route_index = shared_.metrics.unrouted();
  auto response = Response::problem(status, reason);
  if (status == 503) response.fields.emplace_back("Retry-After", "5");  // Too many connections.
  if (status == 426) response.fields.emplace_back("Sec-WebSocket-Version", "13");
  finish(exchange, std::move(response));
  current_exchange_ = 0;
}

Pipeline::Memo& Pipeline::memo_of(net::HttpConnection& connection) const {
  auto& slot = connection.memo();
  if (slot == nullptr) {
    auto memo = std::make_unique<Memo>();
    memo->peer = connection.peer().address_text();
    memo->address_key = shared_.limiter.key_of(memo->peer);
    slot = std::move(memo);
  }
  return static_cast<Memo&>(*slot);  // Nobody else puts anything there.
}

// --- The handler

std::optional<Response> Pipeline::fill_request(Exchange const& exchange,
                                               http::Router::Match const& match,
                                               http::Request& request) const {
  request.method = exchange.method;
  request.route = exchange.route;
  request.path = exchange.path;
  request.raw_query = exchange.query;
  request.content_type = exchange.content_type;
  request.authorization = exchange.authorization;
  request.if_match = exchange.if_match;
  request.if_none_match = exchange.if_none_match;
  request.fields = exchange.read;
  request.accept_encoding = exchange.accept_encoding;
  request.origin = exchange.origin;
  request.host = exchange.host;
  request.id = exchange.request_id;
  request.traceparent = exchange.traceparent;
  if (exchange.socket != nullptr || exchange.route->socket || exchange.route->event_stream) {
    request.user_agent = exchange.user_agent;
    request.last_event_id = exchange.last_event_id;
  }
  request.peer = exchange.connection->peer();
  request.principal = exchange.principal;
  for (std::size_t i = 0; i < match.values.count; ++i) {
    auto value = percent_decode(match.values.values[i], PlusSign::literal);
    if (!value || !is_valid_utf8(*value)) {
      return Response::problem(400, "The path is not valid percent-encoded UTF-8");
    }
    request.path_values.push_back(std::move(*value));
  }
  auto query = http::Query::parse(exchange.query);
  if (!query) return Response::problem(400, "The query is not valid percent-encoded UTF-8");
  request.query = std::move(*query);
  describe::Issues issues;
  http::check_parameters(request, issues);
  if (!issues.empty()) return Response::invalid(issues);
  return std::nullopt;
}

void Pipeline::handle(Exchange& exchange, http::Router::Match const& match, Body body) {
  // Made where it will stay: a request is too large to be passed from hand to hand.
  auto errand = std::make_unique<Errand>();
  auto& request = errand->request;
  if (auto refused = fill_request(exchange, match, request)) {
    return finish(exchange, std::move(*refused));
  }
  if (exchange.socket != nullptr) return open_socket(exchange, request);
  if (auto const* sync = std::get_if<http::SyncHandler>(&exchange.route->handler)) {
    return finish(exchange, (*sync)(request));
  }
  request.body = body.whole;
  request.body_stream = std::move(body.stream);
  if (!exchange.idempotency_key.empty()) {
    auto key = parse_idempotency_key(exchange.idempotency_key);
    if (!key) {
      return finish(exchange, Response::problem(400,
                                                "Idempotency-Key takes 1 to 255 printable"
                                                " ASCII characters"));
    }
    auto client = exchange.principal != nullptr ? "user:" + exchange.principal->id
                                                : "address:" + std::string(exchange.peer);
    request.once =
        &errand->once.emplace(shared_.repeated, std::move(client), std::move(*key), request);
  }
  if (!exchange.cache_key.empty()) {
    auto subject = exchange.route->cache.subject;
    if (auto const at = subject.find("{}"); at != std::string::npos) {
      // In the form that events name it by, whatever form the client chose.
      auto const& value = request.path_values.front();
      auto const id = Uuid::parse(value);
      subject.replace(at, 2, id ? id->to_string() : value);
    }
    exchange.ticket = shared_.cache.ticket(subject);
  }
  exchange.pending = exchange.connection->defer();
  errand->exchange = std::move(exchange);
  tasks_.spawn(run(std::move(errand)));
}

Task<void> Pipeline::run(std::unique_ptr<Errand> errand) {
  auto& exchange = errand->exchange;
  auto const& request = errand->request;
  auto const& handler = std::get<http::AsyncHandler>(exchange.route->handler);
  if (exchange.to_confirm && co_await serve_confirmed(*errand)) co_return;
  Response response;
  try {
    if (errand->once) {
      response = co_await errand->once->answer(handler);
    } else {
      response = co_await handler(request);
    }
  } catch (std::exception const& bug) {
    shared_.logger.error(
        "handler failed",
        {{"request_id", request.id}, {"route", exchange.route->name}, {"cause", bug.what()}});
    response = Response::problem(500, "Internal server error");
  }
  keep_views(*errand);
  complete_problem(exchange, response);
  choose_form(exchange, response);
  if (exchange.coding != http::Coding::identity) {
    co_await pack_aside(exchange, response);
    keep_views(*errand);
  }
  finish(exchange, std::move(response));
}

void Pipeline::keep_views(Errand& errand) const {
  auto& exchange = errand.exchange;
  auto const& request = errand.request;
  if (current_exchange_ == exchange.id || exchange.connection == nullptr) return;
  exchange.connection = nullptr;
  exchange.method_text = http::method_name(request.method);
  exchange.path = request.path;
  exchange.accept_encoding = request.accept_encoding;
  exchange.if_none_match = request.if_none_match;
  exchange.origin = request.origin;
  exchange.host = request.host;
  exchange.traceparent = request.traceparent;
  errand.peer = request.peer.address_text();
  exchange.peer = errand.peer;
}

// --- After the handler

void Pipeline::complete_problem(Exchange const& exchange, Response& response) {
  if (!response.is_problem) return;
  set_failure(response, exchange.route);
  response.body =
      http::problem_body(response.status, response.body, exchange.path, response.error_type);
  response.content_type =
      exchange.wants_problem_json ? "application/problem+json" : "application/json";
  response.is_problem = false;
}

void Pipeline::tag_content(Exchange const& exchange, Response& response) const {
  bool const wanted = response.status == 200 && response.etag.empty() && !response.stream &&
                      !response.file && exchange.route != nullptr &&
                      http::takes_content_tag(*exchange.route);
  if (!wanted) return;
  // Strong: two bodies of the same tag are the same as far as anybody can tell.
  constexpr std::size_t kBytes = 16;
  auto const digest = auth::sha256(response.body);
  response.etag.append(1, '"').append(hex_encode(std::span(digest).first(kBytes))).append(1, '"');
}

void Pipeline::finish(Exchange& exchange, Response response) {
  complete_problem(exchange, response);
  tag_content(exchange, response);
  choose_form(exchange, response);
  bool const packed = exchange.coding != http::Coding::identity && !response.stream;
  if (packed && exchange.packed.empty()) {
    exchange.packed = http::pack(response.body, exchange.coding);
  }
  fields_.clear();
  if (!response.content_type.empty()) {
    append_field(fields_, "Content-Type", response.content_type);
  }
  for (auto const& [name, value] : response.fields) append_field(fields_, name, value);
  bool const keep = response.status == 200 && !exchange.cache_key.empty() && !response.stream;
  if (keep) {
    auto const lifetime_ns = exchange.route->cache.seconds * 1'000'000'000;
    cache::CachedAnswer answer{fields_, response.body, response.etag, exchange.packable};
    if (packed) answer.packed[static_cast<std::size_t>(exchange.coding)] = exchange.packed;
    shared_.cache.put(exchange.cache_key, exchange.ticket, loop_.now_ns() + lifetime_ns,
                      std::move(answer));
  }
  append_form_fields(exchange, response.etag);
  std::string_view body = packed ? exchange.packed : response.body;
  auto const suffix = http::etag_suffix(exchange.coding);
  if (response.status == 200 && matches_etag(exchange.if_none_match, response.etag, suffix)) {
    response.status = 304;
    response.file.reset();
    body = {};
  }
  append_common_fields(exchange);
  record(exchange, response.status, response.file ? response.file->size() : body.size());
  net::Answer const answer{response.status, fields_, body};
  if (current_exchange_ == exchange.id && exchange.connection != nullptr) {
    answer_with_body(*exchange.connection, answer, response);
  } else {
    complete_with_body(exchange.pending, answer, response);
  }
}

void Pipeline::append_common_fields(Exchange const& exchange) {
  append_field(fields_, "X-Request-ID", exchange.request_id);
  if (!exchange.cache_state.empty()) append_field(fields_, "X-Cache", exchange.cache_state);
  fields_.append("X-Content-Type-Options: nosniff\r\n");
  if (exchange.limited) {
    auto const& verdict = exchange.verdict;
    fields_.append(policies_[exchange.route_index]);
    fields_.append("RateLimit: \"minute\";r=");
    append_decimal(fields_, std::max<std::int64_t>(verdict.minute_left, 0));
    fields_.append(";t=");
    append_decimal(fields_, verdict.minute_reset_seconds);
    fields_.append(", \"hour\";r=");
    append_decimal(fields_, std::max<std::int64_t>(verdict.hour_left, 0));
    fields_.append(";t=");
    append_decimal(fields_, verdict.hour_reset_seconds);
    fields_.append("\r\n");
  }
  if (!exchange.origin.empty()) append_cors(exchange);
}

void Pipeline::append_cors(Exchange const& exchange) {
  fields_.append("Vary: Origin\r\n");
  auto const& allowed = shared_.settings.allowed_origins;
  bool const any = std::ranges::find(allowed, "*") != allowed.end();
  bool const listed = std::ranges::find(allowed, exchange.origin) != allowed.end();
  if (!any && !listed) return;
  append_field(fields_, "Access-Control-Allow-Origin", exchange.origin);
  if (shared_.settings.allow_credentials) {
    fields_.append("Access-Control-Allow-Credentials: true\r\n");
  }
  append_field(fields_, "Access-Control-Expose-Headers", kExposedFields);
}

Response Pipeline::preflight(Exchange const& exchange, std::string_view allow,
                             std::string_view wanted_headers) const {
  if (allow.empty() && exchange.path != "*") return Response::problem(404, "Not Found");
  auto response = Response::empty(204);
  if (!allow.empty()) response.fields.emplace_back("Allow", std::string(allow) + ", OPTIONS");
  if (exchange.origin.empty()) return response;
  auto const& settings = shared_.settings;
  response.fields.emplace_back("Access-Control-Allow-Methods", settings.allowed_methods == "*"
                                                                   ? std::string(allow)
                                                                   : settings.allowed_methods);
  // A star of ours would not count where credentials are allowed: what is asked for is named.
  auto const headers =
      settings.allowed_headers == "*" ? wanted_headers : std::string_view(settings.allowed_headers);
  if (!headers.empty()) {
    response.fields.emplace_back("Access-Control-Allow-Headers", std::string(headers));
  }
  response.fields.emplace_back("Access-Control-Max-Age", "600");
  return response;
}

void Pipeline::record(Exchange const& exchange, int status, std::size_t bytes) {
  // Rounded up: what took less than a microsecond did take time.
  auto const duration_us = (monotonic_ns() - exchange.start_ns + 999) / 1000;
  shared_.metrics.of(loop_index_, exchange.route_index).record(status, duration_us, bytes);
  auto const user =
      exchange.principal != nullptr ? std::string_view(exchange.principal->id) : std::string_view{};
  shared_.metrics.users(loop_index_).record(user, status, duration_us);
  AccessLine line;
  line.request_id = exchange.request_id;
  line.method = exchange.method_text;
  line.route = exchange.route != nullptr ? std::string_view(exchange.route->name) : "unrouted";
  line.path = exchange.path;
  line.status = status;
  line.duration_us = duration_us;
  line.bytes = bytes;
  line.user = user;
  line.peer = exchange.peer;
  line.trace_id = trace_id_of(exchange.traceparent);
  log_.write(line);
}

}  // namespace subforge::pipeline
