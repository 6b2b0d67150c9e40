// Sums over agents and workflows, kept with each change.
// One text for each migration; their order is in migrations.cpp.
#pragma once

#include <string_view>

namespace subforge::store::sql {

// Sums over agents and workflows in millionths, and how many there are of each type; kept with
// their changes.
inline constexpr std::string_view kSums = R"sql(
INSERT INTO record_counts (name, n)
  SELECT 'agents.success_rate', coalesce(sum(CAST(
    (CASE WHEN success_rate > 1e8 THEN 1e8 ELSE success_rate END) * 1e6 + 0.5
  AS INTEGER)), 0) FROM agents;
INSERT INTO record_counts (name, n)
  SELECT 'agents.response_time', coalesce(sum(CAST(
    (CASE WHEN avg_response_time > 1e8 THEN 1e8 ELSE avg_response_time END) * 1e6 + 0.5
  AS INTEGER)), 0) FROM agents;
INSERT INTO record_counts (name, n)
  SELECT 'agents.uptime', coalesce(sum(CAST(
    (CASE WHEN uptime_percentage > 1e8 THEN 1e8 ELSE uptime_percentage END) * 1e6 + 0.5
  AS INTEGER)), 0) FROM agents;
INSERT INTO record_counts (name, n)
  SELECT 'agents.tasks_completed', coalesce(sum(CAST(
    (CASE WHEN tasks_completed > 1e8 THEN 1e8 ELSE tasks_completed END) * 1e6 + 0.5
  AS INTEGER)), 0) FROM agents;
INSERT INTO record_counts (name, n)
  SELECT 'agents.tasks_failed', coalesce(sum(CAST(
    (CASE WHEN tasks_failed > 1e8 THEN 1e8 ELSE tasks_failed END) * 1e6 + 0.5
  AS INTEGER)), 0) FROM agents;
INSERT INTO record_counts (name, n)
  SELECT 'workflows.completed_hours', coalesce(sum(CAST(
    (CASE WHEN actual_duration_hours > 1e8 THEN 1e8 ELSE actual_duration_hours END) * 1e6 + 0.5
  AS INTEGER)), 0) FROM workflows WHERE status = 'completed';
INSERT INTO record_counts (name, n)
  SELECT 'agent_types.' || agent_type, count(*) FROM agents GROUP BY agent_type;
INSERT INTO record_counts (name, n)
  SELECT 'workflow_types' || coalesce('.' || workflow_type, ''), count(*) FROM workflows
  GROUP BY workflow_type;
)sql";

inline constexpr std::string_view kSumsPostgres = R"sql(
INSERT INTO record_counts (name, n)
  SELECT 'agents.success_rate', coalesce(sum(CAST(floor(
    (CASE WHEN success_rate > 1e8 THEN 1e8 ELSE success_rate END) * 1e6 + 0.5
  ) AS BIGINT)), 0) FROM agents;
INSERT INTO record_counts (name, n)
  SELECT 'agents.response_time', coalesce(sum(CAST(floor(
    (CASE WHEN avg_response_time > 1e8 THEN 1e8 ELSE avg_response_time END) * 1e6 + 0.5
  ) AS BIGINT)), 0) FROM agents;
INSERT INTO record_counts (name, n)
  SELECT 'agents.uptime', coalesce(sum(CAST(floor(
    (CASE WHEN uptime_percentage > 1e8 THEN 1e8 ELSE uptime_percentage END) * 1e6 + 0.5
  ) AS BIGINT)), 0) FROM agents;
INSERT INTO record_counts (name, n)
  SELECT 'agents.tasks_completed', coalesce(sum(CAST(floor(
    (CASE WHEN tasks_completed > 1e8 THEN 1e8 ELSE tasks_completed END) * 1e6 + 0.5
  ) AS BIGINT)), 0) FROM agents;
INSERT INTO record_counts (name, n)
  SELECT 'agents.tasks_failed', coalesce(sum(CAST(floor(
    (CASE WHEN tasks_failed > 1e8 THEN 1e8 ELSE tasks_failed END) * 1e6 + 0.5
  ) AS BIGINT)), 0) FROM agents;
INSERT INTO record_counts (name, n)
  SELECT 'workflows.completed_hours', coalesce(sum(CAST(floor(
    (CASE WHEN actual_duration_hours > 1e8 THEN 1e8 ELSE actual_duration_hours END) * 1e6 + 0.5
  ) AS BIGINT)), 0) FROM workflows WHERE status = 'completed';
