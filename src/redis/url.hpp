// Where a Redis server is and how to log in there, as Celery writes it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.hpp"

namespace subforge::redis {

struct RedisUrl {
  std::string host = "localhost";
  std::uint16_t port = 6379;
  std::string user;      // Empty: the default one.
  std::string password;  // Empty: none is sent.
  std::int64_t database = 0;

  // What tells one server from another, for the log and for people; without the password.
  [[nodiscard]] std::string address() const;
};

// redis://[[user]:password@]host[:port][/database]; user and password may be percent-encoded.
// `name` is what the sentence of an error begins with. Error: invalid.
[[nodiscard]] Result<RedisUrl> parse_redis_url(std::string_view text, std::string_view name);

}  // namespace subforge::redis
