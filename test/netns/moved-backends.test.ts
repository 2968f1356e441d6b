// Connections to a Service from before a Deny of their backend, when a tenant then puts another backend behind the Service, or takes the address from
// the Service: the kernel goes on to send them to the first one, and they stay denied.

import { once } from "node:events";
import { readFileSync, writeFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { setTimeout as delay } from "node:timers/promises";
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
  {
    ...{ family: 4, service: "10.96.64.1", first: "10.63.64.1", own: "10.63.64.2" },
    ...{ other: "10.96.64.2", external: "203.0.113.64", balancer: "198.51.100.64", unused: "10.96.64.9" },
  },
  {
    ...{ family: 6, service: "fd96:64::1", first: "fd63:64::1", own: "fd63:64::2" },
    ...{ other: "fd96:64::2", external: "2001:db8:64::1", balancer: "2001:db8:65::1", unused: "fd96:64::9" },
  },
] as const;
type Ends = (typeof FAMILIES)[number];
/** Where a Service may be reached. */
type Place = "service" | "other" | "external" | "own" | "balancer" | "unused";

const pod = (name: string, number: number) => ({
  name,
  labels: { name: name.slice(name.indexOf("/") + 1) },
  addresses: [`10.63.64.${number}`, `fd63:64::${number}`],
  tcp: [SERVED],
  udp: [SERVED],
});

/** Reached at these places. */
const serviceAt = (
  clusterIps: Place,
  { external, balancer }: { external?: Place; balancer?: Place } = {},
): string => {
  const at = (place: Place): string => FAMILIES.map((each) => `"${each[place]}"`).join(", ");
  const ingress = (place: Place): string => FAMILIES.map((each) => `{ ip: "${each[place]}" }`).join(", ");
  return `
apiVersion: v1
kind: Service
metadata: { name: mine, namespace: tenant }
spec:
  clusterIPs: [${at(clusterIps)}]
${external === undefined ? "" : `  externalIPs: [${at(external)}]\n`}
  ports:
  - { name: tcp, port: ${PORT} }
  - { name: udp, port: ${PORT}, protocol: UDP }
${balancer === undefined ? "" : `status: { loadBalancer: { ingress: [${ingress(balancer)}] } }\n`}`;
};
const SERVICE = serviceAt("service");

/** How an address ceases to be a Service's. */
interface Removal {
  readonly how: string;
  readonly at: Place;
  readonly before: string;
  readonly after?: string;
}
const DELETED: Removal = { how: "when the Service is deleted", at: "service", before: SERVICE };
const givesUp = (how: string, at: Place, before: string, after = SERVICE): Removal => ({
  how,
  at,
  before,
  after,
});
const REMOVALS: readonly Removal[] = [
  DELETED,
  givesUp("when the Service gets another ClusterIP", "service", SERVICE, serviceAt("other")),
  givesUp("without the externalIPs", "external", serviceAt("service", { external: "external" })),
  givesUp("without the externalIPs of an allowed pod", "own", serviceAt("service", { external: "own" })),
  givesUp("without the load balancer", "balancer", serviceAt("service", { balancer: "balancer" })),
];

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

const rulesTo = (which: "first" | "own", at: Place = "service"): Rewrite[] =>
  FAMILIES.flatMap((each): Rewrite[] => {
    const rest = { address: each[at], port: PORT, masquerade: false } as const;
    const tcp = which === "first" ? LASTING : SERVED;
    return [
      { ...rest, protocol: "tcp", to: { address: each[which], port: tcp } },
      { ...rest, protocol: "udp", to: { address: each[which], port: SERVED } },
    ];
  });

/** For nothing that is used: without any rule of NAT, the kernel would not go on with it for the connections that it has. */
const NO_RULES = rulesTo("own", "unused");

