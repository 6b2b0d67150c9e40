#include "backup/chunks.hpp"

#include <array>
#include <bit>
#include <cstring>

#include <openssl/sha.h>

namespace subforge::backup {
namespace {

using store::Cell;
using store::Cells;
using Kind = store::Value::Kind;

constexpr int kGroupBits = 7;  // Of a number, in each of its bytes.
constexpr unsigned kMore = 0x80;
constexpr int kNumberBits = 64;

void append_number(std::string& to, std::uint64_t number) {
  for (; number >= kMore; number >>= kGroupBits) {
    to.push_back(static_cast<char>((number & (kMore - 1)) | kMore));
  }
  to.push_back(static_cast<char>(number));
}

// Numbers near zero are short, whatever their sign.
std::uint64_t folded(std::int64_t number) {
  return (static_cast<std::uint64_t>(number) << 1) ^ static_cast<std::uint64_t>(number >> 63);
}
std::int64_t unfolded(std::uint64_t number) {
  return static_cast<std::int64_t>((number >> 1) ^ (~(number & 1) + 1));
}

void append_cell(std::string& to, Cell const& cell) {
  to.push_back(static_cast<char>(cell.kind));
  switch (cell.kind) {
    case Kind::null: return;
    case Kind::integer: return append_number(to, folded(cell.integer));
    case Kind::real: {
      auto const bits = std::bit_cast<std::array<char, sizeof(double)>>(cell.real);
      to.append(bits.data(), bits.size());
      return;
    }
    case Kind::text:
    case Kind::blob:
      append_number(to, cell.bytes.size());
      to += cell.bytes;
      return;
  }
}

class Reader {
 public:
  explicit Reader(std::string_view bytes) : left_(bytes) {}

  [[nodiscard]] bool good() const { return good_; }
  [[nodiscard]] bool done() const { return left_.empty() || !good_; }

  Cell cell() {
    Cell cell;
    auto const kind = take(1);
    if (!good_) return cell;
    cell.kind = static_cast<Kind>(kind[0]);
    switch (cell.kind) {
      case Kind::null: break;
      case Kind::integer: cell.integer = unfolded(number()); break;
      case Kind::real: {
        auto const bits = take(sizeof(double));
        if (good_) std::memcpy(&cell.real, bits.data(), bits.size());
        break;
      }
      case Kind::text:
      case Kind::blob: cell.bytes = take(number()); break;
      default: good_ = false;
    }
    return cell;
  }

 private:
  std::string_view take(std::uint64_t count) {
    if (count > left_.size()) {
      good_ = false;
      return {};
    }
    auto const taken = left_.substr(0, count);
    left_.remove_prefix(count);
    return taken;
  }
  std::uint64_t number() {
    std::uint64_t number = 0;
    for (int shift = 0; shift < kNumberBits; shift += kGroupBits) {
      auto const byte = take(1);
      if (!good_) return 0;
      auto const bits = static_cast<unsigned char>(byte[0]);
      number |= static_cast<std::uint64_t>(bits & (kMore - 1)) << shift;
      if ((bits & kMore) == 0) return number;
    }
    good_ = false;
    return 0;
  }

  std::string_view left_;
  bool good_ = true;
};

// FNV-1a, whose low bits are mixed at the end.
std::uint64_t hash_of(std::string_view bytes) {
  std::uint64_t hash = 14695981039346656037U;
  for (auto const byte : bytes) {
    hash = (hash ^ static_cast<unsigned char>(byte)) * 1099511628211U;
  }
  return hash ^ (hash >> 32);
}

}  // namespace

std::string digest_of(std::string_view bytes) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::array<unsigned char, SHA256_DIGEST_LENGTH> hash{};
  ::SHA256(reinterpret_cast<unsigned char const*>(bytes.data()), bytes.size(), hash.data());
  std::string text;
  for (auto const byte : hash) {
    text.push_back(kDigits[byte >> 4U]);
    text.push_back(kDigits[byte & 0xfU]);
  }
  return text;
}

Result<void> RowChunker::add(Cells const& row) {
  for (auto const& cell : row) append_cell(bytes_, cell);
  if (bytes_.size() < kChunkBytesMin) return {};
  std::string key;
  for (auto const i : key_) append_cell(key, row[i]);
  bool const ends = hash_of(key) % kKeysPerChunk == 0 || bytes_.size() >= kChunkBytesMax;
  return ends ? cut() : Result<void>{};
}

Result<void> RowChunker::finish() { return bytes_.empty() ? Result<void>{} : cut(); }

Result<void> RowChunker::cut() {
  auto taken = take_(bytes_);
  bytes_.clear();
  return taken;
}

Result<std::vector<Cells>> rows_of(std::string_view chunk, std::size_t columns) {
  std::vector<Cells> rows;
  Reader reader(chunk);
  while (!reader.done()) {
    auto& row = rows.emplace_back();
    for (std::size_t i = 0; i < columns; ++i) row.push_back(reader.cell());
  }
  if (!reader.good()) return fail(ErrorCode::invalid, "A chunk of rows cannot be read");
  return rows;
}

}  // namespace subforge::backup
