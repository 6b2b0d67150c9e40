#include "auth/principal.hpp"

namespace subforge::auth {

std::string_view role_name(Role role) {
  switch (role) {
    case Role::viewer: return "viewer";
    case Role::operator_role: return "operator";
    case Role::admin: return "admin";
  }
  return "viewer";
}

std::optional<Role> parse_role(std::string_view name) {
  for (auto const role : {Role::viewer, Role::operator_role, Role::admin}) {
    if (name == role_name(role)) return role;
  }
  return std::nullopt;
}

std::vector<std::string> Principal::permissions() const {
  std::vector<std::string> names{"read"};
  if (may_write()) names.emplace_back("write");
  if (may_administrate()) names.emplace_back("admin");
  return names;
}

}  // namespace subforge::auth