const clusterPolicy = (egress: string): string => `
apiVersion: policy.networking.k8s.io/v1alpha2
kind: ClusterNetworkPolicy
metadata: { name: inside }
spec: { tier: Admin, priority: 5, subject: { namespaces: { matchLabels: { of: tenant } } }, egress: ${egress} }
`;
/** Its egress rules follow. */
const CLIENT_POLICY = `
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: { name: inside, namespace: tenant }
spec:
  podSelector: { matchLabels: { name: client } }
  policyTypes: [Egress]
  egress:
`;
/** The client may reach its own namespace, and these ports of others. */
const networkPolicy = (ports: string): string => `${CLIENT_POLICY}  - to: [{ podSelector: {} }]
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

/** The client may reach all addresses but these. */
const allBut = (addresses: readonly string[]): string => `${CLIENT_POLICY}  - to:
    - ipBlock: { cidr: 0.0.0.0/0, except: [${addresses.filter((each) => !each.includes(":")).map((each) => `${each}/32`)}] }
    - ipBlock: { cidr: "::/0", except: [${addresses.filter((each) => each.includes(":")).map((each) => `"${each}/128"`)}] }
`;

/** Which deny the backend, and say nothing of the addresses that the Service has. */
const DENIES_PODS = { what: "a cluster policy", policy: DENIALS[0]?.[1] ?? "" };
const EXCEPTS_ADDRESS = { what: "a NetworkPolicy", policy: allBut(FAMILIES.map(({ first }) => first)) };

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

const UDP_TIMEOUTS = ["udp_timeout", "udp_timeout_stream"].map(
  (name) => `/proc/sys/net/netfilter/nf_conntrack_${name}`,
);
const timeoutsBefore = new Map<string, string>();

/** Some ticks of any kernel. */
const TICKS_MS = 50;

type Sent = "reached" | "silent";

let world: World;
let agent: Agent;
let scripts: Scripts;
let held: Held | undefined;
let localPort = 26_000;

/** Both hooks run the same function with what the policies say: for XDP an example of each kind is enough. */
const HOOKS = [
  { hook: "tc", denials: DENIALS, removals: REMOVALS },
  { hook: "xdp", denials: DENIALS.slice(0, 1), removals: [DELETED] },
] as const;

describe.each(HOOKS)("by $hook", ({ hook, denials, removals }) => {
  beforeAll(async () => {
    world = await openWorld({
      prefix: "wt-moved",
      namespaces: { shop: { of: "shop" }, tenant: { of: "tenant" } },
      pods: [pod(FIRST, 1), pod(OWN, 2), pod(CLIENT, 3)],
      files: { "service.yaml": SERVICE, "slices.yaml": slicesTo("first") },
    });
    // As long as a busy machine may take for a test: with its entry, a series of datagrams would lose its backend.
    for (const timeout of UDP_TIMEOUTS) timeoutsBefore.set(timeout, readFileSync(timeout, "utf8"));
    for (const timeout of UDP_TIMEOUTS) writeFileSync(timeout, "600");
    scripts = openScripts(world.lab);
    agent = await world.start("--from-pod-hook", hook);
  });

  afterAll(() => {
    for (const [timeout, before] of timeoutsBefore) writeFileSync(timeout, before);
    world?.close();
  });

  afterEach(async () => {
    await held?.close();
    held = undefined;
    await scripts.close();
    run("conntrack", "-F");
  });

  async function openDatagrams(address: string): Promise<(withinMs: number) => Promise<Sent>> {
    localPort += 1;
    const child = scripts.start(CLIENT, DATAGRAMS, [address, String(PORT), String(localPort)]);
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
      world.manifests.put("service.yaml", SERVICE);
      world.manifests.put("slices.yaml", slicesTo("first"));
      world.manifests.remove("inside.yaml");
    });

  /** A connection and a series of datagrams to the Service, which the kernel takes to the first backend. */
  async function open(ends: Ends, at: Place = "service") {
    const tcp = await hold(world.lab, {
      client: CLIENT,
      server: FIRST,
      address: ends.first,
      port: LASTING,
      by: { address: ends[at], port: PORT },
    });
    held = tcp;
    const datagram = await openDatagrams(ends[at]);
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

    it.each(denials)("stay denied by %s; new ones reach the new backend", async (_, policy) => {
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

    it.each(DENIALS)("are ended by %s where the proxy is the last to see the move", async (_, policy) => {
      await enforce(policy);
      await agent.change(() => world.manifests.put("slices.yaml", slicesTo("own")));
      const send = await open(ends);
      // The first packet may pass: there is no entry yet that shows where it goes.
      await send(SILENT_MS);
      expect(await send(SILENT_MS)).toEqual(SILENT);
      world.lab.rewrite(rulesTo("own"));
      expect(await send(SILENT_MS)).toEqual(SILENT);
      for (const kind of ["tcp", "udp"] as const)
        expect(await fresh(ends, kind)).toMatchObject({ result: "reached" });
      await release();
      expect(await send(REACHED_MS)).toEqual(REACHED);
    });

    it("are ended where datagrams get a denied backend in the middle of a series, as conntrack's entry has gone", async () => {
      await enforce(DENIES_PODS.policy);
      await move();
      const send = await openDatagrams(ends.service);
      for (let round = 0; round < 3; round += 1) expect(await send(REACHED_MS)).toBe("reached");
      world.lab.rewrite(rulesTo("first"));
      run("conntrack", "-F");
      // Those of a tick may pass, and with them the entry comes that shows where they go.
      await send(SILENT_MS);
      await delay(TICKS_MS);
      expect(await send(SILENT_MS)).toBe("silent");
      world.lab.rewrite(rulesTo("own"));
      run("conntrack", "-F");
      expect(await send(REACHED_MS)).toBe("reached");
      await release();
    });

    it("go on if their backend is allowed", async () => {
      await enforce(BOTH_ALLOWED);
      const send = await open(ends);
      expect(await send(REACHED_MS)).toEqual(REACHED);
      await move();
      expect(await send(REACHED_MS)).toEqual(REACHED);
      await release();
    });

    describe("whose address ceases to be a Service's", () => {
      const begin = ({ at, before }: Removal): void => {
        world.lab.rewrite(rulesTo("first", at));
        world.manifests.put("service.yaml", before);
      };
      /** As the API and the proxy have it. */
      const remove = ({ after }: Removal): void => {
        world.lab.rewrite(NO_RULES);
        if (after === undefined) world.manifests.remove("service.yaml");
        else world.manifests.put("service.yaml", after);
      };

      it.each([
        ...removals.map((removal) => ({ ...removal, ...DENIES_PODS })),
        { ...DELETED, ...EXCEPTS_ADDRESS },
      ])("stay denied $how, by $what", async ({ policy, ...removal }) => {
        begin(removal);
        const send = await open(ends, removal.at);
        expect(await send(REACHED_MS)).toEqual(REACHED);
        await enforce(policy);
        expect(await send(SILENT_MS)).toEqual(SILENT);
        await agent.change(() => remove(removal));
        expect(await send(SILENT_MS)).toEqual(SILENT);
        await release();
        expect(await send(REACHED_MS)).toEqual(REACHED);
      });

      it("go on if their backend is allowed", async () => {
        begin(DELETED);
        await enforce(allBut([ends.other]));
        const send = await open(ends);
        expect(await send(REACHED_MS)).toEqual(REACHED);
        remove(DELETED);
        await enforce(allBut([ends.other, ends.unused]));
        expect(await send(REACHED_MS)).toEqual(REACHED);
        await release();
      });

      it("stay denied when the Service is deleted while no agent runs", async () => {
        begin(DELETED);
        const send = await open(ends);
        expect(await send(REACHED_MS)).toEqual(REACHED);
        await enforce(DENIES_PODS.policy);
        expect(await send(SILENT_MS)).toEqual(SILENT);
        await agent.stop();
        remove(DELETED);
        agent = await world.start("--from-pod-hook", hook);
        expect(await send(SILENT_MS)).toEqual(SILENT);
        await release();
        expect(await send(REACHED_MS)).toEqual(REACHED);
      });
    });
  });
});
