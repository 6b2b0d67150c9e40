// What Celery's monitors ask and hear, from a node of ours over a real Redis.
#include "jobs/celery/node.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <functional>
#include <memory>

#include <boost/json/array.hpp>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "describe/json_text.hpp"
#include "describe/parse_json.hpp"
#include "jobs/celery/wire.hpp"
#include "redis/server_test.hpp"

namespace subforge::jobs::celery {
namespace {

namespace json = boost::json;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::UnorderedElementsAre;

constexpr char kNode[] = "ours@here";

json::value parsed(std::string const& text) { return describe::parse_json(text); }

std::vector<std::string> texts(json::value const& list) {
  std::vector<std::string> all;
  for (auto const& one : list.as_array()) all.emplace_back(std::string_view(one.as_string()));
  return all;
}

// ---- Letters -----------------------------------------------------------------------------------

TEST(MailboxTest, ReadsWhatItWrites) {
  ControlRequest request;
  request.method = "revoke";
  request.arguments["task_id"] = "x";
  request.destination = {"a@h", "b@h"};
  request.ticket = "t-1";
  request.reply_key = "oid";
  request.clock = 17;
  auto const read = read_control_request(write_control_request(request));
  ASSERT_TRUE(read);
  EXPECT_EQ(read->method, "revoke");
  EXPECT_EQ(describe::json_text(read->arguments), R"({"task_id":"x"})");
  EXPECT_THAT(*read->destination, ElementsAre("a@h", "b@h"));
  EXPECT_EQ(read->ticket, "t-1");
  EXPECT_EQ(read->reply_list(), "oid.reply.celery.pidbox");
  EXPECT_EQ(read->reply_binding(), "oid\x06\x16\x06\x16oid.reply.celery.pidbox");
  EXPECT_EQ(read->clock, 17);
}

// As Celery 5.2 sends `celery inspect ping`.
TEST(MailboxTest, ReadsWhatCelerySends) {
  auto const body = base64_encode(
      R"({"method": "ping", "arguments": {}, "destination": null, "pattern": null, "matcher": null)"
      R"(, "ticket": "1f", "reply_to": {"exchange": "reply.celery.pidbox", "routing_key": "9e"}})");
  auto const read = read_control_request(
      R"({"body": ")" + body +
      R"(", "content-encoding": "utf-8", "content-type": "application/json",)"
      R"( "headers": {"clock": 3, "expires": 1795939884.1}, "properties": {"delivery_mode": 2,)"
      R"( "delivery_info": {"exchange": "celery.pidbox", "routing_key": ""}, "priority": 0,)"
      R"( "body_encoding": "base64", "delivery_tag": "d"}})");
  ASSERT_TRUE(read);
  EXPECT_EQ(read->method, "ping");
  EXPECT_EQ(read->clock, 3);
  EXPECT_TRUE(read->wants_reply());
  EXPECT_TRUE(is_meant(*read, kNode));
}

TEST(MailboxTest, TakesNothingElse) {
  for (std::string_view const text :
       {"", "x", "[]", "{}", R"({"body":"e30="})", R"({"body":"!","properties":{}})",
        R"({"body":"[1]","properties":{}})", R"({"body":"{\"method\":1}","properties":{}})"}) {
    EXPECT_FALSE(read_control_request(text)) << text;
  }
}

TEST(MailboxTest, KnowsWhoIsMeant) {
  ControlRequest request;
  EXPECT_TRUE(is_meant(request, kNode));
  request.pattern = "ours@*";
  request.matcher = "glob";
  EXPECT_TRUE(is_meant(request, kNode));
  EXPECT_FALSE(is_meant(request, "theirs@here"));
  request.pattern = "o.*@h";
  request.matcher = "pcre";
  EXPECT_TRUE(is_meant(request, kNode));
  request.pattern = "urs";
  EXPECT_FALSE(is_meant(request, kNode));
  request.pattern = "(";
  EXPECT_FALSE(is_meant(request, kNode));
  request.destination.emplace();
  request.pattern.clear();
  EXPECT_FALSE(is_meant(request, kNode));
  request.destination->emplace_back(kNode);
  EXPECT_TRUE(is_meant(request, kNode));
}

