// Which verdicts a change of policies flips: the same as the oracle's on everything, before and after; and how they are grouped.

import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type Address, cidrContains } from "../../../../src/base/ip.ts";
import { holdersOf } from "../../../../src/model/address-ownership.ts";
import { type Cluster, isSelectable, keyOf } from "../../../../src/model/cluster.ts";
import {
  compare,
  difference,
  type FlipGroup,
  groupsOf,
  intersection,
} from "../../../../src/policy/diff/policy-diff.ts";
import { podsIn, type Unit, unitsText } from "../../../../src/policy/diff/traffic-classes.ts";
import { evaluate, type Party, type Probe } from "../../../../src/policy/oracle.ts";
import { type PortSet, placeOf, portSetText, union } from "../../../../src/policy/port-classes.ts";
import {
  block,
  cluster,
  clusterPolicy,
  clusterRule,
  domainRule,
  pod,
  pods,
  policy,
  ports,
  selector,
} from "../../../support/model.ts";
import { addressesOf, cluster as anyCluster, PROBE_PORTS } from "../../../support/worlds.ts";

describe("sets of ports", () => {
  const span = fc.tuple(fc.nat(30), fc.nat(5)).map(([first, more]) => ({ first, last: first + more }));
  const set = fc.array(span, { maxLength: 4 }).map((spans) => union(spans));
  const has = (ports: PortSet, place: number) =>
    ports.some(({ first, last }) => first <= place && place <= last);

  it("are split at each other's bounds", () => {
    fc.assert(
      fc.property(set, set, fc.nat(40), (a, b, place) => {
        expect(has(intersection(a, b), place)).toBe(has(a, place) && has(b, place));
        expect(has(difference(a, b), place)).toBe(has(a, place) && !has(b, place));
      }),
    );
  });
});

/** The unit that an end belongs to: a pod's class, or the narrowest of the prefixes. */
function unitOf(units: readonly Unit[], party: Party): Unit | undefined {
  if (party.kind === "pod") {
    const key = keyOf(party.pod);
    return units.find((unit) => podsIn([unit]).some((each) => keyOf(each) === key));
  }
  return units
    .flatMap((unit) => (unit.kind === "addresses" && cidrContains(unit.cidr, party.address) ? [unit] : []))
    .sort((a, b) => b.cidr.length - a.cidr.length)[0];
}

const covers = (
  group: FlipGroup,
  from: Unit,
  to: Unit,
  { from: { address }, protocol, port }: Probe,
): boolean =>
  group.from.includes(from) &&
  group.to.includes(to) &&
  (group.family === undefined || group.family === address.family) &&
  group.ports.some(({ first, last }) => {
    const place = placeOf(protocol === "ICMP" ? "other" : protocol, port);
    return first <= place && place <= last;
  });

/** Every end that can be compared: pods by the first address of each family, and addresses of no pod. */
function partiesOf(before: Cluster, after: Cluster): Party[] {
  const owned = new Set([before, after].flatMap((each) => [...holdersOf(each).keys()]));
  const outside = addressesOf(after).filter(({ text }) => !owned.has(text));
  const own = [...after.pods.values()].filter(isSelectable).flatMap((each): Party[] =>
    ([4, 6] as const).flatMap((family): Party[] => {
      const address = each.ips.find((ip: Address) => ip.family === family);
      return address === undefined ? [] : [{ kind: "pod", pod: each, address }];
    }),
  );
  return [...own, ...outside.map((address): Party => ({ kind: "address", address }))];
}

function earlier(before: Cluster, party: Party): Party {
  if (party.kind === "address") return party;
  const pod = before.pods.get(keyOf(party.pod));
  if (pod === undefined) throw new Error("a pod that was not there before");
  return { ...party, pod };
}

function checkAll(before: Cluster, after: Cluster, step: number): void {
  const { flips, units } = compare(before, after);
  const groups = groupsOf(flips, units);
  const parties = partiesOf(before, after);
  let count = 0;
  for (const from of parties) {
    for (const to of parties) {
      if (from.address.family !== to.address.family || (from.kind === "address" && to.kind === "address"))
        continue;
      if (from.kind === "pod" && to.kind === "pod" && keyOf(from.pod) === keyOf(to.pod)) continue;
      const [source, destination] = [unitOf(units, from), unitOf(units, to)];
      if (source === undefined || destination === undefined) throw new Error("an end of no unit");
      for (const traffic of PROBE_PORTS) {
        count += 1;
        if (count % step !== 0) continue;
        const probe: Probe = { from, to, ...traffic };
        const was = evaluate(before, {
          ...probe,
          from: earlier(before, from),
          to: earlier(before, to),
        }).allowed;
        const is = evaluate(after, probe).allowed;
        const found = groups.filter((group) => covers(group, source, destination, probe));
        expect(found.map(({ allowed }) => allowed)).toEqual(was === is ? [] : [is]);
      }
    }
  }
}

it("is what the oracle says of everything", () => {
  fc.assert(
    fc.property(anyCluster, anyCluster, fc.integer({ min: 11, max: 17 }), (before, other, step) => {
      // The pods stay the same, under the labels, namespaces and policies of another world.
      const labels = [...other.pods.values()].map((each) => each.labels);
      const moved = [...before.pods].map(
        ([key, each], index) => [key, { ...each, labels: labels[index] ?? each.labels }] as const,
      );
      checkAll(before, { ...other, pods: new Map(moved) }, step);
    }),
    { numRuns: 300 },
  );
});

