#include <unistd.h>

#include <array>
#include <filesystem>
#include <fstream>
#include <sstream>

#include <boost/json/parse.hpp>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "config/config.hpp"
#include "config/dot_env.hpp"

namespace subforge::config {
namespace {

using testing::ContainsRegex;
using testing::HasSubstr;
using testing::Not;

Loaded settings_of(Sources const& sources) {
  auto result = load(sources);
  EXPECT_TRUE(result) << result.error().message;
  return result ? *result : Loaded{};
}

Loaded with_secret() {
  return settings_of({{{"PORT", "81"}}, {{"SECRET_KEY", "hidden-from-everybody"}}, "LOOPS=2\n"});
}

TEST(ListText, TellsValueOriginAndEffectOfEverySetting) {
  auto const text = list_text(with_secret());
  EXPECT_EQ(std::ranges::count(text, '\n'), static_cast<std::ptrdiff_t>(settings().size()));
  EXPECT_THAT(text, ContainsRegex("\nPORT +81 +flag\n"));
  EXPECT_THAT(text, ContainsRegex("\nLOOPS +2 +\\.env\n"));
  EXPECT_THAT(text, ContainsRegex("\nHOST +localhost +default\n"));
  EXPECT_THAT(text, ContainsRegex("\nSUBFORGE_DIR +\\.subforge +default  \\(no effect yet\\)\n"));
  EXPECT_THAT(text, ContainsRegex("\nREDIS_URL +default  \\(must stay empty in this version\\)\n"));
  EXPECT_THAT(text, ContainsRegex("\nSECRET_KEY +\\*\\*\\* +environment\n"));
  EXPECT_THAT(text, Not(HasSubstr("hidden")));
}

TEST(ListText, KeepsEachSettingOnItsLineWhateverItHolds) {
  auto const text = list_text(settings_of({{}, {{"APP_NAME", "a\nPORT  1\x1b[2J"}}, ""}));
  EXPECT_THAT(text, ContainsRegex("\nAPP_NAME +a PORT  1 \\[2J +environment\n"));
}

TEST(ListJson, TellsTheSameToPrograms) {
  auto const text = list_json(with_secret());
  auto const rows = boost::json::parse(text).as_array();
  ASSERT_EQ(rows.size(), settings().size());
  EXPECT_THAT(text, HasSubstr(R"({"name":"PORT","value":"81","from":"flag","effective":true,)"));
  EXPECT_THAT(text, HasSubstr(R"({"name":"SUBFORGE_DIR","value":".subforge","from":"default",)"
                              R"("effective":false,"note":"no effect yet"})"));
  EXPECT_THAT(text, HasSubstr(R"({"name":"SECRET_KEY","value":"***","from":"environment",)"));
  EXPECT_THAT(text, Not(HasSubstr("hidden")));
}

// What one gets by taking the comment signs away.
std::string uncommented_example() {
  std::istringstream lines(example_file());
  std::string text;
  for (std::string line; std::getline(lines, line);) {
    bool const setting = line.size() > 1 && line[0] == '#' && line[1] != ' ';
    text += (setting ? line.substr(1) : line) + "\n";
  }
  return text;
}

TEST(ExampleFile, ChangesNothingAsItIs) {
  EXPECT_THAT(parse_dot_env(example_file()).values, testing::IsEmpty());
}

TEST(ExampleFile, HoldsEverySettingWithItsDefault) {
  auto const all = settings_of({{}, {}, uncommented_example()});
  EXPECT_EQ(all.values, settings_of({}).values);
  EXPECT_THAT(all.origins, testing::Each(Origin::dot_env));
}

TEST(Setting, HasAFlagOfItsName) {
  auto const at = std::ranges::find(settings(), "MAX_CONNECTIONS", &Setting::name);
  EXPECT_EQ(at->flag(), "--max-connections");
}

// The folder that holds the sources, which the build's cache knows.
std::filesystem::path source_folder() {
  std::array<char, 4096> path{};
  auto const length = ::readlink("/proc/self/exe", path.data(), path.size());
  std::filesystem::path folder(std::string(path.data(), static_cast<std::size_t>(length)));
  while (folder != folder.root_path()) {
    folder = folder.parent_path();
    std::ifstream cache(folder / "CMakeCache.txt");
    for (std::string line; std::getline(cache, line);) {
      constexpr std::string_view kKey = "subforge_SOURCE_DIR:STATIC=";
      if (line.starts_with(kKey)) return line.substr(kKey.size());
    }
  }
  throw std::runtime_error("the test does not lie in a build folder");
}

// The file as it is in the tree; with SUBFORGE_UPDATE_GOLDEN set, it is written first.
std::string golden(std::string const& name, std::string const& fresh) {
  auto const path = source_folder() / name;
  if (std::getenv("SUBFORGE_UPDATE_GOLDEN") != nullptr) std::ofstream(path) << fresh;
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

TEST(ExampleFile, IsFreshInTheTree) {
  EXPECT_EQ(golden(".env.example", example_file()), example_file())
      << "Run this test with SUBFORGE_UPDATE_GOLDEN=1 and commit .env.example";
}

TEST(ReferencePage, IsFreshInTheTree) {
  EXPECT_EQ(golden("docs/configuration.md", reference_page()), reference_page())
      << "Run this test with SUBFORGE_UPDATE_GOLDEN=1 and commit docs/configuration.md";
}

TEST(ReferencePage, NamesEverySetting) {
  auto const page = reference_page();
  for (auto const& setting : settings()) {
    EXPECT_THAT(page, HasSubstr("\n| `" + std::string(setting.name) + "` |"));
  }
}

}  // namespace
}  // namespace subforge::config
