#include "builtin/arguments.hpp"

#include <algorithm>

#include "describe/exact_json.hpp"

namespace subforge::builtin {

Arguments::Arguments(jobs::Job const& job, LongIntegers long_integers) {
  auto const parse = [long_integers](std::string_view text) {
    boost::system::error_code error;
    return long_integers == LongIntegers::kept ? describe::parse_exact_json(text, error)
                                               : describe::parse_json(text, error);
  };
  // The queue has seen to it that these are a list and an object.
  places_ = parse(job.args.text).as_array();
  names_ = parse(job.kwargs.text).as_object();
}

boost::json::value const* Arguments::find(std::size_t place, std::string_view name) const {
  if (place < places_.size()) return &places_[place];
  return names_.if_contains(name);
}

Result<std::string> Arguments::text(std::size_t place, std::string_view name,
                                    std::optional<std::string> fallback) const {
  auto const* const value = find(place, name);
  if (value == nullptr && fallback) return std::move(*fallback);
  if (value == nullptr) {
    return fail(ErrorCode::invalid, "The argument " + std::string(name) + " is missing");
  }
  if (auto const* const text = value->if_string()) return std::string(*text);
  return fail(ErrorCode::invalid, "The argument " + std::string(name) + " must be a text");
}

Result<std::vector<std::string>> Arguments::texts(std::size_t place, std::string_view name) const {
  auto const* const value = find(place, name);
  auto const wrong =
      fail(ErrorCode::invalid, "The argument " + std::string(name) + " must be a list of texts");
  if (value == nullptr || !value->is_array()) return wrong;
  std::vector<std::string> texts;
  for (auto const& item : value->get_array()) {
    auto const* const text = item.if_string();
    if (text == nullptr) return wrong;
    if (std::ranges::find(texts, std::string_view(*text)) == texts.end()) texts.emplace_back(*text);
  }
  return texts;
}

}  // namespace subforge::builtin
