// The owner of each interface and of each address: one table of histories, each a list of moments with the expected result.

import type { NetAddress, NetRoute } from "bpf-ts";
import { describe, expect, it } from "vitest";
import { openIncumbents } from "../../../src/agent/interface-history.ts";
import { type Cluster, keyOf, type Namespace, type Pod } from "../../../src/model/cluster.ts";
import { problemText } from "../../../src/model/problem.ts";
import type { NetLink } from "../../../src/node/node-tables.ts";
import { compile } from "../../../src/policy/compile.ts";
import { NOTHING_NUMBERED } from "../../../src/policy/identity-allocation.ts";
import {
  type Adopted,
  type ClaimedInterface,
  type Resolved,
  resolveInterfaces,
} from "../../../src/source/interface-discovery.ts";
import { address, namespace, pod, policy } from "../../support/model.ts";
import { bridge, route, tables, veth } from "../node/tables.ts";

/** A pod of namespace shop, which DENY isolates if its name begins with "i". */
const of = (name: string, ips: readonly string[], more: Partial<Pod> = {}): Pod => ({
  ...pod(`shop/${name}`, ips, { labels: name.startsWith("i") ? { isolated: "yes" } : {} }),
  ...more,
});

const DENY = policy("shop/deny", {
  subject: { requirements: [{ operator: "In", key: "isolated", values: ["yes"] }] },
  isolates: { ingress: true, egress: true },
  egress: [],
});

const SHOP = namespace("shop");

/** An interface of index N is called vN, and leads to the namespace with id NS, where the other end has index N too. */
interface Link {
  readonly n: number;
  readonly ns?: number;
  readonly birth?: string;
  /** The addresses inside, at the other end. */
  readonly inside?: readonly string[];
  /** Host routes that lead to it. */
  readonly routes?: readonly string[];
  /** Routes to prefixes that lead to it. */
  readonly prefixes?: readonly string[];
}

interface Moment {
  readonly links: readonly Link[];
  readonly pods: readonly Pod[];
  readonly claims?: readonly (Omit<ClaimedInterface, "name" | "addresses"> & {
    readonly ips?: readonly string[];
  })[];
  readonly namespaces?: readonly Namespace[];
  readonly policies?: Cluster["policies"];
  readonly appeared?: Readonly<Record<string, Readonly<Record<string, number>>>>;
  readonly adopted?: Readonly<Record<number, Adopted>>;
  /** The expected result: "v7 web", with its attributes; and at the end who holds which address first-hand. */
  readonly found: readonly string[];
  readonly held?: readonly string[];
  readonly missing?: readonly string[];
  readonly sent?: Readonly<Record<string, readonly string[]>>;
}

function tablesOf(links: readonly Link[]) {
  const all = links.map(
    ({ n, ns = n, birth = `b${n}` }): NetLink => ({ ...veth(n, `v${n}`, ns), peer: n, birth }),
  );
  const inside = new Map<number, NetAddress[]>();
  for (const { n, ns = n, inside: own = [] } of links) {
    const addresses = own.map(
      (text): NetAddress => ({
        ifindex: n,
        family: text.includes(":") ? 6 : 4,
        address: text,
        length: 32,
        scope: 0,
        flags: 0,
      }),
    );
    inside.set(ns, [...(inside.get(ns) ?? []), ...addresses]);
  }
  const routes = links.flatMap(({ n, routes: own = [], prefixes = [] }): NetRoute[] => [
    ...own.map((text) => route(`${text}/${text.includes(":") ? 128 : 32}`, n)),
    ...prefixes.map((text) => route(text, n)),
  ]);
  return tables([...all, bridge(900, "br0")], { inside, routes });
}

const NETNS: Readonly<Record<string, number>> = { one: 1, two: 2 };

function textOf({ pod: found, rivals = [], name, lost }: Resolved["found"][number]): string {
  const { retained } = found;
  const flags = [
    ...(retained === undefined ? [] : ["retained"]),
    ...(retained?.isolated.ingress === true ? ["isolated"] : []),
    ...(retained?.sealed === true ? ["sealed"] : []),
    ...(retained === undefined && lost !== undefined ? ["lost"] : []),
  ];
  const who = [found, ...rivals]
    .map((each) => each.name + (each.uid === undefined ? "" : `#${each.uid}`))
    .sort();
  return [name, who.join("|"), ...flags].join(" ");
}

