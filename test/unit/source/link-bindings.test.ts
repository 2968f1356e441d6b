// What pods' frames are bound to, from every kind of evidence: one table of worlds, each with what is bound and what is reported.

import { describe, expect, it } from "vitest";
import type { Pod } from "../../../src/model/cluster.ts";
import { problemText } from "../../../src/model/problem.ts";
import type { FarEnd, NetLink } from "../../../src/node/node-tables.ts";
import { type ResolveOptions, resolveInterfaces } from "../../../src/source/interface-discovery.ts";
import { cluster, namespace, pod } from "../../support/model.ts";
import { bridge, link, route, tables, veth } from "../node/tables.ts";

const A = "02:00:00:00:00:0a";
const B = "02:00:00:00:00:0b";
const C = "02:00:00:00:00:0c";
const HOST_END = "02:00:00:00:01:01";
const BRIDGE_MAC = "02:00:00:00:02:00";
const ROUTER = "02:00:00:00:03:00";
const NONE = "00:00:00:00:00:00";
const BRIDGE = 900;

interface World {
  /** By pod: interface 1 is pod a's, 2 pod b's. Both are ports of the bridge unless routed. */
  readonly ends?: Readonly<Record<number, string | FarEnd>>;
  readonly claims?: Readonly<Record<number, string>>;
  readonly bound?: Readonly<Record<number, string>>;
  readonly adopted?: Readonly<Record<number, string>>;
  readonly macs?: Readonly<Record<string, readonly string[]>>;
  readonly births?: Readonly<Record<number, string>>;
  readonly routed?: true;
  readonly links?: readonly NetLink[];
  readonly gateway?: string;
  /** MAC addresses of interface 1 and 2. */
  readonly expected: readonly [readonly string[], readonly string[]];
  readonly told?: readonly RegExp[];
}

const end = (each: string | FarEnd): FarEnd => (typeof each === "string" ? { first: each, now: each } : each);
const entries = <T>(of: Readonly<Record<number, T>> = {}): (readonly [number, T])[] =>
  Object.entries(of).map(([key, value]) => [Number(key), value] as const);

const own = (name: string, n: number, macs: World["macs"]): Pod => ({
  ...pod(`shop/${name}`, [`10.0.0.${n}`]),
  ...(macs?.[name] === undefined ? {} : { macs: macs[name] }),
});

function resolved(world: World) {
  const ports = [1, 2].map(
    (n): NetLink => ({
      ...veth(n, `v${n}`, n),
      address: n === 1 ? HOST_END : "02:00:00:00:01:02",
      birth: world.births?.[n] ?? String(n),
      ...(world.routed ? {} : { master: BRIDGE }),
    }),
  );
  const known = tables(
    [...ports, { ...bridge(BRIDGE, "br0"), address: BRIDGE_MAC }, ...(world.links ?? [])],
    {
      ends: new Map(entries(world.ends).map(([n, each]) => [n, end(each)])),
      routes: [
        ...[1, 2].map((n) => route(`10.0.0.${n}/32`, n)),
        ...(world.gateway === undefined
          ? []
          : [route("0.0.0.0/0", BRIDGE, { hops: [{ ifindex: BRIDGE, gateway: world.gateway }] })]),
      ],
      neighbours:
        world.gateway === undefined
          ? []
          : [{ ifindex: BRIDGE, family: 4, address: world.gateway, hardware: ROUTER, state: 2, flags: 0 }],
    },
  );
  const options: ResolveOptions = {
    claims: entries(world.claims).map(([ifindex, hardware]) => ({
      ifindex,
      name: `v${ifindex}`,
      pod: ifindex === 1 ? "shop/a" : "shop/b",
      addresses: own("x", ifindex, {}).ips,
      hardware,
    })),
    bound: new Map(entries(world.bound)),
    adopted: new Map(
      entries(world.adopted).map(([n, hardware]) => [n, { addresses: [], isolated: false, hardware }]),
    ),
  };
  const all = cluster({
    namespaces: [namespace("shop")],
    pods: [own("a", 1, world.macs), own("b", 2, world.macs)],
  });
  return resolveInterfaces(all, { tables: () => known, idOf: () => undefined }, options);
}

