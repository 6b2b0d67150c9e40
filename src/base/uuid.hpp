// UUIDs (RFC 9562) as 16-byte values: compared, hashed and stored as bytes, written as text.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <cstring>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "base/time.hpp"

namespace subforge {

struct Uuid {
  std::array<std::uint8_t, 16> bytes{};

  static constexpr std::size_t kTextBytes = 36;

  [[nodiscard]] static Uuid random();  // Version 4, from the kernel's generator.
  // Version 7: begins with the time, so that ids made one after the other lie beside each other in
  // an index; the rest is from the kernel's generator.
  [[nodiscard]] static Uuid ordered(Timestamp now);
  // A version 4 shaped id that depends on nothing but the two numbers, for naming a thing the
  // same way on every machine and every time.
  [[nodiscard]] static Uuid derived(std::uint64_t high, std::uint64_t low);
  // Accepts the 8-4-4-4-12 form and 32 plain digits, in either case.
  [[nodiscard]] static std::optional<Uuid> parse(std::string_view text);

  [[nodiscard]] std::string to_string() const;
  void append_to(std::string& out) const;
  [[nodiscard]] std::string_view as_blob() const {
    return {reinterpret_cast<char const*>(bytes.data()), bytes.size()};
  }
  [[nodiscard]] static Uuid from_blob(std::string_view blob) {
    Uuid id;
    if (blob.size() == id.bytes.size()) std::memcpy(id.bytes.data(), blob.data(), blob.size());
    return id;
  }

  friend auto operator<=>(Uuid const&, Uuid const&) = default;
};

}  // namespace subforge

template <>
struct std::hash<subforge::Uuid> {
  std::size_t operator()(subforge::Uuid const& id) const noexcept {
    std::size_t value = 0;
    std::memcpy(&value, id.bytes.data(), sizeof value);
    return value;
  }
};
