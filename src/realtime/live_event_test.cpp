#include "realtime/live_event.hpp"

#include <set>
#include <vector>

#include <boost/json/parse.hpp>
#include <gtest/gtest.h>

namespace subforge::realtime {
namespace {

namespace json = boost::json;

int projected = 0;

std::optional<Message> first_version(store::Event const& event, json::object const& payload) {
  ++projected;
  return Message{"{\"by\":\"" + event.actor +
                 "\",\"n\":" + std::to_string(payload.at("n").as_int64()) + "}"};
}
std::optional<Message> second_version(store::Event const&, json::object const&) {
  ++projected;
  return Message{R"({"deep":[0.7]})", "origin-1"};
}
std::optional<Message> nothing(store::Event const&, json::object const&) { return std::nullopt; }

constexpr Projection kRows[] = {
    {"both", {"one", &first_version}, {"two", &second_version}},
    {"first", {"one", &first_version}, {}},
    {"second", {}, {"two", &second_version}},
    {"neither", {"one", &nothing}, {"two", &nothing}},
};

store::EventPtr event(std::string kind, std::string payload = R"({"n":5})") {
  store::Event made;
  made.id = 42;
  made.at = Timestamp{1'767'323'045'000'000};
  made.kind = std::move(kind);
  made.actor = "alice";
  made.correlation_id = "c-1";
  made.payload = std::move(payload);
  return std::make_shared<store::Event const>(std::move(made));
}

Projection const* row(std::string_view kind) {
  static Projections const projections = [] {
    Projections all;
    all.add(kRows);
    return all;
  }();
  return projections.find(kind);
}

std::string v1_text(LiveEvent const& live) {
  std::string buffer;
  return std::string(live.text(Protocol::v1, {}, buffer));
}
std::string v2_text(LiveEvent const& live, std::string_view room) {
  std::string buffer;
  return std::string(live.text(Protocol::v2, room, buffer));
}

TEST(Projections, AreFoundByKind) {
  EXPECT_EQ(row("first")->kind, "first");
  EXPECT_EQ(row("unknown"), nullptr);
  EXPECT_EQ(row(""), nullptr);
}

TEST(LiveEvent, LooksAsEachProtocolWants) {
  LiveEvent const live(event("both"), "epoch-42", row("both"));
  EXPECT_EQ(
      v1_text(live),
      R"({"type":"one","data":{"by":"alice","n":5},)"
      R"("timestamp":"2026-01-02T03:04:05.000000Z","broadcast_id":42,"event_id":"epoch-42"})");
  EXPECT_TRUE(live.carried_by(Protocol::v2));
  EXPECT_EQ(live.origin(Protocol::v2), "origin-1");
  auto const text = json::parse(v2_text(live, "room 1")).get_object();
  EXPECT_EQ(text.at("type"), "two");
  EXPECT_EQ(text.at("room"), "room 1");
  EXPECT_EQ(text.at("data"), json::parse(R"({"deep":[0.7]})"));
  EXPECT_EQ(text.at("timestamp"), "2026-01-02T03:04:05.000000Z");
  EXPECT_EQ(text.at("correlation_id"), "c-1");
  EXPECT_EQ(text.at("event_id"), "epoch-42");
  EXPECT_TRUE(json::parse(v2_text(live, {})).at("room").is_null());
}

// Marked, and without what a client comes back with: the id of a stream, the offset of Socket.IO.
TEST(LiveEvent, IsMarkedWhereItWasKept) {
  LiveEvent const live(event("both"), "epoch-42", row("both"));
  EXPECT_EQ(live.kept_text(Protocol::v1),
            v1_text(live).substr(0, v1_text(live).size() - 1) + R"(,"inbox":true})");
  auto expected = json::parse(v2_text(live, {})).get_object();
  expected["inbox"] = true;
  EXPECT_EQ(json::parse(live.kept_text(Protocol::v2)), expected);
  EXPECT_EQ(live.kept_text(Protocol::sse),
            "event: two\ndata: " + live.kept_text(Protocol::v2) + "\n\n");
  EXPECT_EQ(live.kept_text(Protocol::socketio),
            R"(42["one",{"by":"alice","n":5,"timestamp":"2026-01-02T03:04:05.000000Z",)"
            R"("event_id":"epoch-42","inbox":true}])");
}

TEST(LiveEvent, IsProjectedOnceForEachProtocolThatAsks) {
  LiveEvent const live(event("both"), "epoch-42", row("both"));
  projected = 0;
  EXPECT_TRUE(live.carried_by(Protocol::sse));
  EXPECT_TRUE(live.carried_by(Protocol::v2));
  EXPECT_EQ(projected, 1) << "nobody speaks the others";
  for (int i = 0; i < 3; ++i) {
    EXPECT_TRUE(live.carried_by(Protocol::v1));
    EXPECT_FALSE(v2_text(live, "r").empty());
  }
  EXPECT_EQ(projected, 2);
}

TEST(LiveEvent, TheMessageKeepsItsIdHoweverOftenItIsSent) {
  auto const id_of = [](LiveEvent const& live, std::string_view room) {
    return std::string(json::parse(v2_text(live, room)).at("message_id").as_string());
  };
  LiveEvent const live(event("both"), "epoch-42", row("both"));
  LiveEvent const replayed(event("both"), "epoch-42", row("both"));
  LiveEvent const other(event("both"), "epoch-43", row("both"));
  EXPECT_TRUE(Uuid::parse(id_of(live, "a")));
  EXPECT_EQ(id_of(live, "a"), id_of(live, "b"));
  EXPECT_EQ(id_of(live, "a"), id_of(replayed, "a"));
  EXPECT_NE(id_of(live, "a"), id_of(other, "a"));
}

TEST(LiveEvent, EveryTextIsDeflatedOnce) {
  store::Event made = *event("both");
  made.audience = store::Audience{store::Audience::To::rooms, {"a", "b"}, {}};
  LiveEvent const live(std::make_shared<store::Event const>(made), "e", row("both"));
  std::vector<net::WsDeflatedOnce const*> const all = {
      &live.deflated(Protocol::v1, {}), &live.deflated(Protocol::v2, {}),
      &live.deflated(Protocol::v2, "a"), &live.deflated(Protocol::v2, "b")};
  EXPECT_EQ(std::set(all.begin(), all.end()).size(), all.size()) << "different texts";
  EXPECT_EQ(&live.deflated(Protocol::v2, "b"), all.back()) << "the same for every loop";
  // It looks the same in every room.
  EXPECT_EQ(&live.deflated(Protocol::v1, "a"), all.front());
}

TEST(LiveEvent, IsNotWhereItsKindIsNotCarried) {
  LiveEvent const first(event("first"), "e", row("first"));
  EXPECT_TRUE(first.carried_by(Protocol::v1));
  EXPECT_FALSE(first.carried_by(Protocol::v2));
  EXPECT_EQ(v2_text(first, "r"), "");
  EXPECT_EQ(first.origin(Protocol::v2), "");
  LiveEvent const second(event("second"), "e", row("second"));
  EXPECT_FALSE(second.carried_by(Protocol::v1));
  EXPECT_TRUE(second.carried_by(Protocol::v2));
  LiveEvent const neither(event("neither"), "e", row("neither"));
  EXPECT_FALSE(neither.carried_by(Protocol::v1));
  EXPECT_FALSE(neither.carried_by(Protocol::v2));
  LiveEvent const unknown(event("x"), "e", nullptr);
  EXPECT_FALSE(unknown.carried_by(Protocol::v1));
  EXPECT_FALSE(unknown.carried_by(Protocol::v2));
  for (auto const* payload : {"", "[]", "{", "null"}) {
    LiveEvent const broken(event("both", payload), "e", row("both"));
    EXPECT_FALSE(broken.carried_by(Protocol::v1)) << payload;
    EXPECT_FALSE(broken.carried_by(Protocol::v2)) << payload;
  }
}

TEST(Envelope, AllMembersAreAlwaysThere) {
  auto const plain = json::parse(write_envelope({.type = "pong"})).get_object();
  EXPECT_EQ(plain.size(), 6U);
  EXPECT_EQ(plain.at("type"), "pong");
  EXPECT_TRUE(plain.at("room").is_null());
  EXPECT_EQ(plain.at("data"), json::object{});
  EXPECT_TRUE(Timestamp::parse(std::string_view(plain.at("timestamp").as_string())));
  EXPECT_TRUE(Uuid::parse(std::string_view(plain.at("message_id").as_string())));
  EXPECT_TRUE(plain.at("correlation_id").is_null());
  auto const again = json::parse(write_envelope({.type = "pong"})).get_object();
  EXPECT_NE(plain.at("message_id"), again.at("message_id"));
  auto const odd = json::parse(write_envelope({.type = "t", .room = "a\"b\n", .event_id = "e-1"}));
  EXPECT_EQ(odd.at("room"), "a\"b\n");
  EXPECT_EQ(odd.at("event_id"), "e-1");
}

}  // namespace
}  // namespace subforge::realtime
