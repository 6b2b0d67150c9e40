// Names, forms and small rules that everything said to Celery over Redis shares.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <boost/json/fwd.hpp>

#include "base/time.hpp"
#include "base/uuid.hpp"

namespace subforge::jobs::celery {

// Parts of a name that Redis's transport puts together.
inline constexpr std::string_view kSeparator = "\x06\x16";
inline constexpr std::string_view kUnacked = "unacked";
inline constexpr std::string_view kUnackedIndex = "unacked_index";
inline constexpr std::string_view kUnackedMutex = "unacked_mutex";
inline constexpr std::string_view kControlExchange = "celery.pidbox";
inline constexpr std::string_view kReplyExchange = "reply.celery.pidbox";
inline constexpr std::string_view kEventExchange = "celeryev";

// Lists of one queue, the most urgent first: 0 is drained before 9.
inline constexpr std::array<int, 4> kBands = {0, 3, 6, 9};
[[nodiscard]] int band_of(std::int64_t priority);
[[nodiscard]] std::string list_name(std::string_view queue, int band);
// Our priorities (1, 5, 8, 10, higher first) as Celery's (0 to 9, lower first), and back.
[[nodiscard]] std::int64_t celery_priority(std::int64_t ours);
[[nodiscard]] std::int64_t our_priority(std::int64_t celerys);

[[nodiscard]] std::string binding_key(std::string_view exchange);
[[nodiscard]] std::string binding_member(std::string_view routing_key, std::string_view queue);
[[nodiscard]] std::string result_key(std::string_view task_id);

// Whether it is the text of a UUID, in the one form that we write.
[[nodiscard]] bool is_uuid(std::string_view task_id);
// Any text names a task; ours are numbered. The text of a UUID is that one, others are hashed.
[[nodiscard]] Uuid uuid_of(std::string_view task_id);
// Another id of the same record, for a run that workers of Celery's would not start by this one:
// they remember what was revoked.
[[nodiscard]] std::string id_of_next_run(std::string_view task_id);
// The one that its sender knows.
[[nodiscard]] std::string_view id_of_first_run(std::string_view task_id);

// 2026-01-02T03:04:05.000000+00:00, which every version of Celery reads.
[[nodiscard]] std::string time_text(Timestamp at);
// The same without a zone, as results have it.
[[nodiscard]] std::string naive_time_text(Timestamp at);

// How Python would write the value (repr), cut at so many bytes.
inline constexpr std::size_t kReprBytesMax = 1'024;
[[nodiscard]] std::string python_repr(boost::json::value const& value);
// Of a list of arguments, as a tuple: (1, 'a').
[[nodiscard]] std::string python_tuple_repr(boost::json::value const& list);

// The texts of the elements of a list, each as it was written: a number beyond what a double can
// tell comes out as it came in. `list` must be JSON. Nothing if it is no list.
[[nodiscard]] std::optional<std::vector<std::string_view>> split_list_text(std::string_view list);

// What is published or pushed for others than tasks: events, requests, replies.
struct Letter {
  std::string_view body;     // JSON.
  std::string_view headers;  // JSON.
  std::string_view exchange;
  std::string_view routing_key;
  int delivery_mode = 1;
};
[[nodiscard]] std::string write_letter(Letter const& letter);
// The body of a letter or the like; null if it is none.
struct OpenedLetter {
  std::string body;  // JSON.
  std::string headers;
};
[[nodiscard]] std::optional<OpenedLetter> open_letter(std::string_view text);

}  // namespace subforge::jobs::celery
