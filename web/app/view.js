// What is on the page. Texts of agents go in as text only, never as markup.

const kRowsMax = 500;
const kStatuses = ["active", "busy", "idle", "restarting", "error", "offline", "inactive"];

const at = (id) => document.getElementById(id);
const ago = new Intl.RelativeTimeFormat("en", { numeric: "auto" });

function make(name, text, className) {
  const element = document.createElement(name);
  if (text !== undefined) element.textContent = text;
  if (className) element.className = className;
  return element;
}

function relative(timestamp) {
  const seconds = Math.round((Date.parse(timestamp) - Date.now()) / 1000);
  const size = Math.abs(seconds);
  if (size < 5) return "just now";
  if (size < 60) return ago.format(seconds, "second");
  if (size < 3600) return ago.format(Math.round(seconds / 60), "minute");
  if (size < 86_400) return ago.format(Math.round(seconds / 3600), "hour");
  return ago.format(Math.round(seconds / 86_400), "day");
}

function makeRow(agent) {
  const row = make("tr");
  row.dataset.id = agent.id;
  row.dataset.status = agent.status;

  const name = make("th", agent.name);
  name.scope = "row";
  name.append(make("small", agent.type));

  const status = make("td");
  status.append(make("span", agent.status, "status"));

  const tags = make("td");
  for (const tag of agent.tags) tags.append(make("span", tag, "tag"));

  const done = make("td", agent.metrics.tasks_completed, "number");
  done.dataset.label = "Done";
  const failed = make("td", agent.metrics.tasks_failed, "number");
  failed.dataset.label = "Failed";

  const changed = make("td");
  const time = make("time", relative(agent.updated_at));
  time.dateTime = agent.updated_at;
  time.title = new Date(agent.updated_at).toLocaleString();
  changed.append(time);

  row.append(name, status, make("td", agent.current_task ?? ""), tags, done, failed, changed);
  return row;
}

// Touches only rows that come, go or move, so that the others keep their selection and animation.
function placeRows(body, rows) {
  for (const row of [...body.children]) {
    if (!rows.has(row)) row.remove();
  }
  let next = body.firstElementChild;
  for (const row of rows) {
    if (row === next) next = next.nextElementSibling;
    else body.insertBefore(row, next);
  }
}

function makeCount(label, count, status, pressed) {
  const button = make("button", undefined, "count");
  button.type = "button";
  button.dataset.status = status;
  button.setAttribute("aria-pressed", String(pressed));
  button.append(make("strong", count), make("span", label));
  return button;
}

