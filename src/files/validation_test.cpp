// Configurations as JSON, YAML and Markdown: what is read, and what is told of mistakes.
#include "files/validation.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace subforge::files {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::string error_of(std::string_view name, std::string const& content) {
  auto const agent = parse_agent(name, content);
  EXPECT_FALSE(agent.has_value()) << content;
  return agent ? std::string() : agent.error().message;
}

TEST(Agents, AreReadFromJsonAndYaml) {
  for (auto const& [name, content] :
       {std::pair<std::string_view, std::string>{
            "x.json", R"({"name":"a","type":"t","model":"m","tools":["r"],"capabilities":[]})"},
        {"x.yaml", "name: a\nrole: t\nmodel: m\ntools: [r]\ncapabilities: []\n"},
        {"x.yml", "name: a\ntype: t\nconfiguration: {model: m, tools: [r], capabilities: []}\n"}}) {
    auto const agent = parse_agent(name, content);
    ASSERT_TRUE(agent.has_value()) << agent.error().message;
    EXPECT_EQ(agent->definition.name, "a");
    EXPECT_EQ(agent->definition.agent_type, "t");
    EXPECT_EQ(agent->definition.configuration.model, "m");
    EXPECT_TRUE(agent->warnings.empty());
  }
}

TEST(Agents, AreReadFromMarkdown) {
  auto const agent =
      parse_agent("reviewer.md",
                  "---\ndescription: d\r\ntools: Read, Grep\nmodel: sonnet\n---\n\nReview it.\n");
  ASSERT_TRUE(agent.has_value()) << agent.error().message;
  EXPECT_EQ(agent->definition.name, "reviewer");
  EXPECT_EQ(agent->definition.configuration.tools, (std::vector<std::string>{"Read", "Grep"}));
  EXPECT_EQ(agent->definition.configuration.custom_instructions, "Review it.\n");
  EXPECT_THAT(agent->warnings, ElementsAre("Missing recommended fields: capabilities"));
}

TEST(Agents, DescriptionsWithColonsAreReadAsClaudeCodeWritesThem) {
  auto const agent =
      parse_agent("a.md",
                  "---\nname: reviewer\n"
                  "description: Use this when: <example>Context: x\\nuser: \"hi\" #1</example>:\n"
                  "tools: Read, Grep\nmodel: sonnet\ncolor: \"a: b\"\n---\nText: yes\n");
  ASSERT_TRUE(agent.has_value()) << agent.error().message;
  EXPECT_EQ(agent->definition.name, "reviewer");
  EXPECT_EQ(agent->definition.description,
            "Use this when: <example>Context: x\\nuser: \"hi\" #1</example>:");
  EXPECT_EQ(agent->definition.configuration.tools, (std::vector<std::string>{"Read", "Grep"}));
  // Only there: in a file of YAML it is a mistake, and so is what cannot be read either way.
  EXPECT_THAT(error_of("a.yaml", "description: a: b\n"), HasSubstr("line 1, column"));
  EXPECT_THAT(error_of("a.md", "---\ndescription: a: b\ntools: [\n---\n"),
              HasSubstr("line 2, column"));
}

TEST(Agents, MistakesAreToldWithTheirPlace) {
  EXPECT_THAT(error_of("a.json", "{\"model\": 5}"), HasSubstr("line 1, column"));
  EXPECT_THAT(error_of("a.yaml", "model: m\ntools: 5\n"), HasSubstr("line 2, column 8: tools"));
  EXPECT_THAT(error_of("a.yaml", "- a\n"), HasSubstr("not an object"));
  EXPECT_THAT(error_of("a.md", "# title\n"), HasSubstr("line 1, column 1: no YAML in front"));
  EXPECT_THAT(error_of("a.md", "---\nname: x\n"), HasSubstr("has no end"));
  EXPECT_THAT(error_of("a.json", "\xff"), HasSubstr("not UTF-8"));
  EXPECT_THAT(error_of("a.json", "{\"name\":\"" + std::string(256, 'x') + "\"}"),
              HasSubstr("line 1, column"));
}

