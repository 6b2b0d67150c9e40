// What `subforge token create`, `list` and `revoke` do, once the store is open. They work beside a
// running server, which hears of each change through the event log. An error is one sentence for
// the person who typed the command.
#pragma once

#include <iosfwd>
#include <string>

#include "auth/api_keys.hpp"
#include "base/result.hpp"
#include "store/store.hpp"

namespace subforge::auth {

enum class ListForm : std::uint8_t { text, json };

// Prints the token, alone on its line. `role` is the name of one; a life of days is 1 at least.
[[nodiscard]] Result<void> create_command(store::Store& store, std::string const& role,
                                          NewKey wanted, std::ostream& out);
[[nodiscard]] Result<void> list_command(store::Store& store, ListForm form, std::ostream& out);
[[nodiscard]] Result<void> revoke_command(store::Store& store, std::string name, std::ostream& out);

}  // namespace subforge::auth
