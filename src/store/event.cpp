#include "store/event.hpp"

#include <boost/json/array.hpp>

#include "base/json_writer.hpp"
#include "describe/json_text.hpp"
#include "describe/parse_json.hpp"

namespace subforge::store {
namespace {

std::string_view name_of(Audience::To to) {
  switch (to) {
    case Audience::To::none: return "none";
    case Audience::To::all: return "all";
    case Audience::To::rooms: return "rooms";
    case Audience::To::user: return "user";
    case Audience::To::others: return "others";
  }
  return "none";
}

std::optional<Audience::To> kind_of(std::string_view name) {
  for (auto const to : {Audience::To::none, Audience::To::all, Audience::To::rooms,
                        Audience::To::user, Audience::To::others}) {
    if (name == name_of(to)) return to;
  }
  return std::nullopt;
}

// Texts with escapes too.
std::optional<std::vector<std::string>> parse_texts(std::string_view list) {
  boost::system::error_code error;
  auto const value = describe::parse_json(list, error);
  if (error || !value.is_array()) return std::nullopt;
  std::vector<std::string> texts;
  for (auto const& item : value.get_array()) {
    if (!item.is_string()) return std::nullopt;
    texts.emplace_back(std::string_view(item.get_string()));
  }
  return texts;
}

}  // namespace

std::string Audience::to_text() const {
  std::string text;
  JsonWriter json(text);
  json.begin_array();
  json.string(name_of(to));
  if (to == To::user || to == To::others) json.string(user);
  for (auto const& room : rooms) json.string(room);
  json.end_array();
  return text;
}

std::optional<Audience> Audience::parse(std::string_view text) {
  auto parts = describe::parse_plain_list(text);
  if (!parts) parts = parse_texts(text);
  if (!parts || parts->empty()) return std::nullopt;
  auto const to = kind_of(parts->front());
  if (!to) return std::nullopt;
  Audience audience;
  audience.to = *to;
  auto first_room = parts->begin() + 1;
  if (*to == To::user || *to == To::others) {
    if (first_room == parts->end()) return std::nullopt;
    audience.user = std::move(*first_room++);
  }
  audience.rooms.assign(std::make_move_iterator(first_room), std::make_move_iterator(parts->end()));
  return audience;
}

}  // namespace subforge::store
