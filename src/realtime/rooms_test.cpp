#include "realtime/rooms.hpp"

#include <gtest/gtest.h>

namespace subforge::realtime {
namespace {

// "+alice -bob" for who came and went in a room.
std::string text_of(RoomNews const& news) {
  std::string text;
  auto const add = [&](char sign, std::vector<PresenceChange> const& changes) {
    for (auto const& change : changes) {
      if (!text.empty()) text += " ";
      text += sign + (change.user.empty() ? change.connection_id : change.user);
    }
  };
  add('+', news.joined);
  add('-', news.left);
  return text + " =" + std::to_string(news.members);
}

std::string only_news(RoomDirectory& rooms) {
  auto const news = rooms.take_news();
  if (news.empty()) return "none";
  EXPECT_EQ(news.size(), 1U);
  return text_of(news.front());
}

TEST(Rooms, CountMembers) {
  RoomDirectory rooms(10);
  EXPECT_EQ(rooms.join("r", {"1", "alice"}, false), 1U);
  EXPECT_EQ(rooms.join("r", {"2", "bob"}, false), 2U);
  EXPECT_EQ(rooms.join("r", {"2", "bob"}, true), 2U) << "joining again changes no count";
  EXPECT_EQ(rooms.members_of("r"), 2U);
  EXPECT_EQ(rooms.leave("r", {"1", "alice"}), 1U);
  EXPECT_EQ(rooms.leave("r", {"2", "bob"}), 0U);
  EXPECT_EQ(rooms.room_count(), 0U) << "the last one out ends the room";
  EXPECT_EQ(rooms.leave("r", {"2", "bob"}), 0U);
  EXPECT_EQ(rooms.members_of("r"), 0U);
}

TEST(Rooms, HaveALimit) {
  RoomDirectory rooms(2);
  EXPECT_EQ(rooms.join("a", {"1", "alice"}, false), 1U);
  EXPECT_EQ(rooms.join("b", {"1", "alice"}, false), 1U);
  EXPECT_EQ(rooms.join("c", {"1", "alice"}, false), 0U);
  EXPECT_EQ(rooms.join("b", {"2", "bob"}, false), 2U);
  rooms.leave("a", {"1", "alice"});
  EXPECT_EQ(rooms.join("c", {"1", "alice"}, false), 1U);
}

TEST(RoomNews, TellWhoCameAndWentOnce) {
  RoomDirectory rooms(10);
  rooms.join("r", {"1", "alice"}, false);
  rooms.join("r", {"2", "bob"}, false);
  EXPECT_TRUE(rooms.has_news());
  EXPECT_EQ(only_news(rooms), "+alice +bob =2");
  EXPECT_FALSE(rooms.has_news());
  EXPECT_EQ(only_news(rooms), "none");
  rooms.leave("r", {"1", "alice"});
  EXPECT_EQ(only_news(rooms), "-alice =1");
}

TEST(RoomNews, WhoCameAndWentBetweenTwoLooksWasNeverThere) {
  RoomDirectory rooms(10);
  rooms.join("r", {"1", "alice"}, false);
  static_cast<void>(rooms.take_news());
  rooms.join("r", {"2", "bob"}, false);
  rooms.leave("r", {"2", "bob"});
  EXPECT_EQ(only_news(rooms), "none");
  rooms.join("r", {"2", "bob"}, false);
  static_cast<void>(rooms.take_news());
  rooms.leave("r", {"2", "bob"});
  rooms.join("r", {"3", "bob"}, false);
  EXPECT_EQ(only_news(rooms), "none") << "a user who reconnects was not away";
}

TEST(RoomNews, AUserWithSeveralConnectionsIsOne) {
  RoomDirectory rooms(10);
  rooms.join("r", {"1", "alice"}, false);
  rooms.join("r", {"2", "bob"}, false);
  rooms.join("r", {"3", "bob"}, false);
  EXPECT_EQ(only_news(rooms), "+alice +bob =3");
  rooms.leave("r", {"2", "bob"});
  EXPECT_EQ(only_news(rooms), "none");
  rooms.leave("r", {"3", "bob"});
  EXPECT_EQ(only_news(rooms), "-bob =1");
}

TEST(RoomNews, AnonymousConnectionsAreEachTheirOwn) {
  RoomDirectory rooms(10);
  rooms.join("r", {"1", ""}, false);
  rooms.join("r", {"2", ""}, false);
  EXPECT_EQ(only_news(rooms), "+1 +2 =2");
  rooms.leave("r", {"1", ""});
  EXPECT_EQ(only_news(rooms), "-1 =1");
}

TEST(RoomNews, JoiningAgainIsAnnouncedAgain) {
  RoomDirectory rooms(10);
  rooms.join("r", {"1", "alice"}, false);
  static_cast<void>(rooms.take_news());
  rooms.join("r", {"1", "alice"}, true);
  EXPECT_EQ(only_news(rooms), "+alice =1");
}

TEST(RoomNews, WhoJoinsAgainAndLeavesHasLeft) {
  RoomDirectory rooms(10);
  rooms.join("r", {"1", "alice"}, false);
  rooms.join("r", {"2", "bob"}, false);
  static_cast<void>(rooms.take_news());
  rooms.join("r", {"2", "bob"}, true);
  rooms.join("r", {"2", "bob"}, true);
  rooms.leave("r", {"2", "bob"});
  EXPECT_EQ(only_news(rooms), "-bob =1");
  rooms.join("r", {"2", "bob"}, false);
  rooms.join("r", {"2", "bob"}, true);
  rooms.leave("r", {"2", "bob"});
  EXPECT_EQ(only_news(rooms), "none") << "who was not there before was never there";
  // The connection that joined again is not the user's last one.
  rooms.join("r", {"3", "alice"}, false);
  rooms.join("r", {"3", "alice"}, true);
  rooms.leave("r", {"3", "alice"});
  EXPECT_EQ(only_news(rooms), "+alice =1");
}

TEST(RoomNews, AnEndedRoomHasNone) {
  RoomDirectory rooms(10);
  rooms.join("r", {"1", "alice"}, false);
  rooms.leave("r", {"1", "alice"});
  EXPECT_EQ(only_news(rooms), "none");
  // One of the same name begins anew, and its news come once although it is noted twice.
  rooms.join("r", {"2", "bob"}, false);
  rooms.leave("r", {"2", "bob"});
  rooms.join("r", {"3", "carol"}, false);
  EXPECT_EQ(only_news(rooms), "+carol =1");
}

}  // namespace
}  // namespace subforge::realtime
