#include "domain/agents/agents.hpp"

#include <algorithm>
#include <cstdlib>
#include <tuple>

#include "describe/parse_json.hpp"
#include "domain/agents/agent_counts.hpp"
#include "jobs/job_rows.hpp"
#include "store/record_sql.hpp"

namespace subforge::domain {
namespace {

using describe::Api;
using describe::Purpose;
using store::Row;
using store::Session;
using store::Transaction;

std::string const kSelectById =
    "SELECT " + store::column_list<Agent>() + " FROM agents WHERE id = $1";
std::string const kInsert = store::insert_sql<Agent>("agents");

// A wall clock that runs by so much differently was set.
constexpr std::int64_t kClockSetUs = 500'000;

std::int64_t monotonic_us() { return monotonic_ns() / 1'000; }
std::int64_t wall_clock_ahead_us() { return Timestamp::now().micros - monotonic_us(); }

Error not_found() { return {ErrorCode::not_found, "Agent not found", {}}; }

std::string subject_of(Uuid const& id) { return "agent:" + id.to_string(); }

Task<Result<Agent>> select(Session& session, Uuid id) {
  std::optional<Agent> found;
  auto const done = co_await session.query(
      kSelectById, {id}, [&](Row const& row) { found = store::read_row<Agent>(row); });
  if (!done) co_return std::unexpected(done.error());
  if (!found) co_return std::unexpected(not_found());
  co_return std::move(*found);
}

store::Event event_about(Agent const& agent, std::string kind, Actor const& actor) {
  store::Event event;
  event.kind = std::move(kind);
  event.subject = subject_of(agent.id);
  event.actor = actor.user;
  event.audience = store::Audience::everybody({"agents", event.subject});
  event.version = agent.version;
  return event;
}

std::string payload_of(Agent const& agent, std::string_view extra) {
  std::string payload = "{\"agent\":" + stored_json(agent);
  if (!extra.empty()) payload.append(",").append(extra);
  payload.push_back('}');
  return payload;
}

// An agent in trouble is worth a line that stands out.
LogLevel level_of(AgentStatus status) {
  return status == AgentStatus::error ? LogLevel::error : LogLevel::info;
}

std::string message_of(std::string_view kind, boost::json::object const& payload) {
  auto const agent = [&] {
    auto const* object = payload.if_contains("agent");
    return object != nullptr && object->is_object() ? from_stored(object->get_object()) : Agent{};
  };
  if (kind == "agent.created") return "Agent created";
  if (kind == "agent.updated") return "Agent updated";
  if (kind == "agent.metrics") return "Metrics updated";
  if (kind == "agent.lapsed") return "No heartbeat came in time: offline";
  if (kind == "agent.configured") {
    auto const* filename = payload.if_contains("filename");
    return filename != nullptr && filename->is_string()
               ? "Configuration uploaded from " + std::string(filename->get_string().c_str())
               : "Configuration changed";
  }
  if (kind == "agent.heartbeat" && payload.empty()) return "Heartbeat";
  auto const known = agent();
  auto message = "Status: " + std::string(describe::to_text(known.status));
  if (known.current_task_title) message += ", working on " + *known.current_task_title;
  return message;
}

// Of a row with the columns at, level, kind and payload.
AgentLogLine line_of(Row const& row) {
  boost::system::error_code error;
  auto const text = row.text(3);
  auto const payload = describe::parse_json(text, error);
  auto const object = !error && payload.is_object() ? payload.get_object() : boost::json::object{};
  AgentLogLine line{row.timestamp(0), static_cast<LogLevel>(row.integer(1)),
                    message_of(row.text(2), object), std::nullopt};
  if (auto const* stored = object.if_contains("agent"); stored && stored->is_object()) {
    line.task_id = from_stored(stored->get_object()).current_task_id;
  }
  return line;
}

// The statuses bulk operations lead to; nothing for those that are no change of status.
std::optional<AgentStatus> status_for(std::string_view operation) {
  if (operation == "start") return AgentStatus::active;
  if (operation == "stop") return AgentStatus::inactive;
  if (operation == "restart") return AgentStatus::restarting;
  return std::nullopt;
}

// What an agent said of itself stands when its last task ends.
bool works_on_something_else(Agent const& agent, Uuid ended) {
  if (agent.current_task_id) return agent.current_task_id != ended;
  return agent.current_task_title.has_value();
}

bool read_type(boost::json::value const& parameters, Agent& agent, describe::Issues& issues) {
  auto const* type = parameters.is_object() ? parameters.get_object().if_contains("type") : nullptr;
  if (type == nullptr) return true;
  describe::Where const body{nullptr, "body"};
  describe::Bounds const bounds{.length_min = 1, .length_max = 100, .least = {}, .most = {}};
  return describe::Codec<std::string>::read(*type, agent.agent_type, bounds,
                                            {&body, std::string_view("type")}, issues);
}

}  // namespace

Task<Result<Agent>> Agents::get(Uuid id) {
  if (auto* const session = store_.inline_reader()) return select(*session, id);
  return get_elsewhere(id);
}

Task<Result<Agent>> Agents::get_elsewhere(Uuid id) {
  auto read = [id](Session& session) { return select(session, id); };
  co_return co_await store_.read(store::ReadCost::point, std::move(read));
}

Task<Result<AgentLogPage>> Agents::logs(Uuid id, AgentLogFilter filter) {
  auto read = [id, filter = std::move(filter)](Session& session) -> Task<Result<AgentLogPage>> {
    auto const agent = co_await select(session, id);
    if (!agent) co_return std::unexpected(agent.error());
    store::Where where;
    where.equals("subject", subject_of(id));
    where.both("substr(subject, 1, 6) = 'agent:'");  // As the index of subjects has it.
    if (filter.level) where.equals("level", static_cast<int>(*filter.level));
    AgentLogPage page;
    auto const total = co_await store::count_matches(session, "events", where, kLogCountMax);
    if (!total) co_return std::unexpected(total.error());
    page.total = *total;
    constexpr store::Keyset kNewest{.descending = true, .seq = "id"};
    auto const sql = store::page_sql("at, level, kind, payload", "events", kNewest, where,
                                     {filter.after, {}, 0, filter.limit});
    store::Position last;
    auto const done = co_await session.query(sql, where.values(), [&](Row const& row) {
      if (static_cast<std::int64_t>(page.lines.size()) == filter.limit) {
        page.next = last;
        return;
      }
      page.lines.push_back(line_of(row));
      last = kNewest.position(row, 4);
    });
    if (!done) co_return std::unexpected(done.error());
    co_return page;
  };
  co_return co_await store_.read(store::ReadCost::scan, std::move(read));
}

Agents::Agents(store::Store& store, std::int64_t lease_seconds)
    : store_(store), lease_seconds_(lease_seconds), lease_clock_ahead_us_(wall_clock_ahead_us()) {}

Task<Result<Agent>> Agents::create(Agent draft, NameRule rule, Actor actor) {
  auto insert = [this, draft = std::move(draft), rule, actor = std::move(actor)](
                    Transaction& transaction) mutable -> Task<Result<Agent>> {
    if (rule == NameRule::unique) {
      bool taken = false;
      auto const looked = co_await transaction.query(
          "SELECT 1 FROM agents WHERE name = $1 AND agent_type = $2 LIMIT 1",
          {draft.name, draft.agent_type}, [&](Row const&) { taken = true; });
      if (!looked) co_return std::unexpected(looked.error());
      if (taken) {
        co_return fail(ErrorCode::conflict, "Agent with this name and type already exists");
      }
    }
    draft.id = Uuid::random();
    std::string extra;
    if (follower_ != nullptr && rule == NameRule::any) {
      auto const task = co_await follower_->agent_created_in(transaction, draft, actor);
      if (!task) co_return std::unexpected(task.error());
      extra = "\"background_task_id\":\"" + task->to_string() + "\"";
    }
    co_return co_await insert_in(transaction, draft, extra, actor);
  };
  co_return co_await store_.write(std::move(insert));
}

Task<Result<Agent>> Agents::insert_in(Transaction& transaction, Agent draft, std::string_view extra,
                                      Actor const& actor) {
  auto const now = transaction.now();
  draft.created_at = draft.updated_at = draft.status_changed_at = now;
  draft.last_activity = draft.last_heartbeat = now;
  if (draft.status == AgentStatus::busy) draft.busy_since = now;
  auto const bound = store::bind_record(draft);
  auto const inserted = co_await transaction.execute(kInsert, bound.values());
  if (!inserted) co_return std::unexpected(inserted.error());
  auto const counted = co_await count_agents(transaction, nullptr, &draft);
  if (!counted) co_return std::unexpected(counted.error());
  auto event = event_about(draft, "agent.created", actor);
  event.payload = payload_of(draft, extra);
  auto const published = co_await transaction.publish(std::move(event));
  if (!published) co_return std::unexpected(published.error());
  co_return std::move(draft);
}

Task<Result<Agent>> Agents::change_in(Transaction& transaction, Uuid id, EditAgent const& edit,
                                      Actor const& actor, Precondition const& condition) {
  auto agent = co_await select(transaction.session(), id);
  if (!agent) co_return std::unexpected(agent.error());
  if (auto met = condition.check(agent->version); !met) co_return std::unexpected(met.error());
  auto const before = *agent;
  auto const edited = edit(*agent, transaction.now());
  if (!edited) co_return std::unexpected(edited.error());
  if (edited->kind.empty()) co_return std::move(*agent);
  // Who is away cannot be found dead.
  if (status_in_v1(agent->status) == AgentStatus::offline) agent->lease_until.reset();
  if (edited->announce) {
    ++agent->version;
    agent->updated_at = transaction.now();
  }
  auto const update = store::update_of_changes("agents", "id", before.id, before, *agent);
  auto const updated = co_await transaction.execute(update.sql, update.bound.values());
  if (!updated) co_return std::unexpected(updated.error());
  auto const counted = co_await count_agents(transaction, &before, &*agent);
  if (!counted) co_return std::unexpected(counted.error());
  if (!edited->announce) co_return std::move(*agent);
  auto event = event_about(*agent, edited->kind, actor);
  event.level = edited->level;
  event.payload = payload_of(*agent, edited->extra);
  auto const published = co_await transaction.publish(std::move(event));
  if (!published) co_return std::unexpected(published.error());
  co_return std::move(*agent);
}

Agents::EditAgent Agents::with_lease(EditAgent edit) const {
  if (lease_seconds_ == 0) return edit;
  return [this, edit = std::move(edit)](Agent& agent, Timestamp now) -> Result<Edit> {
    bool const was_away = status_in_v1(agent.status) == AgentStatus::offline;
    auto edited = edit(agent, now);
    bool const away = status_in_v1(agent.status) == AgentStatus::offline;
    bool const beats = agent.last_heartbeat > agent.created_at;
    if (edited && was_away && !away && beats && !agent.lease_until) {
      agent.lease_until = new_lease();
    }
    return edited;
  };
}

Task<Result<Agent>> Agents::change(Uuid id, EditAgent edit, Actor actor, Precondition condition) {
  auto apply = [id, edit = with_lease(std::move(edit)), actor = std::move(actor),
                condition = std::move(condition)](Transaction& transaction) {
    return change_in(transaction, id, edit, actor, condition);
  };
  co_return co_await store_.write(std::move(apply));
}

Task<Result<Agent>> Agents::update(Uuid id, boost::json::value body, Api api, Actor actor,
                                   Precondition condition) {
  auto edit = [body = std::move(body), api](Agent& agent, Timestamp now) -> Result<Edit> {
    auto const before = agent.status;
    describe::Issues issues;
    if (!read_agent(body, agent, api, Purpose::update, issues)) {
      return fail(ErrorCode::invalid, issues.first());
    }
    auto const wanted = std::exchange(agent.status, before);
    change_status(agent, wanted, now);
    agent.last_activity = now;
    return Edit{"agent.updated", wanted == before ? LogLevel::info : level_of(wanted)};
  };
  return change(id, std::move(edit), std::move(actor), std::move(condition));
}

Task<Result<Agent>> Agents::set_status(Uuid id, StatusBody body, Actor actor,
                                       Precondition condition) {
  auto edit = [body = std::move(body)](Agent& agent, Timestamp now) -> Result<Edit> {
    change_status(agent, body.status, now);
    if (body.current_task_id.given) agent.current_task_id = body.current_task_id.value;
    if (body.current_task_title.given) agent.current_task_title = body.current_task_title.value;
    agent.last_activity = now;
    return Edit{"agent.status", level_of(body.status)};
  };
  return change(id, std::move(edit), std::move(actor), std::move(condition));
}

Task<Result<Agent>> Agents::set_metrics(Uuid id, MetricsBody body, Actor actor,
                                        Precondition condition) {
  auto edit = [body](Agent& agent, Timestamp now) -> Result<Edit> {
    agent.tasks_completed = body.tasks_completed.value_or(agent.tasks_completed);
    agent.tasks_failed = body.tasks_failed.value_or(agent.tasks_failed);
    agent.avg_response_time = body.avg_response_time.value_or(agent.avg_response_time);
    agent.uptime_percentage = body.uptime_percentage.value_or(agent.uptime_percentage);
    recompute_success_rate(agent);
    agent.last_activity = now;
    return Edit{"agent.metrics"};
  };
  return change(id, std::move(edit), std::move(actor), std::move(condition));
}

Task<Result<Agent>> Agents::heartbeat(Uuid id, HeartbeatBody body, Actor actor,
                                      Precondition condition) {
  auto edit = [this, body = std::move(body)](Agent& agent, Timestamp now) -> Result<Edit> {
    auto const told = [](Agent const& a) {
      return std::tuple(a.status, a.is_active, a.current_task_id, a.tasks_completed, a.tasks_failed,
                        a.success_rate, a.avg_response_time, a.uptime_percentage);
    };
    auto const before = told(agent);
    agent.last_heartbeat = now;
    if (lease_seconds_ > 0) agent.lease_until = new_lease();
    agent.is_active = status_in_v1(body.status) != AgentStatus::offline;
    change_status(agent, body.status, now);
    if (body.current_task_id && agent.current_task_id != body.current_task_id) {
      agent.current_task_id = body.current_task_id;
      agent.current_task_title.reset();  // It was another task's.
    }
    if (body.metrics) {
      auto const& m = *body.metrics;
      agent.tasks_completed = m.tasks_completed.value_or(agent.tasks_completed);
      agent.tasks_failed = m.tasks_failed.value_or(agent.tasks_failed);
      agent.success_rate = m.success_rate.value_or(agent.success_rate);
      agent.avg_response_time = m.avg_response_time.value_or(agent.avg_response_time);
      agent.uptime_percentage = m.uptime_percentage.value_or(agent.uptime_percentage);
    }
    return Edit{"agent.heartbeat", level_of(body.status), told(agent) != before};
  };
  return change(id, std::move(edit), std::move(actor), std::move(condition));
}

Task<Result<ConfiguredAgent>> Agents::configure(Uuid id, AgentConfiguration configuration,
                                                std::string filename, Actor actor,
                                                Precondition condition) {
  auto apply = [this, id, configuration = std::move(configuration), filename = std::move(filename),
                actor = std::move(actor), condition = std::move(condition)](
                   Transaction& transaction) -> Task<Result<ConfiguredAgent>> {
    auto const edit = [&](Agent& agent, Timestamp now) -> Result<Edit> {
      set_configuration(agent, configuration);
      agent.last_activity = now;
      std::string extra = "\"filename\":";
      append_json_string(extra, filename);
      return Edit{"agent.configured", LogLevel::info, true, std::move(extra)};
    };
    auto agent = co_await change_in(transaction, id, edit, actor, condition);
    if (!agent) co_return std::unexpected(agent.error());
    ConfiguredAgent configured{std::move(*agent), {}};
    if (follower_ == nullptr) co_return configured;
    auto const task = co_await follower_->configuration_uploaded_in(transaction, configured.agent,
                                                                    filename, actor);
    if (!task) co_return std::unexpected(task.error());
    configured.task_id = *task;
    co_return configured;
  };
  co_return co_await store_.write(std::move(apply));
}

Task<Result<void>> Agents::configure_in(Transaction& transaction, Uuid id,
                                        AgentConfiguration const& configuration,
                                        std::optional<std::int64_t> version, Actor const& actor) {
  auto const edit = [&](Agent& agent, Timestamp now) -> Result<Edit> {
    if (!would_change(agent, configuration, version)) return Edit{};
    set_configuration(agent, configuration);
    agent.last_activity = now;
    return Edit{"agent.configured"};
  };
  auto const changed = co_await change_in(transaction, id, edit, actor, {});
  if (!changed) co_return std::unexpected(changed.error());
  co_return {};
}

bool Agents::would_change(Agent const& agent, AgentConfiguration const& configuration,
                          std::optional<std::int64_t> version) {
  if (version && agent.version != *version) return false;
  return to_json(configuration_of(agent)) != to_json(configuration);
}

Task<Result<void>> Agents::remove_in(Transaction& transaction, Uuid id, Actor const& actor,
                                     Precondition const& condition, bool in_bulk) {
  auto const agent = co_await select(transaction.session(), id);
  if (!agent) co_return std::unexpected(agent.error());
  if (auto met = condition.check(agent->version); !met) co_return met;
  auto const removed = co_await transaction.execute("DELETE FROM agents WHERE id = $1", {id});
  if (!removed) co_return std::unexpected(removed.error());
  auto const counted = co_await count_agents(transaction, &*agent, nullptr);
  if (!counted) co_return counted;
  auto event = event_about(*agent, "agent.deleted", actor);
  event.payload = payload_of(*agent, in_bulk ? "\"bulk\":true" : "");
  auto const published = co_await transaction.publish(std::move(event));
  if (!published) co_return std::unexpected(published.error());
  co_return {};
}

Task<Result<void>> Agents::remove(Uuid id, Actor actor, Precondition condition) {
  auto erase = [id, actor = std::move(actor),
                condition = std::move(condition)](Transaction& transaction) {
    return remove_in(transaction, id, actor, condition, false);
  };
  co_return co_await store_.write(std::move(erase));
}

Task<Result<BulkOutcome>> Agents::bulk(BulkBody body, Actor actor) {
  auto const status = status_for(body.operation);
  boost::json::value parameters;
  if (body.parameters) parameters = describe::parse_json(body.parameters->text);
  EditAgent edit;
  if (status) {
    edit = [status](Agent& agent, Timestamp now) -> Result<Edit> {
      change_status(agent, *status, now);
      return Edit{"agent.status", LogLevel::info, true, "\"bulk\":true"};
    };
  } else if (body.operation == "update") {
    edit = [parameters](Agent& agent, Timestamp now) -> Result<Edit> {
      auto const before = agent.status;
      describe::Issues issues;
      if (parameters.is_object() &&
          !read_agent(parameters, agent, Api::v2, Purpose::update, issues)) {
        return fail(ErrorCode::invalid, issues.first());
      }
      // Unlike a single update, a bulk one may change the type.
      if (!read_type(parameters, agent, issues)) {
        return fail(ErrorCode::invalid, issues.first());
      }
      auto const wanted = std::exchange(agent.status, before);
      change_status(agent, wanted, now);
      return Edit{"agent.updated", LogLevel::info, true, "\"bulk\":true"};
    };
  }
  if (edit) edit = with_lease(std::move(edit));
  auto run = [body = std::move(body), actor = std::move(actor),
              edit](Transaction& transaction) -> Task<Result<BulkOutcome>> {
    BulkOutcome outcome{body.operation, {}};
    store::Event event;
    event.kind = "agents.bulk_operation";
    event.subject = "agents";
    event.actor = actor.user;
    event.audience = store::Audience::everybody({"agents"});
    for (auto const& text : body.agent_ids) {
      BulkItem item{text, false, body.operation == "delete" ? "deleted" : body.operation, {}};
      auto const id = Uuid::parse(text);
      Result<void> done;
      if (body.operation != "delete" && !edit) {
        done = fail(ErrorCode::invalid, "Unknown operation: " + body.operation);
      } else if (!id) {
        done = std::unexpected(not_found());
      } else if (body.operation == "delete") {
        done = co_await remove_in(transaction, *id, actor, {}, true);
      } else if (auto const changed = co_await change_in(transaction, *id, edit, actor, {});
                 !changed) {
        done = std::unexpected(changed.error());
      }
      // A database that is gone must not look like a list of failed items.
      if (!done && done.error().code != ErrorCode::not_found &&
          done.error().code != ErrorCode::invalid) {
        co_return std::unexpected(done.error());
      }
      item.success = done.has_value();
      if (!done) item.error = done.error().message;
      if (item.success) event.audience.rooms.push_back(subject_of(*id));
      outcome.items.push_back(std::move(item));
    }
    JsonWriter json(event.payload = {});
    json.begin_object();
    json.member("operation", outcome.operation);
    json.member_raw("results", outcome.results_json());
    json.end_object();
    if (outcome.successful() > 0) {
      auto const published = co_await transaction.publish(std::move(event));
      if (!published) co_return std::unexpected(published.error());
    }
    co_return outcome;
  };
  co_return co_await store_.write(std::move(run));
}

Task<Result<void>> Agents::work_changed_in(Transaction& transaction, Uuid id, WorkChange work,
                                           Actor const& actor) {
  auto const edit = [&work](Agent& agent, Timestamp now) -> Result<Edit> {
    bool const counted = work.completed != 0 || work.failed != 0;
    if (counted) {
      auto const add = [](double count, std::int64_t more) {
        return std::max(0.0, count + static_cast<double>(more));
      };
      agent.tasks_completed = add(agent.tasks_completed, work.completed);
      agent.tasks_failed = add(agent.tasks_failed, work.failed);
      recompute_success_rate(agent);
    }
    auto const before = std::tuple(agent.status, agent.current_task_id, agent.current_task_title);
    if (work.current) {
      agent.current_task_id = work.current->id;
      agent.current_task_title = work.current->title;
      using enum AgentStatus;
      if (agent.status == active || agent.status == idle) change_status(agent, busy, now);
    } else if (work.ended && !works_on_something_else(agent, *work.ended)) {
      agent.current_task_id.reset();
      agent.current_task_title.reset();
      if (agent.status == AgentStatus::busy) change_status(agent, AgentStatus::idle, now);
    }
    bool const moved =
        before != std::tuple(agent.status, agent.current_task_id, agent.current_task_title);
    if (!moved && !counted) return Edit{};
    agent.last_activity = now;
    return Edit{moved ? "agent.status" : "agent.metrics"};
  };
  auto const changed = co_await change_in(transaction, id, edit, actor, {});
  if (!changed && changed.error().code != ErrorCode::not_found) {
    co_return std::unexpected(changed.error());
  }
  co_return {};
}

Task<Result<std::int64_t>> Agents::finish_restarts(Timestamp before) {
  auto edit = [before](Agent& agent, Timestamp now) -> Result<Edit> {
    // It may have moved on since it was found.
    if (agent.status != AgentStatus::restarting || agent.status_changed_at > before) return Edit{};
    change_status(agent, AgentStatus::active, now);
    return Edit{"agent.status"};
  };
  return change_found(
      "SELECT id FROM agents WHERE status = 'restarting' AND status_changed_at <= $1 LIMIT $2",
      before, std::move(edit));
}

Task<Result<std::int64_t>> Agents::end_leases(Timestamp before) {
  auto edit = [before](Agent& agent, Timestamp now) -> Result<Edit> {
    if (!agent.lease_until || *agent.lease_until > before) return Edit{};
    agent.is_active = false;
    change_status(agent, AgentStatus::offline, now);
    return Edit{"agent.lapsed", LogLevel::warning};
  };
  return change_found("SELECT id FROM agents WHERE lease_until <= $1 ORDER BY lease_until LIMIT $2",
                      before, std::move(edit));
}

Timestamp Agents::new_lease() const {
  return {monotonic_us() + lease_clock_ahead_us_.load() + lease_seconds_ * 1'000'000};
}

Task<Result<Timestamp>> Agents::lease_clock() {
  if (store_.database().is_shared()) {
    auto const shared = co_await store_.read(store::ReadCost::point, &jobs::shared_clock);
    if (shared) lease_clock_ahead_us_ = shared->micros - monotonic_us();
    co_return shared;
  }
  auto const before = lease_clock_ahead_us_.load();
  auto const now = wall_clock_ahead_us();
  if (std::abs(now - before) >= kClockSetUs) {
    // In the writer's turn, so that each lease is given by the one clock or by the other.
    auto set = [this, before, now](Transaction& transaction) -> Task<Result<std::int64_t>> {
      lease_clock_ahead_us_ = now;
      co_return co_await transaction.execute(
          "UPDATE agents SET lease_until = lease_until + $1 WHERE lease_until IS NOT NULL",
          {now - before});
    };
    auto const moved = co_await store_.write(std::move(set));
    if (!moved) {
      lease_clock_ahead_us_ = before;
      co_return std::unexpected(moved.error());
    }
  }
  co_return Timestamp{monotonic_us() + lease_clock_ahead_us_};
}

Task<Result<std::int64_t>> Agents::shorten_leases() {
  auto const clock = co_await lease_clock();
  if (!clock) co_return std::unexpected(clock.error());
  auto shorten = [until = new_lease()](Transaction& transaction) -> Task<Result<std::int64_t>> {
    co_return co_await transaction.execute(
        "UPDATE agents SET lease_until = $1 WHERE lease_until > $1", {until});
  };
  co_return co_await store_.write(std::move(shorten));
}

Task<Result<std::optional<Timestamp>>> Agents::last_could_beat() {
  std::optional<Timestamp> last;
  auto read = [&](Session& session) -> Task<Result<std::int64_t>> {
    co_return co_await session.query(
        "SELECT max(at) FROM ("
        "SELECT max(last_heartbeat) AS at FROM agents WHERE lease_until IS NOT NULL"
        " UNION ALL SELECT max(last_seen_at) AS at FROM server_runs"
        " UNION ALL SELECT at FROM (SELECT at FROM events ORDER BY id DESC LIMIT 1) AS newest"
        ") AS signs",
        {}, [&](Row const& row) {
          if (!row.is_null(0)) last = row.timestamp(0);
        });
  };
  auto const found = co_await store_.read(store::ReadCost::scan, std::move(read));
  if (!found) co_return std::unexpected(found.error());
  co_return last;
}

Task<Result<std::int64_t>> Agents::change_found(std::string_view sql, Timestamp before,
                                                EditAgent edit) {
  std::vector<Uuid> due;
  auto find = [&](Session& session) -> Task<Result<std::int64_t>> {
    co_return co_await session.query(sql, {before, kChangedAtOnce},
                                     [&](Row const& row) { due.push_back(row.uuid(0)); });
  };
  auto const found = co_await store_.read(store::ReadCost::point, std::move(find));
  if (!found) co_return std::unexpected(found.error());
  if (due.empty()) co_return 0;
  // One commit for all: when thousands die at once, each is shown offline in time.
  auto apply = [due, edit](Transaction& transaction) -> Task<Result<std::int64_t>> {
    for (auto const& id : due) {
      auto const changed = co_await change_in(transaction, id, edit, Actor{}, {});
      if (!changed && changed.error().code != ErrorCode::not_found) {
        co_return std::unexpected(changed.error());
      }
    }
    co_return std::ssize(due);
  };
  co_return co_await store_.write(std::move(apply));
}

}  // namespace subforge::domain