TEST(RevokedIdsTest, ForgetsTheOldest) {
  RevokedIds ids;
  ids.add("a", 1);
  ids.add("b", 2);
  ids.add("a", 3);
  EXPECT_EQ(ids.size(), 2U);
  ids.purge(2 + RevokedIds::kKeptNs + 1);
  EXPECT_TRUE(ids.contains("a"));
  EXPECT_FALSE(ids.contains("b"));
  for (std::size_t i = 0; i < RevokedIds::kIdsMax; ++i) ids.add("n" + std::to_string(i), 4);
  EXPECT_EQ(ids.size(), RevokedIds::kIdsMax);
  EXPECT_FALSE(ids.contains("a"));
  EXPECT_TRUE(ids.contains("n0"));
}

TEST(TaskBookTest, ForgetsWhatOthersMustHaveStarted) {
  TaskBook book;
  Timestamp const now{1'000'000'000'000};
  ObservedTask task;
  for (auto const* const id : {"runs", "waits", "later"}) {
    task.id = id;
    task.eta = task.id == "later" ? std::optional(Timestamp{now.micros + 9'000'000}) : std::nullopt;
    book.received(task, now);
  }
  task.id = "runs";
  book.started(task, now);
  book.purge({now.micros + TaskBook::kOverdueUs + 1});
  EXPECT_TRUE(book.is_active("runs"));
  EXPECT_FALSE(book.has("waits"));
  EXPECT_TRUE(book.has("later"));
  book.purge({now.micros + TaskBook::kOverdueUs + 9'000'001});
  EXPECT_FALSE(book.has("later"));
  EXPECT_EQ(book.active(), 1U);
  book.ended("runs");
  EXPECT_EQ(book.active(), 0U);
  EXPECT_EQ(book.processed(), 1);
}

// ---- Over Redis --------------------------------------------------------------------------------

class CeleryNodeTest : public testing::Test {
 protected:
  static void SetUpTestSuite() { server_ = std::make_unique<redis::TestServer>(); }
  static void TearDownTestSuite() { server_.reset(); }

  CeleryNodeTest() {
    registry_.add({.name = "add"});
    registry_.add({.name = "slow", .rate = {10, 60, 1}});
    options_.url = redis::parse_redis_url(server_->url(), "URL").value();
  }

  std::unique_ptr<Node> make_node(std::string name = kNode) {
    NodeOptions options{std::move(name),          "1.2.3", {"celery", "other"}, 4, options_.url,
                        {{"timezone", "\"UTC\""}}};
    NodeActions actions{
        [this](std::vector<std::string> const& ids, bool terminate) {
          for (auto const& id : ids) wishes_.push_back((terminate ? "end " : "revoke ") + id);
        },
        [this] { wishes_.emplace_back("shut down"); },
        [this](std::string const& task, StartRate rate) {
          wishes_.push_back(task + " " + std::to_string(rate.count));
        },
        [this](std::string const& task, std::optional<double> soft, std::optional<double> hard) {
          wishes_.push_back(task + " " + std::to_string(soft.value_or(-1)) + " " +
                            std::to_string(hard.value_or(-1)));
        },
        [this](std::set<std::string> const& stamps) { stamps_ = stamps; }};
    return std::make_unique<Node>(loop_, pool_, options_, registry_, std::move(options),
                                  std::move(actions), logger_);
  }

