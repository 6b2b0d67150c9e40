#include "store/postgres/postgres_statements.hpp"

#include <bit>
#include <cstring>

#include <fmt/format.h>

namespace subforge::store {
namespace {

// Integers beyond it are not exact as a double.
constexpr std::int64_t kExactMax = std::int64_t{1} << 53;

unsigned type_of(Value::Kind kind) {
  switch (kind) {
    case Value::Kind::null: return postgres_type::kUnknown;
    case Value::Kind::integer: return postgres_type::kInt8;
    case Value::Kind::real: return postgres_type::kFloat8;
    case Value::Kind::text: return postgres_type::kText;
    case Value::Kind::blob: return postgres_type::kBytea;
  }
  return postgres_type::kUnknown;
}

bool fits(unsigned type, Value const& value) {
  if (value.kind() == Value::Kind::null || type_of(value.kind()) == type) return true;
  return type == postgres_type::kFloat8 && value.kind() == Value::Kind::integer &&
         value.integer() >= -kExactMax && value.integer() <= kExactMax;
}

// One that takes these values and, where they are NULL, what the older one took.
std::vector<unsigned> widened(std::vector<unsigned> types, std::span<Value const> values) {
  types.resize(values.size(), postgres_type::kUnknown);
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (!fits(types[i], values[i])) types[i] = type_of(values[i].kind());
  }
  return types;
}

std::size_t after_literal(std::string_view sql, std::size_t start) {
  auto const closing = sql.find(sql[start], start + 1);
  return closing == std::string_view::npos ? sql.size() : closing + 1;
}

template <class Unsigned>
void put_big_endian(std::array<char, 8>& out, Unsigned number) {
  if constexpr (std::endian::native == std::endian::little) number = std::byteswap(number);
  std::memcpy(out.data(), &number, sizeof number);
}

}  // namespace

std::optional<std::size_t> count_placeholders(std::string_view sql) {
  std::size_t count = 0;
  for (std::size_t at = 0; at < sql.size();) {
    char const c = sql[at];
    if (c == '\'' || c == '"') {
      at = after_literal(sql, at);
      continue;
    }
    ++at;
    if (c != '$') continue;
    std::size_t number = 0;
    for (; at < sql.size() && sql[at] >= '0' && sql[at] <= '9' && number < 100'000; ++at) {
      number = number * 10 + static_cast<std::size_t>(sql[at] - '0');
    }
    if (number == 0 || number > count + 1) return std::nullopt;
    count = std::max(count, number);
  }
  return count;
}

Result<void> PostgresStatements::check(std::string_view sql, std::size_t values) const {
  auto const known = by_text_.find(sql);
  if (known != by_text_.end() && known->second->types.size() == values) return {};
  if (count_placeholders(sql) == values) return {};
  return fail(ErrorCode::database, "Database error occurred",
              fmt::format("{} values, and placeholders that are not as many or not $1..$n in order,"
                          " in: {}",
                          values, sql));
}

auto PostgresStatements::find(std::string_view sql, std::span<Value const> values) -> Found {
  std::vector<unsigned> types;
  if (auto const known = by_text_.find(sql); known != by_text_.end()) {
    bool good = true;
    auto& known_types = known->second->types;
    for (std::size_t i = 0; i < values.size(); ++i) good &= fits(known_types[i], values[i]);
    if (good) return {known->second.get(), false};
    types = std::move(known_types);
    by_text_.erase(known);
  }
  auto statement = std::make_unique<PostgresStatement>();
  statement->sql = sql;
  statement->name = fmt::format("s{}", ++names_);
  statement->types = widened(std::move(types), values);
  ++prepared_;
  auto const key = std::string_view(statement->sql);
  return {by_text_.emplace(key, std::move(statement)).first->second.get(), true};
}

void PostgresStatements::forget(std::string_view name) {
  std::erase_if(by_text_, [&](auto const& entry) { return entry.second->name == name; });
}

void PostgresStatements::clear() {
  by_text_.clear();
  prepared_ = 0;
}

void PostgresValues::encode(PostgresStatement const& statement, std::span<Value const> values) {
  numbers_.resize(values.size());
  pointers_.resize(values.size());
  lengths_.resize(values.size());
  formats_.assign(values.size(), 1);
  for (std::size_t i = 0; i < values.size(); ++i) {
    auto const& value = values[i];
    pointers_[i] = numbers_[i].data();
    lengths_[i] = 8;
    switch (value.kind()) {
      case Value::Kind::null: pointers_[i] = nullptr; break;
      case Value::Kind::integer:
        if (statement.types[i] == postgres_type::kFloat8) {
          auto const real = static_cast<double>(value.integer());
          put_big_endian(numbers_[i], std::bit_cast<std::uint64_t>(real));
        } else {
          put_big_endian(numbers_[i], static_cast<std::uint64_t>(value.integer()));
        }
        break;
      case Value::Kind::real:
        put_big_endian(numbers_[i], std::bit_cast<std::uint64_t>(value.real()));
        break;
      case Value::Kind::text:
      case Value::Kind::blob:
        // A null pointer would bind NULL; an empty view may hold one.
        pointers_[i] = value.text().empty() ? "" : value.text().data();
        lengths_[i] = static_cast<int>(value.text().size());
    }
  }
}

}  // namespace subforge::store
