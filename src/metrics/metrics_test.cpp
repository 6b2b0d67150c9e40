// The text of /metrics, read back as a scraper would.
#include "metrics/metrics.hpp"

#include <map>
#include <set>
#include <sstream>

#include <gtest/gtest.h>

#include "base/text.hpp"

namespace subforge::metrics {
namespace {

bool is_metric_name(std::string_view name) {
  return !name.empty() && std::ranges::all_of(name, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_';
  });
}

// Each sample under its name with labels; fails where a line is not of the format, a sample comes
// before its TYPE, or one comes twice.
std::map<std::string, double> parse(std::string const& text) {
  std::map<std::string, double> samples;
  std::set<std::string> typed;
  EXPECT_TRUE(text.ends_with('\n'));
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("# HELP ")) continue;
    if (line.starts_with("# TYPE ")) {
      auto const rest = line.substr(7);
      auto const blank = rest.find(' ');
      auto const type = rest.substr(blank + 1);
      EXPECT_TRUE(type == "counter" || type == "gauge" || type == "histogram") << line;
      EXPECT_TRUE(typed.insert(rest.substr(0, blank)).second) << "typed twice: " << line;
      continue;
    }
    auto const blank = line.rfind(' ');
    auto const name = line.substr(0, blank);
    auto const value = parse_number<double>(line.substr(blank + 1));
    EXPECT_TRUE(value) << line;
    auto family = name.substr(0, name.find('{'));
    EXPECT_TRUE(is_metric_name(family)) << line;
    for (std::string_view const part : {"_bucket", "_sum", "_count"}) {
      if (family.ends_with(part) && !typed.contains(family)) {
        family.resize(family.size() - part.size());
      }
    }
    EXPECT_TRUE(typed.contains(family)) << line;
    EXPECT_TRUE(samples.emplace(name, value.value_or(0)).second) << "twice: " << line;
  }
  return samples;
}

TEST(Metrics, CountByRouteAndClassOfStatusOverAllLoops) {
  Metrics metrics({"agents.list", "agents.get"}, 2);
  metrics.of(0, 0).record(200, 10, 100);
  metrics.of(1, 0).record(204, 10, 50);
  metrics.of(1, 0).record(404, 10, 5);
  metrics.of(0, metrics.unrouted()).record(500, 10, 1);
  auto const samples = parse(metrics.text());
  auto const requests = [&](std::string_view route, std::string_view status) {
    auto const found = samples.find("subforge_http_requests_total{route=\"" + std::string(route) +
                                    "\",status=\"" + std::string(status) + "\"}");
    return found == samples.end() ? -1 : found->second;
  };
  EXPECT_EQ(requests("agents.list", "2xx"), 2);
  EXPECT_EQ(requests("agents.list", "4xx"), 1);
  EXPECT_EQ(requests("agents.list", "5xx"), -1) << "what never happened is left out";
  EXPECT_EQ(requests("agents.get", "2xx"), -1);
  EXPECT_EQ(requests("unrouted", "5xx"), 1);
  EXPECT_EQ(samples.at("subforge_http_response_bytes_total"), 156);
}

TEST(Metrics, BucketsAreCumulative) {
  Metrics metrics({"r"}, 1);
  auto& counts = metrics.of(0, 0);
  counts.record(200, 0, 0);
  for (auto const bound_us : kDurationBucketsUs) counts.record(200, bound_us, 0);
  counts.record(200, kDurationBucketsUs.back() + 1, 0);
  auto const samples = parse(metrics.text());
  std::string const name = "subforge_http_request_duration_seconds";
  auto const bucket = [&](std::string const& bound) {
    auto const found = samples.find(name + "_bucket{route=\"r\",le=\"" + bound + "\"}");
    return found == samples.end() ? -1 : found->second;
  };
  EXPECT_EQ(bucket("5e-05"), 2) << "a bound belongs to its bucket";
  EXPECT_EQ(bucket("0.0001"), 3);
  EXPECT_EQ(bucket("0.001"), 6);
  EXPECT_EQ(bucket("1"), 14);
  EXPECT_EQ(bucket("5"), 15);
  EXPECT_EQ(bucket("+Inf"), 16);
  EXPECT_EQ(samples.at(name + "_count{route=\"r\"}"), 16);
  double sum_us = 5'000'001;
  for (auto const bound_us : kDurationBucketsUs) sum_us += static_cast<double>(bound_us);
  EXPECT_DOUBLE_EQ(samples.at(name + "_sum{route=\"r\"}"), sum_us / 1e6);
}

TEST(Metrics, OddValuesDoNoHarm) {
  Metrics metrics({"r"}, 1);
  metrics.of(0, 0).record(999, -5, 0);
  metrics.of(0, 0).record(-1, 5, 0);
  auto const samples = parse(metrics.text());
  EXPECT_EQ(samples.at("subforge_http_requests_total{route=\"r\",status=\"5xx\"}"), 1);
  EXPECT_DOUBLE_EQ(samples.at("subforge_http_request_duration_seconds_sum{route=\"r\"}"), 5e-6);
}

TEST(Metrics, GaugesAreReadWhenAsked) {
  Metrics metrics({}, 1);
  double value = 0.5;
  metrics.add({"subforge_sample", "gauge", "A sample.", [&] { return value; }});
  EXPECT_EQ(parse(metrics.text()).at("subforge_sample"), 0.5);
  value = 12'345'678'901;
  EXPECT_NE(metrics.text().find("\nsubforge_sample 12345678901\n"), std::string::npos)
      << "whole numbers are written as such";
}

TEST(Metrics, TheProcessTellsOfItself) {
  Metrics metrics({}, 1);
  add_process_gauges(metrics);
  auto const samples = parse(metrics.text());
  EXPECT_GT(samples.at("process_cpu_seconds_total"), 0);
  EXPECT_GT(samples.at("process_resident_memory_bytes"), 1 << 20);
  EXPECT_GE(samples.at("process_open_fds"), 3);
  EXPECT_GT(samples.at("process_start_time_seconds"), 1.7e9);
}

}  // namespace
}  // namespace subforge::metrics
