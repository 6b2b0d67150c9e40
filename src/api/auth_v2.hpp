// Exchanging an API key for a short-lived token.
#pragma once

#include "auth/authenticator.hpp"
#include "http/route.hpp"

namespace subforge::api {

[[nodiscard]] http::Routes auth_v2(auth::Authenticator& authenticator);

}  // namespace subforge::api
