// What people look at in a browser: the documents of the API and of the live protocols, readers of
// the first, and the first page.
#pragma once

#include <vector>

#include "api/root.hpp"
#include "http/route.hpp"
#include "realtime/asyncapi.hpp"

namespace subforge::api {

// /app with its files and, unless they are switched off, /docs and /redoc with theirs. The pages
// are open to all; what they load from the API needs the usual rights.
[[nodiscard]] http::Routes page_routes(ServerInfo const& info);

// /openapi.json and /asyncapi.json, made once from all the rows given; no rows at all if documents
// are switched off.
[[nodiscard]] http::Routes document_routes(ServerInfo const& info,
                                           std::vector<http::Route> const& rows,
                                           realtime::ProtocolAddresses const& addresses,
                                           realtime::Projections const& projections);

}  // namespace subforge::api