TEST(Agents, PlacesAreThoseWithinAWrapperAndBehindEscapes) {
  EXPECT_THAT(error_of("a.yaml", "configuration:\n  model: m\n  tools: 5\n"),
              HasSubstr("line 3, column 10: configuration.tools: "));
  EXPECT_THAT(error_of("a.json", "{\"config\": {\"model\": \"m\",\n \"tools\": 5}}"),
              HasSubstr("line 2, column 11: config.tools: "));
  // What stands outside counts, and is where the fault is.
  EXPECT_THAT(error_of("a.yaml", "config: {tools: [a]}\ntools: 5\n"),
              HasSubstr("line 2, column 8: tools: "));
  EXPECT_THAT(
      error_of("a.json",
               "{\"model\": \"\\/m\", \"x\": \"\\ud83d\\ude00\",\n \"max_tokens\": \"many\"}"),
      HasSubstr("line 2, column 16: max_tokens: "));
}

TEST(Agents, WhatIsNoTextIsNoName) {
  EXPECT_THAT(error_of("a.json", "{\"model\": \"m\",\n \"name\": 5}"),
              HasSubstr("line 2, column 10: name: "));
  EXPECT_THAT(error_of("a.yaml", "description: [a]\n"), HasSubstr("line 1, column 14: "));
  EXPECT_THAT(error_of("a.yaml", "role: 1\n"), HasSubstr("line 1, column 7: role: "));
  auto const unnamed = parse_agent("a.yaml", "name: null\n");
  ASSERT_TRUE(unnamed.has_value()) << unnamed.error().message;
  EXPECT_EQ(unnamed->definition.name, "a");
}

TEST(Agents, LinesOfMarkdownAreThoseOfTheFile) {
  // Of what cannot be parsed, and of what the description does not take.
  EXPECT_THAT(error_of("a.md", "---\nname: x\nname: y\n---\n"), HasSubstr("line 3, column 1"));
  EXPECT_THAT(error_of("a.md", "---\nname: x\nmax_tokens: many\n---\n"),
              HasSubstr("line 3, column 13: max_tokens"));
}

TEST(Documents, BombsAreErrors) {
  std::string bomb = "a: &a [x]\n";
  for (char c = 'b'; c < 'l'; ++c) {
    bomb += std::string(1, c) + ": &" + c + " [";
    for (int i = 0; i < 9; ++i) bomb += std::string("*") + char(c - 1) + ",";
    bomb += "]\n";
  }
  EXPECT_THAT(error_of("a.yaml", bomb), HasSubstr("too many values"));
  EXPECT_THAT(error_of("a.yaml", "a: &a [*a]\n"), HasSubstr("line "));
  EXPECT_THAT(error_of("a.json", std::string(10'000, '[')), HasSubstr("line 1"));
  EXPECT_THAT(error_of("a.yaml", std::string(10'000, '[')), HasSubstr("line 1"));
}

TEST(Validation, FollowsWhatIsAskedFor) {
  FileRecord file;
  file.original_filename = "a.json";
  file.file_type = FileType::agent_configs;
  auto const good = validate(file, std::string(R"({"model": "m"})"), "auto");
  EXPECT_TRUE(good.is_valid);
  EXPECT_EQ(good.parsed_content, R"({"model":"m"})");
  auto const warned = validate(file, std::string(R"({"model": "m"})"), "agent_config");
  EXPECT_TRUE(warned.is_valid);
  EXPECT_THAT(warned.warnings, ElementsAre(HasSubstr("tools, capabilities")));
  auto const other = validate(file, std::string("{}"), "nothing");
  EXPECT_FALSE(other.is_valid);
  EXPECT_TRUE(other.errors.empty());
  auto const unread = validate(file, fail(ErrorCode::internal, "the file cannot be read"), "json");
  EXPECT_THAT(unread.errors, ElementsAre("Validation error: the file cannot be read"));
}

}  // namespace
}  // namespace subforge::files