/** Plays the moments one after another, as the agent does, and compares each with the expected result. */
function play(
  moments: readonly Moment[],
  options: { readonly sealGone?: boolean; readonly node?: string } = {},
) {
  const incumbents = openIncumbents(undefined);
  let numbering = NOTHING_NUMBERED;
  for (const [at, moment] of moments.entries()) {
    const known = tablesOf(moment.links);
    const cluster: Cluster = {
      namespaces: new Map((moment.namespaces ?? [SHOP]).map((each) => [each.name, each])),
      pods: new Map(moment.pods.map((each) => [keyOf(each), each])),
      policies: moment.policies ?? new Map([[keyOf(DENY), DENY]]),
      services: new Map(),
      slices: new Map(),
    };
    const node = { tables: () => known, idOf: (name: string) => NETNS[name] };
    const before = incumbents.of(known);
    const resolved = resolveInterfaces(cluster, node, {
      ...options,
      claims: (moment.claims ?? []).map(({ ips = [], ...claim }) => ({
        ...claim,
        name: `v${claim.ifindex}`,
        addresses: ips.map(address),
      })),
      incumbents: before,
      adopted: new Map(Object.entries(moment.adopted ?? {}).map(([n, each]) => [Number(n), each])),
      appeared: new Map(
        Object.entries(moment.appeared ?? {}).map(([text, since]) => [text, new Map(Object.entries(since))]),
      ),
      now: `T${at}`,
    });
    expect({ at, found: resolved.found.map(textOf) }).toEqual({ at, found: moment.found });
    expect(resolved.missing).toEqual((moment.missing ?? []).map((name) => `shop/${name}`));
    if (moment.held !== undefined) {
      const held = [...(resolved.cluster.ownership?.held ?? [])].map(([text, { holders }]) => {
        const who = holders.map((each) =>
          typeof each === "string" ? each.slice(5) : `${each.name} retained`,
        );
        return `${text} ${who.sort().join("|")}`;
      });
      expect({ at, held: held.sort() }).toEqual({ at, held: [...moment.held].sort() });
    }
    for (const [name, texts] of Object.entries(moment.sent ?? {})) {
      const each = resolved.found.find((one) => one.name === name);
      expect({ at, name, sent: each?.addresses.map(({ text }) => text) }).toEqual({ at, name, sent: texts });
    }
    const compiled = compile(resolved.cluster, resolved.found, numbering);
    numbering = compiled.numbering;
    incumbents.settle(resolved.found, {
      cluster: resolved.cluster,
      sides: compiled.meaning.sides,
      tables: known,
    });
  }
}

const X = "10.0.0.7";
const Y = "10.0.0.8";
const X6 = "fd00::7";

/** The same for a pod by each kind of evidence: a link's content that shows addresses behind it. */
const WIRINGS = {
  "by host routes": (...ips: readonly string[]): Partial<Link> => ({ routes: ips, inside: ips }),
  "by addresses inside": (...ips: readonly string[]): Partial<Link> => ({ inside: ips }),
} as const;

