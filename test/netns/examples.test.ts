// The examples of docs/cli.md that need an agent, run in the world that they come from: the output has the shape that
// is shown there. Only numbers, times and names of this machine may differ.

import { execFileSync, spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, it } from "vitest";
import { LAYOUT_DIGEST } from "../../src/gen/layout.ts";
import type { PodSpec } from "../../src/lab/lab-manifests.ts";
import { mismatchesOf } from "./reach.ts";
import { openWorld, type World } from "./world.ts";

const textOf = (path: string): string =>
  readFileSync(fileURLToPath(new URL(`../../${path}`, import.meta.url)), "utf8");

const pod = (name: string, number: number, label: readonly [string, string]): PodSpec => ({
  name,
  labels: { [label[0]]: label[1] },
  addresses: [`10.63.48.1${number}`, `fd63::1${number}`],
  tcp: [80],
});

const DEMO_DB = `
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: { name: demo-db, namespace: default }
spec:
  podSelector: { matchLabels: { app: demo-db } }
  policyTypes: [Ingress, Egress]
`;

/** So that there are flows, and packets that were denied. */
const TRAFFIC = `
  alpha/access -> alpha/nginx tcp/80 : 46
  beta/hammer  -> alpha/access tcp/80 : --`;

interface Example {
  readonly line: string;
  readonly output: string;
}

const COMMANDS = "status|get|trace|maps|conntrack|snapshot|check|sysdump|resync|log-level|version";
const ASKS = new RegExp(`^(?:weir (?:${COMMANDS})|tar xzOf)\\b(?!.*(?:--manifests|>| -w| -f))`);

/** Examples with a running agent: none with files of their own or elsewhere, none about the agent's start and end. */
const EXAMPLES: readonly Example[] = [...textOf("docs/cli.md").matchAll(/^```console\n([\s\S]*?)^```$/gm)]
  .flatMap(([, block = ""]) => block.split(/^\$ /m).slice(1))
  .map((command) => {
    const end = command.indexOf("\n");
    return { line: command.slice(0, end), output: command.slice(end + 1) };
  })
  .filter(({ line }) => ASKS.test(line));

let world: World;

beforeAll(async () => {
  world = await openWorld({
    prefix: "wt-docs",
    namespaces: { alpha: {}, beta: { ns: "b" }, default: {} },
    pods: [
      pod("alpha/nginx", 1, ["run", "nginx"]),
      pod("alpha/access", 2, ["run", "access"]),
      pod("beta/hammer", 3, ["app", "hammer"]),
    ],
    files: {
      "access-nginx.yaml": textOf("demo/policies/access-nginx.yaml"),
      "alpha-deny.yaml": textOf("demo/policies/alpha-deny.yaml"),
      "test-network-policy.yaml": textOf("demo/policies/test-network-policy.yaml"),
      "demo-db.yaml": DEMO_DB,
    },
  });
  await world.start();
  expect(await mismatchesOf(world.lab, TRAFFIC)).toEqual([]);
});

afterAll(() => world?.close());

const RUN_MS_MAX = 120_000;

function run(line: string): string {
  const { bin, bpffs, socket } = world.paths;
  const script = `weir() { "${bin}" "$@"; }; exec 2>&1; ${line}`;
  const env = { ...process.env, WEIR_BPFFS: bpffs, WEIR_SOCKET: socket };
  return spawnSync("bash", ["-c", script], {
    cwd: join(socket, ".."),
    encoding: "utf8",
    env,
    timeout: RUN_MS_MAX,
  }).stdout;
}

/** Changes the entry of alpha/access in `addresses`, as the examples have it. */
function tamper(): void {
  const path = join(world.paths.bpffs, LAYOUT_DIGEST, "maps", "addresses_v4");
  const words = ["4d", "00", "00", "00"];
  execFileSync("bpftool", [
    ...["map", "update", "pinned", path, "key", "hex", "0a", "3f", "30", "0c"],
    ...["value", "hex", ...words, ...words],
  ]);
}

/** What must have happened just before an example. */
const BEFORE: Readonly<Record<string, () => unknown>> = {
  "weir snapshot --compare before.gz": () => mismatchesOf(world.lab, TRAFFIC),
  "weir conntrack flush --peer alpha/access --dry-run": () => mismatchesOf(world.lab, TRAFFIC),
};

/** Line by line: numbers, times, and names that differ on this machine are normalized. */
const shapeOf = (line: string): string =>
  line
    .replaceAll(/\b[0-9a-f]{16}\b/g, "DIGEST")
    .replaceAll(/ on [\w.-]+/g, " on NODE")
    .replaceAll(/\S*\/(?:\S+\/)*\S*(?=$| )/g, (path) => (path.startsWith("/") ? "PATH" : path))
    .replaceAll(/\b(?:veth|wtdocs)[\w-]*/g, "LINK")
    .replaceAll(/\d+ (?:entry|entries|flows?|differences?)\b/g, "# THINGS")
    .replaceAll(/\d+(?:\.\d+)*/g, "#")
    .replaceAll(/ +/g, " ")
    .trim();

/** Shows an entry that was changed externally. */
const isAboutRepair = (output: string): boolean => output.includes("identity 77");

const isTitles = (line: string): boolean => /^[A-Z-]+(?: +[A-Z-]+)*$/.test(line);

it("has examples", () => {
  expect(EXAMPLES.length).toBeGreaterThan(20);
});

it.each(EXAMPLES)("$line", async ({ line, output }) => {
  await BEFORE[line]?.();
  const linesOf = (text: string): string[] => text.trimEnd().split("\n");
  const documented = linesOf(output);
  let printed: string[] = [];
  // The agent also repairs by itself: if it was first, once more.
  for (let attempt = 1; attempt <= 3; attempt++) {
    if (isAboutRepair(output)) tamper();
    printed = linesOf(run(line));
    if (shapeOf(printed[0] ?? "") === shapeOf(documented[0] ?? "")) break;
  }
  expect(shapeOf(printed[0] ?? "")).toBe(shapeOf(documented[0] ?? ""));
  // The content of a table depends on earlier traffic; the exit code does not.
  if (line.includes("echo $?")) expect(printed.at(-1)).toBe(documented.at(-1));
  const firstRow = documented.findIndex(isTitles);
  if (firstRow > 0) {
    const titles = (line: string | undefined): string => (line ?? "").replaceAll(/ +/g, " ");
    expect(printed.map(titles)).toContain(titles(documented[firstRow]));
  }
});
