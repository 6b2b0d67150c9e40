#include "jobs/celery/wire.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <vector>

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/value.hpp>
#include <openssl/evp.h>

#include "base/json_writer.hpp"
#include "base/text.hpp"
#include "base/utf8.hpp"
#include "describe/exact_json.hpp"
#include "describe/json_text.hpp"
#include "describe/parse_json.hpp"
#include "jobs/job.hpp"

namespace subforge::jobs::celery {
namespace {

namespace json = boost::json;

void append_quoted(std::string& out, std::string_view text) {
  // Python takes single quotes unless only the other kind needs no escapes.
  char const quote = text.contains('\'') && !text.contains('"') ? '"' : '\'';
  out.push_back(quote);
  for (char const c : text) {
    if (c == quote || c == '\\') {
      out.push_back('\\');
      out.push_back(c);
    } else if (c == '\n') {
      out.append("\\n");
    } else if (c == '\r') {
      out.append("\\r");
    } else if (c == '\t') {
      out.append("\\t");
    } else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
      static constexpr std::string_view kDigits = "0123456789abcdef";
      out.append("\\x");
      out.push_back(kDigits[static_cast<unsigned char>(c) >> 4]);
      out.push_back(kDigits[static_cast<unsigned char>(c) & 15]);
    } else {
      out.push_back(c);
    }
  }
  out.push_back(quote);
}

void append_repr(std::string& out, json::value const& value);

void append_items(std::string& out, json::array const& items) {
  for (std::size_t i = 0; i < items.size() && out.size() < kReprBytesMax; ++i) {
    if (i > 0) out.append(", ");
    append_repr(out, items[i]);
  }
}

void append_object(std::string& out, json::object const& object) {
  out.push_back('{');
  bool first = true;
  for (auto const& member : object) {
    if (out.size() >= kReprBytesMax) break;
    if (!std::exchange(first, false)) out.append(", ");
    append_quoted(out, std::string_view(member.key()));
    out.append(": ");
    append_repr(out, member.value());
  }
  out.push_back('}');
}

// Recursion is bounded by the depth that parsing allows.
void append_repr(std::string& out, json::value const& value) {
  switch (value.kind()) {
    case json::kind::null: out.append("None"); break;
    case json::kind::bool_: out.append(value.get_bool() ? "True" : "False"); break;
    case json::kind::string:
      if (auto const digits = describe::long_integer(value)) {
        out.append(*digits);
      } else {
        append_quoted(out, std::string_view(value.get_string()));
      }
      break;
    case json::kind::array:
      out.push_back('[');
      append_items(out, value.get_array());
      out.push_back(']');
      break;
    case json::kind::object: append_object(out, value.get_object()); break;
    default: describe::append_json(out, value);
  }
}

// Behind the value that begins at `at`; `text` is JSON.
std::size_t end_of_value(std::string_view text, std::size_t at) {
  int depth = 0;
  for (; at < text.size(); ++at) {
    char const c = text[at];
    if (c == '"') {
      for (++at; text[at] != '"'; ++at) at += text[at] == '\\' ? 1 : 0;
    } else if (c == '[' || c == '{') {
      ++depth;
    } else if (c == ']' || c == '}') {
      if (depth-- == 0) return at;
    } else if (c == ',' && depth == 0) {
      return at;
    }
  }
  return at;
}

std::string_view trim_json(std::string_view text) {
  constexpr std::string_view kSpace = " \t\r\n";
  auto const begin = text.find_first_not_of(kSpace);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kSpace) - begin + 1);
}

}  // namespace

int band_of(std::int64_t priority) {
  auto const clamped = static_cast<int>(std::clamp<std::int64_t>(priority, 0, 9));
  int band = kBands.front();
  for (int const step : kBands) band = step <= clamped ? step : band;
  return band;
}

std::string list_name(std::string_view queue, int band) {
  std::string name(queue);
  if (band == 0) return name;
  name.append(kSeparator);
  return name + std::to_string(band);
}

std::int64_t celery_priority(std::int64_t ours) {
  if (ours >= priority::kCritical) return 0;
  if (ours >= priority::kHigh) return 3;
  if (ours >= priority::kNormal) return 6;
  return 9;
}

std::int64_t our_priority(std::int64_t celerys) {
  switch (band_of(celerys)) {
    case 0: return priority::kCritical;
    case 3: return priority::kHigh;
    case 6: return priority::kNormal;
    default: return priority::kLow;
  }
}

std::string binding_key(std::string_view exchange) {
  return "_kombu.binding." + std::string(exchange);
}

std::string binding_member(std::string_view routing_key, std::string_view queue) {
  std::string member(routing_key);
  member.append(kSeparator).append(kSeparator).append(queue);
  return member;
}

