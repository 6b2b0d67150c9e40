#include "store/announcement.hpp"

#include <algorithm>
#include <utility>

#include "base/text.hpp"

namespace subforge::store {
namespace {

constexpr std::size_t kPieceBytesMax = 7'900;
constexpr std::size_t kIdBytes = 36;

// The length of the longest beginning that ends no character in its middle.
std::size_t piece_of(std::string_view text) {
  if (text.size() <= kPieceBytesMax) return text.size();
  auto end = kPieceBytesMax;
  while (end > kPieceBytesMax - 4 && (static_cast<unsigned char>(text[end]) & 0xC0U) == 0x80U)
    --end;
  return end;
}

}  // namespace

std::vector<std::string> announcement_pieces(Uuid const& id, std::string_view text) {
  std::vector<std::string_view> parts;
  do {
    parts.push_back(text.substr(0, piece_of(text)));
    text.remove_prefix(parts.back().size());
  } while (!text.empty());
  std::vector<std::string> pieces;
  for (auto left = parts.size(); auto const part : parts) {
    pieces.push_back(id.to_string() + ' ' + std::to_string(--left) + ' ');
    pieces.back() += part;
  }
  return pieces;
}

std::optional<std::string> AnnouncementReader::add(std::string_view piece) {
  if (piece.size() <= kIdBytes) return std::nullopt;
  auto const id = piece.substr(0, kIdBytes);
  auto const end = piece.find(' ', kIdBytes + 1);
  if (piece[kIdBytes] != ' ' || end == std::string_view::npos) return std::nullopt;
  auto const left = parse_number<std::size_t>(piece.substr(kIdBytes + 1, end - kIdBytes - 1));
  if (!left) return std::nullopt;
  if (id != id_) {
    id_ = id;
    text_.clear();
  } else if (*left + 1 != left_) {
    return std::nullopt;
  }
  left_ = *left;
  text_ += piece.substr(end + 1);
  if (left_ > 0) return std::nullopt;
  return std::exchange(text_, {});
}

}  // namespace subforge::store
