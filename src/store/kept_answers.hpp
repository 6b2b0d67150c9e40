// The answers of requests with an Idempotency-Key, kept in the database for some hours so that a
// repeated request gets the same answer instead of another effect.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "store/store.hpp"

namespace subforge::store {

// Who sent which key to which route; the same key of another client or route is another one.
struct RequestKey {
  std::string client;
  std::string route;
  std::string key;
};

struct KeptAnswer {
  std::string request_hash;  // Of what was asked: another request must not use the key.
  int status = 0;
  std::string fields;  // JSON; its form belongs to who keeps it.
  std::string body;
  bool complete = true;  // False: the body was too long to be kept.
};

class KeptAnswers {
 public:
  static constexpr std::size_t kBodyBytesMax = 256U << 10;
  static constexpr int kForgottenAtOnce = 500;

  KeptAnswers(Store& store, std::int64_t hours) : store_(store), hours_(hours) {}

  // Nothing if there is none, or none that is young enough.
  Task<Result<std::optional<KeptAnswer>>> find(RequestKey key);
  // In the transaction of the effect. Error: conflict, if another process was faster.
  Task<Result<void>> keep(Transaction& transaction, RequestKey const& key,
                          KeptAnswer const& answer) const;
  // Puts another answer in the place of one that was kept for this request.
  Task<Result<void>> amend(RequestKey key, KeptAnswer answer);
  // Removes some of those that are too old; tells how many.
  Task<Result<std::int64_t>> forget_old();

 private:
  [[nodiscard]] Timestamp oldest(Timestamp now) const;

  Store& store_;
  std::int64_t const hours_;
};

}  // namespace subforge::store
