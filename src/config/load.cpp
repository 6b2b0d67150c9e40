#include <unistd.h>

#include <algorithm>
#include <optional>

#include <fmt/format.h>

#include "base/text.hpp"
#include "base/utf8.hpp"
#include "config/config.hpp"
#include "config/dot_env.hpp"
#include "describe/parse_json.hpp"

namespace subforge::config {
namespace {

// RFC 7518 section 3.2 wants a key for HS256 to be at least as long as the hash.
constexpr std::size_t kSecretBytesMin = 32;

// What the paths of other routes begin with.
constexpr std::string_view kTakenPaths[] = {"api",   "app",      "asyncapi.json", "debug",
                                            "docs",  "health",   "metrics",       "openapi.json",
                                            "redoc", "socket.io"};

std::string_view origin_text(Origin origin) {
  switch (origin) {
    case Origin::fallback: return "the default";
    case Origin::profile: return "the profile of ENVIRONMENT";
    case Origin::debug: return "DEBUG";
    case Origin::dot_env: return ".env";
    case Origin::environment: return "the environment";
    case Origin::flag: return "the command line";
  }
  return "";
}

std::optional<bool> parse_bool(std::string_view text) {
  for (auto const* word : {"true", "1", "yes", "on"}) {
    if (equal_ignoring_case(text, word)) return true;
  }
  for (auto const* word : {"false", "0", "no", "off"}) {
    if (equal_ignoring_case(text, word)) return false;
  }
  return std::nullopt;
}

std::optional<std::vector<std::string>> parse_list(std::string_view text) {
  boost::system::error_code error;
  auto const value = describe::parse_json(text, error);
  if (error || !value.is_array()) return std::nullopt;
  std::vector<std::string> list;
  for (auto const& item : value.get_array()) {
    if (!item.is_string()) return std::nullopt;
    list.emplace_back(std::string_view(item.get_string()));
  }
  return list;
}

// The choice as the table writes it, whatever the case it was given in.
std::optional<std::string> parse_choice(std::span<std::string_view const> choices,
                                        std::string_view text) {
  for (auto const choice : choices) {
    if (equal_ignoring_case(choice, text)) return std::string(choice);
  }
  return std::nullopt;
}

template <class Number>
std::optional<Number> parse_within(Setting const& setting, std::string_view text) {
  auto const value = parse_number<Number>(text);
  if (!value || *value < static_cast<Number>(setting.least) ||
      *value > static_cast<Number>(setting.most)) {
    return std::nullopt;
  }
  return value;
}

template <class T>
bool put(std::optional<T> value, T& place) {
  if (value) place = std::move(*value);
  return value.has_value();
}

// False if `text` is not a value of this setting; brings text with choices into its usual case.
bool assign(Setting const& setting, std::string& text, Config& config) {
  auto const set = [&]<class T>(T Config::* member) {
    auto& place = config.*member;
    if constexpr (std::is_same_v<T, bool>) {
      return put(parse_bool(text), place);
    } else if constexpr (std::is_same_v<T, std::vector<std::string>>) {
      return put(parse_list(text), place);
    } else if constexpr (std::is_same_v<T, std::string>) {
      if (!setting.choices.empty() && !put(parse_choice(setting.choices, text), text)) return false;
      place = text;
      return true;
    } else {
      return put(parse_within<T>(setting, text), place);
    }
  };
  return std::visit(set, setting.member);
}

// How many letters must be changed, added or left out (Levenshtein), in any case.
std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    auto diagonal = std::exchange(row[0], i);
    for (std::size_t j = 1; j <= b.size(); ++j) {
      bool const equal = ascii_lower(a[i - 1]) == ascii_lower(b[j - 1]);
      auto const substituted = diagonal + (equal ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({substituted, row[j] + 1, row[j - 1] + 1});
    }
  }
  return row.back();
}

// .env may hold names of other programs, so only what looks like a typing error is worth a word.
void warn_of_typing_errors(std::map<std::string, std::string> const& dot_env,
                           std::vector<std::string>& warnings) {
  for (auto const& [name, value] : dot_env) {
    if (std::ranges::find(settings(), name, &Setting::name) != settings().end()) continue;
    auto const distance = [&](Setting const& one) { return edit_distance(one.name, name); };
    auto const nearest = std::ranges::min_element(settings(), {}, distance);
    std::size_t const tolerated = nearest->name.size() < 8 ? 1 : 2;
    if (distance(*nearest) > tolerated) continue;
    warnings.push_back(
        fmt::format("{} in .env is not a setting; did you mean {}?", name, nearest->name));
  }
}

struct Found {
  std::string value;
  Origin origin;
};

// Where the value of each setting is looked up.
class Lookup {
 public:
  Lookup(Sources const& sources, std::map<std::string, std::string> const& dot_env)
      : sources_(sources), dot_env_(dot_env) {
    environment_ = to_lower(find(named("ENVIRONMENT")).value);
    debug_ = parse_bool(find(named("DEBUG")).value).value_or(false);
  }

