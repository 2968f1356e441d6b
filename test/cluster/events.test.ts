// What the agent reports to a real API server: Events of policies and pods, and the node's condition, with the shipped rights.

import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, expect, it } from "vitest";
import type { Agent } from "../../src/lab/weir-process.ts";
import { LIMITS } from "../../src/state/desired-state.ts";
import { objectsOf, renderChart } from "../../tools/chart/render.ts";
import type { Manifest } from "./api.ts";
import { createPod, namespaceOf, podNamed } from "./objects.ts";
import { NODE, openWorld, type World } from "./world.ts";

interface KubernetesEvent {
  readonly metadata: { readonly name: string };
  readonly type: string;
  readonly reason: string;
  readonly note: string;
  readonly regarding: { readonly kind: string; readonly name: string; readonly uid: string };
  readonly reportingController: string;
  readonly reportingInstance: string;
}

/** The end of a problem is reported a minute after its Event at the earliest. */
const WAIT_MS_MAX = 150_000;
const POLL_MS = 100;
/** Two pods more than a node's capacity, and no more than fits into an annotation. */
const PREFIXES = LIMITS.sources / 2 + 10;

const policy = (name: string, mode: string, ingress: readonly object[] = []): Manifest => ({
  apiVersion: "networking.k8s.io/v1",
  kind: "NetworkPolicy",
  metadata: { name, namespace: "shop", annotations: { "weir.dev/mode": mode } },
  spec: { podSelector: {}, ingress },
});

let world: World;
let agent: Agent;

beforeAll(async () => {
  world = await openWorld("wc-evt");
  await world.api.create(namespaceOf("shop", { "weir.dev/pod-annotations": "trusted" }));
  await world.addPods([
    { name: "shop/server", labels: {}, addresses: ["10.63.75.1"], tcp: [80] },
    { name: "shop/client", labels: {}, addresses: ["10.63.75.2"], tcp: [] },
  ]);
  agent = await world.start();
});

afterAll(() => world?.close());

async function eventsOf(name: string, namespace = "shop"): Promise<readonly KubernetesEvent[]> {
  const path = `/apis/events.k8s.io/v1/namespaces/${namespace}/events`;
  const { items } = await world.api.must<{ items: readonly KubernetesEvent[] }>("GET", path);
  return items.filter(({ regarding }) => regarding.name === name);
}

/** Polls until the answer is the expected one, and returns it. */
async function eventually<T>(ask: () => Promise<T | undefined>, what: string): Promise<T> {
  for (const begun = performance.now(); performance.now() - begun < WAIT_MS_MAX; await sleep(POLL_MS)) {
    const answer = await ask();
    if (answer !== undefined) return answer;
  }
  throw new Error(`${what}: not within ${WAIT_MS_MAX} ms`);
}

const eventOf = (name: string, reason: string, namespace = "shop") =>
  eventually(
    async () => (await eventsOf(name, namespace)).find((event) => event.reason === reason),
    `an Event ${reason} of ${name}`,
  );

/** The agent's count for a result and reason. */
async function counted(result: string, reason: string): Promise<number> {
  const page = await (await fetch("http://127.0.0.1:9469/metrics")).text();
  const line = new RegExp(
    `^weir_kubernetes_events_total\\{result="${result}",reason="${reason}"\\} (\\d+)$`,
    "m",
  );
  return Number(line.exec(page)?.[1] ?? 0);
}

it("a policy that cannot be read in full has an Event, and another one when it is corrected", async () => {
  const { metadata } = await world.api.create(policy("web", "enforced"));
  const event = await eventOf("web", "PolicyInvalid");
  expect(event).toMatchObject({
    type: "Warning",
    note: 'metadata.annotations["weir.dev/mode"]: "enforced" is not a mode; expected enforce or audit; the policy is enforced',
    regarding: { kind: "NetworkPolicy", uid: metadata["uid"] },
    reportingController: "weir.dev/agent",
    reportingInstance: NODE,
  });
  await world.api.patch(policy("web", ""), { metadata: { annotations: { "weir.dev/mode": "enforce" } } });
  expect(await eventOf("web", "ProblemSolved")).toMatchObject({ type: "Normal" });
  // `kubectl describe` queries Events this way.
  const selector = `involvedObject.uid=${metadata["uid"]}`;
  const { items } = await world.api.must<{ items: readonly unknown[] }>(
    "GET",
    `/api/v1/namespaces/shop/events?fieldSelector=${selector}`,
  );
  expect(items).toHaveLength(2);
});

it("an unknown mode has an Event; a CIDR in a spelling that the API server stores has none", async () => {
  const block = { from: [{ ipBlock: { cidr: "::ffff:10.0.0.0/104" } }] };
  const path = "/apis/networking.k8s.io/v1/namespaces/shop/networkpolicies";
  const mapped = policy("mapped", "enforce", [block]);
  const { status } = await world.api.call("POST", path, mapped);
  expect([201, 422]).toContain(status);
  await world.api.must("POST", path, policy("moody", "sometimes", [block].slice(status === 201 ? 0 : 1)));
  const { note } = await eventOf("moody", "PolicyInvalid");
  expect(note).toMatch(/^metadata\.annotations\["weir\.dev\/mode"\]: "sometimes" is not a mode/);
  expect(await eventsOf("mapped")).toEqual([]);
});

