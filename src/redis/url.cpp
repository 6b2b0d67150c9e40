#include "redis/url.hpp"

#include <fmt/format.h>

#include "base/text.hpp"

namespace subforge::redis {
namespace {

constexpr std::string_view kScheme = "redis://";
constexpr std::int64_t kDatabaseMax = 65'535;

bool take_login(std::string_view text, RedisUrl& url) {
  auto const colon = text.find(':');
  auto user = percent_decode(text.substr(0, colon), PlusSign::literal);
  if (!user) return false;
  if (colon == std::string_view::npos) {
    url.user = *std::move(user);
    return true;
  }
  auto password = percent_decode(text.substr(colon + 1), PlusSign::literal);
  if (!password) return false;
  url.user = *std::move(user);
  url.password = *std::move(password);
  return true;
}

bool take_address(std::string_view text, RedisUrl& url) {
  std::string_view port;
  if (text.starts_with('[')) {  // IPv6.
    auto const end = text.find(']');
    if (end == std::string_view::npos || end == 1) return false;
    url.host = text.substr(1, end - 1);
    auto const rest = text.substr(end + 1);
    if (!rest.empty() && !rest.starts_with(':')) return false;
    port = rest.empty() ? rest : rest.substr(1);
    if (!rest.empty() && port.empty()) return false;
  } else {
    auto const colon = text.find(':');
    if (auto const host = text.substr(0, colon); !host.empty()) url.host = host;
    if (colon != std::string_view::npos) {
      port = text.substr(colon + 1);
      if (port.empty()) return false;
    }
  }
  if (port.empty()) return true;
  auto const number = parse_number<std::uint16_t>(port);
  if (!number || *number == 0) return false;
  url.port = *number;
  return true;
}

bool take_database(std::string_view text, RedisUrl& url) {
  if (text.empty()) return true;
  auto const number = parse_number<std::int64_t>(text);
  if (!number || *number < 0 || *number > kDatabaseMax) return false;
  url.database = *number;
  return true;
}

}  // namespace

std::string RedisUrl::address() const {
  bool const six = host.contains(':');
  return fmt::format("{}{}{}:{}/{}", six ? "[" : "", host, six ? "]" : "", port, database);
}

Result<RedisUrl> parse_redis_url(std::string_view text, std::string_view name) {
  auto const refuse = [name] {
    return fail(ErrorCode::invalid,
                fmt::format("{} must be redis://[[user]:password@]host[:port][/database]", name));
  };
  if (!text.starts_with(kScheme)) return refuse();
  auto rest = text.substr(kScheme.size());
  if (rest.find_first_of("?# ") != std::string_view::npos) return refuse();
  RedisUrl url;
  if (auto const slash = rest.find('/'); slash != std::string_view::npos) {
    if (!take_database(rest.substr(slash + 1), url)) return refuse();
    rest = rest.substr(0, slash);
  }
  if (auto const at = rest.rfind('@'); at != std::string_view::npos) {
    if (!take_login(rest.substr(0, at), url)) return refuse();
    rest = rest.substr(at + 1);
  }
  if (!take_address(rest, url)) return refuse();
  return url;
}

}  // namespace subforge::redis
