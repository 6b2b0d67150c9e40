#include <algorithm>

#include <fmt/format.h>

#include "base/json_writer.hpp"
#include "builtin/arguments.hpp"
#include "builtin/tasks.hpp"
#include "describe/codec.hpp"
#include "describe/json_text.hpp"

namespace subforge::builtin {
namespace {

using domain::UsageRange;
using domain::UsageReport;
using jobs::Outcome;

std::string peak_hour(UsageReport const& report) {
  auto const most = std::ranges::max_element(report.by_hour);
  return fmt::format("{:02}:00", most - report.by_hour.begin());
}

std::string result_of(UsageReport const& report, std::vector<std::string> const& advice) {
  std::string text;
  JsonWriter json(text);
  json.begin_object();
  json.member("total_requests", report.all.requests);
  json.member("average_response_time", report.all.mean_ms().value_or(0));
  json.member("error_rate", report.all.error_rate());
  json.member("peak_usage_hour", peak_hour(report));
  json.key("recommendations");
  describe::Codec<std::vector<std::string>>::write(json, advice);
  json.end_object();
  return text;
}

}  // namespace

Task<Outcome> analyze_metrics(Parts const& parts, jobs::JobContext& context) {
  auto const wanted = Arguments(context).text(0, "time_range", "24h");
  if (!wanted) co_return jobs::failed_for_good(wanted.error().message);
  auto const range = describe::from_text<UsageRange>(*wanted);
  if (!range) {
    co_return jobs::failed_for_good("The argument time_range must be 1h, 24h, 7d or 30d");
  }
  context.progress(10, "counting requests up to now");
  if (auto const folded = co_await parts.usage.fold(Timestamp::now()); !folded) {
    co_return jobs::failed(folded.error().message);
  }
  context.progress(30, "reading counts and samples");
  auto const report = co_await parts.usage.report(*range, Timestamp::now());
  if (!report) co_return jobs::failed(report.error().message);
  context.progress(70, "applying rules");
  std::vector<std::string> advice;
  for (auto const& rule : domain::usage_rules()) {
    auto sentence = rule.advise(*report);
    context.log(LogLevel::debug, fmt::format("{}: {}", rule.name, sentence ? "applies" : "no"));
    if (sentence) advice.push_back(std::move(*sentence));
  }
  context.progress(90, "writing the report");
  auto outcome = jobs::succeeded(result_of(*report, advice));
  outcome.metadata = "{\"analysis_time_range\":" + json_string(*wanted) + "}";
  co_return outcome;
}

}  // namespace subforge::builtin
