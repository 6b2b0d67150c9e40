// What is asked of the texts that come with a job, and how others are made fit to be kept.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.hpp"

namespace subforge::jobs {

// The members of both JSON objects; of two with one name that of `over`.
[[nodiscard]] std::string merged_objects(std::string_view object, std::string_view over);
// As every database takes it, and no longer than that many bytes.
[[nodiscard]] std::string clean_text(std::string_view text, std::size_t bytes_max);

// Whether these are JSON of the right kind and not too long. Errors: invalid, too_large.
[[nodiscard]] Result<void> check_payload(std::string_view args, std::string_view kwargs,
                                         std::string_view metadata, std::size_t bytes_max);
// Errors: invalid.
[[nodiscard]] Result<void> check_queue_name(std::string_view name);
[[nodiscard]] Result<void> check_priority(std::int64_t priority);
[[nodiscard]] Result<void> check_retries(std::int64_t max_retries);
// A name of a job or a queue: printable, without spaces, as file names and keys of Redis like it.
[[nodiscard]] Result<void> check_job_name(std::string_view name);

}  // namespace subforge::jobs
