// Resolvers behind Services through the loaded programs: a Service of DNS pods teaches names; no Service makes a resolver of anybody else, or of the pod
// itself. Needs root and eBPF.

import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { type Address, addressBytes } from "../../src/base/ip.ts";
import { IP_PROTOCOL, packet, TCP_FLAG, tcp, udp } from "../../src/engines/frame-builder.ts";
import { type Bench, openBench } from "../../src/engines/kernel-engine.ts";
import { DNS_TYPE, dnsAnswer, dnsOverTcp, dnsQuestion } from "../../src/lab/dns-message.ts";
import type { Cluster } from "../../src/model/cluster.ts";
import type { Service } from "../../src/model/service.ts";
import { compile } from "../../src/policy/compile.ts";
import { NOTHING_NUMBERED } from "../../src/policy/identity-allocation.ts";
import { evaluate } from "../../src/policy/oracle.ts";
import {
  address,
  block,
  cluster,
  clusterPolicy,
  clusterRule,
  domainRule,
  namespace,
  outside,
  party,
  pod,
  pods,
  policy,
  ports,
  selector,
} from "../support/model.ts";
import { OBJECT } from "../support/object.ts";
import { frame, SYN_ACK } from "./frames.ts";

const ELSEWHERE = 1;
const WWW = "www.example.com";
const CLIENT = pod("x/a", ["10.0.0.1", "fd00::1"], { labels: { app: "client" } });
const RESOLVER = pod("y/dns", ["10.0.0.2", "fd00::2"], { labels: { app: "dns" } });

const FAMILIES = [
  { family: 4, at: 0, dns: address("10.96.0.10"), own: address("10.96.0.11"), www: address("198.51.100.1") },
  { family: 6, at: 1, dns: address("fd96::10"), own: address("fd96::11"), www: address("2001:db8::1") },
] as const;

const PORT_NAMES = { UDP: "dns", TCP: "dns-tcp" } as const;
const PROTOCOLS = ["UDP", "TCP"] as const;
type Protocol = (typeof PROTOCOLS)[number];

/** Port 53 leads to another port of the pod. */
const portsTo = (target: number): Service["ports"] =>
  PROTOCOLS.map((protocol) => ({ name: PORT_NAMES[protocol], protocol, port: 53, target }));

const serviceOf = (namespace: string, app: string, which: "dns" | "own", target: number): Service => ({
  namespace,
  name: app,
  clusterIps: FAMILIES.map((each) => each[which]),
  externalIps: [],
  loadBalancerIps: [],
  ports: portsTo(target),
  selector: new Map([["app", app]]),
  onlyLocal: false,
});

let bench: Bench;
let numbering = NOTHING_NUMBERED;
let local = 40_000;

beforeAll(async () => {
  bench = await openBench({ object: OBJECT, bpffs: "/sys/fs/bpf" });
});
afterAll(() => bench.close());
beforeEach(async () => {
  const { names } = bench.maps.tables;
  await names.deleteBatch((await names.read()).map(([key]) => key));
});

async function enforce(world: Cluster): Promise<void> {
  const compiled = compile(world, [{ pod: CLIENT, ifindex: bench.devices.at(0) }], numbering);
  await bench.bring(compiled.state);
  numbering = compiled.numbering;
}

const run = (direction: "egress" | "ingress", bytes: Uint8Array) =>
  bench.run({ direction, ifindex: bench.devices.at(0), ingressIfindex: ELSEWHERE, frame: bytes });

/** What becomes of a question to a resolver, of its answer, and of a connection to the address in the answer. */
function resolved(
  source: Address,
  resolver: Address,
  to: Address,
  protocol: Protocol = "UDP",
): readonly string[] {
  local += 1;
  const question = { id: local, name: WWW, type: to.family === 4 ? DNS_TYPE.A : DNS_TYPE.AAAA };
  const record = { type: question.type, ttl: 300, data: Uint8Array.from(addressBytes(to)) };
  const asked = dnsQuestion(question);
  const answer = dnsAnswer({ ...question, records: [record] });
  const send = (direction: "egress" | "ingress", payload: Uint8Array) => {
    const [from, at] = direction === "egress" ? [source, resolver] : [resolver, source];
    return run(direction, frame(from, at, { number: IP_PROTOCOL[protocol], payload }));
  };
  const segment = (direction: "egress" | "ingress", flags: number, sequence = 2, message?: Uint8Array) => {
    const [near, far] = direction === "egress" ? [local, 53] : [53, local];
    const payload = message === undefined ? [] : dnsOverTcp(message);
    return send(
      direction,
      tcp(near, far, flags, payload, { sequence, ...(flags !== TCP_FLAG.SYN && { acknowledged: 2 }) }),
    );
  };
  const overTcp = () => {
    segment("egress", TCP_FLAG.SYN, 1);
    segment("ingress", SYN_ACK, 1);
    return [segment("egress", TCP_FLAG.ACK, 2, asked), segment("ingress", TCP_FLAG.ACK, 2, answer)];
  };
  return [
    ...(protocol === "TCP"
      ? overTcp()
      : [send("egress", udp(local, 53, asked)), send("ingress", udp(53, local, answer))]),
    run(
      "egress",
      packet({ source, destination: to, protocol: "TCP", sourcePort: local, destinationPort: 443 }),
    ),
  ];
}