describe.each(Object.entries(WIRINGS))("an interface found %s stays its pod's", (_, wired) => {
  const there = { n: 1, ...wired(X, X6) };
  const web = of("iweb", [X, X6]);
  const found = ["v1 iweb"];
  const start: Moment = { links: [there], pods: [web], found, held: [`${X} iweb`, `${X6} iweb`] };

  it("when its object is deleted, as isolated as it was", () => {
    play([
      start,
      {
        links: [there],
        pods: [],
        found: ["v1 iweb retained isolated"],
        held: [`${X} iweb retained`, `${X6} iweb retained`],
      },
      // Also when the policies are deleted, and when the interface shows nothing any more.
      { links: [{ n: 1 }], pods: [], policies: new Map(), found: ["v1 iweb retained isolated"] },
      { links: [], pods: [], found: [] },
    ]);
  });

  it("when it has Failed or Succeeded, and when the object of that goes too", () => {
    const failed = of("iweb", [X, X6], { finished: true });
    play([
      start,
      { links: [there], pods: [failed], found: ["v1 iweb retained isolated"] },
      { links: [there], pods: [], found: ["v1 iweb retained isolated"] },
      { links: [there], pods: [web], found },
    ]);
  });

  it("when its status loses its addresses, which stay its own", () => {
    play([
      start,
      { links: [there], pods: [of("iweb", [])], found: ["v1 iweb lost"], held: start.held ?? [] },
      { links: [there], pods: [of("iweb", [])], policies: new Map(), found: ["v1 iweb lost"] },
      { links: [there], pods: [], found: ["v1 iweb retained"] },
    ]);
  });

  it("when the addresses are removed inside and on the node", () => {
    play([
      start,
      { links: [{ n: 1 }], pods: [web], found: ["v1 iweb lost"], held: start.held ?? [] },
      { links: [{ n: 1 }], pods: [], found: ["v1 iweb retained isolated"] },
    ]);
  });

  it("while its object is another pod's of its name, and that one's interface is only its own", () => {
    const later = { n: 2, ...wired(Y) };
    const first = of("iweb", [X], { uid: "u1" });
    const second = of("iweb", [Y], { uid: "u2" });
    const both = ["v1 iweb#u1 retained isolated", "v2 iweb#u2"];
    play([
      { links: [{ n: 1, ...wired(X) }], pods: [first], found: ["v1 iweb#u1"] },
      { links: [{ n: 1, ...wired(X) }], pods: [second], found: ["v1 iweb#u1 retained isolated"] },
      {
        links: [{ n: 1, ...wired(X) }, later],
        pods: [second],
        found: both,
        held: [`${X} iweb retained`, `${Y} iweb`],
      },
      { links: [later], pods: [second], found: ["v2 iweb#u2"], held: [`${Y} iweb`] },
    ]);
  });

  it("if objects have no uid, too: a later one of its name is identified by its own interface", () => {
    const later = { n: 2, ...wired(Y) };
    play([
      { links: [{ n: 1, ...wired(X) }], pods: [of("iweb", [X])], found },
      { links: [{ n: 1, ...wired(X) }], pods: [of("iweb", [Y])], found: ["v1 iweb lost"] },
      {
        links: [{ n: 1, ...wired(X) }, later],
        pods: [of("iweb", [Y])],
        found: ["v1 iweb retained isolated", "v2 iweb"],
      },
    ]);
  });

  it("with an object that is there again as before (a mirror pod, say)", () => {
    const mirror = of("iweb", [X], { uid: "file" });
    const one = { n: 1, ...wired(X) };
    play([
      { links: [one], pods: [mirror], found: ["v1 iweb#file"] },
      { links: [one], pods: [], found: ["v1 iweb#file retained isolated"] },
      { links: [one], pods: [mirror], found: ["v1 iweb#file"] },
    ]);
  });

  it.each(["aaa", "zzz", "iaa", "izz"])(
    "when pod %s claims its address, whose interface it is not",
    (name) => {
      const other = of(name, [X]);
      const one = { n: 1, ...wired(X) };
      play([
        { links: [one], pods: [of("iweb", [X])], found, held: [`${X} iweb`] },
        { links: [one], pods: [other, of("iweb", [X])], found, missing: [name], held: [`${X} iweb`] },
        {
          links: [one],
          pods: [other],
          found: ["v1 iweb retained isolated"],
          missing: [name],
          held: [`${X} iweb retained`],
        },
        {
          links: [one],
          pods: [of("iweb", [X], { deleting: true }), other],
          found,
          missing: [name],
          held: [`${X} iweb`],
        },
      ]);
    },
  );

  it("until its address is known to be behind another pod's", () => {
    const one = { n: 1, inside: [X] };
    const two = { n: 2, routes: [X], inside: [X] };
    const next = of("next", [X]);
    play([
      { links: [one], pods: [of("iweb", [X])], found },
      { links: [one], pods: [], found: ["v1 iweb retained isolated"], held: [`${X} iweb retained`] },
      {
        links: [one, two],
        pods: [next],
        found: ["v1 iweb retained isolated", "v2 next"],
        held: [`${X} next`],
        sent: { v1: [], v2: [X] },
      },
    ]);
  });

  it("but not the next link's of its index or name", () => {
    const next = of("next", [X]);
    const reused = { n: 1, birth: "other", ...wired(X) };
    play([
      { links: [{ n: 1, ...wired(X) }], pods: [of("iweb", [X])], found },
      { links: [reused], pods: [next], found: ["v1 next"], held: [`${X} next`] },
    ]);
    play([
      { links: [{ n: 1, ...wired(X) }], pods: [of("iweb", [X])], found },
      { links: [{ n: 1, ...wired(X) }], pods: [], found: ["v1 iweb retained isolated"] },
      { links: [reused], pods: [], found: [] },
    ]);
  });

  it.each([
    ["has Succeeded", { finished: true }],
    ["is being deleted", { deleting: true }],
    ["seems to run", {}],
  ] as const)("but not a new link with the address of a pod that has ended and %s", (_state, status) => {
    const ended = of("iweb", [X], status);
    const next = { n: 2, ...wired(X) };
    const mayRun = Object.keys(status).length === 0;
    const seen = "finished" in status ? "v2 iweb retained" : "v2 iweb";
    const appeared = { [X]: { "shop/iweb": 1, "shop/next": 2 } };
    const begin: Moment[] = [
      { links: [{ n: 1, ...wired(X) }], pods: [of("iweb", [X])], found },
      { links: [], pods: [ended], found: [] },
      // The next pod's link comes before its object has the address.
      { links: [next], pods: [ended, of("next", [])], found: [seen] },
    ];
    // While both objects say that their pods run there, the policies of both hold.
    const both: Moment = {
      links: [next],
      pods: [ended, of("next", [X])],
      appeared,
      found: [mayRun ? "v2 iweb|next" : "v2 next"],
    };
    play([
      ...begin,
      both,
      both,
      { links: [next], pods: [of("next", [X])], found: ["v2 next"], held: [`${X} next`] },
    ]);
    play([
      ...begin,
      { links: [next], pods: [of("next", [])], found: ["v2 iweb retained isolated"] },
      { links: [next], pods: [of("next", [X])], found: ["v2 next"], held: [`${X} next`] },
      { links: [next], pods: [], found: ["v2 next retained"] },
    ]);
  });

  it("over a new sandbox of the same pod, which the CNI plugin reports", () => {
    const second = { n: 2, ...wired(Y) };
    const pod = (ip: string) => of("iweb", [ip], { uid: "u1" });
    const claim = { ifindex: 2, pod: "shop/iweb", ips: [Y] };
    play([
      { links: [{ n: 1, ...wired(X) }], pods: [pod(X)], found: ["v1 iweb#u1"] },
      { links: [], pods: [pod(X)], found: [] },
      { links: [second], pods: [pod(X)], claims: [claim], found: ["v2 iweb#u1"] },
      // Its object is deleted by force: the claim is of a pod that is not known any more.
      {
        links: [second],
        pods: [],
        claims: [{ ...claim, pod: undefined }],
        found: ["v2 iweb#u1 retained isolated"],
      },
      { links: [second], pods: [], found: ["v2 iweb#u1 retained isolated"] },
    ]);
  });

  it("also if it was known only as an ended pod's, and is claimed for a pod that is not known", () => {
    const next = { n: 2, ...wired(X) };
    const claim = { ifindex: 2, pod: undefined, ips: [X] };
    play([
      { links: [next], pods: [of("iweb", [X], { deleting: true })], found: ["v2 iweb"] },
      { links: [next], pods: [], claims: [claim], found: ["v2 iweb retained isolated"] },
    ]);
  });

  it.each([
    ["first", [0, 1]],
    ["last", [1, 0]],
  ] as const)("but not what an old status gave it %s, at a restart of the node", (_order, order) => {
    const [one, two] = [
      { n: 1, ...wired(X) },
      { n: 2, ...wired(Y) },
    ];
    const pods = (a: string, i: string) => {
      const both = [of("a", [a], { uid: "u1" }), of("ib", [i], { uid: "u2" })];
      return order.map((at) => both[at] as Pod);
    };
    const right = ["v1 ib#u2", "v2 a#u1"];
    play([
      // The addresses are as before the restart; the links are of the new sandboxes.
      { links: [one, two], pods: pods(X, Y), found: ["v1 a#u1", "v2 ib#u2"] },
      { links: [one, two], pods: pods(Y, X), found: right, held: [`${X} ib`, `${Y} a`] },
      { links: [one, two], pods: pods(Y, X), found: right, held: [`${X} ib`, `${Y} a`] },
    ]);
  });

  describe("but not what names an address that is the next pod's by then", () => {
    const old = of("old", [X], { uid: "1" });
    const next = of("inext", [X], { uid: "2" });
    const one = { n: 1, ...wired(X) };
    const both: Moment = {
      links: [one],
      pods: [old, next],
      appeared: { [X]: { "shop/old": 1, "shop/inext": 2 } },
      found: ["v1 inext#2|old#1"],
      held: [`${X} inext|old`],
    };
    const older: Moment[] = [
      { links: [], pods: [old], found: [], missing: [] },
      { links: [one], pods: [old, of("inext", [], { uid: "2" })], found: ["v1 old#1"] },
    ];
    const atOnce: Moment[] = [
      { links: [], pods: [], found: [] },
      { links: [one], pods: [old], found: ["v1 old#1"] },
    ];

    it.each([
      ["older than the link", older],
      ["as old as the link, as far as is known", atOnce],
    ])("%s: both hold until one object names another", (_age, begin) => {
      const left = { n: 2, ...wired(Y) };
      const after: Moment = {
        links: [one, left],
        pods: [of("old", [Y], { uid: "1" }), next],
        found: ["v1 inext#2", "v2 old#1"],
        held: [`${X} inext`, `${Y} old`],
      };
      play([...begin, both, both, after, after]);
    });

    it("older than the link: and ends with its object", () => {
      play([...older, both, { links: [one], pods: [next], found: ["v1 inext#2"], held: [`${X} inext`] }]);
    });

    it("as old as the link: and stays, since it may be its own", () => {
      play([
        ...atOnce,
        both,
        { links: [one], pods: [next], found: ["v1 inext#2|old#1"], held: [`${X} inext`] },
      ]);
      // What came later has no part in it beyond its object: it may have named the address in error.
      play([...atOnce, both, { links: [one], pods: [old], found: ["v1 old#1"], held: [`${X} old`] }]);
    });

    it("unless they are from manifests, which name no old addresses", () => {
      const [first, second] = [of("old", [X]), of("inext", [X])];
      const begun: Moment[] = [
        { links: [], pods: [], found: [] },
        { links: [one], pods: [first], found: ["v1 old"] },
      ];
      play([
        ...begun,
        { links: [one], pods: [first, second], found: ["v1 old"], missing: ["inext"], held: [`${X} old`] },
      ]);
    });

    it("but it does what names an address that came after the link", () => {
      play([
        { links: [], pods: [of("old", [], { uid: "1" })], found: [] },
        { links: [one], pods: [of("old", [], { uid: "1" })], found: [] },
        { links: [one], pods: [old], found: ["v1 old#1"] },
        { ...both, found: ["v1 old#1"], missing: ["inext"], held: [`${X} old`] },
      ]);
    });
  });

  it("a link of one that is ending is not another ending one's alone", () => {
    const next = { n: 2, ...wired(X) };
    const other = of("other", [X], { deleting: true });
    play([
      { links: [{ n: 1, ...wired(X) }], pods: [of("iweb", [X])], found },
      { links: [], pods: [of("iweb", [X]), other], found: [] },
      { links: [next], pods: [of("iweb", [X]), other], found: ["v2 iweb"] },
      {
        links: [next],
        pods: [of("iweb", [X], { finished: true }), other],
        found: ["v2 iweb|other retained isolated"],
      },
    ]);
  });

  it("when its other end is put into another namespace", () => {
    play([
      start,
      { links: [{ ...there, ns: 5 }], pods: [web], found },
      { links: [{ n: 1, ns: 6 }], pods: [], found: ["v1 iweb retained isolated"] },
    ]);
  });

  it("and is isolated when the pod's namespace is deleted, or is another one of its name", () => {
    const [old, other] = [
      { ...SHOP, uid: "n1" },
      { ...SHOP, uid: "n2" },
    ];
    const open = of("web", [X]);
    const one = { n: 1, ...wired(X) };
    for (const after of [[], [other]])
      play([
        { links: [one], pods: [open], namespaces: [old], found: ["v1 web"] },
        { links: [one], pods: [], namespaces: [old], found: ["v1 web retained"] },
        { links: [one], pods: [], namespaces: after, found: ["v1 web retained sealed"] },
        { links: [one], pods: [], namespaces: after, found: ["v1 web retained sealed"] },
      ]);
    // Of manifests that declare no namespace, its absence says nothing.
    play([
      { links: [one], pods: [open], namespaces: [], found: ["v1 web"] },
      { links: [one], pods: [], namespaces: [], found: ["v1 web retained"] },
    ]);
  });

  it("with policies that come later, by its last labels, and then permanently", () => {
    const web = of("web", [X]);
    const one = { n: 1, ...wired(X) };
    const all = policy("shop/all", { isolates: { ingress: true, egress: false } });
    play([
      { links: [one], pods: [web], found: ["v1 web"] },
      { links: [one], pods: [], found: ["v1 web retained"] },
      { links: [one], pods: [], policies: new Map([[keyOf(all), all]]), found: ["v1 web retained"] },
      { links: [one], pods: [], policies: new Map(), found: ["v1 web retained isolated"] },
    ]);
  });
});

