// Services over rules of nftables as kube-proxy writes them: the verdicts at a pod's own end and at the backend's end, and
// what a pod's policy sees of traffic from outside by a nodePort.

import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { ipBatch } from "../../src/lab/iproute.ts";
import type { Probe } from "../../src/lab/pod-protocol.ts";
import type { Rewrite } from "../../src/lab/service-nat.ts";
import type { Agent } from "../../src/lab/weir-process.ts";
import { growth } from "./counted.ts";
import { hold } from "./held.ts";
import { openWorld, type World } from "./world.ts";

const PREFIX = "wt-svc";
const WEB = "shop/web";
const CLIENT = "shop/client";
const OUTSIDE = "outside";
const OUTSIDE_V4 = "198.51.100.63";
const OUTSIDE_V6 = "2001:db8:63::63";
/** Of a tenant, who may write policies and Services in its namespace. */
const TENANT = "tenant/free";
/** An address of the node, which packets have that the node's own rules have masqueraded. */
const NODE_V4 = "203.0.113.63";
const NODE_PORT = 30_080;

const FAMILIES = [
  { family: 4, web: "10.63.62.1", vip: "10.96.63.1", api: "10.96.63.2" },
  { family: 6, web: "fd63:62::1", vip: "fd96:63::1", api: "fd96:63::2" },
] as const;

/** 8081 is allowed to the client, and nothing listens there. */
const MANIFESTS = `
apiVersion: v1
kind: Service
metadata: { name: web, namespace: shop }
spec:
  clusterIPs: ["10.96.63.1", "fd96:63::1"]
  selector: { role: web }
  ports:
  - { name: http, port: 80, targetPort: 8080 }
  - { name: echo, port: 80, targetPort: 8080, protocol: UDP }
  - { name: closed, port: 81, targetPort: 8081, protocol: UDP }
---
apiVersion: v1
kind: Service
metadata: { name: api, namespace: shop }
spec:
  clusterIPs: ["10.96.63.2", "fd96:63::2"]
  selector: { role: api }
  ports: [{ port: 80, targetPort: 8080 }]
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: { name: client, namespace: shop }
spec:
  podSelector: { matchLabels: { role: client } }
  policyTypes: [Ingress, Egress]
  egress:
  - to: [{ podSelector: { matchLabels: { role: web } } }]
    ports: [{ port: 8080 }, { port: 8080, protocol: UDP }, { port: 8081, protocol: UDP }]
`;

const from = (cidr: string): string => `
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: { name: web, namespace: shop }
spec:
  podSelector: { matchLabels: { role: web } }
  ingress:
  - from: [{ podSelector: { matchLabels: { role: client } } }, { ipBlock: { cidr: ${cidr} } }]
`;

const served = { tcp: [8080], udp: [8080] } as const;
const pod = (role: string, number: number) => ({
  name: `shop/${role}`,
  labels: { role },
  addresses: [`10.63.62.${number}`, `fd63:62::${number}`],
  ...served,
});

let world: World;
let agent: Agent;

beforeAll(async () => {
  world = await openWorld({
    prefix: PREFIX,
    namespaces: { shop: {}, tenant: { of: "tenant" } },
    pods: [pod("web", 1), pod("api", 2), pod("client", 3), { ...pod("free", 4), name: TENANT }],
    machines: [{ name: OUTSIDE, addresses: [OUTSIDE_V4, OUTSIDE_V6] }],
    files: { "services.yaml": MANIFESTS, "web.yaml": from(`${OUTSIDE_V4}/32`) },
  });
  ipBatch([`addr add ${NODE_V4}/32 dev lo`]);
  world.lab.defer(() => ipBatch([`addr del ${NODE_V4}/32 dev lo`]));
  agent = await world.start();
});

afterAll(() => world?.close());

