#include "store/kept_answers.hpp"

namespace subforge::store {

Timestamp KeptAnswers::oldest(Timestamp now) const { return {now.micros - hours_ * 3'600'000'000}; }

Task<Result<std::optional<KeptAnswer>>> KeptAnswers::find(RequestKey key) {
  using Found = std::optional<KeptAnswer>;
  auto read = [key = std::move(key),
               oldest = oldest(Timestamp::now())](Session& session) -> Task<Result<Found>> {
    Found found;
    auto const done = co_await session.query(
        "SELECT request_hash, status, fields, body FROM idempotency_keys"
        " WHERE client = $1 AND route = $2 AND key = $3 AND created_at >= $4",
        {key.client, key.route, key.key, oldest}, [&](Row const& row) {
          found = {std::string(row.blob(0)), static_cast<int>(row.integer(1)),
                   std::string(row.text(2)), std::string(row.text(3)), !row.is_null(3)};
        });
    if (!done) co_return std::unexpected(done.error());
    co_return found;
  };
  co_return co_await store_.read(ReadCost::point, std::move(read));
}

Task<Result<void>> KeptAnswers::keep(Transaction& transaction, RequestKey const& key,
                                     KeptAnswer const& answer) const {
  bool const complete = answer.complete && answer.body.size() <= kBodyBytesMax;
  // One that is too old, and was not removed yet, makes room.
  auto const kept = co_await transaction.execute(
      "INSERT INTO idempotency_keys (client, route, key, request_hash, status, fields, body,"
      " created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)"
      " ON CONFLICT (client, route, key) DO UPDATE SET request_hash = excluded.request_hash,"
      " status = excluded.status, fields = excluded.fields, body = excluded.body,"
      " created_at = excluded.created_at WHERE idempotency_keys.created_at < $9",
      {key.client, key.route, key.key, Value::blob(answer.request_hash), answer.status,
       answer.fields, complete ? Value(answer.body) : Value(nullptr), transaction.now(),
       oldest(transaction.now())});
  if (!kept) co_return std::unexpected(kept.error());
  if (*kept == 0) {
    co_return fail(ErrorCode::conflict,
                   "A request with this Idempotency-Key was carried out at the same time");
  }
  co_return {};
}

Task<Result<void>> KeptAnswers::amend(RequestKey key, KeptAnswer answer) {
  auto write = [key = std::move(key),
                answer = std::move(answer)](Transaction& transaction) -> Task<Result<void>> {
    bool const complete = answer.body.size() <= kBodyBytesMax;
    auto const done = co_await transaction.execute(
        "UPDATE idempotency_keys SET status = $1, fields = $2, body = $3"
        " WHERE client = $4 AND route = $5 AND key = $6 AND request_hash = $7",
        {answer.status, answer.fields, complete ? Value(answer.body) : Value(nullptr), key.client,
         key.route, key.key, Value::blob(answer.request_hash)});
    if (!done) co_return std::unexpected(done.error());
    co_return {};
  };
  co_return co_await store_.write(std::move(write));
}

Task<Result<std::int64_t>> KeptAnswers::forget_old() {
  auto const before = oldest(Timestamp::now());
  bool any = false;
  auto look = [&any, before](Session& session) -> Task<Result<std::int64_t>> {
    co_return co_await session.query("SELECT 1 FROM idempotency_keys WHERE created_at < $1 LIMIT 1",
                                     {before}, [&](Row const&) { any = true; });
  };
  auto const looked = co_await store_.read(ReadCost::point, std::move(look));
  if (!looked) co_return std::unexpected(looked.error());
  if (!any) co_return 0;
  auto remove = [before](Transaction& transaction) -> Task<Result<std::int64_t>> {
    co_return co_await transaction.execute(
        "DELETE FROM idempotency_keys WHERE (client, route, key) IN (SELECT client, route, key"
        " FROM idempotency_keys WHERE created_at < $1 ORDER BY created_at LIMIT $2)",
        {before, kForgottenAtOnce});
  };
  co_return co_await store_.write(std::move(remove));
}

}  // namespace subforge::store
