// The node's condition: its content, when it is written, and its final state.
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import {
  CONDITION_TIMING,
  type Condition,
  type ConditionTiming,
  conditionOf,
  openCondition,
} from "../../../../src/agent/kubernetes/node-condition.ts";
import type { Pod } from "../../../../src/model/cluster.ts";
import type { Problem } from "../../../../src/model/problem.ts";
import { type FakeServer, startServer } from "./server.ts";

const NODE = "/api/v1/nodes/node-a";
const FULL: Problem = { severity: "error", topic: "capacity", reason: "70000 identities" };
const pod = (name: string): [string, Pod] => [
  `shop/${name}`,
  {
    namespace: "shop",
    name,
    labels: new Map(),
    ips: [],
    hostNetwork: false,
    finished: false,
    ports: [],
    node: "node-a",
  },
];
const PODS = new Map([pod("web-0"), pod("web-1")]);
const missing = (name: string): Problem => ({
  ...{ severity: "error", object: `Pod shop/${name}`, reason: "no interface", topic: "interface" },
});

let server: FakeServer;
const logged: string[] = [];
beforeEach(async () => {
  server = await startServer();
  server.objects.set(NODE, { status: { conditions: [{ type: "Ready", status: "True" }] } });
  logged.length = 0;
});
afterEach(() => server.close());

function open(timing: Partial<ConditionTiming> = {}) {
  const write = (message: string) => void logged.push(message);
  return openCondition(
    { client: server.client, node: "node-a", timing: { ...CONDITION_TIMING, leastMs: 1, ...timing } },
    {
      log: { debug: write, info: write, warn: write, error: write },
      now: () => new Date("2026-11-21T13:00:00.123Z"),
    },
  );
}

type Written = Condition & { readonly lastTransitionTime: string; readonly lastHeartbeatTime: string };
const written = (): Written[] =>
  server.asked
    .filter(({ method }) => method === "PATCH")
    .map(({ body }) => (body as { status: { conditions: [Written] } }).status.conditions[0]);
const until = (condition: () => unknown) => vi.waitUntil(condition, { timeout: 60_000, interval: 5 });

it("is true while the node enforces, despite problems with policies and single fields", () => {
  const problems: Problem[] = [
    { severity: "error", object: "NetworkPolicy shop/web", reason: "it is wrong" },
    { severity: "error", object: "Pod shop/web-0", reason: "annotation" },
    { severity: "warning", object: "interface veth7", reason: "of no known pod", topic: "interface" },
  ];
  expect(conditionOf({ problems, pods: PODS, node: "node-a" })).toMatchObject({ status: "True" });
});

it("is false if a table is full or pods have no interface, with the reason of the Event", () => {
  const of = (...problems: Problem[]) => conditionOf({ problems, pods: PODS, node: "node-a" });
  expect(of(missing("web-0"), missing("web-1"))).toEqual({
    status: "False",
    reason: "InterfaceUnknown",
    message: "pod shop/web-0: no interface (and 1 more pods)",
  });
  expect(of(missing("web-0"), FULL)).toMatchObject({ status: "False", reason: "CapacityExceeded" });
});

it("is written when it changes, only its own, and states at the end that no agent runs", async () => {
  const writer = open();
  writer.update({ problems: [], pods: PODS });
  await until(() => written().length === 1);
  for (let round = 0; round < 10; round += 1) writer.update({ problems: [], pods: PODS });
  writer.update({ problems: [FULL], pods: PODS });
  await until(() => written().length === 2);
  await writer.close();
  expect(written().map(({ status, reason }) => `${status} ${reason}`)).toEqual([
    "True PoliciesInForce",
    "False CapacityExceeded",
    "Unknown AgentStopped",
  ]);
  const [patch] = server.asked.filter(({ method }) => method === "PATCH");
  expect(patch).toMatchObject({ path: `${NODE}/status`, type: "application/strategic-merge-patch+json" });
  expect(written()[0]).toMatchObject({
    type: "weir.dev/PolicyEnforced",
    lastHeartbeatTime: "2026-11-21T13:00:00Z",
  });
});

it("keeps the time of its last change over a restart and over heartbeats", async () => {
  const before = {
    type: "weir.dev/PolicyEnforced",
    status: "True",
    lastTransitionTime: "2026-11-01T00:00:00Z",
  };
  server.objects.set(NODE, { status: { conditions: [before] } });
  const writer = open({ heartbeatMs: 20 });
  writer.update({ problems: [], pods: PODS });
  await until(() => written().length >= 3);
  for (const { lastTransitionTime } of written()) expect(lastTransitionTime).toBe("2026-11-01T00:00:00Z");
  await writer.close();
  expect(written().at(-1)).toMatchObject({ status: "Unknown", lastTransitionTime: "2026-11-21T13:00:00Z" });
});

it("is retried if it was refused, and that is logged once", async () => {
  server.answer = ({ method }) => (method === "PATCH" ? 403 : undefined);
  const writer = open({ heartbeatMs: 10 });
  writer.update({ problems: [], pods: PODS });
  await until(() => written().length >= 4);
  expect(logged).toEqual(["the node's condition cannot be written"]);
  server.answer = undefined;
  await until(() => logged.length === 2);
  await writer.close();
});

it("does not delay the end of the agent", async () => {
  server.answer = () => "silence";
  const writer = open({ lastMs: 500 });
  writer.update({ problems: [], pods: PODS });
  await until(() => server.asked.length === 1);
  await writer.close();
  expect(server.asked.length).toBeGreaterThan(1);
});
