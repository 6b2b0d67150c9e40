#include "jobs/celery/endings.hpp"

#include <algorithm>

#include <boost/json/value.hpp>

#include "base/json_writer.hpp"
#include "describe/json_text.hpp"
#include "jobs/celery/json_members.hpp"
#include "jobs/celery/wire.hpp"

namespace subforge::jobs::celery {
namespace {

namespace json = boost::json;
using describe::text_member;

constexpr std::string_view kCelery = "celery.exceptions";
constexpr std::string_view kBilliard = "billiard.exceptions";

json::object options_of(json::object const& signature) {
  auto const* const value = signature.if_contains("options");
  return value != nullptr && value->is_object() ? value->get_object() : json::object{};
}

std::string_view state_of(JobStatus status) {
  switch (status) {
    case JobStatus::success: return state::kSuccess;
    case JobStatus::failure: return state::kFailure;
    case JobStatus::revoked: return state::kRevoked;
    case JobStatus::retry: return state::kRetry;
    case JobStatus::started: return state::kStarted;
    case JobStatus::pending: break;
  }
  return state::kPending;
}

ResultMeta meta_of(Ended const& ended) {
  ResultMeta meta;
  meta.task_id = ended.message.id;
  meta.status = state_of(ended.status);
  meta.result = ended.status == JobStatus::success ? ended.result : exception_json(ended.error);
  meta.traceback = ended.traceback;
  if (ended.status != JobStatus::retry) meta.done_at = ended.at;
  meta.group_id = ended.message.group;
  meta.parent_id = ended.message.parent_id;
  return meta;
}

void add_chord_part(Ended const& ended, ResultMeta const& meta, std::string const& group,
                    std::int64_t place, json::object const& body, Consequences& out) {
  if (group.empty() || body.empty()) return;
  out.chord_parts.push_back({group, place, meta.task_id, state_of(ended.status), meta.result});
  out.bodies.push_back(body);
}

// Several are sent as a group.
void send_all(json::array const& signatures, Ended const& ended, std::string_view result,
              std::string_view what, Expansion& out) {
  auto const seed = ended.message.id + "/" + std::string(what);
  Following following;
  if (signatures.size() > 1) following.group = uuid_of("group of " + seed).to_string();
  for (std::size_t i = 0; i < signatures.size(); ++i) {
    if (!signatures[i].is_object()) continue;
    expand(signatures[i].get_object(), ended.message, result, seed + "/" + std::to_string(i),
           following, out);
  }
}

void succeed(Ended const& ended, Consequences& out) {
  auto const& message = ended.message;
  send_all(message.callbacks, ended, ended.result, "callback", out.sent);
  if (!message.chain.empty() && message.chain.back().is_object()) {
    Following following;
    following.chain = message.chain;
    following.chain.pop_back();
    expand(message.chain.back().get_object(), message, ended.result, message.id + "/chain",
           following, out.sent);
  }
  auto meta = meta_of(ended);
  meta.children = children_json(out.sent.children);
  if (message.group_index) {
    add_chord_part(ended, meta, message.group, *message.group_index, message.chord, out);
  }
  if (!message.ignore_result) out.results.push_back(std::move(meta));
}

// Who waits for the end of a chain waits for the id of its last task.
void fail_chain(Ended const& ended, ResultMeta const& meta, Consequences& out) {
  for (auto const& element : ended.message.chain) {
    if (!element.is_object()) continue;
    auto const& signature = element.get_object();
    auto const options = options_of(signature);
    auto same = meta;
    same.task_id = id_of_signature(signature);
    same.group_id = text_member(options, "group_id");
    same.parent_id.clear();
    if (same.task_id.empty()) continue;
    auto const* const place = options.if_contains("group_index");
    if (place != nullptr && place->is_int64()) {
      add_chord_part(ended, same, same.group_id, place->get_int64(),
                     object_member(options, "chord"), out);
    }
    out.results.push_back(std::move(same));
  }
}

void fail(Ended const& ended, Consequences& out) {
  auto const& message = ended.message;
  auto meta = meta_of(ended);
  if (message.group_index) {
    add_chord_part(ended, meta, message.group, *message.group_index, message.chord, out);
  }
  out.results.push_back(meta);
  if (ended.status != JobStatus::failure) return;
  fail_chain(ended, meta, out);
  send_all(message.errbacks, ended, json_string(message.id), "errback", out.sent);
}

std::string whole_seconds(std::string_view text) {
  auto const digits = text.find_first_of("0123456789");
  if (digits == std::string_view::npos) return "0";
  auto const end = text.find_first_not_of("0123456789", digits);
  return std::string(text.substr(digits, end - digits));
}

// What a sentence quotes.
std::string_view quoted(std::string_view text, std::string_view fallback) {
  auto const first = text.find('\'');
  auto const last = text.rfind('\'');
  return first < last ? text.substr(first + 1, last - first - 1) : fallback;
}

}  // namespace

Exception revoked_exception(std::string_view why) {
  return exception("TaskRevokedError", why, kCelery);
}

Exception not_registered(std::string_view name) {
  return exception("NotRegistered", name, kCelery);
}

Exception exception_of_job(Job const& job) {
  auto const error = std::string_view(job.error ? *job.error : std::string_view());
  if (job.status == JobStatus::revoked) {
    if (error.contains("expired")) return revoked_exception("expired");
    return revoked_exception(job.started_at ? "terminated" : "revoked");
  }
  if (error.starts_with("NotRegistered: ")) return not_registered(quoted(error, job.name));
  if (error.starts_with("SoftTimeLimitExceeded: ")) {
    return {"SoftTimeLimitExceeded", "[]", std::string(kBilliard)};
  }
  if (error.starts_with("TimeLimitExceeded: ")) {
    return {"TimeLimitExceeded", "[" + whole_seconds(error) + "]", std::string(kBilliard)};
  }
  if (error.starts_with("The worker was lost")) {
    return exception("WorkerLostError", error, kBilliard);
  }
  return exception_of(error);
}

Ended ended_of_job(Job const& job, TaskMessage message) {
  Ended ended;
  ended.message = std::move(message);
  ended.status = job.status;
  if (job.status == JobStatus::success) {
    ended.result = job.result.text;
  } else {
    ended.error = exception_of_job(job);
  }
  ended.traceback = job.traceback;
  ended.at = job.completed_at.value_or(Timestamp::now());
  return ended;
}

Consequences consequences_of(Ended const& ended) {
  Consequences out;
  switch (ended.status) {
    case JobStatus::success: succeed(ended, out); break;
    case JobStatus::retry: {
      auto meta = meta_of(ended);
      meta.children = children_json({{ended.message.id, {}}});
      out.results.push_back(std::move(meta));
      break;
    }
    default: fail(ended, out);
  }
  for (auto const& refusal : out.sent.refused) {
    if (refusal.task_id.empty()) continue;
    ResultMeta meta;
    meta.task_id = refusal.task_id;
    meta.status = state::kFailure;
    meta.result = exception_json(exception("ValueError", refusal.why));
    meta.done_at = ended.at;
    out.results.push_back(std::move(meta));
  }
  return out;
}

Task<Result<void>> Endings::tell(std::span<Ended const> ended) {
  std::vector<std::string> told_before;
  for (auto const& one : ended) {
    if (one.again) told_before.push_back(one.message.id);
  }
  auto const known = co_await results_.get(told_before);
  if (!known) co_return std::unexpected(known.error());
  struct Part {
    Ended const* of;
    ChordPart part;
    json::object body;
  };
  std::vector<Part> parts;
  Expansion sent;
  std::vector<ResultMeta> results;
  results.reserve(ended.size());
  std::size_t asked = 0;
  for (auto const& one : ended) {
    auto consequences = consequences_of(one);
    for (std::size_t i = 0; i < consequences.chord_parts.size(); ++i) {
      parts.push_back(
          {&one, std::move(consequences.chord_parts[i]), std::move(consequences.bodies[i])});
    }
    if (one.again) {
      auto const& meta = (*known)[asked++];
      if (meta && is_final_state(meta->status)) continue;
    }
    std::ranges::move(consequences.sent.messages, std::back_inserter(sent.messages));
    std::ranges::move(consequences.sent.chords, std::back_inserter(sent.chords));
    std::ranges::move(consequences.sent.refused, std::back_inserter(sent.refused));
    std::ranges::move(consequences.results, std::back_inserter(results));
  }
  if (auto done = co_await send(std::move(sent)); !goes_on(done)) co_return done;
  if (auto done = co_await results_.store(results); !goes_on(done)) co_return done;
  for (auto const& [of, part, body] : parts) {
    if (auto done = co_await end_chord_part(*of, part, body); !goes_on(done)) co_return done;
  }
  co_return {};
}

// What Redis refuses concerns one key, and would not go better another time.
bool Endings::goes_on(Result<void> const& done) {
  if (done) return true;
  if (done.error().code != ErrorCode::internal) return false;
  logger_.warning("Redis could not be told all that follows the end of tasks",
                  {{"cause", done.error().message}, {"context", done.error().context}});
  return true;
}

Task<Result<void>> Endings::send(Expansion sent) {
  for (auto const& refusal : sent.refused) {
    logger_.warning("a task that was to follow another one could not be sent",
                    {{"id", refusal.task_id}, {"cause", refusal.why}});
  }
  for (auto const& [group, parts] : sent.chords) {
    if (auto done = co_await results_.begin_chord(group, parts); !done) co_return done;
  }
  for (auto& message : sent.messages) message.origin = origin_;
  co_return co_await broker_.send(sent.messages);
}

Task<Result<void>> Endings::end_chord_part(Ended const& ended, ChordPart const& part,
                                           json::object const& body) {
  auto const entries = co_await results_.end_chord_part(part);
  if (!entries) co_return std::unexpected(entries.error());
  if (!*entries) co_return {};
  auto const failed = std::ranges::find_if(
      **entries, [](auto const& entry) { return entry.status != state::kSuccess; });
  Result<void> done;
  if (failed != (*entries)->end()) {
    done = co_await fail_chord(ended, *failed, body);
  } else {
    std::string list;
    JsonWriter json(list);
    json.begin_array();
    for (auto const& entry : **entries) json.raw(entry.result);
    json.end_array();
    Expansion sent;
    expand(body, ended.message, list, part.group + "/body", {}, sent);
    done = co_await send(std::move(sent));
  }
  if (!done) co_return done;
  co_return co_await results_.forget_chord(part.group);
}

// Its body fails for the part's sake, and with it what hangs on it.
Task<Result<void>> Endings::fail_chord(Ended const& ended, ChordEntry const& failed,
                                       json::object const& body) {
  Ended end;
  auto const options = options_of(body);
  end.status = JobStatus::failure;
  end.message.id = id_of_signature(body);
  end.message.task = text_member(body, "task");
  end.message.queue = ended.message.queue;
  end.message.root_id = ended.message.root_id;
  end.message.parent_id = ended.message.id;
  auto const cause = read_exception(failed.result);
  end.error = exception("ChordError",
                        "Dependency " + failed.task_id + " raised " +
                            (cause ? exception_repr(*cause) : failed.result),
                        kCelery);
  auto const* const links = options.if_contains("link_error");
  if (links != nullptr && links->is_array()) end.message.errbacks = links->get_array();
  if (links != nullptr && links->is_object()) end.message.errbacks = json::array{*links};
  auto const* const chain = options.if_contains("chain");
  if (chain != nullptr && chain->is_array()) end.message.chain = chain->get_array();
  if (end.message.id.empty()) co_return {};
  auto consequences = consequences_of(end);
  if (auto done = co_await send(std::move(consequences.sent)); !done) co_return done;
  co_return co_await results_.store(consequences.results);
}

}  // namespace subforge::jobs::celery
