// How long random tests go on: in every run for seconds, with SUBFORGE_TEST_SIZE=full for longer.
#pragma once

#include <cstdlib>
#include <string_view>

namespace subforge {

[[nodiscard]] inline bool tests_are_full() {
  // lint: allow(environment): how long a test goes on is no setting of the server.
  auto const* const size = std::getenv("SUBFORGE_TEST_SIZE");
  return size != nullptr && std::string_view(size) == "full";
}

}  // namespace subforge
