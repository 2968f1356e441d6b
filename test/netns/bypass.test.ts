// The emergency bypass over real sockets: what it opens, where it is shown, that it ends by itself, also while no agent runs,
// and that only root may begin it.

import { spawnSync } from "node:child_process";
import { chmodSync, chownSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, expect, it } from "vitest";
import type { Agent } from "../../src/lab/weir-process.ts";
import type { BypassView, EndpointView } from "../../src/observe/api-views.ts";
import { mismatchesOf } from "./reach.ts";
import {
  EVERYTHING_OPEN,
  FRIENDS_ONLY,
  FRIENDS_ONLY_HOLDS,
  SERVER,
  STRANGER,
  smallWorld,
} from "./small-world.ts";
import { openWorld, type World } from "./world.ts";

const PATIENCE_MS = 60_000;
/** Members of this group may use the socket. */
const GROUP = 4711;
const METRICS = "127.0.0.1:9471";
const ARGS = ["--metrics-listen", METRICS] as const;

let world: World;
let agent: Agent;

beforeAll(async () => {
  world = await openWorld(smallWorld("wt-bypass", { "friends-only.yaml": FRIENDS_ONLY }));
  agent = await world.start(...ARGS);
});

afterAll(() => world?.close());

const bypass = (...args: readonly string[]) => world.weir("bypass", ...args);
const holds = async (matrix: string): Promise<void> =>
  expect(await mismatchesOf(world.lab, matrix)).toEqual([]);

async function until(isSo: () => Promise<boolean>): Promise<void> {
  for (const deadline = Date.now() + PATIENCE_MS; !(await isSo()); await sleep(100))
    if (Date.now() > deadline) throw new Error(`not within ${PATIENCE_MS} ms`);
}

async function listed(): Promise<readonly BypassView[]> {
  const { status, stdout, stderr } = await bypass("list", "-o", "json");
  expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
  return JSON.parse(stdout);
}

async function stateOf(pod: string): Promise<Pick<EndpointView, "state" | "until">> {
  const { stdout } = await world.weir("get", "endpoints", pod, "-o", "json");
  const [{ state, until: end }] = JSON.parse(stdout);
  return { state, ...(end === undefined ? {} : { until: end }) };
}

const metric = async (scope: string): Promise<string | undefined> =>
  (await (await fetch(`http://${METRICS}/metrics`)).text())
    .split("\n")
    .find((line) => line.startsWith(`weir_bypasses{scope="${scope}"} `))
    ?.replace(/.* /, "");

it("of a pod lets its packets pass, reports them, and is to be seen everywhere", async () => {
  await holds(FRIENDS_ONLY_HOLDS);
  const begun = await bypass("pod", SERVER, "--for", "15m", "--reason", "INC-4711");
  expect(begun).toMatchObject({
    status: 0,
    stdout: expect.stringMatching(/^shop\/server is bypassed until \S+Z\n$/),
    stderr: "",
  });
  await holds(EVERYTHING_OPEN);
  const [found] = await listed();
  expect(found).toMatchObject({ target: SERVER, reason: "INC-4711" });
  const end = found?.until ?? "";
  expect(await stateOf(SERVER)).toEqual({ state: "off", until: end });
  expect(await stateOf(STRANGER)).toEqual({ state: "enforced" });
  const { status, stdout } = await world.weir("status");
  expect(status).toBe(7);
  expect(stdout).toContain(
    `degraded: EMERGENCY BYPASS of 1 pod until ${end}: their policies drop nothing; 1 problem; the rest is enforced: `,
  );
  expect(stdout).toContain(`bypass:     shop/server, until ${end}: INC-4711\n`);
  expect(stdout).toContain(
    `warning: Pod shop/server: emergency bypass until ${end}: INC-4711; its policies drop nothing`,
  );
  expect((await world.weir("get", "pods")).stdout).toMatch(/^shop +server .* OFF until /m);
  expect(agent.stderr).toMatch(/warn +policies are bypassed target=shop\/server until=\S+ reason=INC-4711/);
  expect([await metric("pod"), await metric("node")]).toEqual(["1", "0"]);
  const events = await world.weir(
    "monitor",
    "--verdict",
    "audit",
    "--to",
    SERVER,
    "--last",
    "1",
    "-o",
    "json",
  );
  expect(JSON.parse(events.stdout)).toMatchObject({ policies: ["shop/friends-only"] });
  expect((await world.weir("trace", "--from", STRANGER, "--to", SERVER, "--port", "80")).stdout).toContain(
    "isolated by shop/friends-only (audit: it passes)",
  );
});

