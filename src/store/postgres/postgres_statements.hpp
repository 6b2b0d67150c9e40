// The statements of one connection: each text is prepared once, and its values are sent in
// PostgreSQL's binary form.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "store/database.hpp"

namespace subforge::store {

// PostgreSQL's numbers of the types that are bound or read here (catalog pg_type).
namespace postgres_type {
inline constexpr unsigned kUnknown = 0, kBool = 16, kBytea = 17, kInt8 = 20, kInt2 = 21, kInt4 = 23,
                          kText = 25, kFloat4 = 700, kFloat8 = 701, kNumeric = 1700;
}  // namespace postgres_type

// How many placeholders a statement has; nothing if they are not $1..$n in order of first use.
[[nodiscard]] std::optional<std::size_t> count_placeholders(std::string_view sql);

struct PostgresStatement {
  std::string sql;
  std::string name;
  std::vector<unsigned> types;  // Of the placeholders; unknown where only NULL was bound so far.
};

class PostgresStatements {
 public:
  // Statements kept prepared. One more, and all are let go and prepared anew as they come.
  static constexpr std::size_t kPreparedMax = 256;

  struct Found {
    PostgresStatement const* statement;
    bool is_new;  // To be prepared first.
  };
  // Error: internal, if there is not one value for each placeholder.
  [[nodiscard]] Result<void> check(std::string_view sql, std::size_t values) const;
  // Of what passes the check.
  [[nodiscard]] Found find(std::string_view sql, std::span<Value const> values);
  // What could not be prepared is prepared anew when it comes again.
  void forget(std::string_view name);

  // Whether so many were prepared that all are to be let go (DEALLOCATE ALL, then clear()).
  [[nodiscard]] bool full() const { return prepared_ >= kPreparedMax; }
  void clear();

 private:
  std::unordered_map<std::string_view, std::unique_ptr<PostgresStatement>> by_text_;
  std::size_t prepared_ = 0;  // On the server, with those that were replaced.
  std::uint64_t names_ = 0;
};

// The values of one execution as libpq takes them. Views; kept to spare allocations.
class PostgresValues {
 public:
  void encode(PostgresStatement const& statement, std::span<Value const> values);
  [[nodiscard]] int count() const { return static_cast<int>(pointers_.size()); }
  [[nodiscard]] char const* const* pointers() const { return pointers_.data(); }
  [[nodiscard]] int const* lengths() const { return lengths_.data(); }
  [[nodiscard]] int const* formats() const { return formats_.data(); }

 private:
  std::vector<std::array<char, 8>> numbers_;
  std::vector<char const*> pointers_;
  std::vector<int> lengths_;
  std::vector<int> formats_;
};

}  // namespace subforge::store
