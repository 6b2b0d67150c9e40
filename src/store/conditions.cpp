#include "store/conditions.hpp"

#include <algorithm>

#include <fmt/format.h>

#include "base/json_writer.hpp"
#include "store/counts.hpp"

namespace subforge::store {
namespace {

// One of these texts stands on a list of JSON: their quoted forms as phrases for an index of texts.
std::string any_listed(std::vector<std::string> const& texts) {
  std::string phrases;
  for (auto const& text : texts) {
    if (!phrases.empty()) phrases += " OR ";
    phrases.push_back('"');
    for (char const c : json_string(text)) phrases.append(c == '"' ? 2 : 1, c);
    phrases.push_back('"');
  }
  return phrases;
}

std::string listed(std::string_view index, std::vector<std::string> const& texts, Where& where) {
  return std::string(index) + " MATCH " + where.mark(any_listed(texts));
}

// In words that an index of PostgreSQL answers, which leaves out empty lists.
void lists_any_like(std::string_view column, std::vector<std::string> const& texts, Where& where) {
  std::string any;
  for (auto const& text : texts) {
    std::string pattern = "%";
    for (char const c : json_string(text)) {
      if (c == '%' || c == '_' || c == '\\') pattern.push_back('\\');
      pattern.push_back(c);
    }
    if (!any.empty()) any += " OR ";
    any.append(column).append(" LIKE ").append(where.mark(pattern + "%")) += " ESCAPE '\\'";
  }
  where.both(std::string(column) + " <> '[]' AND (" + any + ")");
}

std::string first_characters(std::string const& text, std::size_t most) {
  auto end = text.begin();
  for (std::size_t characters = 0; end != text.end(); ++end) {
    bool const begins = (static_cast<unsigned char>(*end) & 0xc0U) != 0x80U;
    if (begins && characters++ == most) break;
  }
  return {text.begin(), end};
}

void one_of(std::string_view column, std::vector<std::string> const& texts, Where& where) {
  std::string list;
  for (auto const& text : texts) list += (list.empty() ? "" : ", ") + where.mark(text);
  where.both(std::string(column) + " IN (" + list + ")");
}

}  // namespace

// SQLite looks for no index of a column behind a plus sign.
void Conditions::add(std::function<Add(std::string const& before)> const& make,
                     std::optional<std::string_view> order, std::vector<std::string_view> fixed) {
  conditions_.push_back(
      {make(sqlite_ ? "+" : ""), make(""), make(""), table_, {}, order, std::move(fixed)});
}

bool Conditions::Condition::sorted_as(Keyset const& keyset) const {
  return order == keyset.expression || std::ranges::find(fixed, keyset.expression) != fixed.end();
}

void Conditions::equal(std::vector<Equal> const& equal, Index const& index) {
  auto const make = [&](std::string const& before) -> Add {
    return [equal, before, of = index.of](Where& where) {
      for (auto const& one : equal) where.equals(before + std::string(one.column), one.value);
      if (before.empty() && !of.empty()) where.both(of);
    };
  };
  std::vector<std::string_view> fixed;
  for (auto const& one : equal) fixed.push_back(one.column);
  add(make, index.order, std::move(fixed));
  if (!index.kept.empty()) conditions_.back().kept = {std::string(index.kept)};
}

void Conditions::set(std::string_view column) {
  // As literals: the index is used only so.
  auto const make = [&](std::string const& before) -> Add {
    return [name = before + std::string(column)](Where& where) { where.both(name + " = 1"); };
  };
  add(make, "");
}

void Conditions::any_of(std::string_view column, std::vector<std::string> const& texts,
                        std::vector<std::string> kept) {
  if (texts.empty()) return check([](Where& where) { where.both("1 = 0"); });
  auto const make = [&](std::string const& before) -> Add {
    return
        [name = before + std::string(column), texts](Where& where) { one_of(name, texts, where); };
  };
  texts.size() > 1 ? add(make, std::nullopt) : add(make, "", {column});
  conditions_.back().kept = std::move(kept);
}

void Conditions::within(std::string_view column, std::optional<Value> least,
                        std::optional<Value> most) {
  if (!least && !most) return;
  auto const make = [&](std::string const& before) -> Add {
    return [name = before + std::string(column), least, most](Where& where) {
      if (least) where.at_least(name, *least);
      if (most) where.at_most(name, *most);
    };
  };
  add(make, std::nullopt);
  // SQLite thinks bounds to be wide, and would rather walk through the whole table.
  conditions_.back().find = [table = table_, name = std::string(column), least,
                             most](Where& where) {
    std::string bounds;
    if (least) bounds = name + " >= " + where.mark(*least);
    if (most) bounds += (least ? " AND " : "") + name + " <= " + where.mark(*most);
    where.both("seq IN (SELECT seq FROM " + table + " WHERE " + bounds + ")");
  };
}

void Conditions::lists_any(std::string_view column, std::vector<std::string> const& texts,
                           std::string_view index) {
  if (texts.empty()) return;
  Condition condition;
  condition.check = [column, texts, sqlite = sqlite_](Where& where) {
    sqlite ? where.lists_any(column, texts) : lists_any_like(column, texts, where);
  };
  // An index of three characters in a row knows nothing of the empty text in its quotes.
  if (sqlite_ && std::ranges::find(texts, std::string()) == texts.end()) {
    condition.find = [index, texts](Where& where) {
      where.both("seq IN (SELECT rowid FROM " + std::string(index) + " WHERE " +
                 listed(index, texts, where) + ")");
    };
    condition.count = [index, texts](Where& where) { where.both(listed(index, texts, where)); };
    condition.counted = index;
  }
  conditions_.push_back(std::move(condition));
}

void Conditions::contains(std::string const& text, std::string_view index, Add check,
                          Parts const& parts) {
  Condition condition;
  condition.check = std::move(check);
  if (!index.empty() && has_text_index(session_, text)) {
    auto const seq = parts.rows_each == 1 ? "rowid" : fmt::format("rowid / {}", parts.rows_each);
    auto const begin = first_characters(text, parts.whole_characters);
    if (begin.size() == text.size()) {
      condition.find = [index, text, seq](Where& where) { where.indexed_seq(index, text, seq); };
      condition.count = [index, text](Where& where) { where.indexed(index, text); };
      condition.counted = index;
      if (parts.rows_each > 1) condition.of = seq;
    } else {
      condition.find = [index, begin, seq, checks = condition.check](Where& where) {
        where.indexed_seq(index, begin, seq);
        checks(where);
      };
      condition.count = condition.find;
      condition.counted = table_;
    }
  }
  conditions_.push_back(std::move(condition));
}

Task<Result<Total>> Conditions::found(Condition const& condition, std::int64_t most) const {
  if (condition.kept.empty()) {
    Where counted;
    condition.count(counted);
    co_return co_await count_matches(session_, condition.counted, std::move(counted), most,
                                     condition.of);
  }
  std::int64_t sum = 0;
  for (auto const& name : condition.kept) {
    auto const count = co_await read_count(session_, name);
    if (!count) co_return std::unexpected(count.error());
    sum += *count;
  }
  co_return Total{std::min(sum, most), sum > most};
}

Task<Result<Conditions::Condition const*>> Conditions::fewest(std::int64_t most) const {
  Condition const* leading = nullptr;
  auto fewest = most + 1;
  for (auto const& condition : conditions_) {
    if (!condition.find) continue;
    // No further than it could still be the one.
    auto const found = co_await this->found(condition, std::max<std::int64_t>(fewest - 1, 1));
    if (!found) co_return std::unexpected(found.error());
    if (found->capped || found->count >= fewest) continue;
    fewest = found->count;
    leading = &condition;
  }
  co_return leading;
}

Task<Result<Conditions::Condition const*>> Conditions::leading(Keyset const& keyset) const {
  if (conditions_.size() == 1 && conditions_.front().sorted_as(keyset)) {
    co_return &conditions_.front();
  }
  if (!sqlite_) co_return nullptr;
  for (auto most = kFewFirst; most <= kFewMax; most *= kFewFactor) {
    auto const found = co_await fewest(most);
    if (!found || *found != nullptr) co_return found;
  }
  // Of those that are many, one that has them in the order of the list may lead all the same.
  for (auto const& condition : conditions_) {
    if (condition.find && condition.sorted_as(keyset)) co_return &condition;
  }
  co_return nullptr;
}

Task<Result<Where>> Conditions::choose(Keyset const& keyset) const {
  auto const leading = co_await this->leading(keyset);
  if (!leading) co_return std::unexpected(leading.error());
  Where where;
  for (auto const& condition : conditions_) {
    &condition == *leading ? condition.find(where) : condition.check(where);
  }
  co_return where;
}

Task<Result<Total>> Conditions::total(std::int64_t most) const {
  if (conditions_.size() == 1 && conditions_.front().find) {
    co_return co_await found(conditions_.front(), most);
  }
  auto where = co_await choose({});
  if (!where) co_return std::unexpected(where.error());
  co_return co_await count_matches(session_, table_, std::move(*where), most);
}

}  // namespace subforge::store
