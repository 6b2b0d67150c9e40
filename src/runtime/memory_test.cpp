#include "runtime/memory.hpp"

#include <sys/resource.h>

#include <memory>
#include <vector>

#include <gtest/gtest.h>

namespace subforge {
namespace {

long page_faults() {
  rusage used{};
  ::getrusage(RUSAGE_SELF, &used);
  return used.ru_minflt;
}

// A mebibyte in small pieces, written to and freed.
void work() {
  constexpr std::size_t kPieces = 1'024;
  constexpr std::size_t kPieceBytes = 1'024;
  std::vector<std::unique_ptr<char[]>> pieces;
  for (std::size_t i = 0; i < kPieces; ++i) {
    pieces.push_back(std::make_unique<char[]>(kPieceBytes));
  }
}

TEST(Memory, RoundsOfWorkGetWhatTheLastOneFreed) {
#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
  GTEST_SKIP() << "The sanitizer allocates by itself";
#endif
#endif
  constexpr int kRounds = 20;
  constexpr long kPagesOfRound = 256;
  keep_freed_memory();
  work();
  auto const before = page_faults();
  for (int i = 0; i < kRounds; ++i) work();
  EXPECT_LT(page_faults() - before, kRounds * kPagesOfRound / 4);
}

}  // namespace
}  // namespace subforge
