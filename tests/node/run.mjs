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
const { status } = spawnSync(node, options, { cwd: here, stdio: "inherit" });
process.exit(status ?? 1);
