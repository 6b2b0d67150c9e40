#include "builtin/arguments.hpp"

#include "builtin/worker_fixture_test.hpp"

namespace subforge::builtin {
namespace {

class ArgumentsTest : public testing::Test {
 protected:
  Arguments of(std::string args, std::string kwargs = "{}") {
    jobs::ClaimedJob claimed;
    claimed.job.args.text = std::move(args);
    claimed.job.kwargs.text = std::move(kwargs);
    jobs::JobContext const context(std::move(claimed), store_.store(), pool_);
    return Arguments(context);
  }

  store::TemporaryFolder folder_;
  store::TestStore store_{folder_.path()};
  BlockingPool pool_{1, 1};
};

TEST_F(ArgumentsTest, AreFoundByPlaceAndByNameAndThePlaceCounts) {
  EXPECT_EQ(of(R"(["a","b"])").text(1, "second"), "b");
  EXPECT_EQ(of("[]", R"({"second":"c"})").text(1, "second"), "c");
  EXPECT_EQ(of(R"(["a","b"])", R"({"second":"c"})").text(1, "second"), "b");
  EXPECT_EQ(of("[]").find(0, "first"), nullptr);
  auto const found = of("[{\"x\":1}]");
  ASSERT_NE(found.find(0, "first"), nullptr);
  EXPECT_TRUE(found.find(0, "first")->is_object());
}

TEST_F(ArgumentsTest, AFallbackIsForWhatIsMissingAlone) {
  EXPECT_EQ(of("[]").text(0, "range", "24h"), "24h");
  EXPECT_EQ(of("[\"\"]").text(0, "range", "24h"), "");
  auto const missing = of("[]").text(0, "range");
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().message, "The argument range is missing");
  for (auto const* const wrong : {"[5]", "[null]", "[[\"24h\"]]"}) {
    auto const text = of(wrong).text(0, "range", "24h");
    ASSERT_FALSE(text) << wrong;
    EXPECT_EQ(text.error().message, "The argument range must be a text") << wrong;
  }
}

}  // namespace
}  // namespace subforge::builtin
