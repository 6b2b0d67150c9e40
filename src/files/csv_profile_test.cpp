#include "files/csv_profile.hpp"

#include <fcntl.h>

#include <fstream>

#include <gtest/gtest.h>

#include "describe/codec.hpp"
#include "files/blob_store.hpp"
#include "runtime/shared_core_test.hpp"
#include "store/temporary_folder_test.hpp"

namespace subforge::files {
namespace {

// Byte by byte and as a whole it must be the same.
Result<CsvProfile> profile(std::string_view text) {
  CsvReader whole(separator_of(text));
  whole.take(text);
  CsvReader bytes(separator_of(text));
  for (std::size_t i = 0; i < text.size(); ++i) bytes.take(text.substr(i, 1));
  auto one = whole.finish();
  auto const other = bytes.finish();
  EXPECT_EQ(one.has_value(), other.has_value());
  if (one && other) {
    std::string texts[2];
    JsonWriter first(texts[0]);
    write_members(first, *one);
    JsonWriter second(texts[1]);
    write_members(second, *other);
    EXPECT_EQ(texts[0], texts[1]);
  }
  return one;
}

// "name:type name:type ..."
std::string columns(std::string_view text) {
  auto const found = profile(text);
  if (!found) return found.error().message;
  std::string all;
  for (auto const& column : found->columns) {
    all +=
        (all.empty() ? "" : " ") + column.name + ":" + std::string(describe::to_text(column.type));
  }
  return all;
}

TEST(CsvProfile, InfersWhatAllValuesOfAColumnAre) {
  EXPECT_EQ(columns("a,b,c,d,e,f\n1,1.5,true,2026-01-02,2026-01-02T03:04:05Z,x\n"
                    "-2,3,No,2026-02-03,2026-01-02,\n"),
            "a:integer b:number c:boolean d:date e:datetime f:text");
  EXPECT_EQ(columns("a\n1\nx\n"), "a:text");
  EXPECT_EQ(columns("a,b\n,\n,\n"), "a:empty b:empty");
  EXPECT_EQ(columns("zip,price,big\n01234,1e3,99999999999999999999\n"),
            "zip:text price:number big:number");
  EXPECT_EQ(columns("a,b,c\n--1,+-2,-\n"), "a:text b:text c:text");
  EXPECT_EQ(columns("a,b\n0,-0.5\n"), "a:integer b:number");
  EXPECT_EQ(columns("when\n2026-13-45\n"), "when:text");
}

TEST(CsvProfile, CountsRowsWhateverEndsThem) {
  for (auto const* const text : {"a,b\n1,2\n3,4\n", "a,b\r\n1,2\r\n3,4", "a,b\r1,2\r3,4\r",
                                 "\xef\xbb\xbf\n\na,b\n\n1,2\n\n\n3,4\n\n"}) {
    auto const found = profile(text);
    ASSERT_TRUE(found);
    EXPECT_EQ(found->rows, 2) << text;
    EXPECT_EQ(found->column_count, 2);
    EXPECT_EQ(found->columns[0].name, "a");
    EXPECT_EQ(found->uneven_rows, 0);
  }
}

TEST(CsvProfile, QuotesHoldSeparatorsLinesAndQuotes) {
  auto const found = profile("\"a, b\",\"c\"\"d\"\n\"1\n2\",3\nx\"y,\"4\"\n");
  ASSERT_TRUE(found);
  EXPECT_EQ(found->columns[0].name, "a, b");
  EXPECT_EQ(found->columns[1].name, "c\"d");
  EXPECT_EQ(found->rows, 2);
  EXPECT_EQ(found->columns[1].type, CsvType::integer);
  auto const open = profile("a,b\n1,2\n\n3,\"4\n5\n");
  ASSERT_FALSE(open);
  EXPECT_EQ(open.error().message, "line 4: a quoted field begins here and has no end");
}

TEST(CsvProfile, FindsTheSeparator) {
  EXPECT_EQ(separator_of("a;b;c,d\n1,2,3,4,5"), ';');
  EXPECT_EQ(separator_of("a\tb"), '\t');
  EXPECT_EQ(separator_of("\"a|b|c\",d\n"), ',');
  EXPECT_EQ(separator_of("a|b"), '|');
  EXPECT_EQ(separator_of(""), ',');
  EXPECT_EQ(columns("a;b\n1,5;2\n"), "a:text b:integer");
}

TEST(CsvProfile, TellsOfRowsThatDoNotFit) {
  auto const found = profile("a,b,c\n1,2,3\n1,2\n\n1,2,3,4\n");
  ASSERT_TRUE(found);
  EXPECT_EQ(found->rows, 3);
  EXPECT_EQ(found->uneven_rows, 2);
  EXPECT_EQ(found->first_uneven_line, 3);
  EXPECT_EQ(found->columns[2].empty, 1);
}

TEST(CsvProfile, NamesWhatHasNoName) {
  EXPECT_EQ(columns(" a ,,\"\"\n"), "a:empty column 2:empty column 3:empty");
  EXPECT_EQ(columns(""), "");
  EXPECT_EQ(columns("\xef\xbb"), "ï»:empty");
}

TEST(CsvProfile, HoldsLittleHoweverMuchThereIs) {
  std::string wide = "c0";
  for (int i = 1; i < 5'000; ++i) wide += ",c" + std::to_string(i);
  wide += "\n";
  auto const found = profile(wide + wide);
  ASSERT_TRUE(found);
  EXPECT_EQ(found->column_count, 5'000);
  EXPECT_EQ(found->columns.size(), kCsvColumnsMax);
  EXPECT_EQ(found->rows, 1);
  auto const long_name = std::string(kCsvNameBytesMax - 1, 'n') + "\xc3\xa4";
  auto const cut = profile(long_name + "\n" + std::string(100'000, '1') + "\n");
  ASSERT_TRUE(cut);
  EXPECT_EQ(cut->columns[0].name, std::string(kCsvNameBytesMax - 1, 'n'));
  EXPECT_EQ(cut->columns[0].type, CsvType::text);
}

TEST(CsvProfile, WhoReadsATableLetsOthersInAgainAndAgain) {
  constexpr int kTurns = 64;
  store::TemporaryFolder const folder;
  auto const path = folder.path() / "table";
  std::string rows;
  while (rows.size() < kTurns * (32U << 10)) rows += "1,some words,2.5\n";
  std::ofstream(path) << rows;
  Descriptor const file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  auto const turns = turns_of_another(
      [&] { EXPECT_TRUE(profile_csv(file.get(), std::ssize(rows), [](double) { return true; })); },
      kTurns / 2);
  if (!turns) GTEST_SKIP() << "it cannot be told here";
  EXPECT_GE(*turns, kTurns / 2);
}

}  // namespace
}  // namespace subforge::files
