#include "api/handler_parts.hpp"
#include "api/websocket_parts.hpp"
#include "api/websocket_v2.hpp"
#include "base/json_writer.hpp"
#include "pipeline/once.hpp"
#include "realtime/connections.hpp"
#include "realtime/history.hpp"

namespace subforge::api {
namespace {

using http::Request;
using http::Response;
using net::Method;
using realtime::Hub;
using realtime::LoopHub;
using realtime::MessageType;

constexpr std::string_view kBroadcast = "broadcast.";  // What these events' kinds begin with.

struct BroadcastBody {
  MessageType message_type = MessageType::system_notification;
  std::optional<std::string> room;
  describe::JsonText data;
  std::optional<std::string> user_id;
  std::optional<std::string> exclude_user_id;
  static constexpr auto describe() {
    using describe::field;
    using B = BroadcastBody;
    return describe::fields(
        field("message_type", &B::message_type).required().writable(),
        field("room", &B::room).length(1, 200).writable().doc("Its members; none: everybody."),
        field("data", &B::data).writable(),
        field("user_id", &B::user_id)
            .length(1, 200)
            .writable()
            .doc("This user alone, whether connected or not: it is kept until acknowledged."),
        field("exclude_user_id", &B::exclude_user_id)
            .length(1, 200)
            .writable()
            .doc("Of everybody, this user gets nothing."));
  }
};

store::Event event_of(BroadcastBody const& body, std::string actor) {
  using To = store::Audience::To;
  store::Event event;
  event.kind = std::string(kBroadcast).append(describe::to_text(body.message_type));
  event.subject = body.room      ? "room:" + *body.room
                  : body.user_id ? "user:" + *body.user_id
                                 : "broadcast";
  event.actor = std::move(actor);
  if (body.user_id) {
    event.audience = store::Audience::one(*body.user_id);
  } else if (body.room) {
    event.audience = store::Audience::room(*body.room);
  } else if (body.exclude_user_id) {
    event.audience = {To::others, {"system"}, *body.exclude_user_id};
  } else {
    event.audience = store::Audience::everybody({"system"});
  }
  event.payload.clear();
  JsonWriter json(event.payload);
  json.begin_object();
  json.member_raw("data", body.data.text);
  json.end_object();
  return event;
}

Task<Result<std::int64_t>> publish(store::Store& store, store::Inbox& inbox, store::Event& event) {
  auto write = [&](store::Transaction& transaction) -> Task<Result<std::int64_t>> {
    event.at = transaction.now();
    if (event.audience.to == store::Audience::To::user) return inbox.send(transaction, event);
    return transaction.publish(event);
  };
  co_return co_await store.write(write);
}

// Types of which the next message makes the last worthless.
bool is_news(MessageType type) {
  return type == MessageType::metrics_update || type == MessageType::heartbeat;
}

Response sent(realtime::LiveEvent const& live, std::size_t recipients) {
  Response response;
  JsonWriter json(response.body);
  json.begin_object();
  json.member("message", "Broadcast sent successfully");
  json.member("recipients_count", recipients);
  json.member("message_id", live.message_id());
  json.key("event_id");
  live.in_log() ? json.string(live.event_id()) : json.null();
  json.member("timestamp", live.event().at);
  json.end_object();
  return response;
}

// Loops deliver in order, so that it has reached whoever is counted.
Task<std::size_t> count_reached(Hub& hub, realtime::LiveEvent const& live) {
  std::size_t reached = 0;
  co_await hub.visit([&](LoopHub& loop) {
    reached += loop.count_reached(live);
    return true;
  });
  co_return reached;
}

Task<Response> broadcast(Hub& hub, store::Inbox& inbox, Request const& request) {
  auto body = read_body<BroadcastBody>(request);
  if (!body) co_return std::move(body.error());
  if (body->user_id && (body->room || body->exclude_user_id)) {
    co_return Response::problem(400, "user_id goes with neither room nor exclude_user_id");
  }
  if (body->user_id && is_news(body->message_type)) {
    co_return Response::problem(400, "Messages of this type are not kept for a user");
  }
  if (body->room && !may_enter(request, *body->room)) co_return for_administrators();
  auto event = event_of(*body, actor_of(request).user);
  if (is_news(body->message_type)) {
    auto const news = hub.tell_news(std::move(event), Hub::Reach::all_servers);
    co_return sent(*news, co_await count_reached(hub, *news));
  }
  realtime::LiveEventPtr live;
  // Nobody has heard of it when it is kept for who sends the request again.
  auto const published = [&](Result<std::int64_t> const& id) {
    if (!id) return Response::from(id.error());
    event.id = *id;
    live = hub.live(std::make_shared<store::Event const>(event));
    return sent(*live, 0);
  };
  auto response =
      co_await pipeline::answer_with(request, publish(hub.store(), inbox, event), published);
  if (response.status != 200) co_return response;
  auto const reached = co_await count_reached(hub, *live);
  if (reached == 0) co_return response;
  response = sent(*live, reached);
  if (request.once != nullptr) co_await request.once->amend(response);
  co_return response;
}

std::optional<realtime::Message> as_sent(store::Event const& event,
                                         boost::json::object const& payload) {
  return realtime::sent_message(event, payload);
}

std::optional<realtime::Message> as_sent_to_user(store::Event const& event,
                                                 boost::json::object const& payload) {
  if (event.audience.to != store::Audience::To::user) return std::nullopt;
  return as_sent(event, payload);
}

constexpr auto kTypes = names_of(MessageType{});

// One kind for each type of message. Of what is for more than one user, /ws and Socket.IO tell
// notifications alone.
struct BroadcastRows {
  std::array<std::string, kTypes.size()> kinds;
  std::array<realtime::Projection, kTypes.size()> rows;