describe("under a NetworkPolicy that allows DNS pods the port of the question, and their own", () => {
  const worldWith = ({ hasOwn = true, names = [WWW], denied = 0 } = {}): Cluster => ({
    ...cluster({
      pods: [CLIENT, RESOLVER],
      services: [
        serviceOf("y", "dns", "dns", 5353),
        ...(hasOwn ? [serviceOf("x", "client", "own", 5300)] : []),
      ],
      policies: [
        policy("x/p", {
          isolates: { ingress: true, egress: true },
          egress: [
            {
              peers: [pods({ app: "dns" }, { requirements: [] })],
              ports: ports("UDP/53", "UDP/5353", "TCP/5353"),
            },
          ],
        }),
      ],
    }),
    clusterPolicies: new Map([
      ["names", clusterPolicy("names", { egress: [domainRule(names, ports("TCP/443"))] })],
      [
        "other",
        clusterPolicy("other", {
          priority: 20,
          egress: denied === 0 ? [] : [clusterRule("Deny", [block(`192.0.2.${denied}/32`)])],
        }),
      ],
    ]),
  });
  beforeEach(() => enforce(worldWith()));

  const EACH = FAMILIES.flatMap((each) => PROTOCOLS.map((protocol) => ({ ...each, protocol })));

  it.each(EACH)(
    "over IPv$family and $protocol a Service of pods that a rule allows teaches names",
    ({ at, dns, www, protocol }) => {
      expect(resolved(CLIENT.ips[at] as Address, dns, www, protocol)).toEqual(["pass", "pass", "pass"]);
    },
  );

  it.each(EACH)(
    "over IPv$family and $protocol a pod reaches itself by its own Service, and learns nothing from it, also where nothing shows that the answer is its own",
    ({ at, own, www, protocol }) => {
      expect(resolved(CLIENT.ips[at] as Address, own, www, protocol)).toEqual(["pass", "pass", "drop"]);
    },
  );

  it("however often Services, names and other rules change", async () => {
    const steps: readonly Parameters<typeof worldWith>[0][] = [
      { denied: 1 },
      { denied: 1 },
      { denied: 2 },
      { hasOwn: false },
      {},
      { names: [WWW, "*.example.com"] },
      { names: ["*.example.com"] },
      { denied: 3 },
      { hasOwn: false, denied: 3 },
      { denied: 3 },
    ];
    for (const [index, step] of steps.entries()) {
      await enforce(worldWith(step));
      const ends = [FAMILIES[0].dns, FAMILIES[0].own].map(
        (resolver, which) =>
          resolved(CLIENT.ips[0] as Address, resolver, address(`198.51.100.${100 + 2 * index + which}`))[2],
      );
      expect(ends, `step ${index}`).toEqual(["pass", "drop"]);
    }
  });
});

