// Resumable uploads as seen by tus-js-client, the protocol's own client, unmodified.

import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { readdir, utimes } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { Upload } from "tus-js-client";

import { Server } from "./server.mjs";

const kFiles = "/api/v2/files";
const kChunkBytes = 256 * 1024;
const kFileBytes = 4 * 1024 * 1024 + 17;
const kNoFile = 404;
const kWrongChecksum = 460;
const kHourMs = 3600 * 1000;

let server;
before(async () => {
  server = await Server.start({ DISK_FREE_BYTES_MIN: "0", UPLOAD_EXPIRY_HOURS: "2" });
});
after(async () => {
  assert.equal(await server.stop(), 0);
});

const url = (path) => `http://127.0.0.1:${server.port}${path}`;
// Text, whose bytes are nobody else's.
const fresh = (bytes = kFileBytes) =>
  Buffer.from(randomBytes(bytes / 2 + 1).toString("hex")).subarray(0, bytes);
const sha1 = (bytes) => createHash("sha1").update(bytes).digest("base64");

// An upload that is over when `done` is: with its last answer, or with an error.
function begin(content, options = {}) {
  let upload;
  const done = new Promise((succeeded, failed) => {
    upload = new Upload(content, {
      endpoint: url(`${kFiles}/tus`),
      chunkSize: kChunkBytes,
      retryDelays: null,
      metadata: {
        filename: "größe.txt",
        file_type: "data_files",
        filetype: "text/plain",
        tags: "a,b",
        metadata: JSON.stringify({ k: 1 }),
      },
      onError: failed,
      onSuccess: ({ lastResponse }) => succeeded(lastResponse),
      ...options,
    });
    upload.start();
  });
  return { upload, done };
}

async function require_stored(answer, content) {
  const place = answer.getHeader("Content-Location");
  const file = await (await fetch(url(place))).json();
  assert.equal(file.original_filename, "größe.txt");
  assert.deepEqual(file.tags, ["a", "b"]);
  assert.deepEqual(file.metadata, { k: 1 });
  assert.equal(file.sha256, createHash("sha256").update(content).digest("hex"));
  const got = Buffer.from(await (await fetch(url(`${place}/download`))).arrayBuffer());
  assert.ok(got.equals(content));
}

// Where the server says that it stands; the status where there is none.
async function offset_of(upload) {
  const answer = await fetch(upload.url, { method: "HEAD", headers: { "Tus-Resumable": "1.0.0" } });
  return answer.status === 200 ? Number(answer.headers.get("Upload-Offset")) : answer.status;
}

// Breaks the upload off once so much of it has been accepted.
function broken_off(content, bytes, terminate = false) {
  return new Promise((stopped, failed) => {
    const { upload } = begin(content, {
      onError: failed,
      onChunkComplete: async (_, accepted) => {
        if (accepted < bytes) return;
        await upload.abort(terminate);
        stopped(upload);
      },
    });
  });
}

const under_way = async () => (await readdir(join(server.folder, "uploads", "resumable"))).length;

test("a file arrives in pieces, or at once, with what was said of it", async () => {
  for (const chunkSize of [kChunkBytes, Infinity]) {
    const content = fresh();
    await require_stored(await begin(content, { chunkSize }).done, content);
  }
  const content = fresh(1000);
  await require_stored(await begin(content, { uploadDataDuringCreation: true }).done, content);
  assert.equal(await under_way(), 0);
});

test("an upload that was aborted is resumed where it stands", async () => {
  const content = fresh();
  const first = await broken_off(content, 1024 * 1024);
  const stands = await offset_of(first);
  assert.ok(stands >= 1024 * 1024 && stands < content.length);
  const asked = [];
  const { done } = begin(content, {
    uploadUrl: first.url,
    onBeforeRequest: (request) => {
      asked.push(`${request.getMethod()} ${request.getHeader("Upload-Offset") ?? ""}`);
    },
  });
  await require_stored(await done, content);
  assert.deepEqual(asked.slice(0, 2), ["HEAD ", `PATCH ${stands}`]);
});

test("the client goes on by itself when the server was killed", async () => {
  const content = fresh();
  for (const when of [1, 5, content.length / kChunkBytes - 1]) {
    let killed;
    let chunks = 0;
    const { done } = begin(content, {
      retryDelays: [0, ...Array(100).fill(100)],
      onChunkComplete: () => {
        chunks += 1;
        if (chunks >= when) killed ??= server.restart();
      },
    });
    await require_stored(await done, content);
    assert.ok(killed);
    await killed;
  }
});

test("whoever missed the last answer is shown the file and sends nothing again", async () => {
  const content = fresh();
  const { upload, done } = begin(content);
  const missed = await done;
  const asked = [];
  const again = begin(content, {
    uploadUrl: upload.url,
    onBeforeRequest: (request) => { asked.push(request.getMethod()); },
  });
  const told = await again.done;
  assert.deepEqual(asked, ["HEAD"]);
  assert.equal(told.getHeader("Content-Location"), missed.getHeader("Content-Location"));
  await require_stored(told, content);
});

test("each piece is held to its checksum", async () => {
  const content = fresh();
  const summed = (wrong_at) => ({
    onBeforeRequest: (request) => {
      const offset = Number(request.getHeader("Upload-Offset"));
      if (request.getMethod() !== "PATCH") return;
      const chunk = content.subarray(offset, offset + kChunkBytes);
      const sum = sha1(offset === wrong_at ? "another" : chunk);
      request.setHeader("Upload-Checksum", `sha1 ${sum}`);
    },
  });
  await require_stored(await begin(content, summed(-1)).done, content);
  const { upload, done } = begin(content, summed(2 * kChunkBytes));
  const error = await done.then(() => null, (failure) => failure);
  assert.equal(error.originalResponse.getStatus(), kWrongChecksum);
  assert.equal(await offset_of(upload), 2 * kChunkBytes);
  const again = begin(content, { uploadUrl: upload.url, ...summed(-1) });
  await require_stored(await again.done, content);
});

test("an upload that is given up is gone", async () => {
  const upload = await broken_off(fresh(), 1, true);
  assert.equal(await offset_of(upload), kNoFile);
  assert.equal(await under_way(), 0);
});

test("one whose time is over begins anew", async () => {
  const content = fresh();
  let expires;
  const first = await broken_off(content, 1024 * 1024);
  const id = first.url.split("/").pop();
  const old = new Date(Date.now() - 2 * kHourMs - 1000);
  await utimes(join(server.folder, "uploads", "resumable", id), old, old);
  assert.equal(await offset_of(first), kNoFile);
  const { upload, done } = begin(content, {
    uploadUrl: first.url,
    onAfterResponse: (_, answer) => { expires ??= answer.getHeader("Upload-Expires"); },
  });
  await require_stored(await done, content);
  assert.notEqual(upload.url, first.url);
  const left = Date.parse(expires) - Date.now();
  assert.ok(left > kHourMs && left <= 2 * kHourMs, expires);
});
