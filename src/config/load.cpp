#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include <algorithm>
#include <boost/json/parse.hpp>
#include <optional>

#include "base/text.hpp"
#include "config/config.hpp"

namespace subforge::config {
namespace {

std::string_view origin_text(Origin origin) {
  switch (origin) {
    case Origin::fallback: return "the default";
    case Origin::profile: return "the profile of ENVIRONMENT";
    case Origin::dot_env: return ".env";
    case Origin::environment: return "the environment";
    case Origin::flag: return "the command line";
  }
  return "";
}

// What is allowed, as the end of a sentence that says what is wrong.
std::string allowed(Setting const& setting) {
  if (!setting.choices.empty()) {
    std::vector<std::string_view> shown;
    for (auto const choice : setting.choices) {
      if (!choice.empty()) shown.push_back(choice);
    }
    return fmt::format("must be one of {}", fmt::join(shown, ", "));
  }
  if (std::holds_alternative<bool Config::*>(setting.member)) return "must be true or false";
  if (std::holds_alternative<std::vector<std::string> Config::*>(setting.member)) {
    return R"(must be a JSON list of texts, like ["a","b"])";
  }
  bool const whole = std::holds_alternative<std::int64_t Config::*>(setting.member);
  return fmt::format("must be a {}number from {} to {}", whole ? "whole " : "", setting.least,
                     setting.most);
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
  auto const value = boost::json::parse({text.data(), text.size()}, error);
  if (error || !value.is_array()) return std::nullopt;
  std::vector<std::string> list;
  for (auto const& item : value.get_array()) {
    if (!item.is_string()) return std::nullopt;
    list.emplace_back(std::string_view(item.get_string()));
  }
  return list;
}

bool assign(Setting const& setting, std::string const& text, Config& config) {
  if (auto const* member = std::get_if<std::string Config::*>(&setting.member)) {
    auto const& choices = setting.choices;
    if (!choices.empty() && std::ranges::find(choices, text) == choices.end()) return false;
    config.**member = text;
  } else if (auto const* flag = std::get_if<bool Config::*>(&setting.member)) {
    auto const value = parse_bool(text);
    if (!value) return false;
    config.**flag = *value;
  } else if (auto const* list = std::get_if<std::vector<std::string> Config::*>(&setting.member)) {
    auto value = parse_list(text);
    if (!value) return false;
    config.**list = std::move(*value);
  } else if (auto const* whole = std::get_if<std::int64_t Config::*>(&setting.member)) {
    auto const value = parse_number<std::int64_t>(text);
    if (!value || *value < setting.least || *value > setting.most) return false;
    config.**whole = *value;
  } else {
    auto const value = parse_number<double>(text);
    if (!value || !(*value >= static_cast<double>(setting.least)) ||
        !(*value <= static_cast<double>(setting.most))) {
      return false;
    }
    config.*std::get<double Config::*>(setting.member) = *value;
  }
  return true;
}

// Lines NAME=value; `export` before and quotes around are fine, # begins a comment.
std::map<std::string, std::string> parse_dot_env(std::string_view text) {
  std::map<std::string, std::string> values;
  while (!text.empty()) {
    auto const end = std::min(text.find('\n'), text.size());
    auto line = trim(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.starts_with("export ")) line = trim(line.substr(7));
    auto const equals = line.find('=');
    if (line.empty() || line.starts_with('#') || equals == std::string_view::npos) continue;
    auto value = trim(line.substr(equals + 1));
    if (value.starts_with('"') || value.starts_with('\'')) {
      auto const close = value.find(value.front(), 1);
      if (close != std::string_view::npos) value = value.substr(1, close - 1);
    } else if (auto const comment = value.find(" #"); comment != std::string_view::npos) {
      value = trim(value.substr(0, comment));
    }
    values.insert_or_assign(std::string(trim(line.substr(0, equals))), std::string(value));
  }
  return values;
}

// How many letters must be changed, added or left out (Levenshtein), for spotting typing errors.
std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    auto diagonal = std::exchange(row[0], i);
    for (std::size_t j = 1; j <= b.size(); ++j) {
      auto const substituted = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({substituted, row[j] + 1, row[j - 1] + 1});
    }
  }
  return row.back();
}

void warn_of_typing_errors(std::map<std::string, std::string> const& dot_env,
                           std::vector<std::string>& warnings) {
  for (auto const& [name, value] : dot_env) {
    auto const known = [&](Setting const& setting) { return setting.name == name; };
    if (std::ranges::any_of(settings(), known)) continue;
    for (auto const& setting : settings()) {
      if (edit_distance(setting.name, name) > 2) continue;
      warnings.push_back(
          fmt::format("{} in .env is not a setting; did you mean {}?", name, setting.name));
      break;
    }
  }
}

