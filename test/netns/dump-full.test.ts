// A full flow table: every format of its dump is complete, from a process whose heap cannot hold all of it as text.

import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, it } from "vitest";
import { openPins } from "../../src/datapath/pins.ts";
import { tableOf } from "../../src/datapath/typed-maps.ts";
import { Direction } from "../../src/gen/layout.ts";
import { cleanUp, commandOf, type ProductPaths, weirOutput } from "../../src/lab/weir-process.ts";
import { chartCapabilities } from "../support/capabilities.ts";

/** Of the capacity of 262,144: an LRU map evicts some entries before it is full. */
const FLOWS = 200_000;
/** Half a million short strings, but not the text of the whole dump beside all records. */
const HEAP_MB = 450;

let directory: string;
let paths: ProductPaths;
let entries: number;

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), "wt-full-"));
  const bin = fileURLToPath(new URL("../../bin/weir", import.meta.url));
  paths = {
    bin,
    bpffs: "/sys/fs/bpf/wt-full",
    socket: join(directory, "agent.sock"),
    capabilities: chartCapabilities(),
  };
  if (existsSync(paths.bpffs)) cleanUp(paths);
  writeFileSync(
    join(directory, "namespace.yaml"),
    "apiVersion: v1\nkind: Namespace\nmetadata: { name: empty }\n",
  );
  await weirOutput(paths, ["run", "--once", "--manifests", directory]);
  const pins = openPins(paths.bpffs);
  if (pins === undefined) throw new Error("nothing is pinned");
  const table = tableOf("conntrack_v4", pins.map("conntrack_v4"));
  const flow = { expires: 2n ** 40n, generation: 1, opener: Direction.EGRESS, state: 3 };
  const keys = Array.from({ length: FLOWS }, (_, at) => ({
    local: 0x0a000001,
    remote: 0x0b000000 + at,
    localPort: 80,
    remotePort: 40_000,
    owner: (7 << 8) | 6,
  }));
  await table.writeBatch(keys.map((key) => [key, flow]));
  entries = (await table.read()).length;
  pins.close();
});

afterAll(() => {
  if (paths !== undefined) cleanUp(paths);
  rmSync(directory, { recursive: true, force: true });
});

interface Seen {
  readonly status: number | null;
  readonly flows: number;
  readonly errors: string;
}

/** Counts the flows in the output, and keeps nothing of it. */
function dumped(...args: readonly string[]): Promise<Seen> {
  const [command, all] = commandOf(paths, ["maps", "dump", "conntrack", ...args]);
  const child = spawn(command, all, {
    env: { ...process.env, NODE_OPTIONS: `--max-old-space-size=${HEAP_MB}` },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let flows = 0;
  let rest = "";
  let errors = "";
  child.stderr.on("data", (chunk: Buffer) => {
    errors += chunk.toString();
  });
  child.stdout.on("data", (chunk: Buffer) => {
    const lines = (rest + chunk.toString("latin1")).split("\n");
    rest = lines.pop() ?? "";
    flows += lines.filter((line) => /\b11\.\d|0b[0-9a-f]{6}/.test(line)).length;
  });
  return new Promise((resolve) => {
    child.on("close", (status) => resolve({ status, flows, errors }));
  });
}

it("is nearly full", () => {
  expect(entries).toBeGreaterThan(FLOWS * 0.9);
});

it.each([
  ["a table", []],
  ["JSON", ["-o", "json"]],
  ["lines of JSON", ["-o", "ndjson"]],
  ["bytes", ["--raw", "-o", "ndjson"]],
])("is complete as %s", async (_, args) => {
  expect(await dumped(...args)).toEqual({ status: 0, flows: entries, errors: "" });
});
