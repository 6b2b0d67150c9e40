#include "auth/api_keys.hpp"

#include <algorithm>
#include <cstring>

#include <boost/json/value.hpp>

#include "base/json_writer.hpp"
#include "base/random.hpp"
#include "base/text.hpp"
#include "base/utf8.hpp"

namespace subforge::auth {
namespace {

constexpr std::size_t kSecretBytes = 32;
constexpr std::int64_t kDayMicros = 86'400'000'000;

std::string_view as_text(Digest const& digest) {
  return {reinterpret_cast<char const*>(digest.data()), digest.size()};
}

Digest digest_from(std::string_view bytes) {
  Digest digest{};
  if (bytes.size() == digest.size()) std::memcpy(digest.data(), bytes.data(), bytes.size());
  return digest;
}

ApiKey key_from_row(store::Row const& row) {
  ApiKey key;
  key.id = row.uuid(0);
  key.name = row.text(1);
  key.secret_hash = digest_from(row.blob(2));
  key.role = parse_role(row.text(3)).value_or(Role::viewer);
  key.user = row.text(4);
  key.created_at = row.timestamp(5);
  if (!row.is_null(6)) key.expires_at = row.timestamp(6);
  if (!row.is_null(7)) key.revoked_at = row.timestamp(7);
  return key;
}

std::optional<std::string> text_of(boost::json::object const& object, char const* name) {
  auto const* value = object.if_contains(name);
  if (value == nullptr || !value->is_string()) return std::nullopt;
  return std::string(std::string_view(value->get_string()));
}

// Names stand in lists, logs and claims, where control characters could forge what is not there.
Result<void> check_name(std::string_view what, std::string_view name) {
  bool const good = !name.empty() && name.size() <= kKeyNameBytesMax && is_valid_utf8(name) &&
                    std::ranges::none_of(name, [](char c) {
                      return static_cast<unsigned char>(c) < ' ' || c == '\x7f';
                    });
  if (good) return {};
  return fail(ErrorCode::invalid, "The " + std::string(what) +
                                      " must be one line of text of 1 to " +
                                      std::to_string(kKeyNameBytesMax) + " bytes");
}

Result<void> check(NewKey const& wanted) {
  if (auto good = check_name("name of a key", wanted.name); !good) return good;
  if (auto good = check_name("user of a key", wanted.user); !good) return good;
  auto const days = wanted.expires_days.value_or(0);
  if (days > kKeyLifeDaysMax || days < -kKeyLifeDaysMax) {
    return fail(ErrorCode::invalid,
                "A key can live for " + std::to_string(kKeyLifeDaysMax) + " days at most");
  }
  return {};
}

Task<Result<void>> check_room(store::Transaction& transaction) {
  std::int64_t live = 0;
  auto const counted =
      co_await transaction.query("SELECT count(*) FROM api_keys WHERE revoked_at IS NULL", {},
                                 [&](store::Row const& row) { live = row.integer(0); });
  if (!counted) co_return std::unexpected(counted.error());
  if (live < kKeysMax) co_return {};
  co_return fail(ErrorCode::too_large, "There are " + std::to_string(live) +
                                           " keys, and there can be no more; revoke some");
}

// What people copy from an example and forget to change.
bool is_placeholder(std::string_view secret) {
  return secret.empty() || secret.starts_with("your-secret-key") ||
         secret.find("change-in-production") != std::string_view::npos ||
         secret.find("change-me") != std::string_view::npos;
}

}  // namespace

std::string key_payload(ApiKey const& key) {
  std::string text;
  JsonWriter json(text);
  json.begin_object();
  json.member("id", key.id);
  json.member("name", key.name);
  json.member("role", role_name(key.role));
  json.member("user", key.user);
  json.member("secret_hash", base64url_encode(key.secret_hash));
  if (key.expires_at) json.member("expires_at", *key.expires_at);
  json.end_object();
  return text;
}

std::optional<ApiKey> key_from_payload(boost::json::object const& payload) {
  ApiKey key;
  auto const id = Uuid::parse(text_of(payload, "id").value_or(""));
  auto const role = parse_role(text_of(payload, "role").value_or(""));
  auto const hash = base64url_decode(text_of(payload, "secret_hash").value_or(""));
  if (!id || !role || !hash || hash->size() != key.secret_hash.size()) return std::nullopt;
  key.id = *id;
  key.role = *role;
  key.name = text_of(payload, "name").value_or("");
  key.user = text_of(payload, "user").value_or("");
  std::ranges::copy(*hash, key.secret_hash.begin());
  if (auto const expires = text_of(payload, "expires_at")) {
    key.expires_at = Timestamp::parse(*expires);
  }
  return key;
}

Task<Result<std::string>> create_key(store::Store& store, NewKey wanted) {
  if (wanted.user.empty()) wanted.user = wanted.name;
  if (auto good = check(wanted); !good) co_return std::unexpected(good.error());
  auto const token = std::string(kKeyPrefix) + random_token(kSecretBytes);
  auto insert = [&token, &wanted](store::Transaction& transaction) -> Task<Result<std::string>> {
    auto const room = co_await check_room(transaction);
    if (!room) co_return std::unexpected(room.error());
    ApiKey key;
    key.id = Uuid::random();
    key.name = wanted.name;
    key.secret_hash = sha256(token);
    key.role = wanted.role;
    key.user = wanted.user;
    key.created_at = transaction.now();
    if (wanted.expires_days) {
      key.expires_at = Timestamp{key.created_at.micros + *wanted.expires_days * kDayMicros};
    }
    auto const inserted = co_await transaction.execute(
        "INSERT INTO api_keys (id, name, secret_hash, role, \"user\", created_at, expires_at)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7)",
        {key.id, key.name, store::Value::blob(as_text(key.secret_hash)), role_name(key.role),
         key.user, key.created_at, key.expires_at});
    if (!inserted && inserted.error().code == ErrorCode::conflict) {
      co_return fail(ErrorCode::conflict, "A key named '" + key.name +
                                              "' exists, or did before it was revoked; choose"
                                              " another name");
    }
    if (!inserted) co_return std::unexpected(inserted.error());
    store::Event event;
    event.kind = kKeyCreated;
    event.subject = "key:" + key.id.to_string();
    event.payload = key_payload(key);
    auto const published = co_await transaction.publish(std::move(event));
    if (!published) co_return std::unexpected(published.error());
    co_return token;
  };
  co_return co_await store.write(std::move(insert));
}

Task<Result<std::vector<ApiKey>>> list_keys(store::Store& store) {
  auto read = [](store::Session& session) -> Task<Result<std::vector<ApiKey>>> {
    std::vector<ApiKey> keys;
    auto const done = co_await session.query(
        "SELECT id, name, secret_hash, role, \"user\", created_at, expires_at, revoked_at"
        " FROM api_keys ORDER BY created_at, name",
        {}, [&](store::Row const& row) { keys.push_back(key_from_row(row)); });
    if (!done) co_return std::unexpected(done.error());
    co_return keys;
  };
  co_return co_await store.read(store::ReadCost::scan, std::move(read));
}

Task<Result<void>> revoke_key(store::Store& store, std::string name) {
  auto revoke = [&name](store::Transaction& transaction) -> Task<Result<void>> {
    std::optional<Uuid> id;
    auto const found =
        co_await transaction.query("SELECT id FROM api_keys WHERE name = $1 AND revoked_at IS NULL",
                                   {name}, [&](store::Row const& row) { id = row.uuid(0); });
    if (!found) co_return std::unexpected(found.error());
    if (!id) co_return fail(ErrorCode::not_found, "There is no live key named '" + name + "'");
    auto const updated = co_await transaction.execute(
        "UPDATE api_keys SET revoked_at = $1 WHERE id = $2", {transaction.now(), *id});
    if (!updated) co_return std::unexpected(updated.error());
    store::Event event;
    event.kind = kKeyRevoked;
    event.subject = "key:" + id->to_string();
    event.payload = "{\"id\":\"" + id->to_string() + "\"}";
    auto const published = co_await transaction.publish(std::move(event));
    if (!published) co_return std::unexpected(published.error());
    co_return {};
  };
  co_return co_await store.write(std::move(revoke));
}

Task<Result<std::string>> signing_secret(store::Store& store, std::string configured) {
  if (!is_placeholder(configured)) co_return configured;
  auto keep = [](store::Transaction& transaction) -> Task<Result<std::string>> {
    auto const made = random_token(kSecretBytes);
    std::string kept;
    auto const inserted = co_await transaction.execute(
        "INSERT INTO meta (key, value) VALUES ('secret_key', $1) ON CONFLICT (key) DO NOTHING",
        {made});
    if (!inserted) co_return std::unexpected(inserted.error());
    auto const read =
        co_await transaction.query("SELECT value FROM meta WHERE key = 'secret_key'", {},
                                   [&](store::Row const& row) { kept = row.text(0); });
    if (!read) co_return std::unexpected(read.error());
    co_return kept;
  };
  co_return co_await store.write(std::move(keep));
}

}  // namespace subforge::auth
