#include "store/keyset.hpp"

namespace subforge::store {

std::string Keyset::order() const {
  std::string_view const direction = descending ? " DESC" : " ASC";
  std::string sql = " ORDER BY ";
  if (!expression.empty()) sql.append(expression).append(direction).append(", ");
  return sql.append(seq).append(direction);
}

std::string Keyset::columns() const {
  return ", " + std::string(expression.empty() ? "0" : expression) + ", " + std::string(seq);
}

std::string Keyset::behind(Position const& position, BoundRecord& bound, int& count) const {
  auto const mark = [&count] { return "$" + std::to_string(++count); };
  std::string const compare = descending ? " < " : " > ";
  if (expression.empty()) {
    bound.add(position.seq);
    return std::string(seq) + compare + mark();
  }
  auto const add = [&bound](auto const& value) {
    if constexpr (std::is_same_v<std::remove_cvref_t<decltype(value)>, std::string>) {
      bound.add_text(value);
    } else {
      bound.add(value);
    }
  };
  std::visit(add, position.value);
  bound.add(position.seq);
  auto const value_mark = mark();
  std::string sql;
  // SQLite finds the place of a pair in an index only by columns, not by what is computed of them;
  // it would read the index from its beginning.
  if (expression.find('(') != std::string_view::npos) {
    sql.append(expression).append(descending ? " <= " : " >= ").append(value_mark).append(" AND ");
  }
  return sql + "(" + std::string(expression) + ", " + std::string(seq) + ")" + compare + "(" +
         value_mark + ", " + mark() + ")";
}

Position Keyset::position(Row const& row, int column) const {
  Position position;
  position.seq = row.integer(column + 1);
  if (expression.empty()) return position;
  switch (kind) {
    case Value::Kind::integer: position.value = row.integer(column); break;
    case Value::Kind::real: position.value = row.real(column); break;
    default: position.value = std::string(row.text(column)); break;
  }
  return position;
}

}  // namespace subforge::store
