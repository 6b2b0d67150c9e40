#include "jobs/celery/control.hpp"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>

#include "describe/json_text.hpp"
#include "jobs/celery/json_members.hpp"
#include "jobs/celery/wire.hpp"

namespace subforge::jobs::celery {
namespace {

namespace json = boost::json;

template <class Write>
std::string document(Write write) {
  std::string text;
  JsonWriter writer(text);
  write(writer);
  return text;
}

std::string one_member(std::string_view name, std::string_view text) {
  return document([&](JsonWriter& writer) {
    writer.begin_object();
    writer.member(name, text);
    writer.end_object();
  });
}
std::string ok(std::string_view text) { return one_member("ok", text); }
std::string refused(std::string_view text) { return one_member("error", text); }

std::string missing(std::string_view command, std::string_view argument) {
  return refused("TypeError(\"" + std::string(command) +
                 "() missing 1 required positional argument: '" + std::string(argument) + "'\")");
}

std::vector<std::string> texts_of(json::object const& object, std::string_view name) {
  std::vector<std::string> texts;
  auto const* const found = object.if_contains(name);
  if (found == nullptr) return texts;
  if (found->is_string()) texts.emplace_back(std::string_view(found->get_string()));
  if (!found->is_array()) return texts;
  for (auto const& one : found->get_array()) {
    if (one.is_string()) texts.emplace_back(std::string_view(one.get_string()));
  }
  return texts;
}

bool flag_of(json::object const& object, std::string_view name) {
  auto const* const found = object.if_contains(name);
  return found != nullptr && found->is_bool() && found->get_bool();
}

std::optional<double> seconds_of(json::object const& object, std::string_view name) {
  auto const* const found = object.if_contains(name);
  if (found == nullptr || !found->is_number()) return std::nullopt;
  auto const seconds = found->to_number<double>();
  return seconds > 0 && std::isfinite(seconds) ? std::optional(seconds) : std::nullopt;
}

std::string joined(std::vector<std::string> const& texts) {
  std::string all;
  for (auto const& text : texts) {
    if (!all.empty()) all.append(", ");
    all.append(text);
  }
  return all;
}

double seconds(timeval const& time) {
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
}

void write_usage(JsonWriter& writer) {
  rusage used{};
  ::getrusage(RUSAGE_SELF, &used);
  writer.begin_object();
  writer.member("utime", seconds(used.ru_utime));
  writer.member("stime", seconds(used.ru_stime));
  std::pair<std::string_view, std::int64_t> const counts[] = {
      {"maxrss", used.ru_maxrss}, {"ixrss", used.ru_ixrss},     {"idrss", used.ru_idrss},
      {"isrss", used.ru_isrss},   {"minflt", used.ru_minflt},   {"majflt", used.ru_majflt},
      {"nswap", used.ru_nswap},   {"inblock", used.ru_inblock}, {"oublock", used.ru_oublock},
      {"msgsnd", used.ru_msgsnd}, {"msgrcv", used.ru_msgrcv},   {"nsignals", used.ru_nsignals},
      {"nvcsw", used.ru_nvcsw},   {"nivcsw", used.ru_nivcsw}};
  for (auto const& [name, count] : counts) writer.member(name, count);
  writer.end_object();
}

// A queue of Celery's library, whose exchange bears its name.
void write_queue(JsonWriter& writer, std::string_view name) {
  writer.begin_object();
  writer.member("name", name);
  writer.key("exchange");
  writer.begin_object();
  writer.member("name", name);
  writer.member("type", "direct");
  writer.member_null("arguments");
  writer.member("durable", true);
  writer.member("passive", false);
  writer.member("auto_delete", false);
  writer.member_null("delivery_mode");
  writer.member("no_declare", false);
  writer.end_object();
  writer.member("routing_key", name);
  for (auto const* const unset : {"queue_arguments", "binding_arguments", "consumer_arguments"}) {
    writer.member_null(unset);
  }
  writer.member("durable", true);
  for (auto const* const off : {"exclusive", "auto_delete", "no_ack"}) writer.member(off, false);
  writer.member_null("alias");
  writer.member_raw("bindings", "[]");
  for (auto const* const unset :
       {"no_declare", "expires", "message_ttl", "max_length", "max_length_bytes", "max_priority"}) {
    writer.member_null(unset);
  }
  writer.end_object();
}

// As Celery writes one; the definition has it in numbers.
std::string rate_text(StartRate const& rate) {
  auto const per = rate.per_seconds;
  auto const unit = per >= 3'600 ? 3'600 : per >= 60 ? 60 : 1;
  auto const starts = static_cast<double>(rate.count) * unit / per;
  std::string text;
  if (auto const whole = static_cast<std::int64_t>(starts);
      starts - static_cast<double>(whole) > 0) {
    append_json_double(text, starts);
  } else {
    append_decimal(text, whole);
  }
  return text + (unit == 1 ? "/s" : unit == 60 ? "/m" : "/h");
}

}  // namespace

std::map<std::string_view, Control::Command> const& Control::commands() {
  static std::map<std::string_view, Command> const kCommands{
      {"ping", &Control::ping},
      {"active", &Control::active},
      {"dump_active", &Control::active},
      {"reserved", &Control::reserved},
      {"dump_reserved", &Control::reserved},
      {"scheduled", &Control::scheduled},
      {"dump_schedule", &Control::scheduled},
      {"query_task", &Control::query_task},
      {"registered", &Control::registered},
      {"dump_tasks", &Control::registered},
      {"stats", &Control::stats},
      {"active_queues", &Control::active_queues},
      {"revoked", &Control::revoked},
      {"dump_revoked", &Control::revoked},
      {"conf", &Control::conf},
      {"dump_conf", &Control::conf},
      {"report", &Control::report},
      {"clock", &Control::clock},
      {"hello", &Control::hello},
      {"revoke", &Control::revoke},
      {"terminate", &Control::terminate},
      {"revoke_by_stamped_headers", &Control::revoke_by_stamps},  // Since Celery 5.3.
      {"rate_limit", &Control::rate_limit},
      {"time_limit", &Control::time_limit},
      {"enable_events", &Control::enable_events},
      {"disable_events", &Control::disable_events},
      {"heartbeat", &Control::heartbeat},
      {"shutdown", &Control::shutdown},
      {"pool_grow", &Control::fixed_slots},
      {"pool_shrink", &Control::fixed_slots},
      {"autoscale", &Control::fixed_slots},
      {"add_consumer", &Control::fixed_queues},
      {"cancel_consumer", &Control::fixed_queues},
      {"election", &Control::nothing},  // Of Celery's own workers among themselves.
  };
  return kCommands;
}

std::optional<std::string> Control::answer(ControlRequest const& request) {
  auto const found = commands().find(request.method);
  if (found != commands().end()) return (this->*found->second)(request.arguments);
  // As Python tells of it; programs look at the name of the member alone.
  return refused("KeyError('" + request.method + "')");
}

// ---- What there is -----------------------------------------------------------------------------

Control::Answer Control::ping(Arguments const&) { return ok("pong"); }

Control::Answer Control::active(Arguments const&) {
  return document([&](JsonWriter& json) { state_.book.write_active(json, options_.name); });
}

Control::Answer Control::reserved(Arguments const&) {
  return document(
      [&](JsonWriter& json) { state_.book.write_reserved(json, options_.name, Timestamp::now()); });
}

Control::Answer Control::scheduled(Arguments const&) {
  return document([&](JsonWriter& json) {
    state_.book.write_scheduled(json, options_.name, Timestamp::now());
  });
}

Control::Answer Control::query_task(Arguments const& arguments) {
  return document([&](JsonWriter& json) {
    json.begin_object();
    for (auto const& id : texts_of(arguments, "ids")) {
      state_.book.write_one(json, options_.name, id);
    }
    json.end_object();
  });
}

Control::Answer Control::registered(Arguments const& arguments) {
  auto const items = texts_of(arguments, "taskinfoitems");
  bool const wanted = items.empty() || std::ranges::find(items, "rate_limit") != items.end();
  auto const* const builtins = arguments.if_contains("builtins");
  bool const all = builtins != nullptr && builtins->is_bool() && builtins->get_bool();
  return document([&](JsonWriter& json) {
    json.begin_array();
    for (auto const* const definition : state_.registry.all()) {
      auto const& name = definition->name;
      // Those that each worker of Celery's has it does not name either.
      if (!all && name.starts_with("celery.")) continue;
      auto const set = rates_.find(name);
      auto const rate = set != rates_.end()          ? set->second
                        : definition->rate.count > 0 ? rate_text(definition->rate)
                                                     : std::string();
      json.string(wanted && !rate.empty() ? name + " [rate_limit=" + rate + "]" : name);
    }
    json.end_array();
  });
}

void Control::write_pool(JsonWriter& json) const {
  json.begin_object();
  json.member("max-concurrency", options_.slots);
  json.key("processes");
  json.begin_array();
  json.integer(::getpid());
  json.end_array();
  json.member("max-tasks-per-child", "N/A");
  json.member("put-guarded-by-semaphore", false);
  json.member_raw("timeouts", "[0,0]");
  json.member_raw("writes", "{}");
  json.end_object();
}

void Control::write_broker(JsonWriter& json) const {
  auto const& broker = options_.broker;
  json.begin_object();
  json.member("hostname", broker.host);
  broker.user.empty() ? json.member_null("userid") : json.member("userid", broker.user);
  json.member("virtual_host", std::to_string(broker.database));
  json.member("port", static_cast<std::int64_t>(broker.port));
  json.member("insist", false);
  json.member("ssl", false);
  json.member("transport", "redis");
  json.member_null("connect_timeout");
  json.member_raw("transport_options", "{}");
  json.member_null("login_method");
  json.member_null("uri_prefix");
  json.member_null("heartbeat");
  json.member("failover_strategy", "round-robin");
  json.member_raw("alternates", "[]");
  json.end_object();
}

Control::Answer Control::stats(Arguments const&) {
  return document([&](JsonWriter& json) {
    json.begin_object();
    json.key("total");
    state_.book.write_totals(json);
    json.member("pid", static_cast<std::int64_t>(::getpid()));
    json.member("clock", std::to_string(state_.clock.value()));
    json.member("uptime", (monotonic_ns() - started_ns_) / 1'000'000'000);
    json.key("pool");
    write_pool(json);
    json.key("broker");
    write_broker(json);
    json.member("prefetch_count", options_.slots);
    json.key("rusage");
    write_usage(json);
    json.end_object();
  });
}

Control::Answer Control::active_queues(Arguments const&) {
  return document([&](JsonWriter& json) {
    json.begin_array();
    for (auto const& queue : options_.queues) write_queue(json, queue);
    json.end_array();
  });
}

Control::Answer Control::revoked(Arguments const&) {
  state_.revoked.purge(monotonic_ns());
  return document([&](JsonWriter& json) {
    json.begin_array();
    for (auto const& entry : state_.revoked.entries()) json.string(entry.id);
    json.end_array();
  });
}

Control::Answer Control::conf(Arguments const&) {
  return document([&](JsonWriter& json) {
    json.begin_object();
    for (auto const& [name, value] : options_.settings) json.member_raw(name, value);
    json.end_object();
  });
}

Control::Answer Control::report(Arguments const&) {
  std::string text =
      "\nsoftware -> subforge:" + options_.version + "\nsettings -> transport:redis\n";
  for (auto const& [name, value] : options_.settings) text += "\n" + name + ": " + value;
  return ok(text + "\n");
}

Control::Answer Control::clock(Arguments const&) {
  return document([&](JsonWriter& json) {
    json.begin_object();
    json.member("clock", state_.clock.value());
    json.end_object();
  });
}

// ---- Revoking ----------------------------------------------------------------------------------

void Control::write_revoked(JsonWriter& json) const {
  json.begin_object();
  for (auto const& entry : state_.revoked.entries()) {
    json.key(entry.id);
    json.begin_array();
    json.number(static_cast<double>(entry.at_ns) / 1e9);
    json.string(entry.id);
    json.end_array();
  }
  json.end_object();
}

void Control::take_revoked(json::object const& ids) {
  auto const now_ns = monotonic_ns();
  std::size_t left = RevokedIds::kIdsMax;
  for (auto const& member : ids) {
    if (left-- == 0) break;
    state_.revoked.add(std::string_view(member.key()), now_ns);
  }
}

// A worker that starts tells who it is and what it knows, and wants to know what we do.
Control::Answer Control::hello(Arguments const& arguments) {
  if (text_of(arguments, "from_node") == options_.name) return "null";
  auto const* const revoked = arguments.if_contains("revoked");
  if (revoked != nullptr && revoked->is_object()) take_revoked(revoked->get_object());
  state_.revoked.purge(monotonic_ns());
  return document([&](JsonWriter& json) {
    json.begin_object();
    json.key("revoked");
    write_revoked(json);
    json.member("clock", state_.clock.forward());
    json.end_object();
  });
}

Control::Answer Control::revoke_ids(Arguments const& arguments, bool terminate) {
  auto const ids = texts_of(arguments, "task_id");
  if (ids.empty()) return missing(terminate ? "terminate" : "revoke", "task_id");
  std::vector<std::string> here;
  auto const now_ns = monotonic_ns();
  for (auto const& id : ids) {
    state_.revoked.add(id, now_ns);
    if (state_.book.has(id)) here.push_back(id);
  }
  actions_.revoke(ids, terminate);
  if (!terminate) return ok("tasks " + joined(ids) + " flagged as revoked");
  return ok("terminate: " + (here.empty() ? std::string("tasks unknown") : joined(here)));
}

Control::Answer Control::revoke(Arguments const& arguments) {
  return revoke_ids(arguments, flag_of(arguments, "terminate"));
}

Control::Answer Control::terminate(Arguments const& arguments) {
  return revoke_ids(arguments, true);
}

// Its command line sends a list of texts, header=value, and programs an object.
Control::Answer Control::revoke_by_stamps(Arguments const& arguments) {
  auto const* const given = arguments.if_contains("headers");
  json::object headers;
  if (given != nullptr && given->is_object()) headers = given->get_object();
  for (auto const& text : texts_of(arguments, "headers")) {
    auto const mark = text.find('=');
    if (mark != std::string::npos) headers[text.substr(0, mark)] = text.substr(mark + 1);
  }
  if (headers.empty()) return missing("revoke_by_stamped_headers", "headers");
  auto const stamps = stamp_keys(headers);
  state_.revoked_stamps.add(stamps, monotonic_ns());
  auto const here = state_.book.stamped(stamps);
  bool const terminate = flag_of(arguments, "terminate");
  if (!here.empty()) actions_.revoke(here, terminate);
  actions_.revoke_stamped(stamps);
  auto const told = "headers " + python_repr(headers);
  if (!terminate) return ok(told + " flagged as revoked, but not terminated");
  return ok(told + (here.empty() ? " were not terminated" : " revoked"));
}

// ---- Limits ------------------------------------------------------------------------------------

Control::Answer Control::rate_limit(Arguments const& arguments) {
  auto const task = text_of(arguments, "task_name");
  if (task.empty()) return missing("rate_limit", "task_name");
  auto const* const given = arguments.if_contains("rate_limit");
  std::string text;
  if (given != nullptr) {
    text = given->is_string() ? std::string(std::string_view(given->get_string()))
                              : describe::json_text(*given);
  }
  bool const none = text.empty() || text == "null" || text == "0";
  auto const rate = none ? StartRate{} : parse_rate(text).value_or(StartRate{-1, 1, 1});
  if (rate.count < 0) {
    return refused("Invalid rate limit string: ValueError(\"it must be like 5/s, 10/m or 100/h: '" +
                   text + "'\")");
  }
  if (state_.registry.find(task) == nullptr) return refused("unknown task");
  actions_.limit_rate(task, rate);
  rates_[task] = none ? std::string() : text;
  return ok(none ? "rate limit disabled successfully" : "new rate limit set successfully");
}

Control::Answer Control::time_limit(Arguments const& arguments) {
  auto const task = text_of(arguments, "task_name");
  if (state_.registry.find(task) == nullptr) return refused("unknown task");
  actions_.limit_time(task, seconds_of(arguments, "soft"), seconds_of(arguments, "hard"));
  return ok("time limits set successfully");
}

Control::Answer Control::fixed_slots(Arguments const&) {
  return refused("the number of slots is what TASK_SLOTS says; set it and start this worker anew");
}

Control::Answer Control::fixed_queues(Arguments const&) {
  return refused("the queues are what TASK_QUEUES says; set it and start this worker anew");
}

// ---- Events, the end ---------------------------------------------------------------------------

Control::Answer Control::enable_events(Arguments const&) {
  return ok(std::exchange(task_events_, true) ? "task events already enabled"
                                              : "task events enabled");
}

Control::Answer Control::disable_events(Arguments const&) {
  return ok(std::exchange(task_events_, false) ? "task events disabled"
                                               : "task events already disabled");
}

Control::Answer Control::heartbeat(Arguments const&) {
  state_.events.worker("worker-heartbeat", figures());
  return std::nullopt;
}

Control::Answer Control::shutdown(Arguments const&) {
  actions_.shut_down();
  return std::nullopt;
}

Control::Answer Control::nothing(Arguments const&) { return std::nullopt; }

}  // namespace subforge::jobs::celery