describe("at first sight", () => {
  it("two pods with one address that nothing distinguishes share the interface", () => {
    const links = [{ n: 1, routes: [X] }];
    const [a, z] = [of("a", [X, Y]), of("z", [X])];
    for (const pods of [
      [a, z],
      [z, a],
    ])
      play([{ links, pods, found: ["v1 a|z"], held: [`${X} a|z`], sent: { v1: [X] } }]);
  });

  it.each([
    ["has not finished", of("a", [X], { finished: true })],
    ["is not being deleted", of("a", [X], { deleting: true })],
  ])("the one that %s takes precedence over the other", (_, other) => {
    play([{ links: [{ n: 1, routes: [X] }], pods: [other, of("z", [X])], found: ["v1 z"] }]);
  });

  it("the one whose object got the address last takes precedence over the other", () => {
    const pods = [of("a", [X]), of("z", [X])];
    const links = [{ n: 1, routes: [X] }];
    play([{ links, pods, appeared: { [X]: { "shop/a": 3, "shop/z": 1 } }, found: ["v1 a"], missing: ["z"] }]);
    play([{ links, pods, appeared: { [X]: { "shop/a": 1, "shop/z": 3 } }, found: ["v1 z"], missing: ["a"] }]);
  });

  it("a pod that has finished is judged, as its processes may run", () => {
    play([
      {
        links: [{ n: 1, routes: [X] }],
        pods: [of("iweb", [X], { finished: true })],
        found: ["v1 iweb retained"],
      },
    ]);
  });

  it("a host route takes precedence over addresses inside, and what was inside first over what came later", () => {
    const pods = [of("a", [X]), of("b", [Y])];
    play([
      {
        links: [
          { n: 1, inside: [X] },
          { n: 2, routes: [X], inside: [Y] },
        ],
        pods,
        found: ["v2 a"],
        missing: ["b"],
      },
    ]);
    play([
      {
        links: [
          { n: 1, inside: [X] },
          { n: 2, inside: [Y, X] },
        ],
        pods,
        found: ["v1 a", "v2 b"],
      },
    ]);
  });
});

