#include "auth/jwt.hpp"

#include <boost/json/object.hpp>

#include "auth/digest.hpp"
#include "base/json_writer.hpp"
#include "base/text.hpp"
#include "describe/parse_json.hpp"

namespace subforge::auth {
namespace {

constexpr std::int64_t kMicros = 1'000'000;

std::string encode(std::string_view text) {
  return base64url_encode({reinterpret_cast<std::uint8_t const*>(text.data()), text.size()});
}

std::unexpected<Error> refused() { return fail(ErrorCode::unauthorized, "The token is not valid"); }

std::optional<boost::json::object> decode_object(std::string_view part) {
  auto const bytes = base64url_decode(part);
  if (!bytes) return std::nullopt;
  boost::system::error_code error;
  auto value = describe::parse_json({reinterpret_cast<char const*>(bytes->data()), bytes->size()},
                                    error, {.depth_max = describe::kDocumentDepthMax});
  if (error || !value.is_object()) return std::nullopt;
  return std::move(value.get_object());
}

std::optional<std::string> text_claim(boost::json::object const& claims, std::string_view name) {
  auto const* value = claims.if_contains({name.data(), name.size()});
  if (value == nullptr || !value->is_string()) return std::nullopt;
  return std::string(std::string_view(value->get_string()));
}

}  // namespace

std::string sign_jwt(Principal const& principal, Timestamp now, std::string_view secret) {
  std::string claims;
  JsonWriter json(claims);
  json.begin_object();
  json.member("sub", principal.id);
  json.member("name", principal.username);
  json.member("role", role_name(principal.role));
  json.key("permissions");
  json.begin_array();
  for (auto const& permission : principal.permissions()) json.string(permission);
  json.end_array();
  json.member("key", *principal.key_id);
  json.member("iat", now.micros / kMicros);
  json.member("exp", principal.expires_at->micros / kMicros);
  json.end_object();
  auto const signed_part = encode(R"({"alg":"HS256","typ":"JWT"})") + "." + encode(claims);
  return signed_part + "." + base64url_encode(hmac_sha256(secret, signed_part));
}

Result<Principal> verify_jwt(std::string_view token, Timestamp now, std::string_view secret) {
  if (token.size() > kJwtBytesMax) return refused();
  auto const first = token.find('.');
  auto const last = token.rfind('.');
  if (first == std::string_view::npos || first == last) return refused();
  auto const header = decode_object(token.substr(0, first));
  if (!header || text_claim(*header, "alg") != "HS256" || header->contains("crit")) {
    return refused();
  }
  auto const expected = base64url_encode(hmac_sha256(secret, token.substr(0, last)));
  if (!equal_in_constant_time(expected, token.substr(last + 1))) return refused();

  auto const claims = decode_object(token.substr(first + 1, last - first - 1));
  if (!claims) return refused();
  auto const* expiry = claims->if_contains("exp");
  if (expiry == nullptr || !expiry->is_int64()) return refused();
  auto const role = parse_role(text_claim(*claims, "role").value_or(""));
  auto const key = Uuid::parse(text_claim(*claims, "key").value_or(""));
  auto const user = text_claim(*claims, "sub");
  if (!role || !key || !user) return refused();
  constexpr std::int64_t kSecondsMax = 253'402'300'799;  // The year 9999.
  if (expiry->get_int64() < 0 || expiry->get_int64() > kSecondsMax) return refused();
  Principal principal{*user, text_claim(*claims, "name").value_or(*user), *role, key,
                      Timestamp{expiry->get_int64() * kMicros}};
  if (principal.expired(now)) return fail(ErrorCode::unauthorized, "The token has expired");
  return principal;
}

}  // namespace subforge::auth
