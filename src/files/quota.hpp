// How much each user may store. What is stored the database counts; here is what is on its way, so
// that an upload is refused at the byte that is too much, however many the user has under way.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include "base/result.hpp"

namespace subforge::files {

[[nodiscard]] std::unexpected<Error> quota_exceeded(std::int64_t bytes_max);

class Quotas {
 public:
  // 0 means any number.
  explicit Quotas(std::int64_t user_bytes_max) : bytes_max_(user_bytes_max) {}

  // The part of one upload; given back with this object.
  class Share {
   public:
    Share(Quotas& quotas, std::string user, std::int64_t stored)
        : quotas_(quotas), user_(std::move(user)), stored_(stored) {}
    ~Share();
    Share(Share const&) = delete;
    Share& operator=(Share const&) = delete;
    // More of it has come. Error: too_large.
    Result<void> take(std::int64_t bytes);

   private:
    Quotas& quotas_;
    std::string const user_;
    std::int64_t const stored_;  // What the user had when it began.
    std::int64_t taken_ = 0;
  };

  [[nodiscard]] std::int64_t bytes_max() const { return bytes_max_; }
  // Of all shares of the user.
  [[nodiscard]] std::int64_t under_way(std::string const& user);

 private:
  std::int64_t const bytes_max_;
  // lint: allow(locks): threads that have a block of an upload to write, where there is a quota.
  std::mutex mutex_;
  std::map<std::string, std::int64_t> under_way_;
};

}  // namespace subforge::files
