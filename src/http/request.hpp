// What a handler gets to see of a request: plain values, no sockets, no views into buffers that go.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <boost/json/value.hpp>

#include "base/uuid.hpp"
#include "describe/issues.hpp"
#include "net/body_stream.hpp"
#include "net/http_parser.hpp"
#include "net/peer.hpp"

namespace subforge::auth {
struct Principal;
}
namespace subforge::pipeline {
class Once;
}

namespace subforge::http {

struct Route;

// The query's names and values in the order sent, decoded.
class Query {
 public:
  static constexpr std::size_t kPairsMax = 200;

  // Nothing if it is malformed or has too many pairs.
  [[nodiscard]] static std::optional<Query> parse(std::string_view raw);
  [[nodiscard]] std::optional<std::string_view> find(std::string_view name) const;
  [[nodiscard]] std::vector<std::pair<std::string, std::string>> const& pairs() const {
    return pairs_;
  }

 private:
  std::vector<std::pair<std::string, std::string>> pairs_;
};

struct Request {
  net::Method method = net::Method::get;
  Route const* route = nullptr;
  std::string path;  // As sent, without the query.
  std::string raw_query;
  Query query;
  std::vector<std::string> path_values;  // Of the route's {parameters}, decoded.
  std::string body;
  std::shared_ptr<net::BodyStream> body_stream;  // Instead, of a route that takes it as it comes.
  std::string content_type;
  std::string authorization;
  std::string if_match;
  std::string if_none_match;
  std::string accept_encoding;
  std::string origin;
  std::string host;
  std::string id;  // X-Request-ID, the client's or ours.
  std::string traceparent;
  std::string user_agent;           // This and the next where connections are opened alone.
  std::string last_event_id;        // Of a request for an event stream.
  std::vector<std::string> fields;  // The values of those that the route reads, in its order.
  net::Peer peer;
  std::shared_ptr<auth::Principal const> principal;
  pipeline::Once* once = nullptr;  // Of a request with an Idempotency-Key.

  // Declared query parameters, after the route's checks; absent ones give the declared default.
  [[nodiscard]] std::int64_t integer(std::string_view name) const;
  [[nodiscard]] std::optional<std::string> text(std::string_view name) const;
  [[nodiscard]] std::optional<bool> boolean(std::string_view name) const;
  // The value of a header field that the route reads; empty where it was not sent.
  [[nodiscard]] std::string_view field(std::string_view name) const;
  // A path value of a route that declares it a UUID.
  [[nodiscard]] Uuid uuid(std::size_t index) const;
};

}  // namespace subforge::http