describe("where rules deny UDP port 53 to all but the cluster's DNS, and allow others other ports", () => {
  const KUBE = "kube-system";
  const DNS = pod(`${KUBE}/dns`, ["10.0.0.2"], { labels: { app: "dns" } });
  const OTHER = pod("x/other", ["10.0.0.3"], { labels: { app: "other" } });
  const HOST = address("203.0.113.66");

  /** What port 53 of a Service leads to. */
  interface Behind {
    readonly is: string;
    readonly backends: readonly Address[];
    readonly target: number;
    readonly teaches: boolean;
    /** The pods that have this label; else an EndpointSlice that somebody has written. */
    readonly app?: string;
  }
  const own = CLIENT.ips[0] as Address;
  const [dns, other] = [DNS.ips[0] as Address, OTHER.ips[0] as Address];
  const BEHIND: readonly Behind[] = [
    { is: "the cluster's DNS at port 53", app: "dns", backends: [dns], target: 53, teaches: true },
    {
      is: "the cluster's DNS at a port that no rule allows",
      app: "dns",
      backends: [dns],
      target: 5353,
      teaches: false,
    },
    { is: "another pod at port 53", app: "other", backends: [other], target: 53, teaches: false },
    {
      is: "another pod at a port that rules allow",
      app: "other",
      backends: [other],
      target: 5353,
      teaches: false,
    },
    { is: "the pod itself", app: "client", backends: [own], target: 5353, teaches: false },
    { is: "port 443 of a host that a rule allows it", backends: [HOST], target: 443, teaches: false },
    { is: "the cluster's DNS, by an EndpointSlice", backends: [dns], target: 53, teaches: true },
    { is: "the pod itself, by an EndpointSlice", backends: [own], target: 5353, teaches: false },
    { is: "the cluster's DNS or another pod", backends: [dns, other], target: 53, teaches: false },
    { is: "nothing", app: "none", backends: [], target: 53, teaches: false },
  ];
  const clusterIp = (index: number): Address => address(`10.96.0.${20 + index}`);
  const inNamespace = (name: string) => ({
    kind: "pods" as const,
    namespaces: selector({ "kubernetes.io/metadata.name": name }),
    pods: { requirements: [] },
  });
  const world: Cluster = {
    ...cluster({
      pods: [CLIENT, DNS, OTHER],
      namespaces: [namespace("x"), namespace(KUBE)],
      services: BEHIND.map(({ app, target }, index) => ({
        namespace: app === "dns" ? KUBE : "x",
        name: `s${index}`,
        clusterIps: [clusterIp(index)],
        externalIps: [],
        loadBalancerIps: [],
        ports: portsTo(target),
        selector: app === undefined ? undefined : new Map([["app", app]]),
        onlyLocal: false,
      })),
      slices: BEHIND.flatMap(({ app, backends, target }, index) =>
        app !== undefined
          ? []
          : [
              {
                namespace: "x",
                name: `s${index}-1`,
                service: `s${index}`,
                family: 4 as const,
                ports: PROTOCOLS.map((protocol) => ({ name: PORT_NAMES[protocol], protocol, port: target })),
                endpoints: backends.map((each) => ({
                  address: each,
                  ready: true,
                  serving: true,
                  terminating: false,
                })),
              },
            ],
      ),
    }),
    clusterPolicies: new Map([
      [
        "dns",
        clusterPolicy("dns", {
          priority: 1,
          egress: [
            clusterRule("Accept", [inNamespace(KUBE)], ports("UDP/53", "TCP/53")),
            clusterRule("Deny", [block("0.0.0.0/0")], ports("UDP/53")),
          ],
        }),
      ],
      [
        "rest",
        clusterPolicy("rest", {
          priority: 2,
          egress: [
            clusterRule("Accept", [inNamespace("x")]),
            clusterRule("Accept", [block("203.0.113.0/24")], ports("UDP/443")),
            domainRule([WWW], ports("TCP/443")),
            clusterRule("Deny", [block("0.0.0.0/0")]),
          ],
        }),
      ],
    ]),
  };
  beforeAll(() => enforce(world));

  it.each(BEHIND.map((each, index) => ({ ...each, index })))(
    "a Service of $is: teaches $teaches",
    ({ index, backends, target, teaches }) => {
      const to = address(`198.51.100.${20 + index}`);
      // Over TCP first: rules that are about UDP port 53 alone keep others from being resolvers there, too.
      expect(resolved(own, clusterIp(index), to, "TCP")[2]).toBe(teaches ? "pass" : "drop");
      const overUdp = address(`198.51.100.${40 + index}`);
      expect(resolved(own, clusterIp(index), overUdp)[2]).toBe(teaches ? "pass" : "drop");
      // The rules by themselves: every backend, at its own port and at that of the question.
      const isAllowed = (backend: Address, port: number): boolean => {
        const held = [CLIENT, DNS, OTHER].find(({ ips }) => ips[0] === backend);
        const { egress } = evaluate(world, {
          from: party(CLIENT),
          to: held === undefined ? outside(backend.text) : party(held),
          protocol: "UDP",
          port,
        });
        return egress.kind === "accepted";
      };
      const byRules = backends.map((each) => [target, 53].every((port) => isAllowed(each, port)));
      expect(byRules.length > 0 && byRules.every((each) => each)).toBe(teaches);
    },
  );

  it("and that pod's own address teaches none", () => {
    expect(resolved(own, other, address("198.51.100.99"))).toEqual(["drop", "pass", "drop"]);
    expect(resolved(own, other, address("198.51.100.98"), "TCP")).toEqual(["pass", "pass", "drop"]);
  });
});
