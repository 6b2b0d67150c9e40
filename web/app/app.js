// The first page: all agents, kept up to date by the events of /ws/v2.

import { Connection } from "/app/connection.js";
import { View } from "/app/view.js";

const kTokenKey = "subforge.token";
const kPageSize = 1000;
const kAgentsMax = 5000;
const kReloadWaitMs = 300;

class App {
  constructor() {
    this.agents = new Map();  // By id, newest first.
    this.held = new Set();  // For each fetch of the list, the events that come meanwhile.
    this.token = sessionStorage.getItem(kTokenKey);
    this.view = new View({
      onToken: (token) => this.#useToken(token),
      onForget: () => this.#useToken(null),
    });
    this.connection = new Connection({
      url: () => this.#socketUrl(),
      prepare: () => this.#load(),
      // Something may have happened between the list and the connection.
      onReady: () => this.#reload(),
      onMessage: (message) => this.#take(message),
      onState: (state, waitMs) => this.view.showConnection(state, waitMs),
    });
    this.view.showToken(this.token);
    this.#showDocumentation();
    this.connection.start();
  }

  // The server may have been told not to serve its documentation.
  async #showDocumentation() {
    try {
      const about = await (await fetch("/")).json();
      this.view.showDocumentation(about.docs_url !== null);
    } catch {
      // Without an answer the links stay hidden; the connection tells what is wrong.
    }
  }

  #useToken(token) {
    this.token = token;
    if (token) sessionStorage.setItem(kTokenKey, token);
    else sessionStorage.removeItem(kTokenKey);
    this.view.showToken(token);
    // What the last one could see is none of the next one's business.
    this.agents = new Map();
    this.view.hide();
    this.connection.stop();
    this.connection.start();
  }

  #socketUrl() {
    const url = new URL("/ws/v2", location.href);
    url.protocol = location.protocol === "https:" ? "wss:" : "ws:";
    if (this.token) url.searchParams.set("token", this.token);
    return url;
  }

  // Whether the list could be read; if credentials are what is missing, they are asked for.
  async #load() {
    const held = [];
    this.held.add(held);
    const token = this.token;
    // What a former token could see, or not see, is nothing for whoever uses the page now.
    const isLate = () => token !== this.token;
    try {
      const agents = await this.#fetchAll(isLate);
      if (isLate()) return true;
      if (!agents) return false;
      this.agents = agents;
      for (const message of held) this.#apply(message);
      this.view.showProblem("");
      this.view.show(this.agents);
      return true;
    } catch (error) {
      if (isLate()) return true;
      this.view.showProblem(error.sentence ?? "The server cannot be reached.");
      throw error;
    } finally {
      this.held.delete(held);
    }
  }

  async #fetchAll(isLate) {
    const headers = this.token ? { Authorization: `Bearer ${this.token}` } : {};
    const agents = new Map();
    for (let skip = 0; skip < kAgentsMax; skip += kPageSize) {
      const answer = await fetch(`/api/v2/agents?skip=${skip}&limit=${kPageSize}`, { headers });
      if (isLate()) return null;
      if (answer.status === 401 || answer.status === 403) {
        const { detail } = await answer.json();
        this.view.askForToken(this.token ? `The server says: ${detail}.`
                                         : "This server asks for credentials.");
        return null;
      }
      if (!answer.ok) {
        const error = new Error(`status ${answer.status}`);
        error.sentence = answer.status === 429 ? "Too many requests; this page waits a little."
                                               : `The server answered with ${answer.status}.`;
        throw error;
      }
      const page = await answer.json();
      for (const agent of page) agents.set(agent.id, agent);
      if (page.length < kPageSize) break;
    }
    return agents;
  }

  // Changes that come in a heap are one fetch.
  #reload() {
    clearTimeout(this.reloading);
    this.reloading = setTimeout(async () => {
      try {
        if (!(await this.#load())) this.connection.stop();
      } catch {
        this.reloading = setTimeout(() => this.#reload(), 5000);
      }
    }, kReloadWaitMs);
  }

  #take(message) {
    if (message.type !== "agent_update") return;
    for (const held of this.held) held.push(message);
    const changed = this.#apply(message);
    this.view.show(this.agents, changed);
  }

  // Returns the ids of the agents that are new or different.
  #apply({ data }) {
    switch (data.event) {
      case "agent_created":
      case "agent_updated": {
        const { agent } = data;
        // A new one comes first; the others keep their places.
        if (this.agents.has(agent.id)) this.agents.set(agent.id, agent);
        else this.agents = new Map([[agent.id, agent], ...this.agents]);
        return [agent.id];
      }
      case "agent_deleted":
        this.agents.delete(data.agent_id);
        return [];
      default:
        this.#reload();
        return [];
    }
  }
}

new App();
