// The live connection to /ws/v2: opens it, hands on its messages, and opens it again if it breaks.

const kWaitFirstMs = 500;
const kWaitMostMs = 30_000;
// The server sends a heartbeat at least this often; a connection that is silent for longer is dead
// even if the browser has not noticed.
const kSilenceMostMs = 150_000;
// The close code after which nobody is to come back by themselves.
const kEndedByAdministrator = 4403;

export class Connection {
  // `prepare()` runs before each attempt and resolves to whether to go on; it throws when the
  // server cannot be reached. `onReady()` follows the first message, `onMessage(message)` each
  // further one. `onState(state, waitMs)` tells connecting, live, waiting or stopped.
  constructor({ url, prepare, onReady, onMessage, onState }) {
    Object.assign(this, { url, prepare, onReady, onMessage, onState });
    this.attempts = 0;
    this.running = false;
    this.turn = 0;  // Tells an attempt that was overtaken by stop() and start().
    // Coming back from sleep or to the network is a reason to try at once.
    addEventListener("online", () => this.#hurry());
    document.addEventListener("visibilitychange", () => {
      if (document.visibilityState === "visible") this.#hurry();
    });
  }

  start() {
    this.running = true;
    this.turn += 1;
    this.attempts = 0;
    this.#attempt();
  }

  stop() {
    this.running = false;
    clearTimeout(this.timer);
    clearTimeout(this.silence);
    this.timer = null;
    const socket = this.socket;
    this.socket = null;
    socket?.close();
    this.onState("stopped");
  }

  async #attempt() {
    clearTimeout(this.timer);
    this.timer = null;
    this.onState("connecting");
    const { turn } = this;
    const overtaken = () => !this.running || turn !== this.turn;
    let prepared = false;
    try {
      prepared = await this.prepare();
    } catch {
      if (!overtaken()) this.#retry();
      return;
    }
    if (overtaken()) return;
    prepared ? this.#open() : this.stop();
  }

  #open() {
    const socket = new WebSocket(this.url());
    this.socket = socket;
    let ready = false;
    socket.addEventListener("message", (event) => {
      if (socket !== this.socket) return;
      this.#expectMore();
      const message = JSON.parse(event.data);
      if (ready) return this.onMessage(message);
      ready = true;
      this.attempts = 0;
      this.onState("live");
      this.onReady();
    });
    socket.addEventListener("close", ({ code }) => {
      if (socket !== this.socket) return;
      this.socket = null;
      clearTimeout(this.silence);
      if (code === kEndedByAdministrator) return this.stop();
      if (this.running) this.#retry();
    });
  }

  #expectMore() {
    clearTimeout(this.silence);
    this.silence = setTimeout(() => this.socket?.close(), kSilenceMostMs);
  }

  // Waits twice as long each time, and a random part of that, so that not all pages come back at
  // the same moment after a restart.
  #retry() {
    const mostMs = Math.min(kWaitMostMs, kWaitFirstMs * 2 ** this.attempts);
    this.attempts += 1;
    const waitMs = mostMs / 2 + Math.random() * (mostMs / 2);
    this.onState("waiting", waitMs);
    this.timer = setTimeout(() => this.#attempt(), waitMs);
  }

  #hurry() {
    if (this.running && this.timer) this.#attempt();
  }
}
