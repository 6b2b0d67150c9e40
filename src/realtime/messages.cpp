#include "realtime/messages.hpp"

#include <algorithm>

namespace subforge::realtime {
namespace {

using enum Protocol;

constexpr std::string_view kPast =
    "data?:HistoryQuestion|null room?:text|null correlation_id?:text|null";
constexpr std::string_view kBack =
    "data?:{last_event_id?:text rooms?:[text] connection_id?:text}|null last_event_id?:text"
    " rooms?:[text] connection_id?:text correlation_id?:text|null";
constexpr std::string_view kAck =
    "event_id?:text data?:{event_id:text}|null correlation_id?:text|null";
constexpr std::string_view kRoom = "room:text correlation_id?:text|null";

constexpr ClientMessage kClient[] = {
    {v2, "auth_request",
     "data:{token:text last_event_id?:text|null rooms?:[text]|null connection_id?:text|null}",
     Needs::nothing, "Proves who the client is; may also say where it comes back to."},
    {v2, "connection_state", kBack, Needs::reading, "The same as `recover`."},
    {v2, "recover", kBack, Needs::reading,
     "As the first message: the client comes back, and gets what it missed."},
    {v2, "ping", "correlation_id?:text|null", Needs::nothing, "Answered by `pong`."},
    {v2, "join_room", kRoom, Needs::reading, "Answered by `join_room`."},
    {v2, "leave_room", kRoom, Needs::reading, "Answered by `leave_room`."},
    {v2, "room_message", "room:text data?:object|null echo?:boolean|null correlation_id?:text|null",
     Needs::writing, "Goes to the room's other members, and with `echo` to the sender too."},
    {v2, "ack", kAck, Needs::reading,
     "Messages to the user up to this one need not be kept any longer."},
    {v2, "event_history", kPast, Needs::reading, "Asks what happened, in one answer."},
    {v2, "replay_events", kPast, Needs::reading, "Asks what happened, a message for each event."},

    {v1, "ping", "", Needs::nothing, "Answered by `pong`."},
    {v1, "subscribe", "data?:any", Needs::nothing, "Acknowledged; it filters nothing."},
    {v1, "auth_request", "data:{token:text last_event_id?:text|null}", Needs::nothing,
     "Proves who the client is."},
    {v1, "recover", "data?:{last_event_id:text}|null last_event_id?:text", Needs::reading,
     "As the first message: the client comes back, and gets what it missed."},
    {v1, "ack", kAck, Needs::reading,
     "Messages to the user up to this one need not be kept any longer; answered by `ack`."},

    {socketio, "join_room", "room:text", Needs::reading, "Also the bare name."},
    {socketio, "leave_room", "room:text", Needs::reading, "Also the bare name."},
    {socketio, "subscribe_workflow", "workflow_id:text", Needs::reading, "Also the bare id."},
    {socketio, "unsubscribe_workflow", "workflow_id:text", Needs::reading, "Also the bare id."},
    {socketio, "subforge_workflow_subscribe", "workflow_id:text", Needs::reading,
     "Also the bare id."},
    {socketio, "subforge_workflow_unsubscribe", "workflow_id:text", Needs::reading,
     "Also the bare id."},
    {socketio, "ping", "any", Needs::reading, "Anything; `pong` brings it back."},
    {socketio, "inbox_ack", "event_id:text", Needs::reading,
     "Also the bare id; messages to the user up to this one need not be kept any longer."},
    {socketio, "agent_status_update", "agent_id:any status:any *", Needs::writing,
     "Goes to the room `agents` as it is."},
    {socketio, "task_update", "task_id:any status:any *", Needs::writing,
     "Goes to the room `tasks` as it is."},
    {socketio, "system_metrics_update", "any", Needs::writing,
     "Goes to the room `metrics` as it is."},
    {socketio, "workflow_event", "workflow_id:any *", Needs::writing,
     "Goes to the room `workflows` as it is."},
};

constexpr std::string_view kHistory =
    "events:[{event_id:text event_type:text room:text|null data:object timestamp:time"
    " user_id:text|null}] total_count:integer complete:boolean next?:text|null;"
    "event_id:text event_type:text original_data:object timestamp:time is_replay:boolean";
constexpr std::string_view kGreeting =
    "connection_id:id state:text message:text last_event_id?:text rooms?:[text]";
constexpr std::string_view kInboxShown =
    "connection_id:id state:text last_event_id:text inbox_messages:integer";
constexpr std::string_view kRecovered =
    "connection_id:id state:text recovered:boolean last_event_id:text missed_events?:integer"
    " snapshot?:object rooms:[text]";

constexpr ServerMessage kServer[] = {
    {v2, "connection_state", kGreeting, "The first message."},
    {v2, "connection_state", kRecovered, "Ends coming back."},
    {v2, "connection_state", kInboxShown, "Ends what was kept for the user."},
    {v2, "auth_success", "user_id:text permissions:[text] state=authenticated last_event_id?:text",
     "The token was good."},
    {v2, "auth_error", "error:text", "The token was not good."},
    {v2, "join_room", "room:text members_count:integer status=joined", "The room was joined."},
    {v2, "leave_room", "room:text status=left", "The room was left."},
    {v2, "ack", "event_id:text removed?:integer", "What was asked for is on disk."},
    {v2, "pong", "timestamp:time", "Answers a ping."},
    {v2, "error", "code:text message:text", "A message was refused."},
    {v2, "event_history", kHistory, "What happened, in one message or one of a replay."},
    {v2, "replay_events", "status=completed events_count:integer", "Ends a replay."},
    {v2, "heartbeat", "timestamp:time", "A sign of life.", true},

    {sse, "connection_state", kGreeting, "The first event."},
    {sse, "connection_state", kRecovered, "Ends coming back."},
    {sse, "connection_state", kInboxShown, "Ends what was kept for the user."},
    {sse, "connection_state", "connection_id:id state=disconnected code:integer message:text",
     "The last event, where the server ends the stream."},

    {v1, "connection_established",
     "message:text timestamp:time connection_id:integer last_event_id?:text", "The first message."},
    {v1, "connection_recovered",
     "recovered:boolean last_event_id:text missed_events?:integer snapshot?:object",
     "Ends coming back."},
    {v1, "inbox_shown", "last_event_id:text inbox_messages:integer",
     "Ends what was kept for the user."},
    {v1, "ack", "event_id:text removed:integer", "What was acknowledged is removed."},
    {v1, "auth_success", "user_id:text last_event_id?:text", "The token was good."},
    {v1, "auth_error", "error:text", "The token was not good."},
    {v1, "pong", "timestamp:time", "Answers a ping."},
    {v1, "subscription_acknowledged", "*", "What was sent."},
    {v1, "ping", "timestamp:time", "A sign of life.", true},

    {socketio, "connected",
     "message:text status=connected session_id:text timestamp:time available_rooms:[text]"
     " last_event_id:text recovered:boolean missed_events?:integer snapshot?:object",
     "The first event."},
    {socketio, "inbox_shown", "last_event_id:text inbox_messages:integer",
     "Ends what was kept for the user."},
    {socketio, "inbox_acknowledged", "event_id:text removed:integer",
     "What was acknowledged is removed."},
    {socketio, "room_joined", "room:text timestamp:time", "The room was joined."},
    {socketio, "room_left", "room:text timestamp:time", "The room was left."},
    {socketio, "subforge_workflow_subscribed", "workflow_id:text", "It is followed."},
    {socketio, "subforge_workflow_unsubscribed", "workflow_id:text", "It is not followed."},
    {socketio, "pong", "timestamp:time data:any", "Answers a ping."},
    {socketio, "error", "error:text", "An event was refused."},
    {socketio, "agent_status_update", "agent_id:any status:any *", "What a client told the room."},
    {socketio, "task_update", "task_id:any status:any *", "What a client told the room."},
    {socketio, "system_metrics_update", "any", "What a client told the room."},
    {socketio, "workflow_event", "workflow_id:any *", "What a client told the room."},
    {socketio, "dashboard_update", "*", "The counts of the dashboard, after changes."},
};

}  // namespace

std::span<ClientMessage const> client_messages() { return kClient; }
std::span<ServerMessage const> server_messages() { return kServer; }

ClientMessage const* find_client_message(Protocol protocol, std::string_view type) {
  auto const* const found = std::ranges::find_if(kClient, [&](ClientMessage const& row) {
    return row.protocol == protocol && row.type == type;
  });
  return found == std::end(kClient) ? nullptr : found;
}

}  // namespace subforge::realtime
