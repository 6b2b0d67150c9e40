#include "jobs/job_metrics.hpp"

#include <algorithm>
#include <iterator>
#include <utility>
#include <vector>

#include <fmt/format.h>

namespace subforge::jobs {
namespace {

using NamedLoad = std::pair<std::string, QueueLoad>;

std::vector<NamedLoad> queues_shown(JobFigures const& figures) {
  std::vector<NamedLoad> queues(figures.queues.begin(), figures.queues.end());
  auto const most_first = [](NamedLoad const& a, NamedLoad const& b) {
    auto const open = [](NamedLoad const& one) { return one.second.waiting + one.second.running; };
    return open(a) != open(b) ? open(a) > open(b) : a.first < b.first;
  };
  // Anybody may think of names of queues.
  std::ranges::sort(queues, most_first);
  queues.resize(std::min(queues.size(), kQueuesShownMax));
  std::ranges::sort(queues, {}, &NamedLoad::first);
  return queues;
}

std::string label(std::string_view text) {
  std::string escaped;
  for (char const c : text) {
    if (c == '"' || c == '\\') escaped.push_back('\\');
    escaped.push_back(c);  // No name of a queue has the end of a line in it.
  }
  return escaped;
}

void begin(std::string& text, std::string_view name, std::string_view type, std::string_view help) {
  text += fmt::format("# HELP {0} {2}\n# TYPE {0} {1}\n", name, type, help);
}

double seconds(std::int64_t us) { return static_cast<double>(us) / 1e6; }

}  // namespace

std::string metrics_text(JobFigures const& figures) {
  std::string text;
  auto const queues = queues_shown(figures);
  begin(text, "subforge_background_queue_tasks", "gauge",
        "Background tasks that wait (for a worker or their time) or run, by queue.");
  for (auto const& [name, queue] : queues) {
    for (auto const& [state, n] :
         {std::pair("waiting", queue.waiting), std::pair("running", queue.running)}) {
      text += fmt::format("subforge_background_queue_tasks{{queue=\"{}\",state=\"{}\"}} {}\n",
                          label(name), state, n);
    }
  }
  begin(text, "subforge_background_queue_due_seconds", "gauge",
        "How long the background task that is next in its queue has been due.");
  for (auto const& [name, queue] : queues) {
    text += fmt::format("subforge_background_queue_due_seconds{{queue=\"{}\"}} {}\n", label(name),
                        seconds(queue.due_us));
  }
  begin(text, "subforge_background_workers", "gauge", "Workers of background tasks, everywhere.");
  text += fmt::format("subforge_background_workers {}\n", figures.workers);
  begin(text, "subforge_background_tasks_ended_total", "counter",
        "Background tasks that have ended, everywhere, by how.");
  for (auto const& [status, name] : names_of(JobStatus{})) {
    if (!is_final(status)) continue;
    text += fmt::format("subforge_background_tasks_ended_total{{status=\"{}\"}} {}\n", name,
                        figures.ended[static_cast<std::size_t>(status)]);
  }
  begin(text, "subforge_background_task_duration_seconds", "summary",
        "From the start of background tasks to their end.");
  text += fmt::format(
      "subforge_background_task_duration_seconds_sum {}\n"
      "subforge_background_task_duration_seconds_count {}\n",
      seconds(figures.duration_us), figures.timed);
  return text;
}

}  // namespace subforge::jobs
