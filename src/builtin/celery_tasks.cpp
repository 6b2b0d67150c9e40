#include "builtin/celery_tasks.hpp"

#include <limits>
#include <utility>

#include <boost/json/array.hpp>

#include "builtin/arguments.hpp"
#include "describe/exact_json.hpp"
#include "describe/json_text.hpp"
#include "jobs/worker.hpp"

namespace subforge::builtin {
namespace {

namespace json = boost::json;
using jobs::JobContext;
using jobs::Outcome;

constexpr std::string_view kMap = "celery.map";
constexpr std::string_view kStarmap = "celery.starmap";
constexpr std::size_t kResultsBytesMax = 1U << 20;  // As much as a task may give over Redis.

struct Mapping {
  jobs::Registry const& registry;
  EventLoop& loop;
  bool spread = false;  // Each item is a list of arguments, not one.
};

// The name of the task that is given as Celery's signature of it.
std::string task_name(Arguments const& arguments) {
  auto const* const task = arguments.find(0, "task");
  if (task == nullptr) return {};
  if (auto const* const signature = task->if_object()) {
    return std::string(describe::text_member(*signature, "task"));
  }
  bool const named = describe::is_text(*task);
  return named ? std::string(task->get_string()) : std::string();
}

// As if its worker had started it, within this one.
Task<Outcome> run_part(Mapping const& mapping, jobs::Definition const& definition,
                       JobContext& part) {
  Outcome outcome;
  try {
    outcome = co_await definition.handler(part);
  } catch (std::exception const& thrown) {
    outcome = jobs::failed(thrown.what());
  }
  co_await mapping.loop.resume_here();
  if (outcome.kind == Outcome::Kind::success) co_return outcome;
  // As with Celery the whole fails, and who sent it knows whether to send it again.
  auto failed = jobs::failed_for_good(std::move(outcome.error));
  failed.traceback = std::move(outcome.traceback);
  co_return failed;
}

jobs::Effect all_of(std::vector<jobs::Effect> effects) {
  if (effects.empty()) return {};
  return [effects = std::move(effects)](store::Transaction& transaction) -> Task<Result<void>> {
    for (auto const& effect : effects) {
      if (auto done = co_await effect(transaction); !done) co_return done;
    }
    co_return {};
  };
}

Task<Outcome> run_for_each(Mapping mapping, JobContext& context) {
  Arguments const arguments(context.job(), Arguments::LongIntegers::kept);
  auto const name = task_name(arguments);
  auto const* const items = arguments.find(1, "it");
  if (items == nullptr || !items->is_array()) {
    co_return jobs::failed_for_good("TypeError: " + context.job().name + " takes task and it");
  }
  auto const* const definition = mapping.registry.find(name);
  if (definition == nullptr || !definition->handler) {
    co_return jobs::failed_for_good("NotRegistered: no worker here knows the task '" + name + "'");
  }
  if (definition->limited()) {
    co_return jobs::failed_for_good("The task '" + name +
                                    "' has limits that hold for tasks of its"
                                    " own only: send it for each");
  }
  std::string results;
  std::vector<jobs::Effect> effects;
  auto const& list = items->get_array();
  for (std::size_t i = 0; i < list.size(); ++i) {
    if (mapping.spread && !list[i].is_array()) {
      co_return jobs::failed_for_good("TypeError: an item of celery.starmap is no list");
    }
    if (context.stop_requested()) co_return jobs::try_again("It was asked to stop");
    auto text = describe::json_text(list[i]);
    auto& part = context.begin_part(name, mapping.spread ? std::move(text) : '[' + text + ']');
    auto outcome = co_await run_part(mapping, *definition, part);
    if (outcome.kind != Outcome::Kind::success) co_return outcome;
    results += (i == 0 ? "[" : ",") + outcome.data;
    if (results.size() > kResultsBytesMax) {
      co_return jobs::failed_for_good("The results take more than " +
                                      std::to_string(kResultsBytesMax) + " bytes");
    }
    if (outcome.effect) effects.push_back(std::move(outcome.effect));
    context.progress(100 * static_cast<double>(i + 1) / static_cast<double>(list.size()));
  }
  results += list.empty() ? "[]" : "]";
  co_return jobs::succeeded_with(std::move(results), all_of(std::move(effects)));
}

// Gives its arguments back, or one of them.
Task<Outcome> accumulate(JobContext& context) {
  Arguments const arguments(context.job(), Arguments::LongIntegers::kept);
  auto const* const index = arguments.find(std::numeric_limits<std::size_t>::max(), "index");
  if (index == nullptr || index->is_null()) co_return jobs::succeeded(context.args());
  auto const count = static_cast<std::int64_t>(arguments.places().size());
  auto const* const number = index->if_int64();
  auto const place = number == nullptr ? count : *number < 0 ? *number + count : *number;
  if (place < 0 || place >= count) {
    co_return jobs::failed_for_good("IndexError: tuple index out of range");
  }
  co_return jobs::succeeded(
      describe::json_text(arguments.places()[static_cast<std::size_t>(place)]));
}

Task<Outcome> do_nothing() { co_return jobs::succeeded(); }

}  // namespace

void add_celery_definitions(jobs::Registry& registry, EventLoop& loop) {
  for (bool const spread : {false, true}) {
    Mapping const mapping{registry, loop, spread};
    registry.add(
        {.name = std::string(spread ? kStarmap : kMap),
         .handler = [mapping](JobContext& context) { return run_for_each(mapping, context); },
         .doc = "Celery's: runs a task for each of a list, one after the other."});
  }
  registry.add({.name = "celery.accumulate",
                .handler = [](JobContext& context) { return accumulate(context); },
                .doc = "Celery's: gives its arguments back."});
  registry.add({.name = "celery.backend_cleanup",
                .handler = [](JobContext&) { return do_nothing(); },
                .doc = "Celery's: nothing, as results expire by themselves."});
}

std::vector<std::string> celery_names_for_admins() {
  return {std::string(kMap), std::string(kStarmap)};
}

}  // namespace subforge::builtin
