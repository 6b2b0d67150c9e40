// The reading of tables: whatever bytes somebody uploads as .csv, in whatever pieces they come, the
// same is told of them, within bounds, and can be written as JSON.
#include <cstdint>
#include <string>
#include <string_view>

#include "base/json_writer.hpp"
#include "describe/parse_json.hpp"
#include "files/csv_profile.hpp"
#include "pieces.hpp"

namespace {

using subforge::JsonWriter;
using subforge::fuzz::require;
namespace files = subforge::files;
namespace fuzz = subforge::fuzz;

void require_bounds(files::CsvProfile const& profile, std::size_t bytes) {
  auto const most = static_cast<std::int64_t>(bytes) + 1;
  require(profile.rows >= 0 && profile.rows <= most);
  require(profile.column_count >= 0 && profile.column_count <= most);
  require(profile.columns.size() == static_cast<std::size_t>(std::min<std::int64_t>(
                                        profile.column_count, files::kCsvColumnsMax)));
  require(profile.uneven_rows >= 0 && profile.uneven_rows <= profile.rows);
  require(profile.first_uneven_line.has_value() == (profile.uneven_rows > 0));
  for (auto const& column : profile.columns) {
    require(!column.name.empty() && column.name.size() <= files::kCsvNameBytesMax);
    require(column.empty >= 0 && column.empty <= profile.rows);
    require((column.type == files::CsvType::empty) == (column.empty == profile.rows));
  }
}

// What is told, or what is wrong with the table.
std::string told_of(fuzz::Pieces const& pieces, char separator, std::size_t bytes) {
  files::CsvReader reader(separator);
  fuzz::Guarded guarded;
  for (auto const piece : pieces) {
    auto const copy = guarded.copy(piece);
    reader.take({copy.data(), copy.size()});
  }
  auto const profile = reader.finish();
  if (!profile) {
    require(profile.error().message.starts_with("line "));
    return profile.error().message;
  }
  require_bounds(*profile, bytes);
  std::string told;
  JsonWriter json(told);
  json.begin_object();
  files::write_members(json, *profile);
  json.end_object();
  require(subforge::describe::parse_json(told).is_object());
  return told;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size) {
  std::string_view const bytes(reinterpret_cast<char const*>(data), size);
  auto const separator = files::separator_of(bytes);
  auto const whole = told_of({bytes}, separator, size);
  require(whole == told_of(fuzz::cut_at_random(bytes), separator, size));
  require(whole == told_of(fuzz::cut_at_every_byte(bytes), separator, size));
  return 0;
}
