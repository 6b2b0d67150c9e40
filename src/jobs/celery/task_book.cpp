#include "jobs/celery/task_book.hpp"

#include <unistd.h>

#include <algorithm>

#include "jobs/celery/revoked_ids.hpp"
#include "jobs/celery/wire.hpp"

namespace subforge::jobs::celery {
namespace {

double unix_seconds(Timestamp at) { return static_cast<double>(at.micros) / 1e6; }

}  // namespace

TaskBook::Entry* TaskBook::put(ObservedTask const& task, Timestamp now) {
  if (auto const found = tasks_.find(task.id); found != tasks_.end()) return &found->second;
  if (tasks_.size() >= kTasksMax) return nullptr;
  Entry entry{std::string(task.name),
              std::string(task.args),
              std::string(task.kwargs),
              std::string(task.queue),
              task.priority,
              task.redelivered,
              task.eta,
              now,
              std::nullopt,
              task.stamps == nullptr ? std::set<std::string>{} : stamp_keys(*task.stamps)};
  return &tasks_.emplace(std::string(task.id), std::move(entry)).first->second;
}

void TaskBook::received(ObservedTask const& task, Timestamp now) { put(task, now); }

void TaskBook::purge(Timestamp now) {
  std::erase_if(tasks_, [&](auto const& one) {
    auto const& entry = one.second;
    auto const due = std::max(entry.eta.value_or(entry.received_at), entry.received_at);
    return !entry.started_at && due.micros < now.micros - kOverdueUs;
  });
}

void TaskBook::started(ObservedTask const& task, Timestamp now) {
  ++processed_;
  if (auto const found = totals_.find(task.name); found != totals_.end()) {
    ++found->second;
  } else if (totals_.size() < kNamesMax) {
    totals_.emplace(task.name, 1);
  } else {
    ++other_totals_;
  }
  auto* const entry = put(task, now);
  if (entry == nullptr || entry->started_at) return;
  entry->started_at = now;
  ++active_;
}

void TaskBook::ended(std::string_view id) {
  auto const found = tasks_.find(id);
  if (found == tasks_.end()) return;
  if (found->second.started_at) --active_;
  tasks_.erase(found);
}

bool TaskBook::is_active(std::string_view id) const {
  auto const found = tasks_.find(id);
  return found != tasks_.end() && found->second.started_at.has_value();
}

std::vector<std::string> TaskBook::stamped(std::set<std::string> const& stamps) const {
  std::vector<std::string> ids;
  for (auto const& [id, entry] : tasks_) {
    bool const any = std::ranges::any_of(entry.stamps,
                                         [&](auto const& stamp) { return stamps.contains(stamp); });
    if (any) ids.push_back(id);
  }
  return ids;
}

void TaskBook::write_entry(JsonWriter& json, std::string_view node, std::string_view id,
                           Entry const& entry) {
  json.begin_object();
  json.member("id", id);
  json.member("name", entry.name);
  json.member_raw("args", entry.args);
  json.member_raw("kwargs", entry.kwargs);
  json.member("type", entry.name);
  json.member("hostname", node);
  json.key("time_start");
  entry.started_at ? json.number(unix_seconds(*entry.started_at)) : json.null();
  json.member("acknowledged", false);  // It is once its result is there.
  json.key("delivery_info");
  json.begin_object();
  json.member("exchange", "");
  json.member("routing_key", entry.queue);
  json.member("priority", entry.priority);
  json.member("redelivered", entry.redelivered);
  json.end_object();
  json.key("worker_pid");
  entry.started_at ? json.integer(::getpid()) : json.null();
  json.end_object();
}

void TaskBook::write_active(JsonWriter& json, std::string_view node) const {
  json.begin_array();
  for (auto const& [id, entry] : tasks_) {
    if (entry.started_at) write_entry(json, node, id, entry);
  }
  json.end_array();
}

void TaskBook::write_reserved(JsonWriter& json, std::string_view node, Timestamp now) const {
  json.begin_array();
  for (auto const& [id, entry] : tasks_) {
    if (!entry.started_at && !waits(entry, now)) write_entry(json, node, id, entry);
  }
  json.end_array();
}

void TaskBook::write_scheduled(JsonWriter& json, std::string_view node, Timestamp now) const {
  json.begin_array();
  for (auto const& [id, entry] : tasks_) {
    if (!waits(entry, now)) continue;
    json.begin_object();
    json.member("eta", time_text(*entry.eta));
    json.member("priority", 6);  // Of the timer, which all of Celery's have.
    json.key("request");
    write_entry(json, node, id, entry);
    json.end_object();
  }
  json.end_array();
}

bool TaskBook::write_one(JsonWriter& json, std::string_view node, std::string_view id) const {
  auto const found = tasks_.find(id);
  if (found == tasks_.end()) return false;
  json.key(id);
  json.begin_array();
  json.string(found->second.started_at ? "active" : "reserved");
  write_entry(json, node, id, found->second);
  json.end_array();
  return true;
}

void TaskBook::write_totals(JsonWriter& json) const {
  json.begin_object();
  for (auto const& [name, count] : totals_) json.member(name, count);
  if (other_totals_ > 0) json.member("others", other_totals_);
  json.end_object();
}

}  // namespace subforge::jobs::celery
