#include "cache/response_cache.hpp"

#include <thread>

#include <gtest/gtest.h>

namespace subforge::cache {
namespace {

std::string found(ResponseCache& cache, std::string_view key, std::int64_t now_ns = 0) {
  std::string body = "(none)";
  (void)cache.find(key, now_ns, [&](CachedAnswer const& answer) {
    body = answer.body;
    return true;
  });
  return body;
}

TEST(ResponseCache, KeepsAnswersUntilTheyExpire) {
  ResponseCache cache(1 << 20);
  cache.put("/a", cache.ticket("agent:1"), 100, {"F", "body", "\"1\""});
  EXPECT_EQ("body", found(cache, "/a", 99));
  EXPECT_EQ("(none)", found(cache, "/b", 99));
  EXPECT_EQ("(none)", found(cache, "/a", 100));
  EXPECT_EQ(1U, cache.hits());
  EXPECT_EQ(2U, cache.misses());
  EXPECT_EQ(0U, cache.bytes());
}

TEST(ResponseCache, AChangeOfTheSubjectMakesItStale) {
  ResponseCache cache(1 << 20);
  cache.put("/a", cache.ticket("agent:1"), 100, {"", "one", ""});
  cache.put("/b", cache.ticket("agent:2"), 100, {"", "two", ""});
  cache.invalidate("agent:1");
  EXPECT_EQ("(none)", found(cache, "/a"));
  EXPECT_EQ("two", found(cache, "/b"));
}

TEST(ResponseCache, WhatWasReadBeforeAChangeIsNeverKept) {
  ResponseCache cache(1 << 20);
  auto const ticket = cache.ticket("agent:1");
  cache.invalidate("agent:1");  // Between reading the data and keeping the answer.
  cache.put("/a", ticket, 100, {"", "old", ""});
  EXPECT_EQ("(none)", found(cache, "/a"));
}

TEST(ResponseCache, StaysWithinItsBound) {
  ResponseCache cache(64 << 10);
  for (int i = 0; i < 1000; ++i) {
    cache.put("/" + std::to_string(i), cache.ticket("x"), 100, {"", std::string(1000, 'x'), ""});
  }
  EXPECT_LE(cache.bytes(), 64U << 10);
  EXPECT_GT(cache.bytes(), 20U << 10);
  cache.put("/huge", cache.ticket("x"), 100, {"", std::string(1 << 20, 'x'), ""});
  EXPECT_EQ("(none)", found(cache, "/huge"));
}

TEST(ResponseCache, WhatCannotBeUsedIsAMissAndStays) {
  ResponseCache cache(1 << 20);
  cache.put("/a", cache.ticket("x"), 100, {"", "body", ""});
  EXPECT_FALSE(cache.find("/a", 0, [](CachedAnswer const&) { return false; }));
  EXPECT_EQ(0U, cache.hits());
  EXPECT_EQ(1U, cache.misses());
  EXPECT_EQ("body", found(cache, "/a"));
}

TEST(ResponseCache, PackedFormsAreGatheredWhileTheBodyIsTheSame) {
  constexpr auto kGzip = static_cast<std::size_t>(http::Coding::gzip);
  constexpr auto kBrotli = static_cast<std::size_t>(http::Coding::brotli);
  ResponseCache cache(1 << 20);
  auto const put = [&](std::string body, std::size_t coding, std::string packed) {
    CachedAnswer answer{"", std::move(body), "", true};
    answer.packed[coding] = std::move(packed);
    cache.put("/a", cache.ticket("x"), 100, std::move(answer));
  };
  auto const packed = [&](std::size_t coding) {
    std::string text;
    EXPECT_TRUE(cache.find("/a", 0, [&](CachedAnswer const& answer) {
      text = answer.packed[coding];
      return true;
    }));
    return text;
  };
  put("body", kGzip, "g");
  put("body", kBrotli, "b");
  EXPECT_EQ("g", packed(kGzip));
  EXPECT_EQ("b", packed(kBrotli));
  put("other", kGzip, "h");
  EXPECT_EQ("h", packed(kGzip));
  EXPECT_EQ("", packed(kBrotli));
  cache.invalidate("x");
  EXPECT_EQ("(none)", found(cache, "/a"));
  EXPECT_EQ(0U, cache.bytes());
}

TEST(ResponseCache, ReadersNeverSeeAValueOlderThanAFinishedChange) {
  ResponseCache cache(1 << 20);
  std::atomic<int> data{0};
  std::atomic<int> finished{0};
  std::atomic<bool> stop{false};
  std::thread writer([&] {
    for (int i = 1; i <= 20'000; ++i) {
      data.store(i);
      cache.invalidate("agent:1");
      finished.store(i);
    }
    stop = true;
  });
  int violations = 0;
  while (!stop) {
    int const at_least = finished.load();
    int seen = -1;
    auto const look = [&](CachedAnswer const& answer) {
      seen = std::stoi(answer.body);
      return true;
    };
    if (!cache.find("/a", 0, look)) {
      auto const ticket = cache.ticket("agent:1");
      cache.put("/a", ticket, 100, {"", std::to_string(data.load()), ""});
    } else if (seen < at_least) {
      ++violations;
    }
  }
  writer.join();
  EXPECT_EQ(0, violations);
}

}  // namespace
}  // namespace subforge::cache
