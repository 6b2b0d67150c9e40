// Who a caller is and what they may do.
#pragma once

#include <array>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/time.hpp"
#include "base/uuid.hpp"

namespace subforge::auth {

// Each role has the rights of those before it.
enum class Role : std::uint8_t {
  viewer,         // read
  operator_role,  // read, write
  admin,          // read, write, admin
};

[[nodiscard]] std::string_view role_name(Role role);
[[nodiscard]] std::optional<Role> parse_role(std::string_view name);

struct Principal {
  std::string id;  // Of the user; what records say about who did something.
  std::string username;
  Role role = Role::viewer;
  std::optional<Uuid> key_id;  // The key that proves it; none for the local administrator.
  std::optional<Timestamp> expires_at;

  [[nodiscard]] bool may_read() const { return true; }
  [[nodiscard]] bool may_write() const { return role != Role::viewer; }
  [[nodiscard]] bool may_administrate() const { return role == Role::admin; }
  [[nodiscard]] std::vector<std::string> permissions() const;
  [[nodiscard]] bool expired(Timestamp now) const { return expires_at && *expires_at <= now; }
};

using PrincipalPtr = std::shared_ptr<Principal const>;

}  // namespace subforge::auth