  [[nodiscard]] Found find(Setting const& setting) const {
    std::string const name(setting.name);
    if (auto const at = sources_.flags.find(name); at != sources_.flags.end()) {
      return {at->second, Origin::flag};
    }
    auto const at = sources_.environment.find(name);
    if (at != sources_.environment.end()) return {at->second, Origin::environment};
    if (auto const line = dot_env_.find(name); line != dot_env_.end()) {
      return {line->second, Origin::dot_env};
    }
    for (auto const& one : profile_defaults()) {
      if (one.environment == environment_ && one.name == name) {
        return {std::string(one.value), Origin::profile};
      }
    }
    if (debug_ && name == "LOG_LEVEL") return {"DEBUG", Origin::debug};
    return {std::string(setting.fallback), Origin::fallback};
  }

 private:
  static Setting const& named(std::string_view name) {
    return *std::ranges::find(settings(), name, &Setting::name);
  }

  Sources const& sources_;
  std::map<std::string, std::string> const& dot_env_;
  std::string environment_;
  bool debug_ = false;
};

// A name or an IPv4 address as it is; an IPv6 address as it stands in a URL.
std::string host_in_url(std::string const& host) {
  return host.contains(':') ? "[" + host + "]" : host;
}

// Scheme, host and perhaps a port, as browsers send it (RFC 6454 section 6.2), or any.
bool is_origin(std::string_view text) {
  auto const colon = text.find("://");
  if (text == "*" || text == "null") return true;
  if (colon == std::string_view::npos || colon == 0) return false;
  auto const host = text.substr(colon + 3);
  return !host.empty() && host.find_first_of("/?# @") == std::string_view::npos;
}

Result<void> check_together(Config& config) {
  auto database = parse_database_url(config.database_url);
  if (!database) return std::unexpected(database.error());
  config.database = std::move(*database);
  auto const& host = config.host;
  if (host.empty() || host.find_first_of(" /[]") != std::string::npos) {
    return fail(ErrorCode::invalid,
                fmt::format("HOST={}: must be an IP address or a name, without port", host));
  }
  auto const& websocket_path = config.websocket_path;
  if (!websocket_path.starts_with('/') || websocket_path.size() < 2 ||
      websocket_path.find_first_of("{}? #") != std::string::npos ||
      websocket_path.find("//") != std::string::npos) {
    return fail(ErrorCode::invalid,
                fmt::format("WEBSOCKET_PATH={}: must be a path like /ws", websocket_path));
  }
  auto const first = std::string_view(websocket_path).substr(1, websocket_path.find('/', 1) - 1);
  if (std::ranges::find(kTakenPaths, first) != std::end(kTakenPaths)) {
    return fail(
        ErrorCode::invalid,
        fmt::format("WEBSOCKET_PATH={}: must be a path of its own like /ws, none that begins"
                    " with /{}",
                    websocket_path, first));
  }
  for (auto const& origin : config.allowed_origins) {
    if (is_origin(origin)) continue;
    return fail(ErrorCode::invalid,
                fmt::format("ALLOWED_ORIGINS: \"{}\" must be an origin like http://localhost:3000,"
                            " without a path, or *",
                            origin));
  }
  if (config.task_queues.empty()) {
    return fail(ErrorCode::invalid, "TASK_QUEUES=[]: must name a queue at least");
  }
  for (auto const& route : config.task_routes) {
    auto const sign = route.find('=');
    if (sign != std::string::npos && sign > 0 && sign + 1 < route.size()) continue;
    return fail(
        ErrorCode::invalid,
        fmt::format("TASK_ROUTES: \"{}\" must be a name and a queue, as name=queue", route));
  }
  if (config.upload_dir.empty()) {
    return fail(ErrorCode::invalid, "UPLOAD_DIR=: must be the name of a folder");
  }
  if (config.allowed_hosts.empty()) {
    config.allowed_hosts = {"localhost", "127.0.0.1", "[::1]"};
    auto& names = config.allowed_hosts;
    if (std::ranges::find(names, host_in_url(host)) == names.end()) {
      names.push_back(host_in_url(host));
    }
  }
  for (auto& name : config.allowed_hosts) name = to_lower(name);
  return {};
}

Result<void> load_one(Setting const& setting, Found found, Loaded& loaded) {
  auto const origin = origin_text(found.origin);
  if (setting.effect == Effect::adapter_missing && !found.value.empty()) {
    return fail(ErrorCode::invalid,
                fmt::format("{} is set (in {}), but this version has no Redis adapter yet; leave"
                            " it empty",
                            setting.name, origin));
  }
  if (!is_valid_utf8(found.value)) {
    return fail(ErrorCode::invalid,
                fmt::format("{} (from {}): must be UTF-8 text", setting.name, origin));
  }
  if (!assign(setting, found.value, loaded.config)) {
    return fail(ErrorCode::invalid,
                fmt::format("{}={} (from {}): must be {}", setting.name,
                            setting.secret ? "***" : found.value, origin, setting.allowed()));
  }
  if (setting.effect == Effect::later && found.origin >= Origin::dot_env) {
    loaded.warnings.push_back(fmt::format("{} (from {}) has no effect yet", setting.name, origin));
  }
  loaded.values.push_back(std::move(found.value));
  loaded.origins.push_back(found.origin);
  return {};
}

}  // namespace

