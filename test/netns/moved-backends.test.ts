// Connections to a Service from before a Deny of their backend, when a tenant then puts another backend behind the Service: the kernel goes on to
// send them to the first one, and they stay denied.

import { once } from "node:events";
import { createInterface } from "node:readline";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import type { Probe } from "../../src/lab/pod-protocol.ts";
import type { Rewrite } from "../../src/lab/service-nat.ts";
import type { Agent } from "../../src/lab/weir-process.ts";
import { run } from "./conntrack-rules.ts";
import { type Held, hold } from "./held.ts";
import { openScripts, type Scripts } from "./scripts.ts";
import { openWorld, type World } from "./world.ts";

/** Of a tenant, who may write policies, Services and EndpointSlices in its namespace. */
const CLIENT = "tenant/client";
const OWN = "tenant/own";
const FIRST = "shop/first";
/** What the Service has for its clients, what pods serve, and where the connections that last are accepted. */
const PORT = 80;
const SERVED = 8080;
const LASTING = 9090;
const SILENT_MS = 1_000;
const REACHED_MS = 20_000;

const FAMILIES = [
  { family: 4, service: "10.96.64.1", first: "10.63.64.1", own: "10.63.64.2" },
  { family: 6, service: "fd96:64::1", first: "fd63:64::1", own: "fd63:64::2" },
] as const;
type Ends = (typeof FAMILIES)[number];

const pod = (name: string, number: number) => ({
  name,
  labels: { name: name.slice(name.indexOf("/") + 1) },
  addresses: [`10.63.64.${number}`, `fd63:64::${number}`],
  tcp: [SERVED],
  udp: [SERVED],
});

const SERVICE = `
apiVersion: v1
kind: Service
metadata: { name: mine, namespace: tenant }
spec:
  clusterIPs: [${FAMILIES.map(({ service }) => `"${service}"`).join(", ")}]
  ports:
  - { name: tcp, port: ${PORT} }
  - { name: udp, port: ${PORT}, protocol: UDP }
`;

/** Behind the Service is either. The first one takes TCP where a test listens. */
const slicesTo = (which: "first" | "own"): string =>
  FAMILIES.map(
    (each) => `---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: { name: mine-${each.family}, namespace: tenant, labels: { kubernetes.io/service-name: mine } }
addressType: IPv${each.family}
ports:
- { name: tcp, port: ${which === "first" ? LASTING : SERVED} }
- { name: udp, port: ${SERVED}, protocol: UDP }
endpoints: [{ addresses: ["${each[which]}"] }]
`,
  ).join("");

const rulesTo = (which: "first" | "own"): Rewrite[] =>
  FAMILIES.flatMap((each): Rewrite[] => {
    const rest = { address: each.service, port: PORT, masquerade: false } as const;
    const tcp = which === "first" ? LASTING : SERVED;
    return [
      { ...rest, protocol: "tcp", to: { address: each[which], port: tcp } },
      { ...rest, protocol: "udp", to: { address: each[which], port: SERVED } },
    ];
  });

const clusterPolicy = (egress: string): string => `
apiVersion: policy.networking.k8s.io/v1alpha2
kind: ClusterNetworkPolicy
metadata: { name: inside }
spec: { tier: Admin, priority: 5, subject: { namespaces: { matchLabels: { of: tenant } } }, egress: ${egress} }
`;
/** The client may reach its own namespace, and these ports of others. */
const networkPolicy = (ports: string): string => `
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: { name: inside, namespace: tenant }
spec:
  podSelector: { matchLabels: { name: client } }
  policyTypes: [Egress]
  egress:
  - to: [{ podSelector: {} }]
  - to: [{ namespaceSelector: {} }]
    ports: ${ports}
`;

const DENIALS: readonly [by: string, policy: string][] = [
  [
    "a cluster policy that denies pods",
    clusterPolicy(`[{ action: Deny, to: [{ namespaces: { matchLabels: { of: shop } } }] }]`),
  ],
  [
    "a NetworkPolicy that does not allow the ports",
    networkPolicy(`[{ port: ${LASTING}, protocol: UDP }, { port: ${SERVED} }]`),
  ],
];

const BOTH_ALLOWED = networkPolicy(`[{ port: ${LASTING} }, { port: ${SERVED}, protocol: UDP }]`);

/** Sends each line of its stdin as a datagram from one port, and writes what comes back to its stdout. */
const DATAGRAMS = `
const [host, port, localPort] = process.argv.slice(1);
const socket = require("node:dgram").createSocket(host.includes(":") ? "udp6" : "udp4");
socket.on("message", (data) => console.log(String(data)));
socket.bind(Number(localPort), () => {
  console.log("bound");
  require("node:readline").createInterface(process.stdin).on("line", (line) => socket.send(line, Number(port), host));
});
`;

