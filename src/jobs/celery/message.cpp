#include "jobs/celery/message.hpp"

#include <algorithm>
#include <array>

#include <boost/json/monotonic_resource.hpp>
#include <boost/json/value.hpp>

#include "base/json_writer.hpp"
#include "base/text.hpp"
#include "describe/exact_json.hpp"
#include "describe/json_text.hpp"
#include "jobs/celery/json_members.hpp"
#include "jobs/celery/plain_json.hpp"
#include "jobs/celery/python_json.hpp"

namespace subforge::jobs::celery {
namespace {

namespace json = boost::json;
using celery::array_member;
using celery::object_member;
using describe::text_member;

// Deeper than this Python does not read either, and nothing here recurses deeper.
constexpr std::size_t kDepthMax = describe::kOwnDocumentDepthMax;

constexpr std::int64_t kRetriesMax = 1'000'000'000;

json::value parse(std::string_view text, bool& good, json::storage_ptr storage = {}) {
  boost::system::error_code error;
  describe::JsonLimits limits;
  limits.depth_max = kDepthMax;
  auto value = describe::parse_exact_json(text, error, limits, std::move(storage));
  good = !error;
  return value;
}

// Where a message is taken apart: what is kept of it is copied out.
class Workbench {
 public:
  [[nodiscard]] json::storage_ptr storage() { return &memory_; }

