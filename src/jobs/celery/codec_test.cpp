// Messages and results, as real clients and workers were seen to write them.
#include <random>
#include <tuple>

#include <boost/json/serialize.hpp>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/json_writer.hpp"
#include "base/text.hpp"
#include "describe/json_text.hpp"
#include "describe/parse_json.hpp"
#include "jobs/celery/message.hpp"
#include "jobs/celery/plain_json.hpp"
#include "jobs/celery/python_json.hpp"
#include "jobs/celery/result_meta.hpp"

namespace subforge::jobs::celery {
namespace {

namespace json = boost::json;

// The smallest message that a worker in Python accepts, with parts replaced.
struct Minimal {
  std::string body = R"([[20,22],{},{}])";
  std::string headers = R"({"task":"tasks.add","id":"hand-1"})";
  std::string content_type = R"("application/json")";
  std::string properties =
      R"({"delivery_tag":"dt-hand-1","delivery_info":{"exchange":"","routing_key":"celery"},)"
      R"("body_encoding":"base64"})";

  [[nodiscard]] std::string text() const {
    return R"({"body":)" + json_string(base64_encode(body)) + R"(,"content-encoding":"utf-8",)" +
           R"("content-type":)" + content_type + R"(,"headers":)" + headers + R"(,"properties":)" +
           properties + "}";
  }
};

// As Celery 5.2.6 sends a task with countdown, expiry, limits and an own header.
std::string full_text() {
  Minimal message;
  message.body = R"([[1,"a"],{"k":null},{"callbacks":[{"task":"tasks.done","args":[],"kwargs":{},)"
                 R"("options":{"task_id":"cb-1"},"subtask_type":null,"immutable":false}],)"
                 R"("errbacks":null,"chain":[],"chord":null}])";
  message.headers =
      R"({"lang":"py","task":"tasks.add","id":"3f0e8a8e-0e0b-4c0e-8a8e-0e0b4c0e8a8e",)"
      R"("shadow":null,"eta":"2026-11-29T02:00:00.123456+00:00",)"
      R"("expires":"2026-11-29T03:00:00+00:00","group":"g-1","group_index":3,"retries":2,)"
      R"-("timelimit":[9,7],"root_id":"root","parent_id":"parent","argsrepr":"(1, 'a')",)-"
      R"("kwargsrepr":"{'k': None}","origin":"gen77@host","ignore_result":true,)"
      R"("x-own":{"deep":[1,2.5,18446744073709551615]}})";
  message.properties =
      R"({"correlation_id":"3f0e8a8e-0e0b-4c0e-8a8e-0e0b4c0e8a8e","reply_to":"r-1",)"
      R"("delivery_mode":2,"delivery_info":{"exchange":"","routing_key":"other"},"priority":6,)"
      R"("body_encoding":"base64","delivery_tag":"dt-1","expiration":"600000"})";
  return message.text();
}

TEST(CeleryMessageTest, ReadsTheSmallestOne) {
  auto const read = read_message(Minimal().text());
  ASSERT_FALSE(read.fault);
  EXPECT_EQ(read.message.id, "hand-1");
  EXPECT_EQ(read.message.task, "tasks.add");
  EXPECT_EQ(read.message.args, "[20,22]");
  EXPECT_EQ(read.message.kwargs, "{}");
  EXPECT_EQ(read.message.queue, "celery");
  EXPECT_EQ(read.message.delivery_tag, "dt-hand-1");
  EXPECT_EQ(read.message.priority, 0);
  EXPECT_FALSE(read.message.eta || read.message.expires || read.message.hard_limit);
}

TEST(CeleryMessageTest, ReadsEverything) {
  auto const read = read_message(full_text());
  ASSERT_FALSE(read.fault) << read.fault->args;
  auto const& message = read.message;
  EXPECT_EQ(message.args, R"([1,"a"])");
  EXPECT_EQ(message.kwargs, R"({"k":null})");
  EXPECT_EQ(message.eta, Timestamp::parse("2026-11-29T02:00:00.123456Z"));
  EXPECT_EQ(message.expires, Timestamp::parse("2026-11-29T03:00:00Z"));
  EXPECT_EQ(message.hard_limit, 9);
  EXPECT_EQ(message.soft_limit, 7);
  EXPECT_EQ(message.group, "g-1");
  EXPECT_EQ(message.group_index, 3);
  EXPECT_EQ(message.retries, 2);
  EXPECT_EQ(message.root_id, "root");
  EXPECT_EQ(message.parent_id, "parent");
  EXPECT_EQ(message.priority, 6);
  EXPECT_EQ(message.queue, "other");
  EXPECT_EQ(message.reply_to, "r-1");
  EXPECT_TRUE(message.ignore_result);
  ASSERT_EQ(message.callbacks.size(), 1U);
  EXPECT_TRUE(message.errbacks.empty() && message.chain.empty() && message.chord.empty());
}

TEST(CeleryMessageTest, ReadsTimesInEveryForm) {
  for (auto const* text : {"2026-11-29T02:00:00Z", "2026-11-29T02:00:00+00:00",
                           "2026-11-29T02:00:00", "2026-11-29T03:00:00.000000+01:00"}) {
    Minimal message;
    message.headers = R"({"task":"t","id":"1","eta":")" + std::string(text) + "\"}";
    auto const read = read_message(message.text());
    EXPECT_FALSE(read.fault);
    EXPECT_EQ(read.message.eta, Timestamp::parse("2026-11-29T02:00:00Z")) << text;
  }
}

TEST(CeleryMessageTest, AcceptsWhatPythonAccepts) {
  Minimal null_embed;
  null_embed.body = "[[],{},null]";
  Minimal unknown;
  unknown.headers = R"({"task":"t","id":"1","unknown":[1],"stamps":{"a":"b"}})";
  Minimal priority;
  priority.properties = R"({"delivery_tag":"d","priority":"high","body_encoding":"base64"})";
  for (auto const& message : {null_embed, unknown, priority}) {
    EXPECT_FALSE(read_message(message.text()).fault) << message.text();
  }
  auto const plain =
      read_message(R"({"body":"[[20,22],{},{}]","content-type":"application/json",)"
                   R"("headers":{"task":"t","id":"1"},"properties":{"delivery_tag":"d"}})");
  ASSERT_FALSE(plain.fault);
  EXPECT_EQ(plain.message.args, "[20,22]");
  Minimal utf8;
  utf8.properties = R"({"body_encoding":"utf-8"})";
  auto text = utf8.text();
  text.replace(text.find(base64_encode(utf8.body)), base64_encode(utf8.body).size(), "[[],{},{}]");
  EXPECT_FALSE(read_message(text).fault) << "kombu 5.4";
}

TEST(CeleryMessageTest, ReadsProtocol1) {
  Minimal old;
  old.headers = "{}";
  old.body = R"({"task":"tasks.add","id":"old-1","args":[2,3],"kwargs":{"a":1},"retries":1,)"
             R"("eta":null,"expires":null,"taskset":"g","timelimit":[null,5]})";
  auto const read = read_message(old.text());
  ASSERT_FALSE(read.fault) << read.fault->args;
  EXPECT_EQ(read.message.id, "old-1");
  EXPECT_EQ(read.message.args, "[2,3]");
  EXPECT_EQ(read.message.kwargs, R"({"a":1})");
  EXPECT_EQ(read.message.retries, 1);
  EXPECT_EQ(read.message.group, "g");
  EXPECT_EQ(read.message.soft_limit, 5);
  EXPECT_EQ(read.message.queue, "celery");
}

TEST(CeleryMessageTest, TellsWhatIsWrongAndKeepsTheId) {
  struct Case {
    std::string text;
    std::string type;
    std::string id;
  };
  auto const with = [](auto change) {
    Minimal message;
    change(message);
    return message.text();
  };
  std::vector<Case> const cases = {
      {"", "DecodeError", ""},
      {"not json", "DecodeError", ""},
      {"[1]", "DecodeError", ""},
      {with([](Minimal& m) { m.headers = R"({"task":"t"})"; }), "ValueError", ""},
      {with([](Minimal& m) { m.headers = R"({"id":"1"})"; }), "ValueError", "1"},
      {with([](Minimal& m) { m.body = "[[],{}]"; }), "ValueError", "hand-1"},
      {with([](Minimal& m) { m.body = "[[],{},{}"; }), "DecodeError", "hand-1"},
      {with([](Minimal& m) { m.body = "[{},{},{}]"; }), "TypeError", "hand-1"},
      {with([](Minimal& m) { m.body = "[[],[],{}]"; }), "TypeError", "hand-1"},
      {with([](Minimal& m) { m.body = "[[],{},7]"; }), "ValueError", "hand-1"},
      {with([](Minimal& m) { m.content_type = R"("application/x-yaml")"; }), "ContentDisallowed",
       "hand-1"},
      {with([](Minimal& m) { m.content_type = "null"; }), "ContentDisallowed", "hand-1"},
      {with([](Minimal& m) { m.headers = R"({"task":"t","id":"1","eta":"soon"})"; }), "ValueError",
       "1"},
      {with([](Minimal& m) { m.headers = R"({"task":"t","id":"1","expires":5})"; }), "ValueError",
       "1"},
      {R"({"headers":{"task":"t","id":"1"},"properties":{}})", "DecodeError", "1"},
      {R"({"body":"@@","content-type":"application/json","headers":{"task":"t","id":"1"},)"
       R"("properties":{"body_encoding":"base64"}})",
       "DecodeError", "1"},
  };
  for (auto const& one : cases) {
    auto const read = read_message(one.text);
    ASSERT_TRUE(read.fault) << one.text;
    EXPECT_EQ(read.fault->type, one.type) << one.text;
    EXPECT_EQ(read.message.id, one.id) << one.text;
  }
}

void expect_same(ReadMessage const& one, ReadMessage const& other, std::string const& text) {
  SCOPED_TRACE(text);
  EXPECT_EQ(one.fault, other.fault);
  auto const& a = one.message;
  auto const& b = other.message;
  auto const texts = [](TaskMessage const& of) {
    return std::tie(of.id, of.task, of.args, of.kwargs, of.queue, of.root_id, of.parent_id,
                    of.group, of.reply_to, of.delivery_tag, of.exchange, of.routing_key, of.origin,
                    of.shadow);
  };
  EXPECT_EQ(texts(a), texts(b));
  auto const figures = [](TaskMessage const& of) {
    return std::tie(of.priority, of.retries, of.eta, of.expires, of.hard_limit, of.soft_limit,
                    of.group_index, of.ignore_result, of.redelivered);
  };
  EXPECT_EQ(figures(a), figures(b));
  EXPECT_EQ(a.callbacks, b.callbacks);
  EXPECT_EQ(a.errbacks, b.errbacks);
  EXPECT_EQ(a.chain, b.chain);
  EXPECT_EQ(a.chord, b.chord);
  EXPECT_EQ(a.headers, b.headers);
}

std::string replaced(std::string text, std::string_view from, std::string_view to) {
  if (auto const at = text.find(from); at != std::string::npos) text.replace(at, from.size(), to);
  return text;
}

// Most messages are read without the parser of JSON. An escape makes them go to it, and changes
// nothing about what they say; so the one is held against the other, also of what is broken.
TEST(CeleryMessageTest, ReadsPlainOnesAsTheParserDoes) {
  constexpr std::string_view kBytes = "{}[]\",:\\0123456789.-+eE tfanul\n\x7f\xc3\xa4";
  std::mt19937 random(7);
  auto const number = [&random](std::size_t below) { return random() % below; };
  auto const damage = [&](std::string& text) {
    auto const at = number(text.size());
    switch (number(4)) {
      case 0: text.erase(at, 1 + number(3)); break;
      case 1: text.insert(at, 1, kBytes[number(kBytes.size())]); break;
      case 2: text.insert(at, text.substr(number(text.size()), number(40))); break;
      default: text[at] = kBytes[number(kBytes.size())];
    }
  };
  Minimal plain;
  plain.body =
      R"([[1,-2.5,{"a":[true,null]}],{"k":"v"},{"callbacks":null,"errbacks":null,"chord":null}])";
  plain.headers =
      R"({"lang":"py","task":"t","id":"3f0e8a8e-0e0b-4c0e-8a8e-0e0b4c0e8a8e","shadow":null,)"
      R"-("eta":null,"retries":0,"timelimit":[null,1.5],"stamps":{},"argsrepr":"(1, -2.5)"})-";
  constexpr int kMessages = 3'000;
  int runnable = 0;
  for (int i = 0; i < kMessages; ++i) {
    auto message = i % 2 == 0 ? plain : Minimal();
    if (i % 3 == 0) damage(message.body);
    auto text = message.text();
    message.body = replaced(message.body, R"("chord")", R"("chor\u0064")");
    auto other = message.text();
    if (i % 3 == 1) {
      damage(text);
      other = text;
    }
    other = replaced(other, R"("content-type")", R"("content-typ\u0065")");
    auto const read = read_message(text);
    expect_same(read, read_message(other), text);
    runnable += read.fault ? 0 : 1;
  }
  EXPECT_GT(runnable, kMessages / 3);
  EXPECT_LT(runnable, kMessages);
  auto const full = full_text();
  expect_same(read_message(full), read_message(replaced(full, R"("lang")", R"("lan\u0067")")),
              full);
}

TEST(CeleryMessageTest, LeavesToTheParserWhatIsNotPlain) {
  PlainJson json;
  auto const plain = [&json](std::string_view text) { return json.read(text, 2) != nullptr; };
  for (auto const* const text : {"{}", " [1, -2, 0.5, \"a\", true, false, null] ",
                                 "123456789012345678", R"({"a": {"b": [{"c": {"d": 1}}]}})"}) {
    EXPECT_TRUE(plain(text)) << text;
  }
  for (auto const* const text :
       {"", "{", "[1,]", "{\"a\" 1}", "{\"a\":1,\"a\":2}", "1234567890123456789", "-0", "01", "1.",
        ".5", "1e2", "nul", "\"\\n\"", "\"\n\"", "\"\xc3\xa4\"", "\"a", "1 2", "[1}", "NaN"}) {
    EXPECT_FALSE(plain(text)) << text;
  }
  EXPECT_FALSE(plain(std::string(100, '[') + std::string(100, ']'))) << "too deep";
  std::string many = "[0";
  for (std::size_t i = 0; i < PlainJson::kPartsMax; ++i) many += ",0";
  EXPECT_FALSE(plain(many + "]"));
  EXPECT_TRUE(plain("[[[" + many + "]]]]")) << "too deep to be kept";
  auto const* const value = json.read(R"({"a":[1,"x",{"y":2}],"b":{"c":3}})", 2);
  ASSERT_NE(value, nullptr);
  auto const whole = value->get_object();
  ASSERT_NE(whole.if_contains("a"), nullptr);
  auto const list = whole.if_contains("a")->get_array();
  EXPECT_EQ(list.size(), 3U);
  EXPECT_EQ(list[1].get_string(), "x");
  EXPECT_EQ(list[2].text(), R"({"y":2})");
  EXPECT_EQ(whole.if_contains("b")->get_object().if_contains("c")->if_int64(), 3);
  EXPECT_FALSE(whole.contains("c"));
}

TEST(CeleryMessageTest, WritesWhatItReads) {
  auto const first = read_message(full_text()).message;
  auto const again = read_message(write_message(first));
  ASSERT_FALSE(again.fault) << again.fault->args;
  auto const& second = again.message;
  EXPECT_EQ(second.id, first.id);
  EXPECT_EQ(second.args, first.args);
  EXPECT_EQ(second.kwargs, first.kwargs);
  EXPECT_EQ(second.eta, first.eta);
  EXPECT_EQ(second.expires, first.expires);
  EXPECT_EQ(second.hard_limit, first.hard_limit);
  EXPECT_EQ(second.soft_limit, first.soft_limit);
  EXPECT_EQ(second.callbacks, first.callbacks);
  EXPECT_EQ(second.group_index, first.group_index);
  EXPECT_EQ(second.headers.at("x-own"), first.headers.at("x-own"));
  EXPECT_EQ(second.headers.at("replaced_task_nesting"), 0) << "as Celery 5.3 writes";
  auto const written = describe::parse_json(write_message(first));
  EXPECT_EQ(written.at("headers").at("argsrepr"), "(1, 'a')");
  EXPECT_EQ(second.delivery_tag, first.delivery_tag);
  EXPECT_EQ(second.queue, "other");
  WriteOptions old;
  old.stamps = false;
  EXPECT_FALSE(read_message(write_message(first, old)).message.headers.contains("stamps"));
}

TEST(CeleryMessageTest, CarriesTaggedValuesAndLargeNumbersThroughARetry) {
  Minimal message;
  message.body = R"([[{"__type__":"datetime","__value__":"2020-01-02T03:04:05+00:00"},)"
                 R"(123456789012345678901234567890, "a,]\"b"],{"z": 1.10},{}])";
  message.headers = R"({"task":"t","id":"1","stamped_headers":["a"],"stamps":{"a":["b"]}})";
  auto const first = read_message(message.text()).message;
  auto const next = next_try(first, Timestamp{1'000'000});
  auto const second = read_message(write_message(next)).message;
  EXPECT_EQ(second.args, first.args);
  EXPECT_THAT(second.args, testing::HasSubstr("123456789012345678901234567890"));
  EXPECT_EQ(second.kwargs, R"({"z": 1.10})");
  EXPECT_EQ(second.id, "1");
  EXPECT_EQ(second.retries, 1);
  EXPECT_EQ(second.parent_id, "1");
  EXPECT_EQ(second.eta, Timestamp{1'000'000});
  EXPECT_EQ(describe::json_text(second.headers.at("stamps")), R"({"a":["b"]})");
  EXPECT_NE(second.delivery_tag, first.delivery_tag);
  EXPECT_FALSE(second.delivery_tag.empty());
}