const clusterIps = FAMILIES.flatMap(({ web, vip, api }): Rewrite[] => {
  const to = { address: web, port: 8080 };
  const rest = { address: vip, masquerade: false } as const;
  return [
    { ...rest, protocol: "tcp", port: 80, to },
    { ...rest, protocol: "udp", port: 80, to },
    { ...rest, protocol: "udp", port: 81, to: { ...to, port: 8081 } },
    { ...rest, address: api, protocol: "tcp", port: 80, to: { ...to, address: web.replace(/1$/, "2") } },
  ];
});

const probe = (kind: Probe["kind"], address: string, port: number, more: Partial<Probe> = {}): Probe => ({
  kind,
  address,
  port,
  timeoutMs: 20_000,
  ...more,
});
const SILENT_MS = 1_000;

describe.each(FAMILIES)("a pod that is isolated both ways, over IPv$family", ({ vip, api }) => {
  beforeAll(() => world.lab.rewrite(clusterIps));

  it("reaches the Service whose backend it may reach, and its answers come back", async () => {
    const grown = await growth(world, CLIENT, ["ingress denied", "ingress established"], async () => {
      const much = probe("tcp", vip, 80, { bytes: 400_000, timeoutMs: 20_000 });
      expect(await world.lab.probe(CLIENT, much)).toMatchObject({ result: "reached" });
      expect(await world.lab.probe(CLIENT, probe("udp", vip, 80))).toMatchObject({ result: "reached" });
    });
    expect(grown["ingress denied"]).toBe(0);
    expect(grown["ingress established"]).toBeGreaterThan(0);
  });

  it("does not reach the other", async () => {
    const outcome = await world.lab.probe(CLIENT, probe("tcp", api, 80, { timeoutMs: SILENT_MS }));
    expect(outcome).toEqual({ result: "silent" });
  });

  it("sends datagrams in fragments there", async () => {
    const big = probe("udp", vip, 80, { bytes: 4_000 });
    expect(await world.lab.probe(CLIENT, big)).toMatchObject({ result: "reached" });
  });

  it("receives an ICMP error, which names the Service, if nothing listens behind it", async () => {
    const grown = await growth(world, CLIENT, ["ingress related"], async () => {
      const outcome = await world.lab.probe(CLIENT, probe("udp", vip, 81));
      expect(outcome).toEqual({ result: "failed", reason: "ECONNREFUSED" });
    });
    expect(grown["ingress related"]).toBeGreaterThan(0);
  });
});

it("shows the frontends with their names", async () => {
  const { stdout } = await world.weir("maps", "dump", "services", "-o", "json");
  const shown = JSON.parse(stdout) as { address: string; port: string; service: string }[];
  expect(shown.map(({ address, port, service }) => `${service} ${address} ${port}`)).toEqual([
    "shop/web 10.96.63.1 TCP/80",
    "shop/web 10.96.63.1 UDP/80",
    "shop/web 10.96.63.1 UDP/81",
    "shop/api 10.96.63.2 TCP/80",
    "shop/web fd96:63::1 TCP/80",
    "shop/web fd96:63::1 UDP/80",
    "shop/web fd96:63::1 UDP/81",
    "shop/api fd96:63::2 TCP/80",
  ]);
});

describe("traffic from outside by a nodePort", () => {
  const nodePort = (masquerade: boolean): Rewrite => ({
    address: NODE_V4,
    protocol: "tcp",
    port: NODE_PORT,
    to: { address: FAMILIES[0].web, port: 8080 },
    masquerade,
  });
  const ask = (timeoutMs = 20_000) =>
    world.lab.probe(OUTSIDE, probe("tcp", NODE_V4, NODE_PORT, { timeoutMs }));
  const policyFor = (cidr: string) => agent.change(() => world.manifests.put("web.yaml", from(cidr)));

  it("is the client's if its address is kept (externalTrafficPolicy: Local)", async () => {
    world.lab.rewrite([nodePort(false)]);
    expect(await ask()).toMatchObject({ result: "reached" });
  });

  it("is the node's if it is not (Cluster): judged as such, and not taken for the node's own", async () => {
    world.lab.rewrite([nodePort(true)]);
    const grown = await growth(world, WEB, ["ingress denied", "ingress node"], async () => {
      expect(await ask(SILENT_MS)).toEqual({ result: "silent" });
    });
    expect(grown["ingress denied"]).toBeGreaterThan(0);
    expect(grown["ingress node"]).toBe(0);
    await policyFor(`${NODE_V4}/32`);
    expect(await ask()).toMatchObject({ result: "reached" });
    world.lab.rewrite([nodePort(false)]);
    expect(await ask(SILENT_MS)).toEqual({ result: "silent" });
  });

  it("what the node itself sends there passes, whatever the policies", async () => {
    await policyFor("192.0.2.0/32");
    const own = probe("tcp", FAMILIES[0].web, 8080, { source: NODE_V4 });
    expect(await world.lab.probe("node", own)).toMatchObject({ result: "reached" });
  });
});

