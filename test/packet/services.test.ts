// Services on the loaded programs: packets to frontends in random worlds, and the answers to them. Needs root and eBPF.

import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Address } from "../../src/base/ip.ts";
import { packet, TCP_FLAG } from "../../src/engines/frame-builder.ts";
import { type Bench, openBench } from "../../src/engines/kernel-engine.ts";
import { learnNames } from "../../src/engines/known-names.ts";
import { type Cluster, NO_SURROUNDINGS } from "../../src/model/cluster.ts";
import type { FrontendCapacities } from "../../src/model/frontend-shares.ts";
import type { Service } from "../../src/model/service.ts";
import { compile } from "../../src/policy/compile.ts";
import { NOTHING_NUMBERED } from "../../src/policy/identity-allocation.ts";
import { CAPACITIES } from "../../src/policy/limits/capacity-fit.ts";
import { placeOf } from "../../src/policy/port-classes.ts";
import { planOf } from "../../src/state/state-lookup.ts";
import { address, cluster, pod, pods, policy, ports } from "../support/model.ts";
import { OBJECT } from "../support/object.ts";
import { clusterWithServices, frontendCapacities, serviceQuestions } from "../support/service-worlds.ts";
import { localsOf } from "../support/worlds.ts";

const RUNS = Math.ceil(Number(process.env["WEIR_PROPERTY_RUNS"] ?? 2000) / 10);
const PATIENCE_MS = 60_000 + RUNS * 200;
const ELSEWHERE = 1;

let bench: Bench;
let numbering = NOTHING_NUMBERED;
let sourcePort = 0;

beforeAll(async () => {
  bench = await openBench({ object: OBJECT, bpffs: "/sys/fs/bpf" });
});

afterAll(() => bench.close());

/** Applies a world on the devices; endpoints of the world by their own interface index to the real one. */
async function enforce(world: Cluster, few: FrontendCapacities = CAPACITIES) {
  const locals = localsOf(world).map(({ pod: each, ifindex }) => ({
    pod: each,
    ifindex: bench.devices.at(ifindex - 100),
  }));
  const compiled = compile(world, locals, numbering, NO_SURROUNDINGS, { ...CAPACITIES, ...few });
  await bench.bring(compiled.state);
  numbering = compiled.numbering;
  return { locals, state: compiled.state, plan: planOf(compiled.state) };
}

const nextPort = (): number => {
  sourcePort = (sourcePort + 1) % 28_000;
  return 32_768 + sourcePort;
};

it(
  `oracle, plan and kernel agree on the frontends of ${RUNS} random worlds`,
  async () => {
    const seen = { pass: 0, drop: 0 };
    const worlds = fc.asyncProperty(clusterWithServices, frontendCapacities, async (world, few) => {
      const { locals, state, plan } = await enforce(world, few);
      const asked = serviceQuestions(world, locals, few);
      await learnNames(
        bench.maps.tables,
        state,
        asked.map((each) => ({ ...each, remote: each.frontend.address })),
      );
      for (const { from, frontend, names, ifindex, leaves, text } of asked) {
        const { address: remote, protocol, port } = frontend;
        const place = placeOf(protocol, port);
        const planned = plan.judge({ ifindex, direction: "egress", remote, place, names });
        const frame = packet({
          source: from.address,
          destination: remote,
          protocol,
          sourcePort: nextPort(),
          destinationPort: port,
        });
        const kernel = bench.run({ direction: "egress", ifindex, ingressIfindex: ELSEWHERE, frame });
        seen[kernel] += 1;
        if ((kernel === "pass") !== leaves)
          throw new Error(`kernel ${kernel}, plan ${planned}, oracle ${leaves}: ${text}`);
      }
    });
    await fc.assert(worlds, { numRuns: RUNS });
    expect(Math.min(seen.pass, seen.drop)).toBeGreaterThan(0);
  },
  PATIENCE_MS,
);

