#include <algorithm>

#include "jobs/job_rows.hpp"
#include "jobs/worker.hpp"

namespace subforge::jobs {

void JobContext::progress(double percent, std::string note) {
  constexpr std::size_t kNoteBytesMax = 500;
  if (whole_ != nullptr) return;  // How far the whole is it says itself.
  std::lock_guard const lock(mutex_);
  percent_ = percent >= 0 ? std::min(percent, 100.0) : 0;  // Also what is no number at all.
  note_ = clean_text(note, kNoteBytesMax);
  told_ = false;
}

void JobContext::log(LogLevel level, std::string text) {
  if (whole_ != nullptr) return whole_->log(level, std::move(text));
  std::lock_guard const lock(mutex_);
  if (++lines_seen_ > kLinesMax + 1) return;
  bool const last = lines_seen_ == kLinesMax + 1;
  lines_.push_back({claimed_.job.id, Timestamp::now(), last ? LogLevel::warning : level,
                    last ? "Further lines are left out" : clean_text(text, kLineBytesMax)});
}

void JobContext::on_stop(std::move_only_function<void(StopReason)> call) {
  if (auto const reason = stop_reason(); reason != StopReason::none) return call(reason);
  on_stop_.push_back(std::move(call));
}

void JobContext::on_hard_stop(std::move_only_function<void()> call) {
  if (hard_stopped_) return call();
  on_hard_stop_.push_back(std::move(call));
}

// The first reason counts for who asks; one that takes the job away outdoes those that do not.
void JobContext::stop(StopReason reason) {
  auto const before = stop_.load(std::memory_order_relaxed);
  bool const weaker = before == StopReason::none || before == StopReason::soft_limit ||
                      before == StopReason::shutdown;
  if (!weaker) return;
  stop_.store(reason, std::memory_order_release);
  for (auto& call : std::exchange(on_stop_, {})) call(reason);
  if (part_) part_->stop(reason);
}

void JobContext::hard_stop() {
  if (std::exchange(hard_stopped_, true)) return;
  for (auto& call : std::exchange(on_hard_stop_, {})) call();
  if (part_) part_->hard_stop();
}

JobContext& JobContext::begin_part(std::string name, std::string args) {
  auto claimed = claimed_;
  claimed.job.name = std::move(name);
  claimed.job.args.text = std::move(args);
  claimed.job.kwargs.text = "{}";
  part_ = std::make_unique<JobContext>(std::move(claimed), store_, pool_);
  part_->whole_ = this;
  part_->soft_limit_seconds_ = soft_limit_seconds_;
  return *part_;
}

// What was not told yet: its lines, and how far it is, unless that is known.
std::optional<ProgressReport> JobContext::take_news(std::vector<LogLine>& lines) {
  std::lock_guard const lock(mutex_);
  std::ranges::move(lines_, std::back_inserter(lines));
  lines_.clear();
  if (std::exchange(told_, true)) return std::nullopt;
  return ProgressReport{claimed_.lease, percent_, note_};
}

}  // namespace subforge::jobs