namespace {

constexpr std::string_view kAgain = ":again-";

// Of a text that is written as an id of ours is.
std::optional<Uuid> own_uuid(std::string_view task_id) {
  auto const is_upper = [](char c) { return c >= 'A' && c <= 'F'; };
  if (task_id.size() != Uuid::kTextBytes || std::ranges::any_of(task_id, is_upper)) {
    return std::nullopt;
  }
  return Uuid::parse(task_id);
}

}  // namespace

std::string_view id_of_first_run(std::string_view task_id) {
  if (!task_id.contains(kAgain.front())) return task_id;
  constexpr std::size_t kDigitsMax = 9;
  auto const at = task_id.rfind(kAgain);
  if (at == std::string_view::npos || at == 0) return task_id;
  auto const run = task_id.substr(at + kAgain.size());
  bool const is_one = !run.empty() && run.size() <= kDigitsMax &&
                      run.find_first_not_of("0123456789") == std::string_view::npos;
  return is_one ? task_id.substr(0, at) : task_id;
}

std::string result_key(std::string_view task_id) {
  return "celery-task-meta-" + std::string(task_id);
}

bool is_uuid(std::string_view task_id) { return own_uuid(task_id).has_value(); }

std::string id_of_next_run(std::string_view task_id) {
  auto const first = id_of_first_run(task_id);
  std::int64_t run = 1;
  if (first.size() < task_id.size()) {
    run += parse_number<std::int64_t>(task_id.substr(first.size() + kAgain.size())).value_or(0);
  }
  return std::string(first).append(kAgain).append(std::to_string(run));
}

Uuid uuid_of(std::string_view task_id) {
  task_id = id_of_first_run(task_id);
  if (auto const id = own_uuid(task_id)) return *id;
  std::array<std::uint8_t, EVP_MAX_MD_SIZE> digest{};
  unsigned length = 0;
  ::EVP_Digest(task_id.data(), task_id.size(), digest.data(), &length, ::EVP_sha256(), nullptr);
  std::array<std::uint64_t, 2> halves{};
  std::memcpy(halves.data(), digest.data(), sizeof halves);
  return Uuid::derived(halves[0], halves[1]);
}

std::string naive_time_text(Timestamp at) {
  auto text = at.to_string();
  text.pop_back();
  return text;
}

std::string time_text(Timestamp at) { return naive_time_text(at) + "+00:00"; }

std::string python_repr(json::value const& value) {
  std::string out;
  append_repr(out, value);
  return shortened(out, kReprBytesMax);
}

std::string python_tuple_repr(json::value const& list) {
  auto const* const items = list.if_array();
  if (items == nullptr) return python_repr(list);
  std::string out = "(";
  append_items(out, *items);
  out.append(items->size() == 1 ? ",)" : ")");
  return shortened(out, kReprBytesMax);
}

std::optional<std::vector<std::string_view>> split_list_text(std::string_view list) {
  list = trim_json(list);
  if (!list.starts_with('[')) return std::nullopt;
  std::vector<std::string_view> elements;
  std::size_t at = 1;
  while (at < list.size()) {
    auto const end = end_of_value(list, at);
    auto const element = trim_json(list.substr(at, end - at));
    if (!element.empty()) elements.push_back(element);
    at = end + 1;
  }
  return elements;
}

std::string write_letter(Letter const& letter) {
  std::string out;
  out.reserve(letter.body.size() * 4 / 3 + letter.headers.size() + 320);
  JsonWriter json(out);
  json.begin_object();
  json.member("body", base64_encode(letter.body));
  json.member("content-encoding", "utf-8");
  json.member("content-type", "application/json");
  json.member_raw("headers", letter.headers);
  json.key("properties");
  json.begin_object();
  json.member("delivery_mode", letter.delivery_mode);
  json.key("delivery_info");
  json.begin_object();
  json.member("exchange", letter.exchange);
  json.member("routing_key", letter.routing_key);
  json.end_object();
  json.member("priority", 0);
  json.member("body_encoding", "base64");
  json.member("delivery_tag", Uuid::random());
  json.end_object();
  json.end_object();
  return out;
}

std::optional<OpenedLetter> open_letter(std::string_view text) {
  boost::system::error_code error;
  auto const value = describe::parse_json(text, error);
  auto const* const envelope = value.if_object();
  if (error || envelope == nullptr) return std::nullopt;
  OpenedLetter letter;
  auto const body = describe::text_member(*envelope, "body");
  auto const* const properties = envelope->if_contains("properties");
  bool const plain = properties == nullptr || !properties->is_object() ||
                     describe::text_member(properties->get_object(), "body_encoding") != "base64";
  if (plain) {
    letter.body = body;
  } else {
    auto decoded = base64_decode(body);
    if (!decoded) return std::nullopt;
    letter.body = *std::move(decoded);
  }
  auto const* const headers = envelope->if_contains("headers");
  letter.headers = headers != nullptr ? describe::json_text(*headers) : "{}";
  return letter;
}

}  // namespace subforge::jobs::celery
