// The workflows of version 2, with their steps: its route table.
#pragma once

#include "domain/workflows/workflows.hpp"
#include "http/route.hpp"

namespace subforge::api {

[[nodiscard]] http::Routes workflows_v2(domain::Workflows& workflows);

}  // namespace subforge::api
