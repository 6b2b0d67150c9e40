#include "store/packed_events.hpp"

#include <algorithm>

namespace subforge::store {

std::string_view PackedEvents::kept(std::string_view text) {
  if (text.empty()) return {};
  auto* const copy = static_cast<char*>(texts_.allocate(text.size(), 1));
  std::ranges::copy(text, copy);
  return {copy, text.size()};
}

void PackedEvents::add(EventView event) {
  for (auto* const text : {&event.kind, &event.subject, &event.actor, &event.audience,
                           &event.correlation_id, &event.payload}) {
    *text = kept(*text);
  }
  events_.push_back(event);
}

}  // namespace subforge::store