  // Runs `body(node)` with one that was heard, while this test is who asks and listens.
  template <class Body>
  void with_node(Body body) {
    node_ = make_node();
    run([&]() -> Task<void> {
      node_->start();
      EXPECT_TRUE(co_await until([&] { return heard("worker-online") == 1; }));
      co_await body();
      node_->stop();
      EXPECT_TRUE(co_await until([&] { return heard("worker-offline") == 1; }));
      EXPECT_TRUE(co_await until([&] { return node_->done(); }));
    });
    node_.reset();
  }
  template <class Body>
  void run(Body body) {
    asker_ = std::make_unique<redis::Client>(loop_, pool_, options_, logger_);
    bool ready = false;
    redis::Subscriber listener(
        loop_, pool_, options_, logger_,
        {[this](redis::Message const& message) { note_event(message); }, [&] { ready = true; }});
    listener.subscribe_pattern("/0.celeryev/*");
    auto all = [&]() -> Task<void> {
      asker_->start();
      listener.start();
      EXPECT_TRUE(co_await until([&] { return ready && asker_->up(); }));
      co_await body();
      listener.stop();
      asker_->stop();
    };
    block_on(loop_, all());
    asker_.reset();
  }

  Task<bool> until(std::function<bool()> holds, int tries = 300) {
    for (int i = 0; i < tries && !holds(); ++i) co_await loop_.sleep_ms(10);
    co_return holds();
  }

