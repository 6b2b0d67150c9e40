#include "store/announcement.hpp"

#include <gtest/gtest.h>

namespace subforge::store {
namespace {

std::optional<std::string> put_together(AnnouncementReader& reader,
                                        std::vector<std::string> const& pieces) {
  std::optional<std::string> text;
  for (auto const& piece : pieces) {
    EXPECT_FALSE(text);
    text = reader.add(piece);
  }
  return text;
}

TEST(Announcement, ATextOfAnyLengthComesBackFromItsPieces) {
  AnnouncementReader reader;
  for (std::size_t const size : {0UL, 1UL, 7'899UL, 7'900UL, 7'901UL, 100'000UL}) {
    for (auto const* const character : {"a", "\xc3\xa4", "\xf0\x9f\x90\x9d"}) {
      std::string text;
      while (text.size() < size) text += character;
      auto const pieces = announcement_pieces(Uuid::random(), text);
      for (auto const& piece : pieces) {
        EXPECT_LT(piece.size(), 8'000U);
        // No character is cut in two, which PostgreSQL would refuse.
        EXPECT_NE(static_cast<unsigned char>(piece[piece.find(' ', 37) + 1]) & 0xC0U, 0x80U);
      }
      EXPECT_EQ(put_together(reader, pieces), text);
    }
  }
}

// Of two equal notifications of a transaction PostgreSQL tells one.
TEST(Announcement, NoTwoPiecesAreEqual) {
  auto const pieces = announcement_pieces(Uuid::random(), std::string(30'000, 'a'));
  ASSERT_EQ(pieces.size(), 4U);
  EXPECT_NE(pieces[1], pieces[2]);
}

TEST(Announcement, WhatDoesNotBelongTogetherIsNotPutTogether) {
  AnnouncementReader reader;
  auto const lost = announcement_pieces(Uuid::random(), std::string(30'000, 'a'));
  EXPECT_FALSE(reader.add(lost[0]));
  EXPECT_FALSE(reader.add(lost[1]));
  EXPECT_FALSE(reader.add(lost[3]));
  for (auto const* const other : {"", "nonsense", "00000000-0000-0000-0000-000000000000 x y"}) {
    EXPECT_FALSE(reader.add(other)) << other;
  }
  EXPECT_EQ(put_together(reader, announcement_pieces(Uuid::random(), "whole")), "whole");
}

}  // namespace
}  // namespace subforge::store