Result<Loaded> load(Sources const& sources) {
  auto dot_env = parse_dot_env(sources.dot_env);
  Lookup const lookup(sources, dot_env.values);
  Loaded loaded;
  for (auto const& setting : settings()) {
    auto const good = load_one(setting, lookup.find(setting), loaded);
    if (!good) return std::unexpected(good.error());
  }
  if (auto good = check_together(loaded.config); !good) return std::unexpected(good.error());

  auto const secret_bytes = loaded.config.secret_key.size();
  if (secret_bytes > 0 && secret_bytes < kSecretBytesMin) {
    loaded.warnings.push_back(fmt::format(
        "SECRET_KEY has {} characters and can be guessed from a token; give it {} or more, or leave"
        " it empty",
        secret_bytes, kSecretBytesMin));
  }
  warn_of_typing_errors(dot_env.values, loaded.warnings);
  std::ranges::move(dot_env.warnings, std::back_inserter(loaded.warnings));
  return loaded;
}

std::map<std::string, std::string> environment_of_process() {
  std::map<std::string, std::string> known;
  for (auto const& setting : settings()) {
    if (auto const* value = ::getenv(std::string(setting.name).c_str())) {
      known.emplace(setting.name, value);
    }
  }
  return known;
}

}  // namespace subforge::config
