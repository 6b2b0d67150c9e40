// The agents of version 2: its route table.
#pragma once

#include "domain/agents/agents.hpp"
#include "http/route.hpp"
#include "runtime/blocking_pool.hpp"

namespace subforge::api {

// `pool` parses uploaded configurations off the event loop.
[[nodiscard]] http::Routes agents_v2(domain::Agents& agents, BlockingPool& pool);

}  // namespace subforge::api
