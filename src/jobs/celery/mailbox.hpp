// Remote control of workers, Celery's "pidbox": requests come over one channel to all of them, and
// each one that is meant answers into a list of whoever asks.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <boost/json/object.hpp>

namespace subforge::jobs::celery {

struct ControlRequest {
  std::string method;
  boost::json::object arguments;
  std::optional<std::vector<std::string>> destination;  // Names of nodes; nothing: all of them.
  std::string pattern;                                  // Instead, of their names; empty: none.
  std::string matcher;                                  // How it is written: glob or pcre.
  // Whoever asks waits for an answer with this ticket in the list of this name; empty: nobody does.
  std::string ticket;
  std::string reply_key;
  std::string reply_exchange{"reply.celery.pidbox"};
  std::int64_t clock = 0;

  [[nodiscard]] bool wants_reply() const { return !ticket.empty() && !reply_key.empty(); }
  // The list, and how the set of the exchange's bindings names it while somebody waits.
  [[nodiscard]] std::string reply_list() const { return reply_key + "." + reply_exchange; }
  [[nodiscard]] std::string reply_binding() const;
};

// The channel of requests; channels do not know databases, hence the number in the name.
[[nodiscard]] std::string control_channel(std::int64_t database);

// Nothing if it is none.
[[nodiscard]] std::optional<ControlRequest> read_control_request(std::string_view text);
[[nodiscard]] std::string write_control_request(ControlRequest const& request);
[[nodiscard]] bool is_meant(ControlRequest const& request, std::string const& node);

// `answer` is JSON.
[[nodiscard]] std::string write_control_reply(ControlRequest const& request, std::string_view node,
                                              std::string_view answer, std::int64_t clock);

// Members of a reply: who answered, and what. Empty if it is none.
[[nodiscard]] boost::json::object read_control_reply(std::string_view text);

}  // namespace subforge::jobs::celery