describe("a known pod that puts a coming pod's address into its own network namespace", () => {
  const thief = of("thief", [Y]);
  const victim = of("ivictim", [X]);
  const own = { n: 1, inside: [Y] };

  it.each([
    ["first of all", { n: 1, inside: [X, Y] }],
    ["and takes away its own", { n: 1, inside: [X] }],
  ])("%s hides no interface", (_, forged) => {
    const links = [forged, { n: 2, inside: ["10.0.0.99", X] }];
    play([
      { links: [own], pods: [thief], found: ["v1 thief"] },
      { links: [forged], pods: [thief], found: [forged.inside.includes(Y) ? "v1 thief" : "v1 thief lost"] },
      {
        links,
        pods: [thief, victim],
        found: [forged.inside.includes(Y) ? "v1 thief" : "v1 thief lost", "v2 ivictim"],
        held: [`${X} ivictim`, `${Y} thief`],
        sent: { v1: [Y], v2: [X] },
      },
    ]);
  });

  it("nor one behind which the address is seen by weaker evidence only", () => {
    const links = [
      { n: 1, inside: [X, Y] },
      { n: 2, prefixes: ["10.0.0.0/29"] },
    ];
    play([
      { links: [own], pods: [thief], found: ["v1 thief"] },
      {
        links,
        pods: [thief, victim],
        found: ["v1 thief", "v2 ivictim"],
        sent: { v1: [Y], v2: [X] },
      },
    ]);
  });
});

