// The rows of the bench, in the order in which they are measured.

import type { Family } from "../../src/base/ip.ts";
import { type Cold, HOOKS } from "./driver.ts";
import { COLD_NAMES, FAMILIES, floorOf, type Row, row } from "./row.ts";
import type { WorldName } from "./worlds.ts";

const floors = HOOKS.flatMap((hook): Row[] => [
  {
    kind: "floor",
    id: floorOf(hook, "one", 4),
    what: `an empty ${hook} program`,
    hook,
  },
  ...FAMILIES.map(
    (family): Row => ({
      kind: "floor",
      id: floorOf(hook, "any", family),
      what: `the driver of IPv${family} with the empty ${hook} program behind it`,
      hook,
      drives: family,
    }),
  ),
]);

const COLDS: readonly (readonly [cold: Cold, what: string])[] = [
  ["caches", "caches evicted before each packet"],
  ["branches", "caches and branch predictors evicted before each packet"],
];

/** Nothing, but for noise: what cold rows are above is measured with them, by every other packet. */
const coldFloors: readonly Row[] = COLDS.flatMap(([cold, evicted]) =>
  HOOKS.map(
    (hook): Row => ({
      kind: "floor",
      id: floorOf(hook, "one", 4, cold),
      what: `an empty ${hook} program above an empty one; ${evicted}`,
      hook,
      cold,
    }),
  ),
);

const established = (family: Family): readonly Row[] => {
  const common = { family, transport: "ACK", reason: "established" } as const;
  const draws = (flows: number, name: string) =>
    row(`established-v${family}-${name}`, `established TCP, drawn from ${flows} flows`, {
      ...common,
      from: { flows },
      table: "empty",
    });
  return [
    row(`established-v${family}-hot`, "established TCP, one flow, to the pod", common),
    row(`established-v${family}-reply-hot`, "the same, from the pod", {
      ...common,
      direction: "egress",
      port: { at: "source", allowed: true },
    }),
    row(`established-v${family}-udp-hot`, "established UDP, one flow, to the pod", {
      ...common,
      transport: "UDP",
    }),
    draws(16_384, "16k"),
    // IPv6 has room for 131,072 flows, so these come to evict each other.
    ...(family === 4 ? [draws(131_072, "128k")] : []),
  ];
};

const NEW_WORLDS: readonly (readonly [suffix: string, world: WorldName, what: string])[] = [
  ["", "cidrs-10", "10 prefixes"],
  ["-1k-cidrs", "cidrs-1k", "1,000 prefixes"],
  ["-100k-cidrs", "cidrs-100k", "100,000 prefixes"],
  ["-1k-identities", "rules-1k", "1,000 rules, each for one pod"],
  ["-10k-identities", "rules-10k", "10,000 rules, each for one pod"],
];

const newFlows = (family: Family): readonly Row[] =>
  NEW_WORLDS.flatMap(([suffix, world, what]) =>
    (["empty", "full"] as const).map((table) =>
      row(
        `new-v${family}${suffix}-${table === "empty" ? "filling" : "evicting"}`,
        `a new TCP flow each, from random peers among ${what}; table ${table === "empty" ? "filling" : "full"}`,
        { family, world, from: "new", table, reason: "policy" },
      ),
    ),
  ).concat([
    row(`new-v${family}-udp-filling`, "a new UDP flow each, among 10 prefixes; table filling", {
      family,
      transport: "UDP",
      from: "new",
      table: "empty",
      reason: "policy",
    }),
  ]);

/** Of a pod that is isolated for ingress only. With the kernel's conntrack its connections need no entries; without, they have some. */
const ingressOnly = (family: Family): readonly Row[] => {
  const pod = { family, pod: "ingress" } as const;
  const established = { ...pod, transport: "ACK", reason: "established" } as const;
  const reply = { ...established, direction: "egress", port: { at: "source", allowed: true } } as const;
  const drawn = { from: { flows: 16_384 } } as const;
  return (["", "assigned"] as const).flatMap((named) => {
    const world = { table: "empty", ...(named !== "" && { world: named }) } as const;
    const name = named === "" ? "ingress" : "stateless";
    const what = `pod isolated for ingress only, ${named === "" ? "with entries" : "no entries"}`;
    return [
      row(`new-v${family}-${name}`, `a SYN of one of 16384 peers; ${what}`, {
        ...pod,
        ...drawn,
        ...world,
        reason: "policy",
      }),
      row(`established-v${family}-${name}-hot`, `established TCP, one flow; ${what}`, {
        ...established,
        ...world,
      }),
      row(`established-v${family}-${name}-16k`, `established TCP, drawn from 16384 flows; ${what}`, {
        ...established,
        ...drawn,
        ...world,
      }),
      row(`established-v${family}-${name}-reply-hot`, `the same of one flow, from the pod; ${what}`, {
        ...reply,
        ...world,
        ...(named !== "" && { reason: "not-isolated" }),
      }),
    ];
  });
};

