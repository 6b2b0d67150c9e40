// /api/v1/tasks: the route table and its handlers (contract, rest-v1.md section 4).
#pragma once

#include "domain/tasks/tasks.hpp"
#include "http/route.hpp"

namespace subforge::api {

[[nodiscard]] http::Routes tasks_v1(domain::Tasks& tasks);

}  // namespace subforge::api