describe("interfaces into one network namespace belong to one pod", () => {
  const eth0 = { n: 1, ns: 1, routes: [X6], inside: [X6] };
  const v4if0 = { n: 2, ns: 1, routes: ["169.254.172.2"], inside: ["169.254.172.2"] };
  const app = of("iapp", [X6]);

  it("with the addresses that the node routes to them", () => {
    const addresses = [X6, "169.254.172.2"];
    play([
      {
        links: [eth0, v4if0],
        pods: [app],
        found: ["v1 iapp", "v2 iapp"],
        held: [`${X6} iapp`, "169.254.172.2 iapp"],
        sent: { v1: addresses, v2: addresses },
      },
    ]);
  });

  it("whenever they come, and when the object goes", () => {
    play([
      { links: [eth0], pods: [app], found: ["v1 iapp"] },
      { links: [eth0, { n: 2, ns: 1 }], pods: [app], found: ["v1 iapp", "v2 iapp"] },
      { links: [eth0, v4if0], pods: [], found: ["v1 iapp retained isolated", "v2 iapp retained isolated"] },
      { links: [{ n: 2, ns: 1 }], pods: [], found: ["v2 iapp retained isolated"] },
    ]);
  });

  it("and never another's, whatever that one's object says", () => {
    const thief = of("a-thief", ["169.254.172.2"]);
    play([
      { links: [eth0], pods: [app], found: ["v1 iapp"] },
      { links: [eth0, v4if0], pods: [app, thief], found: ["v1 iapp", "v2 iapp"], missing: ["a-thief"] },
    ]);
  });

  it("and if none of them is identified has the addresses inside, except those that are others'", () => {
    const net1 = { n: 3, ns: 1, inside: ["192.0.2.5", Y] };
    const other = { n: 4, ns: 4, routes: [Y] };
    play([
      {
        links: [eth0, net1, other],
        pods: [app, of("other", [Y])],
        found: ["v1 iapp", "v3 iapp", "v4 other"],
        held: [`${X6} iapp`, `${Y} other`],
        sent: { v1: [X6], v3: [X6, "192.0.2.5"] },
      },
    ]);
  });

  it("an annotation that names the namespace names all of them", () => {
    const named = of("iapp", [X6], { attachment: { kind: "netns", name: "one" } });
    play([{ links: [eth0, v4if0], pods: [named], found: ["v1 iapp", "v2 iapp"] }]);
  });
});

