// What happens to a request between the socket and its handler, in order: route, host, credentials,
// rate limit, checks of path and query, cache, handler; and to the answer on its way back: problem
// members, ETag and 304, CORS, headers, log line, metrics. One per event loop.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "auth/authenticator.hpp"
#include "cache/response_cache.hpp"
#include "http/route.hpp"
#include "http/router.hpp"
#include "limits/rate_limiter.hpp"
#include "metrics/metrics.hpp"
#include "net/http_connection.hpp"
#include "net/http_server.hpp"
#include "pipeline/access_log.hpp"
#include "pipeline/freshness.hpp"
#include "pipeline/once.hpp"
#include "runtime/blocking_pool.hpp"
#include "runtime/task.hpp"

namespace subforge::pipeline {

struct PipelineSettings {
  bool rate_limiting = true;
  bool caching = true;
  std::uint64_t json_body_bytes_max = 512U << 10;
  std::vector<std::string> allowed_hosts;    // Names without port; "*" allows any.
  std::vector<std::string> allowed_origins;  // Whole origins; "*" allows any.
  std::string allowed_methods = "*";         // Of CORS: as they go out, "*" echoes what is asked.
  std::string allowed_headers = "*";
  bool allow_credentials = true;
};

// What all loops share.
struct Shared {
  std::vector<http::Route> const& routes;
  http::Router const& router;
  auth::Authenticator& authenticator;
  limits::RateLimiter& limiter;
  cache::ResponseCache& cache;
  metrics::Metrics& metrics;
  RepeatedRequests repeated;
  BlockingPool& pool;
  PipelineSettings const& settings;
  Logger logger;
};

class Pipeline final : public net::HttpService {
 public:
  // Whether one more WebSocket may be opened on this loop.
  using SocketQuota = std::function<bool()>;

  Pipeline(Shared shared, EventLoop& loop, std::size_t loop_index, SocketQuota quota);

  net::BodyPlan plan_body(net::HttpConnection& connection, net::RequestHead const& head) override;
  void serve(net::HttpConnection& connection, net::RequestHead const& head,
             std::string_view body) override;
  void serve_stream(net::HttpConnection& connection, net::RequestHead const& head,
                    std::shared_ptr<net::BodyStream> body) override;
  void refuse(net::HttpConnection& connection, net::RequestHead const* head, int status,
              std::string_view reason) override;

  // Requests whose handlers are still running.
  [[nodiscard]] std::size_t running() const { return tasks_.running(); }
  void flush_log() { log_.flush(); }

 private:
  struct Memo;
  // What is known of a request for answering it, counting it and logging it. The views live as long
  // as the head, or as the http::Request that was made of it.
  struct Exchange;
  // What a handler's coroutine keeps for the time after it.
  struct Errand;

  // The body as a whole, or as it comes.
  struct Body {
    std::string_view whole;
    std::shared_ptr<net::BodyStream> stream;
  };
  // What is known of a request from its head; `head` is null where there was none to read.
  [[nodiscard]] Exchange begin(net::HttpConnection& connection, net::RequestHead const* head) const;
  void admit(net::HttpConnection& connection, net::RequestHead const& head, Body body);
  [[nodiscard]] Memo& memo_of(net::HttpConnection& connection) const;
  void admit_event_source(Exchange& exchange, net::RequestHead const& head);
  [[nodiscard]] bool host_allowed(Memo& memo, std::string_view host) const;
  [[nodiscard]] std::optional<http::Response> authorize(Exchange& exchange, Memo& memo,
                                                        std::string_view authorization);
  // Whether the head alone does not decide the answer already.
  [[nodiscard]] bool wants_body(Memo& memo, http::Route const* route, net::RequestHead const& head);
  [[nodiscard]] std::optional<http::Response> limit(Exchange& exchange, Memo& memo);
  [[nodiscard]] bool serve_from_cache(Exchange& exchange);
  // In key_, the same for all requests that ask for the same; false where it would cost too much.
  [[nodiscard]] bool make_cache_key(Exchange const& exchange);
  [[nodiscard]] std::optional<std::string_view> take_cached(Exchange& exchange,
                                                            cache::CachedAnswer const& answer);
  void answer_cached(Exchange& exchange, std::string_view body);
  Task<bool> serve_confirmed(Errand& errand);
  void handle(Exchange& exchange, http::Router::Match const& match, Body body);
  void open_socket(Exchange& exchange, http::Request& request);
  // Fills in what a handler sees; the answer of refusal if path or query cannot be decoded.
  [[nodiscard]] std::optional<http::Response> fill_request(Exchange const& exchange,
                                                           http::Router::Match const& match,
                                                           http::Request& request) const;
  [[nodiscard]] bool origin_allowed(std::string_view origin, std::string_view host) const;
  // A change that another site makes a browser ask for. Where no token is needed nothing else tells
  // it from what its user wants; one that is shown no other site knows.
  [[nodiscard]] bool is_forged(Exchange const& exchange) const;
  [[nodiscard]] static http::Response origin_refused(Exchange const& exchange);
  Task<void> run(std::unique_ptr<Errand> errand);
  // Whether the head may be gone by now, and what is still needed of it has to be copied.
  void keep_views(Errand& errand) const;

  // Puts the members of a problem around its detail.
  void tag_content(Exchange const& exchange, http::Response& response) const;
  static void complete_problem(Exchange const& exchange, http::Response& response);
  // Decides on the content coding; long bodies are packed by the pool, the others when they finish.
  static void choose_form(Exchange& exchange, http::Response const& response);
  Task<void> pack_aside(Exchange& exchange, http::Response& response);
  void finish(Exchange& exchange, http::Response response);
  void append_form_fields(Exchange const& exchange, std::string_view etag);
  void append_common_fields(Exchange const& exchange);
  void append_cors(Exchange const& exchange);
  void record(Exchange const& exchange, int status, std::size_t bytes);
  [[nodiscard]] http::Response preflight(Exchange const& exchange, std::string_view allow,
                                         std::string_view wanted_headers) const;

  Shared shared_;
  EventLoop& loop_;
  std::size_t const loop_index_;
  SocketQuota quota_;
  AccessLog log_;
  TaskGroup tasks_;
  Freshness freshness_;
  std::vector<std::string> policies_;  // The RateLimit-Policy line of each route.
  std::uint64_t next_exchange_ = 1;
  std::uint64_t current_exchange_ = 0;  // The one being served further down the stack.
  std::string fields_;                  // Reused from answer to answer.
  std::string key_;
};

}  // namespace subforge::pipeline