json::object object_of(std::string_view text) { return describe::parse_json(text).get_object(); }

TEST(CeleryMessageTest, StartsSignatures) {
  TaskMessage parent;
  parent.id = "p";
  parent.root_id = "r";
  auto const linked = message_of(
      object_of(R"({"task":"t.next","args":[1],"kwargs":{"b":2},"options":{"task_id":"n-1",)"
                R"("queue":"other","priority":3,"link_error":[{"task":"e"}]},"immutable":false})"),
      parent, "42", "celery");
  ASSERT_TRUE(linked);
  EXPECT_EQ(linked->id, "n-1");
  EXPECT_EQ(linked->args, "[42,1]");
  EXPECT_EQ(linked->kwargs, R"({"b":2})");
  EXPECT_EQ(linked->queue, "other");
  EXPECT_EQ(linked->priority, 3);
  EXPECT_EQ(linked->root_id, "r");
  EXPECT_EQ(linked->parent_id, "p");
  EXPECT_EQ(linked->errbacks.size(), 1U);
  auto const immutable =
      message_of(object_of(R"({"task":"t","args":[1],"immutable":true})"), parent, "42", "celery");
  EXPECT_EQ(immutable->args, "[1]");
  EXPECT_EQ(immutable->queue, "celery");
  EXPECT_FALSE(immutable->id.empty());
  for (auto const* text : {R"({"task":"celery.chord"})", R"({"task":"celery.chain"})", R"({})"}) {
    EXPECT_FALSE(message_of(object_of(text), parent, "1", "celery")) << text;
  }
}

