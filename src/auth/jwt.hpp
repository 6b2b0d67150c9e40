// JSON Web Tokens (RFC 7519) signed with HS256 (RFC 7515, RFC 7518 section 3.2), and nothing else:
// a token that names another algorithm is refused.
#pragma once

#include <string>
#include <string_view>

#include "auth/principal.hpp"
#include "base/result.hpp"

namespace subforge::auth {

inline constexpr std::size_t kJwtBytesMax = 4096;

// `principal` must have a key and an expiry.
[[nodiscard]] std::string sign_jwt(Principal const& principal, Timestamp now,
                                   std::string_view secret);
// Error: unauthorized. Whether the key it was made with is still good is for the caller to check.
[[nodiscard]] Result<Principal> verify_jwt(std::string_view token, Timestamp now,
                                           std::string_view secret);

}  // namespace subforge::auth
