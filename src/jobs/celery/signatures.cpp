#include "jobs/celery/signatures.hpp"

#include <boost/json/value.hpp>

#include "describe/json_text.hpp"
#include "jobs/celery/json_members.hpp"
#include "jobs/celery/wire.hpp"

namespace subforge::jobs::celery {
namespace {

namespace json = boost::json;
using describe::text_member;

// Groups in groups in chords: deeper than this nobody means it.
constexpr int kLevelsMax = 16;
// Where Celery sends what names no queue.
constexpr std::string_view kDefaultCeleryQueue = "celery";

json::object& options_of(json::object& signature) {
  auto& options = signature["options"];
  if (!options.is_object()) options = json::object();
  return options.get_object();
}

class Expander {
 public:
  Expander(TaskMessage const& parent, Expansion& out) : parent_(parent), out_(out) {}

  void add(json::object const& signature, std::optional<std::string_view> result,
           std::string const& seed, Following const& following, int depth) {
    auto const task = text_member(signature, "task");
    if (depth > kLevelsMax) return refuse(signature, "the signature has too many levels");
    if (task == "celery.chain") return add_chain(signature, result, seed, following, depth);
    if (task == "celery.group") return add_group(signature, result, seed, following, depth);
    if (task == "celery.chord") return add_chord(signature, result, seed, following, depth);
    auto message = message_of(signature, parent_, result, kDefaultCeleryQueue);
    if (!message) return refuse(signature, message.error().message);
    auto const options = object_member(signature, "options");
    if (text_member(options, "task_id").empty()) message->id = derived(seed);
    // What follows it itself comes first, and is therefore stored last.
    message->chain = following.chain;
    for (auto const& next : array_member(options, "chain")) message->chain.push_back(next);
    if (message->group.empty()) message->group = following.group;
    if (depth == 0) out_.children.push_back({message->id, following.group});
    out_.messages.push_back(*std::move(message));
  }

 private:
  [[nodiscard]] static std::string derived(std::string const& seed) {
    return uuid_of("consequence of " + seed).to_string();
  }
  void refuse(json::object const& signature, std::string const& why) {
    out_.refused.push_back({id_of_signature(signature), why});
  }

  // What is said of a chain as a whole holds for its last task.
  static void pass_on(json::object const& from, json::object& signature) {
    auto& options = options_of(signature);
    for (auto const* const name : {"task_id", "link"}) {
      auto const* const value = from.if_contains(name);
      if (value != nullptr && !value->is_null() && !options.contains(name)) options[name] = *value;
    }
    for (auto const* const name : {"group_id", "group_index", "chord"}) {
      auto const* const value = from.if_contains(name);
      if (value != nullptr && !value->is_null()) options[name] = *value;
    }
  }

  void add_chain(json::object const& signature, std::optional<std::string_view> result,
                 std::string const& seed, Following const& following, int depth) {
    auto tasks = array_member(object_member(signature, "kwargs"), "tasks");
    if (tasks.empty() || !tasks.back().is_object() || !tasks.front().is_object()) {
      return refuse(signature, "a chain has no tasks");
    }
    auto const whole = object_member(signature, "options");
    pass_on(whole, tasks.back().get_object());
    Following behind = following;
    for (auto const& next : array_member(whole, "chain")) behind.chain.push_back(next);
    for (std::size_t i = tasks.size() - 1; i > 0; --i) {
      if (!tasks[i].is_object()) return refuse(signature, "a task of a chain is none");
      auto& options = options_of(tasks[i].get_object());
      if (text_member(options, "task_id").empty()) {
        options["task_id"] = derived(seed + "/" + std::to_string(i));
      }
      behind.chain.push_back(tasks[i]);
    }
    add(tasks.front().get_object(), result, seed + "/0", behind, depth);
  }

  void add_group(json::object const& signature, std::optional<std::string_view> result,
                 std::string const& seed, Following const& following, int depth) {
    auto const tasks = array_member(object_member(signature, "kwargs"), "tasks");
    if (tasks.empty() || !following.chain.empty()) {
      return refuse(signature, "a group cannot be sent without tasks, or before others");
    }
    auto const options = object_member(signature, "options");
    auto group = std::string(text_member(options, "task_id"));
    if (group.empty()) group = text_member(options, "group_id");
    if (group.empty()) group = derived(seed);
    for (std::size_t i = 0; i < tasks.size(); ++i) {
      if (!tasks[i].is_object()) return refuse(signature, "a task of a group is none");
      add(tasks[i].get_object(), result, seed + "/" + std::to_string(i), {{}, group}, depth);
    }
  }

  void add_chord(json::object const& signature, std::optional<std::string_view> result,
                 std::string const& seed, Following const& following, int depth) {
    auto const kwargs = object_member(signature, "kwargs");
    auto body = object_member(kwargs, "body");
    auto header = array_member(kwargs, "header");
    auto group = derived(seed + "/header");
    if (auto const as_group = object_member(kwargs, "header"); !as_group.empty()) {
      header = array_member(object_member(as_group, "kwargs"), "tasks");
      auto const of_group = object_member(as_group, "options");
      if (auto const id = text_member(of_group, "task_id"); !id.empty()) group = id;
    }
    if (body.empty()) return refuse(signature, "a chord has no body");
    // What is said of a chord as a whole names its group, not its body.
    auto& options = options_of(body);
    if (id_of_signature(body).empty()) options["task_id"] = derived(seed + "/body");
    if (!following.chain.empty()) {
      json::array chain = following.chain;
      for (auto const& next : array_member(options, "chain")) chain.push_back(next);
      options["chain"] = std::move(chain);
    }
    if (header.empty()) return add(body, "[]", seed + "/body", {}, depth);
    for (std::size_t i = 0; i < header.size(); ++i) {
      auto const* const part = header[i].if_object();
      auto const kind = part != nullptr ? text_member(*part, "task") : std::string_view("");
      if (part == nullptr || kind == "celery.group" || kind == "celery.chord") {
        return refuse(body, "a part of a chord must be a task or a chain of tasks");
      }
      auto one = *part;
      auto& part_options = options_of(one);
      part_options["group_id"] = group;
      part_options["group_index"] = static_cast<std::int64_t>(i);
      part_options["chord"] = body;
      add(one, result, seed + "/" + std::to_string(i), {}, depth + 1);
    }
    out_.chords.emplace_back(group, header.size());
    if (depth == 0) out_.children.push_back({id_of_signature(body), {}});
  }

  TaskMessage const& parent_;
  Expansion& out_;
};

}  // namespace

std::string id_of_signature(json::object const& signature) {
  auto const options = object_member(signature, "options");
  auto const id = text_member(options, "task_id");
  if (!id.empty() || text_member(signature, "task") != "celery.chain") return std::string(id);
  auto const tasks = array_member(object_member(signature, "kwargs"), "tasks");
  if (tasks.empty() || !tasks.back().is_object()) return {};
  return std::string(text_member(object_member(tasks.back().get_object(), "options"), "task_id"));
}

void expand(json::object const& signature, TaskMessage const& parent,
            std::optional<std::string_view> result, std::string const& seed,
            Following const& following, Expansion& out) {
  Expander(parent, out).add(signature, result, seed, following, 0);
}

}  // namespace subforge::jobs::celery
