// The statements that follow from a description, on a record made for it.
#include "store/record_sql.hpp"

#include <gtest/gtest.h>

namespace subforge::store {
namespace {

struct Note {
  Uuid id;
  std::string title;
  std::optional<std::int64_t> size;
  std::vector<std::string> tags;
  describe::JsonText extra;

  static constexpr auto describe() {
    using describe::field;
    return describe::fields(field("id", &Note::id), field("title", &Note::title),
                            field("size", &Note::size), field("tags", &Note::tags),
                            field("extra", &Note::extra));
  }
};

Note note() { return {Uuid::random(), "one", 3, {"a", "b"}, {"{}"}}; }

TEST(InsertSql, NumbersTheValuesOfSeveralRowsOnAndOn) {
  EXPECT_EQ(insert_sql<Note>("notes"),
            "INSERT INTO notes (id, title, size, tags, extra) VALUES ($1, $2, $3, $4, $5)");
  EXPECT_EQ(insert_sql<Note>("notes", 2),
            "INSERT INTO notes (id, title, size, tags, extra) VALUES ($1, $2, $3, $4, $5),"
            " ($6, $7, $8, $9, $10)");
  BoundRecord bound;
  auto const one = note();
  auto const other = note();
  bind_row(bound, one);
  bind_row(bound, other);
  ASSERT_EQ(bound.values().size(), 10U);
  EXPECT_EQ(bound.values()[5].text(), other.id.as_blob());
}

TEST(UpdateOfChanges, SetsWhatDiffersAndBindsTheKeyLast) {
  auto const before = note();
  auto after = before;
  after.title = "two";
  after.tags.emplace_back("c");
  auto const update = update_of_changes("notes", "id", before.id, before, after);
  EXPECT_EQ(update.sql, "UPDATE notes SET title = $1, tags = $2 WHERE id = $3");
  auto const values = update.bound.values();
  ASSERT_EQ(values.size(), 3U);
  EXPECT_EQ(values[0].text(), "two");
  EXPECT_EQ(values[1].text(), R"(["a","b","c"])");
  EXPECT_EQ(values[2].text(), before.id.as_blob());
}

TEST(UpdateOfChanges, SetsToNull) {
  auto const before = note();
  auto after = before;
  after.size.reset();
  auto const update = update_of_changes("notes", "id", before.id, before, after);
  EXPECT_EQ(update.sql, "UPDATE notes SET size = $1 WHERE id = $2");
  EXPECT_EQ(update.bound.values()[0].kind(), Value::Kind::null);
}

TEST(UpdateOfChanges, IsNoneWhereNothingDiffers) {
  auto const same = note();
  auto const update = update_of_changes("notes", "id", same.id, same, same);
  EXPECT_EQ(update.sql, "");
  EXPECT_TRUE(update.bound.values().empty());
}

}  // namespace
}  // namespace subforge::store
