// The present state of all records in one piece, for viewers whom the log cannot tell everything
// they missed any more.
#pragma once

#include "realtime/catch_up.hpp"

namespace subforge::domain {

class PresentState final : public realtime::PresentState {
 public:
  // Of each kind of record the newest are shown; where there are more, their list is told.
  static constexpr std::int64_t kRecordsMax = 200;
  // So that all of them together are a message as others are.
  static constexpr std::size_t kBytesMax = 256U << 10;

  // {"agents": {"items": [...], "complete": true, "list": "/api/v2/agents"}, "tasks": ...,
  // "workflows": ...}; records as version 2 shows them.
  Task<Result<std::string>> read(store::Session& session) override;
};

}  // namespace subforge::domain
