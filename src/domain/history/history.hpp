// What is known of finished and running work. Others write it inside their own transactions, so
// that a run's record can never disagree with the run; here it is read, summed up and cleaned out.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "domain/actor.hpp"
#include "domain/history/agent_performance.hpp"
#include "domain/history/history_records.hpp"
#include "domain/history/run_sums.hpp"
#include "store/keyset.hpp"
#include "store/listing.hpp"
#include "store/store.hpp"

namespace subforge::domain {

// Each records a new row or replaces the one of the same id, inside `transaction`: ids, times and
// counts that follow from the rest are filled in as `complete` says, and a first record keeps its
// created_at. They return what was stored. A run must be recorded before its phases and handoffs
// (else: invalid). No event is published: the change that is being recorded has its own.
Task<Result<WorkflowHistory>> record_run_in(store::Transaction& transaction, WorkflowHistory run);
Task<Result<PhaseHistory>> record_phase_in(store::Transaction& transaction, PhaseHistory phase);
Task<Result<HandoffHistory>> record_handoff_in(store::Transaction& transaction,
                                               HandoffHistory handoff);

struct RunFilter {
  std::optional<std::string> project_id;
  std::optional<std::string> status;
  TimeRange started;
  std::optional<store::Position> after = {};  // Begin behind this place, newest start first.
  std::int64_t limit = 50;
  std::int64_t offset = 0;
};

using RunPage = store::Page<WorkflowHistory>;

struct RunDetail {
  WorkflowHistory run;
  std::vector<PhaseHistory> phases;      // In the order of the phases.
  std::vector<HandoffHistory> handoffs;  // In the order of their beginning.
};

struct PartFilter {
  std::optional<std::string> workflow_history_id;
  std::optional<std::string> agent_id;
  std::optional<std::string> status;
  std::optional<store::Position> after = {};
  std::int64_t limit = 100;
};

struct PerformanceFilter {
  std::optional<std::string> agent_id;
  std::optional<std::string> period_type;
  TimeRange period;  // Periods that lie within.
  std::optional<store::Position> after = {};
  std::int64_t limit = 100;
};

struct PerformanceRequest {
  std::string agent_id;
  Timestamp start;
  Timestamp end;
  std::string period_type;
};

struct HistoryCleanup {
  std::int64_t runs = 0;
  std::int64_t performances = 0;
};

class History {
 public:
  static constexpr std::int64_t kCountMax = 10'000;  // Totals are counted no further.
  // Of one run in its detail; a run of more shows the first.
  static constexpr std::int64_t kPartsMax = 10'000;
  // Rows a clean-up removes in one transaction, so that other writers wait only shortly.
  static constexpr std::int64_t kCleanupBatch = 200;

  explicit History(store::Store& store) : store_(store) {}

  Task<Result<RunPage>> runs(RunFilter filter);                           // Newest start first.
  Task<Result<RunDetail>> run(Uuid id);                                   // Error: not_found.
  Task<Result<store::Page<PhaseHistory>>> phases(PartFilter filter);      // Newest start first.
  Task<Result<store::Page<HandoffHistory>>> handoffs(PartFilter filter);  // Newest start first.
  Task<Result<store::Page<AgentPerformance>>> performances(PerformanceFilter filter);
  Task<Result<RunSummary>> summary(TimeRange started);
  // Computes a new row from the history and stores it, for an unknown agent too.
  Task<Result<AgentPerformance>> calculate(PerformanceRequest request, Actor actor);
  // Removes runs that started, and performances whose period started, before `cutoff`.
  Task<Result<HistoryCleanup>> clean_up(Timestamp cutoff, Actor actor);

 private:
  store::Store& store_;
};

}  // namespace subforge::domain
