// The OpenAPI 3.1 document of the routes: everything in it that a row says comes from the row, and
// what the checks before the handler can answer is derived from it, so that neither can be
// forgotten.
#pragma once

#include <string>
#include <vector>

#include "http/route.hpp"

namespace subforge::http {

struct DocumentTag {
  std::string name;
  std::string description;
};

struct DocumentInfo {
  std::string title;
  std::string version;
  std::string description;
  std::string license_name;
  std::string license_url;
  // In the order in which they are shown; tags that only rows name follow, without a description.
  std::vector<DocumentTag> tags = {};
};

// The JSON text. Rows with in_document == false are left out; paths lose a trailing slash. Throws
// std::logic_error if two schemas of different meaning have one name, one names another that there
// is not, or a row in the document lacks a success to answer with: all of them are bugs.
[[nodiscard]] std::string openapi_document(DocumentInfo const& info,
                                           std::vector<Route> const& routes);

}  // namespace subforge::http
