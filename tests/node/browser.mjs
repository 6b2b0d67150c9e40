// A browser that is driven line by line: each line of the input is a command in JSON, each line of
// the output its result. tests/e2e/browser.py is the other side.
//
// Everything that a page says on its console as an error or warning, every exception in it, and
// every request that does not go to its own origin is kept, and told by the command `complaints`.

import { createInterface } from "node:readline";
import { chromium } from "playwright-core";

const kArguments = [
  "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
  "--disable-background-networking", "--disable-component-update", "--disable-sync",
];
const kWaitMs = 15_000;

const complaints = [];
let expected = [];  // Texts of complaints that a test provokes.
let origin = "";
let page = null;

function complain(text) {
  if (!expected.some((part) => text.includes(part))) complaints.push(text);
}

function goesElsewhere(url) {
  if (/^(data|blob|about):/.test(url)) return false;
  return new URL(url.replace(/^ws/, "http")).origin !== origin;
}

function watch(context) {
  context.on("page", (opened) => {
    opened.on("console", (message) => {
      if (["error", "warning"].includes(message.type())) {
        complain(`console ${message.type()}: ${message.text()}`);
      }
    });
    opened.on("pageerror", (error) => complain(`exception: ${error.message}`));
    opened.on("websocket", (socket) => {
      if (goesElsewhere(socket.url())) complain(`elsewhere: ${socket.url()}`);
    });
  });
  context.on("request", (request) => {
    if (goesElsewhere(request.url())) complain(`elsewhere: ${request.url()}`);
  });
}

const browser = await chromium.launch({ executablePath: "/usr/bin/chromium", args: kArguments });

const commands = {
  // A new page without anything remembered.
  async open({ url, ...options }) {
    await page?.context().close();
    origin = new URL(url).origin;
    const context = await browser.newContext(options);
    watch(context);
    page = await context.newPage();
    const answer = await page.goto(url);
    return answer.status();
  },
  // Playwright's own waiting evaluates text inside the page, which the pages' policy forbids.
  async until({ holds }) {
    const end = Date.now() + kWaitMs;
    while (!(await page.evaluate(`Boolean(${holds})`))) {
      if (Date.now() > end) throw new Error(`${holds} did not come true`);
      await new Promise((resolve) => setTimeout(resolve, 30));
    }
  },
  async evaluate({ expression }) {
    return page.evaluate(expression);
  },
  async fill({ selector, text }) {
    await page.fill(selector, text);
  },
  async click({ selector }) {
    await page.click(selector);
  },
  async screenshot({ path }) {
    await page.screenshot({ path });
  },
  async expect({ text }) {
    expected.push(text);
  },
  // Closes the page and tells what has been wrong since the last time.
  async complaints() {
    await page?.context().close();
    page = null;
    expected = [];
    return complaints.splice(0);
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const { command, ...options } = JSON.parse(line);
  let result;
  try {
    result = { value: (await commands[command](options)) ?? null };
  } catch (error) {
    result = { error: `${command}: ${error.message}` };
  }
  process.stdout.write(`${JSON.stringify(result)}\n`);
}
await browser.close();
