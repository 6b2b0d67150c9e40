// Programs as tasks: what they are given, what they may tell, and that they end when they must.
#include "builtin/command_tasks.hpp"

#include <signal.h>

#include <chrono>
#include <cstdlib>
#include <fstream>
#include <thread>

#include <gmock/gmock.h>

#include "builtin/worker_fixture_test.hpp"
#include "describe/parse_json.hpp"

namespace subforge::builtin {
namespace {

using jobs::JobStatus;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

class CommandTasksTest : public WorkerFixture {
 protected:
  // A task that is a script of the shell.
  void add(std::string const& script, std::string const& more = {}) {
    std::ofstream(folder_.path() / "script.sh") << script;
    auto task = parse_command_task("name: script\ncommand: [/bin/sh, script.sh]\n" + more,
                                   folder_.path() / "script.yaml");
    if (!task) throw std::runtime_error(task.error().message);
    registry_.add(definition_of(std::move(*task)));
  }
  [[nodiscard]] std::string read(std::string const& name) const {
    std::ifstream const file(folder_.path() / name);
    std::ostringstream text;
    text << file.rdbuf();
    return text.str();
  }
};

// Whether there is such a process that is not a mere remainder of one.
bool lives(pid_t pid) {
  std::ifstream stat("/proc/" + std::to_string(pid) + "/stat");
  std::string text;
  return std::getline(stat, text) && text.find(") Z") == std::string::npos;
}

bool ends_soon(pid_t pid) {
  for (int i = 0; i < 300 && lives(pid); ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return !lives(pid);
}

TEST_F(CommandTasksTest, AProgramGetsTheTaskAsOneJsonObject) {
  add("cat > input.json\n");
  auto const job = ended({.name = "script",
                          .args = R"([1,"ä\n",null])",
                          .kwargs = R"({"a":{"b":[]}})",
                          .metadata = R"({"m":"x"})"});
  EXPECT_EQ(job.status, JobStatus::success);
  auto const given = describe::parse_json(read("input.json")).as_object();
  EXPECT_EQ(given.at("task_id").as_string(), job.id.to_string());
  EXPECT_EQ(given.at("name").as_string(), "script");
  EXPECT_EQ(given.at("attempt").as_int64(), 1);
  EXPECT_EQ(given.at("args").as_array().at(1).as_string(), "ä\n");
  EXPECT_TRUE(given.at("kwargs").as_object().at("a").as_object().contains("b"));
  EXPECT_EQ(given.at("metadata").as_object().at("m").as_string(), "x");
}

TEST_F(CommandTasksTest, ItsEnvironmentHasNothingOfThisProcess) {
  ::setenv("SECRET_OF_THE_SERVER", "x", 1);
  add("env | sort > environment.txt\n", "environment: {REGION: eu, LANG: de}\n");
  auto const job = ended({.name = "script"});
  EXPECT_EQ(job.status, JobStatus::success);
  auto const text = read("environment.txt");
  EXPECT_THAT(text, Not(HasSubstr("SECRET_OF_THE_SERVER")));
  EXPECT_THAT(text, HasSubstr("REGION=eu\n"));
  EXPECT_THAT(text, HasSubstr("LANG=de\n"));
  EXPECT_THAT(text, Not(HasSubstr("LANG=C.UTF-8")));
  EXPECT_THAT(text, HasSubstr("SUBFORGE_TASK_ID=" + job.id.to_string() + "\n"));
  EXPECT_THAT(text, HasSubstr("SUBFORGE_TASK_NAME=script\n"));
  EXPECT_THAT(text, HasSubstr("SUBFORGE_TASK_ATTEMPT=1\n"));
  ::unsetenv("SECRET_OF_THE_SERVER");
}

TEST_F(CommandTasksTest, AResultKeepsAllDigits) {
  add(R"(echo '{"result": {"rows": [123456789012345678901234567890, 0.5]}}')");
  EXPECT_EQ(ended({.name = "script"}).result.text,
            R"({"rows":[123456789012345678901234567890,0.5]})");
}

TEST_F(CommandTasksTest, LinesTellProgressLogAndResult) {
  add(R"(echo '{"progress": 40, "note": "under way"}'
echo '{"log": "careful", "level": "warning"}'
echo 'plain words'
printf 'bytes \377 that are none\n'
echo '[1, 2]'
echo
echo '{"unknown": true}'
echo '{"result": {"rows": 7}}'
)");
  auto const job = ended({.name = "script"});
  EXPECT_EQ(job.status, JobStatus::success);
  EXPECT_EQ(job.result.text, R"({"rows":7})");
  EXPECT_EQ(job.progress, 100);
  EXPECT_TRUE(until([&] { return lines(job.id).size() == 4; }));
  EXPECT_THAT(lines(job.id), ElementsAre("WARNING careful", "INFO plain words",
                                         "INFO bytes ? that are none", "INFO [1, 2]"));
}

TEST_F(CommandTasksTest, WhatItIsAtIsToldWhileItRuns) {
  add("echo '{\"progress\": 40, \"note\": \"half\"}'\nwhile [ ! -e go ]; do sleep 0.01; done\n");
  auto const id = enqueue({.name = "script"});
  EXPECT_TRUE(until([&] { return job(id).progress == 40; }));
  EXPECT_EQ(job(id).status, JobStatus::started);
  EXPECT_EQ(job(id).progress_note, "half");
  std::ofstream(folder_.path() / "go") << "now";
  EXPECT_EQ(ended(id).status, JobStatus::success);
}

TEST_F(CommandTasksTest, AFailureSaysWhyAndKeepsTheEndOfStandardError) {
  add("echo 'no disk' >&2\nexit 3\n");
  auto job = ended({.name = "script"});
  EXPECT_EQ(job.status, JobStatus::failure);
  EXPECT_EQ(job.error, "It ended with exit status 3");
  EXPECT_EQ(job.traceback, "no disk\n");
  add("echo '{\"error\": \"the file is empty\"}'\n");
  job = ended({.name = "script"});
  EXPECT_EQ(job.status, JobStatus::failure);
  EXPECT_EQ(job.error, "the file is empty");
  add("kill -9 $$\n");
  EXPECT_EQ(ended({.name = "script"}).error, "It was ended by signal 9");
}

TEST_F(CommandTasksTest, OneThatCannotBeStartedFails) {
  auto task = parse_command_task("name: script\ncommand: [no-such-program-at-all]\n",
                                 folder_.path() / "script.yaml");
  ASSERT_TRUE(task);
  registry_.add(definition_of(std::move(*task)));
  auto const job = ended({.name = "script"});
  EXPECT_EQ(job.status, JobStatus::failure);
  EXPECT_THAT(*job.error, HasSubstr("no-such-program-at-all cannot be started"));
}

TEST_F(CommandTasksTest, ExitStatus75AsksForAnotherTry) {
  add("[ \"$SUBFORGE_TASK_ATTEMPT\" -ge 2 ] || exit 75\necho '{\"result\": \"second\"}'\n");
  auto const job = ended({.name = "script"});
  EXPECT_EQ(job.status, JobStatus::success);
  EXPECT_EQ(job.result.text, R"("second")");
  EXPECT_EQ(job.retry_count, 1);
}

TEST_F(CommandTasksTest, TheLimitOfTimeEndsTheWholeGroup) {
  // The child and its parent ignore what asks them to end.
  add("trap '' TERM\n(trap '' TERM; sleep 60) &\necho $! > child\nwhile :; do sleep 1; done\n",
      "limit_seconds: 1\ngrace_seconds: 0.2\n");
  auto const job = ended({.name = "script"});
  EXPECT_EQ(job.status, JobStatus::failure);
  EXPECT_EQ(job.error, "SoftTimeLimitExceeded: it ran for more than 1 s");
  EXPECT_TRUE(ends_soon(std::stoi(read("child"))));
}

TEST_F(CommandTasksTest, AtAStopAProgramIsAskedToEndAndStartsAnewElsewhere) {
  add("trap 'echo asked > asked; sleep 0.05; echo clean > clean; exit 1' TERM\n"
      "echo $$ > pid\nwhile :; do sleep 0.01; done\n");
  auto const id = enqueue({.name = "script"});
  EXPECT_TRUE(until([&] { return !read("pid").empty(); }));
  loop_.post([this] { worker_->begin_shutdown(1'000); });
  EXPECT_TRUE(until([this] { return worker_->done() && worker_->running() == 0; }));
  EXPECT_EQ(read("clean"), "clean\n");
  EXPECT_EQ(job(id).status, JobStatus::pending);
  EXPECT_EQ(job(id).retry_count, 0);
}

TEST_F(CommandTasksTest, WhatAProgramBringsWhenAskedToEndAtAStopCounts) {
  add("trap 'echo \"{\\\"result\\\": 7}\"; exit 0' TERM\n"
      "echo $$ > pid\nwhile :; do sleep 0.01; done\n");
  auto const id = enqueue({.name = "script"});
  EXPECT_TRUE(until([&] { return !read("pid").empty(); }));
  loop_.post([this] { worker_->begin_shutdown(1'000); });
  EXPECT_TRUE(until([this] { return worker_->done() && worker_->running() == 0; }));
  EXPECT_EQ(job(id).status, JobStatus::success);
  EXPECT_EQ(job(id).result.text, "7");
}

TEST_F(CommandTasksTest, WhoAsksCanRaiseTheFilesLimit) {
  add("sleep 1.4\necho '{\"result\": 1}'\n", "limit_seconds: 1\ngrace_seconds: 0\n");
  jobs::JobSpec const longer{
      .name = "script", .soft_limit_seconds = 8.0, .hard_limit_seconds = 9.0};
  EXPECT_EQ(ended(longer).status, JobStatus::success);
}

TEST_F(CommandTasksTest, AnErrorNeedNotBeAText) {
  add("echo '{\"error\": {\"code\": 5}}'\n");
  auto const job = ended({.name = "script"});
  EXPECT_EQ(job.status, JobStatus::failure);
  EXPECT_EQ(job.error, "{\"code\":5}");
}

TEST_F(CommandTasksTest, ASuccessKeepsNothingOfAnEarlierFailure) {
  add("[ \"$SUBFORGE_TASK_ATTEMPT\" -ge 2 ] || { echo broke >&2; exit 3; }\n",
      "automatic_retries: 1\n");
  auto const job = ended({.name = "script"});
  EXPECT_EQ(job.status, JobStatus::success);
  EXPECT_FALSE(job.traceback);
  EXPECT_FALSE(job.error);
}

TEST_F(CommandTasksTest, WhoeverWritesTooMuchIsEnded) {
  add("head -c 5000 /dev/zero | tr '\\0' x\nsleep 60\n", "line_bytes_max: 1000\n");
  EXPECT_EQ(ended({.name = "script"}).error, "It wrote a line of more than 1000 bytes");
  add("yes\n", "output_bytes_max: 10000\n");
  EXPECT_EQ(ended({.name = "script"}).error, "It wrote more than 10000 bytes");
}

TEST_F(CommandTasksTest, MemoryIsBounded) {
  add("exec /usr/bin/python3 -c 'x = bytearray(900 << 20)'\n", "memory_mb: 200\n");
  auto const job = ended({.name = "script"});
  EXPECT_EQ(job.status, JobStatus::failure);
  EXPECT_THAT(job.traceback.value_or(""), HasSubstr("MemoryError"));
}

}  // namespace
}  // namespace subforge::builtin
