#include "domain/tasks/tasks.hpp"

#include <algorithm>
#include <unordered_set>

#include "domain/tasks/task_links.hpp"
#include "store/counts.hpp"
#include "store/record_sql.hpp"

namespace subforge::domain {
namespace {

using describe::Api;
using describe::Purpose;
using store::Row;
using store::Session;
using store::Transaction;

std::string const kInsert = store::insert_sql<TaskRecord>("tasks");

// What else the event of a change tells: where the task comes from, and that it is another agent's
// from now on.
std::string told_of_move(TaskRecord const& before, TaskRecord const& after, std::string_view kind) {
  std::string members;
  if (before.status != after.status || kind == "task.status") {
    members.append(",\"old_status\":\"").append(describe::to_text(before.status)).append("\"");
  }
  if (after.assigned_agent_id && before.assigned_agent_id != after.assigned_agent_id) {
    members.append(",\"newly_assigned\":true");
  }
  return members;
}

// Gives the task the name of the agent that its id says.
Task<Result<void>> name_agent(Transaction& transaction, TaskRecord& task) {
  if (!task.assigned_agent_id) co_return {};
  auto name = co_await agent_name(transaction.session(), *task.assigned_agent_id,
                                  "Assigned agent not found");
  if (!name) co_return std::unexpected(name.error());
  task.assigned_agent_name = std::move(*name);
  co_return {};
}

// The id as tasks themselves write it, whatever form the client chose. What is none stays as it is.
std::string written_id(std::string_view text) {
  auto const id = Uuid::parse(text);
  return id ? id->to_string() : std::string(text);
}

void without_repeats(std::vector<TaskDependency>& dependencies) {
  for (auto& one : dependencies) one.task_id = written_id(one.task_id);
  std::unordered_set<std::string> seen;
  std::erase_if(dependencies,
                [&seen](auto const& one) { return !seen.insert(one.task_id).second; });
}

// Keeps when the task ended. Completing it once more says that it was now, as in `completed_at`.
void keep_end(TaskRecord const* before, TaskRecord& after, Timestamp now) {
  bool const ended = after.status == TaskStatus::completed || after.status == TaskStatus::failed;
  if (!ended) {
    after.ended_at.reset();
  } else if (before == nullptr || before->status != after.status ||
             before->completed_at != after.completed_at) {
    after.ended_at = now;
  }
}

bool names(boost::json::value const& body, std::string_view member) {
  auto const* object = body.if_object();
  return object != nullptr && object->contains({member.data(), member.size()});
}

Result<void> apply_update(boost::json::value const& body, TaskRecord& task, Api api) {
  auto const agent = task.assigned_agent_id;
  describe::Issues issues;
  if (!read_task(body, task, api, Purpose::update, issues)) {
    return fail(ErrorCode::invalid, issues.first());
  }
  // The name goes with the agent that it was of.
  if (agent && !task.assigned_agent_id && api == Api::v1 && !names(body, "assigned_agent_name")) {
    task.assigned_agent_name.reset();
  }
  return {};
}

}  // namespace

Task<Result<TaskRecord>> Tasks::get(Uuid id) {
  if (auto* const session = store_.inline_reader()) return select_task(*session, id);
  auto elsewhere = [](store::Store& store, Uuid wanted) -> Task<Result<TaskRecord>> {
    auto read = [wanted](Session& session) { return select_task(session, wanted); };
    co_return co_await store.read(store::ReadCost::point, std::move(read));
  };
  return elsewhere(store_, id);
}

Task<Result<TaskRecord>> Tasks::create(TaskRecord draft, Actor actor) {
  auto insert = [this, draft = std::move(draft),
                 actor = std::move(actor)](Transaction& transaction) mutable {
    return create_in(transaction, std::move(draft), actor);
  };
  co_return co_await store_.write(std::move(insert));
}

Task<Result<TaskRecord>> Tasks::create_in(Transaction& transaction, TaskRecord draft,
                                          Actor const& actor) {
  if (draft.id == Uuid{}) draft.id = Uuid::random();
  draft.created_at = draft.updated_at = transaction.now();
  keep_end(nullptr, draft, transaction.now());
  without_repeats(draft.dependencies);
  if (auto named = co_await name_agent(transaction, draft); !named) {
    co_return std::unexpected(named.error());
  }
  auto const bound = store::bind_record(draft);
  auto const inserted = co_await transaction.execute(kInsert, bound.values());
  if (!inserted) co_return std::unexpected(inserted.error());
  auto event = event_about(draft, "task.created", actor);
  event.payload = payload_of(draft, {});
  auto const published = co_await transaction.publish(std::move(event));
  if (!published) co_return std::unexpected(published.error());
  if (auto done = co_await follow_in(transaction, nullptr, &draft, actor); !done) {
    co_return std::unexpected(done.error());
  }
  co_return std::move(draft);
}

Task<Result<void>> Tasks::follow_in(Transaction& transaction, TaskRecord const* before,
                                    TaskRecord const* after, Actor const& actor) {
  if (auto done = co_await follow_dependencies(transaction, before, after, actor); !done) {
    co_return done;
  }
  if (auto done = co_await follow_assignment(transaction, before, after, actor); !done) {
    co_return done;
  }
  if (auto done = co_await follow_days(transaction, before, after); !done) co_return done;
  store::CountChanges counts;
  if (before != nullptr) count_task(counts, *before, -1);
  if (after != nullptr) count_task(counts, *after, 1);
  if (auto done = co_await counts.apply(transaction); !done) co_return done;
  if (watcher_ == nullptr) co_return {};
  co_return co_await watcher_->task_changed_in(transaction, before, after, actor);
}

Task<Result<TaskRecord>> Tasks::change_in(Transaction& transaction, Uuid id, EditTask const& edit,
                                          Actor const& actor, Precondition const& condition) {
  auto const before = co_await select_task(transaction.session(), id);
  if (!before) co_return std::unexpected(before.error());
  if (auto met = condition.check(before->version); !met) co_return std::unexpected(met.error());
  auto after = *before;
  auto const news = co_await edit(transaction, after);
  if (!news) co_return std::unexpected(news.error());
  if (news->kind.empty()) co_return after;
  keep_end(&*before, after, transaction.now());
  auto extra = news->extra + told_of_move(*before, after, news->kind);
  if (extra.starts_with(',')) extra.erase(0, 1);
  auto const written =
      co_await write_task(transaction, *before, after, news->kind, news->announce, extra, actor);
  if (!written) co_return std::unexpected(written.error());
  if (auto done = co_await follow_in(transaction, &*before, &after, actor); !done) {
    co_return std::unexpected(done.error());
  }
  co_return after;
}

Task<Result<TaskRecord>> Tasks::change(Uuid id, EditTask edit, Actor actor,
                                       Precondition condition) {
  auto apply = [this, id, edit = std::move(edit), actor = std::move(actor),
                condition = std::move(condition)](Transaction& transaction) {
    return change_in(transaction, id, edit, actor, condition);
  };
  co_return co_await store_.write(std::move(apply));
}

Task<Result<TaskRecord>> Tasks::update(Uuid id, boost::json::value body, Api api, Actor actor,
                                       Precondition condition) {
  auto edit = [body = std::move(body), api](Transaction& transaction,
                                            TaskRecord& task) -> Task<Result<News>> {
    auto const agent = task.assigned_agent_id;
    if (auto applied = apply_update(body, task, api); !applied) {
      co_return std::unexpected(applied.error());
    }
    without_repeats(task.dependencies);
    bool const same = task.assigned_agent_id == agent;
    if (!same || names(body, "assigned_agent_id")) {
      auto const named = co_await name_agent(transaction, task);
      // An agent that was deleted stays named by the tasks it had.
      bool const gone = !named && named.error().code == ErrorCode::bad_reference;
      if (!named && !(gone && same)) co_return std::unexpected(named.error());
    }
    co_return News{"task.updated"};
  };
  return change(id, std::move(edit), std::move(actor), std::move(condition));
}

namespace {

void apply_status(TaskRecord& task, TaskStatusBody const& body, Timestamp now) {
  change_status(task, body.status, now);
  if (body.status == TaskStatus::completed && body.quality_score) {
    task.quality_score = body.quality_score;
  }
  if (body.progress_percentage) task.progress_percentage = *body.progress_percentage;
}

}  // namespace

Task<Result<TaskRecord>> Tasks::set_status(Uuid id, TaskStatusBody body, Actor actor,
                                           Precondition condition) {
  auto edit = [body](Transaction& transaction, TaskRecord& task) -> Task<Result<News>> {
    apply_status(task, body, transaction.now());
    co_return News{"task.status"};
  };
  return change(id, std::move(edit), std::move(actor), std::move(condition));
}

Task<Result<TaskRecord>> Tasks::set_status_in(Transaction& transaction, Uuid id,
                                              TaskStatusBody const& body, Actor const& actor) {
  auto edit = [&body](Transaction& inner, TaskRecord& task) -> Task<Result<News>> {
    apply_status(task, body, inner.now());
    co_return News{"task.status"};
  };
  co_return co_await change_in(transaction, id, edit, actor, {});
}

Task<Result<TaskRecord>> Tasks::set_progress(Uuid id, TaskProgressBody body, Actor actor,
                                             Precondition condition) {
  auto edit = [body](Transaction& transaction, TaskRecord& task) -> Task<Result<News>> {
    bool const completes = body.progress_percentage >= 100;
    if (completes && task.status != TaskStatus::completed) {
      change_status(task, TaskStatus::completed, transaction.now());
    }
    task.progress_percentage = body.progress_percentage;
    if (body.subtasks_completed) task.subtasks_completed = *body.subtasks_completed;
    if (body.subtasks_total) task.subtasks_total = *body.subtasks_total;
    co_return News{"task.progress"};
  };
  return change(id, std::move(edit), std::move(actor), std::move(condition));
}

Task<Result<TaskRecord>> Tasks::assign(Uuid id, TaskAssignBody body, Actor actor,
                                       Precondition condition) {
  auto edit = [body = std::move(body)](Transaction& transaction,
                                       TaskRecord& task) -> Task<Result<News>> {
    auto name =
        co_await agent_name(transaction.session(), body.assigned_agent_id, "Agent not found");
    if (!name) co_return std::unexpected(name.error());
    task.assigned_agent_id = body.assigned_agent_id;
    task.assigned_agent_name = body.assigned_agent_name.value_or(*name);
    std::string extra = "\"agent_name\":";
    append_json_string(extra, *name);
    co_return News{"task.assigned", true, std::move(extra)};
  };
  return change(id, std::move(edit), std::move(actor), std::move(condition));
}

Task<Result<TaskRecord>> Tasks::report(Uuid id, TaskStatus status, TaskReportBody body, Actor actor,
                                       Precondition condition) {
  auto edit = [status, body = std::move(body)](Transaction& transaction,
                                               TaskRecord& task) -> Task<Result<News>> {
    change_status(task, status, transaction.now());
    if (body.result.given) task.result = body.result.value;
    co_return News{"task.status"};
  };
  return change(id, std::move(edit), std::move(actor), std::move(condition));
}

Task<Result<TaskRecord>> Tasks::add_dependency(Uuid id, std::string dependency_id, Actor actor,
                                               Precondition condition) {
  auto edit = [dependency_id = std::move(dependency_id)](Transaction& transaction,
                                                         TaskRecord& task) -> Task<Result<News>> {
    auto const other = Uuid::parse(dependency_id);
    if (!other) co_return fail(ErrorCode::bad_reference, "Dependency task not found");
    auto const found = co_await select_task(transaction.session(), *other);
    if (!found && found.error().code == ErrorCode::not_found) {
      co_return fail(ErrorCode::bad_reference, "Dependency task not found");
    }
    if (!found) co_return std::unexpected(found.error());
    // As the task itself is written, whatever form the client chose.
    auto text = other->to_string();
    if (task.depends_on(text)) co_return News{};
    task.dependencies.push_back({std::move(text)});
    co_return News{"task.linked"};
  };
  return change(id, std::move(edit), std::move(actor), std::move(condition));
}

Task<Result<TaskRecord>> Tasks::remove_dependency(Uuid id, std::string dependency_id, Actor actor,
                                                  Precondition condition) {
  auto edit = [dependency_id = written_id(dependency_id)](Transaction&,
                                                          TaskRecord& task) -> Task<Result<News>> {
    auto const removed = std::erase_if(
        task.dependencies, [&](auto const& one) { return one.task_id == dependency_id; });
    co_return removed == 0 ? News{} : News{"task.linked"};
  };
  return change(id, std::move(edit), std::move(actor), std::move(condition));
}

Task<Result<std::vector<TaskRecord>>> Tasks::bulk_update(TaskBulkBody body, Actor actor) {
  using Changed = std::vector<TaskRecord>;
  auto run = [this, body = std::move(body),
              actor = std::move(actor)](Transaction& transaction) -> Task<Result<Changed>> {
    auto ids = body.task_ids;
    std::ranges::sort(ids);
    if (std::ranges::adjacent_find(ids) != ids.end()) {
      co_return fail(ErrorCode::bad_reference, "Some tasks not found");
    }
    boost::json::value const updates = body.updates;
    auto const edit = [&updates](Transaction&, TaskRecord& task) -> Task<Result<News>> {
      if (auto applied = apply_update(updates, task, Api::v1); !applied) {
        co_return std::unexpected(applied.error());
      }
      co_return News{"task.updated", true, "\"bulk\":true"};
    };
    Changed changed;
    store::Event event;
    for (auto const& id : body.task_ids) {
      auto task = co_await change_in(transaction, id, edit, actor, {});
      if (!task && task.error().code == ErrorCode::not_found) {
        co_return fail(ErrorCode::bad_reference, "Some tasks not found");
      }
      if (!task) co_return std::unexpected(task.error());
      changed.push_back(std::move(*task));
    }
    event.kind = "tasks.bulk_updated";
    event.subject = "tasks";
    event.actor = actor.user;
    event.audience = store::Audience::everybody({"tasks"});
    JsonWriter json(event.payload = {});
    json.begin_object();
    json.key("task_ids");
    json.begin_array();
    for (auto const& id : body.task_ids) json.uuid(id);
    json.end_array();
    json.member_raw("updates", describe::json_text(body.updates));
    json.end_object();
    auto const published = co_await transaction.publish(std::move(event));
    if (!published) co_return std::unexpected(published.error());
    co_return changed;
  };
  co_return co_await store_.write(std::move(run));
}

Task<Result<void>> Tasks::remove(Uuid id, Actor actor, Precondition condition) {
  auto erase = [this, id, actor = std::move(actor),
                condition = std::move(condition)](Transaction& transaction) -> Task<Result<void>> {
    auto const task = co_await select_task(transaction.session(), id);
    if (!task) co_return std::unexpected(task.error());
    if (auto met = condition.check(task->version); !met) co_return met;
    auto const removed = co_await transaction.execute("DELETE FROM tasks WHERE id = $1", {id});
    if (!removed) co_return std::unexpected(removed.error());
    auto event = event_about(*task, "task.deleted", actor);
    event.payload = payload_of(*task, {});
    auto const published = co_await transaction.publish(std::move(event));
    if (!published) co_return std::unexpected(published.error());
    co_return co_await follow_in(transaction, &*task, nullptr, actor);
  };
  co_return co_await store_.write(std::move(erase));
}

}  // namespace subforge::domain