it("a pod of this node without an interface has an Event, one of another node has none", async () => {
  const [here, elsewhere] = ["shop/lost", "shop/elsewhere"];
  await createPod(world.api, { name: elsewhere, labels: {}, addresses: ["10.63.75.9"], node: "node-2" });
  await createPod(world.api, { name: here, labels: {}, addresses: ["10.63.75.8"], node: NODE });
  expect(await eventOf("lost", "InterfaceUnknown")).toMatchObject({ regarding: { kind: "Pod" } });
  expect(await eventsOf("elsewhere")).toEqual([]);
  await world.api.remove(podNamed(here));
});

it("a table that is full has an Event about the node, until everything fits again", async () => {
  const annotate = async (sources: string | null): Promise<void> => {
    for (const name of ["shop/client", "shop/server"])
      await world.api.patch(podNamed(name), {
        metadata: { annotations: { "weir.dev/allowed-sources": sources } },
      });
  };
  const prefixes = Array.from({ length: PREFIXES }, (_, index) => `10.${index >> 8}.${index & 255}.0/24`);
  await annotate(prefixes.join());
  const event = await eventOf("server", "CapacityExceeded");
  expect(event.note).toMatch(
    /^namespace shop needs 32788 IPv4 sources on this node; 327\d\d fit .* what it sends from \S+ and \d\d more is dropped$/,
  );
  expect(event.regarding).toMatchObject({ kind: "Pod", name: "server" });
  await annotate(null);
  expect((await eventOf("server", "ProblemSolved")).note).toMatch(/^CapacityExceeded no longer holds: /);
});

it("a bypass has an Event about its pod or the node, with end and reason, also one that outlives the agent", async () => {
  const bypass = async (...args: readonly string[]): Promise<void> => {
    expect(await world.weir("bypass", ...args)).toMatchObject({ status: 0 });
  };
  await bypass("pod", "shop/client", "--for", "15m", "--reason", "INC-4711");
  expect(await eventOf("client", "PolicyBypassed")).toMatchObject({
    type: "Warning",
    note: expect.stringMatching(
      /^emergency bypass until \S+Z: INC-4711; its policies drop nothing, what they would deny is reported$/,
    ),
    regarding: { kind: "Pod", name: "client" },
    reportingController: "weir.dev/agent",
    reportingInstance: NODE,
  });
  await agent.kill();
  agent = await world.start();
  const { stdout } = await world.weir("bypass", "list", "-o", "json");
  expect(JSON.parse(stdout)).toMatchObject([{ target: "shop/client", reason: "INC-4711" }]);
  // The end of what an agent has not found reported is not reported either.
  await eventually(async () => {
    const counts = [await counted("created", "PolicyBypassed"), await counted("known", "PolicyBypassed")];
    return counts.some((count) => count > 0) ? true : undefined;
  }, "the Event is known to the next agent");
  await bypass("end", "shop/client");
  expect(await eventOf("client", "ProblemSolved")).toMatchObject({ type: "Normal" });
  await bypass("node", "--for", "15m", "--reason", "INC-4712");
  expect(await eventOf(NODE, "PolicyBypassed", "kube-system")).toMatchObject({
    note: expect.stringMatching(/^emergency bypass .*until \S+Z: INC-4712; /),
    regarding: { kind: "Node", name: NODE },
  });
  await bypass("end", "--all");
});

it("an agent that is restarted does not repeat Events already recorded", async () => {
  await world.api.create(policy("again", "off"));
  const { metadata } = await eventOf("again", "PolicyInvalid");
  await agent.stop();
  agent = await world.start();
  const created = await eventually(async () => {
    const [news, known] = [
      await counted("created", "PolicyInvalid"),
      await counted("known", "PolicyInvalid"),
    ];
    return news + known > 0 ? news : undefined;
  }, "a count of Events");
  const found = (await eventsOf("again")).filter(({ reason }) => reason === "PolicyInvalid");
  expect(found.map(({ metadata: { name } }) => name)).toContain(metadata.name);
  // Unless its half-hour ended just now.
  expect(found.length).toBeLessThanOrEqual(1 + created);
});

it("the node has a condition if enabled, which states at the end that no agent runs", async () => {
  const { api } = world;
  const [role] = objectsOf(renderChart({ set: ["config.nodeCondition=true"] })).filter(
    ({ kind, metadata }) => kind === "ClusterRole" && !metadata.name.endsWith("-cleanup"),
  );
  await api.patch(role as Manifest, { rules: role?.["rules"] });
  await agent.stop();
  const ready = { type: "Ready", status: "True", reason: "Kubelet", message: "", lastHeartbeatTime: null };
  const node = { apiVersion: "v1", kind: "Node", metadata: { name: NODE } };
  await api.patch(node, { status: { conditions: [ready] } }, "/status");
  agent = await world.start("--node-condition");
  const conditions = async () => {
    const { status } = await api.must<{ status: { conditions: readonly Record<string, string>[] } }>(
      "GET",
      `/api/v1/nodes/${NODE}`,
    );
    return Object.fromEntries(status.conditions.map(({ type, ...rest }) => [type, rest]));
  };
  const own = (wanted: string) =>
    eventually(async () => {
      const found = (await conditions())["weir.dev/PolicyEnforced"];
      return found?.["status"] === wanted ? found : undefined;
    }, `the condition ${wanted}`);
  const lost = "shop/lost-too";
  await createPod(api, { name: lost, labels: {}, addresses: ["10.63.75.10"], node: NODE });
  expect(await own("False")).toMatchObject({ reason: "InterfaceUnknown" });
  await api.remove(podNamed(lost));
  expect(await own("True")).toMatchObject({ reason: "PoliciesInForce" });
  await agent.stop();
  expect(await own("Unknown")).toMatchObject({ reason: "AgentStopped" });
  expect((await conditions())["Ready"]).toMatchObject({ status: "True" });
});