const SIZES = ["1k", "10k", "100k"] as const;

const UPLINK = { hook: "xdp", uplink: true } as const;

const XDP = { hook: "xdp", direction: "egress" } as const;

const denied = (family: Family): readonly Row[] => [
  row(`denied-v${family}-hot`, "a SYN of one peer that no rule names", {
    family,
    peer: "unknown",
    port: { at: "destination", allowed: false },
    reason: "denied",
  }),
  row(`untracked-v${family}-hot`, "a segment of no known flow, of one peer that no rule names", {
    family,
    peer: "unknown",
    transport: "ACK",
    port: { at: "destination", allowed: false },
    reason: "untracked",
  }),
  ...SIZES.map((size) =>
    row(`denied-v${family}-random-${size}`, `a SYN from any address at all; ${size} prefixes`, {
      family,
      world: `cidrs-${size}`,
      from: "any",
      port: { at: "destination", allowed: false },
      reason: "denied",
    }),
  ),
];

const plain = (family: Family): readonly Row[] => [
  row(`not-isolated-v${family}`, "to a pod that no policy isolates", {
    family,
    pod: "open",
    reason: "not-isolated",
  }),
  row(`not-isolated-v${family}-from-pod`, "from a pod that no policy isolates, spoof guard included", {
    family,
    pod: "open",
    direction: "egress",
    reason: "not-isolated",
  }),
  row(`spoofed-v${family}-hot`, "from the pod with an address that is not its own", {
    family,
    direction: "egress",
    spoofed: true,
    reason: "spoofed",
  }),
  row(`node-v${family}-hot`, "from this node itself, one flow", {
    family,
    transport: "ACK",
    local: true,
    reason: "node",
  }),
];

/** What pods send, where XDP filters it. */
const fromPodByXdp: readonly Row[] = [
  row("not-isolated-xdp", "from a pod that no policy isolates", {
    ...XDP,
    pod: "open",
    reason: "not-isolated",
  }),
  row("spoofed-xdp-hot", "from the pod with an address that is not its own", {
    ...XDP,
    spoofed: true,
    reason: "spoofed",
  }),
  ...FAMILIES.map((family) =>
    row(`established-xdp-v${family}-hot`, "established TCP, one flow", {
      ...XDP,
      family,
      transport: "ACK",
      reason: "established",
    }),
  ),
  row("established-xdp-16k", "established TCP, drawn from 16384 flows", {
    ...XDP,
    transport: "ACK",
    from: { flows: 16_384 },
    table: "empty",
    reason: "established",
  }),
  row("new-xdp-filling", "a new TCP flow each, to random peers among 10 prefixes; table filling", {
    ...XDP,
    from: "new",
    table: "empty",
    reason: "policy",
  }),
  row("denied-xdp-hot", "a SYN to one peer that no rule names", {
    ...XDP,
    peer: "unknown",
    port: { at: "destination", allowed: false },
    reason: "denied",
  }),
  ...SIZES.map((size) =>
    row(`denied-xdp-random-${size}`, `a SYN to any address at all; ${size} prefixes`, {
      ...XDP,
      world: `cidrs-${size}`,
      from: "any",
      port: { at: "destination", allowed: false },
      reason: "denied",
    }),
  ),
];

/** What comes in by an uplink, before the kernel's stack: sources in a list of prefixes are dropped. */
const uplinks: readonly Row[] = [
  row("uplink-pass-hot", "on an uplink, from one source that is in none of 1,000 prefixes", {
    ...UPLINK,
    world: "cidrs-1k",
    peer: "unknown",
    reason: "passed",
  }),
  row("uplink-denied-hot", "on an uplink, from one source that is in one of 1,000 prefixes", {
    ...UPLINK,
    world: "cidrs-1k",
    reason: "denied",
  }),
  ...SIZES.map((size) =>
    row(`uplink-denied-random-${size}`, `on an uplink, from 65536 sources in ${size} prefixes`, {
      ...UPLINK,
      world: `cidrs-${size}`,
      from: { flows: 65_536 },
      reason: "denied",
    }),
  ),
];

/** Denied, so that no entry is made, and without what an endpoint that is not isolated costs just so. */
const classify = ([rules, world]: readonly [number, WorldName]): Row =>
  row(`classify-v4-${rules}`, `policy alone: a known pod's SYN to a port it may not use, ${rules} rules`, {
    world,
    floor: "not-isolated-v4",
    port: { at: "destination", allowed: false },
    reason: "denied",
  });

