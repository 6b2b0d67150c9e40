#include "builtin/arguments.hpp"

#include "describe/parse_json.hpp"

namespace subforge::builtin {

Arguments::Arguments(jobs::JobContext const& context) {
  // The queue has seen to it that these are a list and an object.
  places_ = describe::parse_json(context.args()).as_array();
  names_ = describe::parse_json(context.kwargs()).as_object();
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

}  // namespace subforge::builtin
