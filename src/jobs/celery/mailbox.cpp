#include "jobs/celery/mailbox.hpp"

#include <fnmatch.h>
// lint: allow(header): the C library's, without groups that count; it does not recurse.
#include <regex.h>

#include <algorithm>

#include <boost/json/array.hpp>

#include "base/json_writer.hpp"
#include "describe/json_text.hpp"
#include "describe/parse_json.hpp"
#include "jobs/celery/json_members.hpp"
#include "jobs/celery/wire.hpp"

namespace subforge::jobs::celery {
namespace {

namespace json = boost::json;

constexpr std::size_t kPatternBytesMax = 256;

json::value parsed(std::string_view text) {
  boost::system::error_code error;
  return describe::parse_json(text, error);
}

// As Python's re.match: from the beginning on, however far. Patterns that only Perl's engine knows
// match nothing, nor do those with {counts}, which may take any amount of memory.
bool matches_from_the_start(std::string const& pattern, std::string const& text) {
  if (pattern.find('{') != std::string::npos) return false;
  regex_t compiled{};
  auto const anchored = "^(" + pattern + ")";
  if (::regcomp(&compiled, anchored.c_str(), REG_EXTENDED | REG_NOSUB) != 0) return false;
  bool const found = ::regexec(&compiled, text.c_str(), 0, nullptr, 0) == 0;
  ::regfree(&compiled);
  return found;
}

std::string clock_headers(std::int64_t clock, std::string_view ticket = {}) {
  std::string headers;
  JsonWriter writer(headers);
  writer.begin_object();
  if (!ticket.empty()) writer.member("ticket", ticket);
  writer.member("clock", clock);
  writer.end_object();
  return headers;
}

}  // namespace

std::string ControlRequest::reply_binding() const {
  return binding_member(reply_key, reply_list());
}

std::string control_channel(std::int64_t database) {
  return "/" + std::to_string(database) + "." + std::string(kControlExchange);
}

std::optional<ControlRequest> read_control_request(std::string_view text) {
  auto const letter = open_letter(text);
  if (!letter) return std::nullopt;
  auto const value = parsed(letter->body);
  auto const* const body = value.if_object();
  if (body == nullptr) return std::nullopt;
  ControlRequest request;
  request.method = text_of(*body, "method");
  if (request.method.empty()) return std::nullopt;
  auto const* const arguments = body->if_contains("arguments");
  if (arguments != nullptr && arguments->is_object()) request.arguments = arguments->get_object();
  auto const* const destination = body->if_contains("destination");
  if (destination != nullptr && destination->is_array()) {
    request.destination.emplace();
    for (auto const& node : destination->get_array()) {
      if (node.is_string()) request.destination->emplace_back(std::string_view(node.get_string()));
    }
  }
  request.pattern = text_of(*body, "pattern");
  request.matcher = text_of(*body, "matcher");
  request.ticket = text_of(*body, "ticket");
  if (auto const* const reply = body->if_contains("reply_to"); reply && reply->is_object()) {
    request.reply_key = text_of(reply->get_object(), "routing_key");
    request.reply_exchange = text_of(reply->get_object(), "exchange");
  }
  auto const headers = parsed(letter->headers);
  if (auto const* const object = headers.if_object(); object != nullptr) {
    if (auto const* const clock = object->if_contains("clock"); clock && clock->is_int64()) {
      request.clock = clock->get_int64();
    }
  }
  return request;
}

std::string write_control_request(ControlRequest const& request) {
  std::string body;
  JsonWriter writer(body);
  writer.begin_object();
  writer.member("method", request.method);
  writer.member_raw("arguments", describe::json_text(request.arguments));
  writer.key("destination");
  if (request.destination) {
    writer.begin_array();
    for (auto const& node : *request.destination) writer.string(node);
    writer.end_array();
  } else {
    writer.null();
  }
  auto const text_or_null = [&](std::string_view name, std::string const& text) {
    text.empty() ? writer.member_null(name) : writer.member(name, text);
  };
  text_or_null("pattern", request.pattern);
  text_or_null("matcher", request.matcher);
  if (request.wants_reply()) {
    writer.member("ticket", request.ticket);
    writer.key("reply_to");
    writer.begin_object();
    writer.member("exchange", request.reply_exchange);
    writer.member("routing_key", request.reply_key);
    writer.end_object();
  }
  writer.end_object();
  auto const headers = clock_headers(request.clock);
  return write_letter({.body = body,
                       .headers = headers,
                       .exchange = kControlExchange,
                       .routing_key = "",
                       .delivery_mode = 2});
}

bool is_meant(ControlRequest const& request, std::string const& node) {
  if (request.destination)
    return std::ranges::find(*request.destination, node) != request.destination->end();
  if (request.pattern.empty()) return true;
  if (request.pattern.size() > kPatternBytesMax) return false;
  if (request.matcher == "pcre") return matches_from_the_start(request.pattern, node);
  return ::fnmatch(request.pattern.c_str(), node.c_str(), 0) == 0;
}

std::string write_control_reply(ControlRequest const& request, std::string_view node,
                                std::string_view answer, std::int64_t clock) {
  std::string body;
  JsonWriter writer(body);
  writer.begin_object();
  writer.member_raw(node, answer);
  writer.end_object();
  auto const headers = clock_headers(clock, request.ticket);
  return write_letter({.body = body,
                       .headers = headers,
                       .exchange = request.reply_exchange,
                       .routing_key = request.reply_key});
}

json::object read_control_reply(std::string_view text) {
  auto const letter = open_letter(text);
  if (!letter) return {};
  auto const value = parsed(letter->body);
  auto const* const body = value.if_object();
  return body != nullptr ? *body : json::object{};
}

}  // namespace subforge::jobs::celery
