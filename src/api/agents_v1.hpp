// The agents of version 1: its route table.
#pragma once

#include "domain/agents/agents.hpp"
#include "http/route.hpp"

namespace subforge::api {

[[nodiscard]] http::Routes agents_v1(domain::Agents& agents);

}  // namespace subforge::api
