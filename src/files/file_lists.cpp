// Lists of files and figures about them.
#include "base/text.hpp"
#include "files/file_rows.hpp"
#include "files/files.hpp"
#include "files/processing.hpp"
#include "store/conditions.hpp"

namespace subforge::files {
namespace {

using store::Conditions;
using store::Session;
using store::Where;

constexpr std::string_view kTable = "files";
constexpr std::int64_t kWeekDays = 7;
constexpr std::int64_t kMonthDays = 30;

store::Keyset keyset_of(FileFilter const& filter) {
  using enum FileFilter::Sort;
  switch (filter.sort) {
    case filename: return {"lower(original_filename)", filter.descending};
    case file_size: return {"file_size", filter.descending, store::Value::Kind::integer};
    case file_type: return {"file_type", filter.descending};
    case uploaded_at: break;
  }
  return {"uploaded_at", filter.descending, store::Value::Kind::integer};
}

Conditions conditions_of(Session& session, FileFilter const& filter) {
  Conditions conditions(session, kTable);
  if (filter.impossible) conditions.check([](Where& where) { where.both("1 = 0"); });
  constexpr Conditions::Index kByTime{.order = "uploaded_at"};
  if (filter.file_type) {
    conditions.equal({{"file_type", store::Value(describe::to_text(*filter.file_type))}}, kByTime);
  }
  if (filter.uploaded_by) {
    conditions.equal({{"uploaded_by", store::Value(*filter.uploaded_by)}}, kByTime);
  }
  if (filter.mime_type) {
    conditions.equal({{"mime_type", store::Value(*filter.mime_type)}}, kByTime);
  }
  conditions.lists_any("tags", filter.tags, "file_tags");
  if (filter.search) {
    auto const check = [text = *filter.search](Where& where) {
      where.contains({"original_filename", "content"}, text);
    };
    conditions.contains(*filter.search, "file_texts", check,
                        {.rows_each = kTextRowsEach, .whole_characters = kPartOverlap + 1});
  }
  return conditions;
}

// The count that tells how many files a filter finds; nothing where none does.
std::optional<std::string> kept_count(FileFilter const& filter) {
  if (filter.impossible || filter.search || !filter.tags.empty()) return std::nullopt;
  if (filter.file_type.has_value() + filter.uploaded_by.has_value() + filter.mime_type.has_value() >
      1) {
    return std::nullopt;
  }
  if (filter.file_type) return "file_types." + std::string(describe::to_text(*filter.file_type));
  if (filter.uploaded_by) return "file_users." + *filter.uploaded_by;
  if (filter.mime_type) return "file_mimes." + *filter.mime_type;
  return "files";
}

Task<Result<store::Total>> total_of(Session& session, FileFilter filter) {
  auto const name = kept_count(filter);
  if (!name) co_return co_await conditions_of(session, filter).total(kFileCountMax);
  auto const count = co_await store::read_count(session, *name);
  if (!count) co_return std::unexpected(count.error());
  co_return store::Total{*count};
}

// The counts of a record without its name, and without those that are none any more.
Task<Result<store::Counts>> counts_by(Session& session, std::string record) {
  auto const counts = co_await store::read_counts(session, record);
  if (!counts) co_return std::unexpected(counts.error());
  store::Counts by;
  for (auto const& [name, n] : *counts) {
    if (n > 0 && name.size() > record.size()) by.emplace(name.substr(record.size() + 1), n);
  }
  co_return by;
}

}  // namespace

Task<Result<FilePage>> Files::list(FileFilter filter) {
  auto read = [filter = std::move(filter)](Session& session) -> Task<Result<FilePage>> {
    auto const total = co_await total_of(session, filter);
    if (!total) co_return std::unexpected(total.error());
    auto const keyset = keyset_of(filter);
    auto where = co_await conditions_of(session, filter).choose(keyset);
    if (!where) co_return std::unexpected(where.error());
    auto page = co_await store::select_page<FileRecord>(session, kTable, keyset, std::move(*where),
                                                        store::bounds_of(filter));
    if (!page) co_return page;
    page->total = total->count;
    page->total_capped = total->capped;
    co_return page;
  };
  co_return co_await store_.read(store::ReadCost::scan, std::move(read));
}

Task<Result<FileStatistics>> Files::statistics(Timestamp now) {
  auto read = [now](Session& session) -> Task<Result<FileStatistics>> {
    FileStatistics figures;
    auto const totals = co_await store::read_counts(session, "files");
    if (!totals) co_return std::unexpected(totals.error());
    auto const of = [&](std::string_view name) {
      auto const found = totals->find(name);
      return found == totals->end() ? 0 : found->second;
    };
    figures.total_files = of("files");
    figures.total_size = of("files.bytes");
    auto types = co_await counts_by(session, "file_types");
    auto mimes = co_await counts_by(session, "file_mimes");
    auto users = co_await counts_by(session, "file_users");
    auto days = co_await counts_by(session, "file_days");
    for (auto const* part : {&types, &mimes, &users, &days}) {
      if (!*part) co_return std::unexpected(part->error());
    }
    figures.by_type = std::move(*types);
    figures.by_mime_type = std::move(*mimes);
    figures.by_uploader = std::move(*users);
    auto const today = now.micros / kMicrosPerDay;
    for (auto const& [day, n] : *days) {
      auto const age = today - parse_number<std::int64_t>(day).value_or(0);
      if (age == 0) figures.today += n;
      if (age <= kWeekDays) figures.this_week += n;
      if (age <= kMonthDays) figures.this_month += n;
    }
    co_return figures;
  };
  co_return co_await store_.read(store::ReadCost::point, std::move(read));
}

}  // namespace subforge::files
