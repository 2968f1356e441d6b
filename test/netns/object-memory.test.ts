// Objects of one namespace that are far larger than the agent's heap: it is not ended, other namespaces are not affected. Needs root.

import { writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { type PodSpec, podManifest } from "../../src/lab/lab-manifests.ts";
import { Agent, statusOf, weir } from "../../src/lab/weir-process.ts";
import type { Kind } from "../../src/source/apiserver/resource-kinds.ts";
import { openObjects, openServer, type RawObject, type TestServer } from "../unit/source/apiserver/server.ts";
import { kubeconfigText } from "../unit/source/apiserver/world.ts";
import { mismatchesOf } from "./reach.ts";
import { openWorld, type World } from "./world.ts";

const NODE = "here";
/** As Node limits it in a container of 512 MiB. */
const HEAP = { NODE_OPTIONS: "--max-old-space-size=256" };
const POLICIES = 12;
/** A little less than 1 MB of JSON. */
const PREFIXES = 22_000;
const WAIT = { timeout: 120_000, interval: 200 };

const pod = (name: string, number: number): PodSpec => ({
  ...{ name, labels: {}, tcp: [80], udp: [80] },
  addresses: [`10.63.68.${number}`, `fd63:68::${number}`],
});
const PODS = [pod("greedy/pod", 1), pod("shop/server", 2), pod("shop/friend", 3)] as const;

/** Allows everybody, and so many addresses. */
const large = (number: number): RawObject => ({
  metadata: { name: `large-${number}`, namespace: "greedy" },
  spec: {
    podSelector: {},
    ingress: [
      {
        from: [
          { ipBlock: { cidr: "0.0.0.0/0" } },
          ...Array.from({ length: PREFIXES }, (_, index) => ({
            ipBlock: {
              cidr: `${100 + number}.${100 + (index >> 8)}.1${index & 63}.${100 + (index & 127)}/32`,
            },
          })),
        ],
      },
    ],
  },
});

const range = <T>(length: number, of: (index: number) => T): T[] =>
  Array.from({ length }, (_, index) => of(index));
const named = (namespace: string, name: string, labels = {}) => ({ metadata: { name, namespace, labels } });

// What these objects have in common is kept once here, and by an agent as often as it comes.

const PREFIX = range(4, (index) => String(index).padEnd(60, "d")).join(".");
const LABELS = Object.fromEntries(
  range(2_600, (index) => [`${PREFIX}/${`key-${index}-`.padEnd(60, "x")}`, `${index}-`.padEnd(60, "y")]),
);
const PORTS = range(17_000, (index) => ({
  name: `port-${index}`,
  port: 1 + index,
  protocol: "TCP",
  targetPort: 80,
}));
const ENDPOINTS = range(1_000, (index) => ({
  addresses: [`10.77.${index >> 8}.${index & 255}`],
  conditions: { ready: true, serving: true, terminating: false },
  nodeName: `node-${index}`,
}));

/** By kind: what a tenant writes. Each object but a slice is a little less than 1 MB of JSON. */
const GREEDY = {
  Pod: range(110, (index) => ({
    ...named("greedy", `large-${index}`, { ...LABELS, number: `n${index}` }),
    spec: { nodeName: "elsewhere", containers: [] },
    status: { phase: "Running", podIPs: [{ ip: `10.78.0.${index}` }] },
  })),
  Service: range(20, (index) => ({
    ...named("greedy", `large-${index}`),
    spec: { clusterIPs: [`10.96.0.${index}`], ports: PORTS },
  })),
  EndpointSlice: range(600, (index) => ({
    ...named("greedy", `large-${index}`, { "kubernetes.io/service-name": `none-${index}` }),
    addressType: "IPv4",
    ports: [{ name: "", port: 80, protocol: "TCP" }],
    endpoints: ENDPOINTS,
  })),
} satisfies Partial<Record<Kind, RawObject[]>>;
/** How many of them at least do not fit, and are named by `weir status`. */
const LEAST = { Pod: 60, Service: 12, EndpointSlice: 100 };
const GREEDY_KINDS = Object.keys(GREEDY) as (keyof typeof GREEDY)[];

const deny = (namespace: string): RawObject => ({
  metadata: { name: "deny", namespace },
  spec: { podSelector: {}, policyTypes: ["Ingress"] },
});

let world: World;
let server: TestServer;
let agent: Agent;
let kubeconfig: string;

async function start(): Promise<void> {
  const args = ["--kubeconfig", kubeconfig, "--node-name", NODE, "--no-kubernetes-events"];
  agent = Agent.run(world.paths, [...args, "--metrics-listen", "off", "--probe-listen", "off"], HEAP);
  const own = agent;
  world.lab.defer(() => own.killNow());
  // There are hundreds of megabytes to read, on a busy machine. One that has ended is not ready the second time either.
  await own.ready().catch(() => own.ready());
}

beforeAll(async () => {
  world = await openWorld({ prefix: "wt-memory", namespaces: {}, pods: PODS });
  const objects = openObjects();
  server = await openServer(objects);
  kubeconfig = join(dirname(world.paths.socket), "kubeconfig");
  const target = { server: server.url, "insecure-skip-tls-verify": true };
  writeFileSync(kubeconfig, kubeconfigText(target, {}));
  server.put("Node", { metadata: { name: NODE } });
  for (const name of ["greedy", "shop"]) server.put("Namespace", { metadata: { name } });
  for (const spec of PODS) {
    const { metadata, ...rest } = podManifest(spec, world.lab.wire(spec.name)) as RawObject;
    server.put("Pod", { metadata, ...rest, spec: { ...(rest["spec"] as object), nodeName: NODE } });
  }
  for (let number = 0; number < POLICIES; number += 1) server.put("NetworkPolicy", large(number));
});

afterAll(async () => {
  world?.close();
  await server?.close();
});

const reduced = async (kind: Kind = "NetworkPolicy"): Promise<number> =>
  (await statusOf(world.paths)).problems.filter(({ text }) =>
    new RegExp(`^${kind} greedy/large-\\d+: takes `).test(text),
  ).length;

const becomes = (table: string) => expect.poll(() => mismatchesOf(world.lab, table), WAIT).toEqual([]);

const size = (): number => JSON.stringify(large(0)).length;

it("an agent starts with them, and denies what it cannot keep", { timeout: 180_000 }, async () => {
  expect(size()).toBeGreaterThan(900_000);
  await start();
  expect(await reduced()).toBeGreaterThanOrEqual(POLICIES - 2);
  await becomes("shop/friend -> shop/server tcp/80 : 46");
});

it("another namespace's new policy takes effect", { timeout: 180_000 }, async () => {
  server.put("NetworkPolicy", deny("shop"));
  await becomes("shop/friend -> shop/server tcp/80 udp/80 : --");
});

it("it is the same with a new agent", { timeout: 180_000 }, async () => {
  const before = await reduced();
  await agent.kill();
  await start();
  expect(await reduced()).toBe(before);
  await becomes("shop/friend -> shop/server tcp/80 : --");
});

it("once they fit, they count", { timeout: 180_000 }, async () => {
  for (let number = 1; number < POLICIES; number += 1)
    server.remove("NetworkPolicy", `greedy/large-${number}`);
  await expect.poll(() => reduced(), WAIT).toBe(0);
  await becomes("shop/friend -> greedy/pod tcp/80 : 4-");
  await agent.stop();
});

it("pods, Services and slices while an agent runs: another namespace's new policy takes effect", {
  timeout: 300_000,
}, async () => {
  server.remove("NetworkPolicy", "shop/deny");
  await start();
  await becomes("shop/friend -> shop/server tcp/80 udp/80 : 46");
  for (const kind of GREEDY_KINDS) for (const object of GREEDY[kind]) server.put(kind, object);
  server.put("NetworkPolicy", deny("shop"));
  await becomes("shop/friend -> shop/server tcp/80 udp/80 : --");
  for (const kind of GREEDY_KINDS)
    await expect.poll(() => reduced(kind), WAIT).toBeGreaterThanOrEqual(LEAST[kind]);
});

it("an agent starts with them", { timeout: 300_000 }, async () => {
  const before = await Promise.all(GREEDY_KINDS.map((kind) => reduced(kind)));
  await agent.kill();
  server.remove("NetworkPolicy", "shop/deny");
  await start();
  await becomes("shop/friend -> shop/server tcp/80 udp/80 : 46");
  server.put("NetworkPolicy", deny("shop"));
  await becomes("shop/friend -> shop/server tcp/80 udp/80 : --");
  expect(await Promise.all(GREEDY_KINDS.map((kind) => reduced(kind)))).toEqual(before);
});

it("a pod of this node with such labels has nothing, and has everything again without them", {
  timeout: 300_000,
}, async () => {
  const objectOf = (labels: object): RawObject => {
    const { metadata, ...rest } = podManifest(PODS[0], world.lab.wire(PODS[0].name)) as RawObject;
    return {
      ...rest,
      metadata: { ...metadata, labels },
      spec: { ...(rest["spec"] as object), nodeName: NODE },
    };
  };
  server.put("Pod", objectOf({ ...LABELS, more: "a".repeat(60) }));
  await becomes("shop/friend -> greedy/pod tcp/80 : --");
  const { stdout } = await weir(world.paths, ["get", "endpoints"]);
  expect(stdout).toMatch(/^greedy +pod .* all denied .*: its labels and ports exceed its namespace's share/m);
  server.put("Pod", objectOf({}));
  await becomes("shop/friend -> greedy/pod tcp/80 : 4-");
  await agent.stop();
});
