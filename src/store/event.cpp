#include "store/event.hpp"

#include <boost/json/array.hpp>

#include "base/json_writer.hpp"
#include "describe/parse_json.hpp"

namespace subforge::store {
namespace {

std::string_view name_of(Audience::To to) {
  switch (to) {
    case Audience::To::none: return "none";
    case Audience::To::all: return "all";
    case Audience::To::rooms: return "rooms";
    case Audience::To::user: return "user";
  }
  return "none";
}

std::optional<Audience::To> kind_of(std::string_view name) {
  for (auto const to :
       {Audience::To::none, Audience::To::all, Audience::To::rooms, Audience::To::user}) {
    if (name == name_of(to)) return to;
  }
  return std::nullopt;
}

}  // namespace

std::string Audience::to_text() const {
  std::string text;
  JsonWriter json(text);
  json.begin_array();
  json.string(name_of(to));
  if (to == To::user) json.string(user);
  for (auto const& room : rooms) json.string(room);
  json.end_array();
  return text;
}

std::optional<Audience> Audience::parse(std::string_view text) {
  boost::system::error_code error;
  auto const value = describe::parse_json(text, error);
  if (error || !value.is_array()) return std::nullopt;
  auto const& parts = value.get_array();
  for (auto const& part : parts) {
    if (!part.is_string()) return std::nullopt;
  }
  if (parts.empty()) return std::nullopt;
  auto const to = kind_of(std::string_view(parts[0].get_string()));
  if (!to) return std::nullopt;
  Audience audience;
  audience.to = *to;
  for (std::size_t i = 1; i < parts.size(); ++i) {
    std::string_view const part = parts[i].get_string();
    if (*to == To::user) {
      audience.user = part;
    } else {
      audience.rooms.emplace_back(part);
    }
  }
  return audience;
}

}  // namespace subforge::store
