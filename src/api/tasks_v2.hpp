// /api/v2/tasks: the route table and its handlers (contract, rest-v2.md section 3), with the item
// routes that any client expects beside them.
#pragma once

#include "domain/tasks/tasks.hpp"
#include "http/route.hpp"

namespace subforge::api {

[[nodiscard]] http::Routes tasks_v2(domain::Tasks& tasks);

}  // namespace subforge::api
