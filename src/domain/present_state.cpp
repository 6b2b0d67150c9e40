#include "domain/present_state.hpp"

#include "domain/agents/agent.hpp"
#include "domain/tasks/task.hpp"
#include "domain/workflows/workflow.hpp"
#include "store/listing.hpp"

namespace subforge::domain {
namespace {

template <describe::Record R>
Task<Result<void>> write_newest(JsonWriter& json, store::Session& session, char const* kind) {
  store::PageBounds bounds;
  bounds.limit = PresentState::kRecordsMax;
  auto const page =
      co_await store::select_page<R>(session, kind, store::Keyset{.descending = true}, {}, bounds);
  if (!page) co_return std::unexpected(page.error());
  json.key(kind);
  json.begin_object();
  json.key("items");
  json.begin_array();
  bool complete = !page->next.has_value();
  std::size_t bytes = 0;
  for (auto const& record : page->rows) {
    auto const text = to_json(record, describe::Api::v2);
    bytes += text.size();
    if (bytes > PresentState::kBytesMax) {
      complete = false;
      break;
    }
    json.raw(text);
  }
  json.end_array();
  json.member("complete", complete);
  json.member("list", std::string("/api/v2/").append(kind));
  json.end_object();
  co_return {};
}

}  // namespace

Task<Result<std::string>> PresentState::read(store::Session& session) {
  std::string text;
  JsonWriter json(text);
  json.begin_object();
  auto done = co_await write_newest<Agent>(json, session, "agents");
  if (done) done = co_await write_newest<TaskRecord>(json, session, "tasks");
  if (done) done = co_await write_newest<Workflow>(json, session, "workflows");
  if (!done) co_return std::unexpected(done.error());
  json.end_object();
  co_return text;
}

}  // namespace subforge::domain
