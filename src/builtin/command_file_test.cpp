// Files of command tasks: what they can say, and that whoever got one wrong is told the file, the
// line and the key.
#include <fstream>

#include <gmock/gmock.h>

#include "builtin/command_tasks.hpp"
#include "store/temporary_folder_test.hpp"

namespace subforge::builtin {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

class CommandFileTest : public testing::Test {
 protected:
  void write(std::string const& name, std::string const& text) const {
    std::ofstream(folder_.path() / name) << text;
  }
  Result<CommandTask> parse(std::string const& text) const {
    return parse_command_task(text, folder_.path() / "one.yaml");
  }
  // The error without the folder.
  std::string error(std::string const& text) const {
    auto const parsed = parse(text);
    return parsed ? "none" : without_folder(parsed.error().message);
  }
  std::string load_error() const {
    auto const loaded = load_command_tasks(folder_.path());
    return loaded ? "none" : without_folder(loaded.error().message);
  }
  std::string without_folder(std::string text) const {
    auto const folder = folder_.path().string() + "/";
    for (auto at = text.find(folder); at != std::string::npos; at = text.find(folder)) {
      text.erase(at, folder.size());
    }
    return text;
  }

  store::TemporaryFolder folder_;
};

TEST_F(CommandFileTest, TheShortestHasANameAndACommand) {
  auto const task = parse("name: report\ncommand: [/bin/echo, 'a b', 3]\n");
  ASSERT_TRUE(task) << task.error().message;
  EXPECT_EQ(task->file, (folder_.path() / "one.yaml").string());
  EXPECT_EQ(task->definition.name, "report");
  EXPECT_THAT(task->command, ElementsAre("/bin/echo", "a b", "3"));
  EXPECT_TRUE(std::filesystem::equivalent(task->folder, folder_.path()));
  EXPECT_EQ(task->definition.queue, "default");
  EXPECT_EQ(task->definition.priority, 5);
  EXPECT_EQ(task->definition.max_retries, 3);
  EXPECT_EQ(task->definition.automatic_retries, 0);
  EXPECT_EQ(task->definition.soft_limit_seconds, 60);
  EXPECT_FALSE(task->definition.limited());
  EXPECT_FALSE(task->for_admins);
  EXPECT_FALSE(task->schedule);
}

TEST_F(CommandFileTest, EverythingThatCanBeSaid) {
  std::filesystem::create_directory(folder_.path() / "here");
  auto const task = parse(R"(name: report
doc: Writes the report.
command: [python3, report.py]
folder: here
environment: {REGION: eu, EMPTY: ''}
queue: slow
priority: high
max_retries: 7
automatic_retries: 2
concurrency: 3
rate: 10/m
limit_seconds: 90.5
grace_seconds: 2
memory_mb: 256
line_bytes_max: 2000
output_bytes_max: 5000
admin_only: true
schedule:
  name: nightly
  cron: 30 2 * * mon-fri
  args: [eu, 7]
  kwargs: {full: true}
  missed: skip
  overlap: true
)");
  ASSERT_TRUE(task) << task.error().message;
  auto const& definition = task->definition;
  EXPECT_EQ(definition.doc, "Writes the report.");
  EXPECT_EQ(task->folder, (folder_.path() / "here").string());
  EXPECT_THAT(task->environment, ElementsAre("REGION=eu", "EMPTY="));
  EXPECT_EQ(definition.queue, "slow");
  EXPECT_EQ(definition.priority, 8);
  EXPECT_EQ(definition.max_retries, 7);
  EXPECT_EQ(definition.automatic_retries, 2);
  EXPECT_EQ(definition.concurrency, 3);
  EXPECT_EQ(definition.rate.count, 10);
  EXPECT_EQ(definition.rate.per_seconds, 60);
  EXPECT_EQ(definition.soft_limit_seconds, 90.5);
  EXPECT_GT(definition.hard_limit_seconds, 92.5);
  EXPECT_EQ(task->limits.grace_ms, 2'000);
  EXPECT_EQ(task->limits.time_ms, 92'500);
  EXPECT_EQ(task->limits.memory_bytes_max, 256 << 20);
  EXPECT_EQ(task->limits.line_bytes_max, 2'000);
  EXPECT_EQ(task->limits.output_bytes_max, 5'000);
  EXPECT_TRUE(task->for_admins);
  ASSERT_TRUE(task->schedule);
  EXPECT_EQ(task->schedule->name, "nightly");
  EXPECT_EQ(task->schedule->task, "report");
  EXPECT_EQ(task->schedule->cron, "30 2 * * mon-fri");
  EXPECT_EQ(task->schedule->args.text, R"(["eu",7])");
  EXPECT_EQ(task->schedule->kwargs.text, R"({"full":true})");
  EXPECT_EQ(task->schedule->queue, "slow");
  EXPECT_EQ(task->schedule->priority, 8);
  EXPECT_EQ(task->schedule->missed, jobs::MissedRuns::skip);
  EXPECT_TRUE(task->schedule->overlap);
}

TEST_F(CommandFileTest, WhatIsWrongIsToldWithFileLineAndKey) {
  std::string const begin = "name: x\ncommand: [a]\n";
  std::pair<std::string, std::string> const cases[] = {
      {"command: [a]\n", "one.yaml, line 1: name is missing"},
      {"name: x\n", "one.yaml, line 1: command is missing"},
      {"name: a b\ncommand: [a]\n",
       "one.yaml, line 1: name must have no spaces and at most 200 bytes"},
      {"name: x\ncommand: a b\n",
       "one.yaml, line 2: command must be a list: the program and its arguments"},
      {"name: x\ncommand: ['']\n", "one.yaml, line 2: command names no program"},
      {"name: x\ncommand: [a, [b]]\n", "one.yaml, line 2: command must have nothing but texts"},
      {begin + "colour: red\n", "one.yaml, line 3: colour is no key that is known here"},
      {begin + "queue: a b\n", "one.yaml, line 3: queue must have no spaces and at most 200 bytes"},
      {begin + "priority: 7\n", "one.yaml, line 3: priority must be low, normal, high or critical"},
      {begin + "rate: often\n", "one.yaml, line 3: rate must be like 5/s, 10/m or 100/h"},
      {begin + "limit_seconds: 0\n",
       "one.yaml, line 3: limit_seconds must be a number from 1 to 604800"},
      {begin + "limit_seconds: .nan\n",
       "one.yaml, line 3, column 16: JSON has no infinity and no NaN"},
      {begin + "max_retries: 1.5\n",
       "one.yaml, line 3: max_retries must be a whole number from 0 to 100"},
      {begin + "admin_only: yes\n", "one.yaml, line 3: admin_only must be true or false"},
      {begin + "folder: nowhere\n",
       "one.yaml, line 1: folder must be a folder that exists, unlike "
       "nowhere"},
      {begin + "environment: [A]\n",
       "one.yaml, line 3: environment must be a mapping of names to texts"},
      {begin + "environment: {SUBFORGE_TASK_ID: x}\n",
       "one.yaml, line 3: environment must be a mapping of names to texts"},
      {begin + "schedule: daily\n", "one.yaml, line 3: schedule must be a mapping"},
      {begin + "schedule:\n  missed: once\n",
       "one.yaml, line 4: schedule needs cron or every_seconds"},
      {begin + "schedule:\n  cron: 60 * * * *\n",
       "one.yaml, line 4: schedule.cron is no cron line"},
      {begin + "schedule:\n  cron: '@daily'\n  every_seconds: 60\n",
       "one.yaml, line 5: schedule.every_seconds cannot stand beside cron"},
      {begin + "schedule:\n  cron: '@daily'\n  args: {}\n",
       "one.yaml, line 5: schedule.args must be a list"},
      {begin + "schedule:\n  cron: '@daily'\n  when: now\n",
       "one.yaml, line 5: schedule.when is no key that is known here"},
      {"- a\n", "one.yaml, line 1: the file must be a mapping"},
      {"name: [\n", "one.yaml, line "},
  };
  for (auto const& [text, wanted] : cases) EXPECT_THAT(error(text), HasSubstr(wanted)) << text;
}

TEST_F(CommandFileTest, AFolderGivesItsFilesInTheOrderOfTheirNames) {
  write("b.yml", "name: second\ncommand: [b]\n");
  write("a.yaml", "name: first\ncommand: [a]\n");
  write("notes.txt", "no task at all");
  auto const tasks = load_command_tasks(folder_.path());
  ASSERT_TRUE(tasks) << tasks.error().message;
  ASSERT_EQ(tasks->size(), 2U);
  EXPECT_EQ(tasks->front().definition.name, "first");
  EXPECT_EQ(without_folder(tasks->back().file), "b.yml");
  auto const none = load_command_tasks(folder_.path() / "none");
  ASSERT_TRUE(none);
  EXPECT_TRUE(none->empty());
}

TEST_F(CommandFileTest, AFolderWithAFileThatIsWrongIsRefusedWithItsName) {
  write("a.yaml", "name: same\ncommand: [a]\n");
  write("b.yaml", "name: same\ncommand: [b]\n");
  EXPECT_EQ(load_error(), "b.yaml: name: a.yaml has a task named same already");
  write("b.yaml", "name: other\ncommand: b\n");
  EXPECT_THAT(load_error(), HasSubstr("b.yaml, line 2: command must be a list"));
  write("b.yaml", "name: long\ncommand: [b]\n#" + std::string(64 << 10, '-'));
  EXPECT_EQ(load_error(), "b.yaml is too long");
}

}  // namespace
}  // namespace subforge::builtin