  BroadcastRows() {
    for (std::size_t i = 0; i < kTypes.size(); ++i) {
      auto const [type, name] = kTypes[i];
      kinds[i] = std::string(kBroadcast).append(name);
      constexpr describe::Shape kShape = "sent_by:text sent_at:time *";
      bool const is_for_all = type == MessageType::system_notification;
      realtime::Form const v1{name, is_for_all ? &as_sent : &as_sent_to_user, kShape};
      rows[i] = {.kind = kinds[i],
                 .v1 = is_news(type) ? realtime::Form{} : v1,
                 .v2 = {name, &as_sent, kShape},
                 .is_news = is_news(type)};
    }
  }
};

void broadcast_body_schema(JsonWriter& json) {
  describe::write_body_schema<BroadcastBody>(json, describe::Api::v2, describe::Purpose::create);
}

constexpr describe::Shape kSent =
    "message:text recipients_count:integer(Connections of this process that it reached.)"
    " message_id:text event_id:text|null(Null of what is not in the log.) timestamp:time";

}  // namespace

std::span<realtime::Projection const> broadcast_projections() {
  static BroadcastRows const all;
  return all.rows;
}

http::Routes broadcast_routes(Hub& hub, store::Inbox& inbox) {
  http::Routes routes(kWebSocketPrefix);
  routes.add({.method = Method::post,
              .path = "/broadcast",
              .name = "v2_broadcast",
              .summary = "Send a message to everybody, to a room, or to a user",
              .tag = kWebSocketTag,
              .handler = http::AsyncHandler([&hub, &inbox](Request const& request) {
                return broadcast(hub, inbox, request);
              }),
              .access = http::Access::write,
              .limit = {30, http::ClientKey::user},
              .body = http::BodySpec{{"Broadcast", &broadcast_body_schema}},
              .answers = {{200, "Sent.", {"BroadcastSent", kSent}},
                          {400, "It is for a user, and for others or of a type not kept."},
                          no_entry()}});
  return routes;
}

}  // namespace subforge::api
