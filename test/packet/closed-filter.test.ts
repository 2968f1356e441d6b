// closed_filter: addresses of Services whose ports are not known, as many as tenants may write. Needs root.

import { afterAll, beforeAll, expect, it } from "vitest";
import { type Address, addressOf } from "../../src/base/ip.ts";
import { packet } from "../../src/engines/frame-builder.ts";
import { type Bench, openBench } from "../../src/engines/kernel-engine.ts";
import { NO_SURROUNDINGS } from "../../src/model/cluster.ts";
import type { Service } from "../../src/model/service.ts";
import { compile } from "../../src/policy/compile.ts";
import { NOTHING_NUMBERED } from "../../src/policy/identity-allocation.ts";
import { CAPACITIES } from "../../src/policy/limits/capacity-fit.ts";
import { MEMORY } from "../../src/source/apiserver/object-memory.ts";
import { LIMITS } from "../../src/state/desired-state.ts";
import { differences } from "../../src/state/state-compare.ts";
import { diff } from "../../src/state/state-diff.ts";
import { address, block, cluster, pod, policy } from "../support/model.ts";
import { OBJECT } from "../support/object.ts";

/** More than the tables of addresses hold, even for the old and the new ones. */
const COUNT = 3 * LIMITS.addresses;
const HOOKS = ["tc", "xdp"] as const;
const ELSEWHERE = 1;

const external = {
  4: (at: number): Address => addressOf(4, 0xcb000000n + BigInt(at) * 7n),
  6: (at: number): Address => addressOf(6, (0x2001_0db8n << 96n) + BigInt(at) * 0x1_0000_0003n),
};
const serviceAt = (name: string, externalIps: readonly Address[]): Service =>
  MEMORY.Service.reduced({
    ...{ namespace: "greedy", name, clusterIps: [], externalIps, loadBalancerIps: [] },
    ...{ ports: [], selector: undefined, onlyLocal: false },
  });
const numbers = Array.from({ length: COUNT }, (_, at) => at);
const LARGE = serviceAt("large", [...numbers.map(external[4]), ...numbers.map(external[6])]);
const SMALL = serviceAt("small", [address("203.0.113.9"), address("2001:db8:9::9")]);
const ALLOWED = ["0.0.0.0/0", "::/0"].map((text) => block(text));
const CLIENT = pod("x/a", ["10.0.0.1", "fd00::1"]);
const FREE = pod("y/b", ["10.0.0.2", "fd00::2"]);
const OTHER = pod("y/c", ["10.0.0.3", "fd00::3"], { labels: { app: "c" } });

let bench: Bench;
let numbering = NOTHING_NUMBERED;
let port = 0;
beforeAll(async () => {
  bench = await openBench({ object: OBJECT, bpffs: "/sys/fs/bpf", xdp: true });
}, 60_000);
afterAll(() => bench.close());

async function enforce(...services: readonly Service[]) {
  const world = cluster({
    pods: [CLIENT, FREE, OTHER],
    services,
    policies: [
      policy("x/p", {
        isolates: { ingress: false, egress: true },
        egress: [{ peers: ALLOWED, ports: "all" }],
      }),
    ],
  });
  const locals = [CLIENT, FREE].map((each, at) => ({ pod: each, ifindex: bench.devices.at(at) }));
  const compiled = compile(world, locals, numbering, NO_SURROUNDINGS, CAPACITIES);
  await bench.bring(compiled.state);
  numbering = compiled.numbering;
  return compiled.state;
}

/** The verdict at both hooks, which must be the same. */
function sends(client: typeof CLIENT, remote: Address): "pass" | "drop" {
  port = (port + 1) % 28_000;
  const source = client.ips.find(({ family }) => family === remote.family) as Address;
  const frame = packet({
    ...{ source, destination: remote, protocol: "TCP", sourcePort: 32_768 + port, destinationPort: 443 },
  });
  const ifindex = bench.devices.at(client === CLIENT ? 0 : 1);
  const verdicts = HOOKS.map((hook) =>
    bench.run({ direction: "egress", ifindex, ingressIfindex: ELSEWHERE, frame, hook }),
  );
  expect(new Set(verdicts).size).toBe(1);
  return verdicts[0] as "pass" | "drop";
}

const filterBits = async (): Promise<number> => (await bench.maps.read()).state.closed.length;

it("refuses what only a Service with unknown ports has, and nothing beside it", async () => {
  await enforce(SMALL);
  for (const text of ["203.0.113.9", "2001:db8:9::9"]) {
    expect([text, sends(CLIENT, address(text))]).toEqual([text, "drop"]);
    expect([text, sends(FREE, address(text))]).toEqual([text, "pass"]);
  }
  for (const text of ["203.0.113.8", "203.0.113.10", "2001:db8:9::8", "10.0.0.3", "fd00::3"])
    expect([text, sends(CLIENT, address(text))]).toEqual([text, "pass"]);
  await enforce();
  for (const text of ["203.0.113.9", "2001:db8:9::9"])
    expect([text, sends(CLIENT, address(text))]).toEqual([text, "pass"]);
  expect(await filterBits()).toBe(0);
});

it("refuses the address of a pod that such a Service has, too", async () => {
  await enforce(serviceAt("taken", OTHER.ips));
  for (const each of OTHER.ips) expect([each.text, sends(CLIENT, each)]).toEqual([each.text, "drop"]);
});

it(`refuses each of ${COUNT} addresses of a family, and few others`, async () => {
  const state = await enforce(LARGE, SMALL);
  expect(state.addresses.size).toBeLessThan(10);
  for (const family of [4, 6] as const)
    for (let at = 0; at < COUNT; at += 997) {
      const each = external[family](at);
      expect([each.text, sends(CLIENT, each)]).toEqual([each.text, "drop"]);
    }
  const strangers = Array.from({ length: 1_000 }, (_, at) =>
    addressOf(4, 0x08000000n + BigInt(at) * 65_539n),
  );
  const refused = strangers.filter((each) => sends(CLIENT, each) === "drop").length;
  expect(refused).toBeLessThan(50);
  await enforce(SMALL);
  expect(sends(CLIENT, external[4](997))).toBe("pass");
  expect(sends(CLIENT, address("203.0.113.9"))).toBe("drop");
}, 120_000);

it("finds and restores bits that were modified externally", async () => {
  const state = await enforce(SMALL);
  const table = bench.maps.tables.closedFilter;
  const [element] = await table.read({ skipZero: true });
  const [index, { words }] = element as NonNullable<typeof element>;
  await table.writeBatch([[index, { words: words.map(() => 0n) }]]);
  expect(differences(await bench.maps.read(), state).map(({ table: of }) => of)).toEqual(["addresses"]);
  const { prepare, cleanup } = diff(await bench.maps.read(), state);
  await bench.maps.write(prepare);
  await bench.maps.flip();
  await bench.maps.write(cleanup);
  expect(differences(await bench.maps.read(), state)).toEqual([]);
  expect(sends(CLIENT, address("203.0.113.9"))).toBe("drop");
});
