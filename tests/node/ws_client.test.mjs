// The two socket protocols as seen by `ws`, the WebSocket client that most of Node's world uses.

import assert from "node:assert/strict";
import { once } from "node:events";
import { after, before, test } from "node:test";
import WebSocket from "ws";

import { Server } from "./server.mjs";

let server;
before(async () => {
  server = await Server.start();
});
after(async () => {
  assert.equal(await server.stop(), 0);
});

const kWaitMs = 5000;
const kUuid = /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;

// A connection whose messages wait in line until a test takes them.
class Client {
  static async open(path, options = {}) {
    const client = new Client();
    client.messages = [];
    client.waiting = [];
    client.socket = new WebSocket(server.url(path), options);
    client.socket.on("message", (data, isBinary) => {
      assert.equal(isBinary, false);
      const message = JSON.parse(data);
      const next = client.waiting.shift();
      next ? next(message) : client.messages.push(message);
    });
    await once(client.socket, "open");
    client.first = await client.receive();
    return client;
  }

  send(message) {
    this.socket.send(typeof message === "string" ? message : JSON.stringify(message));
  }

  receive() {
    if (this.messages.length > 0) return Promise.resolve(this.messages.shift());
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error("no message came")), kWaitMs);
      this.waiting.push((message) => {
        clearTimeout(timer);
        resolve(message);
      });
    });
  }

  async find(holds) {
    for (;;) {
      const message = await this.receive();
      if (holds(message)) return message;
    }
  }

  async join(room) {
    this.send({ type: "join_room", room });
    return this.find((message) => message.type === "join_room");
  }

  async close(code = 1000) {
    const closed = once(this.socket, "close");
    this.socket.close(code);
    return (await closed)[0];
  }
}

test("/ws greets with a number and answers pings and subscriptions", async () => {
  const client = await Client.open("/ws");
  assert.equal(client.first.type, "connection_established");
  assert.ok(Number.isSafeInteger(client.first.data.connection_id));
  client.send({ type: "ping" });
  assert.equal((await client.receive()).type, "pong");
  client.send({ type: "subscribe", data: { topics: ["agents"] } });
  const reply = await client.receive();
  assert.equal(reply.type, "subscription_acknowledged");
  assert.deepEqual(reply.data, { topics: ["agents"] });
  assert.equal(await client.close(), 1000);
});

test("/ws/v2 greets with its envelope", async () => {
  const client = await Client.open("/ws/v2");
  assert.deepEqual(Object.keys(client.first).sort(),
    ["correlation_id", "data", "message_id", "room", "timestamp", "type"]);
  assert.equal(client.first.type, "connection_state");
  assert.match(client.first.message_id, kUuid);
  assert.match(client.first.data.connection_id, kUuid);
  assert.ok(!Number.isNaN(Date.parse(client.first.timestamp)));
  await client.close();
});

test("what one member of a room says, the others hear", async () => {
  const [a, b, c] = await Promise.all([1, 2, 3].map(() => Client.open("/ws/v2")));
  await a.join("hall");
  const joined = await b.join("hall");
  assert.deepEqual(joined.data, { room: "hall", members_count: 2, status: "joined" });
  await c.join("elsewhere");
  a.send({ type: "room_message", room: "hall", data: { text: "hello, 漢字 🦊" },
    correlation_id: "one" });
  const ack = await a.find((message) => message.type === "ack");
  assert.equal(ack.correlation_id, "one");
  const heard = await b.find((message) => message.data.text !== undefined);
  assert.equal(heard.type, "room_message");
  assert.equal(heard.room, "hall");
  assert.equal(heard.data.text, "hello, 漢字 🦊");
  assert.equal(heard.event_id, ack.event_id);
  c.send({ type: "ping" });
  const next = await c.find((message) => message.data.event === undefined);
  assert.equal(next.type, "pong");
  await Promise.all([a, b, c].map((client) => client.close()));
});

test("changes made over REST arrive on both sockets with one id", async () => {
  const [v1, v2] = await Promise.all([Client.open("/ws"), Client.open("/ws/v2")]);
  const { status, body } = await server.post("/api/v2/agents", { name: "n", type: "t" });
  assert.equal(status, 201);
  const created = await v1.receive();
  assert.equal(created.type, "agent_created");
  assert.equal(created.data.id, body.id);
  const update = await v2.receive();
  assert.equal(update.type, "agent_update");
  assert.deepEqual(update.data.agent, body);
  assert.equal(update.event_id, created.event_id);
  await Promise.all([v1, v2].map((client) => client.close()));
});