/** The same packets in the same cluster without and with cluster policies: the one is the other's floor. */
const tiers: readonly Row[] = (
  [
    [
      "new-v4",
      "a new TCP flow each, from random peers; table filling",
      { from: "new", table: "empty", reason: "policy" },
    ],
    ["established-v4-hot", "established TCP, one flow", { transport: "ACK", reason: "established" }],
    [
      "established-v4-16k",
      "established TCP, drawn from 16384 flows",
      { transport: "ACK", from: { flows: 16_384 }, table: "empty", reason: "established" },
    ],
    [
      "denied-v4-hot",
      "a known pod's SYN to a port it may not use",
      { port: { at: "destination", allowed: false }, reason: "denied" },
    ],
    [
      "new-xdp",
      "a new TCP flow each, from the pod by XDP; table filling",
      { ...XDP, from: "new", table: "empty", reason: "policy" },
    ],
  ] as const
).flatMap(([name, what, differs]) => {
  const without = row(`tiers-without-${name}`, `${what}, 1,000 rules`, { ...differs, world: "rules-1k" });
  const with_ = { ...differs, world: "rules-1k-tiers", floor: without.id } as const;
  return [
    without,
    row(`tiers-${name}`, `the same, and 21 cluster policies; compared with the row before`, with_),
  ];
});

/** As on a packet's path, where the kernel and the processes use the caches between two packets. */
const coldRows = ([cold, evicted]: (typeof COLDS)[number]): readonly Row[] => {
  const of = (name: string, what: string, differs: Parameters<typeof row>[2]) =>
    row(`${COLD_NAMES[cold]}-${name}`, `${what}; ${evicted}`, { cold, ...differs });
  const unknown = { peer: "unknown", port: { at: "destination", allowed: false }, reason: "denied" } as const;
  const established = { transport: "ACK", reason: "established" } as const;
  return [
    ...FAMILIES.flatMap((family) => [
      of(`not-isolated-v${family}`, "to a pod that no policy isolates", {
        family,
        pod: "open",
        reason: "not-isolated",
      }),
      of(`established-v${family}`, "established TCP, one flow, to the pod", { ...established, family }),
      of(`established-v${family}-reply`, "the same, from the pod", {
        ...established,
        family,
        direction: "egress",
        port: { at: "source", allowed: true },
      }),
      of(`new-v${family}`, "a new TCP flow each, table filling", {
        family,
        from: "new",
        table: "empty",
        reason: "policy",
      }),
      of(`denied-v${family}`, "a SYN of one peer that no rule names", { ...unknown, family }),
    ]),
    of("established-v4-udp", "established UDP, one flow, to the pod", { ...established, transport: "UDP" }),
    of("established-xdp-v4", "established TCP, one flow, from the pod by XDP", { ...XDP, ...established }),
    of("denied-xdp", "a SYN from the pod to one peer that no rule names, by XDP", { ...XDP, ...unknown }),
  ];
};

const primitives: readonly Row[] = [
  row("primitive-find-hot", "one look-up in the table of flows, always the same", {
    primitive: "find_one_flow",
    transport: "ACK",
    reason: "",
  }),
  ...(
    [
      [16_384, "16k"],
      [131_072, "128k"],
    ] as const
  ).map(([flows, name]) =>
    row(`primitive-find-${name}`, `one look-up in the table of flows, drawn from ${flows}`, {
      primitive: "find_one_flow",
      transport: "ACK",
      from: { flows },
      table: "empty",
      reason: "",
    }),
  ),
  ...(["empty", "full"] as const).map((table) =>
    row(
      `primitive-make-${table === "empty" ? "filling" : "evicting"}`,
      `one new entry in the table of flows; table ${table === "empty" ? "filling" : "full"}`,
      { primitive: "make_flow", from: "new", table, reason: "" },
    ),
  ),
  ...(["jiffies", "coarse", "monotonic"] as const).map((clock) =>
    row(`primitive-clock-${clock}`, `one reading of the kernel's clock: ${clock}`, {
      primitive: `clock_${clock}`,
      reason: "",
    }),
  ),
  row("primitive-address", "one look-up of any address in the table of pods' addresses: it is not there", {
    primitive: "find_address",
    from: "any",
    reason: "",
  }),
  ...SIZES.map((size) =>
    row(`primitive-match-${size}`, `one longest match of any address, ${size} prefixes`, {
      primitive: "match_cidr",
      world: `cidrs-${size}`,
      from: "any",
      reason: "",
    }),
  ),
];

export const ROWS: readonly Row[] = [
  ...floors,
  ...coldFloors,
  ...plain(4),
  ...plain(6),
  ...established(4),
  ...established(6),
  row("established-v4-vlan-hot", "established TCP, one flow, with a VLAN tag", {
    transport: "ACK",
    tagged: true,
    reason: "established",
  }),
  ...denied(4),
  ...denied(6),
  ...(
    [
      [10, "rules-10"],
      [10_000, "rules-10k"],
    ] as const
  ).map(classify),
  ...newFlows(4),
  ...newFlows(6),
  ...ingressOnly(4),
  ...ingressOnly(6),
  ...fromPodByXdp,
  ...uplinks,
  ...tiers,
  ...COLDS.flatMap(coldRows),
  ...primitives,
];
