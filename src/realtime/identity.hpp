// Who is at the other end of a socket, and the port through which realtime asks.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"

namespace subforge::auth {
struct Principal;
}

namespace subforge::realtime {

struct Identity {
  std::string user;
  std::vector<std::string> permissions;
  bool can_read = false;
  bool can_write = false;
  bool is_admin = false;
  std::shared_ptr<auth::Principal const> principal;
};

class Gate {
 public:
  // Error: unauthorized, with a sentence.
  virtual Result<Identity> identify(std::string_view token) = 0;
  // False once its key was revoked, its token expired, or credentials came to be required.
  virtual bool still_valid(Identity const& identity) = 0;

 protected:
  ~Gate() = default;
};

}  // namespace subforge::realtime