// As Python has them: its whole numbers have no bounds.
TEST(CeleryMessageTest, CarriesLongNumbersToWhatFollows) {
  std::string const large = "1180591620717411303424";
  Minimal message;
  message.body = R"([[1],{},{"chain":[{"task":"t","args":[)" + large + R"(],"kwargs":{}}]}])";
  auto const read = read_message(message.text());
  ASSERT_FALSE(read.fault);
  ASSERT_EQ(read.message.chain.size(), 1U);
  auto const next = message_of(read.message.chain[0].get_object(), read.message, "2", "celery");
  ASSERT_TRUE(next);
  EXPECT_EQ(next->args, "[2," + large + "]");
  EXPECT_THAT(write_message(*next), testing::HasSubstr("(2, " + large + ")"));
  ResultMeta meta;
  meta.task_id = "1";
  meta.status = "SUCCESS";
  meta.result = R"({"sum":)" + large + "}";
  EXPECT_EQ(read_meta(write_meta(meta)).value_or(ResultMeta{}).result, meta.result);
  EXPECT_EQ(exception_text({"KeyError", "[" + large + "]", "builtins"}), "KeyError: " + large);
  auto const faulty = R"({"task":"t","id":)" + large + "}";
  Minimal odd;
  odd.headers = faulty;
  EXPECT_TRUE(read_message(odd.text()).fault) << "no text, and so no id";
}

