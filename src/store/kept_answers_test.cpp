// Answers kept with an effect, and the companion that joins a write to keep them.
#include "store/kept_answers.hpp"

#include <gtest/gtest.h>

#include "store/temporary_folder_test.hpp"
#include "store/test_store_test.hpp"
#include "store/write_companion.hpp"

namespace subforge::store {
namespace {

RequestKey const kKey{"user", "route", "key"};

class KeptAnswersTest : public testing::Test {
 protected:
  Result<void> keep(RequestKey const& key, KeptAnswer const& answer) {
    auto write = [&](Transaction& transaction) { return answers_.keep(transaction, key, answer); };
    return store_.run(store_.store().write(write));
  }
  std::optional<KeptAnswer> find(RequestKey const& key, std::int64_t hours = 24) {
    KeptAnswers answers(store_.store(), hours);
    return store_.run(answers.find(key)).value();
  }
  // As if everything had been kept so many hours ago.
  void grow_older(std::int64_t hours) {
    auto write = [&](Transaction& transaction) -> Task<Result<std::int64_t>> {
      co_return co_await transaction.execute(
          "UPDATE idempotency_keys SET created_at = created_at - $1", {hours * 3'600'000'000});
    };
    ASSERT_TRUE(store_.run(store_.store().write(write)));
  }

  TemporaryFolder folder_;
  TestStore store_{folder_.path()};
  KeptAnswers answers_{store_.store(), 24};
};

TEST_F(KeptAnswersTest, AreFoundByAllPartsOfTheirKey) {
  EXPECT_FALSE(find(kKey));
  ASSERT_TRUE(keep(kKey, {"hash", 201, R"({"etag":"x"})", "body"}));
  auto const found = find(kKey);
  ASSERT_TRUE(found);
  EXPECT_EQ(found->request_hash, "hash");
  EXPECT_EQ(found->status, 201);
  EXPECT_EQ(found->fields, R"({"etag":"x"})");
  EXPECT_EQ(found->body, "body");
  EXPECT_TRUE(found->complete);
  EXPECT_FALSE(find({"other", "route", "key"}));
  EXPECT_FALSE(find({"user", "other", "key"}));
  EXPECT_FALSE(find({"user", "route", "other"}));
}

TEST_F(KeptAnswersTest, TheFirstStays) {
  ASSERT_TRUE(keep(kKey, {"first", 201, "{}", "one"}));
  auto const second = keep(kKey, {"second", 201, "{}", "two"});
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, ErrorCode::conflict);
  EXPECT_EQ(find(kKey)->body, "one");
}

TEST_F(KeptAnswersTest, OldOnesAreNoMoreAndMakeRoom) {
  ASSERT_TRUE(keep(kKey, {"first", 201, "{}", "one"}));
  grow_older(25);
  EXPECT_FALSE(find(kKey));
  ASSERT_TRUE(keep(kKey, {"second", 200, "{}", "two"}));
  EXPECT_EQ(find(kKey)->body, "two");
}

TEST_F(KeptAnswersTest, BodiesTooLongAreLeftOut) {
  std::string const longest(KeptAnswers::kBodyBytesMax, 'x');
  ASSERT_TRUE(keep(kKey, {"h", 200, "{}", longest}));
  EXPECT_EQ(find(kKey)->body, longest);
  RequestKey const other{"user", "route", "longer"};
  ASSERT_TRUE(keep(other, {"h", 200, "{}", longest + "x"}));
  EXPECT_FALSE(find(other)->complete);
  EXPECT_EQ(find(other)->body, "");
}

TEST_F(KeptAnswersTest, OldOnesAreForgottenInSmallBatches) {
  int const count = KeptAnswers::kForgottenAtOnce + 7;
  auto fill = [&](Transaction& transaction) -> Task<Result<void>> {
    for (int i = 0; i < count; ++i) {
      RequestKey const key{"user", "route", std::to_string(i)};
      KeptAnswer const answer{"h", 200, "{}", "x"};
      auto const kept = co_await answers_.keep(transaction, key, answer);
      if (!kept) co_return kept;
    }
    co_return {};
  };
  ASSERT_TRUE(store_.run(store_.store().write(fill)));
  EXPECT_EQ(store_.run(answers_.forget_old()), 0);
  grow_older(25);
  ASSERT_TRUE(keep(kKey, {"h", 200, "{}", "young"}));
  EXPECT_EQ(store_.run(answers_.forget_old()), KeptAnswers::kForgottenAtOnce);
  EXPECT_EQ(store_.run(answers_.forget_old()), 7);
  EXPECT_EQ(store_.run(answers_.forget_old()), 0);
  EXPECT_TRUE(find(kKey));
}

// Keeps the number that a write gives.
class Companion final : public WriteCompanion {
 public:
  Companion(KeptAnswers const& answers, bool refuses) : answers_(answers), refuses_(refuses) {}
  Task<Result<void>> join(Transaction& transaction, std::type_info const& type,
                          void const* result) override {
    ++joined;
    if (refuses_) co_return fail(ErrorCode::conflict, "no");
    if (type != typeid(Result<int>)) co_return fail(ErrorCode::internal, "another type");
    auto const number = **static_cast<Result<int> const*>(result);
    KeptAnswer const answer{"h", 200, "{}", std::to_string(number)};
    co_return co_await answers_.keep(transaction, kKey, answer);
  }
  int joined = 0;

