// Finds out who a caller is. Knows all live keys in memory and follows the event log for changes.
#pragma once

#include <atomic>
#include <map>
#include <mutex>
#include <set>
#include <shared_mutex>
#include <string>
#include <string_view>

#include "auth/api_keys.hpp"
#include "auth/principal.hpp"
#include "store/store.hpp"

namespace subforge::auth {

enum class Mode : std::uint8_t {
  automatic,  // Local mode until the first key is made, then as required.
  required,   // Nobody without credentials.
  off,        // Everybody is the administrator.
};

struct IssuedToken {
  std::string token;
  std::int64_t expires_in_seconds = 0;
};

class Authenticator final : public store::LogFollower {
 public:
  Authenticator(Mode mode, std::int64_t token_minutes);

  // Reads the keys and the signing secret; the store must be open.
  [[nodiscard]] Task<Result<void>> load(store::Store& store, std::string configured_secret);

  // The value of an Authorization field; empty: none was sent. Error: unauthorized.
  [[nodiscard]] Result<PrincipalPtr> authenticate(std::string_view authorization) const;
  // A bare key or JWT.
  [[nodiscard]] Result<PrincipalPtr> authenticate_token(std::string_view token) const;
  // Exchanges an API key (not a JWT) for a short-lived JWT.
  [[nodiscard]] Result<IssuedToken> issue(std::string_view authorization) const;

  // False once the key was revoked, the token expired, or local mode ended.
  [[nodiscard]] bool still_valid(Principal const& principal) const;
  // Moves on whenever any outcome of authenticate() may have changed, but for expiry.
  [[nodiscard]] std::uint64_t version() const { return version_.load(std::memory_order_acquire); }
  [[nodiscard]] bool credentials_required() const {
    return required_.load(std::memory_order_acquire);
  }
  [[nodiscard]] bool any_key() const { return any_key_.load(std::memory_order_acquire); }

  void on_events(std::span<store::EventPtr const> events) override;

 private:
  void add(ApiKey const& key);
  void remove(Uuid const& id);
  // What the live key of this id proves; null if there is none.
  [[nodiscard]] PrincipalPtr owner_of(Uuid const& key_id) const;

  Mode const mode_;
  std::int64_t const token_minutes_;
  PrincipalPtr const local_;
  std::string secret_;
  std::atomic<bool> required_;
  std::atomic<bool> any_key_{false};
  std::atomic<std::uint64_t> version_{1};
  // Taken only for credentials that a connection did not show before: it remembers the outcome
  // until version() moves on.
  // lint: allow(locks): keys change rarely and are looked up by every loop and the log's thread.
  mutable std::shared_mutex mutex_;
  std::map<Digest, PrincipalPtr> by_hash_;
  std::map<Uuid, Digest> hashes_;
  // A revocation is final, also where news of the key itself come after it: what load() has read
  // may be older than what the log has told meanwhile.
  std::set<Uuid> revoked_;
};

// Whether the server may be started like this; else the sentence that says why not. What others can
// reach must not take everybody for the administrator, unless one says so. `any_key`: whether a key
// was ever made.
[[nodiscard]] Result<void> check_exposure(std::string const& host, Mode mode, bool any_key);

}  // namespace subforge::auth