// The profiles of ENVIRONMENT (rest-v1.md section 2.5): defaults, which anything explicit overrides.
std::optional<std::string> from_profile(std::string_view environment, Setting const& setting) {
  auto const name = setting.name;
  if (environment == "production" && name == "LOG_LEVEL") return "WARNING";
  if (environment == "development" && (name == "DEBUG" || name == "DATABASE_ECHO")) return "true";
  if (environment == "development" && name == "LOG_LEVEL") return "DEBUG";
  if (environment == "testing" && name == "DEBUG") return "true";
  if (environment == "testing" && name == "DATABASE_URL") return "sqlite:///./subforge_test.db";
  return std::nullopt;
}

Result<std::string> sqlite_path(std::string const& url) {
  constexpr std::string_view kScheme = "sqlite:///";
  if (url.starts_with("postgresql://") || url.starts_with("postgres://")) {
    return fail(ErrorCode::invalid,
                "DATABASE_URL names a PostgreSQL server, which this version cannot use yet; use"
                " sqlite:///path");
  }
  if (!url.starts_with(kScheme) || url.size() == kScheme.size()) {
    return fail(ErrorCode::invalid,
                fmt::format("DATABASE_URL={}: must be sqlite:///relative/path or"
                            " sqlite:////absolute/path",
                            url));
  }
  return url.substr(kScheme.size());
}

struct Found {
  std::string value;
  Origin origin;
};

Found find_value(Setting const& setting, Sources const& sources,
                 std::map<std::string, std::string> const& dot_env, std::string_view environment) {
  std::string const name(setting.name);
  if (auto const at = sources.flags.find(name); at != sources.flags.end()) {
    return {at->second, Origin::flag};
  }
  if (auto const at = sources.environment.find(name); at != sources.environment.end()) {
    return {at->second, Origin::environment};
  }
  if (auto const at = dot_env.find(name); at != dot_env.end()) {
    return {at->second, Origin::dot_env};
  }
  if (auto const profile = from_profile(environment, setting)) return {*profile, Origin::profile};
  return {std::string(setting.fallback), Origin::fallback};
}

Result<void> check_together(Config& config) {
  auto path = sqlite_path(config.database_url);
  if (!path) return std::unexpected(path.error());
  config.database_path = std::move(*path);
  if (!config.websocket_path.starts_with('/') || config.websocket_path.size() < 2 ||
      config.websocket_path.find_first_of("{}? #") != std::string::npos) {
    return fail(ErrorCode::invalid, fmt::format("WEBSOCKET_PATH={}: must be a path like /ws",
                                                config.websocket_path));
  }
  if (config.allowed_hosts.empty()) {
    config.allowed_hosts = {"localhost", "127.0.0.1", "[::1]", to_lower(config.host)};
  }
  for (auto& host : config.allowed_hosts) host = to_lower(host);
  return {};
}

}  // namespace

Result<Loaded> load(Sources const& sources) {
  auto const dot_env = parse_dot_env(sources.dot_env);
  Loaded loaded;
  auto const& profile = settings().front();  // ENVIRONMENT, which others' defaults depend on.
  auto const environment = find_value(profile, sources, dot_env, "").value;
  for (auto const& setting : settings()) {
    auto found = find_value(setting, sources, dot_env, environment);
    auto const shown = setting.secret ? std::string("***") : found.value;
    if (!assign(setting, found.value, loaded.config)) {
      return fail(ErrorCode::invalid, fmt::format("{}={} (from {}): {}", setting.name, shown,
                                                  origin_text(found.origin), allowed(setting)));
    }
    if (setting.effect == Effect::adapter_missing && !found.value.empty()) {
      return fail(ErrorCode::invalid,
                  fmt::format("{} is set (in {}), but this version has no Redis adapter yet; leave"
                              " it empty",
                              setting.name, origin_text(found.origin)));
    }
    bool const explicitly = found.origin > Origin::profile;
    if (setting.effect == Effect::later && explicitly && found.value != setting.fallback) {
      loaded.warnings.push_back(
          fmt::format("{} has no effect in this version", setting.name));
    }
    loaded.values.push_back(std::move(found.value));
    loaded.origins.push_back(found.origin);
  }
  if (loaded.config.debug && loaded.config.log_level == "INFO") {
    auto const log_level = std::ranges::find(settings(), "LOG_LEVEL", &Setting::name);
    auto const index = static_cast<std::size_t>(log_level - settings().begin());
    if (loaded.origins[index] == Origin::fallback) loaded.config.log_level = "DEBUG";
  }
  warn_of_typing_errors(dot_env, loaded.warnings);
  if (auto good = check_together(loaded.config); !good) return std::unexpected(good.error());
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
