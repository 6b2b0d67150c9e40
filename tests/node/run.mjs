// Runs all tests here, each file in a process of its own. The Node that runs them is the one from
// npm's packages where there is one, since Debian's is too old for some clients.
//
//   npm test [-- option of `node --test`...]

import { spawnSync } from "node:child_process";
import { existsSync, readdirSync } from "node:fs";
import { fileURLToPath } from "node:url";

const here = fileURLToPath(new URL(".", import.meta.url));
const packaged = `${here}node_modules/node-linux-${process.arch}/bin/node`;
const node = existsSync(packaged) ? packaged : process.execPath;
const files = readdirSync(here).filter((name) => name.endsWith(".test.mjs"));
const options = ["--test", ...process.argv.slice(2), ...files];
// Far above what they take: whatever hangs fails instead of holding up everything behind it.
const kAllMs = 15 * 60_000;
const { status, error } = spawnSync(node, options,
  { cwd: here, stdio: "inherit", timeout: kAllMs });
if (error) console.error(`${error.message}: not done after ${kAllMs / 60_000} minutes`);
process.exit(status ?? 1);
