#include "api/handler_parts.hpp"
#include "api/identity.hpp"
#include "api/websocket_parts.hpp"
#include "api/websocket_v2.hpp"
#include "base/json_writer.hpp"
#include "base/text.hpp"
#include "realtime/history.hpp"

namespace subforge::api {
namespace {

using http::Request;
using http::Response;
using net::Method;
using realtime::HistoryQuestion;
using realtime::Hub;
using realtime::LoopHub;
using realtime::Protocol;

void write_filters(JsonWriter& json, HistoryQuestion const& question, Request const* query) {
  json.key("filters");
  json.begin_object();
  json.member_or_null("room", question.room);
  if (query != nullptr) json.member_or_null("event_types", query->text("event_types"));
  json.key("since");
  if (query != nullptr && query->text("since")) {
    json.string(*query->text("since"));
  } else {
    question.since ? json.timestamp(*question.since) : json.null();
  }
  json.member("limit", question.limit);
  json.end_object();
}

std::optional<Response> refuse(Hub& hub, HistoryQuestion const& question) {
  auto const fault = realtime::fault_of(hub, question);
  if (!fault) return std::nullopt;
  return Response::problem(400, *fault);
}

Task<Response> event_history(Hub& hub, Request const& request) {
  HistoryQuestion question;
  question.room = request.text("room");
  question.limit = request.integer("limit");
  if (auto const types = request.text("event_types")) {
    for (auto const type : split_list(*types, ',')) question.event_types.emplace_back(type);
  }
  question.after = request.text("after");
  if (request.text("order") == "desc") question.order = realtime::HistoryOrder::desc;
  if (auto refused = refuse(hub, question)) co_return std::move(*refused);
  if (auto const since = request.text("since")) {
    question.since = Timestamp::parse(*since);
    if (!question.since) {
      co_return Response::problem(400, "Invalid datetime format. Use ISO format");
    }
  }
  if (question.room && !may_enter(request, *question.room)) co_return for_administrators();
  auto const past = co_await realtime::past_events(hub, identity_of(request.principal), question,
                                                   HistoryQuestion::kAnswerBytesMax);
  if (!past) co_return Response::from(past.error());
  Response response;
  JsonWriter json(response.body);
  json.begin_object();
  realtime::write_history(json, *past, question);
  write_filters(json, question, &request);
  json.end_object();
  co_return response;
}

Task<Response> replay_events(Hub& hub, Request const& request) {
  auto question = read_body<HistoryQuestion>(request);
  if (!question) co_return std::move(question.error());
  if (auto refused = refuse(hub, *question)) co_return std::move(*refused);
  auto const& id = request.path_values.front();
  // It is shown what its own rights let it see.
  std::optional<realtime::Identity> who;
  auto const active = [&](LoopHub& loop) -> realtime::Viewer* {
    auto* const viewer = loop.find(id);
    bool const good = viewer != nullptr && viewer->protocol() == Protocol::v2 && viewer->may_see();
    return good ? viewer : nullptr;
  };
  co_await hub.visit([&](LoopHub& loop) {
    if (auto const* const viewer = active(loop)) who = viewer->identity();
    return !who;
  });
  if (!who) co_return unknown_connection(id, "not found or inactive");
  auto past = co_await realtime::past_ids(hub, *who, *question);
  if (!past) co_return Response::from(past.error());
  bool found = false;
  bool begun = false;
  co_await hub.visit([&](LoopHub& loop) {
    auto* const viewer = active(loop);
    if (viewer == nullptr) return true;
    found = true;
    begun = realtime::replay(loop, *viewer, std::move(*past), *question, {}, false);
    return false;
  });
  if (!found) co_return unknown_connection(id, "not found or inactive");
  if (!begun) {
    co_return Response::problem(409, "Another replay to this connection is under way");
  }
  Response response;
  JsonWriter json(response.body);
  json.begin_object();
  json.member("message", "Events replayed successfully");
  json.member("connection_id", id);
  write_filters(json, *question, nullptr);
  json.end_object();
  co_return response;
}

constexpr describe::Shape kEventHistory =
    "events:[PastEvent] total_count:integer"
    " complete:boolean(False where older events may match that were not looked at or are no longer"
    " kept.)"
    " next?:text|null(With `after`, where the next begin.)"
    " filters:{room:text|null event_types:text|null since:text|null limit:integer}";

constexpr describe::Shape kReplayed =
    "message:text connection_id:text filters:{room:text|null since:time|null limit:integer}";

void question_schema(JsonWriter& json) {
  describe::write_body_schema<HistoryQuestion>(json, describe::Api::v2, describe::Purpose::create);
}

}  // namespace

http::Routes event_history_routes(Hub& hub) {
  using http::ClientKey;
  auto const with = [&hub](auto handler) -> http::AsyncHandler {
    return [&hub, handler](Request const& request) { return handler(hub, request); };
  };
  http::Routes routes(kWebSocketPrefix);
  routes
      .add({.method = Method::post,
            .path = "/connections/{connection_id}/replay-events",
            .name = "v2_replay_events",
            .summary = "Send a connection of /ws/v2 again what happened",
            .tag = kWebSocketTag,
            .handler = with(&replay_events),
            .access = http::Access::write,
            .limit = {10, ClientKey::user},
            .path_parameters = {text_parameter("connection_id", "The connection.")},
            .body = http::BodySpec{{"HistoryQuestion", &question_schema}},
            .answers = {{200, "It is being sent.", {"EventsReplayed", kReplayed}},
                        {400, "There is no such type of message."},
                        no_connection(),
                        {409, "Another replay is under way."}}})
      .add({.method = Method::get,
            .path = "/event-history",
            .name = "v2_event_history",
            .summary = "What happened: the newest events, oldest first",
            .tag = kWebSocketTag,
            .handler = with(&event_history),
            .limit = {30, ClientKey::address},
            .query = {text_parameter("room", "What was for this room."),
                      text_parameter("event_types", "Types of messages, separated by commas."),
                      integer_parameter("limit", 50, 1, HistoryQuestion::kLimitMax,
                                        "The newest so many."),
                      text_parameter("since", "Strictly newer than this time (ISO 8601)."),
                      text_parameter("after", "Behind this event_id: the first so many."),
                      choice_parameter("order", {"asc", "desc"}, "asc if not given.")},
            .answers = {{200, "Them.", {"EventHistory", kEventHistory, {past_event()}}},
                        {400, "There is no such type, or it is no time."},
                        no_entry()}});
  return routes;
}

}  // namespace subforge::api
