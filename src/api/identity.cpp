#include "api/identity.hpp"

namespace subforge::api {

realtime::Identity identity_of(auth::PrincipalPtr const& principal) {
  realtime::Identity identity;
  identity.user = principal->id;
  identity.permissions = principal->permissions();
  identity.can_read = principal->may_read();
  identity.can_write = principal->may_write();
  identity.is_admin = principal->may_administrate();
  identity.principal = principal;
  return identity;
}

Result<realtime::Identity> SocketGate::identify(std::string_view token) {
  auto principal = authenticator_.authenticate_token(token);
  if (!principal) return std::unexpected(principal.error());
  return identity_of(*principal);
}

bool SocketGate::still_valid(realtime::Identity const& identity) {
  return identity.principal != nullptr && authenticator_.still_valid(*identity.principal);
}

}  // namespace subforge::api
