// A task as a list of Redis holds it: Celery's protocol 2 in and out, protocol 1 in. What others
// put into a message and nothing here knows of (headers, tagged values, large numbers) survives
// being sent again.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>

#include "base/result.hpp"
#include "base/time.hpp"
#include "jobs/celery/wire.hpp"

namespace subforge::jobs::celery {

// An error as Python would raise it.
struct Exception {
  std::string type = "RuntimeError";
  std::string args = "[]";  // JSON: a list, mostly of one text.
  std::string module = "builtins";

  friend bool operator==(Exception const&, Exception const&) = default;
};
[[nodiscard]] Exception exception(std::string_view type, std::string_view text,
                                  std::string_view module = "builtins");

struct TaskMessage {
  std::string id;
  std::string task;
  std::string args = "[]";    // JSON, as it was written.
  std::string kwargs = "{}";  // JSON, as it was written.
  std::string queue;
  std::int64_t priority = 0;  // Celery's.
  std::int64_t retries = 0;
  std::optional<Timestamp> eta;
  std::optional<Timestamp> expires;
  std::optional<double> hard_limit;  // Seconds.
  std::optional<double> soft_limit;
  std::string root_id;  // Empty: none.
  std::string parent_id;
  std::string group;
  std::optional<std::int64_t> group_index;
  bool ignore_result = false;
  bool redelivered = false;
  std::string reply_to;
  std::string delivery_tag;
  std::string exchange;
  std::string routing_key;
  std::string origin;

  // What follows it, as signatures; `chain` is stored reversed: its last element is next.
  boost::json::array callbacks;
  boost::json::array errbacks;
  boost::json::array chain;
  boost::json::object chord;  // Empty: none.

  // Headers that nothing here knows of, to be carried into the next try.
  boost::json::object headers;
  std::string shadow;  // Under which name monitors show it; empty: its own.
};

// The type of content that stands for one that was left in Redis (scripts.hpp).
inline constexpr std::string_view kTooLarge = "too large";

struct ReadMessage {
  TaskMessage message;
  // Why it cannot be run. Where the message has an id, who waits for it is told.
  std::optional<Exception> fault;
};

// An element of a list. Never fails: what is wrong with it is told beside what could be read.
[[nodiscard]] ReadMessage read_message(std::string_view text);

// The stamps of Celery 5.3 and later, each a value or a list of them, by their headers; or nothing.
[[nodiscard]] boost::json::object const* stamps_of(TaskMessage const& message);

struct WriteOptions {
  // What Celery 5.3 and later write and 5.2 does not.
  bool stamps = true;
};
// An element for the list of its queue and band. Without a delivery tag it gets a new one.
[[nodiscard]] std::string write_message(TaskMessage const& message, WriteOptions options = {});

// The message for the next try: the same but for the number of retries and the time.
[[nodiscard]] TaskMessage next_try(TaskMessage const& message, std::optional<Timestamp> eta);

// The message that starts a signature, as a consequence of `parent` having come to `result` (JSON;
// nothing: its arguments are complete). Its chain and group are left to the caller. Error: invalid,
// if it is none, or one that only its sender can expand (celery.chain and the like).
[[nodiscard]] Result<TaskMessage> message_of(boost::json::object const& signature,
                                             TaskMessage const& parent,
                                             std::optional<std::string_view> result,
                                             std::string_view default_queue);

}  // namespace subforge::jobs::celery