INSERT INTO record_counts (name, n)
  SELECT 'agent_types.' || agent_type, count(*) FROM agents GROUP BY agent_type;
INSERT INTO record_counts (name, n)
  SELECT 'workflow_types' || coalesce('.' || workflow_type, ''), count(*) FROM workflows
  GROUP BY workflow_type;
)sql";

// Sums that a figure far below zero had spoiled are made anew.
inline constexpr std::string_view kSumsAnew = R"sql(
DELETE FROM record_counts WHERE name IN (
  'agents.success_rate',
  'agents.response_time',
  'agents.uptime',
  'agents.tasks_completed',
  'agents.tasks_failed',
  'workflows.completed_hours');
INSERT INTO record_counts (name, n) SELECT 'agents.success_rate', coalesce(sum(CAST(round(
    CASE WHEN success_rate > 1e8 THEN 1e8 WHEN success_rate < -1e8 THEN -1e8
    ELSE success_rate END * 1e6) AS BIGINT)), 0) FROM agents;
INSERT INTO record_counts (name, n) SELECT 'agents.response_time', coalesce(sum(CAST(round(
    CASE WHEN avg_response_time > 1e8 THEN 1e8 WHEN avg_response_time < -1e8 THEN -1e8
    ELSE avg_response_time END * 1e6) AS BIGINT)), 0) FROM agents;
INSERT INTO record_counts (name, n) SELECT 'agents.uptime', coalesce(sum(CAST(round(
    CASE WHEN uptime_percentage > 1e8 THEN 1e8 WHEN uptime_percentage < -1e8 THEN -1e8
    ELSE uptime_percentage END * 1e6) AS BIGINT)), 0) FROM agents;
INSERT INTO record_counts (name, n) SELECT 'agents.tasks_completed', coalesce(sum(CAST(round(
    CASE WHEN tasks_completed > 1e8 THEN 1e8 WHEN tasks_completed < -1e8 THEN -1e8
    ELSE tasks_completed END * 1e6) AS BIGINT)), 0) FROM agents;
INSERT INTO record_counts (name, n) SELECT 'agents.tasks_failed', coalesce(sum(CAST(round(
    CASE WHEN tasks_failed > 1e8 THEN 1e8 WHEN tasks_failed < -1e8 THEN -1e8
    ELSE tasks_failed END * 1e6) AS BIGINT)), 0) FROM agents;
INSERT INTO record_counts (name, n) SELECT 'workflows.completed_hours', coalesce(sum(CAST(round(
    CASE WHEN actual_duration_hours > 1e8 THEN 1e8 WHEN actual_duration_hours < -1e8 THEN -1e8
    ELSE actual_duration_hours END * 1e6) AS BIGINT)), 0) FROM workflows WHERE status = 'completed';
)sql";

// Sums over agents in two counts, so that figures beyond 1e8 are in them as they are: whole hundred
// millions, and millionths of the rest.
inline constexpr std::string_view kAgentSumsInTwo = R"sql(
DELETE FROM record_counts WHERE name IN (
  'agents.success_rate',
  'agents.response_time',
  'agents.uptime',
  'agents.tasks_completed',
  'agents.tasks_failed');
CREATE TABLE agent_figures AS
  SELECT name, figure, CAST(round(CAST(figure / 1e8 AS NUMERIC)) AS BIGINT) AS large FROM (
    SELECT name, CASE WHEN figure > 1e15 THEN 1e15 WHEN figure < -1e15 THEN -1e15 ELSE figure END
      AS figure FROM (
        SELECT 'agents.success_rate' AS name, success_rate AS figure FROM agents
        UNION ALL SELECT 'agents.response_time', avg_response_time FROM agents
        UNION ALL SELECT 'agents.uptime', uptime_percentage FROM agents
        UNION ALL SELECT 'agents.tasks_completed', tasks_completed FROM agents
        UNION ALL SELECT 'agents.tasks_failed', tasks_failed FROM agents
      ) AS figures) AS bounded;
INSERT INTO record_counts (name, n)
  SELECT name, sum(CAST(round((figure - large * 1e8) * 1e6) AS BIGINT)) FROM agent_figures
  GROUP BY name;
INSERT INTO record_counts (name, n)
  SELECT name || '.large', sum(large) FROM agent_figures WHERE large <> 0 GROUP BY name;
DROP TABLE agent_figures;
)sql";

}  // namespace subforge::store::sql