describe("a claim", () => {
  const claim = (ifindex: number, name: string | undefined, ...ips: readonly string[]) => ({
    ifindex,
    pod: name === undefined ? undefined : `shop/${name}`,
    ips,
  });

  it("takes precedence over all else, and brings the addresses", () => {
    play([
      {
        links: [{ n: 1, routes: [Y], inside: [Y] }],
        pods: [of("web", [X6]), of("liar", [Y])],
        claims: [claim(1, "web", X)],
        found: ["v1 web"],
        missing: ["liar"],
        held: [`${X} web`],
        sent: { v1: [X] },
      },
    ]);
  });

  it("is of one link: another one of its index does not use it", () => {
    play([
      {
        links: [{ n: 1, birth: "later", routes: [Y] }],
        pods: [of("web", []), of("next", [Y])],
        claims: [{ ...claim(1, "web", X), birth: "earlier" }],
        found: ["v1 next"],
      },
    ]);
  });

  it("of a pod that is not known yet keeps others from its interface", () => {
    play([
      {
        links: [{ n: 1, routes: [X] }],
        pods: [of("liar", [X])],
        claims: [claim(1, undefined, X)],
        found: [],
        missing: ["liar"],
      },
      {
        links: [{ n: 1, routes: [X] }],
        pods: [of("liar", [X]), of("web", [])],
        claims: [claim(1, "web", X)],
        found: ["v1 web"],
        missing: ["liar"],
      },
    ]);
  });

  it("of each of two live sandboxes counts, and the end of one leaves the other", () => {
    const both = [claim(1, "iweb", X), claim(2, "iweb", Y)];
    const pods = [of("iweb", [X])];
    play([
      {
        links: [{ n: 1 }, { n: 2 }],
        pods,
        claims: both,
        found: ["v1 iweb", "v2 iweb"],
        held: [`${X} iweb`, `${Y} iweb`],
      },
      // DEL of the earlier one, late: its link may live a moment longer.
      {
        links: [{ n: 1 }, { n: 2 }],
        pods,
        claims: both.slice(1),
        found: ["v1 iweb", "v2 iweb"],
        held: [`${Y} iweb`],
      },
      { links: [{ n: 2 }], pods, claims: both.slice(1), found: ["v2 iweb"], held: [`${Y} iweb`] },
    ]);
  });

  it("that is removed leaves the interface to its pod for as long as it lives", () => {
    play([
      {
        links: [{ n: 1 }],
        pods: [of("iweb", [])],
        claims: [claim(1, "iweb", X)],
        found: ["v1 iweb"],
        held: [`${X} iweb`],
      },
      { links: [{ n: 1 }], pods: [of("iweb", [])], found: ["v1 iweb lost"], held: [`${X} iweb`] },
      { links: [{ n: 1 }], pods: [], found: ["v1 iweb retained isolated"] },
    ]);
  });

  it("of two pods' sandboxes with one address leaves the address to both", () => {
    play([
      {
        links: [{ n: 1 }, { n: 2 }],
        pods: [of("a", []), of("b", [])],
        claims: [claim(1, "a", X), claim(2, "b", X)],
        found: ["v1 a", "v2 b"],
        held: [`${X} a|b`],
      },
    ]);
  });
});