  // The answer of the node as JSON; empty if none comes.
  Task<std::string> ask(std::string method, std::string arguments = "{}",
                        std::string reply_key = "asker") {
    ControlRequest request;
    request.method = std::move(method);
    request.arguments = parsed(arguments).as_object();
    request.ticket = "ticket";
    request.reply_key = std::move(reply_key);
    auto const list = request.reply_list();
    redis::Batch batch;
    batch.add({"SADD", "_kombu.binding.reply.celery.pidbox", request.reply_binding()});
    batch.add({"PUBLISH", "/0.celery.pidbox", write_control_request(request)});
    (void)co_await asker_->run(batch);
    auto const popped = co_await asker_->command({"BRPOP", list, "0.7"}, 3'000);
    if (!popped || !popped->is_list()) co_return "";
    auto const& text = popped->items[1].text;
    auto const answer = read_control_reply(text);
    EXPECT_EQ(answer.size(), 1U);
    EXPECT_EQ(answer.begin()->key(), kNode);
    EXPECT_THAT(open_letter(text)->headers, HasSubstr(R"("ticket":"ticket")"));
    co_return describe::json_text(answer.begin()->value());
  }

  void note_event(redis::Message const& message) {
    auto const letter = open_letter(message.payload);
    ASSERT_TRUE(letter);
    channels_.emplace_back(message.channel);
    auto const body = parsed(letter->body);
    if (body.is_array()) {
      for (auto const& event : body.get_array()) events_.push_back(event.as_object());
    } else {
      events_.push_back(body.as_object());
    }
  }
  [[nodiscard]] int heard(std::string_view type) const {
    int count = 0;
    for (auto const& event : events_) count += describe::text_member(event, "type") == type;
    return count;
  }
  [[nodiscard]] json::object event(std::string_view type) const {
    for (auto const& one : events_) {
      if (describe::text_member(one, "type") == type) return one;
    }
    throw std::runtime_error("no event " + std::string(type));
  }

  static ObservedTask task(std::string_view id, std::string_view name = "add") {
    ObservedTask task;
    task.id = id;
    task.name = name;
    task.args = "[1,\"x\"]";
    task.kwargs = "{}";
    task.args_repr = "(1, 'x')";
    task.kwargs_repr = "{}";
    task.root_id = id;
    task.queue = "celery";
    task.priority = 3;
    return task;
  }

  static inline std::unique_ptr<redis::TestServer> server_;
  EventLoop loop_;
  BlockingPool pool_{1, 10};
  LogSink sink_{::open("/dev/null", O_WRONLY | O_CLOEXEC)};
  Logger logger_{sink_, LogFormat::json, LogLevel::critical};
  redis::RedisOptions options_;
  Registry registry_;
  std::unique_ptr<redis::Client> asker_;
  std::unique_ptr<Node> node_;
  std::vector<std::string> wishes_;
  std::set<std::string> stamps_;
  std::vector<std::string> channels_;
  std::vector<json::object> events_;
};

TEST_F(CeleryNodeTest, AnswersAndTellsThatItLives) {
  with_node([this]() -> Task<void> {
    EXPECT_EQ(co_await ask("ping"), R"({"ok":"pong"})");
    EXPECT_EQ(co_await ask("no_such"), R"x({"error":"KeyError('no_such')"})x");
    auto const online = event("worker-online");
    EXPECT_EQ(online.at("hostname"), kNode);
    EXPECT_EQ(online.at("freq"), 2.0);
    EXPECT_EQ(online.at("active"), 0);
    EXPECT_EQ(online.at("loadavg").as_array().size(), 3U);
    EXPECT_TRUE(online.at("clock").is_int64());
    EXPECT_EQ(channels_.front(), "/0.celeryev/worker.online");
    (void)co_await ask("heartbeat");
    EXPECT_TRUE(co_await until([&] { return heard("worker-heartbeat") >= 1; }));
    EXPECT_GT(event("worker-heartbeat").at("clock").as_int64(), online.at("clock").as_int64());
  });
}

TEST_F(CeleryNodeTest, LeavesNothingForWhoDoesNotWait) {
  with_node([this]() -> Task<void> {
    ControlRequest request;
    request.method = "ping";
    request.ticket = "t";
    request.reply_key = "gone";
    for (auto const& destination : {std::vector<std::string>{}, {"other@here"}}) {
      request.destination = destination;
      (void)co_await asker_->command(
          {"PUBLISH", "/0.celery.pidbox", write_control_request(request)});
    }
    request.destination.reset();
    (void)co_await asker_->command({"PUBLISH", "/0.celery.pidbox", write_control_request(request)});
    (void)co_await asker_->command({"PUBLISH", "/0.celery.pidbox", "not a request"});
    EXPECT_EQ(co_await ask("ping"), R"({"ok":"pong"})");
    EXPECT_EQ((co_await asker_->command({"EXISTS", "gone.reply.celery.pidbox"}))->integer, 0);
  });
}

TEST_F(CeleryNodeTest, TellsWhatItHas) {
  with_node([this]() -> Task<void> {
    auto later = task("later");
    later.eta = Timestamp{Timestamp::now().micros + 3'600'000'000};
    node_->received(later);
    node_->received(task("waits"));
    node_->received(task("runs", "slow"));
    node_->started(task("runs", "slow"));

    auto const active = parsed(co_await ask("active"));
    EXPECT_EQ(active.as_array().size(), 1U);
    auto const& running = active.as_array().at(0).as_object();
    EXPECT_EQ(running.at("id"), "runs");
    EXPECT_EQ(running.at("name"), "slow");
    EXPECT_EQ(describe::json_text(running.at("args")), R"([1,"x"])");
    EXPECT_EQ(running.at("hostname"), kNode);
    EXPECT_EQ(running.at("worker_pid"), ::getpid());
    EXPECT_EQ(describe::json_text(running.at("delivery_info")),
              R"({"exchange":"","routing_key":"celery","priority":3,"redelivered":false})");

    auto const reserved = parsed(co_await ask("reserved"));
    EXPECT_EQ(reserved.as_array().size(), 1U);
    EXPECT_EQ(reserved.as_array().at(0).at("id"), "waits");
    EXPECT_TRUE(reserved.as_array().at(0).at("time_start").is_null());

    auto const scheduled = parsed(co_await ask("scheduled"));
    EXPECT_EQ(scheduled.as_array().size(), 1U);
    EXPECT_EQ(scheduled.as_array().at(0).at("eta"), json::value(time_text(*later.eta)));
    EXPECT_EQ(scheduled.as_array().at(0).at("request").at("id"), "later");

    auto const found = parsed(co_await ask("query_task", R"({"ids":["runs","none","waits"]})"));
    EXPECT_EQ(found.as_object().size(), 2U);
    EXPECT_EQ(found.at("runs").as_array().at(0), "active");
    EXPECT_EQ(found.at("waits").as_array().at(0), "reserved");

    node_->withdrawn("later");
    EXPECT_EQ(co_await ask("scheduled"), "[]");
    node_->succeeded(task("runs", "slow"), "3", 0.25);
    EXPECT_EQ(co_await ask("active"), "[]");
    auto const stats = parsed(co_await ask("stats"));
    EXPECT_EQ(describe::json_text(stats.at("total")), R"({"slow":1})");
    EXPECT_EQ(stats.at("pid"), ::getpid());
    EXPECT_TRUE(stats.at("clock").is_string());
    EXPECT_EQ(stats.at("pool").at("max-concurrency"), 4);
    EXPECT_EQ(stats.at("broker").at("transport"), "redis");
  });
}

TEST_F(CeleryNodeTest, TellsWhatItIs) {
  with_node([this]() -> Task<void> {
    EXPECT_THAT(texts(parsed(co_await ask("registered"))),
                ElementsAre("add", "slow [rate_limit=10/m]"));
    EXPECT_THAT(texts(parsed(co_await ask("registered", R"({"taskinfoitems":["doc"]})"))),
                ElementsAre("add", "slow"));
    auto const queues = parsed(co_await ask("active_queues"));
    EXPECT_EQ(queues.as_array().size(), 2U);
    EXPECT_EQ(queues.as_array().at(1).at("exchange").at("name"), "other");
    EXPECT_EQ(co_await ask("conf"), R"({"timezone":"UTC"})");
    EXPECT_THAT(co_await ask("report"), HasSubstr("subforge:1.2.3"));
    EXPECT_TRUE(parsed(co_await ask("clock")).at("clock").is_int64());
  });
}

TEST_F(CeleryNodeTest, RevokesAndRemembers) {
  with_node([this]() -> Task<void> {
    node_->received(task("runs"));
    node_->started(task("runs"));
    EXPECT_EQ(co_await ask("revoke", R"({"task_id":["a","b"]})"),
              R"({"ok":"tasks a, b flagged as revoked"})");
    EXPECT_EQ(co_await ask("revoke", R"({"task_id":"c","terminate":true,"signal":"SIGTERM"})"),
              R"({"ok":"terminate: tasks unknown"})");
    EXPECT_EQ(co_await ask("terminate", R"({"task_id":"runs","signal":"KILL"})"),
              R"({"ok":"terminate: runs"})");
    EXPECT_THAT(co_await ask("revoke"), HasSubstr("missing 1 required positional argument"));
    EXPECT_THAT(wishes_, ElementsAre("revoke a", "revoke b", "end c", "end runs"));
    EXPECT_TRUE(node_->is_revoked("a", nullptr));
    EXPECT_FALSE(node_->is_revoked("d", nullptr));
    EXPECT_THAT(texts(parsed(co_await ask("revoked"))), ElementsAre("a", "b", "c", "runs"));
  });
}

// As Celery 5.3 and later ask for it.
TEST_F(CeleryNodeTest, RevokesByStamps) {
  with_node([this]() -> Task<void> {
    auto const stamps = parsed(R"({"order":[17,18],"user":"ann"})").as_object();
    auto stamped = task("runs");
    stamped.stamps = &stamps;
    node_->received(stamped);
    node_->started(stamped);
    node_->received(task("plain"));
    constexpr auto kMethod = "revoke_by_stamped_headers";
    EXPECT_EQ(co_await ask(kMethod, R"({"headers":{"order":5}})"),
              R"({"ok":"headers {'order': 5} flagged as revoked, but not terminated"})");
    EXPECT_FALSE(node_->is_revoked("new", &stamps));
    EXPECT_EQ(co_await ask(kMethod, R"({"headers":["user=bob"],"terminate":true})"),
              R"({"ok":"headers {'user': 'bob'} were not terminated"})");
    EXPECT_THAT(wishes_, testing::IsEmpty());
    EXPECT_EQ(co_await ask(kMethod, R"({"headers":{"order":[18,19]},"terminate":true})"),
              R"({"ok":"headers {'order': [18, 19]} revoked"})");
    EXPECT_THAT(wishes_, ElementsAre("end runs"));
    EXPECT_THAT(stamps_, ElementsAre("order\n18", "order\n19"));
    EXPECT_TRUE(node_->is_revoked("new", &stamps));
    EXPECT_FALSE(node_->is_revoked("new", nullptr));
    auto const others = parsed(R"({"order":"18","user":["bob","eve"]})").as_object();
    EXPECT_TRUE(node_->is_revoked("new", &others));
    EXPECT_THAT(co_await ask(kMethod), HasSubstr("missing 1 required positional argument"));
  });
}

TEST_F(CeleryNodeTest, ChangesLimits) {
  with_node([this]() -> Task<void> {
    EXPECT_EQ(co_await ask("rate_limit", R"({"task_name":"add","rate_limit":"5/s"})"),
              R"({"ok":"new rate limit set successfully"})");
    EXPECT_THAT(texts(parsed(co_await ask("registered"))),
                ElementsAre("add [rate_limit=5/s]", "slow [rate_limit=10/m]"));
    EXPECT_EQ(co_await ask("rate_limit", R"({"task_name":"slow","rate_limit":0})"),
              R"({"ok":"rate limit disabled successfully"})");
    EXPECT_EQ(co_await ask("rate_limit", R"({"task_name":"none","rate_limit":"5/s"})"),
              R"({"error":"unknown task"})");
    EXPECT_THAT(co_await ask("rate_limit", R"({"task_name":"add","rate_limit":"often"})"),
                HasSubstr("Invalid rate limit string"));
    EXPECT_EQ(co_await ask("time_limit", R"({"task_name":"add","soft":1,"hard":2.5})"),
              R"({"ok":"time limits set successfully"})");
    EXPECT_EQ(co_await ask("time_limit", R"({"task_name":"none"})"), R"({"error":"unknown task"})");
    EXPECT_THAT(co_await ask("pool_grow", R"({"n":1})"), HasSubstr("TASK_SLOTS"));
    EXPECT_THAT(co_await ask("add_consumer", R"({"queue":"q"})"), HasSubstr("TASK_QUEUES"));
    EXPECT_THAT(texts(parsed(co_await ask("registered"))),
                ElementsAre("add [rate_limit=5/s]", "slow"));
    EXPECT_EQ(co_await ask("shutdown"), "");
    EXPECT_THAT(wishes_, ElementsAre("add 5", "slow 0", "add 1.000000 2.500000", "shut down"));
  });
}

TEST_F(CeleryNodeTest, TellsOfTasksOnceSomebodyWantsIt) {
  with_node([this]() -> Task<void> {
    node_->received(task("unseen"));
    node_->rejected(task("unseen"), true);
    EXPECT_EQ(co_await ask("enable_events"), R"({"ok":"task events enabled"})");
    EXPECT_EQ(co_await ask("enable_events"), R"({"ok":"task events already enabled"})");
    for (auto const* const id : {"good", "bad", "again", "gone", "back"}) {
      node_->received(task(id));
      node_->started(task(id));
    }
    node_->succeeded(task("good"), "42", 0.5);
    node_->failed(task("bad"), {"ValueError('bad')", "Traceback ..."});
    node_->retried(task("again"), {"ValueError('once more')", ""});
    node_->revoked(task("gone"), {.terminated = true, .expired = false, .signal = 15});
    node_->rejected(task("back"), true);
    EXPECT_TRUE(co_await until([&] { return heard("task-rejected") == 1; }));
    EXPECT_EQ(heard("task-received"), 5);
    EXPECT_EQ(heard("task-started"), 5);
    auto const received = event("task-received");
    EXPECT_EQ(received.at("uuid"), "good");
    EXPECT_EQ(received.at("args"), "(1, 'x')");
    EXPECT_EQ(received.at("name"), "add");
    EXPECT_TRUE(received.at("parent_id").is_null());
    EXPECT_EQ(event("task-succeeded").at("result"), "42");
    EXPECT_EQ(event("task-succeeded").at("runtime"), 0.5);
    EXPECT_EQ(event("task-failed").at("exception"), "ValueError('bad')");
    EXPECT_FALSE(event("task-retried").contains("traceback"));
    EXPECT_EQ(event("task-revoked").at("signum"), 15);
    EXPECT_EQ(event("task-rejected").at("requeue"), true);
    EXPECT_THAT(channels_, testing::Contains("/0.celeryev/task.multi"));
    EXPECT_EQ(co_await ask("disable_events"), R"({"ok":"task events disabled"})");
    node_->received(task("unseen"));
    co_await loop_.sleep_ms(30);
    EXPECT_EQ(heard("task-received"), 5);
    EXPECT_EQ(co_await ask("active"), "[]");
  });
}

// Whoever starts later learns what others were told.
TEST_F(CeleryNodeTest, LearnsFromOthersWhatIsRevoked) {
  auto const later = make_node("later@here");
  with_node([&]() -> Task<void> {
    (void)co_await ask("revoke", R"({"task_id":"a"})");
    later->start();
    EXPECT_TRUE(co_await until([&] { return later->is_revoked("a", nullptr); }));
    later->stop();
    EXPECT_TRUE(co_await until([&] { return later->done(); }));
    EXPECT_TRUE(co_await until([&] { return heard("worker-offline") == 1; }));
    // The first one's own greeting may be under way still.
    std::vector<std::string> bindings;
    for (int i = 0; i < 500; ++i) {
      auto const members =
          co_await asker_->command({"SMEMBERS", "_kombu.binding.reply.celery.pidbox"});
      bindings.clear();
      for (auto const& member : members->items) bindings.push_back(member.text);
      if (std::ranges::all_of(bindings, [](auto const& b) { return b.contains("asker"); })) break;
      co_await loop_.sleep_ms(10);
    }
    EXPECT_THAT(bindings, testing::Each(HasSubstr("asker")));
    events_.clear();
    auto const answer =
        parsed(co_await ask("hello", R"({"from_node":"py@here","revoked":{"z":[1.5,"z"]}})"));
    EXPECT_THAT(answer.at("revoked").as_object().at("a").as_array().at(1), json::value("a"));
    EXPECT_TRUE(answer.at("clock").is_int64());
    EXPECT_TRUE(node_->is_revoked("z", nullptr));
    EXPECT_EQ(co_await ask("hello", R"({"from_node":"ours@here"})"), "null");
  });
}

TEST_F(CeleryNodeTest, ComesBackAfterRedisWasAway) {
  redis::TestServer mortal;
  options_.url = redis::parse_redis_url(mortal.url(), "URL").value();
  options_.reconnect_ms_max = 100;
  with_node([&]() -> Task<void> {
    mortal.kill();
    node_->received(task("meanwhile"));
    co_await loop_.sleep_ms(50);
    mortal.start();
    EXPECT_TRUE(co_await until([&] { return asker_->up(); }));
    events_.clear();
    EXPECT_TRUE(co_await until([&] { return !events_.empty(); }, 500));
    std::string answer;
    for (int i = 0; i < 10 && answer.empty(); ++i) answer = co_await ask("ping");
    EXPECT_EQ(answer, R"({"ok":"pong"})");
    EXPECT_THAT(co_await ask("reserved"), HasSubstr("meanwhile"));
  });
}

}  // namespace
}  // namespace subforge::jobs::celery
