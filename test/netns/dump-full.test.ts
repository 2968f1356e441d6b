// A flow table with many flows: every format of its dump is complete, from a process whose heap cannot hold all of it as text.

import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, it } from "vitest";
import { readFlows } from "../../src/datapath/flow-reader.ts";
import { addition, FLOW_REQUESTS_PROGRAM, runRequests } from "../../src/datapath/flow-requests.ts";
import { ticksNow } from "../../src/datapath/node-settings.ts";
import { openPins } from "../../src/datapath/pins.ts";
import { tableOf } from "../../src/datapath/typed-maps.ts";
import { Direction } from "../../src/gen/layout.ts";
import { cleanUp, commandOf, type ProductPaths, weirOutput } from "../../src/lab/weir-process.ts";
import { chartCapabilities } from "../support/capabilities.ts";

/** Of 655,360 places: hardly any finds its two buckets full. */
const FLOWS = 200_000;
/** Half a million short strings, but not the text of the whole dump beside all records. */
const HEAP_MB = 450;
const HOUR_SECONDS = 3_600n;

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
  const node = tableOf("node", pins.map("node")).get(0);
  if (node === undefined) throw new Error("the node has no settings");
  const flow = {
    expires: ticksNow(node.ticksPerSecond) + BigInt(node.ticksPerSecond) * HOUR_SECONDS,
    generation: 1,
    opener: Direction.EGRESS,
    state: 3,
    tenant: 0,
  };
  const additions = Array.from({ length: FLOWS }, (_, at) => {
    const ends = { local: 0x0a000001, remote: 0x0b000000 + at, localPort: 80, remotePort: 40_000 };
    return addition({ map: "conntrack_v4", key: { ...ends, owner: (7 << 8) | 6 } }, flow);
  });
  const program = pins.program(FLOW_REQUESTS_PROGRAM);
  await runRequests(program, additions);
  program.close();
  entries = [...readFlows(pins.map, node)].length;
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

it("has nearly all flows", () => {
  expect(entries).toBeGreaterThan(FLOWS * 0.99);
});

it.each([
  ["a table", []],
  ["JSON", ["-o", "json"]],
  ["lines of JSON", ["-o", "ndjson"]],
  ["bytes", ["--raw", "-o", "ndjson"]],
])("is complete as %s", async (_, args) => {
  expect(await dumped(...args)).toEqual({ status: 0, flows: entries, errors: "" });
});
