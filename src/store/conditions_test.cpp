// By what SQLite is led to the rows of a list: whatever is asked for, it finds the same, and
// neither sorts nor looks at more than there has to be.
#include "store/conditions.hpp"

#include <gmock/gmock.h>

#include "store/counts.hpp"
#include "store/temporary_folder_test.hpp"
#include "store/test_store_test.hpp"

namespace subforge::store {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

constexpr std::int64_t kPage = 3;
constexpr Keyset kNewestFirst{.descending = true};
constexpr Keyset kBySize{.expression = "size", .kind = Value::Kind::integer};

// 20,000 things: of the kind "many" but for three, of ten owners but for two things, and every
// other one with the tag "even".
class ConditionsTest : public testing::Test {
 protected:
  ConditionsTest() {
    for (auto const* const sql : {
             "CREATE TABLE things (seq INTEGER PRIMARY KEY, kind TEXT NOT NULL, owner TEXT NOT "
             "NULL,"
             " size INTEGER NOT NULL, marked INTEGER NOT NULL, tags TEXT NOT NULL)",
             "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000)"
             " INSERT INTO things SELECT i, CASE WHEN i IN (7, 5000, 19000) THEN 'few' ELSE 'many'"
             " END, CASE WHEN i IN (8, 9) THEN 'rare' ELSE 'owner' || (i % 10) END, (i * 7919) %"
             " 20011, i IN (11, 12), CASE WHEN i = 13 THEN '[\"odd one\",\"\"]'"
             " WHEN i % 2 = 0 THEN '[\"even\"]' ELSE '[]' END FROM n",
             "CREATE INDEX things_by_kind ON things (kind, seq)",
             "CREATE INDEX things_by_owner ON things (owner, size, seq)",
             "CREATE INDEX things_by_size ON things (size, seq)",
             "CREATE INDEX things_by_lower_kind ON things (lower(kind), seq)",
             "CREATE INDEX things_marked ON things (seq) WHERE marked = 1",
             "CREATE VIRTUAL TABLE thing_tags USING fts5(tags, content='',"
             " tokenize='trigram case_sensitive 1')",
             "INSERT INTO thing_tags (rowid, tags) SELECT seq, tags FROM things WHERE tags <> '[]'",
         }) {
      auto const run = [sql](Transaction& transaction) -> Task<Result<std::int64_t>> {
        co_return co_await transaction.execute(sql, {});
      };
      auto const done = store_.run(store_.store().write(run));
      if (!done) throw std::runtime_error(done.error().context);
    }
  }

  struct Found {
    std::string sql;
    std::string plan;
    std::vector<std::int64_t> page;
    Total total;
  };
  using Fill = std::function<void(Conditions&)>;
  Found find(Fill const& fill, Keyset const& keyset = kNewestFirst,
             std::optional<Position> const& after = {}) {
    auto const read = [&](Session& session) -> Task<Result<Found>> {
      Conditions conditions(session, "things");
      fill(conditions);
      Found found;
      auto where = co_await conditions.choose(keyset);
      if (!where) co_return std::unexpected(where.error());
      auto const sql =
          page_sql("seq", "things", keyset, *where, {.after = after, .until = {}, .limit = kPage});
      found.sql = where->sql();
      auto const explained =
          co_await session.query("EXPLAIN QUERY PLAN " + sql, where->values(),
                                 [&](Row const& row) { found.plan.append(row.text(3)) += '\n'; });
      if (!explained) co_return std::unexpected(explained.error());
      auto const listed = co_await session.query(
          sql, where->values(), [&](Row const& row) { found.page.push_back(row.integer(0)); });
      if (!listed) co_return std::unexpected(listed.error());
      // One more than the page has is asked for.
      if (std::ssize(found.page) > kPage) found.page.resize(static_cast<std::size_t>(kPage));
      auto const total = co_await conditions.total(kFewMax);
      if (!total) co_return std::unexpected(total.error());
      found.total = *total;
      co_return found;
    };
    auto const found = store_.run(store_.store().read(ReadCost::scan, read));
    if (!found) throw std::runtime_error(found.error().context);
    return *found;
  }
  static Fill kind(std::string_view value) {
    return [=](Conditions& conditions) { conditions.equal({{"kind", Value(value)}}); };
  }
  static Fill kind_and_owner(std::string_view kind, std::string_view owner) {
    return [=](Conditions& conditions) {
      conditions.equal({{"kind", Value(kind)}});
      conditions.equal({{"owner", Value(owner)}}, {.order = "size", .of = {}});
    };
  }
  static Fill tags(std::vector<std::string> const& texts) {
    return [=](Conditions& conditions) { conditions.lists_any("tags", texts, "thing_tags"); };
  }

