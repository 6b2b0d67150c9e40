// Fan-out with uWebSockets' own publish, as its users write it. Speaks as much of /ws/v2 as the
// load needs; nothing is checked, stored or counted.
//
//   uws_fanout --port P
//
// measure_realtime.py compiles it where UWEBSOCKETS names a clone of uWebSockets with its submodule
// uSockets; nothing of that is part of this repository.

#include <App.h>

#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

namespace {

struct Member {};

constexpr std::string_view kHello = R"({"type":"connection_state","data":{}})";
constexpr std::string_view kJoined = R"({"type":"join_room","data":{"status":"joined"}})";
constexpr std::string_view kSender =
    R"("sent_by":"bench","sent_at":"2026-01-02T03:04:05.000000Z"},)"
    R"("timestamp":"2026-01-02T03:04:05.000000Z",)"
    R"("message_id":"0f8fad5b-d9cb-469f-a165-70867728950e","correlation_id":null,)"
    R"("event_id":"0000000000000042"})";

// The text of a member of the load's messages, which are compact JSON and known to be well-formed.
std::string_view text_of(std::string_view message, std::string_view key) {
  auto const at = message.find(key);
  if (at == message.npos) return {};
  auto const begin = at + key.size();
  return message.substr(begin, message.find('"', begin) - begin);
}

void pass_on(auto* socket, std::string_view room, std::string_view message) {
  constexpr std::string_view kData = "\"data\":{";
  auto const begin = message.find(kData) + kData.size();
  auto const end = message.find('}', begin);
  auto const data = message.substr(begin, end - begin);
  std::string text = R"({"type":"room_message","room":")";
  text.append(room).append("\",\"data\":{").append(data);
  if (!data.empty()) text.push_back(',');
  text.append(kSender);
  socket->publish(room, text, uWS::OpCode::TEXT);
}

}  // namespace

int main(int count, char** arguments) {
  int const port = count > 2 ? std::atoi(arguments[2]) : 0;
  uWS::App()
      .ws<Member>("/*", {.maxBackpressure = 64 << 20,
                         .open = [](auto* socket) { socket->send(kHello, uWS::OpCode::TEXT); },
                         .message =
                             [](auto* socket, std::string_view message, uWS::OpCode) {
                               auto const type = text_of(message, "\"type\":\"");
                               auto const room = text_of(message, "\"room\":\"");
                               if (type == "join_room") {
                                 socket->subscribe(room);
                                 socket->send(kJoined, uWS::OpCode::TEXT);
                               } else if (type == "room_message") {
                                 pass_on(socket, room, message);
                               }
                             }})
      .listen("127.0.0.1", port,
              [port](auto* listening) {
                if (listening == nullptr) std::exit((std::perror("uws_fanout"), 1));
                std::printf("listening on %d\n", port);
              })
      .run();
  return 1;
}
