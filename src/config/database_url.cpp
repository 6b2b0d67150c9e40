#include "config/database_url.hpp"

#include <fmt/format.h>

namespace subforge::config {
namespace {

constexpr std::string_view kSqlite = "sqlite:///";

// What follows the scheme of a PostgreSQL URL; empty if it is none.
std::string_view behind_postgres_scheme(std::string_view text) {
  auto const end = text.find("://");
  if (end == std::string_view::npos) return {};
  auto const scheme = text.substr(0, text.find('+') < end ? text.find('+') : end);
  if (scheme != "postgresql" && scheme != "postgres") return {};
  return text.substr(end);
}

}  // namespace

std::string without_password(std::string url) {
  auto const scheme = url.find("://");
  auto const parameter = url.find("password=");
  if (parameter != std::string::npos && parameter > 0 &&
      (url[parameter - 1] == '?' || url[parameter - 1] == '&')) {
    auto const start = parameter + std::string_view("password=").size();
    auto const end = std::min(url.find('&', start), url.size());
    url.replace(start, end - start, "***");
  }
  auto const at = url.rfind('@');
  if (scheme == std::string::npos || at == std::string::npos || at < scheme) return url;
  auto const colon = url.find(':', scheme + 3);
  if (colon < at) url.replace(colon + 1, at - colon - 1, "***");
  return url;
}

Result<DatabaseUrl> parse_database_url(std::string const& text, std::string_view name) {
  auto const rest = behind_postgres_scheme(text);
  if (!rest.empty() && rest != "://") {
    return DatabaseUrl{DatabaseUrl::Kind::postgresql, {}, "postgresql" + std::string(rest)};
  }
  // What begins with a colon is no file (:memory:), and nothing reads parameters.
  if (!text.starts_with(kSqlite) || text.size() == kSqlite.size() || text[kSqlite.size()] == ':' ||
      text.find_first_of("?#") != std::string::npos) {
    return fail(ErrorCode::invalid,
                fmt::format("{}={}: must be sqlite:///relative/path, sqlite:////absolute/path or"
                            " postgresql://user:password@host/database",
                            name, without_password(text)));
  }
  return DatabaseUrl{DatabaseUrl::Kind::sqlite, text.substr(kSqlite.size()), {}};
}

}  // namespace subforge::config
