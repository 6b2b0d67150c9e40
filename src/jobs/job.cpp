#include "jobs/job.hpp"

#include "base/text.hpp"

namespace subforge::jobs {

using describe::Api;

bool is_priority(std::int64_t number) { return !priority_name(number).empty(); }

std::string_view priority_name(std::int64_t number) {
  for (auto const& [known, name] : priority::kNames) {
    if (known == number) return name;
  }
  return {};
}

std::optional<std::int64_t> priority_of(std::string_view text) {
  for (auto const& [number, name] : priority::kNames) {
    if (text == name) return number;
  }
  auto const number = parse_number<std::int64_t>(text);
  return number && is_priority(*number) ? number : std::nullopt;
}

void write_json(JsonWriter& json, Job const& job) { describe::write_record(json, job, Api::v2); }

std::string to_json(Job const& job) {
  std::string text;
  text.reserve(512);
  JsonWriter json(text);
  write_json(json, job);
  return text;
}

std::string detail_json(Job const& job) {
  std::string text;
  text.reserve(1024);
  JsonWriter json(text);
  describe::write_record(json, job, Api::v1);
  return text;
}

void job_schema(JsonWriter& json) { describe::write_schema<Job>(json, Api::v2); }
void job_detail_schema(JsonWriter& json) { describe::write_schema<Job>(json, Api::v1); }

}  // namespace subforge::jobs