describe("a flow to a frontend", () => {
  const CLIENT = pod("x/a", ["10.0.0.1", "fd00::1"]);
  const WEB = pod("y/b", ["10.0.0.2", "fd00::2"], { labels: { app: "web" } });
  const VIP = { 4: "10.96.0.7", 6: "fd96::7" } as const;
  const SERVICE: Service = {
    namespace: "y",
    name: "web",
    clusterIps: [address(VIP[4]), address(VIP[6])],
    externalIps: [],
    loadBalancerIps: [],
    ports: [{ name: "", protocol: "TCP", port: 80, target: 8080 }],
    selector: new Map([["app", "web"]]),
    onlyLocal: false,
  };
  const worldWith = (port: string): Cluster =>
    cluster({
      pods: [CLIENT, WEB],
      services: [SERVICE],
      policies: [
        policy("x/p", {
          isolates: { ingress: true, egress: true },
          egress: [{ peers: [pods({ app: "web" }, { requirements: [] })], ports: ports(port) }],
        }),
      ],
    });
  const client = () => bench.devices.at(0);
  interface Ends {
    readonly own: Address;
    readonly remote: Address;
    readonly local: number;
  }
  const outward = ({ own, remote, local }: Ends, tcpFlags: number) =>
    packet({
      source: own,
      destination: remote,
      protocol: "TCP",
      sourcePort: local,
      destinationPort: 80,
      tcpFlags,
    });
  const inward = ({ own, remote, local }: Ends, tcpFlags: number) =>
    packet({
      source: remote,
      destination: own,
      protocol: "TCP",
      sourcePort: 80,
      destinationPort: local,
      tcpFlags,
    });

  it.each([4, 6] as const)("of IPv%i is answered by the frontend alone", async (family) => {
    await enforce(worldWith("TCP/8080"));
    const own = CLIENT.ips[family === 4 ? 0 : 1] as Address;
    const web = WEB.ips[family === 4 ? 0 : 1] as Address;
    const vip = address(VIP[family]);
    const local = nextPort();
    const out = (flags: number) =>
      bench.run({
        direction: "egress",
        ifindex: client(),
        ingressIfindex: ELSEWHERE,
        frame: outward({ own, remote: vip, local }, flags),
      });
    const back = (from: Address, flags: number) =>
      bench.run({
        direction: "ingress",
        ifindex: client(),
        ingressIfindex: ELSEWHERE,
        frame: inward({ own, remote: from, local }, flags),
      });
    expect(out(TCP_FLAG.SYN)).toBe("pass");
    expect(back(vip, TCP_FLAG.SYN | TCP_FLAG.ACK)).toBe("pass");
    expect(back(web, TCP_FLAG.ACK)).toBe("drop");
    expect(out(TCP_FLAG.ACK)).toBe("pass");
    // The port that is allowed is that of the backend, not that of the Service.
    await enforce(worldWith("TCP/80"));
    expect(out(TCP_FLAG.ACK)).toBe("drop");
    expect(back(vip, TCP_FLAG.ACK)).toBe("drop");
    await enforce(worldWith("TCP/8080"));
    expect(out(TCP_FLAG.ACK)).toBe("pass");
  });

  it.each([4, 6] as const)("of IPv%i without an entry any more goes on", async (family) => {
    await enforce(worldWith("TCP/8080"));
    const own = CLIENT.ips[family === 4 ? 0 : 1] as Address;
    const vip = address(VIP[family]);
    const local = nextPort();
    const answer = inward({ own, remote: vip, local }, TCP_FLAG.ACK);
    const run = (direction: "ingress" | "egress", frame: Uint8Array) =>
      bench.run({ direction, ifindex: client(), ingressIfindex: ELSEWHERE, frame });
    // An answer does not show who sent the request; the client's next segment is allowed by its own policy.
    expect(run("ingress", answer)).toBe("drop");
    expect(run("egress", outward({ own, remote: vip, local }, TCP_FLAG.ACK))).toBe("pass");
    expect(run("ingress", answer)).toBe("pass");
    // Another port of the address is no frontend, nor is the echo of it.
    const other = packet({
      source: own,
      destination: vip,
      protocol: "TCP",
      sourcePort: nextPort(),
      destinationPort: 8080,
    });
    expect(run("egress", other)).toBe("drop");
    const echo = packet({
      source: own,
      destination: vip,
      protocol: "ICMP",
      sourcePort: 7,
      destinationPort: 0,
    });
    expect(run("egress", echo)).toBe("drop");
  });
});