test("a message may come in fragments, with a ping between them", async () => {
  const client = await Client.open("/ws/v2");
  const text = JSON.stringify({ type: "ping", correlation_id: "torn" });
  client.socket.send(text.slice(0, 5), { fin: false });
  client.socket.send(text.slice(5, 9), { fin: false });
  const ponged = once(client.socket, "pong");
  client.socket.ping("between");
  client.socket.send(text.slice(9), { fin: true });
  assert.equal(String((await ponged)[0]), "between");
  const pong = await client.receive();
  assert.equal(pong.type, "pong");
  assert.equal(pong.correlation_id, "torn");
  await client.close();
});

// What the client's side of a connection has received in bytes.
const receivedBytes = (client) => client.socket._socket.bytesRead;

for (const [what, offer] of [
  ["as ws offers it by itself", true],
  ["of every size", { threshold: 0 }],
  ["with a small window", { serverMaxWindowBits: 9, threshold: 0 }],
  ["with a window for the client", { clientMaxWindowBits: 9, threshold: 0 }],
  ["without context takeover", { serverNoContextTakeover: true, clientNoContextTakeover: true }],
]) {
  test(`compressed messages, ${what}`, async () => {
    const [a, b] = await Promise.all([1, 2].map(() =>
      Client.open("/ws/v2", { perMessageDeflate: offer })));
    assert.equal(a.socket.extensions, "permessage-deflate");
    await a.join("packed");
    await b.join("packed");
    for (const size of [1, 400, 5000, 200_000]) {
      const text = "Grüße 🦊 ".repeat(Math.ceil(size / 14));
      for (let round = 0; round < 3; ++round) {
        const before = receivedBytes(b);
        a.send({ type: "room_message", room: "packed", data: { text, round }, echo: true });
        for (const one of [a, b]) {
          const { data } = await one.find((message) => message.data.round === round);
          assert.equal(data.text, text);
        }
        const packed = receivedBytes(b) - before < text.length / 2;
        assert.equal(packed, size >= 5000 && offer.serverMaxWindowBits === undefined);
      }
    }
    await Promise.all([a, b].map((client) => client.close()));
  });
}

test("a client that wants no compression gets none, beside one that does", async () => {
  const [a, b] = await Promise.all([true, false].map((perMessageDeflate) =>
    Client.open("/ws/v2", { perMessageDeflate })));
  assert.equal(b.socket.extensions, "");
  await a.join("mixed");
  await b.join("mixed");
  const text = "x".repeat(5000);
  const before = receivedBytes(b);
  a.send({ type: "room_message", room: "mixed", data: { text }, echo: true });
  for (const one of [a, b]) {
    assert.equal((await one.find((message) => message.data.text !== undefined)).data.text, text);
  }
  assert.ok(receivedBytes(b) - before > 5000);
  await Promise.all([a, b].map((client) => client.close()));
});

test("compression is a setting", async () => {
  const other = await Server.start({ WEBSOCKET_COMPRESSION: "false" });
  const socket = new WebSocket(other.url("/ws"), { perMessageDeflate: true });
  await once(socket, "open");
  assert.equal(socket.extensions, "");
  socket.terminate();
  assert.equal(await other.stop(), 0);
});

test("large messages arrive whole", async () => {
  const [a, b] = await Promise.all([Client.open("/ws/v2"), Client.open("/ws/v2")]);
  await a.join("large");
  await b.join("large");
  for (const size of [1, 125, 126, 65_535, 65_536, 500_000]) {
    const pad = "x".repeat(size);
    a.send({ type: "room_message", room: "large", data: { pad } });
    assert.equal((await b.find((message) => message.data.pad !== undefined)).data.pad, pad);
  }
  await Promise.all([a, b].map((client) => client.close()));
});

test("a message over the limit closes with 1009, others stay", async () => {
  const [big, other] = await Promise.all([Client.open("/ws/v2"), Client.open("/ws/v2")]);
  big.socket.on("error", () => {});  // Bytes that were still on their way.
  const closed = once(big.socket, "close");
  big.send("x".repeat((1 << 20) + 1));
  assert.equal((await closed)[0], 1009);
  other.send({ type: "ping" });
  assert.equal((await other.receive()).type, "pong");
  await other.close();
});

test("closing is answered with the client's own code", async () => {
  for (const code of [1000, 3000, 4999]) {
    const client = await Client.open("/ws");
    assert.equal(await client.close(code), code);
  }
});

test("a foreign origin is refused, the server's own is not", async () => {
  const refused = new WebSocket(server.url("/ws"), { origin: "http://evil.example" });
  const [, answer] = await once(refused, "unexpected-response");
  assert.equal(answer.statusCode, 403);
  answer.resume();
  refused.on("error", () => {});
  refused.terminate();
  const own = await Client.open("/ws", { origin: `http://127.0.0.1:${server.port}` });
  await own.close();
});
