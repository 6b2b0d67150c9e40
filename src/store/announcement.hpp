// A text that one server tells the others at its database, which is kept nowhere: whoever is not
// there does not hear of it. It travels in notifications of PostgreSQL, each of which has less than
// 8,000 bytes.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/uuid.hpp"

namespace subforge::store {

// Each begins with the text's id and how many follow it: of two equal ones in a transaction
// PostgreSQL tells one.
[[nodiscard]] std::vector<std::string> announcement_pieces(Uuid const& id, std::string_view text);

// Puts texts together again. The pieces of one come in order, and no other's between them.
class AnnouncementReader {
 public:
  // The whole text with its last piece.
  [[nodiscard]] std::optional<std::string> add(std::string_view piece);

 private:
  std::string id_;
  std::size_t left_ = 0;
  std::string text_;
};

}  // namespace subforge::store
