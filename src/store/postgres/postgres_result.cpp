#include "store/postgres/postgres_result.hpp"

#include <libpq-fe.h>

#include <bit>
#include <cmath>
#include <cstring>

#include <fmt/format.h>

#include "base/text.hpp"
#include "store/postgres/postgres_state.hpp"
#include "store/postgres/postgres_statements.hpp"

namespace subforge::store {
namespace {

template <class Unsigned>
Unsigned from_big_endian(std::string_view bytes) {
  Unsigned number = 0;
  if (bytes.size() < sizeof number) return 0;
  std::memcpy(&number, bytes.data(), sizeof number);
  if constexpr (std::endian::native == std::endian::little && sizeof number > 1) {
    number = std::byteswap(number);
  }
  return number;
}

// NUMERIC in binary: four 16-bit numbers (how many digits, the first one's weight, sign, how many
// decimals are shown), then the digits, each of base 10,000.
template <class Number>
Number from_numeric(std::string_view bytes, bool with_fraction) {
  auto const part = [&](std::size_t i) {
    return static_cast<std::int16_t>(
        from_big_endian<std::uint16_t>(bytes.substr(std::min(2 * i, bytes.size()))));
  };
  constexpr std::int16_t kNegative = 0x4000;
  constexpr Number kBase = 10'000;
  auto const digits = part(0);
  int weight = part(1);
  Number number = 0;
  for (std::int16_t i = 0; i < digits; ++i, --weight) {
    if (weight < 0 && !with_fraction) return part(2) == kNegative ? -number : number;
    number = number * kBase + static_cast<Number>(part(4 + static_cast<std::size_t>(i)));
  }
  // The digits that are left out at the end are zeros.
  for (; weight >= 0; --weight) number *= kBase;
  if constexpr (std::is_floating_point_v<Number>) number /= std::pow(kBase, -(weight + 1));
  return part(2) == kNegative ? -number : number;
}

}  // namespace

double numeric_to_real(std::string_view bytes) { return from_numeric<double>(bytes, true); }

std::int64_t numeric_to_integer(std::string_view bytes) {
  return from_numeric<std::int64_t>(bytes, false);
}

bool PostgresRow::is_null(int column) const { return PQgetisnull(result_, row_, column) != 0; }

unsigned PostgresRow::type(int column) const { return PQftype(result_, column); }

std::string_view PostgresRow::text(int column) const {
  return {PQgetvalue(result_, row_, column),
          static_cast<std::size_t>(PQgetlength(result_, row_, column))};
}

std::int64_t PostgresRow::integer(int column) const {
  auto const bytes = text(column);
  if (bytes.empty()) return 0;
  switch (type(column)) {
    case postgres_type::kInt8:
      return static_cast<std::int64_t>(from_big_endian<std::uint64_t>(bytes));
    case postgres_type::kInt4:
      return static_cast<std::int32_t>(from_big_endian<std::uint32_t>(bytes));
    case postgres_type::kInt2:
      return static_cast<std::int16_t>(from_big_endian<std::uint16_t>(bytes));
    case postgres_type::kBool: return bytes[0] != 0 ? 1 : 0;
    case postgres_type::kNumeric: return numeric_to_integer(bytes);
    case postgres_type::kFloat4:
    case postgres_type::kFloat8: return static_cast<std::int64_t>(real(column));
    default: return parse_number<std::int64_t>(bytes).value_or(0);
  }
}

double PostgresRow::real(int column) const {
  auto const bytes = text(column);
  if (bytes.empty()) return 0;
  switch (type(column)) {
    case postgres_type::kFloat8:
      return std::bit_cast<double>(from_big_endian<std::uint64_t>(bytes));
    case postgres_type::kFloat4:
      return static_cast<double>(std::bit_cast<float>(from_big_endian<std::uint32_t>(bytes)));
    case postgres_type::kNumeric: return numeric_to_real(bytes);
    case postgres_type::kInt8:
    case postgres_type::kInt4:
    case postgres_type::kInt2:
    case postgres_type::kBool: return static_cast<double>(integer(column));
    default: return parse_number<double>(bytes).value_or(0);
  }
}

ErrorCode code_of_sqlstate(std::string_view sqlstate) {
  if (sqlstate.size() != 5 || is_worth_another_try(sqlstate)) return ErrorCode::unavailable;
  if (sqlstate == "23505") return ErrorCode::conflict;     // unique_violation
  if (sqlstate == "22021") return ErrorCode::invalid;      // character_not_in_repertoire
  if (sqlstate == "08P01") return ErrorCode::database;     // protocol_violation
  if (sqlstate == "55P03") return ErrorCode::unavailable;  // lock_not_available
  // read_only_sql_transaction: a standby, or a server that is kept from being written to.
  if (sqlstate == "25006") return ErrorCode::unavailable;
  auto const group = sqlstate.substr(0, 2);
  if (group == "23") return ErrorCode::invalid;    // integrity_constraint_violation
  if (group == "54") return ErrorCode::too_large;  // program_limit_exceeded
  // Connection, authorization, no such database, resources, operator, system.
  for (auto const* const gone : {"08", "28", "3D", "53", "57", "58"}) {
    if (group == gone) return ErrorCode::unavailable;
  }
  return ErrorCode::database;
}

bool is_worth_another_try(std::string_view sqlstate) {
  return sqlstate == "40001" || sqlstate == "40P01";  // serialization_failure, deadlock_detected
}

std::string_view sqlstate_of(pg_result const* result) {
  auto const* state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
  return state == nullptr ? std::string_view() : state;
}

Error error_of(pg_result const* result, std::string_view sql) {
  auto const state = sqlstate_of(result);
  auto const code = code_of_sqlstate(state);
  auto const* primary = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
  auto context = fmt::format("{} ({}) in: {}",
                             primary != nullptr ? primary : trim(PQresultErrorMessage(result)),
                             state.empty() ? "no SQLSTATE" : state, sql);
  if (code == ErrorCode::unavailable) return postgres_unavailable(std::move(context));
  return {code, code == ErrorCode::conflict ? "Already exists" : "Database error occurred",
          std::move(context)};
}

std::int64_t changed_rows(pg_result* result) {
  std::string_view const command(PQcmdStatus(result));
  if (command.starts_with("SELECT") || command.starts_with("SHOW")) return 0;
  return parse_number<std::int64_t>(PQcmdTuples(result)).value_or(0);
}

}  // namespace subforge::store
