// API keys: random secrets of which only the hash is kept. Making and revoking one is a change like
// any other, told through the event log, so that a running server learns of it at once whichever
// process did it.
#pragma once

#include <string>
#include <vector>

#include <boost/json/object.hpp>

#include "auth/digest.hpp"
#include "auth/principal.hpp"
#include "runtime/task.hpp"
#include "store/store.hpp"

namespace subforge::auth {

inline constexpr std::string_view kKeyPrefix = "sf_";
inline constexpr std::size_t kKeyNameBytesMax = 200;  // Of the user's name as well.
inline constexpr std::int64_t kKeyLifeDaysMax = 36'500;
inline constexpr std::int64_t kKeysMax = 10'000;  // Not revoked; the server holds them all.
inline constexpr std::string_view kKeyCreated = "auth.key_created";
inline constexpr std::string_view kKeyRevoked = "auth.key_revoked";

struct ApiKey {
  Uuid id;
  std::string name;
  Digest secret_hash{};
  Role role = Role::viewer;
  std::string user;
  Timestamp created_at;
  std::optional<Timestamp> expires_at;
  std::optional<Timestamp> revoked_at;
};

struct NewKey {
  std::string name;
  Role role = Role::viewer;
  std::string user = {};  // Empty: the name.
  std::optional<std::int64_t> expires_days = {};
};

// The token to hand out; it is never shown again. Errors: conflict if the name is or was taken,
// invalid if a name is not a line of text or the life too long, too_large beyond kKeysMax.
[[nodiscard]] Task<Result<std::string>> create_key(store::Store& store, NewKey wanted);
[[nodiscard]] Task<Result<std::vector<ApiKey>>> list_keys(store::Store& store);
// Error: not_found if there is no live key of that name.
[[nodiscard]] Task<Result<void>> revoke_key(store::Store& store, std::string name);

// The payload of kKeyCreated, and back.
[[nodiscard]] std::string key_payload(ApiKey const& key);
[[nodiscard]] std::optional<ApiKey> key_from_payload(boost::json::object const& payload);

// The secret JWTs are signed with: the one configured, or one made at random and kept with the
// data.
[[nodiscard]] Task<Result<std::string>> signing_secret(store::Store& store, std::string configured);

}  // namespace subforge::auth
