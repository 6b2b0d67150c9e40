// How an authenticated caller looks to realtime.
#pragma once

#include "auth/authenticator.hpp"
#include "realtime/identity.hpp"

namespace subforge::api {

[[nodiscard]] realtime::Identity identity_of(auth::PrincipalPtr const& principal);

// The door of the sockets, kept by the authenticator.
class SocketGate final : public realtime::Gate {
 public:
  explicit SocketGate(auth::Authenticator& authenticator) : authenticator_(authenticator) {}
  Result<realtime::Identity> identify(std::string_view token) override;
  bool still_valid(realtime::Identity const& identity) override;

 private:
  auth::Authenticator& authenticator_;
};

}  // namespace subforge::api
