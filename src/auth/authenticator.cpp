#include "auth/authenticator.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>

#include "auth/jwt.hpp"
#include "base/text.hpp"
#include "describe/parse_json.hpp"

namespace subforge::auth {
namespace {

constexpr std::string_view kScheme = "bearer ";

// The token of a Bearer field (RFC 6750); another scheme counts as no credentials.
std::string_view bearer_token(std::string_view authorization) {
  if (authorization.size() <= kScheme.size()) return {};
  if (!equal_ignoring_case(authorization.substr(0, kScheme.size()), kScheme)) return {};
  return trim(authorization.substr(kScheme.size()));
}

PrincipalPtr principal_of(ApiKey const& key) {
  return std::make_shared<Principal const>(
      Principal{key.user, key.name, key.role, key.id, key.expires_at});
}

// Of addresses, and of the one name that always means this machine (RFC 6761 section 6.3). Any
// other name may lead anywhere, even one like 127.0.0.1.example.org.
bool is_loopback(std::string const& host) {
  in_addr v4{};
  if (::inet_pton(AF_INET, host.c_str(), &v4) == 1) {
    return (ntohl(v4.s_addr) >> 24) == IN_LOOPBACKNET;
  }
  in6_addr v6{};
  if (::inet_pton(AF_INET6, host.c_str(), &v6) == 1) return IN6_IS_ADDR_LOOPBACK(&v6);
  return equal_ignoring_case(host, "localhost");
}

}  // namespace

Authenticator::Authenticator(Mode mode, std::int64_t token_minutes)
    : mode_(mode),
      token_minutes_(token_minutes),
      local_(std::make_shared<Principal const>(
          Principal{"local", "local administrator", Role::admin, std::nullopt, std::nullopt})),
      required_(mode == Mode::required) {}

Task<Result<void>> Authenticator::load(store::Store& store, std::string configured_secret) {
  auto secret = co_await signing_secret(store, std::move(configured_secret));
  if (!secret) co_return std::unexpected(secret.error());
  secret_ = std::move(*secret);
  auto const keys = co_await list_keys(store);
  if (!keys) co_return std::unexpected(keys.error());
  for (auto const& key : *keys) {
    if (key.revoked_at) remove(key.id);
    add(key);
  }
  co_return {};
}

void Authenticator::add(ApiKey const& key) {
  std::unique_lock const lock(mutex_);
  if (!revoked_.contains(key.id)) {
    by_hash_[key.secret_hash] = principal_of(key);
    hashes_[key.id] = key.secret_hash;
  }
  // Once there was a key, local mode is over for good: revoking the last one must not open doors.
  any_key_.store(true, std::memory_order_release);
  if (mode_ == Mode::automatic) required_.store(true, std::memory_order_release);
  version_.fetch_add(1, std::memory_order_acq_rel);
}

void Authenticator::remove(Uuid const& id) {
  std::unique_lock const lock(mutex_);
  revoked_.insert(id);
  auto const hash = hashes_.find(id);
  if (hash == hashes_.end()) return;
  by_hash_.erase(hash->second);
  hashes_.erase(hash);
  version_.fetch_add(1, std::memory_order_acq_rel);
}

PrincipalPtr Authenticator::owner_of(Uuid const& key_id) const {
  std::shared_lock const lock(mutex_);
  auto const hash = hashes_.find(key_id);
  return hash == hashes_.end() ? nullptr : by_hash_.at(hash->second);
}

void Authenticator::on_events(std::span<store::EventPtr const> events) {
  for (auto const& event : events) {
    if (event->kind != kKeyCreated && event->kind != kKeyRevoked) continue;
    boost::system::error_code error;
    auto const payload = describe::parse_json(event->payload, error);
    if (error || !payload.is_object()) continue;
    if (event->kind == kKeyCreated) {
      if (auto const key = key_from_payload(payload.get_object())) add(*key);
    } else if (auto const id = Uuid::parse(event->subject.substr(event->subject.find(':') + 1))) {
      remove(*id);
    }
  }
}

Result<PrincipalPtr> Authenticator::authenticate(std::string_view authorization) const {
  auto const token = bearer_token(authorization);
  if (!token.empty()) return authenticate_token(token);
  if (credentials_required()) return fail(ErrorCode::unauthorized, "Authentication required");
  return local_;
}

Result<PrincipalPtr> Authenticator::authenticate_token(std::string_view token) const {
  auto const now = Timestamp::now();
  if (token.starts_with(kKeyPrefix)) {
    auto const hash = sha256(token);
    std::shared_lock const lock(mutex_);
    auto const found = by_hash_.find(hash);
    if (found == by_hash_.end()) {
      return fail(ErrorCode::unauthorized, "The API key is unknown or was revoked");
    }
    if (found->second->expired(now)) {
      return fail(ErrorCode::unauthorized, "The API key has expired");
    }
    return found->second;
  }
  auto principal = verify_jwt(token, now, secret_);
  if (!principal) return std::unexpected(principal.error());
  auto const owner = owner_of(*principal->key_id);
  if (owner == nullptr) {
    return fail(ErrorCode::unauthorized, "The API key of this token was revoked");
  }
  // We give no token a longer life than its key, but others may know the secret, too.
  if (owner->expired(now)) {
    return fail(ErrorCode::unauthorized, "The API key of this token has expired");
  }
  return std::make_shared<Principal const>(std::move(*principal));
}

Result<IssuedToken> Authenticator::issue(std::string_view authorization) const {
  auto const key = bearer_token(authorization);
  if (!key.starts_with(kKeyPrefix)) {
    return fail(ErrorCode::unauthorized, "Send an API key as the bearer token to exchange it");
  }
  auto const owner = authenticate_token(key);
  if (!owner) return std::unexpected(owner.error());
  auto const now = Timestamp::now();
  auto principal = **owner;
  Timestamp const expiry{now.micros + token_minutes_ * 60'000'000};
  // A token never outlives the key it was made with.
  principal.expires_at = principal.expires_at ? std::min(*principal.expires_at, expiry) : expiry;
  return IssuedToken{sign_jwt(principal, now, secret_),
                     (principal.expires_at->micros - now.micros) / 1'000'000};
}

bool Authenticator::still_valid(Principal const& principal) const {
  if (!principal.key_id) return !credentials_required();
  auto const now = Timestamp::now();
  if (principal.expired(now)) return false;
  auto const owner = owner_of(*principal.key_id);
  return owner != nullptr && !owner->expired(now);
}

Result<void> check_exposure(std::string const& host, Mode mode, bool any_key) {
  if (is_loopback(host) || any_key || mode != Mode::automatic) return {};
  return fail(ErrorCode::invalid,
              "HOST=" + host +
                  " can be reached from other machines and there is no API key yet: make one with"
                  " `subforge token create --name me --role admin`, or set AUTH=off to let"
                  " everybody in");
}

}  // namespace subforge::auth
