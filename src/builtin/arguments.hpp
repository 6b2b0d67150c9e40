// The arguments of a task, given by place or by name.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/value.hpp>

#include "base/result.hpp"
#include "jobs/worker.hpp"

namespace subforge::builtin {

class Arguments {
 public:
  // What is handed on keeps the digits of whole numbers beyond 64 bits; see
  // describe/exact_json.hpp.
  enum class LongIntegers : std::uint8_t { rounded, kept };

  explicit Arguments(jobs::Job const& job, LongIntegers long_integers = LongIntegers::rounded);
  explicit Arguments(jobs::JobContext const& context) : Arguments(context.job()) {}

  [[nodiscard]] boost::json::array const& places() const { return places_; }
  // Null if it was not given.
  [[nodiscard]] boost::json::value const* find(std::size_t place, std::string_view name) const;
  // Error: invalid, with a sentence, if it is no text, or missing without a fallback.
  [[nodiscard]] Result<std::string> text(std::size_t place, std::string_view name,
                                         std::optional<std::string> fallback = {}) const;
  // A list of texts, each once. Error: invalid, if it is none, or missing.
  [[nodiscard]] Result<std::vector<std::string>> texts(std::size_t place,
                                                       std::string_view name) const;

 private:
  boost::json::array places_;
  boost::json::object names_;
};

}  // namespace subforge::builtin
