// The store of results: what became of each task, where Celery's clients look for it and wait to
// be told. Also the book of chords, which Celery keeps there.
//
// Lives on one loop and is used from there.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/log.hpp"
#include "base/result.hpp"
#include "jobs/celery/result_meta.hpp"
#include "redis/client.hpp"
#include "redis/subscriber.hpp"
#include "runtime/task.hpp"

namespace subforge::jobs::celery {

// One of a chord's parts that has ended.
struct ChordPart {
  std::string group;
  std::int64_t place = 0;
  std::string task_id;
  std::string_view status;
  std::string result;  // JSON.
};

// The parts of a chord that is complete, in their order.
struct ChordEntry {
  std::string task_id;
  std::string status;
  std::string result;  // JSON.
};

struct ResultOptions {
  redis::RedisOptions redis = {};
  std::int64_t kept_seconds = 86'400;  // 0: for ever.
  // What Celery 5.3 and later call global_keyprefix: before every key, with _ if it ends in no
  // mark.
  std::string key_prefix = {};
  bool offset = false;  // Whether dates have one, as Celery 5.5 and later write them.
};

class Results {
 public:
  Results(EventLoop& loop, BlockingPool& resolver, ResultOptions const& options, Logger logger);

  // `log` names the database whose processes these results are stored by.
  void start(std::string log);
  void stop();
  [[nodiscard]] bool up() const { return client_.up(); }
  [[nodiscard]] redis::RedisHealth health() const { return client_.health(); }  // Any thread.

  // Hears every result that anybody stores. The text is that of a meta.
  void on_result(std::function<void(std::string_view task_id, std::string_view text)> call) {
    on_result_ = std::move(call);
  }
  // From here on every result is heard, until the connection is lost.
  void on_listening(std::function<void()> call) { on_listening_ = std::move(call); }

  // Stores all of them and tells those who wait. One of SUCCESS is never overwritten, and no end by
  // a state in between. Where a key is somebody else's that result is left out, and logged. That of
  // a later run is stored under the id of the first one, too, which its sender waits for.
  Task<Result<void>> store(std::span<ResultMeta const> metas);
  // The same for states in between, that nobody has to hear of.
  void tell(std::span<ResultMeta const> metas);
  // What is stored now; nothing where nothing is.
  Task<Result<std::vector<std::optional<ResultMeta>>>> get(std::span<std::string const> task_ids);
  Task<Result<void>> remove(std::string_view task_id);

  // So many parts will come.
  Task<Result<void>> begin_chord(std::string_view group, std::size_t parts);
  // All parts, if this was the last one that was missing.
  Task<Result<std::optional<std::vector<ChordEntry>>>> end_chord_part(ChordPart const& part);
  // What the chord led to was sent.
  Task<Result<void>> forget_chord(std::string_view group);

 private:
  [[nodiscard]] redis::Batch storing(std::span<ResultMeta const> metas) const;
  [[nodiscard]] std::string key_of(std::string_view task_id) const;
  void load_scripts();

  Logger logger_;
  std::string const kept_seconds_;
  std::string const key_prefix_;
  bool const offset_;
  std::string log_;
  std::function<void(std::string_view, std::string_view)> on_result_;
  std::function<void()> on_listening_;
  redis::Client client_;
  redis::Subscriber subscriber_;
};

}  // namespace subforge::jobs::celery
