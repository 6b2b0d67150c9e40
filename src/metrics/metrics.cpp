#include "metrics/metrics.hpp"

#include <dirent.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <iterator>

#include <fmt/format.h>

#include "base/time.hpp"

namespace subforge::metrics {
namespace {

// Sums one counter of one route over all loops.
template <class Pick>
std::uint64_t sum(std::vector<std::vector<RouteCounts>> const& loops, std::size_t route,
                  Pick pick) {
  std::uint64_t total = 0;
  for (auto const& loop : loops) total += pick(loop[route]).value();
  return total;
}

std::string number(double value) {
  return value == static_cast<double>(static_cast<std::int64_t>(value))
             ? fmt::format("{}", static_cast<std::int64_t>(value))
             : fmt::format("{}", value);
}

std::int64_t open_descriptors() {
  DIR* const directory = ::opendir("/proc/self/fd");
  if (directory == nullptr) return 0;
  std::int64_t count = 0;
  while (::readdir(directory) != nullptr) ++count;
  ::closedir(directory);
  return std::max<std::int64_t>(count - 3, 0);  // ".", ".." and the directory itself.
}

}  // namespace

void RouteCounts::record(int status, std::int64_t duration_us_taken, std::size_t bytes_sent) {
  auto const status_class = static_cast<std::size_t>(std::clamp(status / 100, 0, 5));
  by_class[status_class].add(1);
  auto const bucket = std::ranges::lower_bound(kDurationBucketsUs, duration_us_taken);
  by_duration[static_cast<std::size_t>(bucket - kDurationBucketsUs.begin())].add(1);
  duration_us.add(static_cast<std::uint64_t>(std::max<std::int64_t>(duration_us_taken, 0)));
  bytes.add(bytes_sent);
  latency.record(duration_us_taken);
}

Metrics::Metrics(std::vector<std::string> route_names, std::size_t loops)
    : route_names_(std::move(route_names)) {
  route_names_.emplace_back("unrouted");
  for (std::size_t i = 0; i < loops; ++i) {
    loops_.push_back(std::vector<RouteCounts>(route_names_.size()));
    users_.push_back(std::make_unique<UserCounts>());
  }
}

std::map<std::string, UsageTotals> Metrics::route_totals() const {
  std::map<std::string, UsageTotals> totals;
  for (std::size_t r = 0; r < route_names_.size(); ++r) {
    auto& total = totals[route_names_[r]];
    for (auto const& loop : loops_) {
      auto const& row = loop[r];
      for (auto const& by_class : row.by_class) total.requests += by_class.value();
      total.client_errors += row.by_class[4].value();
      total.server_errors += row.by_class[5].value();
      total.duration_us += row.duration_us.value();
      for (std::size_t i = 0; i < total.latency.size(); ++i) total.latency[i] += row.latency.at(i);
    }
  }
  return totals;
}

std::map<std::string, UsageTotals> Metrics::user_totals() const {
  std::map<std::string, UsageTotals> totals;
  for (auto const& loop : users_) loop->add_to(totals);
  return totals;
}

std::string Metrics::text() const {
  std::string text;
  text +=
      "# HELP subforge_http_requests_total Requests answered, by route and class of status.\n"
      "# TYPE subforge_http_requests_total counter\n";
  for (std::size_t r = 0; r < route_names_.size(); ++r) {
    for (std::size_t c = 1; c < 6; ++c) {
      auto const count = sum(loops_, r, [c](auto const& row) -> auto& { return row.by_class[c]; });
      if (count == 0) continue;
      text += fmt::format("subforge_http_requests_total{{route=\"{}\",status=\"{}xx\"}} {}\n",
                          route_names_[r], c, count);
    }
  }
  text +=
      "# HELP subforge_http_request_duration_seconds From the whole request to its answer.\n"
      "# TYPE subforge_http_request_duration_seconds histogram\n";
  for (std::size_t r = 0; r < route_names_.size(); ++r) {
    std::uint64_t running = 0;
    std::string rows;
    for (std::size_t b = 0; b <= kDurationBucketsUs.size(); ++b) {
      running += sum(loops_, r, [b](auto const& row) -> auto& { return row.by_duration[b]; });
      auto const bound = b < kDurationBucketsUs.size()
                             ? fmt::format("{}", static_cast<double>(kDurationBucketsUs[b]) / 1e6)
                             : std::string("+Inf");
      rows += fmt::format(
          "subforge_http_request_duration_seconds_bucket{{route=\"{}\",le=\"{}\"}} {}\n",
          route_names_[r], bound, running);
    }
    if (running == 0) continue;
    text += rows;
    auto const total_us = sum(loops_, r, [](auto const& row) -> auto& { return row.duration_us; });
    text += fmt::format("subforge_http_request_duration_seconds_sum{{route=\"{}\"}} {}\n",
                        route_names_[r], static_cast<double>(total_us) / 1e6);
    text += fmt::format("subforge_http_request_duration_seconds_count{{route=\"{}\"}} {}\n",
                        route_names_[r], running);
  }
  std::uint64_t bytes = 0;
  for (std::size_t r = 0; r < route_names_.size(); ++r) {
    bytes += sum(loops_, r, [](auto const& row) -> auto& { return row.bytes; });
  }
  text += fmt::format(
      "# HELP subforge_http_response_bytes_total Bytes of answers' bodies.\n"
      "# TYPE subforge_http_response_bytes_total counter\n"
      "subforge_http_response_bytes_total {}\n",
      bytes);
  for (auto const& gauge : gauges_) {
    text += fmt::format("# HELP {0} {1}\n# TYPE {0} {2}\n{0} {3}\n", gauge.name, gauge.help,
                        gauge.type, number(gauge.read()));
  }
  return text;
}

std::int64_t resident_bytes() {
  std::FILE* const file = std::fopen("/proc/self/statm", "re");
  if (file == nullptr) return 0;
  long long total = 0;
  long long resident = 0;
  int const read = std::fscanf(file, "%lld %lld", &total, &resident);
  std::fclose(file);
  return read == 2 ? resident * ::sysconf(_SC_PAGESIZE) : 0;
}

void add_process_gauges(Metrics& metrics) {
  metrics.add(
      {"process_cpu_seconds_total", "counter", "CPU time of the process, user and system.", [] {
         rusage usage{};
         ::getrusage(RUSAGE_SELF, &usage);
         auto const seconds = [](timeval const& t) {
           return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) / 1e6;
         };
         return seconds(usage.ru_utime) + seconds(usage.ru_stime);
       }});
  metrics.add({"process_resident_memory_bytes", "gauge", "Resident memory.",
               [] { return static_cast<double>(resident_bytes()); }});
  metrics.add({"process_open_fds", "gauge", "Open file descriptors.",
               [] { return static_cast<double>(open_descriptors()); }});
  metrics.add({"process_start_time_seconds", "gauge", "When the process started, since 1970.",
               [start = static_cast<double>(Timestamp::now().micros) / 1e6] { return start; }});
}

}  // namespace subforge::metrics