describe("a connection to an address that a tenant then makes one of its own Service", () => {
  const PORT = 8080;
  const SERVICE = `
apiVersion: v1
kind: Service
metadata: { name: mine, namespace: tenant }
spec:
  clusterIPs: ["10.96.63.9", "fd96:63::9"]
  externalIPs: ["${OUTSIDE_V4}", "${OUTSIDE_V6}"]
  selector: { role: free }
  ports: [{ port: ${PORT} }]
`;
  const POLICIES = {
    "a rule of a cluster policy": `
apiVersion: policy.networking.k8s.io/v1alpha2
kind: ClusterNetworkPolicy
metadata: { name: inside }
spec:
  tier: Admin
  priority: 10
  subject: { namespaces: { matchLabels: { of: tenant } } }
  egress: [{ action: Deny, to: [{ networks: ["${OUTSIDE_V4}/32", "${OUTSIDE_V6}/128"] }] }]
`,
    "a NetworkPolicy": `
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: { name: inside, namespace: tenant }
spec:
  podSelector: {}
  policyTypes: [Egress]
  egress: [{ to: [{ podSelector: {} }] }]
`,
  };
  const ENDS = [
    { family: 4, outside: OUTSIDE_V4, own: "10.63.62.4" },
    { family: 6, outside: OUTSIDE_V6, own: "fd63:62::4" },
  ] as const;
  const cases = ENDS.flatMap((ends) =>
    Object.entries(POLICIES).flatMap(([by, policy]) =>
      (["before", "after"] as const).map((when) => ({ ...ends, by, policy, when })),
    ),
  );

  it.each(cases)("over IPv$family stays denied by $by, with the Service $when it", async (each) => {
    const { outside, own, policy, when } = each;
    // The rules alone make the kernel follow connections: what it knows of this one outlasts the next rules.
    world.lab.rewrite(clusterIps);
    const held = await hold(world.lab, { client: TENANT, server: OUTSIDE, address: outside, port: PORT });
    const claim = (): Promise<unknown> => {
      const to = { address: own, port: PORT };
      world.lab.rewrite([
        ...clusterIps,
        { address: outside, protocol: "tcp", port: PORT, to, masquerade: false },
      ]);
      return agent.change(() => world.manifests.put("mine.yaml", SERVICE));
    };
    try {
      expect(await held.send("client", 20_000)).toBe("reached");
      if (when === "before") {
        await claim();
        expect(await held.send("client", 20_000)).toBe("reached");
      }
      await agent.change(() => world.manifests.put("inside.yaml", policy));
      expect(await held.send("client", SILENT_MS)).toBe("silent");
      if (when === "after") await claim();
      expect(await held.send("client", SILENT_MS)).toBe("silent");
      // Nor does a new one go there while the proxy is late.
      world.lab.rewrite(clusterIps);
      const late = probe("tcp", outside, PORT, { timeoutMs: SILENT_MS });
      expect(await world.lab.probe(TENANT, late)).toEqual({ result: "silent" });
      await agent.change(() => world.manifests.remove("inside.yaml"));
      expect(await held.send("client", 20_000)).toBe("reached");
      await agent.change(() => world.manifests.remove("mine.yaml"));
    } finally {
      await held.close();
    }
  });
});