 private:
  KeptAnswers const& answers_;
  bool refuses_;
};

class CompanionTest : public KeptAnswersTest {
 protected:
  // Two functions deep, as a service and what it calls are.
  Task<Result<int>> set(std::string value, bool good = true) {
    auto write = [value, good](Transaction& transaction) -> Task<Result<int>> {
      auto const done = co_await transaction.execute(
          "INSERT INTO meta (key, value) VALUES ('test', $1)", {value});
      if (!done) co_return std::unexpected(done.error());
      if (!good) co_return fail(ErrorCode::invalid, "not good");
      co_return 7;
    };
    co_return co_await store_.store().write(write);
  }
  Task<Result<int>> outer(std::string value, bool good = true) {
    co_return co_await set(std::move(value), good);
  }
  std::string value() {
    std::string found;
    auto read = [&](Session& session) {
      return [](Session& s, std::string& out) -> Task<Result<std::int64_t>> {
        co_return co_await s.query("SELECT value FROM meta WHERE key = 'test'", {},
                                   [&](Row const& row) { out = row.text(0); });
      }(session, found);
    };
    EXPECT_TRUE(store_.run(store_.store().read(ReadCost::point, read)));
    return found;
  }
};

TEST_F(CompanionTest, IsCommittedWithTheWriteOfTheTaskThatCarriesIt) {
  Companion companion(answers_, false);
  auto task = outer("x");
  task.carry(companion);
  EXPECT_EQ(store_.run(std::move(task)), 7);
  EXPECT_EQ(companion.joined, 1);
  EXPECT_EQ(value(), "x");
  EXPECT_EQ(find(kKey)->body, "7");
}

TEST_F(CompanionTest, UndoesTheWriteByAnError) {
  Companion companion(answers_, true);
  auto task = outer("x");
  task.carry(companion);
  EXPECT_EQ(store_.run(std::move(task)).error().code, ErrorCode::conflict);
  EXPECT_EQ(value(), "");
}

TEST_F(CompanionTest, StaysAwayFromAWriteThatFails) {
  Companion companion(answers_, false);
  auto task = outer("x", false);
  task.carry(companion);
  EXPECT_EQ(store_.run(std::move(task)).error().code, ErrorCode::invalid);
  EXPECT_EQ(companion.joined, 0);
  EXPECT_FALSE(find(kKey));
}

TEST_F(CompanionTest, WritesOfOthersGoWithoutIt) {
  EXPECT_EQ(store_.run(outer("x")), 7);
  EXPECT_FALSE(find(kKey));
}

}  // namespace
}  // namespace subforge::store
