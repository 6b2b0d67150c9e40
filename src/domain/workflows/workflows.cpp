#include "domain/workflows/workflows.hpp"

#include <algorithm>
#include <limits>

#include <boost/json/object.hpp>

#include "describe/json_text.hpp"
#include "describe/parse_json.hpp"
#include "domain/workflows/step_graph.hpp"
#include "store/record_sql.hpp"

namespace subforge::domain {
namespace {

namespace json = boost::json;
using describe::Api;
using describe::Purpose;
using store::Row;
using store::Session;
using store::Transaction;

constexpr std::size_t kParametersBytesMax = 512 * 1024;

constexpr std::string_view kTable = "workflows";
store::Keyset const kNewestFirst{.descending = true};

store::Where where_of(WorkflowFilter const& filter) {
  store::Where where;
  if (filter.status) where.equals("status", store::Value(describe::to_text(*filter.status)));
  if (filter.type) where.equals("workflow_type", *filter.type);
  if (filter.project_id) where.equals("project_id", *filter.project_id);
  if (filter.is_template) where.equals("is_template", store::Value(*filter.is_template));
  return where;
}

// From the totals where they tell.
Task<Result<store::Total>> total_of(Session& session, WorkflowFilter filter) {
  if (filter.type || filter.project_id || filter.is_template) {
    co_return co_await store::count_matches(session, kTable, where_of(filter),
                                            Workflows::kCountMax);
  }
  auto const totals = co_await select_totals(session, filter.status);
  if (!totals) co_return std::unexpected(totals.error());
  co_return store::Total{totals->workflows};
}

Error unknown_agent(std::string_view id) {
  return {ErrorCode::bad_reference, "Agent " + std::string(id) + " not found", {}};
}

// Error: bad_reference, naming the first agent that is not there.
Task<Result<void>> check_agents(Session& session, std::vector<std::string> ids) {
  std::ranges::sort(ids);
  auto const doubles = std::ranges::unique(ids);
  ids.erase(doubles.begin(), doubles.end());
  for (auto const& text : ids) {
    auto const id = Uuid::parse(text);
    if (!id) co_return std::unexpected(unknown_agent(text));
    auto const name = co_await select_agent_name(session, *id);
    if (!name) co_return std::unexpected(name.error());
    if (!*name) co_return std::unexpected(unknown_agent(text));
  }
  co_return {};
}

std::vector<std::string> step_agents(std::vector<WorkflowStep> const& steps) {
  std::vector<std::string> ids;
  for (auto const& step : steps) {
    if (step.agent_id) ids.push_back(step.agent_id->to_string());
  }
  return ids;
}

// Whether they say the same to do, wherever a run has got to.
bool same_steps(std::vector<WorkflowStep> const& some, std::vector<WorkflowStep> const& others) {
  return std::ranges::equal(some, others, [](WorkflowStep const& a, WorkflowStep const& b) {
    return a.key == b.key && a.name == b.name && a.task_template == b.task_template &&
           a.agent_id == b.agent_id && a.dependencies == b.dependencies && a.timeout == b.timeout &&
           a.max_retries == b.max_retries;
  });
}

Result<void> merge_parameters(Workflow& workflow, describe::JsonText const& more) {
  auto merged = describe::parse_json(workflow.parameters.text).as_object();
  for (auto const& member : describe::parse_json(more.text).as_object()) {
    merged[member.key()] = member.value();
  }
  auto text = describe::json_text(merged);
  if (text.size() > kParametersBytesMax) {
    return fail(ErrorCode::too_large, "A workflow's parameters may have " +
                                          std::to_string(kParametersBytesMax) + " bytes");
  }
  workflow.parameters.text = std::move(text);
  return {};
}

std::string agent_entry(std::string_view id, std::string_view name) {
  std::string text;
  JsonWriter out(text);
  out.begin_object();
  out.member("id", id);
  out.member("name", name);
  out.end_object();
  return text;
}

}  // namespace

Task<Result<Workflow>> Workflows::get(Uuid id, WithSteps with) {
  auto read = [id, with](Session& session) -> Task<Result<Workflow>> {
    auto workflow = co_await select_workflow(session, id);
    if (!workflow || with == WithSteps::no) co_return workflow;
    auto const steps = co_await select_steps(session, {&*workflow, 1});
    if (!steps) co_return std::unexpected(steps.error());
    co_return workflow;
  };
  // Of one moment: with progress go the steps that it follows from.
  auto const cost = with == WithSteps::yes ? store::ReadCost::scan : store::ReadCost::point;
  co_return co_await store_.read(cost, std::move(read));
}

Task<Result<WorkflowPage>> Workflows::list(WorkflowFilter filter, WithSteps with) {
  auto read = [filter = std::move(filter), with](Session& session) -> Task<Result<WorkflowPage>> {
    auto const total = co_await total_of(session, filter);
    if (!total) co_return std::unexpected(total.error());
    auto page = co_await store::select_page<Workflow>(session, kTable, kNewestFirst,
                                                      where_of(filter), store::bounds_of(filter));
    if (!page) co_return std::unexpected(page.error());
    page->total = total->count;
    page->total_capped = total->capped;
    if (with == WithSteps::yes) {
      auto const steps = co_await select_steps(session, page->rows);
      if (!steps) co_return std::unexpected(steps.error());
    }
    co_return std::move(*page);
  };
  co_return co_await store_.read(store::ReadCost::scan, std::move(read));
}

Task<Result<WorkflowPage>> Workflows::list_part(WorkflowFilter filter) {
  auto read = [filter = std::move(filter)](Session& session) {
    return store::select_page<Workflow>(session, kTable, kNewestFirst, where_of(filter),
                                        store::bounds_of(filter));
  };
  co_return co_await store_.read(store::ReadCost::scan, std::move(read));
}

Task<Result<std::optional<store::Position>>> Workflows::end_of_page(WorkflowFilter filter) {
  auto read = [filter = std::move(filter)](Session& session) {
    return store::end_of_page(session, kTable, kNewestFirst, where_of(filter),
                              store::bounds_of(filter));
  };
  co_return co_await store_.read(store::ReadCost::scan, std::move(read));
}

Task<Result<WorkflowSummary>> Workflows::summary() {
  auto read = [](Session& session) -> Task<Result<WorkflowSummary>> {
    WorkflowSummary summary;
    auto const add = [&](std::optional<WorkflowStatus> status,
                         std::int64_t& count) -> Task<Result<WorkflowTotals>> {
      auto const totals = co_await select_totals(session, status);
      if (totals) count = totals->workflows;
      co_return totals;
    };
    auto const all = co_await add(std::nullopt, summary.total);
    if (!all) co_return std::unexpected(all.error());
    using enum WorkflowStatus;
    for (auto const& [status, count] :
         {std::pair(active, &summary.active), std::pair(paused, &summary.paused),
          std::pair(completed, &summary.completed), std::pair(failed, &summary.failed)}) {
      auto const some = co_await add(status, *count);
      if (!some) co_return std::unexpected(some.error());
    }
    summary.templates = all->templates;
    if (all->workflows > 0) {
      auto const millionths = static_cast<double>(all->workflows) * 1e6;
      summary.avg_progress = static_cast<double>(all->progress) / millionths;
      summary.avg_success_rate = static_cast<double>(all->success) / millionths;
    }
    co_return summary;
  };
  co_return co_await store_.read(store::ReadCost::scan, std::move(read));
}

Task<Result<Workflow>> Workflows::create(Workflow draft, Actor actor) {
  auto insert = [draft = std::move(draft), actor = std::move(actor)](
                    Transaction& transaction) mutable -> Task<Result<Workflow>> {
    if (auto const good = check_acyclic(draft.steps); !good) {
      co_return std::unexpected(good.error());
    }
    auto agents = step_agents(draft.steps);
    std::ranges::move(agent_ids(draft.assigned_agents), std::back_inserter(agents));
    auto const known = co_await check_agents(transaction.session(), std::move(agents));
    if (!known) co_return std::unexpected(known.error());
    draft.id = Uuid::random();
    draft.created_at = draft.updated_at = transaction.now();
    draft.created_by = actor.user;
    draft.steps_total = static_cast<std::int64_t>(draft.steps.size());
    for (std::size_t i = 0; i < draft.steps.size(); ++i) {
      draft.steps[i].workflow_id = draft.id;
      draft.steps[i].position = static_cast<std::int64_t>(i);
    }
    auto const inserted = co_await insert_workflow(transaction, draft);
    if (!inserted) co_return std::unexpected(inserted.error());
    auto event = workflow_event(draft, "workflow.created", actor);
    event.payload = "{\"workflow\":" + stored_json(draft) + "}";
    auto const published = co_await transaction.publish(std::move(event));
    if (!published) co_return std::unexpected(published.error());
    co_return std::move(draft);
  };
  co_return co_await store_.write(std::move(insert));
}

Task<Result<Workflow>> Workflows::create_template(WorkflowTemplateBody body, Actor actor) {
  auto insert = [body = std::move(body), actor = std::move(actor)](
                    Transaction& transaction) mutable -> Task<Result<Workflow>> {
    auto made = workflow_of(std::move(body));
    made.id = Uuid::random();
    made.created_at = made.updated_at = transaction.now();
    made.created_by = actor.user;
    auto const inserted = co_await insert_workflow(transaction, made);
    if (!inserted) co_return std::unexpected(inserted.error());
    auto event = workflow_event(made, "workflow.template_created", actor);
    event.payload = "{\"workflow\":" + stored_json(made) + "}";
    auto const published = co_await transaction.publish(std::move(event));
    if (!published) co_return std::unexpected(published.error());
    co_return made;
  };
  co_return co_await store_.write(std::move(insert));
}

Task<Result<Workflow>> Workflows::change(Uuid id, Edit edit, Actor actor, Precondition condition) {
  auto apply = [this, id, edit = std::move(edit), actor = std::move(actor),
                condition =
                    std::move(condition)](Transaction& transaction) -> Task<Result<Workflow>> {
    WorkflowChange change(transaction, tasks_, actor);
    auto const loaded = co_await change.load(id, condition);
    if (!loaded) co_return std::unexpected(loaded.error());
    auto const edited = co_await edit(change, transaction);
    if (!edited) co_return std::unexpected(edited.error());
    auto const committed = co_await change.commit();
    if (!committed) co_return std::unexpected(committed.error());
    co_return std::move(change).take();
  };
  co_return co_await store_.write(std::move(apply));
}

Task<Result<Workflow>> Workflows::update(Uuid id, json::value body, Api api, Actor actor,
                                         Precondition condition) {
  auto edit = [body = std::move(body), api](WorkflowChange& change,
                                            Transaction& transaction) -> Task<Result<void>> {
    auto& workflow = change.workflow();
    auto old_steps = workflow.steps;
    describe::Issues issues;
    if (!read_workflow(body, workflow, api, Purpose::update, issues)) {
      co_return fail(ErrorCode::invalid, issues.first());
    }
    auto steps = std::exchange(workflow.steps, std::move(old_steps));
    if (!same_steps(steps, workflow.steps)) {
      auto const known = co_await check_agents(transaction.session(), step_agents(steps));
      if (!known) co_return known;
      if (auto set = change.set_steps(std::move(steps)); !set) co_return set;
    }
    auto const wanted = std::exchange(workflow.wanted_status, std::nullopt);
    // Who writes back what was read neither resumes, restarts nor resets anything.
    if (wanted && *wanted != workflow.status) {
      if (auto set = change.set_status(*wanted); !set) co_return set;
    }
    change.announce("workflow.updated");
    co_return {};
  };
  return change(id, std::move(edit), std::move(actor), std::move(condition));
}

Task<Result<Workflow>> Workflows::set_status(Uuid id, WorkflowStatusBody body, Actor actor,
                                             Precondition condition) {
  auto edit = [body](WorkflowChange& change, Transaction&) -> Task<Result<void>> {
    auto& workflow = change.workflow();
    auto const old_status = workflow.status;
    if (auto set = change.set_status(body.status); !set) co_return set;
    if (body.progress_percentage) workflow.base_progress = *body.progress_percentage;
    change.announce("workflow.status", status_data(workflow, old_status));
    co_return {};
  };
  return change(id, std::move(edit), std::move(actor), std::move(condition));
}

Task<Result<Workflow>> Workflows::set_progress(Uuid id, WorkflowProgressBody body, Actor actor,
                                               Precondition condition) {
  auto edit = [body](WorkflowChange& change, Transaction&) -> Task<Result<void>> {
    auto& w = change.workflow();
    w.base_total = body.total_tasks.value_or(w.base_total);
    w.base_completed = body.completed_tasks.value_or(w.base_completed);
    w.base_failed = body.failed_tasks.value_or(w.base_failed);
    w.base_progress = body.progress_percentage;
    if (w.base_total > 0) {
      auto const share = static_cast<double>(w.base_completed) / static_cast<double>(w.base_total);
      w.base_progress = std::min(share * 100, 100.0);
    }
    auto const ended = w.base_completed + w.base_failed;
    w.base_success =
        ended > 0 ? static_cast<double>(w.base_completed) / static_cast<double>(ended) * 100 : 0;
    bool const completes = body.progress_percentage >= 100 && !has_parts(w);
    if (completes && w.status != WorkflowStatus::completed) {
      if (auto set = change.set_status(WorkflowStatus::completed); !set) co_return set;
    } else if (completes) {
      w.base_progress = 100;
    }
    change.announce("workflow.progress", progress_data(w));
    co_return {};
  };
  return change(id, std::move(edit), std::move(actor), std::move(condition));
}

Task<Result<Workflow>> Workflows::add_agent(Uuid id, WorkflowAgentBody body, Actor actor,
                                            Precondition condition) {
  auto edit = [body = std::move(body)](WorkflowChange& change,
                                       Transaction& transaction) -> Task<Result<void>> {
    auto const agent = Uuid::parse(body.agent_id);
    std::optional<std::string> name;
    if (agent) {
      auto found = co_await select_agent_name(transaction.session(), *agent);
      if (!found) co_return std::unexpected(found.error());
      name = std::move(*found);
    }
    if (!name) co_return fail(ErrorCode::bad_reference, "Agent not found");
    // As agents themselves write it, whatever form the client chose.
    auto const agent_id = agent->to_string();
    bool const named = body.agent_name && !body.agent_name->empty();
    describe::JsonText entry{agent_entry(agent_id, named ? *body.agent_name : *name)};
    auto& entries = change.workflow().assigned_agents.entries;
    if (std::ranges::find(entries, entry) == entries.end()) {
      if (entries.size() >= AssignedAgents::kMax) {
        co_return fail(ErrorCode::too_large,
                       "A workflow may have " + std::to_string(AssignedAgents::kMax) + " agents");
      }
      entries.push_back(std::move(entry));
    }
    change.announce("workflow.agent_assigned", agent_data(change.workflow(), agent_id, name));
    co_return {};
  };
  return change(id, std::move(edit), std::move(actor), std::move(condition));
}

Task<Result<Workflow>> Workflows::remove_agent(Uuid id, std::string agent_id, Actor actor,
                                               Precondition condition) {
  auto edit = [agent_id = std::move(agent_id)](WorkflowChange& change,
                                               Transaction&) -> Task<Result<void>> {
    auto& agents = change.workflow().assigned_agents;
    auto const ids = agent_ids(agents);
    auto const agent = Uuid::parse(agent_id);
    for (auto i = ids.size(); i-- > 0;) {
      if (ids[i] == agent_id || (agent && Uuid::parse(ids[i]) == agent)) {
        agents.entries.erase(agents.entries.begin() + static_cast<std::ptrdiff_t>(i));
      }
    }
    change.announce("workflow.agent_removed",
                    agent_data(change.workflow(), agent_id, std::nullopt));
    co_return {};
  };
  return change(id, std::move(edit), std::move(actor), std::move(condition));
}

Task<Result<Workflow>> Workflows::execute(Uuid id, WorkflowExecutionBody body, Actor actor,
                                          Precondition condition) {
  auto edit = [body = std::move(body)](WorkflowChange& change, Transaction&) -> Task<Result<void>> {
    auto& workflow = change.workflow();
    if (body.parameters) {
      if (auto merged = merge_parameters(workflow, *body.parameters); !merged) co_return merged;
    }
    if (body.assigned_agents && !body.assigned_agents->entries.empty()) {
      workflow.assigned_agents = *body.assigned_agents;
    }
    auto const begun = body.scheduled_at ? change.schedule(*body.scheduled_at) : change.start();
    if (!begun) co_return begun;
    change.announce("workflow.executed", executed_data(workflow));
    co_return {};
  };
  return change(id, std::move(edit), std::move(actor), std::move(condition));
}

}  // namespace subforge::domain
