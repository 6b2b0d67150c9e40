// What a client requires of a record before it is changed or deleted: that it still is the version
// that the client has seen (If-Match, RFC 9110 section 13.1.1).
//
// It has to be checked inside the write's transaction, against the row that was read there; before
// it, another write could come in between. To use it for a record that has a version:
//
//   route     .conditional = true                       // reads the field, documents it and 412
//   handler   tasks.update(id, body, actor, condition_of(request))
//   write     if (auto met = condition.check(task->version); !met) co_return ...
//
// and answer with `response.etag = etag_of(task.version)`, so that clients have something to send.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include "base/result.hpp"

namespace subforge {

class Precondition {
 public:
  Precondition() = default;  // Requires nothing.

  // From the field's value: "*", or a list of entity tags; an empty one requires nothing.
  [[nodiscard]] static Precondition if_match(std::string_view field) {
    Precondition condition;
    condition.tags_ = field;
    return condition;
  }

  // Error: stale, unless the record's version is one of those listed. Tags are compared strongly:
  // weak ones match nothing. What stands behind the version says in which form an answer showed
  // it ("7-gzip"), or that it shows more besides ("7-5f2e", any hexadecimal digits).
  [[nodiscard]] Result<void> check(std::int64_t version) const;

 private:
  std::string tags_;
};

}  // namespace subforge
