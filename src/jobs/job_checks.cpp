#include "jobs/job_checks.hpp"

#include <algorithm>
#include <array>

#include <boost/json/object.hpp>

#include "base/utf8.hpp"
#include "describe/json_text.hpp"
#include "describe/parse_json.hpp"
#include "jobs/job.hpp"

namespace subforge::jobs {
namespace {

bool is_object(std::string_view text) {
  if (text == "{}") return true;
  boost::system::error_code error;
  return describe::parse_json(text, error).is_object() && !error;
}

bool is_list(std::string_view text) {
  if (text == "[]") return true;
  boost::system::error_code error;
  return describe::parse_json(text, error).is_array() && !error;
}

// A name of a job or a queue: printable, without spaces, as file names and keys of Redis like it.
bool is_name(std::string_view text, std::size_t bytes_max) {
  return !text.empty() && text.size() <= bytes_max && is_valid_utf8(text) &&
         std::ranges::none_of(text, [](unsigned char c) { return c <= ' ' || c == 0x7f; });
}

// Keys that Celery, its transport and this program keep in the Redis in which a queue is a list of
// its name: whoever made a list of one would bring all of them to a stop.
bool is_reserved_key(std::string_view name) {
  constexpr std::array<std::string_view, 3> kNames = {"unacked", "unacked_index", "unacked_mutex"};
  constexpr std::array<std::string_view, 4> kBegins = {"_kombu.", "celery-task-meta-",
                                                       "celery-taskset-meta-", "subforge."};
  return std::ranges::find(kNames, name) != kNames.end() || name.ends_with("celery.pidbox") ||
         std::ranges::any_of(kBegins, [name](auto begin) { return name.starts_with(begin); });
}

constexpr std::size_t kNameBytesMax = 200;
constexpr std::int64_t kRetriesMax = 1'000;

}  // namespace

std::string merged_objects(std::string_view object, std::string_view over) {
  if (over.empty() || over == "{}") return std::string(object);
  boost::system::error_code error;
  auto merged = describe::parse_json(object, error);
  if (error || !merged.is_object()) merged = boost::json::object();
  auto const added = describe::parse_json(over, error);
  if (error || !added.is_object()) return describe::json_text(merged);
  for (auto const& [name, value] : added.get_object()) merged.get_object()[name] = value;
  return describe::json_text(merged);
}

std::string clean_text(std::string_view text, std::size_t bytes_max) {
  if (text.size() > bytes_max) {
    while (bytes_max > 0 && (static_cast<unsigned char>(text[bytes_max]) & 0xc0) == 0x80) {
      --bytes_max;
    }
    text = text.substr(0, bytes_max);
  }
  std::string clean(text);
  std::ranges::replace(clean, '\0', ' ');
  if (!is_valid_utf8(clean)) {
    std::ranges::replace_if(
        clean, [](char c) { return static_cast<unsigned char>(c) > 0x7f; }, '?');
  }
  return clean;
}

Result<void> check_payload(std::string_view args, std::string_view kwargs,
                           std::string_view metadata, std::size_t bytes_max) {
  if (!is_list(args)) return fail(ErrorCode::invalid, "The arguments must be a JSON list");
  if (!is_object(kwargs)) {
    return fail(ErrorCode::invalid, "The named arguments must be a JSON object");
  }
  if (!is_object(metadata)) return fail(ErrorCode::invalid, "The metadata must be a JSON object");
  if (args.size() + kwargs.size() + metadata.size() <= bytes_max) return {};
  return fail(ErrorCode::too_large, "Arguments and metadata of a task take at most " +
                                        std::to_string(bytes_max) + " bytes");
}

Result<void> check_queue_name(std::string_view name) {
  if (!is_name(name, kNameBytesMax)) return fail(ErrorCode::invalid, "Invalid queue name");
  if (!is_reserved_key(name)) return {};
  return fail(ErrorCode::invalid, "The queue name is reserved for keys of Redis");
}

Result<void> check_priority(std::int64_t priority) {
  if (is_priority(priority)) return {};
  return fail(ErrorCode::invalid, "The priority must be 1, 5, 8 or 10");
}

Result<void> check_retries(std::int64_t max_retries) {
  if (max_retries >= 0 && max_retries <= kRetriesMax) return {};
  return fail(ErrorCode::invalid, "max_retries must be from 0 to " + std::to_string(kRetriesMax));
}

Result<void> check_job_name(std::string_view name) {
  if (is_name(name, kNameBytesMax)) return {};
  return fail(ErrorCode::invalid, "Invalid task name");
}

}  // namespace subforge::jobs
