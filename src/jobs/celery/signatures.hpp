// Signatures, which are tasks that somebody wants started later, as the messages that start them.
// Chains, groups and chords are taken apart, as Celery's own sender does.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>

#include "jobs/celery/message.hpp"
#include "jobs/celery/result_meta.hpp"

namespace subforge::jobs::celery {

// One that cannot be sent: whoever waits for it is told why.
struct Refusal {
  std::string task_id;  // Empty: nobody can wait for it.
  std::string why;
};

struct Expansion {
  std::vector<TaskMessage> messages;
  std::vector<Child> children;                              // Of the task that started them.
  std::vector<std::pair<std::string, std::size_t>> chords;  // Groups, and how many are in each.
  std::vector<Refusal> refused;
};

// What else the messages of a signature get, whatever it says itself.
struct Following {
  boost::json::array chain = {};  // What comes behind it, the last first.
  std::string group = {};
};

// Adds what starts `signature` as a consequence of `parent` having come to `result` (JSON; nothing:
// its arguments are complete). Ids that it does not give are derived from `seed`: the same each
// time.
void expand(boost::json::object const& signature, TaskMessage const& parent,
            std::optional<std::string_view> result, std::string const& seed,
            Following const& following, Expansion& out);

// The id that the end of this signature will have; empty if it gives none.
[[nodiscard]] std::string id_of_signature(boost::json::object const& signature);

}  // namespace subforge::jobs::celery