it("outlives the agent", async () => {
  const [before] = await listed();
  await agent.kill();
  await holds(EVERYTHING_OPEN);
  agent = await world.start(...ARGS);
  expect(await listed()).toEqual([before]);
  await holds(EVERYTHING_OPEN);
});

it("is for root alone, also where a group may use the socket", () => {
  const { bin, bpffs, socket } = world.paths;
  // As with --socket-group.
  chownSync(socket, 0, GROUP);
  chmodSync(socket, 0o660);
  const as = (...args: readonly string[]) =>
    spawnSync(
      "setpriv",
      [
        "--reuid",
        "65534",
        "--regid",
        String(GROUP),
        "--clear-groups",
        bin,
        ...args,
        "--bpffs",
        bpffs,
        "--socket",
        socket,
      ],
      { encoding: "utf8" },
    );
  expect(as("bypass", "list").status).toBe(0);
  for (const args of [
    ["bypass", "node", "--for", "1m", "--reason", "mine"],
    ["bypass", "pod", SERVER, "--for", "1m", "--reason", "mine"],
    ["bypass", "end", "--all"],
  ]) {
    const { status, stderr } = as(...args);
    expect({ status, stderr }).toEqual({
      status: 6,
      stderr: expect.stringContaining("only root may do this"),
    });
  }
});

it("ends on request", async () => {
  expect(await bypass("end", "shop/absent")).toMatchObject({ status: 4 });
  expect(await bypass("end", SERVER)).toEqual({
    status: 0,
    stdout: "shop/server: policies are enforced again\n",
    stderr: "",
  });
  await holds(FRIENDS_ONLY_HOLDS);
  expect(await listed()).toEqual([]);
  expect(await stateOf(SERVER)).toEqual({ state: "enforced" });
  expect((await world.weir("status")).status).toBe(0);
  expect(await metric("pod")).toBe("0");
});

it("of the node is for all its pods, and ends by itself", async () => {
  expect(await bypass("node", "--for", "5s", "--reason", "all is down")).toMatchObject({ status: 0 });
  expect((await world.weir("status", "--brief")).stdout).toMatch(
    /^degraded: EMERGENCY BYPASS of this node until \S+: no policy drops anything; /,
  );
  await until(async () => (await world.weir("status")).status === 0);
  expect(agent.stderr).toMatch(/warn +bypass ended: policies are enforced again target=node/);
  await holds(FRIENDS_ONLY_HOLDS);
});

it("is over with the next agent, if its end came while none ran", async () => {
  expect(await bypass("pod", SERVER, "--for", "3s", "--reason", "short")).toMatchObject({ status: 0 });
  const [found] = await listed();
  await agent.kill();
  await until(async () => Date.now() > Date.parse(found?.until ?? ""));
  agent = await world.start(...ARGS);
  expect(agent.stderr).toMatch(
    /warn +bypass is over since no agent ran, and is being ended target=shop\/server/,
  );
  expect(await listed()).toEqual([]);
  await holds(FRIENDS_ONLY_HOLDS);
});

it("is refused for pods that are not here, for too long, and without a reason", async () => {
  for (const [args, status] of [
    [["pod", "shop/servre", "--for", "1m", "--reason", "x"], 4],
    [["node", "--for", "25h", "--reason", "x"], 2],
    [["node", "--for", "x", "--reason", "x"], 2],
    [["node", "--for", "1m", "--reason", " "], 2],
    [["node", "--for", "1m"], 2],
    [["node", "--reason", "x"], 2],
    [["end"], 2],
    [["end", "node", "--all"], 2],
  ] as const) {
    const done = await bypass(...args);
    expect({ args, status: done.status, stdout: done.stdout }).toEqual({ args, status, stdout: "" });
  }
});
