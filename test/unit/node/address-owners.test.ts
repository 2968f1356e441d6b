// Which interface an address is behind, and by what evidence.

import { NeighbourState, type NetAddress, RouteProtocol, RouteType } from "bpf-ts";
import { describe, expect, it } from "vitest";
import { ownersIn } from "../../../src/node/address-owners.ts";
import type { NodeTables } from "../../../src/node/node-tables.ts";
import { address } from "../../support/model.ts";
import { bridge, route, tables, veth } from "./tables.ts";

const [A, B, BRIDGE] = [1, 2, 9];
const LINKS = [veth(A, "veth-a", 0), veth(B, "veth-b", 1), bridge(BRIDGE, "br0")];

const places = (of: NodeTables, text: string) =>
  ownersIn(of)
    .placesOf(address(text))
    .map(({ ifindex, proof }) => `${ifindex} ${proof}`);

const inside = (text: string): NetAddress => ({
  ifindex: 2,
  family: text.includes(":") ? 6 : 4,
  address: text,
  length: 24,
  scope: 0,
  flags: 0,
});

const HARDWARE = "02:00:00:00:00:01";
const NEIGHBOUR = {
  ifindex: BRIDGE,
  family: 4,
  address: "10.0.0.1",
  hardware: HARDWARE,
  state: 2,
  flags: 0,
} as const;
const PORT = {
  ifindex: A,
  family: "bridge",
  hardware: HARDWARE,
  master: BRIDGE,
  state: NeighbourState.REACHABLE,
  flags: 0,
} as const;

describe("an address is behind", () => {
  it("the pair that a route to it alone leads to", () => {
    const of = tables(LINKS, { routes: [route("10.0.0.1/32", A), route("fd00::1/128", B)] });
    expect(places(of, "10.0.0.1")).toEqual(["1 route"]);
    expect(places(of, "fd00::1")).toEqual(["2 route"]);
    expect(places(of, "10.0.0.2")).toEqual([]);
  });

  it("no pair if the route has a gateway, several next hops, or is not unicast", () => {
    const hops = [{ ifindex: A, gateway: "192.0.2.1" }];
    const both = [{ ifindex: A }, { ifindex: B }];
    for (const more of [{ hops }, { hops: both }, { type: RouteType.BLACKHOLE }, { hops: [{ ifindex: 77 }] }])
      expect(places(tables(LINKS, { routes: [route("10.0.0.1/32", A, more)] }), "10.0.0.1")).toEqual([]);
  });

  it("the pair in whose other namespace it is, of those of that namespace's own index", () => {
    const of = tables(LINKS, {
      inside: new Map([[1, [inside("10.0.0.1"), { ...inside("10.0.0.2"), ifindex: 3 }]]]),
    });
    expect(places(of, "10.0.0.1")).toEqual(["2 namespace"]);
    expect(places(of, "10.0.0.2")).toEqual([]);
  });

  it("the port behind which its hardware address is", () => {
    expect(places(tables(LINKS, { neighbours: [NEIGHBOUR], forwarding: [PORT] }), "10.0.0.1")).toEqual([
      "1 bridge",
    ]);
    expect(places(tables(LINKS, { neighbours: [NEIGHBOUR] }), "10.0.0.1")).toEqual([]);
    const elsewhere = [{ ...PORT, master: 8 }];
    expect(places(tables(LINKS, { neighbours: [NEIGHBOUR], forwarding: elsewhere }), "10.0.0.1")).toEqual([]);
  });

  it("the pair that the longest route to it leads to", () => {
    const routes = [route("10.0.0.0/16", A), route("10.0.5.0/24", BRIDGE), route("10.0.6.0/24", B)];
    const of = tables(LINKS, { routes });
    expect(places(of, "10.0.1.1")).toEqual(["1 prefix"]);
    expect(places(of, "10.0.6.1")).toEqual(["2 prefix"]);
    expect(places(of, "10.0.5.1")).toEqual([]);
  });
});

describe("the pair that has the node's default route", () => {
  const WAY = [{ ifindex: A, gateway: "10.0.0.254" }];
  const everywhere = {
    routes: [route("10.0.0.0/24", A), route("10.0.0.254/32", A), route("10.0.0.1/32", B)],
    inside: new Map([[0, [inside("10.0.0.253")]]]),
  };
  it.each([
    { more: [], found: ["1 prefix", "1 route", "1 namespace"] },
    { more: [route("0.0.0.0/0", A, { hops: WAY })], found: [] },
    { more: [route("::/0", A, { hops: WAY })], found: [] },
    { more: [route("0.0.0.0/0", A, { hops: [{ ifindex: 77 }, ...WAY] })], found: [] },
    // That of some sources only, by a pod that is their gateway.
    {
      more: [route("0.0.0.0/0", A, { hops: WAY, table: 100 })],
      found: ["1 prefix", "1 route", "1 namespace"],
    },
    {
      more: [route("0.0.0.0/0", A, { type: RouteType.BLACKHOLE })],
      found: ["1 prefix", "1 route", "1 namespace"],
    },
  ])("is no pod's: $more", ({ more, found }) => {
    const of = tables(LINKS, { ...everywhere, routes: [...everywhere.routes, ...more] });
    expect(["10.0.0.9", "10.0.0.254", "10.0.0.253"].flatMap((text) => places(of, text))).toEqual(found);
    expect(ownersIn(of).routedTo(A)).toEqual(found.length === 0 ? [] : ["10.0.0.254"]);
    expect(places(of, "10.0.0.1")).toContain("2 route");
  });
});

it("a route takes precedence over a namespace, and that over a bridge", () => {
  const of = tables([...LINKS, veth(3, "veth-c", 2)], {
    routes: [route("10.0.0.1/32", 3)],
    inside: new Map([[1, [inside("10.0.0.1")]]]),
    neighbours: [NEIGHBOUR],
    forwarding: [PORT],
  });
  expect(places(of, "10.0.0.1")).toEqual(["3 route", "2 namespace", "1 bridge"]);
});

it("routes that the node was given lead to an interface, not those to its own addresses on the link", () => {
  const of = tables(LINKS, {
    routes: [
      route("169.254.172.2/32", A),
      route("fd00::1/128", A, { protocol: RouteProtocol.KERNEL }),
      route("10.0.0.0/24", A),
      route("10.0.0.9/32", A, { priority: 20 }),
      route("10.0.0.9/32", B, { priority: 10 }),
    ],
  });
  expect(ownersIn(of).routedTo(A)).toEqual(["169.254.172.2"]);
  expect(ownersIn(of).routedTo(B)).toEqual(["10.0.0.9"]);
});
