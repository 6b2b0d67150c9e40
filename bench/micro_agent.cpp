// What an agent's way between its forms costs: the pieces of one GET and of one POST.
#include <benchmark/benchmark.h>

#include "describe/parse_json.hpp"
#include "domain/agents/agent.hpp"

namespace {

using namespace subforge;

domain::Agent sample() {
  domain::Agent agent;
  agent.id = Uuid::random();
  agent.name = "Data Processor";
  agent.agent_type = "data-scientist";
  domain::AgentConfiguration configuration;
  configuration.tools = {"read", "write", "analyze"};
  domain::set_configuration(agent, configuration);
  agent.tags = {"data", "analysis"};
  agent.created_at = agent.updated_at = agent.status_changed_at = Timestamp::now();
  agent.last_activity = agent.created_at;
  return agent;
}

void BM_to_json_v1(benchmark::State& state) {
  auto const agent = sample();
  for (auto _ : state) benchmark::DoNotOptimize(domain::to_json(agent, describe::Api::v1));
}
BENCHMARK(BM_to_json_v1);

void BM_to_json_v2(benchmark::State& state) {
  auto const agent = sample();
  for (auto _ : state) benchmark::DoNotOptimize(domain::to_json(agent, describe::Api::v2));
}
BENCHMARK(BM_to_json_v2);

void BM_configuration_of(benchmark::State& state) {
  auto const agent = sample();
  for (auto _ : state) benchmark::DoNotOptimize(domain::configuration_of(agent));
}
BENCHMARK(BM_configuration_of);

void BM_stored_json(benchmark::State& state) {
  auto const agent = sample();
  for (auto _ : state) benchmark::DoNotOptimize(domain::stored_json(agent));
}
BENCHMARK(BM_stored_json);

void BM_from_stored(benchmark::State& state) {
  auto const text = domain::stored_json(sample());
  for (auto _ : state) {
    auto const value = describe::parse_json(text);
    benchmark::DoNotOptimize(domain::from_stored(value.get_object()));
  }
}
BENCHMARK(BM_from_stored);

void BM_copy_agent(benchmark::State& state) {
  auto const agent = sample();
  for (auto _ : state) {
    auto copy = agent;
    benchmark::DoNotOptimize(copy);
  }
}
BENCHMARK(BM_copy_agent);

void BM_timestamp(benchmark::State& state) {
  auto const now = Timestamp::now();
  std::string out;
  for (auto _ : state) {
    out.clear();
    now.append_to(out);
    benchmark::DoNotOptimize(out);
  }
}
BENCHMARK(BM_timestamp);

}  // namespace

BENCHMARK_MAIN();
