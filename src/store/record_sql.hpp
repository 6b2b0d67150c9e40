// The SQL folds of a described record: its columns, an INSERT, UPDATEs, and rows to records.
#pragma once

#include <concepts>
#include <deque>
#include <string>
#include <utility>
#include <vector>

#include "describe/json_text.hpp"
#include "describe/parse_json.hpp"
#include "describe/record.hpp"
#include "store/database.hpp"

namespace subforge::store {

// Values of a record bound to a statement, with the texts they point to.
class BoundRecord {
 public:
  void add(Value value) { values_.push_back(value); }
  void add_text(std::string text) { values_.emplace_back(texts_.emplace_back(std::move(text))); }
  [[nodiscard]] std::span<Value const> values() const { return values_; }

 private:
  std::vector<Value> values_;
  std::deque<std::string> texts_;  // Does not move what it holds.
};

// How a type is kept in a column.
template <class T>
struct Column {
  // Lists, maps and described structs: their JSON text.
  static void bind(BoundRecord& to, T const& value) {
    std::string text;
    JsonWriter json(text);
    describe::Codec<T>::write(json, value);
    to.add_text(std::move(text));
  }
  static void read(Row const& row, int column, T& out) {
    boost::system::error_code error;
    auto const text = row.text(column);
    auto const value = describe::parse_json(text, error);
    describe::Issues ignored;
    if (!error) describe::Codec<T>::read(value, out, {}, {}, ignored);
  }
};
template <>
struct Column<std::vector<std::string>> {
  static void bind(BoundRecord& to, std::vector<std::string> const& value) {
    std::string text;
    JsonWriter json(text);
    describe::Codec<std::vector<std::string>>::write(json, value);
    to.add_text(std::move(text));
  }
  static void read(Row const& row, int column, std::vector<std::string>& out) {
    auto const text = row.text(column);
    if (auto list = describe::parse_plain_list(text)) {
      out = std::move(*list);
      return;
    }
    boost::system::error_code error;
    auto const value = describe::parse_json(text, error);
    describe::Issues ignored;
    if (!error) describe::Codec<std::vector<std::string>>::read(value, out, {}, {}, ignored);
  }
};
template <>
struct Column<std::string> {
  static void bind(BoundRecord& to, std::string const& value) { to.add(value); }
  static void read(Row const& row, int column, std::string& out) { out = row.text(column); }
};
// JSON that is kept as the text it came as.
template <class T>
  requires std::same_as<T, describe::JsonText> || std::same_as<T, describe::JsonList> ||
           std::same_as<T, describe::JsonValue>
struct Column<T> {
  static void bind(BoundRecord& to, T const& value) { to.add(value.text); }
  static void read(Row const& row, int column, T& out) { out.text = row.text(column); }
};
template <>
struct Column<std::int64_t> {
  static void bind(BoundRecord& to, std::int64_t value) { to.add(value); }
  static void read(Row const& row, int column, std::int64_t& out) { out = row.integer(column); }
};
template <>
struct Column<double> {
  static void bind(BoundRecord& to, double value) { to.add(value); }
  static void read(Row const& row, int column, double& out) { out = row.real(column); }
};
template <>
struct Column<bool> {
  static void bind(BoundRecord& to, bool value) { to.add(value); }
  static void read(Row const& row, int column, bool& out) { out = row.integer(column) != 0; }
};
template <>
struct Column<Uuid> {
  static void bind(BoundRecord& to, Uuid const& value) { to.add(value); }
  static void read(Row const& row, int column, Uuid& out) { out = row.uuid(column); }
};
template <>
struct Column<Timestamp> {
  static void bind(BoundRecord& to, Timestamp value) { to.add(value); }
  static void read(Row const& row, int column, Timestamp& out) { out = row.timestamp(column); }
};
template <describe::DescribedEnum E>
struct Column<E> {
  static void bind(BoundRecord& to, E value) { to.add(describe::to_text(value)); }
  static void read(Row const& row, int column, E& out) {
    if (auto const value = describe::from_text<E>(row.text(column))) out = *value;
  }
};
template <class T>
struct Column<std::optional<T>> {
  static void bind(BoundRecord& to, std::optional<T> const& value) {
    if (value) {
      Column<T>::bind(to, *value);
    } else {
      to.add(nullptr);
    }
  }
  static void read(Row const& row, int column, std::optional<T>& out) {
    if (row.is_null(column)) {
      out.reset();
    } else {
      Column<T>::read(row, column, out.emplace());
    }
  }
};

template <describe::Record R, class Visit>
constexpr void for_each_column(Visit&& visit) {
  describe::for_each_field<R>([&](auto const& f) {
    if constexpr (std::remove_cvref_t<decltype(f)>::kStored) visit(f);
  });
}

// "id, name, ..." in the order of the description.
template <describe::Record R>
[[nodiscard]] std::string column_list() {
  std::string list;
  for_each_column<R>([&](auto const& f) {
    if (!list.empty()) list += ", ";
    list += f.name;
  });
  return list;
}

// Of one row, or of several.
template <describe::Record R>
[[nodiscard]] std::string insert_sql(std::string_view table, std::size_t rows = 1) {
  std::string marks;
  int index = 0;
  for (std::size_t row = 0; row < rows; ++row) {
    marks += row == 0 ? "(" : "), (";
    bool first = true;
    for_each_column<R>([&](auto const&) {
      if (!std::exchange(first, false)) marks += ", ";
      marks += "$" + std::to_string(++index);
    });
  }
  return "INSERT INTO " + std::string(table) + " (" + column_list<R>() + ") VALUES " + marks + ")";
}

// Sets every column of the row whose key column equals the record's; the key is bound last.
template <describe::Record R>
[[nodiscard]] std::string update_sql(std::string_view table, std::string_view key) {
  std::string set;
  int index = 0;
  for_each_column<R>([&](auto const& f) {
    if (!set.empty()) set += ", ";
    set += std::string(f.name) + " = $" + std::to_string(++index);
  });
  return "UPDATE " + std::string(table) + " SET " + set + " WHERE " + std::string(key) + " = $" +
         std::to_string(index + 1);
}

// Adds the values of one more row.
template <describe::Record R>
void bind_row(BoundRecord& to, R const& record) {
  for_each_column<R>([&](auto const& f) {
    Column<typename std::remove_cvref_t<decltype(f)>::Type>::bind(to, f.get(record));
  });
}

template <describe::Record R>
[[nodiscard]] BoundRecord bind_record(R const& record) {
  BoundRecord bound;
  bind_row(bound, record);
  return bound;
}

// An UPDATE of the columns in which `after` differs from `before`; no text if there are none. Views
// of both records. SQLite writes the indexes of every column that is set, whatever the value was
// before, so that setting all of a record with many indexes costs several times as much.
struct BoundUpdate {
  std::string sql;
  BoundRecord bound;
};
template <describe::Record R>
[[nodiscard]] BoundUpdate update_of_changes(std::string_view table, std::string_view key,
                                            Value key_value, R const& before, R const& after) {
  BoundUpdate update;
  int index = 0;
  for_each_column<R>([&](auto const& f) {
    if (f.get(before) == f.get(after)) return;
    update.sql += index == 0 ? "UPDATE " + std::string(table) + " SET " : ", ";
    update.sql += std::string(f.name) + " = $" + std::to_string(++index);
    Column<typename std::remove_cvref_t<decltype(f)>::Type>::bind(update.bound, f.get(after));
  });
  if (index == 0) return update;
  update.sql += " WHERE " + std::string(key) + " = $" + std::to_string(index + 1);
  update.bound.add(key_value);
  return update;
}

// From a row that selects column_list() first.
template <describe::Record R>
[[nodiscard]] R read_row(Row const& row) {
  R record;
  int column = 0;
  for_each_column<R>([&](auto const& f) {
    using T = typename std::remove_cvref_t<decltype(f)>::Type;
    Column<T>::read(row, column++, record.*(f.member));
  });
  return record;
}

}  // namespace subforge::store
