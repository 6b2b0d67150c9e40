// What PostgreSQL answers: rows in its binary form, and errors in the terms of the port.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "store/database.hpp"

struct pg_result;

namespace subforge::store {

// One row of an answer.
class PostgresRow final : public Row {
 public:
  PostgresRow(pg_result const* result, int row) : result_(result), row_(row) {}

  [[nodiscard]] bool is_null(int column) const override;
  [[nodiscard]] std::int64_t integer(int column) const override;
  [[nodiscard]] double real(int column) const override;
  [[nodiscard]] std::string_view text(int column) const override;
  [[nodiscard]] std::string_view blob(int column) const override { return text(column); }

 private:
  [[nodiscard]] unsigned type(int column) const;

  pg_result const* result_;
  int row_;
};

// A number of type NUMERIC, as sums of integers are, from its binary form.
[[nodiscard]] double numeric_to_real(std::string_view bytes);
[[nodiscard]] std::int64_t numeric_to_integer(std::string_view bytes);  // The fraction is cut off.

// By SQLSTATE (PostgreSQL, appendix A); an error of libpq itself has none.
[[nodiscard]] ErrorCode code_of_sqlstate(std::string_view sqlstate);
// A deadlock or the like: lost to others, and may succeed when run again.
[[nodiscard]] bool is_worth_another_try(std::string_view sqlstate);
[[nodiscard]] std::string_view sqlstate_of(pg_result const* result);
[[nodiscard]] Error error_of(pg_result const* result, std::string_view sql);

// Rows that an INSERT, UPDATE or DELETE changed.
[[nodiscard]] std::int64_t changed_rows(pg_result* result);

}  // namespace subforge::store
