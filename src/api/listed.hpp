// Lists of version 1: up to 10,000 records, which are sent in pieces as they are read where they
// are many, so that no answer is held whole in memory. A service has list(), list_part() and
// end_of_page() for its filter, and its records have write_json().
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "api/cursor.hpp"
#include "base/json_writer.hpp"
#include "http/request.hpp"
#include "http/response.hpp"
#include "store/listing.hpp"

namespace subforge::api {

inline constexpr std::int64_t kListLimitMax = 10'000;
inline constexpr std::int64_t kStreamedBeyond = 500;
inline constexpr std::int64_t kStreamedPiece = 250;

template <class Rows>
void write_rows(std::string& out, Rows const& rows, describe::Api api) {
  JsonWriter json(out);
  json.begin_array();
  for (auto const& row : rows) write_json(json, row, api);
  json.end_array();
}

// The answer that one page of a list is.
template <class Record>
http::Response page_response(http::Request const& request, store::Page<Record> const& page,
                             describe::Api api) {
  http::Response response;
  write_rows(response.body, page.rows, api);
  add_page_fields(response, request, {page.total, page.total_capped}, page.next);
  return response;
}

// A long list as a body that is made while it is sent.
template <class Service, class Filter>
class ListStream final : public net::BodySource {
 public:
  ListStream(Service& service, Filter filter)
      : service_(service), filter_(std::move(filter)), left_(filter_.limit) {}

  Task<Result<bool>> next(std::string& out) override {
    filter_.limit = std::min(left_, kStreamedPiece);
    auto const piece = co_await service_.list_part(filter_);
    if (!piece) co_return std::unexpected(piece.error());
    filter_.skip = 0;  // The first piece went past it.
    filter_.after = piece->next;
    left_ -= static_cast<std::int64_t>(piece->rows.size());
    for (auto const& row : piece->rows) {
      out.push_back(std::exchange(begun_, true) ? ',' : '[');
      JsonWriter json(out);
      write_json(json, row, describe::Api::v1);
    }
    bool const more = left_ > 0 && piece->next;
    if (!more) out.append(begun_ ? "]" : "[]");
    co_return more;
  }

 private:
  Service& service_;
  Filter filter_;
  std::int64_t left_;
  bool begun_ = false;
};

// The answer to GET of a list; `filter` has everything but what the cursor says.
template <class Service, class Filter>
Task<http::Response> listed(Service& service, http::Request const& request, Filter filter) {
  auto after = read_cursor(request);
  if (!after) co_return std::move(after.error());
  filter.after = std::move(*after);
  auto first = filter;
  first.limit = std::min(filter.limit, kStreamedBeyond);
  auto const page = co_await service.list(std::move(first));
  if (!page) co_return http::Response::from(page.error());
  http::Response response;
  auto next = page->next;
  if (next && filter.limit > kStreamedBeyond) {
    auto const end = co_await service.end_of_page(filter);
    if (!end) co_return http::Response::from(end.error());
    next = *end;
    // So that page and Link fit together, whatever is deleted while the page is sent.
    if (next) filter.until = next->seq;
    response.stream = std::make_unique<ListStream<Service, Filter>>(service, std::move(filter));
  } else {
    write_rows(response.body, page->rows, describe::Api::v1);
  }
  add_page_fields(response, request, {page->total, page->total_capped}, next);
  co_return response;
}

}  // namespace subforge::api