  TemporaryFolder folder_;
  TestStore store_{folder_.path()};
};

TEST_F(ConditionsTest, OneThatAnIndexHasInTheOrderOfTheListLeads) {
  for (std::string_view const value : {"few", "many"}) {
    auto const found = find(kind(value));
    EXPECT_EQ(found.sql, " WHERE kind = $1");
    EXPECT_THAT(found.plan, HasSubstr("things_by_kind"));
    EXPECT_THAT(found.plan, Not(HasSubstr("B-TREE")));
  }
  EXPECT_THAT(find(kind("few")).page, ElementsAre(19000, 5000, 7));
  EXPECT_EQ(find(kind("few")).total.count, 3);
  EXPECT_TRUE(find(kind("many")).total.capped);
}

TEST_F(ConditionsTest, InAnotherOrderFewAreSortedAndManyAreMetOnTheWay) {
  auto const few = find(kind("few"), kBySize);
  EXPECT_THAT(few.plan, HasSubstr("things_by_kind"));
  EXPECT_EQ(few.page.size(), 3U);
  auto const many = find(kind("many"), kBySize);
  EXPECT_EQ(many.sql, " WHERE +kind = $1");
  EXPECT_THAT(many.plan, HasSubstr("things_by_size"));
  EXPECT_THAT(many.plan, Not(HasSubstr("B-TREE")));
}

// What a kept count says is not looked at again, whatever there is.
TEST_F(ConditionsTest, WhereTheNumberIsKeptNothingIsCounted) {
  auto const keep = [](Transaction& transaction) -> Task<Result<void>> {
    CountChanges counts;
    counts.add("things.many", 5);
    counts.add("things.few", kFewMax + 1);
    co_return co_await counts.apply(transaction);
  };
  ASSERT_TRUE(store_.run(store_.store().write(keep)));
  auto const kind = [](std::string_view value) -> Fill {
    return [=](Conditions& conditions) {
      conditions.equal({{"kind", Value(value)}}, {.kept = "things." + std::string(value)});
    };
  };
  EXPECT_THAT(find(kind("many"), kBySize).plan, HasSubstr("things_by_kind"));
  EXPECT_EQ(find(kind("many"), kBySize).total.count, 5);
  EXPECT_THAT(find(kind("few"), kBySize).plan, HasSubstr("things_by_size"));
  auto const any = [](Conditions& conditions) {
    conditions.any_of("kind", {"many", "few"}, {"things.many", "things.none"});
  };
  EXPECT_THAT(find(any, kBySize).plan, HasSubstr("things_by_kind"));
}

TEST_F(ConditionsTest, InTheOrderOfWhatIsFixedThereIsNothingToSort) {
  auto const found = find(kind("many"), {.expression = "kind"});
  EXPECT_EQ(found.sql, " WHERE kind = $1");
  EXPECT_THAT(found.plan, Not(HasSubstr("B-TREE")));
  EXPECT_THAT(found.page, ElementsAre(1, 2, 3));
}

TEST_F(ConditionsTest, OfSeveralTheOneThatLeavesFewestLeads) {
  auto found = find(kind_and_owner("many", "rare"));
  EXPECT_EQ(found.sql, " WHERE +kind = $1 AND owner = $2");
  EXPECT_THAT(found.page, ElementsAre(9, 8));
  EXPECT_EQ(found.total.count, 2);
  found = find(kind_and_owner("few", "owner0"));
  EXPECT_EQ(found.sql, " WHERE kind = $1 AND +owner = $2");
  EXPECT_THAT(found.page, ElementsAre(19000, 5000));
  found = find(kind_and_owner("none", "nobody"));
  EXPECT_TRUE(found.page.empty());
  EXPECT_EQ(found.total.count, 0);
}

TEST_F(ConditionsTest, AnIndexMayHaveThemInAnotherOrder) {
  auto const found = find(
      [](Conditions& conditions) {
        conditions.equal({{"owner", Value("owner3")}}, {.order = "size", .of = {}});
      },
      kBySize);
  EXPECT_THAT(found.plan, HasSubstr("things_by_owner"));
  EXPECT_THAT(found.plan, Not(HasSubstr("B-TREE")));
}

TEST_F(ConditionsTest, APageBehindAPlaceIsReadFromThereOn) {
  struct Case {
    std::string_view expression;
    decltype(Position::value) value;
    bool descending;
    std::vector<std::int64_t> page;
  };
  for (Case const& one :
       {Case{"size", 20'000, false, {}}, Case{"kind", "few", false, {19'000, 1, 2}},
        Case{"lower(kind)", "few", false, {19'000, 1, 2}}, Case{"lower(kind)", "few", true, {7}}}) {
    Keyset const keyset{.expression = one.expression, .descending = one.descending};
    auto const found = find([](Conditions&) {}, keyset, Position{one.value, 5'000});
    EXPECT_THAT(found.plan, HasSubstr("SEARCH things USING")) << one.expression;
    EXPECT_THAT(found.plan, Not(HasSubstr("B-TREE")));
    if (!one.page.empty()) EXPECT_EQ(found.page, one.page) << one.expression;
  }
}

TEST_F(ConditionsTest, TagsAreFoundByTheirIndexIfFewHaveThem) {
  auto found = find(tags({"odd one"}));
  EXPECT_THAT(found.sql, HasSubstr("thing_tags"));
  EXPECT_THAT(found.page, ElementsAre(13));
  EXPECT_EQ(found.total.count, 1);
  found = find(tags({"even"}));
  EXPECT_THAT(found.page, ElementsAre(20000, 19998, 19996));
  EXPECT_EQ(found.total.count, 10'000);
  found = find(tags({"even", "odd one"}));
  EXPECT_THAT(found.sql, Not(HasSubstr("thing_tags"))) << "they are many";
  EXPECT_THAT(found.page, ElementsAre(20000, 19998, 19996));
  EXPECT_TRUE(found.total.capped);
  EXPECT_THAT(find(tags({"odd"})).page, ElementsAre()) << "a part is none";
  EXPECT_THAT(find(tags({""})).page, ElementsAre(13)) << "no index knows the empty one";
  EXPECT_THAT(find(tags({"\" OR tags : \"even"})).page, ElementsAre()) << "it is no query";
  EXPECT_THAT(find(tags({})).page, ElementsAre(20000, 19999, 19998));
}

TEST_F(ConditionsTest, FlagsBoundsAndListsOfValues) {
  EXPECT_THAT(find([](Conditions& c) { c.set("marked"); }).page, ElementsAre(12, 11));
  auto const between = [](Conditions& c) {
    c.equal({{"kind", Value("many")}});
    c.within("size", Value(3), Value(5));
  };
  EXPECT_EQ(find(between).total.count, 3);
  EXPECT_THAT(find(between).sql, HasSubstr("WHERE size >= $2 AND size <= $3)"));
  EXPECT_EQ(find([](Conditions& c) { c.any_of("kind", {"few", "none"}); }).total.count, 3);
  EXPECT_EQ(find([](Conditions& c) { c.any_of("kind", {}); }).total.count, 0);
}

}  // namespace
}  // namespace subforge::store