describe("an annotation", () => {
  const named = (name: string, ips: readonly string[]) =>
    of(name, ips, { attachment: { kind: "link", name: "v1" } });

  it("gives the pod an interface without other evidence", () => {
    play([{ links: [{ n: 1 }], pods: [named("web", [X])], found: ["v1 web"], held: [] }]);
  });

  it("decides between pods with one address", () => {
    play([
      {
        links: [{ n: 1, routes: [X] }],
        pods: [named("z", [X]), of("a", [X])],
        found: ["v1 z"],
        missing: ["a"],
      },
    ]);
  });

  it("contradicts an address that is behind it and not the pod's: both hold", () => {
    play([{ links: [{ n: 1, routes: [X] }], pods: [named("z", [Y]), of("ia", [X])], found: ["v1 ia|z"] }]);
  });

  it("takes no interface from a running pod with other evidence", () => {
    play([
      { links: [{ n: 1, routes: [X] }], pods: [of("iweb", [X])], found: ["v1 iweb"] },
      ...Array.from({ length: 3 }, () => ({
        links: [{ n: 1, routes: [X] }],
        pods: [of("iweb", [X]), named("a", [X])],
        found: ["v1 a|iweb"],
        held: [`${X} a|iweb`],
      })),
      // Then the object of one is deleted: the interface was isolated, and may be its own.
      {
        links: [{ n: 1, routes: [X] }],
        pods: [of("iweb", [X])],
        found: ["v1 a|iweb retained isolated"],
        held: [`${X} iweb`],
      },
    ]);
  });

  it("leaves an address of both ambiguous, whichever object got it last", () => {
    const links = [{ n: 1, routes: [X] }];
    for (const [a, iweb] of [
      [1, 3],
      [3, 1],
      [2, 2],
    ] as const) {
      const appeared = { [X]: { "shop/a": a, "shop/iweb": iweb } };
      play([
        { links, pods: [of("iweb", [X])], found: ["v1 iweb"], held: [`${X} iweb`] },
        {
          links,
          pods: [of("iweb", [X]), named("a", [X])],
          appeared,
          found: ["v1 a|iweb"],
          held: [`${X} a|iweb`],
        },
        {
          links,
          pods: [of("iweb", [X], { deleting: true }), named("a", [X])],
          appeared,
          found: ["v1 a|iweb"],
          held: [`${X} a|iweb`],
        },
      ]);
    }
  });

  it("that two pods have is that of the one that has the interface, else of both", () => {
    const both = [named("a", [X]), named("iz", [Y])];
    play([{ links: [{ n: 1 }], pods: both, found: ["v1 a|iz"] }]);
    play([
      { links: [{ n: 1 }], pods: [named("iz", [Y])], found: ["v1 iz"] },
      { links: [{ n: 1 }], pods: both, found: ["v1 iz"], missing: ["a"] },
    ]);
  });

  it("assigns another pod what a deleted one had", () => {
    play([
      { links: [{ n: 1 }], pods: [named("iz", [Y])], found: ["v1 iz"] },
      { links: [{ n: 1 }], pods: [], found: ["v1 iz retained isolated"] },
      { links: [{ n: 1 }], pods: [named("next", [Y])], found: ["v1 next"] },
    ]);
  });
});

describe("an interface that an earlier agent left without a record", () => {
  const left = (isolated: boolean, ...addresses: readonly string[]): Readonly<Record<number, Adopted>> => ({
    1: { addresses, isolated },
  });

  it("belongs to the pod that has the address, wherever that is seen now", () => {
    play([{ links: [{ n: 1 }], pods: [of("iweb", [X])], adopted: left(true, X), found: ["v1 iweb"] }]);
  });

  it("is isolated if it was isolated and no pod has it, until one does", () => {
    play([
      { links: [{ n: 1 }], pods: [], adopted: left(true, X), found: ["v1 v1 retained isolated sealed"] },
      { links: [{ n: 1 }], pods: [], found: ["v1 v1 retained isolated sealed"] },
      { links: [{ n: 1, routes: [Y] }], pods: [of("web", [Y])], found: ["v1 web"] },
    ]);
  });

  it("is left unchanged if it was not isolated, and isolated if that cannot be known", () => {
    play([{ links: [{ n: 1 }], pods: [], adopted: left(false, X), found: [] }]);
    play([
      {
        links: [{ n: 1 }],
        pods: [],
        adopted: { 1: { addresses: undefined, isolated: true } },
        found: ["v1 v1 retained isolated sealed"],
      },
    ]);
  });
});

it("if unknown pods are denied everything, so is one whose object was deleted, and not longer than that", () => {
  const one = { n: 1, routes: [X] };
  const history: Moment[] = [
    { links: [one], pods: [of("web", [X])], found: ["v1 web"] },
    { links: [one], pods: [], found: ["v1 web retained sealed"] },
    { links: [one], pods: [of("web", [X], { finished: true })], found: ["v1 web retained"] },
  ];
  play(history, { sealGone: true });
});

it("a pod of another node has nothing here, and its object takes nothing from one that has", () => {
  const links = [{ n: 1, routes: [X] }];
  const [here, there] = [of("z", [X], { node: "self" }), of("a", [X], { node: "other" })];
  play([{ links, pods: [there], found: [] }], { node: "self" });
  play([{ links, pods: [here, there], found: ["v1 z"], held: [`${X} z`] }], { node: "self" });
});

it("ambiguity is reported", () => {
  const known = tablesOf([{ n: 1, routes: [X] }]);
  const pods = [of("z", [X]), of("a", [X])];
  const { problems } = resolveInterfaces(
    {
      namespaces: new Map(),
      pods: new Map(pods.map((each) => [keyOf(each), each])),
      policies: new Map(),
      services: new Map(),
      slices: new Map(),
    },
    { tables: () => known, idOf: () => undefined },
  );
  expect(problems.map(problemText)).toEqual([
    "interface v1: it may belong to pod shop/a or of shop/z: which one is ambiguous; the policies of all of them apply together",
  ]);
});
