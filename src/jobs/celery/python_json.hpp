// JSON as Python's own writer and reader have it, which is more than the standard allows.
#pragma once

#include <string>
#include <string_view>

namespace subforge::jobs::celery {

// The same as every reader of JSON takes it: NaN and the infinities are texts of these names, half
// of a surrogate pair is U+FFFD, what is no UTF-8 is a question mark, and what lies deeper than is
// read here is a text that says so. Text that is no JSON in Python's eyes either stays that.
[[nodiscard]] std::string standard_json(std::string_view python);

}  // namespace subforge::jobs::celery
