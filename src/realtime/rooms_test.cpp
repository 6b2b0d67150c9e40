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

// Two servers that hear of each other at once.
class RoomsOfTwoServers : public testing::Test {
 protected:
  // Tells each what the other has to tell.
  void exchange() {
    there_.hear("here", here_.take_news_of_here(), false, ++now_);
    here_.hear("there", there_.take_news_of_here(), false, now_);
  }

  RoomDirectory here_{10, true};
  RoomDirectory there_{10, true};
  std::int64_t now_ = 0;
};

TEST_F(RoomsOfTwoServers, AUserComesWithTheFirstConnectionAndGoesWithTheLast) {
  here_.join("r", {"1", "alice"}, false);
  exchange();
  EXPECT_EQ(there_.members_of("r"), 1U);
  EXPECT_EQ(only_news(there_), "none") << "nobody is there to hear of it";
  EXPECT_EQ(there_.join("r", {"2", "bob"}, false), 2U);
  exchange();
  EXPECT_EQ(only_news(here_), "+alice +bob =2");
  EXPECT_EQ(only_news(there_), "+bob =2");
  there_.join("r", {"3", "alice"}, false);
  here_.join("r", {"4", "bob"}, false);
  exchange();
  EXPECT_EQ(only_news(here_), "none") << "both were there already";
  EXPECT_EQ(only_news(there_), "none");
  EXPECT_EQ(here_.find("r")->connections, 4U);
  EXPECT_EQ(here_.find("r")->members, (std::vector<std::string>{"alice", "bob"}));
  here_.leave("r", {"1", "alice"});
  exchange();
  EXPECT_EQ(only_news(here_), "none");
  EXPECT_EQ(only_news(there_), "none");
  there_.leave("r", {"3", "alice"});
  exchange();
  EXPECT_EQ(only_news(here_), "-alice =2");
  EXPECT_EQ(only_news(there_), "-alice =2");
  here_.leave("r", {"4", "bob"});
  there_.leave("r", {"2", "bob"});
  exchange();
  EXPECT_EQ(here_.room_count() + there_.room_count(), 0U);
}

TEST_F(RoomsOfTwoServers, WhoCameAndWentBetweenTwoLooksIsNotTold) {
  there_.join("r", {"1", "alice"}, false);
  exchange();
  here_.join("r", {"2", "bob"}, false);
  here_.leave("r", {"2", "bob"});
  exchange();
  EXPECT_EQ(only_news(there_), "+alice =1");
  EXPECT_EQ(here_.members_of("r"), 1U);
}

TEST_F(RoomsOfTwoServers, AllThatIsThereMendsWhatWasNotHeard) {
  here_.join("r", {"1", "alice"}, false);
  there_.join("r", {"2", "bob"}, false);
  there_.join("s", {"2", "bob"}, false);
  exchange();
  static_cast<void>(here_.take_news());
  there_.join("r", {"3", "carol"}, false);
  there_.leave("r", {"2", "bob"});
  there_.leave("s", {"2", "bob"});
  static_cast<void>(there_.take_news_of_here());  // Is lost.
  here_.hear("there", there_.take_all_here(), true, ++now_);
  EXPECT_EQ(only_news(here_), "+carol -bob =2");
  EXPECT_EQ(here_.room_count(), 1U);
  auto const before = here_.find("r")->last_change;
  here_.hear("there", there_.take_all_here(), true, ++now_);
  EXPECT_EQ(only_news(here_), "none");
  EXPECT_EQ(here_.find("r")->last_change, before);
}

TEST_F(RoomsOfTwoServers, WhatIsToldWithAllIsNotToldAgain) {
  there_.join("r", {"1", "alice"}, false);
  here_.join("r", {"2", "bob"}, false);
  there_.hear("here", here_.take_all_here(), true, ++now_);
  here_.leave("r", {"2", "bob"});
  exchange();
  EXPECT_EQ(only_news(there_), "+alice =1");
}

TEST_F(RoomsOfTwoServers, WhoIsWithAServerThatIsSilentIsGone) {
  here_.join("r", {"1", "alice"}, false);
  there_.join("r", {"2", "bob"}, false);
  there_.join("s", {"3", "carol"}, false);
  exchange();
  static_cast<void>(here_.take_news());
  here_.forget_silent(now_);
  EXPECT_EQ(only_news(here_), "none");
  here_.forget_silent(now_ + 1);
  EXPECT_EQ(only_news(here_), "-bob =1");
  EXPECT_EQ(here_.room_count(), 1U);
}

}  // namespace
}  // namespace subforge::realtime
