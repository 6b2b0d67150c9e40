// Searches by the index of texts find what reading every row finds, whatever was written before,
// and lists of tasks read no more than their page.
#include <array>
#include <map>
#include <random>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "base/test_size_test.hpp"
#include "domain/agents/agents.hpp"
#include "domain/tasks/tasks.hpp"
#include "store/temporary_folder_test.hpp"
#include "store/test_store_test.hpp"

namespace subforge::domain {
namespace {

using Ids = std::vector<Uuid>;

class SearchTest : public testing::TestWithParam<unsigned> {
 protected:
  template <class T>
  T good(Task<Result<T>> task) {
    auto outcome = store_.run(std::move(task));
    if (!outcome) throw std::runtime_error(outcome.error().message + outcome.error().context);
    if constexpr (!std::is_void_v<T>) return std::move(*outcome);
  }
  std::size_t below(std::size_t count) {
    return std::uniform_int_distribution<std::size_t>(0, count - 1)(random_);
  }
  // Of few letters, so that parts are found; all lengths in UTF-8, pairs of cases, and what means
  // something to LIKE, to the index, or to SQL.
  std::string text(std::size_t least, std::size_t most) {
    static constexpr std::array<std::string_view, 18> kLetters{"a",  "A", "b", "B",  "é",  "É",
                                                               "ß",  "Σ", "ς", "İ",  "K",  "中",
                                                               "😀", "%", "_", "\\", "\"", "'"};
    std::string made;
    for (auto length = least + below(most - least + 1); length > 0; --length) {
      made += kLetters[below(kLetters.size())];
    }
    return made;
  }
  std::string part_of(std::string const& whole) {
    std::vector<std::size_t> starts;
    for (std::size_t i = 0; i < whole.size(); ++i) {
      if ((static_cast<unsigned char>(whole[i]) & 0xc0U) != 0x80U) starts.push_back(i);
    }
    if (starts.empty()) return whole;
    auto const from = starts[below(starts.size())];
    return whole.substr(from);
  }

  // What reading every row finds, newest first.
  Ids scan(std::string table, std::string columns, std::string search) {
    std::string pattern = "%";
    for (char const c : search) {
      if (c == '%' || c == '_' || c == '\\') pattern += '\\';
      pattern += c;
    }
    pattern += '%';
    auto const sql = "SELECT id FROM " + table + " WHERE lower(" + columns +
                     ") LIKE lower($1) ESCAPE '\\' ORDER BY seq DESC";
    auto read = [&](store::Session& session) -> Task<Result<Ids>> {
      Ids found;
      auto const done = co_await session.query(
          sql, {pattern}, [&](store::Row const& row) { found.push_back(row.uuid(0)); });
      if (!done) co_return std::unexpected(done.error());
      co_return found;
    };
    return good(store_.store().read(store::ReadCost::scan, read));
  }
  void check_tasks(std::string const& search) {
    TaskFilter filter;
    filter.search = search;
    filter.limit = 7;
    // A character that no text has stands between the columns.
    auto const expected = scan("tasks", "title || char(1) || coalesce(description, '')", search);
    Ids found;
    for (;;) {
      auto const page = good(tasks_.list(filter));
      EXPECT_EQ(page.total, std::ssize(expected)) << search;
      for (auto const& task : page.rows) found.push_back(task.id);
      if (!page.next) break;
      filter.after = page.next;
    }
    EXPECT_EQ(found, expected) << search;
    filter.after.reset();
    filter.status = TaskStatus::pending;
    EXPECT_EQ(good(tasks_.list(filter)).total, std::ssize(expected)) << search;
  }
  void check_agents(std::string const& search) {
    AgentFilter filter;
    filter.search = search;
    filter.descending = true;
    filter.limit = 1000;
    Ids found;
    for (auto const& agent : good(agents_.list(filter)).rows) found.push_back(agent.id);
    EXPECT_EQ(found, scan("agents", "name", search)) << search;
  }
  void change_task() {
    if (ids_.empty() || below(3) == 0) {
      TaskRecord draft;
      draft.title = text(1, 12);
      if (below(2) == 0) draft.description = text(0, 20);
      ids_.push_back(good(tasks_.create(std::move(draft), actor_)).id);
      return;
    }
    auto const at = below(ids_.size());
    if (below(4) == 0) {
      good(tasks_.remove(ids_[at], actor_));
      ids_.erase(ids_.begin() + static_cast<std::ptrdiff_t>(at));
      return;
    }
    boost::json::object body;
    if (below(2) == 0) body["title"] = text(1, 12);
    if (below(2) == 0) body["description"] = text(0, 20);
    if (below(4) == 0) body["is_urgent"] = true;
    good(tasks_.update(ids_[at], std::move(body), describe::Api::v1, actor_));
  }
  void change_agent() {
    if (agent_ids_.empty() || below(2) == 0) {
      Agent draft;
      draft.name = text(1, 12);
      draft.agent_type = "backend";
      agent_ids_.push_back(good(agents_.create(std::move(draft), NameRule::any, actor_)).id);
      return;
    }
    auto const at = below(agent_ids_.size());
    if (below(3) == 0) {
      good(agents_.remove(agent_ids_[at], actor_));
      agent_ids_.erase(agent_ids_.begin() + static_cast<std::ptrdiff_t>(at));
      return;
    }
    good(agents_.update(agent_ids_[at], boost::json::object{{"name", text(1, 12)}},
                        describe::Api::v2, actor_));
  }

  std::mt19937 random_{GetParam()};
  store::TemporaryFolder folder_;
  store::TestStore store_{folder_.path()};
  Agents agents_{store_.store()};
  Tasks tasks_{store_.store()};
  Actor actor_{"ann"};
  Ids ids_;
  Ids agent_ids_;
};

TEST_P(SearchTest, TheIndexFindsWhatReadingEveryRowFinds) {
  int const rounds = tests_are_full() ? 25 : 5;
  for (int round = 0; round < rounds; ++round) {
    for (int i = 0; i < 12; ++i) change_task(), change_agent();
    for (int i = 0; i < 6; ++i) {
      auto const any = text(1, 5);
      check_tasks(any), check_agents(any);
    }
    if (!ids_.empty()) check_tasks(part_of(good(tasks_.get(ids_[below(ids_.size())])).title));
    if (!agent_ids_.empty()) {
      check_agents(part_of(good(agents_.get(agent_ids_[below(agent_ids_.size())])).name));
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, SearchTest, testing::Values(1U, 2U, 3U));

}  // namespace
}  // namespace subforge::domain
