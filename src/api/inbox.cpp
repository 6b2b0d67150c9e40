#include "store/inbox.hpp"

#include "api/handler_parts.hpp"
#include "api/identity.hpp"
#include "api/websocket_parts.hpp"
#include "api/websocket_v2.hpp"
#include "base/json_writer.hpp"
#include "pipeline/once.hpp"
#include "realtime/history.hpp"

namespace subforge::api {
namespace {

using http::Request;
using http::Response;
using net::Method;
using realtime::Hub;

constexpr std::int64_t kMessagesAtOnce = 100;

struct AckBody {
  std::string event_id;
  static constexpr auto describe() {
    using describe::field;
    return describe::fields(field("event_id", &AckBody::event_id)
                                .required()
                                .length(1, 100)
                                .writable()
                                .doc("Of the newest message that was dealt with."));
  }
};

Response refuse_event_id() { return Response::problem(400, "event_id is that of no event here"); }

Task<Response> list_inbox(Hub& hub, Request const& request) {
  std::int64_t after = 0;
  if (auto const text = request.text("after")) {
    auto const id = hub.store().parse_event_id(*text);
    if (!id) co_return refuse_event_id();
    after = *id;
  }
  auto const user = actor_of(request).user;
  auto const limit = request.integer("limit");
  auto read = [&](store::Session& session) {
    return store::Inbox::read(session, user, after, INT64_MAX, limit,
                              realtime::HistoryQuestion::kAnswerBytesMax);
  };
  auto kept = co_await hub.store().read(store::ReadCost::point, read);
  if (!kept) co_return Response::from(kept.error());
  realtime::PastEvents past{.first_ones = true};
  if (kept->more) past.next = hub.store().event_id_text(kept->events.back().id);
  for (auto& event : kept->events) {
    auto live = hub.live(std::make_shared<store::Event const>(std::move(event)));
    if (live->carried_by(realtime::Protocol::v2)) past.events.push_back(std::move(live));
  }
  past.shorten(realtime::HistoryQuestion::kAnswerBytesMax);
  past.complete = past.next.empty();
  Response response;
  JsonWriter json(response.body);
  json.begin_object();
  realtime::write_history(json, past, {});
  json.end_object();
  co_return response;
}

Task<Response> acknowledge(Hub& hub, Request const& request) {
  auto body = read_body<AckBody>(request);
  if (!body) co_return std::move(body.error());
  auto const last = hub.store().parse_event_id(body->event_id);
  if (!last) co_return refuse_event_id();
  auto remove = [](store::Store& store, std::string user,
                   std::int64_t up_to) -> Task<Result<std::int64_t>> {
    auto write = [&](store::Transaction& transaction) {
      return store::Inbox::acknowledge(transaction, user, up_to);
    };
    co_return co_await store.write(write);
  };
  auto const acknowledged = [&](Result<std::int64_t> const& removed) {
    if (!removed) return Response::from(removed.error());
    Response response;
    JsonWriter json(response.body);
    json.begin_object();
    json.member("event_id", body->event_id);
    json.member("removed", *removed);
    json.end_object();
    return response;
  };
  co_return co_await pipeline::answer_with(
      request, remove(hub.store(), actor_of(request).user, *last), acknowledged);
}

constexpr describe::Shape kInbox =
    "events:[PastEvent](As those of event-history.) total_count:integer"
    " complete:boolean(False if more follow.) next:text|null(Behind which they follow.)";

void ack_body_schema(JsonWriter& json) {
  describe::write_body_schema<AckBody>(json, describe::Api::v2, describe::Purpose::create);
}

}  // namespace

http::Routes inbox_routes(Hub& hub) {
  http::Routes routes(kWebSocketPrefix);
  routes
      .add({.method = Method::get,
            .path = "/inbox",
            .name = "v2_inbox",
            .summary = "Messages to the caller that were not acknowledged, oldest first",
            .tag = kWebSocketTag,
            .handler = http::AsyncHandler(
                [&hub](Request const& request) { return list_inbox(hub, request); }),
            .limit = {60, http::ClientKey::user},
            .query = {text_parameter("after", "Behind this event_id."),
                      integer_parameter("limit", 50, 1, kMessagesAtOnce, "At most so many.")},
            .answers = {{200, "Them.", {"Inbox", kInbox, {past_event()}}},
                        {400, "There is no such event."}}})
      .add({.method = Method::post,
            .path = "/inbox/ack",
            .name = "v2_inbox_ack",
            .summary = "Acknowledge messages to the caller up to one",
            .tag = kWebSocketTag,
            .handler = http::AsyncHandler(
                [&hub](Request const& request) { return acknowledge(hub, request); }),
            .limit = {60, http::ClientKey::user},
            .body = http::BodySpec{{"InboxAck", &ack_body_schema}},
            .answers = {
                {200, "They are gone.", {"InboxAcknowledged", "event_id:text removed:integer"}},
                {400, "There is no such event."}}});
  return routes;
}

}  // namespace subforge::api
