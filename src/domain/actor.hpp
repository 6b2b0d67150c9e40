// Who does something, as far as the records need to know.
#pragma once

#include <string>

namespace subforge::domain {

struct Actor {
  std::string user;  // Id; empty for the server itself.
};

}  // namespace subforge::domain
