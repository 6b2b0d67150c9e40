#include "store/listing.hpp"

#include <algorithm>
#include <limits>

#include "base/json_writer.hpp"

namespace subforge::store {
namespace {

std::string escape_like(std::string_view text) {
  std::string escaped;
  for (char const c : text) {
    if (c == '%' || c == '_' || c == '\\') escaped.push_back('\\');
    escaped.push_back(c);
  }
  return escaped;
}

// The text as one phrase in quotes; quotes within it are doubled.
std::string found_in(std::string_view index, std::string const& mark) {
  return std::string(index) + " MATCH '\"' || replace(lower(" + mark + R"(), '"', '""') || '"')";
}

}  // namespace

void Where::lists_any(std::string_view column, std::vector<std::string> const& texts) {
  if (texts.empty()) return;
  std::string any;
  for (auto const& text : texts) {
    // A text is on a JSON list where its quoted form is.
    if (!any.empty()) any += " OR ";
    any.append("instr(").append(column).append(", ").append(mark(json_string(text))) += ") > 0";
  }
  both("(" + any + ")");
}

void Where::contains(std::initializer_list<std::string_view> columns, std::string_view text) {
  auto const pattern = mark("%" + escape_like(text) + "%");
  std::string any;
  for (auto const column : columns) {
    if (!any.empty()) any += " OR ";
    any.append("lower(").append(column).append(") LIKE lower(").append(pattern) += ") ESCAPE '\\'";
  }
  both("(" + any + ")");
}

void Where::indexed(std::string_view index, std::string_view text) {
  both(found_in(index, mark(std::string(text))));
}

void Where::indexed_seq(std::string_view index, std::string_view text, std::string_view seq) {
  both("seq IN (SELECT " + std::string(seq) + " FROM " + std::string(index) + " WHERE " +
       found_in(index, mark(std::string(text))) + ")");
}

bool has_text_index(Session const& session, std::optional<std::string> const& text) {
  if (!text || session.dialect() != Dialect::sqlite) return false;
  constexpr int kCharacters = 3;
  auto const begins = [](char c) { return (static_cast<unsigned char>(c) & 0xc0U) != 0x80U; };
  return std::ranges::count_if(*text, begins) >= kCharacters &&
         text->find('\0') == std::string::npos;
}

std::string page_sql(std::string_view columns, std::string_view table, Keyset const& keyset,
                     Where& where, PageBounds const& bounds) {
  if (bounds.after) where.behind(keyset, *bounds.after);
  if (bounds.until) {
    keyset.descending ? where.at_least(keyset.seq, *bounds.until)
                      : where.at_most(keyset.seq, *bounds.until);
  }
  auto sql = "SELECT " + std::string(columns) + keyset.columns() + " FROM ";
  sql.append(table).append(where.sql()).append(keyset.order());
  sql += " LIMIT " + where.mark(bounds.limit + 1);
  sql += " OFFSET " + where.mark(bounds.skip);
  return sql;
}

Task<Result<Total>> count_matches(Session& session, std::string_view table, Where where,
                                  std::int64_t most, std::string_view of) {
  auto const selected = of.empty() ? "1" : "DISTINCT " + std::string(of);
  auto sql =
      "SELECT count(*) FROM (SELECT " + selected + " FROM " + std::string(table) + where.sql();
  sql += " LIMIT " + where.mark(most + 1) + ") AS matches";
  Total total;
  auto const counted = co_await session.query(
      sql, where.values(), [&](Row const& row) { total.count = row.integer(0); });
  if (!counted) co_return std::unexpected(counted.error());
  total.capped = total.count > most;
  total.count = std::min(total.count, most);
  co_return total;
}

Task<Result<std::optional<Position>>> end_of_page(Session& session, std::string_view table,
                                                  Keyset keyset, Where where, PageBounds bounds) {
  auto const most = std::numeric_limits<std::int64_t>::max() - bounds.limit;
  bounds.skip = std::min(bounds.skip, most) + bounds.limit - 1;
  bounds.limit = 1;
  auto const sql = page_sql("id", table, keyset, where, bounds);
  std::optional<Position> last;
  bool more = false;
  auto const done = co_await session.query(sql, where.values(), [&](Row const& row) {
    more = last.has_value();
    if (!more) last = keyset.position(row, 1);
  });
  if (!done) co_return std::unexpected(done.error());
  co_return more ? last : std::nullopt;
}

}  // namespace subforge::store
