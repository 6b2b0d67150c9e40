// The workflows of version 1: its route table.
#pragma once

#include "domain/tasks/tasks.hpp"
#include "domain/workflows/workflows.hpp"
#include "http/route.hpp"

namespace subforge::api {

[[nodiscard]] http::Routes workflows_v1(domain::Workflows& workflows, domain::Tasks& tasks);

}  // namespace subforge::api
