// Fan-out with Node's `ws`, as its users write it: each message of a room is sent to every member.
// Speaks as much of /ws/v2 as the load needs; nothing is checked, stored or counted.
//
//   node ws_fanout.mjs --port PORT     with NODE_MODULES naming the folder that has `ws`

import { createRequire } from "node:module";

const require = createRequire(`${process.env.NODE_MODULES}/`);
const { WebSocketServer } = require("ws");

const port = Number(process.argv[process.argv.indexOf("--port") + 1]);
const rooms = new Map();

const server = new WebSocketServer({ port, host: "127.0.0.1", perMessageDeflate: false });
server.on("connection", (socket) => {
  socket.send(JSON.stringify({ type: "connection_state", data: {} }));
  socket.on("message", (bytes) => {
    const message = JSON.parse(bytes);
    const members = rooms.get(message.room) ?? new Set();
    rooms.set(message.room, members);
    if (message.type === "join_room") {
      members.add(socket);
      socket.send(JSON.stringify({ type: "join_room", room: message.room, data: {} }));
    } else if (message.type === "room_message") {
      const text = JSON.stringify({
        type: "room_message", room: message.room,
        data: { ...message.data, sent_by: "bench", sent_at: "2026-01-02T03:04:05.000000Z" },
        timestamp: "2026-01-02T03:04:05.000000Z",
        message_id: "0f8fad5b-d9cb-469f-a165-70867728950e", correlation_id: null,
        event_id: "0000000000000042",
      });
      for (const member of members) if (member !== socket) member.send(text);
    }
  });
  socket.on("close", () => rooms.forEach((members) => members.delete(socket)));
});
