// What people look at in a browser: the API's document, its two readers, and the first page.
#pragma once

#include <vector>

#include "api/root.hpp"
#include "http/route.hpp"

namespace subforge::api {

// /app with its files and, unless they are switched off, /docs and /redoc with theirs. The pages
// are open to all; what they load from the API needs the usual rights.
[[nodiscard]] http::Routes page_routes(ServerInfo const& info);

// /openapi.json, made once from all the rows given; no rows at all if documents are switched off.
[[nodiscard]] http::Routes openapi_routes(ServerInfo const& info,
                                          std::vector<http::Route> const& rows);

}  // namespace subforge::api
