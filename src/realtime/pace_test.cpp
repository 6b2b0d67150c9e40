#include "realtime/pace.hpp"

#include <gtest/gtest.h>

#include "runtime/task.hpp"

namespace subforge::realtime {
namespace {

class Reader final : public Viewer {
 public:
  Reader() : Viewer(Protocol::v2) {}
  void push(std::string_view) override {}
  [[nodiscard]] std::size_t queued_bytes() const override { return queued; }
  void tell_when_drained() override { ++asked; }
  void recovered(Recovered const&) override {}
  void inbox_shown(Recovered const&) override {}
  void close(std::uint16_t, std::string_view) override {}

  std::size_t queued = 100;
  int asked = 0;
};

// What was posted before has run.
void turn(EventLoop& loop) {
  loop.post([&] { loop.stop(); });
  loop.run();
}

Task<void> wait(std::shared_ptr<Pace> pace, int& resumed) {
  co_await pace->drained(10);
  ++resumed;
}

TEST(Pace, WaitsUntilLittleIsLeftToRead) {
  EventLoop loop;
  TaskGroup tasks;
  Reader reader;
  auto const pace = std::make_shared<Pace>();
  pace->viewer = &reader;
  int resumed = 0;
  tasks.spawn(wait(pace, resumed));
  EXPECT_EQ(reader.asked, 1);
  EXPECT_EQ(resumed, 0);
  go_on(pace, loop);
  turn(loop);
  EXPECT_EQ(resumed, 1);
  reader.queued = 9;
  tasks.spawn(wait(pace, resumed));
  EXPECT_EQ(resumed, 2) << "nothing to wait for";
  go_on(nullptr, loop);
  go_on(pace, loop);
  turn(loop);
  EXPECT_EQ(resumed, 2);
}

// What was pushed has left, and so does the viewer in the same turn.
TEST(Pace, GoesOnOnceHoweverOftenItIsAsked) {
  EventLoop loop;
  TaskGroup tasks;
  Reader reader;
  auto const pace = std::make_shared<Pace>();
  pace->viewer = &reader;
  int resumed = 0;
  tasks.spawn(wait(pace, resumed));
  go_on(pace, loop);
  let_go(pace, loop);
  EXPECT_EQ(pace->viewer, nullptr);
  turn(loop);
  EXPECT_EQ(resumed, 1);
}

}  // namespace
}  // namespace subforge::realtime
