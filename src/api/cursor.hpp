// Cursors: opaque texts that tell where the next page of a list begins, stable under records that
// come and go (docs/adr/0012-cursors.md). For a list whose domain side pages by store::Keyset:
//
//   route     .query = {..., cursor_parameter()}
//   handler   auto after = read_cursor(request);
//             if (!after) co_return std::move(after.error());
//             filter.after = *after;
//             ...
//             add_page_fields(response, request, {page.total, page.total_capped}, page.next);
#pragma once

#include <cstdint>
#include <expected>
#include <optional>
#include <string>

#include "http/request.hpp"
#include "http/response.hpp"
#include "http/route.hpp"
#include "store/listing.hpp"

namespace subforge::api {

[[nodiscard]] http::Parameter cursor_parameter();

// Where the page that is asked for begins; nothing without a cursor. 422 for a cursor that was
// edited, or was made for another list, filter or order, and for one together with `skip` or
// `offset`.
[[nodiscard]] std::expected<std::optional<store::Position>, http::Response> read_cursor(
    http::Request const& request);

// A Link to the next page (RFC 8288), where there is one.
void add_next_link(http::Response& response, http::Request const& request,
                   std::optional<store::Position> const& next);

// That, and the X-Total-Count family of a list (rest-v2.md section 1.5), for a route with `limit`
// and `skip` or `offset`. A page that a cursor led to has no number, hence no X-Current-Page.
void add_page_fields(http::Response& response, http::Request const& request, store::Total total,
                     std::optional<store::Position> const& next);

}  // namespace subforge::api