describe("groups", () => {
  const web = (name: string, ...ips: string[]) => pod(`shop/${name}`, ips, { labels: { app: "web" } });
  const PODS = [
    web("web-1", "10.0.0.1", "fd00::1"),
    web("web-2", "10.0.0.2", "fd00::2"),
    pod("shop/db", ["10.0.0.3", "fd00::3"], { labels: { app: "db" } }),
    pod("jobs/a", ["10.0.1.1"], { labels: { app: "a" } }),
    pod("jobs/b", ["10.0.1.2"], { labels: { app: "b" } }),
  ];
  const worldWith = (...policies: ReturnType<typeof policy>[]) => cluster({ pods: PODS, policies });

  function lines(before: Cluster, after: Cluster): string[] {
    const { flips, units } = compare(before, after);
    return groupsOf(flips, units).map(({ allowed, from, to, ports: set, family }) => {
      const [source, destination] = [unitsText(from, units, after), unitsText(to, units, after)];
      const over = family === undefined ? "" : ` over IPv${family}`;
      return `${allowed ? "+" : "-"} ${source} -> ${destination}: ${portSetText(set)}${over}`;
    });
  }

  const ingress = (...rules: NonNullable<Parameters<typeof policy>[1]>["ingress"] & object) =>
    worldWith(policy("shop/p", { subject: selector({ app: "db" }), ingress: rules }));

  it("are empty if nothing changes", () => {
    expect(lines(ingress(), ingress())).toEqual([]);
    const written = ingress({ peers: [pods({ app: "web" })], ports: ports("TCP/1-2") });
    const otherwise = ingress({ peers: [pods({ app: "web" })], ports: ports("TCP/2", "TCP/1") });
    expect(lines(written, otherwise)).toEqual([]);
  });

  it("name pods by what they have in common", () => {
    const everyone = { peers: "anyone", ports: ports("TCP/1") } as const;
    expect(lines(worldWith(), ingress())).toEqual([
      "- every pod of jobs, pods of shop with app=web, every address outside -> shop/db: all",
    ]);
    expect(lines(ingress(), ingress({ ...everyone, peers: [pods({}, selector({}))] }))).toEqual([
      "+ every pod of jobs, pods of shop with app=web -> shop/db: TCP/1",
    ]);
    expect(lines(worldWith(), worldWith(policy("shop/all"), policy("jobs/all")))).toEqual([
      // The pods of jobs have no IPv6.
      "- every pod, every other IPv4 address -> every pod: all",
      "- every other IPv6 address -> every pod of shop: all",
    ]);
  });

  it("report which addresses are meant, and over which family", () => {
    const blocks = [block("192.0.2.0/24", "192.0.2.128/25"), block("10.0.0.0/30"), block("2001:db8::/32")];
    expect(lines(ingress(), ingress({ peers: blocks, ports: ports("UDP/53") }))).toEqual([
      "+ pods of shop with app=web -> shop/db: UDP/53 over IPv4",
      "+ 10.0.0.0/30, 192.0.2.0/24 but not 192.0.2.128/25, 2001:db8::/32 -> shop/db: UDP/53",
    ]);
    const halves = [block("0.0.0.0/1"), block("128.0.0.0/1")];
    expect(lines(ingress(), ingress({ peers: halves, ports: "all" }))).toEqual([
      "+ pods of shop with app=web -> shop/db: all over IPv4",
      "+ every pod of jobs, 0.0.0.0/1, 128.0.0.0/1 -> shop/db: all",
    ]);
  });

  it("have a line for each domain name, with what it adds to what no rule has otherwise", () => {
    const tiers = (...egress: ReturnType<typeof domainRule>[]) => ({
      ...worldWith(),
      clusterPolicies: new Map([["names", clusterPolicy("names", { egress })]]),
    });
    const everywhere = [block("0.0.0.0/0"), block("::/0")];
    const wall = clusterRule("Deny", everywhere, ports("TCP"));
    const api = domainRule(["api.example.com"], ports("TCP/443"));
    const zone = domainRule(["*.example.com"], ports("TCP/80"));
    expect(lines(tiers(wall), tiers(api, wall))).toEqual([
      "+ every pod -> addresses of api.example.com: TCP/443",
    ]);
    expect(lines(tiers(api, wall), tiers(zone, wall))).toEqual([
      "+ every pod -> addresses of *.example.com, addresses of api.example.com: TCP/80",
      "- every pod -> addresses of api.example.com: TCP/443",
    ]);
    // What comes before it still comes before it.
    expect(lines(tiers(wall), tiers(wall, api))).toEqual([]);
    expect(lines(tiers(api, wall), tiers(api, wall))).toEqual([]);
  });

  it("separate what opens from what closes", () => {
    const one = ingress({ peers: [pods({ app: "web" })], ports: ports("TCP/1-10") });
    const other = ingress({ peers: [pods({ app: "web" })], ports: ports("TCP/5-20") });
    expect(lines(one, other)).toEqual([
      "+ pods of shop with app=web -> shop/db: TCP/11-20",
      "- pods of shop with app=web -> shop/db: TCP/1-4",
    ]);
  });
});