type Sent = "reached" | "silent";

let world: World;
let agent: Agent;
let scripts: Scripts;
let held: Held | undefined;
let localPort = 26_000;

describe.each(["tc", "xdp"] as const)("by %s", (hook) => {
  beforeAll(async () => {
    world = await openWorld({
      prefix: "wt-moved",
      namespaces: { shop: { of: "shop" }, tenant: { of: "tenant" } },
      pods: [pod(FIRST, 1), pod(OWN, 2), pod(CLIENT, 3)],
      files: { "service.yaml": SERVICE, "slices.yaml": slicesTo("first") },
    });
    scripts = openScripts(world.lab);
    agent = await world.start("--from-pod-hook", hook);
  });

  afterAll(() => world?.close());

  afterEach(async () => {
    await held?.close();
    held = undefined;
    await scripts.close();
    run("conntrack", "-F");
  });

  async function openDatagrams({ service }: Ends): Promise<(withinMs: number) => Promise<Sent>> {
    localPort += 1;
    const child = scripts.start(CLIENT, DATAGRAMS, [service, String(PORT), String(localPort)]);
    const lines = createInterface(child.stdout);
    await once(lines, "line");
    let sent = 0;
    return async (withinMs) => {
      sent += 1;
      const text = `datagram ${sent}`;
      const again = (): boolean => child.stdin.write(`${text}\n`);
      const timer = setInterval(again, 100);
      again();
      try {
        const signal = AbortSignal.timeout(withinMs);
        for (;;) if (String(await once(lines, "line", { signal })) === text) return "reached";
      } catch (error) {
        if (error instanceof Error && error.name === "AbortError") return "silent";
        throw error;
      } finally {
        clearInterval(timer);
      }
    };
  }

  /** While policies distinguish the backends: the Service gets the other one, as the API and the proxy have it. */
  async function move(): Promise<void> {
    world.lab.rewrite(rulesTo("own"));
    await agent.change(() => world.manifests.put("slices.yaml", slicesTo("own")));
  }

  const enforce = (policy: string): Promise<unknown> =>
    agent.change(() => world.manifests.put("inside.yaml", policy));

  /** Without policies. Where nothing distinguishes the backends, a move of them changes nothing that is enforced. */
  const release = (): Promise<unknown> =>
    agent.change(() => {
      world.manifests.put("slices.yaml", slicesTo("first"));
      world.manifests.remove("inside.yaml");
    });

  /** A connection and a series of datagrams to the Service, which the kernel takes to the first backend. */
  async function open(ends: Ends) {
    const tcp = await hold(world.lab, {
      client: CLIENT,
      server: FIRST,
      address: ends.first,
      port: LASTING,
      by: { address: ends.service, port: PORT },
    });
    held = tcp;
    const datagram = await openDatagrams(ends);
    return async (withinMs: number): Promise<Record<"tcp" | "udp", Sent>> => {
      const [one, other] = await Promise.all([tcp.send("client", withinMs), datagram(withinMs)]);
      return { tcp: one, udp: other };
    };
  }

  const fresh = ({ service }: Ends, kind: Probe["kind"]): Promise<{ result: string }> =>
    world.lab.probe(CLIENT, { kind, address: service, port: PORT, timeoutMs: REACHED_MS });

  const REACHED = { tcp: "reached", udp: "reached" };
  const SILENT = { tcp: "silent", udp: "silent" };

  describe.each(FAMILIES)("over IPv$family", (ends) => {
    beforeEach(() => world.lab.rewrite(rulesTo("first")));

    it.each(DENIALS)("stay denied by %s; new ones reach the new backend", async (_, policy) => {
      const send = await open(ends);
      expect(await send(REACHED_MS)).toEqual(REACHED);
      await enforce(policy);
      expect(await send(SILENT_MS)).toEqual(SILENT);
      await move();
      expect(await send(SILENT_MS)).toEqual(SILENT);
      for (const kind of ["tcp", "udp"] as const)
        expect(await fresh(ends, kind)).toMatchObject({ result: "reached" });
      expect(await send(SILENT_MS)).toEqual(SILENT);
      await release();
      expect(await send(REACHED_MS)).toEqual(REACHED);
    });

    it("go on if their backend is allowed", async () => {
      await enforce(BOTH_ALLOWED);
      const send = await open(ends);
      expect(await send(REACHED_MS)).toEqual(REACHED);
      await move();
      expect(await send(REACHED_MS)).toEqual(REACHED);
      await release();
    });
  });
});
