// Lists of files and figures about them.
#include "base/text.hpp"
#include "files/files.hpp"
#include "store/listing.hpp"

namespace subforge::files {
namespace {

using store::Session;
using store::Where;

constexpr std::int64_t kMicrosPerDay = 86'400'000'000;
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

Where where_of(Session const& session, FileFilter const& filter) {
  Where where;
  if (filter.impossible) where.both("1 = 0");
  if (filter.file_type) {
    where.equals("file_type", store::Value(describe::to_text(*filter.file_type)));
  }
  if (filter.uploaded_by) where.equals("uploaded_by", *filter.uploaded_by);
  if (filter.mime_type) where.equals("mime_type", *filter.mime_type);
  where.lists_any("tags", filter.tags);
  if (store::has_text_index(session, filter.search)) {
    where.indexed_seq("file_texts", *filter.search);
  } else if (filter.search) {
    where.contains({"original_filename", "content"}, *filter.search);
  }
  return where;
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
  if (!name) {
    co_return co_await store::count_matches(session, "files", where_of(session, filter),
                                            kFileCountMax);
  }
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
    auto page = co_await store::select_page<FileRecord>(
        session, "files", keyset_of(filter), where_of(session, filter), store::bounds_of(filter));
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
