// Socket.IO as seen by its own client, over each transport and over the change between them.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { io } from "socket.io-client";

import { Server } from "./server.mjs";

let server;
before(async () => {
  server = await Server.start({ LOOPS: "3", DEBUG: "true" });
});
after(async () => {
  assert.equal(await server.stop(), 0);
});

const kWaitMs = 5000;
const kTransports = [["polling"], ["websocket"], ["polling", "websocket"]];

function within(promise, what) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what} did not come`)), kWaitMs);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

// The arguments of the next event of that name.
function next(emitter, name) {
  return within(new Promise((resolve) => emitter.once(name, (...args) => resolve(args))), name);
}

// Those that a test leaves open when it fails would keep the program from ending.
const opened = [];
after(() => opened.forEach((socket) => socket.disconnect()));

function open(options = {}) {
  const socket = io(server.url("").replace("ws:", "http:"), {
    forceNew: true, reconnectionDelay: 10, reconnectionDelayMax: 50, ...options,
  });
  opened.push(socket);
  socket.on("error", (data) => assert.equal(typeof data.error, "string"));
  return socket;
}

async function connected(options) {
  const socket = open(options);
  const greeting = next(socket, "connected");
  await next(socket, "connect");
  return { socket, greeting: (await greeting)[0] };
}

for (const transports of kTransports) {
  const name = transports.join(" then ");

  test(`${name}: connects, is greeted, asks and is answered`, async () => {
    const { socket, greeting } = await connected({ transports });
    assert.equal(greeting.status, "connected");
    assert.equal(greeting.session_id, socket.id);
    assert.equal(greeting.available_rooms.length, 7);
    socket.emit("ping", { test: true });
    const [pong] = await next(socket, "pong");
    assert.deepEqual(pong.data, { test: true });
    assert.deepEqual(await within(socket.emitWithAck("ping", 1), "the acknowledgement"), undefined);
    socket.disconnect();
  });

  test(`${name}: rooms`, async () => {
    const [a, b, c] = (await Promise.all([1, 2, 3].map(() => connected({ transports }))))
      .map((one) => one.socket);
    const joined = [next(a, "room_joined"), next(b, "room_joined")];
    a.emit("join_room", { room: "tasks" });
    b.emit("join_room", "tasks");
    for (const [data] of await Promise.all(joined)) assert.equal(data.room, "tasks");
    c.on("task_update", () => assert.fail("not a member"));
    const payload = { task_id: "t", status: "done", text: "漢字 🦊", number: 0.7 };
    const heard = [next(a, "task_update"), next(b, "task_update")];
    c.emit("task_update", payload);
    for (const [got] of await Promise.all(heard)) assert.deepEqual(got, payload);
    a.emit("leave_room", { room: "tasks" });
    await next(a, "room_left");
    a.on("task_update", () => assert.fail("not a member any more"));
    const again = next(b, "task_update");
    c.emit("task_update", payload);
    await again;
    await within(Promise.all([a, c].map((socket) => socket.emitWithAck("ping"))), "silence");
    for (const socket of [a, b, c]) socket.disconnect();
  });

  test(`${name}: many packets at once stay in order`, async () => {
    const { socket } = await connected({ transports });
    const numbers = [];
    const all = new Promise((resolve) => {
      socket.on("pong", ({ data }) => {
        numbers.push(data);
        if (numbers.length === 500) resolve();
      });
    });
    for (let number = 0; number < 500; ++number) socket.emit("ping", number);
    await within(all, "all answers");
    assert.deepEqual(numbers, Array.from({ length: 500 }, (_, i) => i));
    socket.disconnect();
  });

  test(`${name}: large payloads`, async () => {
    const { socket } = await connected({ transports });
    for (const size of [1_000, 70_000, 900_000]) {
      socket.emit("ping", "x".repeat(size));
      const [pong] = await next(socket, "pong");
      assert.equal(pong.data.length, size);
    }
    socket.disconnect();
  });

  test(`${name}: comes back by itself when the transport is cut`, async () => {
    const { socket } = await connected({ transports });
    const first = socket.id;
    const greeting = next(socket, "connected");
    socket.io.engine.close();
    assert.equal((await greeting)[0].session_id, socket.id);
    assert.notEqual(socket.id, first);
    socket.disconnect();
  });
}

test("the upgrade happens, and nothing is lost meanwhile", async () => {
  const socket = open();
  const numbers = [];
  socket.on("pong", ({ data }) => numbers.push(data));
  let number = 0;
  const upgraded = next(socket.io.engine, "upgrade");
  let going = true;
  upgraded.then(() => (going = false));
  while (going) {
    socket.emit("ping", number++);
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  await upgraded;
  assert.equal(socket.io.engine.transport.name, "websocket");
  await within(socket.emitWithAck("ping", number++), "the last acknowledgement");
  assert.deepEqual(numbers, Array.from({ length: number }, (_, i) => i));
  socket.disconnect();
});

test("leaving and coming back on the same transport", async () => {
  const { socket } = await connected();
  const first = socket.id;
  socket.disconnect();
  const greeting = next(socket, "connected");
  socket.connect();
  await greeting;
  assert.notEqual(socket.id, first);
  socket.disconnect();
});

test("other namespaces are refused with a reason", async () => {
  const socket = io(`${server.url("").replace("ws:", "http:")}/admin`, { forceNew: true });
  const [error] = await next(socket, "connect_error");
  assert.equal(error.message, "Invalid namespace");
  socket.disconnect();
});

test("binary data is declined, and the connection stays", async () => {
  for (const transports of kTransports) {
    const { socket } = await connected({ transports });
    socket.emit("ping", Buffer.from([1, 2, 3]));
    assert.equal((await next(socket, "error"))[0].error, "Binary data is not supported");
    await within(socket.emitWithAck("ping"), "the acknowledgement");
    socket.disconnect();
  }
});

test("pings of the server are answered", async () => {
  const pinging = await Server.start({ SOCKETIO_PING_SECONDS: "1",
    SOCKETIO_PING_TIMEOUT_SECONDS: "1" });
  try {
    for (const transports of [["polling"], ["websocket"]]) {
      const socket = io(pinging.url("").replace("ws:", "http:"), { forceNew: true, transports });
      socket.on("disconnect", (reason) => assert.equal(reason, "io client disconnect"));
      await next(socket, "connect");
      for (let count = 0; count < 3; ++count) await next(socket.io, "ping");
      await within(socket.emitWithAck("ping"), "the acknowledgement");
      socket.disconnect();
    }
  } finally {
    assert.equal(await pinging.stop(), 0);
  }
});

test("a restart of the server is survived", async () => {
  for (const transports of kTransports) {
    const passing = await Server.start();
    const socket = io(passing.url("").replace("ws:", "http:"),
      { forceNew: true, transports, reconnectionDelay: 10, reconnectionDelayMax: 50 });
    opened.push(socket);
    await next(socket, "connected");
    const titles = [];
    socket.on("task_update", ({ title }) => titles.push(title));
    const ends = async (end) => {
      // In the middle of an upgrade the client's library waits for its next ping instead.
      const { engine } = socket.io;
      if (engine.transport.name !== transports.at(-1)) await next(engine, "upgrade");
      const gone = next(socket, "disconnect");
      await end();
      const [reason] = await gone;
      assert.ok(["transport close", "transport error"].includes(reason), reason);
      assert.ok(socket.active, "it tries again");
    };
    const greeting = next(socket, "connected");
    await ends(() => passing.restart());
    // It comes back by itself to where it was.
    assert.equal((await passing.post("/api/v1/tasks/", { title: "meanwhile" })).status, 200);
    await greeting;
    assert.equal(socket.recovered, true);
    if (titles.length === 0) await next(socket, "task_update");
    assert.deepEqual(titles, ["meanwhile"]);
    await ends(async () => assert.equal(await passing.stop(), 0));
    socket.disconnect();
  }
});

test("the reference's web page, which joins no rooms, hears of everything", async () => {
  const socket = open({ transports: ["websocket", "polling"], withCredentials: true,
    extraHeaders: { Origin: "http://localhost:3001" } });
  await next(socket, "connected");
  const names = ["agent_status_update", "task_update", "workflow_event", "dashboard_update"];
  const heard = Promise.all(names.map((name) => next(socket, name)));
  const agent = await server.post("/api/v1/agents/", { name: "n", agent_type: "t" });
  const task = await server.post("/api/v1/tasks/", { title: "Dig" });
  await server.post("/api/v2/workflows", { name: "w", type: "sequential" });
  const [[agentRow], [taskRow], [workflow], [counts]] = await heard;
  assert.equal(agentRow.agentId, agent.body.id);
  assert.equal(taskRow.taskId, task.body.id);
  assert.equal(taskRow.task.title, "Dig");
  assert.equal(workflow.event_type, "workflow_created");
  assert.deepEqual(Object.keys(counts), ["agents", "tasks", "system"]);
  socket.emit("subscribe_workflow", { workflow_id: workflow.workflow_id });
  assert.deepEqual((await next(socket, "subforge_workflow_subscribed"))[0],
    { workflow_id: workflow.workflow_id });
  socket.disconnect();
});

test("a foreign origin does not connect", async () => {
  for (const transports of [["polling"], ["websocket"]]) {
    const socket = open({ transports, reconnection: false,
      extraHeaders: { Origin: "http://evil.example" } });
    await next(socket, "connect_error");
    assert.equal(socket.connected, false);
  }
});

test("what is kept comes until acknowledged, and is not what one comes back with", async () => {
  for (const transports of kTransports) {
    const passing = await Server.start();
    try {
      const write = async (text, more = {}) => {
        const { status, body } = await passing.post("/api/v2/websocket/broadcast",
          { message_type: "system_notification", user_id: "local", data: { text }, ...more });
        assert.equal(status, 200);
        return body.event_id;
      };
      await write("one");
      const two = await write("two");
      const socket = io(passing.url("").replace("ws:", "http:"),
        { forceNew: true, transports, reconnection: false });
      opened.push(socket);
      let heard = [];
      socket.on("system_notification", ({ text, inbox }) => heard.push(inbox ? text : `${text}!`));
      assert.equal((await next(socket, "inbox_shown"))[0].inbox_messages, 2);
      assert.deepEqual(heard, ["one", "two"]);
      const live = next(socket, "system_notification");
      await write("three");
      await live;
      socket.io.engine.close();
      await write("four");
      heard = [];
      let greeting = next(socket, "connected");
      socket.connect();
      assert.equal((await greeting)[0].missed_events, 1);
      assert.equal(socket.recovered, true);
      assert.deepEqual(heard, ["one", "two", "three", "four!"]);
      await within(socket.emitWithAck("inbox_ack", { event_id: two }), "the acknowledgement");
      socket.io.engine.close();
      await passing.restart();
      heard = [];
      greeting = next(socket, "connected");
      socket.connect();
      await greeting;
      assert.deepEqual(heard, ["three", "four"]);
      socket.disconnect();
    } finally {
      assert.equal(await passing.stop(), 0);
    }
  }
});

test("connection state recovery, across a restart of the server", async () => {
  for (const transports of kTransports) {
    const passing = await Server.start({ LOOPS: "2" });
    try {
      const socket = io(passing.url("").replace("ws:", "http:"),
        { forceNew: true, transports, reconnection: false });
      opened.push(socket);
      await next(socket, "connected");
      assert.equal(socket.recovered, false);
      const titles = [];
      socket.on("task_update", ({ title }) => titles.push(title));
      const write = async (title) => {
        const { status } = await passing.post("/api/v1/tasks/", { title });
        assert.equal(status, 200);
      };
      const first = next(socket, "task_update");
      await write("one");
      await first;
      socket.io.engine.close();
      await write("two");
      await write("three");
      let greeting = next(socket, "connected");
      socket.connect();
      assert.equal((await greeting)[0].missed_events, 2);
      assert.equal(socket.recovered, true);
      assert.deepEqual(titles, ["one", "two", "three"]);
      const live = next(socket, "task_update");
      await write("four");
      await live;
      socket.io.engine.close();
      await write("five");
      await passing.restart();
      await write("six");
      greeting = next(socket, "connected");
      socket.connect();
      await greeting;
      assert.equal(socket.recovered, true);
      assert.deepEqual(titles, ["one", "two", "three", "four", "five", "six"]);
      socket.disconnect();
    } finally {
      assert.equal(await passing.stop(), 0);
    }
  }
});
