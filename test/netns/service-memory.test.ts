// A Service whose ports and endpoints are too many for the agent's heap: it is refused, other namespaces are not affected. Needs root.

import { writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { type PodSpec, podManifest } from "../../src/lab/lab-manifests.ts";
import { Agent, statusOf } from "../../src/lab/weir-process.ts";
import { openObjects, openServer, type RawObject, type TestServer } from "../unit/source/apiserver/server.ts";
import { kubeconfigText } from "../unit/source/apiserver/world.ts";
import { mismatchesOf } from "./reach.ts";
import { openWorld, type World } from "./world.ts";

const NODE = "here";
/** As Node limits it in a container of 512 MiB. */
const HEAP = { NODE_OPTIONS: "--max-old-space-size=256" };
const PORTS = 5_000;
const ENDPOINTS = 1_000;
const WAIT = { timeout: 120_000, interval: 200 };

const pod = (name: string, number: number): PodSpec => ({
  ...{ name, labels: {}, tcp: [80], udp: [80] },
  addresses: [`10.63.69.${number}`, `fd63:69::${number}`],
});
const PODS = [pod("greedy/pod", 1), pod("shop/server", 2), pod("shop/friend", 3)] as const;

const indexes = (count: number): number[] => Array.from({ length: count }, (_, index) => index);
const ports = indexes(PORTS).map((index) => ({ name: `p${index}`, port: 1 + index, protocol: "TCP" }));
const service: RawObject = {
  metadata: { name: "large", namespace: "greedy" },
  spec: { clusterIP: "10.96.69.1", clusterIPs: ["10.96.69.1"], ports },
};
/** `last`: of the address of the endpoint that changes. */
const slice = (last: number): RawObject =>
  ({
    metadata: { name: "large", namespace: "greedy", labels: { "kubernetes.io/service-name": "large" } },
    addressType: "IPv4",
    ports,
    endpoints: [
      `10.70.250.${last}`,
      ...indexes(ENDPOINTS - 1).map((at) => `10.71.${at >> 8}.${at & 255}`),
    ].map((address) => ({ addresses: [address] })),
  }) as RawObject;

const denying = (namespace: string, policyTypes: readonly string[]): RawObject => ({
  metadata: { name: "deny", namespace },
  spec: { podSelector: {}, policyTypes },
});

let world: World;
let server: TestServer;
let agent: Agent;

beforeAll(async () => {
  world = await openWorld({ prefix: "wt-svcmem", namespaces: {}, pods: PODS });
  server = await openServer(openObjects());
  const kubeconfig = join(dirname(world.paths.socket), "kubeconfig");
  writeFileSync(kubeconfig, kubeconfigText({ server: server.url, "insecure-skip-tls-verify": true }, {}));
  server.put("Node", { metadata: { name: NODE } });
  for (const name of ["greedy", "shop"]) server.put("Namespace", { metadata: { name } });
  for (const spec of PODS) {
    const { metadata, ...rest } = podManifest(spec, world.lab.wire(spec.name)) as RawObject;
    server.put("Pod", { metadata, ...rest, spec: { ...(rest["spec"] as object), nodeName: NODE } });
  }
  server.put("NetworkPolicy", denying("greedy", ["Egress"]));
  server.put("Service", service);
  server.put("EndpointSlice", slice(0));
  const args = ["--kubeconfig", kubeconfig, "--node-name", NODE, "--no-kubernetes-events"];
  agent = Agent.run(world.paths, [...args, "--metrics-listen", "off", "--probe-listen", "off"], HEAP);
  world.lab.defer(() => agent.killNow());
  await agent.ready();
});

afterAll(async () => {
  world?.close();
  await server?.close();
});

const becomes = (table: string) => expect.poll(() => mismatchesOf(world.lab, table), WAIT).toEqual([]);

it("an agent starts with it, and names it", { timeout: 180_000 }, async () => {
  const { problems } = await statusOf(world.paths);
  expect(problems.map(({ text }) => text)).toContainEqual(
    expect.stringMatching(
      /^Service greedy\/large: .*5000000 endpoints at ports of Services on this node; \d+ fit/,
    ),
  );
});

it("a pod that is isolated for egress does not reach it, and trace says why", {
  timeout: 180_000,
}, async () => {
  const { status, stdout } = await world.weir(
    "trace",
    "--from",
    "greedy/pod",
    "--to",
    "greedy/large",
    "--port",
    "80",
  );
  expect(status).toBe(3);
  expect(stdout).toContain(
    "Service greedy/large: beyond its namespace's share, so its backends are not known",
  );
  expect(stdout).toMatch(/^ {2}kernel: from_pod on .* drops it \(denied\)$/m);
});

it("another namespace's new policy takes effect, while an endpoint changes all the time", {
  timeout: 180_000,
}, async () => {
  await becomes("shop/friend -> shop/server tcp/80 : 46");
  let last = 0;
  const churn = setInterval(() => {
    last = (last + 1) % 250;
    server.put("EndpointSlice", slice(last));
  }, 100);
  try {
    server.put("NetworkPolicy", denying("shop", ["Ingress"]));
    await becomes("shop/friend -> shop/server tcp/80 udp/80 : --");
  } finally {
    clearInterval(churn);
  }
});

it("once it fits, it counts", { timeout: 180_000 }, async () => {
  server.put("EndpointSlice", { ...slice(0), endpoints: [{ addresses: ["10.70.0.1"] }] } as RawObject);
  const named = async () =>
    (await statusOf(world.paths)).problems.filter(({ text }) => text.startsWith("Service "));
  await expect.poll(named, WAIT).toEqual([]);
  await agent.stop();
});
