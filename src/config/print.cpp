#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "base/json_writer.hpp"
#include "config/config.hpp"

namespace subforge::config {
namespace {

std::string_view short_origin(Origin origin) {
  switch (origin) {
    case Origin::fallback: return "default";
    case Origin::profile: return "profile";
    case Origin::dot_env: return ".env";
    case Origin::environment: return "environment";
    case Origin::flag: return "flag";
  }
  return "";
}

std::string masked(Setting const& setting, std::string const& value) {
  return setting.secret && !value.empty() ? "***" : value;
}

std::string values_allowed(Setting const& setting) {
  if (!setting.choices.empty()) {
    std::vector<std::string_view> shown;
    for (auto const choice : setting.choices) {
      if (!choice.empty()) shown.push_back(choice);
    }
    return fmt::format("{}", fmt::join(shown, ", "));
  }
  if (std::holds_alternative<bool Config::*>(setting.member)) return "true, false";
  if (setting.most > setting.least) return fmt::format("{} to {}", setting.least, setting.most);
  return "";
}

}  // namespace

std::string list_text(Loaded const& loaded) {
  std::size_t name_width = 0;
  std::size_t value_width = 0;
  for (std::size_t i = 0; i < loaded.values.size(); ++i) {
    name_width = std::max(name_width, settings()[i].name.size());
    value_width = std::max(value_width, masked(settings()[i], loaded.values[i]).size());
  }
  std::string text;
  for (std::size_t i = 0; i < loaded.values.size(); ++i) {
    auto const& setting = settings()[i];
    text += fmt::format("{:{}}  {:{}}  {}{}\n", setting.name, name_width,
                        masked(setting, loaded.values[i]), value_width,
                        short_origin(loaded.origins[i]),
                        setting.effect == Effect::now ? "" : "  (no effect in this version)");
  }
  return text;
}

std::string list_json(Loaded const& loaded) {
  std::string text;
  JsonWriter json(text);
  json.begin_array();
  for (std::size_t i = 0; i < loaded.values.size(); ++i) {
    auto const& setting = settings()[i];
    json.begin_object();
    json.member("name", setting.name);
    json.member("value", masked(setting, loaded.values[i]));
    json.member("from", short_origin(loaded.origins[i]));
    json.member("effective", setting.effect == Effect::now);
    json.end_object();
  }
  json.end_array();
  return text + "\n";
}

std::string example_file() {
  std::string text =
      "# Settings of SubForge. Copy this file to .env and change what you need; what is left out or\n"
      "# commented out has the default shown. The environment overrides .env, flags override both.\n";
  for (auto const& setting : settings()) {
    if (setting.effect != Effect::now) continue;
    auto const values = values_allowed(setting);
    text += fmt::format("\n# {}{}\n#{}={}\n", setting.doc,
                        values.empty() ? "" : fmt::format(" ({})", values), setting.name,
                        setting.fallback);
  }
  return text;
}

std::string reference_page() {
  std::string text =
      "# Configuration\n\n"
      "Every setting has a default. It can be given as a flag (`--port 8080`), in the environment"
      " (`PORT=8080`)\nor in a file `.env` in the working directory; a flag wins over the"
      " environment, the environment over `.env`.\n`subforge config` prints the values in force"
      " and where each came from. A bad value stops the start with\none sentence that says what is"
      " allowed.\n\n"
      "This page is generated from the table in `src/config/settings.cpp`.\n\n"
      "| Setting | Default | Allowed | What it does |\n|---|---|---|---|\n";
  for (auto const& setting : settings()) {
    text += fmt::format("| `{}` | {} | {} | {}{} |\n", setting.name,
                        setting.fallback.empty() ? "" : fmt::format("`{}`", setting.fallback),
                        values_allowed(setting), setting.doc,
                        setting.effect == Effect::now ? "" : " *No effect in this version.*");
  }
  return text;
}

}  // namespace subforge::config