const WORLDS: Readonly<Record<string, World>> = {
  "nothing is known": { expected: [[], []] },
  "the address that the link had first": {
    ends: { 1: A, 2: B },
    expected: [[A], [B]],
  },
  "what the pod has made of it since does not count": {
    ends: { 1: { first: A, now: C }, 2: B },
    expected: [[A], [B]],
    told: [/interface v1: .* MAC address 02:00:00:00:00:0c, but was created with 02:00:00:00:00:0a/],
  },
  "what it was bound to before comes first": {
    ends: { 1: C, 2: B },
    bound: { 1: A },
    expected: [[A], [B]],
    told: [/v1: .* created with 02:00:00:00:00:0a/],
  },
  "what an earlier agent's maps hold, where no file does": {
    ends: { 1: C, 2: B },
    adopted: { 1: A },
    expected: [[A], [B]],
    told: [/v1/],
  },
  "what the CNI plugins told comes before all": {
    ends: { 1: C, 2: B },
    bound: { 1: B },
    claims: { 1: A },
    expected: [[A], [B]],
    told: [/v1/],
  },
  "the bridge's": {
    ends: { 1: BRIDGE_MAC, 2: B },
    expected: [[NONE], [B]],
    told: [/v1: the MAC address of its pod, 02:00:00:00:02:00, is this node's or a router's; all frames/],
  },
  "that of a port's end on this node": {
    ends: { 1: A, 2: HOST_END },
    expected: [[A], [NONE]],
    told: [/v2: .*02:00:00:00:01:01, is this node's or a router's/],
  },
  "that of a VLAN of the bridge": {
    ends: { 1: C, 2: B },
    links: [link(901, "br0.7", { kind: "vlan", peer: BRIDGE, address: C })],
    expected: [[NONE], [B]],
    told: [/v1: .* this node's or a router's/],
  },
  "that of another bridge is nobody's here": {
    ends: { 1: C, 2: B },
    links: [{ ...bridge(902, "br1"), address: C }],
    expected: [[C], [B]],
  },
  "the router's": {
    ends: { 1: ROUTER, 2: B },
    gateway: "10.0.0.254",
    expected: [[NONE], [B]],
    told: [/v1: .* this node's or a router's/],
  },
  "a pod that the node routes by has its own": {
    ends: { 1: ROUTER, 2: B },
    gateway: "10.0.0.1",
    expected: [[ROUTER], [B]],
  },
  "of two pods the older link has it": {
    ends: { 1: A, 2: A },
    births: { 1: "20", 2: "9" },
    expected: [[NONE], [A]],
    told: [/v1: the MAC address of its pod, .*, is that of the pod at interface v2; all frames/],
  },
  "of two pods the one that the CNI plugins told of has it": {
    ends: { 1: A, 2: C },
    claims: { 2: A },
    expected: [[NONE], [A]],
    told: [
      /v1: .* that of the pod at interface v2/,
      /v2: its pod's end has the MAC address 02:00:00:00:00:0c/,
    ],
  },
  "more that the annotation allows": {
    ends: { 1: { first: A, now: C }, 2: B },
    macs: { a: [C] },
    expected: [[A, C], [B]],
  },
  "but not another pod's, nor the node's, nor a router's": {
    ends: { 1: A, 2: B },
    gateway: "10.0.0.254",
    macs: { a: [B, BRIDGE_MAC, ROUTER, C] },
    expected: [[A, C], [B]],
    told: [
      /v1: weir.dev\/allowed-macs: 02:00:00:00:00:0b is that of the pod at interface v2; it is not allowed/,
      /v1: .* 02:00:00:00:02:00 is this node's or a router's/,
      /v1: .* 02:00:00:00:03:00 is this node's or a router's/,
    ],
  },
  "both may have one that both are allowed, as VRRP has it": {
    ends: { 1: A, 2: B },
    macs: { a: ["00:00:5e:00:01:07"], b: ["00:00:5e:00:01:07"] },
    expected: [
      [A, "00:00:5e:00:01:07"],
      [B, "00:00:5e:00:01:07"],
    ],
  },
  "on routed links the present one too, and equal ones": {
    routed: true,
    ends: { 1: { first: A, now: B }, 2: { first: A, now: A } },
    expected: [[A, B], [A]],
  },
  "on routed links not the node's end's": {
    routed: true,
    ends: { 1: { first: A, now: HOST_END }, 2: B },
    expected: [[A], [B]],
  },
};

describe("a pod is bound to", () => {
  it.each(Object.entries(WORLDS))("%s", (_, world) => {
    const { found, problems } = resolved(world);
    const bridgeOf = world.routed ? {} : { bridge: BRIDGE };
    expect(found.map((each) => each.link)).toEqual(
      world.expected.map((hardware, at) => ({ hardware, ...bridgeOf, netns: at + 1 })),
    );
    const told = problems.filter(({ object }) => object?.startsWith("interface")).map(problemText);
    expect(told).toEqual((world.told ?? []).map((text) => expect.stringMatching(text)));
  });
});