TEST(CeleryWireTest, KnowsBandsAndNames) {
  std::vector<int> bands;
  for (int i = -1; i <= 11; ++i) bands.push_back(band_of(i));
  EXPECT_THAT(bands, testing::ElementsAre(0, 0, 0, 0, 3, 3, 3, 6, 6, 6, 9, 9, 9));
  EXPECT_EQ(list_name("celery", 0), "celery");
  EXPECT_EQ(list_name("celery", 3),
            "celery\x06\x16"
            "3");
  EXPECT_EQ(binding_member("celery", "celery"),
            "celery\x06\x16\x06\x16"
            "celery");
  for (std::int64_t const ours : {1, 5, 8, 10}) {
    EXPECT_EQ(our_priority(celery_priority(ours)), ours);
  }
  EXPECT_EQ(celery_priority(10), 0) << "the most urgent first";
}

TEST(CeleryWireTest, NamesTasksByTheirText) {
  auto const id = Uuid::random();
  EXPECT_EQ(uuid_of(id.to_string()), id);
  EXPECT_EQ(uuid_of("hand-1"), uuid_of("hand-1"));
  EXPECT_NE(uuid_of("hand-1"), uuid_of("hand-2"));
  EXPECT_EQ(id_of_next_run("hand-1"), "hand-1:again-1");
  EXPECT_EQ(id_of_next_run("hand-1:again-9"), "hand-1:again-10");
  EXPECT_EQ(uuid_of(id_of_next_run(id_of_next_run(id.to_string()))), id);
  EXPECT_EQ(uuid_of("hand-1:again-10"), uuid_of("hand-1"));
  for (auto const* const other : {"hand-1:again-", "hand-1:again-x", ":again-1"}) {
    EXPECT_NE(uuid_of(other), uuid_of("hand-1")) << other;
    EXPECT_NE(uuid_of(other), uuid_of("")) << other;
  }
  EXPECT_NE(uuid_of("3F0E8A8E-0E0B-4C0E-8A8E-0E0B4C0E8A8E"),
            uuid_of("3f0e8a8e-0e0b-4c0e-8a8e-0e0b4c0e8a8e"))
      << "Celery tells them apart";
}