 private:
  std::array<unsigned char, 8'192> first_;
  json::monotonic_resource memory_{first_.data(), first_.size()};
};

json::object const& object_in(json::object const& of, std::string_view name) {
  static json::object const kNone;
  auto const* const value = of.if_contains(name);
  return value != nullptr && value->is_object() ? value->get_object() : kNone;
}

// What is taken out of a message is taken in the same way from plain JSON and from values of the
// parser: the templates are for both.
PlainParts object_in(PlainParts const& of, std::string_view name) {
  auto const* const value = of.if_contains(name);
  return value != nullptr && value->is_object() ? value->get_object() : PlainParts();
}

std::string_view text_member(PlainParts const& of, std::string_view name) {
  auto const* const value = of.if_contains(name);
  return value != nullptr && value->is_string() ? value->get_string() : std::string_view();
}

// A value in memory of its own.
json::value copy_of(json::key_value_pair const& member) {
  return json::value(member.value(), json::storage_ptr());
}
json::value copy_of(PlainValue const& value) {
  bool good = false;
  return parse(value.text(), good);
}

json::array array_member(PlainParts const& of, std::string_view name) {
  auto const* const value = of.if_contains(name);
  if (value == nullptr || !value->is_array()) return {};
  return copy_of(*value).get_array();
}

json::object object_member(PlainParts const& of, std::string_view name) {
  auto const* const value = of.if_contains(name);
  if (value == nullptr || !value->is_object()) return {};
  return copy_of(*value).get_object();
}

template <class Object>
std::optional<std::int64_t> integer_member(Object const& of, std::string_view name) {
  auto const* const value = of.if_contains(name);
  if (value == nullptr) return std::nullopt;
  if (auto const number = value->if_int64()) return *number;
  return std::nullopt;
}

template <class Value>
std::optional<double> seconds_of(Value const& value) {
  if (!value.is_number()) return std::nullopt;
  auto const seconds = value.template to_number<double>();
  return seconds > 0 ? std::optional(seconds) : std::nullopt;
}

// False if something is there that is no time.
template <class Object>
bool take_time(Object const& headers, std::string_view name, std::optional<Timestamp>& time) {
  auto const* const value = headers.if_contains(name);
  if (value == nullptr || value->is_null()) return true;
  if (!value->is_string()) return false;
  time = Timestamp::parse(std::string_view(value->get_string()));
  return time.has_value();
}

void set_fault(ReadMessage& read, std::string_view type, std::string_view text,
               std::string_view module = "builtins") {
  if (!read.fault) read.fault = exception(type, text, module);
}

template <class Object>
void take_headers(Object const& headers, ReadMessage& read) {
  auto& message = read.message;
  message.id = text_member(headers, "id");
  message.task = text_member(headers, "task");
  message.root_id = text_member(headers, "root_id");
  message.parent_id = text_member(headers, "parent_id");
  message.group = text_member(headers, "group");
  message.group_index = integer_member(headers, "group_index");
  message.origin = text_member(headers, "origin");
  message.retries =
      std::clamp<std::int64_t>(integer_member(headers, "retries").value_or(0), 0, kRetriesMax);
  auto const* const ignore = headers.if_contains("ignore_result");
  message.ignore_result = ignore != nullptr && ignore->is_bool() && ignore->get_bool();
  auto const* const again = headers.if_contains("redelivered");
  message.redelivered = again != nullptr && again->is_bool() && again->get_bool();
  auto const* const limits = headers.if_contains("timelimit");
  if (limits != nullptr && limits->is_array()) {
    auto const& both = limits->get_array();
    if (!both.empty()) message.hard_limit = seconds_of(both[0]);
    if (both.size() > 1) message.soft_limit = seconds_of(both[1]);
  }
  if (message.id.empty()) set_fault(read, "ValueError", "the message has no id");
  if (message.task.empty()) set_fault(read, "ValueError", "the message names no task");
  if (!take_time(headers, "eta", message.eta)) set_fault(read, "ValueError", "eta is no time");
  if (!take_time(headers, "expires", message.expires)) {
    set_fault(read, "ValueError", "expires is no time");
  }
}

template <class Object>
void take_properties(Object const& properties, ReadMessage& read) {
  auto& message = read.message;
  message.priority = integer_member(properties, "priority").value_or(0);
  message.reply_to = text_member(properties, "reply_to");
  message.delivery_tag = text_member(properties, "delivery_tag");
  auto const& info = object_in(properties, "delivery_info");
  message.exchange = text_member(info, "exchange");
  message.routing_key = text_member(info, "routing_key");
  message.queue = message.routing_key;
}

// Headers that are written from the message's own members, in the order in which Celery writes
// them; others are carried as they are.
constexpr std::array<std::string_view, 18> kOwnHeaders = {
    "lang",     "task",        "id",      "shadow",        "eta",         "expires",
    "group",    "group_index", "retries", "timelimit",     "root_id",     "parent_id",
    "argsrepr", "kwargsrepr",  "origin",  "ignore_result", "redelivered", "compression"};

template <class Object>
void take_other_headers(Object const& headers, TaskMessage& message) {
  message.shadow = text_member(headers, "shadow");
  for (auto const& header : headers) {
    auto const name = std::string_view(header.key());
    if (std::ranges::find(kOwnHeaders, name) != kOwnHeaders.end()) continue;
    message.headers.emplace(name, copy_of(header));
  }
}

// The text of the body; nothing if it cannot be had.
template <class Object>
std::optional<std::string> body_text(Object const& envelope, ReadMessage& read) {
  auto const* const body = envelope.if_contains("body");
  if (body == nullptr || !body->is_string()) {
    set_fault(read, "DecodeError", "the message has no body", "kombu.exceptions");
    return std::nullopt;
  }
  auto const type = text_member(envelope, "content-type");
  if (type == kTooLarge) {
    set_fault(read, "ValueError", "the message is too large: args and kwargs take 256 KiB at most");
    return std::nullopt;
  }
  if (type != "application/json" && type != "application/x-json") {
    auto const text = "content of type '" + std::string(type) + "' is not accepted, only JSON";
    set_fault(read, "ContentDisallowed", text, "kombu.exceptions");
    return std::nullopt;
  }
  if (!text_member(object_in(envelope, "headers"), "compression").empty()) {
    set_fault(read, "DecodeError", "compressed messages are not accepted", "kombu.exceptions");
    return std::nullopt;
  }
  auto const text = std::string_view(body->get_string());
  auto const& properties = object_in(envelope, "properties");
  if (text_member(properties, "body_encoding") != "base64") return std::string(text);
  auto decoded = base64_decode(text);
  if (!decoded) set_fault(read, "DecodeError", "the body is not base64", "kombu.exceptions");
  return decoded;
}

std::string_view no_body() { return "the body is not [args, kwargs, embed]"; }

// [args, kwargs, embed]; the texts are those of the first two.
template <class List>
void take_parts(List const& list, std::string_view args, std::string_view kwargs,
                ReadMessage& read) {
  if (!list[0].is_array()) return set_fault(read, "TypeError", "args is not a list");
  if (!list[1].is_object()) return set_fault(read, "TypeError", "kwargs is not an object");
  auto& message = read.message;
  message.args = args;
  message.kwargs = kwargs;
  if (list[2].is_null()) return;
  if (!list[2].is_object()) return set_fault(read, "ValueError", "embed is not an object");
  auto const& embed = list[2].get_object();
  message.callbacks = array_member(embed, "callbacks");
  message.errbacks = array_member(embed, "errbacks");
  message.chain = array_member(embed, "chain");
  message.chord = object_member(embed, "chord");
}

void take_body(std::string_view text, ReadMessage& read) {
  constexpr int kPlainLevels = 2;  // What follows the task is looked for within the third part.
  PlainJson plain;
  if (auto const* const body = plain.read(text, kPlainLevels); body && body->is_array()) {
    auto const list = body->get_array();
    if (list.size() != 3) return set_fault(read, "ValueError", no_body());
    return take_parts(list, list[0].text(), list[1].text(), read);
  }
  bool good = false;
  Workbench bench;
  auto const value = parse(text, good, bench.storage());
  auto const* const body = value.if_array();
  if (!good) return set_fault(read, "DecodeError", "the body is not JSON", "kombu.exceptions");
  if (body == nullptr || body->size() != 3) return set_fault(read, "ValueError", no_body());
  auto const parts = split_list_text(text);
  take_parts(*body, (*parts)[0], (*parts)[1], read);
}

template <class Object>
void take_protocol_2(Object const& envelope, ReadMessage& read) {
  auto const& headers = object_in(envelope, "headers");
  take_headers(headers, read);
  take_other_headers(headers, read.message);
  auto const body = body_text(envelope, read);
  if (body) take_body(*body, read);
}

// {"task", "id", "args", "kwargs", "retries", "eta", ...}: everything is in the body.
bool take_protocol_1(std::string_view text, json::object const& properties, ReadMessage& read) {
  bool good = false;
  Workbench bench;
  auto const value = parse(text, good, bench.storage());
  auto const* const body = value.if_object();
  if (!good || body == nullptr || text_member(*body, "task").empty()) return false;
  ReadMessage fresh;
  take_headers(*body, fresh);
  take_properties(properties, fresh);
  auto& message = fresh.message;
  message.group = text_member(*body, "taskset");
  message.callbacks = array_member(*body, "callbacks");
  message.errbacks = array_member(*body, "errbacks");
  message.chain = array_member(*body, "chain");
  message.chord = object_member(*body, "chord");
  auto const* const args = body->if_contains("args");
  auto const* const kwargs = body->if_contains("kwargs");
  if (args != nullptr && args->is_array()) {
    message.args = describe::json_text(*args);
  } else if (args != nullptr && !args->is_null()) {
    set_fault(fresh, "TypeError", "args is not a list");
  }
  if (kwargs != nullptr && kwargs->is_object()) {
    message.kwargs = describe::json_text(*kwargs);
  } else if (kwargs != nullptr && !kwargs->is_null()) {
    set_fault(fresh, "TypeError", "kwargs is not an object");
  }
  read = std::move(fresh);
  return true;
}

void write_time(JsonWriter& out, std::string_view name, std::optional<Timestamp> const& at) {
  at ? out.member(name, time_text(*at)) : out.member_null(name);
}

void write_seconds(JsonWriter& out, std::optional<double> const& seconds) {
  if (!seconds) return out.null();
  auto const whole = static_cast<std::int64_t>(*seconds);
  static_cast<double>(whole) == *seconds ? out.integer(whole) : out.number(*seconds);
}

json::value value_of(std::string_view text) {
  bool good = false;
  return parse(text, good);
}

void write_headers(JsonWriter& out, TaskMessage const& message, WriteOptions options) {
  out.begin_object();
  out.member("lang", "cpp");
  out.member("task", message.task);
  out.member("id", message.id);
  text_or_null(out, "shadow", message.shadow);
  write_time(out, "eta", message.eta);
  write_time(out, "expires", message.expires);
  text_or_null(out, "group", message.group);
  out.key("group_index");
  message.group_index ? out.integer(*message.group_index) : out.null();
  out.member("retries", message.retries);
  out.key("timelimit");
  out.begin_array();
  write_seconds(out, message.hard_limit);
  write_seconds(out, message.soft_limit);
  out.end_array();
  out.member("root_id", message.root_id.empty() ? message.id : message.root_id);
  text_or_null(out, "parent_id", message.parent_id);
  out.member("argsrepr", python_tuple_repr(value_of(message.args)));
  out.member("kwargsrepr", python_repr(value_of(message.kwargs)));
  out.member("origin", message.origin);
  out.member("ignore_result", message.ignore_result);
  for (auto const& header : message.headers) {
    out.member_raw(std::string_view(header.key()), describe::json_text(header.value()));
  }
  if (options.stamps) {
    if (!message.headers.contains("replaced_task_nesting")) out.member("replaced_task_nesting", 0);
    if (!message.headers.contains("stamped_headers")) out.member_null("stamped_headers");
    if (!message.headers.contains("stamps")) out.member_raw("stamps", "{}");
  }
  out.end_object();
}

void write_properties(JsonWriter& out, TaskMessage const& message) {
  out.begin_object();
  out.member("correlation_id", message.id);
  out.member("reply_to", message.reply_to);
  if (message.expires) {
    auto const left_us =
        std::max<std::int64_t>(message.expires->micros - Timestamp::now().micros, 0);
    out.member("expiration", std::to_string(left_us / 1'000));
  }
  out.member("delivery_mode", 2);
  out.key("delivery_info");
  out.begin_object();
  out.member("exchange", "");
  out.member("routing_key", message.queue);
  out.end_object();
  out.member("priority", message.priority);
  out.member("body_encoding", "base64");
  auto const& tag = message.delivery_tag;
  out.member("delivery_tag", tag.empty() ? Uuid::random().to_string() : tag);
  out.end_object();
}

void write_signatures(JsonWriter& out, std::string_view name, json::array const& list) {
  list.empty() ? out.member_null(name)
               : out.member_raw(name, describe::json_text(json::value(list)));
}

std::string write_body(TaskMessage const& message) {
  std::string body;
  JsonWriter out(body);
  out.begin_array();
  out.raw(message.args);
  out.raw(message.kwargs);
  out.begin_object();
  write_signatures(out, "callbacks", message.callbacks);
  write_signatures(out, "errbacks", message.errbacks);
  write_signatures(out, "chain", message.chain);
  message.chord.empty() ? out.member_null("chord")
                        : out.member_raw("chord", describe::json_text(message.chord));
  out.end_object();
  out.end_array();
  return body;
}

// The arguments of a signature behind the result that it is given.
std::string arguments_of(json::object const& signature, std::optional<std::string_view> result) {
  auto const* const immutable = signature.if_contains("immutable");
  bool const given =
      result && (immutable == nullptr || !immutable->is_bool() || !immutable->get_bool());
  auto const args = array_member(signature, "args");
  std::string out;
  JsonWriter writer(out);
  writer.begin_array();
  if (given) writer.raw(*result);
  for (auto const& argument : args) writer.raw(describe::json_text(argument));
  writer.end_array();
  return out;
}

void take_options(json::object const& options, TaskMessage& message) {
  message.reply_to = text_member(options, "reply_to");
  if (auto const queue = text_member(options, "queue"); !queue.empty()) message.queue = queue;
  message.priority = integer_member(options, "priority").value_or(message.priority);
  message.group = text_member(options, "group_id");
  message.group_index = integer_member(options, "group_index");
  message.chord = object_member(options, "chord");
  // One link may stand without a list around it.
  auto const links = [&options](std::string_view name) {
    auto const* const value = options.if_contains(name);
    if (value == nullptr || value->is_null()) return json::array{};
    return value->is_array() ? value->get_array() : json::array{*value};
  };
  message.callbacks = links("link");
  message.errbacks = links("link_error");
  auto const seconds = [&options](std::string_view name) -> std::optional<double> {
    auto const* const value = options.if_contains(name);
    return value != nullptr ? seconds_of(*value) : std::nullopt;
  };
  message.hard_limit = seconds("time_limit");
  message.soft_limit = seconds("soft_time_limit");
  auto const now = Timestamp::now();
  auto const in = [&](std::string_view name) -> std::optional<Timestamp> {
    auto const* const value = options.if_contains(name);
    if (value == nullptr) return std::nullopt;
    if (value->is_string()) return Timestamp::parse(std::string_view(value->get_string()));
    constexpr double kSecondsMax = 1e9;
    if (!value->is_number()) return std::nullopt;
    auto const wait = std::clamp(value->to_number<double>(), -kSecondsMax, kSecondsMax);
    return Timestamp{now.micros + static_cast<std::int64_t>(wait * 1e6)};
  };
  message.eta = in("countdown");
  if (!message.eta) message.eta = in("eta");
  message.expires = in("expires");
  auto const* const ignore = options.if_contains("ignore_result");
  message.ignore_result = ignore != nullptr && ignore->is_bool() && ignore->get_bool();
}

}  // namespace

Exception exception(std::string_view type, std::string_view text, std::string_view module) {
  return {std::string(type), "[" + json_string(text) + "]", std::string(module)};
}

ReadMessage read_message(std::string_view text) {
  constexpr int kPlainLevels = 3;  // Down to what tells where it was sent to.
  ReadMessage read;
  PlainJson plain;
  if (auto const* const whole = plain.read(text, kPlainLevels); whole && whole->is_object()) {
    auto const envelope = whole->get_object();
    if (object_in(envelope, "headers").contains("task")) {
      take_properties(object_in(envelope, "properties"), read);
      take_protocol_2(envelope, read);
      return read;
    }
  }
  bool good = false;
  Workbench bench;
  auto value = parse(text, good, bench.storage());
  // What Celery shows people of the arguments is as Python writes it.
  if (!good) value = parse(standard_json(text), good, bench.storage());
  if (!good || !value.is_object()) {
    set_fault(read, "DecodeError", "the element is not a JSON object", "kombu.exceptions");
    return read;
  }
  auto const& envelope = value.get_object();
  auto const& headers = object_in(envelope, "headers");
  auto const& properties = object_in(envelope, "properties");
  take_properties(properties, read);
  if (!headers.contains("task")) {
    ReadMessage probe = read;
    auto const body = body_text(envelope, probe);
    if (body && take_protocol_1(*body, properties, read)) return read;
  }
  take_protocol_2(envelope, read);
  return read;
}

std::string write_message(TaskMessage const& message, WriteOptions options) {
  auto const body = write_body(message);
  std::string text;
  text.reserve(body.size() * 4 / 3 + 1'200);
  JsonWriter out(text);
  out.begin_object();
  out.member("body", base64_encode(body));
  out.member("content-encoding", "utf-8");
  out.member("content-type", "application/json");
  out.key("headers");
  write_headers(out, message, options);
  out.key("properties");
  write_properties(out, message);
  out.end_object();
  return text;
}

json::object const* stamps_of(TaskMessage const& message) {
  auto const* const found = message.headers.if_contains("stamps");
  auto const* const stamps = found == nullptr ? nullptr : found->if_object();
  return stamps == nullptr || stamps->empty() ? nullptr : stamps;
}

TaskMessage next_try(TaskMessage const& message, std::optional<Timestamp> eta) {
  auto next = message;
  ++next.retries;
  next.eta = eta;
  next.parent_id = message.id;
  next.delivery_tag.clear();
  next.redelivered = false;
  return next;
}

Result<TaskMessage> message_of(json::object const& signature, TaskMessage const& parent,
                               std::optional<std::string_view> result,
                               std::string_view default_queue) {
  TaskMessage message;
  message.task = text_member(signature, "task");
  if (message.task.empty()) return fail(ErrorCode::invalid, "A signature names no task");
  if (message.task == "celery.chain" || message.task == "celery.group" ||
      message.task == "celery.chord" || message.task.starts_with("celery.chunks") ||
      message.task == "celery.map" || message.task == "celery.starmap") {
    return fail(ErrorCode::invalid, message.task +
                                        " is no task that can be sent: only a worker in Python "
                                        "can expand it");
  }
  message.queue = default_queue;
  auto const options = object_member(signature, "options");
  take_options(options, message);
  message.id = text_member(options, "task_id");
  if (message.id.empty()) message.id = Uuid::random().to_string();
  message.args = arguments_of(signature, result);
  message.kwargs = describe::json_text(object_member(signature, "kwargs"));
  message.root_id = parent.root_id.empty() ? parent.id : parent.root_id;
  message.parent_id = parent.id;
  return message;
}

}  // namespace subforge::jobs::celery
