// Starts the real server for a test, in a folder of its own and on a free port.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../..", import.meta.url));
const binary = resolve(process.env.SUBFORGE_BINARY ?? join(root, "build/release/subforge"));

export class Server {
  static async start(settings = {}) {
    const server = new Server();
    server.folder = await mkdtemp(join(tmpdir(), "subforge-node-"));
    await server.begin({ PORT: "0", ...settings });
    return server;
  }

  async begin(settings) {
    this.settings = settings;
    this.process = spawn(binary, ["serve"], {
      cwd: this.folder,
      env: { PATH: process.env.PATH, RATE_LIMIT_MULTIPLIER: "10000", ...settings },
      stdio: ["ignore", "pipe", "inherit"],
    });
    this.ended = once(this.process, "exit");
    const lines = createInterface({ input: this.process.stdout });
    this.port = await new Promise((found, failed) => {
      lines.on("line", (line) => {
        const entry = JSON.parse(line);
        if (entry.message === "listening") found(entry.port);
      });
      this.ended.then(([code]) => failed(new Error(`the server ended with ${code}`)));
    });
  }

  // Ends without a warning and comes back on the same port, with what is on disk.
  async restart() {
    this.process.kill("SIGKILL");
    await this.ended;
    await this.begin({ ...this.settings, PORT: String(this.port) });
  }

  url(path) {
    return `ws://127.0.0.1:${this.port}${path}`;
  }

  async post(path, body) {
    const answer = await fetch(`http://127.0.0.1:${this.port}${path}`, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(body),
    });
    return { status: answer.status, body: await answer.json() };
  }

  // Ends the server as a service manager would; the result is its exit code.
  async stop() {
    this.process.kill("SIGTERM");
    const [code] = await this.ended;
    await rm(this.folder, { recursive: true });
    return code;
  }
}