export class View {
  constructor({ onToken, onForget }) {
    this.agents = new Map();
    this.status = "";  // Only agents in this state; empty for all.
    this.fresh = new Set();  // Agents whose change is still to be pointed out.
    this.rows = new Map();  // Agent -> its row; a changed agent is another object.
    this.scheduled = false;
    at("filter").addEventListener("input", () => this.#schedule());
    at("counts").addEventListener("click", (event) => {
      const button = event.target.closest("button");
      if (!button) return;
      this.status = this.status === button.dataset.status ? "" : button.dataset.status;
      this.#schedule();
    });
    at("rows").addEventListener("animationend", (event) => event.target.classList.remove("fresh"));
    at("copy").addEventListener("click", () => this.#copy());
    at("forget").addEventListener("click", onForget);
    at("sign-in").addEventListener("cancel", (event) => event.preventDefault());
    at("sign-in-form").addEventListener("submit", (event) => {
      event.preventDefault();
      const token = at("token").value.trim();
      if (!token) return;
      at("token").value = "";
      at("sign-in").close();
      onToken(token);
    });
    setInterval(() => this.#refreshTimes(), 10_000);
  }

  // All agents, newest first, and those of them that just changed.
  show(agents, changed = []) {
    this.agents = agents;
    for (const id of changed) this.fresh.add(id);
    this.#schedule();
  }

  // Shows no agents, nor that there are none.
  hide() {
    this.agents = new Map();
    this.#draw();
    at("empty").hidden = true;
  }

  showConnection(state, waitMs) {
    const texts = {
      connecting: "Connecting …",
      live: "Live",
      stopped: "Not connected",
      waiting: `Connection lost, next attempt in ${Math.ceil(waitMs / 1000)} s`,
    };
    at("connection").dataset.state = state;
    at("connection").textContent = texts[state];
  }

  showProblem(sentence) {
    at("problem").hidden = !sentence;
    at("problem").textContent = sentence;
  }

  showDocumentation(there) {
    at("documentation").hidden = !there;
  }

  showToken(token) {
    at("forget").hidden = !token;
    const authorization = token ? " \\\n  -H 'Authorization: Bearer YOUR_KEY'" : "";
    at("command").textContent =
        `curl -X POST ${location.origin}/api/v2/agents${authorization} \\\n` +
        "  -H 'Content-Type: application/json' \\\n" +
        `  -d '{"name": "My first agent", "type": "backend-developer"}'`;
  }

  askForToken(why) {
    at("sign-in-why").textContent = why;
    if (!at("sign-in").open) at("sign-in").showModal();
    at("token").focus();
  }

  // Many events in one frame are one drawing.
  #schedule() {
    if (this.scheduled) return;
    this.scheduled = true;
    requestAnimationFrame(() => {
      this.scheduled = false;
      this.#draw();
    });
  }

  #draw() {
    const all = [...this.agents.values()];
    at("overview").hidden = at("agents").hidden = all.length === 0;
    at("empty").hidden = all.length > 0;
    this.#drawCounts(all);
    const shown = all.filter((agent) => this.#matches(agent));
    const rows = new Map();
    for (const agent of shown.slice(0, kRowsMax)) {
      const row = this.rows.get(agent) ?? makeRow(agent);
      if (this.fresh.has(agent.id)) row.classList.add("fresh");
      rows.set(agent, row);
    }
    this.rows = rows;
    this.fresh.clear();
    placeRows(at("rows"), new Set(rows.values()));
    const left = shown.length - rows.size;
    at("more").hidden = left <= 0 && shown.length > 0;
    at("more").textContent = shown.length === 0 ? "No agent matches the filter."
                                                : `${left} more; the filter narrows the list.`;
    document.title = `${all.length} ${all.length === 1 ? "agent" : "agents"} – SubForge`;
  }

  #drawCounts(all) {
    const counts = new Map([...kStatuses.map((status) => [status, 0])]);
    for (const agent of all) counts.set(agent.status, (counts.get(agent.status) ?? 0) + 1);
    const focused = document.activeElement?.closest?.(".count")?.dataset.status;
    const buttons = [makeCount("all", all.length, "", this.status === "")];
    for (const [status, count] of counts) {
      if (count === 0 && status !== this.status) continue;
      buttons.push(makeCount(status, count, status, this.status === status));
    }
    at("counts").replaceChildren(...buttons);
    if (focused !== undefined) {
      buttons.find((button) => button.dataset.status === focused)?.focus();
    }
  }

  #matches(agent) {
    if (this.status && agent.status !== this.status) return false;
    const wanted = at("filter").value.trim().toLowerCase();
    if (!wanted) return true;
    const texts = [agent.name, agent.type, agent.current_task ?? "", ...agent.tags];
    return texts.some((text) => text.toLowerCase().includes(wanted));
  }

  #refreshTimes() {
    for (const time of at("rows").querySelectorAll("time")) {
      time.textContent = relative(time.dateTime);
    }
  }

  async #copy() {
    try {
      await navigator.clipboard.writeText(at("command").textContent);
      at("copy").textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(at("command"));
      at("copy").textContent = "Selected";
    }
    setTimeout(() => { at("copy").textContent = "Copy"; }, 2000);
  }
}
