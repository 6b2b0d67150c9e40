#include "auth/commands.hpp"

#include <ostream>

#include "base/json_writer.hpp"
#include "runtime/event_loop.hpp"

namespace subforge::auth {
namespace {

void write_json(std::vector<ApiKey> const& keys, std::ostream& out) {
  std::string text;
  JsonWriter json(text);
  auto const when = [&](std::string_view name, std::optional<Timestamp> at) {
    at ? json.member(name, *at) : json.member_null(name);
  };
  json.begin_array();
  for (auto const& key : keys) {
    json.begin_object();
    json.member("name", key.name);
    json.member("role", role_name(key.role));
    json.member("user", key.user);
    json.member("created_at", key.created_at);
    when("expires_at", key.expires_at);
    when("revoked_at", key.revoked_at);
    json.end_object();
  }
  json.end_array();
  out << text << '\n';
}

void write_text(std::vector<ApiKey> const& keys, std::ostream& out) {
  if (keys.empty()) {
    out << "There are no keys. Make one with: subforge token create --name me --role admin\n";
  }
  auto const now = Timestamp::now();
  for (auto const& key : keys) {
    out << key.name << "  " << role_name(key.role) << "  user " << key.user << "  created "
        << key.created_at.to_string();
    if (key.revoked_at) {
      out << "  revoked " << key.revoked_at->to_string();
    } else if (key.expires_at) {
      out << (*key.expires_at <= now ? "  expired " : "  expires ") << key.expires_at->to_string();
    }
    out << '\n';
  }
}

}  // namespace

Result<void> create_command(store::Store& store, std::string const& role, NewKey wanted,
                            std::ostream& out) {
  auto const parsed = parse_role(role);
  if (!parsed) {
    return fail(ErrorCode::invalid, "The role " + role + " is none of viewer, operator and admin");
  }
  wanted.role = *parsed;
  if (wanted.expires_days.value_or(1) < 1) {
    return fail(ErrorCode::invalid, "A key must live for one day at least");
  }
  EventLoop loop;
  auto const token = block_on(loop, create_key(store, std::move(wanted)));
  if (!token) return std::unexpected(token.error());
  out << *token << '\n';
  return {};
}

Result<void> list_command(store::Store& store, ListForm form, std::ostream& out) {
  EventLoop loop;
  auto const keys = block_on(loop, list_keys(store));
  if (!keys) return std::unexpected(keys.error());
  form == ListForm::json ? write_json(*keys, out) : write_text(*keys, out);
  return {};
}

Result<void> revoke_command(store::Store& store, std::string name, std::ostream& out) {
  EventLoop loop;
  auto revoked = block_on(loop, revoke_key(store, std::move(name)));
  if (revoked) out << "Revoked.\n";
  return revoked;
}

}  // namespace subforge::auth
