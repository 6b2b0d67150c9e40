#include "base/uuid.hpp"

#include "base/random.hpp"
#include "base/text.hpp"

namespace subforge {
namespace {

void mark_version_4(Uuid& id) {
  id.bytes[6] = static_cast<std::uint8_t>((id.bytes[6] & 0x0f) | 0x40);
  id.bytes[8] = static_cast<std::uint8_t>((id.bytes[8] & 0x3f) | 0x80);
}

std::uint64_t mix(std::uint64_t z) {
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
  return z ^ (z >> 31);
}

// What a hexadecimal digit is worth; below zero for all others.
constexpr auto kHexPlaces = [] {
  std::array<std::int8_t, 256> places{};
  for (int i = 0; i < 256; ++i) {
    places[static_cast<std::size_t>(i)] = static_cast<std::int8_t>(hex_value(static_cast<char>(i)));
  }
  return places;
}();

constexpr bool dash_follows(std::size_t byte) {
  return byte == 3 || byte == 5 || byte == 7 || byte == 9;
}

}  // namespace

Uuid Uuid::random() {
  Uuid id;
  secure_random(id.bytes);
  mark_version_4(id);
  return id;
}

Uuid Uuid::ordered(Timestamp now) {
  Uuid id;
  secure_random(id.bytes);
  // 48 bits of milliseconds, and where a random part could stand, the rest of the time.
  auto const millis = static_cast<std::uint64_t>(now.micros / 1'000);
  for (std::size_t i = 0; i < 6; ++i) {
    id.bytes[i] = static_cast<std::uint8_t>(millis >> (40 - 8 * i));
  }
  auto const fraction = static_cast<std::uint64_t>(now.micros % 1'000) * 4'096 / 1'000;
  id.bytes[6] = static_cast<std::uint8_t>(0x70 | (fraction >> 8));
  id.bytes[7] = static_cast<std::uint8_t>(fraction);
  id.bytes[8] = static_cast<std::uint8_t>((id.bytes[8] & 0x3f) | 0x80);
  return id;
}

Uuid Uuid::derived(std::uint64_t high, std::uint64_t low) {
  Uuid id;
  std::uint64_t const first = mix(high ^ mix(low + 0x9e3779b97f4a7c15ULL));
  std::uint64_t const second = mix(low ^ mix(high + 0xd1b54a32d192ed03ULL));
  std::memcpy(id.bytes.data(), &first, 8);
  std::memcpy(id.bytes.data() + 8, &second, 8);
  mark_version_4(id);
  return id;
}

std::optional<Uuid> Uuid::parse(std::string_view text) {
  bool const dashed = text.size() == kTextBytes;
  if (!dashed && text.size() != 32) return std::nullopt;
  auto const place = [text](std::size_t i) {
    return kHexPlaces[static_cast<std::uint8_t>(text[i])];
  };
  Uuid id;
  std::size_t at = 0;
  int wrong = 0;
  for (std::size_t i = 0; i < id.bytes.size(); ++i) {
    int const high = place(at);
    int const low = place(at + 1);
    wrong |= high | low;  // Below zero if one of them is.
    id.bytes[i] = static_cast<std::uint8_t>(high * 16 + low);
    at += 2;
    if (dashed && dash_follows(i) && text[at++] != '-') return std::nullopt;
  }
  if (wrong < 0) return std::nullopt;
  return id;
}

void Uuid::append_to(std::string& out) const {
  constexpr std::string_view kDigits = "0123456789abcdef";
  char text[kTextBytes];
  std::size_t at = 0;
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    text[at++] = kDigits[bytes[i] >> 4];
    text[at++] = kDigits[bytes[i] & 15];
    if (dash_follows(i)) text[at++] = '-';
  }
  out.append(text, sizeof text);
}

std::string Uuid::to_string() const {
  std::string out;
  append_to(out);
  return out;
}

}  // namespace subforge
