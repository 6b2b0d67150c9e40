// How the setting names a scanner, and what clamd's answers mean.
#include "files/scanner.hpp"

#include <gtest/gtest.h>

namespace subforge::files {
namespace {

using Kind = ScannerTarget::Kind;

TEST(Scanner, IsNamedByTheSetting) {
  EXPECT_EQ(ScannerTarget::parse("")->kind, Kind::none);
  auto const local = ScannerTarget::parse("clamd:/run/clamav/clamd.ctl");
  ASSERT_TRUE(local.has_value());
  EXPECT_EQ(local->kind, Kind::clamd_socket);
  EXPECT_EQ(local->path, "/run/clamav/clamd.ctl");
  auto const far = ScannerTarget::parse("clamd:scanner.example:3310");
  ASSERT_TRUE(far.has_value());
  EXPECT_EQ(far->kind, Kind::clamd_address);
  EXPECT_EQ(far->path, "scanner.example");
  EXPECT_EQ(far->port, "3310");
  auto const command = ScannerTarget::parse("command:clamscan  --no-summary");
  ASSERT_TRUE(command.has_value());
  EXPECT_EQ(command->command, (std::vector<std::string>{"clamscan", "--no-summary"}));
}

TEST(Scanner, RefusesWhatItCannotUse) {
  for (auto const* text : {"clamd", "clamd:", "clamd:host", "clamd:host:", "clamd:host:port",
                           "clamd:host:99999", "command:", "command: ", "clamav:/x"}) {
    EXPECT_FALSE(ScannerTarget::parse(text).has_value()) << text;
  }
}

TEST(Scanner, ReadsVerdicts) {
  using namespace std::literals;
  EXPECT_EQ(parse_clamd_reply("stream: OK\0"sv).value_or("x"), std::nullopt);
  EXPECT_EQ(parse_clamd_reply("stream: OK\n").value_or("x"), std::nullopt);
  EXPECT_EQ(parse_clamd_reply("stream: Eicar-Signature FOUND\0"sv).value_or(std::nullopt),
            "Eicar-Signature");
}

TEST(Scanner, TakesNothingElseForAVerdict) {
  for (auto const* reply : {"", "OK", "stream: ", "stream: OK FOUND ERROR", "stream: FOUND",
                            "stream: OKAY", "INSTREAM size limit exceeded. ERROR", "stream OK"}) {
    EXPECT_FALSE(parse_clamd_reply(reply).has_value()) << reply;
  }
}

}  // namespace
}  // namespace subforge::files
