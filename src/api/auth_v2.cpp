#include "api/auth_v2.hpp"

#include "base/json_writer.hpp"

namespace subforge::api {
namespace {

using http::Request;
using http::Response;

Response issue_token(auth::Authenticator const& authenticator, Request const& request) {
  auto const issued = authenticator.issue(request.authorization);
  if (!issued) {
    return Response::problem(401, issued.error().message).with("WWW-Authenticate", "Bearer");
  }
  Response response;
  JsonWriter json(response.body);
  json.begin_object();
  json.member("access_token", issued->token);
  json.member("token_type", "bearer");
  json.member("expires_in", issued->expires_in_seconds);
  json.end_object();
  return std::move(response).with("Cache-Control", "no-store");
}

constexpr describe::Shape kToken =
    "access_token:text token_type=bearer expires_in:integer(Seconds.)";

}  // namespace

http::Routes auth_v2(auth::Authenticator& authenticator) {
  http::Routes routes("/api/v2/auth");
  routes.add({.method = net::Method::post,
              .path = "/token",
              .name = "v2_issue_token",
              .summary = "Exchange an API key (as bearer token) for a short-lived token",
              .tag = "auth",
              .handler = http::SyncHandler([&authenticator](Request const& request) {
                return issue_token(authenticator, request);
              }),
              .access = http::Access::open,
              .limit = {20, http::ClientKey::address},
              .answers = {{200, "The token.", {"IssuedToken", kToken}},
                          {401, "The key is missing, unknown, revoked or expired."}}});
  return routes;
}

}  // namespace subforge::api
