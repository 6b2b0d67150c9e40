// What the kernel's texts say, and what they do not.
#include "domain/system/machine.hpp"

#include <gtest/gtest.h>

namespace subforge::domain {
namespace {

TEST(MachineTest, CpuIsBusyOutsideIdleAndWaiting) {
  auto const times = parse_cpu("cpu  100 20 30 800 40 5 5 0 7 7\ncpu0 1 2 3 4\n");
  ASSERT_TRUE(times);
  EXPECT_EQ(times->total, 1000U) << "guest times are within user times";
  EXPECT_EQ(times->busy, 160U);
  EXPECT_EQ(parse_cpu("intr 5"), std::nullopt);
  EXPECT_EQ(parse_cpu("cpu 1 2"), std::nullopt);
  EXPECT_EQ(parse_cpu(""), std::nullopt);
}

TEST(MachineTest, CpuPercentageIsOfTheTimeBetween) {
  EXPECT_EQ(cpu_percentage(CpuTimes{100, 1000}, CpuTimes{150, 1200}), 25.0);
  EXPECT_EQ(cpu_percentage(CpuTimes{100, 1000}, CpuTimes{100, 1000}), std::nullopt);
  EXPECT_EQ(cpu_percentage(CpuTimes{100, 1000}, CpuTimes{90, 1200}), std::nullopt);
  EXPECT_EQ(cpu_percentage(std::nullopt, CpuTimes{90, 1200}), std::nullopt);
}

TEST(MachineTest, MemoryIsWhatNewProgramsCannotHave) {
  EXPECT_EQ(parse_memory("MemTotal:  1000 kB\nMemFree: 10 kB\nMemAvailable:  250 kB\n"), 75.0);
  EXPECT_EQ(parse_memory("MemTotal:  1000 kB\nMemFree: 10 kB\n"), std::nullopt);
  EXPECT_EQ(parse_memory("MemTotal: 0 kB\nMemAvailable: 0 kB\n"), std::nullopt);
}

TEST(MachineTest, LoadIsPerCoreAndNoMoreThanAll) {
  EXPECT_EQ(parse_load("1.50 0.70 0.30 1/100 1234\n", 3), 50.0);
  EXPECT_EQ(parse_load("9.00 0.70 0.30 1/100 1234\n", 2), 100.0);
  EXPECT_EQ(parse_load("x", 2), std::nullopt);
  EXPECT_EQ(parse_load("1.0", 0), std::nullopt);
}

TEST(MachineTest, NetworkLeavesLoopbackOut) {
  constexpr auto kText =
      "Inter-|   Receive                                                |  Transmit\n"
      " face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets\n"
      "    lo: 5000 10 0 0 0 0 0 0 5000 10 0 0 0 0 0 0\n"
      "  eth0: 100 2 0 0 0 0 0 0 200 3 0 0 0 0 0 0\n"
      " wlan0:30 2 0 0 0 0 0 0 40 3 0 0 0 0 0 0\n";
  EXPECT_EQ(parse_network(kText), (NetworkBytes{130, 240}));
  EXPECT_EQ(parse_network("a\nb\n"), std::nullopt);
}

TEST(MachineTest, ARateNeedsTwoGrowingReadings) {
  EXPECT_EQ(rate(10, 40, 2), 15.0);
  EXPECT_EQ(rate(40, 10, 2), std::nullopt);
  EXPECT_EQ(rate(std::nullopt, 10, 2), std::nullopt);
  EXPECT_EQ(rate(1, 2, 0), std::nullopt);
}

TEST(MachineTest, ThisMachineCanBeRead) {
  auto const reading = read_machine("/");
  ASSERT_TRUE(reading.cpu);
  EXPECT_GT(reading.cpu->total, 0U);
  ASSERT_TRUE(reading.memory_percentage);
  EXPECT_GT(*reading.memory_percentage, 0);
  ASSERT_TRUE(reading.disk_percentage);
  ASSERT_TRUE(reading.resident_bytes);
  EXPECT_GT(*reading.resident_bytes, 1 << 20);
  ASSERT_TRUE(reading.open_files);
  EXPECT_GE(*reading.open_files, 3);
  EXPECT_EQ(read_machine("/no/such/folder").disk_percentage, std::nullopt);
}

}  // namespace
}  // namespace subforge::domain