TEST(CeleryWireTest, WritesAsPythonDoes) {
  auto const repr = [](std::string_view text) { return python_repr(describe::parse_json(text)); };
  EXPECT_EQ(repr(R"({"a":[1,2.5,true,false,null],"b":"it's"})"),
            R"({'a': [1, 2.5, True, False, None], 'b': "it's"})");
  EXPECT_EQ(repr(R"("a\n\"'\\")"), R"('a\n"\'\\')");
  EXPECT_EQ(python_tuple_repr(describe::parse_json("[1]")), "(1,)");
  EXPECT_EQ(python_tuple_repr(describe::parse_json("[]")), "()");
  EXPECT_EQ(python_tuple_repr(describe::parse_json(R"(["a",2])")), "('a', 2)");
  auto const cut = repr(json_string(std::string(5'000, 'x')));
  EXPECT_EQ(cut.size(), kReprBytesMax);
  EXPECT_TRUE(cut.ends_with("..."));
}

TEST(CeleryWireTest, OpensItsOwnLetters) {
  Letter letter;
  letter.body = R"({"type":"worker-heartbeat"})";
  letter.headers = R"({"hostname":"a@b"})";
  letter.exchange = kEventExchange;
  letter.routing_key = "worker.heartbeat";
  auto const opened = open_letter(write_letter(letter));
  ASSERT_TRUE(opened);
  EXPECT_EQ(opened->body, letter.body);
  EXPECT_EQ(opened->headers, letter.headers);
  EXPECT_FALSE(open_letter("nothing"));
  EXPECT_FALSE(open_letter(R"({"body":"@","properties":{"body_encoding":"base64"}})"));
}

TEST(CeleryResultTest, WritesAndReadsResults) {
  ResultMeta meta;
  meta.task_id = "t-1";
  meta.status = state::kSuccess;
  meta.result = "42";
  meta.done_at = Timestamp::parse("2026-01-02T03:04:05.000006Z");
  meta.group_id = "g";
  auto const text = write_meta(meta);
  EXPECT_EQ(text, R"({"status":"SUCCESS","result":42,"traceback":null,"children":[],)"
                  R"("date_done":"2026-01-02T03:04:05.000006","group_id":"g","task_id":"t-1"})");
  EXPECT_EQ(read_meta(text), meta);
  EXPECT_THAT(write_meta(meta, {}, true),
              testing::HasSubstr(R"("date_done":"2026-01-02T03:04:05.000006+00:00")"));
  EXPECT_EQ(read_meta(R"({"status":"SUCCESS","result":42,"task_id":"t"})")->result, "42");
  EXPECT_EQ(
      read_meta(R"({"status":"S","task_id":"t","date_done":"2026-01-02T04:04:05+01:00"})")->done_at,
      Timestamp::parse("2026-01-02T03:04:05Z"))
      << "as Celery 5.5 writes";
  EXPECT_FALSE(read_meta("[]"));
  EXPECT_FALSE(read_meta(R"({"status":"SUCCESS"})"));
}

TEST(CeleryResultTest, ReadsWhatOnlyPythonWrites) {
  EXPECT_EQ(standard_json(R"([NaN, Infinity, -Infinity, "NaN", {"Infinity": -1}])"),
            R"(["NaN", "Infinity", "-Infinity", "NaN", {"Infinity": -1}])");
  EXPECT_EQ(standard_json(R"("\ud800 \ud83d\ude00 \udc00\" \\ud800 \u12")"),
            R"("\ufffd \ud83d\ude00 \ufffd\" \\ud800 \u12")");
  EXPECT_EQ(standard_json("\"\xed\xa0\x80\""), R"("???")");
  EXPECT_EQ(standard_json("[\"\\"), "[\"\\");
  auto const deep = standard_json(std::string(300, '[') + "\"]\"" + std::string(300, ']'));
  boost::system::error_code error;
  (void)describe::parse_json(deep, error);
  EXPECT_FALSE(error) << deep;
  auto const failed = read_meta(
      R"({"status": "FAILURE", "result": {"exc_type": "ValueError", "exc_message": [NaN],)"
      R"( "exc_module": "builtins"}, "task_id": "t"})");
  ASSERT_TRUE(failed);
  EXPECT_EQ(exception_text(*read_exception(failed->result)), "ValueError: NaN");
}

TEST(CeleryResultTest, WritesAndReadsExceptions) {
  auto const read = read_exception(
      R"({"exc_type":"ValueError","exc_message":["bad",42],"exc_module":"builtins"})");
  ASSERT_TRUE(read);
  EXPECT_EQ(exception_text(*read), "ValueError: bad, 42");
  EXPECT_EQ(exception_repr(*read), "ValueError('bad', 42)");
  EXPECT_EQ(read_exception(exception_json(*read)), read);
  EXPECT_EQ(exception_text(*read_exception(R"({"exc_type":"E","exc_message":"one"})")), "E: one");
  EXPECT_EQ(exception_text(*read_exception(R"({"exc_type":"E"})")), "E");
  EXPECT_FALSE(read_exception("42"));
  EXPECT_EQ(exception_of("ValueError: bad").type, "ValueError");
  EXPECT_EQ(exception_of("ValueError: bad").args, R"(["bad"])");
  EXPECT_EQ(exception_of("Sorry: bad").type, "RuntimeError");
  EXPECT_EQ(exception_of("Sorry: bad").args, R"(["Sorry: bad"])");
}

TEST(CeleryResultTest, NamesChildren) {
  EXPECT_EQ(children_json({}), "[]");
  EXPECT_EQ(children_json({{"a", ""}}), R"([[["a",null],null]])");
  EXPECT_EQ(children_json({{"a", "g"}, {"b", "g"}, {"c", ""}}),
            R"([[["g",null],[[["a",null],null],[["b",null],null]]],[["c",null],null]])");
}

}  // namespace
}  // namespace subforge::jobs::celery
