// Events as they were read, kept close together for a short while: their texts lie in a few blocks
// of memory, and what an event costs beyond that is paid when it is its turn.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory_resource>
#include <string_view>
#include <vector>

#include "store/store.hpp"

namespace subforge::store {

class PackedEvents {
 public:
  void add(EventView event);
  [[nodiscard]] std::size_t size() const { return events_.size(); }
  [[nodiscard]] std::int64_t id(std::size_t index) const { return events_[index].id; }
  [[nodiscard]] Event at(std::size_t index) const { return event_of(events_[index]); }

 private:
  static constexpr std::size_t kFirstBlock = 32U << 10;
  [[nodiscard]] std::string_view kept(std::string_view text);

  std::pmr::monotonic_buffer_resource texts_{kFirstBlock};
  std::vector<EventView> events_;  // Of those texts.
};

}  // namespace subforge::store
