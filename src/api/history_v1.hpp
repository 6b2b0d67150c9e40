// The history of version 1: its route table, under both prefixes the contract knows.
#pragma once

#include "domain/history/history.hpp"
#include "http/route.hpp"

namespace subforge::api {

[[nodiscard]] http::Routes history_v1(domain::History& history);

}  // namespace subforge::api
