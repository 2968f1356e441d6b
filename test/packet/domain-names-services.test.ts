// Resolvers behind Services through the loaded programs: a Service of DNS pods teaches names, a pod's own Service does not. Needs root and eBPF.

import { afterAll, beforeAll, beforeEach, expect, it } from "vitest";
import { type Address, addressBytes } from "../../src/base/ip.ts";
import { IP_PROTOCOL, packet, udp } from "../../src/engines/frame-builder.ts";
import { type Bench, openBench } from "../../src/engines/kernel-engine.ts";
import { DNS_TYPE, dnsAnswer, dnsQuestion } from "../../src/lab/dns-message.ts";
import type { Service } from "../../src/model/service.ts";
import { compile } from "../../src/policy/compile.ts";
import { NOTHING_NUMBERED } from "../../src/policy/identity-allocation.ts";
import { address, cluster, clusterPolicy, domainRule, pod, pods, policy, ports } from "../support/model.ts";
import { OBJECT } from "../support/object.ts";
import { frame } from "./frames.ts";

const ELSEWHERE = 1;
const WWW = "www.example.com";
const CLIENT = pod("x/a", ["10.0.0.1", "fd00::1"], { labels: { app: "client" } });
const RESOLVER = pod("y/dns", ["10.0.0.2", "fd00::2"], { labels: { app: "dns" } });

const FAMILIES = [
  { family: 4, at: 0, dns: address("10.96.0.10"), own: address("10.96.0.11"), www: address("198.51.100.1") },
  { family: 6, at: 1, dns: address("fd96::10"), own: address("fd96::11"), www: address("2001:db8::1") },
] as const;

/** Port 53 leads to another port of the pod, so that no rule for port 53 is what allows it. */
const serviceOf = (namespace: string, app: string, which: "dns" | "own", target: number): Service => ({
  namespace,
  name: app,
  clusterIps: FAMILIES.map((each) => each[which]),
  externalIps: [],
  ports: [{ name: "", protocol: "UDP", port: 53, target }],
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
  const world = {
    ...cluster({
      pods: [CLIENT, RESOLVER],
      services: [serviceOf("y", "dns", "dns", 5353), serviceOf("x", "client", "own", 5300)],
      policies: [
        policy("x/p", {
          isolates: { ingress: true, egress: true },
          egress: [{ peers: [pods({ app: "dns" }, { requirements: [] })], ports: ports("UDP/5353") }],
        }),
      ],
    }),
    clusterPolicies: new Map([
      ["names", clusterPolicy("names", { egress: [domainRule([WWW], ports("TCP/443"))] })],
    ]),
  };
  const compiled = compile(world, [{ pod: CLIENT, ifindex: bench.devices.at(0) }], numbering);
  await bench.bring(compiled.state);
  numbering = compiled.numbering;
  const { names } = bench.maps.tables;
  await names.deleteBatch((await names.read()).map(([key]) => key));
});

const run = (direction: "egress" | "ingress", bytes: Uint8Array) =>
  bench.run({ direction, ifindex: bench.devices.at(0), ingressIfindex: ELSEWHERE, frame: bytes });

/** What becomes of a question to a resolver, of its answer, and of a connection to the address in the answer. */
function resolved(source: Address, resolver: Address, to: Address): readonly string[] {
  local += 1;
  const question = { id: local, name: WWW, type: to.family === 4 ? DNS_TYPE.A : DNS_TYPE.AAAA };
  const record = { type: question.type, ttl: 300, data: Uint8Array.from(addressBytes(to)) };
  const datagram = (from: number, at: number, message: Uint8Array) => ({
    number: IP_PROTOCOL.UDP,
    payload: udp(from, at, [...message]),
  });
  return [
    run("egress", frame(source, resolver, datagram(local, 53, dnsQuestion(question)))),
    run(
      "ingress",
      frame(resolver, source, datagram(53, local, dnsAnswer({ ...question, records: [record] }))),
    ),
    run(
      "egress",
      packet({ source, destination: to, protocol: "TCP", sourcePort: local, destinationPort: 443 }),
    ),
  ];
}

it.each(FAMILIES)(
  "over IPv$family a Service of pods that a rule allows teaches names",
  ({ at, dns, www }) => {
    expect(resolved(CLIENT.ips[at] as Address, dns, www)).toEqual(["pass", "pass", "pass"]);
  },
);

it.each(FAMILIES)(
  "over IPv$family a pod reaches itself by its own Service, and learns nothing from it, also where nothing shows that the answer is its own",
  ({ at, own, www }) => {
    expect(resolved(CLIENT.ips[at] as Address, own, www)).toEqual(["pass", "pass", "drop"]);
  },
);
