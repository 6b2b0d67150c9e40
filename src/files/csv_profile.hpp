// What a table of separated values holds, told in one pass over it with little memory: its columns,
// what kind of values they have, how many rows there are.
//
// RFC 4180, and what programs make of it: separators other than commas, lines that end in any of
// three ways, a byte order mark, quotes within fields. The first row names the columns.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/json_writer.hpp"
#include "base/result.hpp"

namespace subforge::files {

inline constexpr std::size_t kCsvColumnsMax = 100;    // That are described; all are counted.
inline constexpr std::size_t kCsvNameBytesMax = 200;  // Of a column's name; the rest is cut.
inline constexpr std::size_t kCsvFieldBytesKept = 1U << 10U;  // Longer values are texts, unseen.

enum class CsvType : std::uint8_t { boolean, integer, number, date, datetime, text, empty };

constexpr std::array<std::pair<CsvType, std::string_view>, 7> names_of(CsvType) {
  using enum CsvType;
  return {{{boolean, "boolean"},
           {integer, "integer"},
           {number, "number"},
           {date, "date"},
           {datetime, "datetime"},
           {text, "text"},
           {empty, "empty"}}};
}

struct CsvColumn {
  std::string name;
  CsvType type = CsvType::empty;  // That all values of the column have; empty where there are none.
  std::int64_t empty = 0;         // Rows without a value here.
};

struct CsvProfile {
  char separator = ',';
  std::int64_t rows = 0;  // Without the names.
  std::int64_t column_count = 0;
  std::vector<CsvColumn> columns;
  // Rows with more or fewer fields than there are names, and the line where the first one begins.
  std::int64_t uneven_rows = 0;
  std::optional<std::int64_t> first_uneven_line;
};

// The one of , ; tab and | that the first line has most of; a comma where it has none.
[[nodiscard]] char separator_of(std::string_view beginning);

class CsvReader {
 public:
  explicit CsvReader(char separator) { profile_.separator = separator; }

  // The next piece, which may begin and end anywhere.
  void take(std::string_view bytes);
  // After the last one. Error: invalid, with the line, where a quoted field has no end.
  [[nodiscard]] Result<CsvProfile> finish();

 private:
  enum class State : std::uint8_t { field_start, plain, quoted, after_quote };
  // What the values of a column may still be, one bit for each type.
  struct Seen {
    std::uint8_t possible = 0xff;
    bool any = false;
  };
  void end_mark();
  void take_byte(char byte);
  void keep(char byte);
  void end_field();
  void end_row();
  void see(Seen& seen) const;

  CsvProfile profile_;
  std::vector<Seen> seen_;
  State state_ = State::field_start;
  std::string field_;
  bool cut_ = false;             // The field is longer than what is kept.
  bool named_ = false;           // The first row is over.
  bool row_begun_ = false;       // Something of this row was seen.
  bool after_return_ = false;    // The last byte ended a line; a line feed belongs to it.
  std::size_t begin_bytes_ = 0;  // Of the byte order mark, as far as it was seen.
  std::int64_t fields_ = 0;      // Of this row, so far.
  std::int64_t line_ = 1;
  std::int64_t row_line_ = 1;
  std::int64_t quote_line_ = 1;
};

// Reads the whole descriptor; `go_on` hears the share that is done, 0 to 1, and ends it with false.
// Errors: as above; unavailable where it was ended; internal where the disk fails. For the threads
// of a pool.
[[nodiscard]] Result<CsvProfile> profile_csv(int fd, std::int64_t size,
                                             std::function<bool(double)> const& go_on);

// Its members, without braces around them.
void write_members(JsonWriter& json, CsvProfile const& profile);

}  // namespace subforge::files
