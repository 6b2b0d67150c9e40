// SHA-256 (FIPS 180-4) and HMAC-SHA-256 (RFC 2104), from OpenSSL.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace subforge::auth {

using Digest = std::array<std::uint8_t, 32>;

[[nodiscard]] Digest sha256(std::string_view bytes);
[[nodiscard]] Digest hmac_sha256(std::string_view key, std::string_view bytes);

}  // namespace subforge::auth
