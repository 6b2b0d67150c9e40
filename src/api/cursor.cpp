#include "api/cursor.hpp"

#include <algorithm>
#include <bit>

#include "api/handler_parts.hpp"
#include "auth/digest.hpp"
#include "base/json_writer.hpp"
#include "base/text.hpp"

namespace subforge::api {
namespace {

using store::Position;

constexpr std::size_t kCursorBytesMax = 6144;  // The sort values of records are far shorter.
constexpr std::size_t kCheckBytes = 8;
constexpr std::size_t kSeqBytes = 8;
// A cursor is base 64 of: check, kind of the value, seq, value.
constexpr std::size_t kHeadBytes = kCheckBytes + 1 + kSeqBytes;

// Whether a parameter counts the records before the page, which a cursor stands in for.
bool counts_records(std::string_view name) { return name == "skip" || name == "offset"; }

// Ties a cursor to the list, the filters and the order that it was made for. It guards against
// mistakes, not against people: whoever forges one may read the same list anyway.
std::string check_of(http::Request const& request, std::string_view payload) {
  std::string text = request.route->name;
  for (auto const& value : request.path_values) text.append(1, '\0').append(value);
  for (auto const& parameter : request.route->query) {
    bool const chooses_page =
        parameter.name == "cursor" || parameter.name == "limit" || counts_records(parameter.name);
    auto const value = request.query.find(parameter.name);
    if (chooses_page || !value) continue;
    text.append(1, '\0').append(parameter.name).append(1, '=').append(*value);
  }
  text.append(1, '\0').append(payload);
  auto const digest = auth::sha256(text);
  return {digest.begin(), digest.begin() + kCheckBytes};
}

void append_number(std::string& out, std::uint64_t number) {
  for (int shift = 0; shift < 64; shift += 8) {
    out.push_back(static_cast<char>(static_cast<std::uint8_t>(number >> shift)));
  }
}

std::uint64_t number_at(std::string_view bytes) {
  std::uint64_t number = 0;
  for (std::size_t i = 0; i < 8; ++i) {
    number |= std::uint64_t{static_cast<std::uint8_t>(bytes[i])} << (8 * i);
  }
  return number;
}

std::string encode(http::Request const& request, Position const& position) {
  std::string payload;
  std::string value;
  if (auto const* integer = std::get_if<std::int64_t>(&position.value)) {
    payload.push_back('i');
    append_number(value, static_cast<std::uint64_t>(*integer));
  } else if (auto const* real = std::get_if<double>(&position.value)) {
    payload.push_back('r');
    append_number(value, std::bit_cast<std::uint64_t>(*real));
  } else {
    payload.push_back('t');
    value = std::get<std::string>(position.value);
  }
  append_number(payload, static_cast<std::uint64_t>(position.seq));
  payload.append(value);
  auto const bytes = check_of(request, payload) + payload;
  return base64url_encode({reinterpret_cast<std::uint8_t const*>(bytes.data()), bytes.size()});
}

std::optional<Position> decode(http::Request const& request, std::string_view cursor) {
  if (cursor.size() > kCursorBytesMax) return std::nullopt;
  auto const decoded = base64url_decode(cursor);
  if (!decoded || decoded->size() < kHeadBytes) return std::nullopt;
  std::string_view bytes(reinterpret_cast<char const*>(decoded->data()), decoded->size());
  auto const check = bytes.substr(0, kCheckBytes);
  bytes.remove_prefix(kCheckBytes);
  if (check != check_of(request, bytes)) return std::nullopt;
  Position position;
  char const kind = bytes[0];
  position.seq = static_cast<std::int64_t>(number_at(bytes.substr(1)));
  auto const value = bytes.substr(1 + kSeqBytes);
  if (kind == 't') {
    position.value = std::string(value);
  } else if (value.size() != 8) {
    return std::nullopt;
  } else if (kind == 'i') {
    position.value = static_cast<std::int64_t>(number_at(value));
  } else {
    position.value = std::bit_cast<double>(number_at(value));
  }
  return position;
}

http::Response refusal(std::string message, std::string_view input) {
  describe::Issues issues;
  describe::Where const query{nullptr, "query"};
  issues.add({&query, std::string_view("cursor")}, "value_error", std::move(message),
             json_string(input));
  return http::Response::invalid(issues);
}

// The same list from the position on: path and query as they were sent, with another cursor. What
// could end the reference within a Link field is escaped.
std::string next_page(http::Request const& request, Position const& next) {
  std::string target;
  auto const append = [&target](std::string_view text) {
    for (char const c : text) {
      if (c == '<' || c == '>' || c == '"') {
        target.append(c == '<' ? "%3C" : c == '>' ? "%3E" : "%22");
      } else {
        target.push_back(c);
      }
    }
  };
  append(request.path);
  target.push_back('?');
  for (auto const pair : split_list(request.raw_query, '&')) {
    auto const name = pair.substr(0, pair.find('='));
    if (name == "cursor" || counts_records(name)) continue;
    append(pair);
    target.push_back('&');
  }
  return target.append("cursor=").append(encode(request, next));
}

}  // namespace

http::Parameter cursor_parameter() {
  return text_parameter("cursor",
                        "Begin where the page before ended: taken from its Link field. Not"
                        " together with skip or offset; filters and order must be the same.");
}

std::expected<std::optional<Position>, http::Response> read_cursor(http::Request const& request) {
  auto const cursor = request.query.find("cursor");
  if (!cursor || cursor->empty()) return std::optional<Position>{};
  for (auto const& [name, value] : request.query.pairs()) {
    if (!counts_records(name)) continue;
    return std::unexpected(
        refusal("Value error, either cursor or " + name + ", not both", *cursor));
  }
  auto position = decode(request, *cursor);
  if (!position) {
    return std::unexpected(refusal(
        "Value error, this is no cursor of this list with these filters and this order", *cursor));
  }
  return position;
}

void add_next_link(http::Response& response, http::Request const& request,
                   std::optional<Position> const& next) {
  if (!next) return;
  response.fields.emplace_back("Link", "<" + next_page(request, *next) + ">; rel=\"next\"");
}

void add_page_fields(http::Response& response, http::Request const& request, store::Total total,
                     std::optional<Position> const& next) {
  auto const limit = request.integer("limit");
  auto const add = [&](char const* name, std::int64_t value) {
    response.fields.emplace_back(name, std::to_string(value));
  };
  add("X-Total-Count", total.count);
  if (total.capped) response.fields.emplace_back("X-Total-Count-Capped", "true");
  add("X-Page-Size", limit);
  if (request.query.find("cursor").value_or("").empty()) {
    // A route has the one or the other.
    auto const before = std::max(request.integer("skip"), request.integer("offset"));
    add("X-Current-Page", before / limit + 1);
  }
  add("X-Total-Pages", total.count / limit + (total.count % limit != 0 ? 1 : 0));
  add_next_link(response, request, next);
}

}  // namespace subforge::api
