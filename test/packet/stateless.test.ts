// TCP connections into a pod that is isolated for ingress only: where the kernel's conntrack has seen the packet, they need no entry.

import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import {
  ASSIGNED,
  type AssignedObject,
  buildAssigned,
  WITHOUT_SOCKET,
} from "../../bench/common/assigned-object.ts";
import { pin } from "../../bench/common/machine.ts";
import { present } from "../../src/base/assert.ts";
import { tableOf } from "../../src/datapath/typed-maps.ts";
import { TCP_FLAG } from "../../src/engines/frame-builder.ts";
import { FlowState } from "../../src/gen/layout.ts";
import { block, clusterPolicy, clusterRule } from "../support/model.ts";
import { OBJECT } from "../support/object.ts";
import {
  FIN_ACK,
  fragment,
  frame,
  ICMP_ERROR,
  type IcmpError,
  icmpError,
  ip,
  RST_ACK,
  type Segment,
  SYN_ACK,
  tcpSegment,
  udpSegment,
} from "./frames.ts";
import { type Addresses, BOTH_FAMILIES, openWorld, type PodName, THIS_NODE, type World } from "./world.ts";

const { SYN, ACK } = TCP_FLAG;
const { NONE, OPENING, OPEN, ENDED, ERROR } = ASSIGNED;

/** A client's port, and the server's, which RULES name for `friend`. */
const CLIENT = 50_000;
const PORT = 80;
/** A port that RULES name too, and that a client may have: for connections that the pod opens from it. */
const EITHER = 40_000;

let built: AssignedObject;
let world: World;

beforeAll(async () => {
  // What a CPU has found out about a flow in a tick, another one does not know.
  pin(0);
  built = buildAssigned(OBJECT);
  world = await openWorld({ object: built.path });
  expect(world.bench.datapath.withoutConntrack).toBeUndefined();
});

afterAll(() => {
  world?.close();
  built?.close();
});

const LINK = { hardware: [], netns: 0 };
type Enforced = Parameters<World["enforce"]>[2];

async function enforce(rules?: Parameters<World["enforce"]>[0], more: Enforced = {}): Promise<void> {
  await world.enforce(rules, [], { link: () => LINK, ...more });
}

/** For how long a look-up of a socket counts: a second of the node's clock. */
async function setSecond(ticks: number): Promise<void> {
  const { node } = world.bench.maps.tables;
  await node.writeBatch([[0, { ...present(node.get(0), "the node's settings"), ticksPerSecond: ticks }]]);
}

async function forgetSockets(): Promise<void> {
  const sockets = tableOf("pod_sockets", world.bench.datapath.map("pod_sockets"));
  await sockets.writeBatch((await sockets.read()).map(([place]) => [place, { word: 0n }]));
}

const AN_HOUR = 3_600_000;

beforeEach(async () => {
  await enforce();
  await setSecond(AN_HOUR);
  await world.forget();
  await forgetSockets();
});

const FRIEND = [block("10.9.0.0/24"), block("fd09::/64")];
const egressDenied = clusterPolicy("egress", { egress: [clusterRule("Deny", FRIEND)] });
const ingressDenied = clusterPolicy("ingress", {
  ingress: [clusterRule("Deny", [block("10.7.0.0/24"), block("fd07::/64")])],
});

interface Talk {
  readonly a: Addresses;
  readonly pod: PodName;
  readonly peer: "friend" | "trusted" | "stranger";
  readonly port: number;
  readonly client: number;
}

const talk = (a: Addresses, more: Partial<Omit<Talk, "a">> = {}): Talk => ({
  a,
  pod: "in",
  peer: "friend",
  port: PORT,
  client: CLIENT,
  ...more,
});

function into({ a, pod, peer, port, client }: Talk, flags: number, priority: number, from?: number): string {
  return world.ask({
    pod,
    direction: "ingress",
    frame: frame(a[peer], a.pods[pod], tcpSegment(client, port, flags)),
    priority,
    ...(from !== undefined && { from }),
  });
}

const outOf = ({ a, pod, peer, port, client }: Talk, flags: number): string =>
  world.ask({
    pod,
    direction: "egress",
    frame: frame(a.pods[pod], a[peer], tcpSegment(port, client, flags)),
  });

/** Segments of a stranger show the programs that the port has sockets: they are denied, and leave no entry. */
function know(of: Talk, found = true): void {
  const stranger = { ...of, peer: "stranger", client: 1 } as const;
  expect(into(stranger, ACK, found ? OPEN : OPEN | WITHOUT_SOCKET)).toBe("untracked");
}

/** A whole handshake and a request with its answer, as conntrack sees them. */
function converse(of: Talk): string[] {
  return [
    into(of, SYN, OPENING),
    outOf(of, SYN_ACK),
    into(of, ACK, OPEN),
    into(of, ACK, OPEN),
    outOf(of, ACK),
    outOf(of, ACK),
  ];
}

const STATELESS = ["policy", "not-isolated", "established", "established", "not-isolated", "not-isolated"];
const WITH_ENTRY = ["policy", "established", "established", "established", "established", "established"];

const entries = (): number => world.flows().length;

describe.each(BOTH_FAMILIES)("IPv$family", (a) => {
  it("a connection that conntrack sees has no entry, from its first segment to its last", () => {
    const of = talk(a);
    know(of);
    expect(converse(of)).toEqual(STATELESS);
    expect([
      into(of, FIN_ACK, OPEN),
      outOf(of, FIN_ACK),
      into(of, ACK, ENDED),
      into(of, FIN_ACK, ENDED),
      into(of, RST_ACK, ENDED),
    ]).toEqual(["established", "not-isolated", "established", "established", "established"]);
    expect(entries()).toBe(0);
  });

  it.each<[string, Partial<Omit<Talk, "a">>]>([
    ["for a pod isolated in both directions", { pod: "both" }],
    ["for a pod isolated for egress only, whose own connections are judged", { pod: "out" }],
  ])("there is an entry %s", (_, which) => {
    const of = talk(a, which);
    if (of.pod === "both") {
      know(of);
      expect(converse(of)).toEqual(WITH_ENTRY);
    } else {
      const opened = { ...of, port: CLIENT, client: PORT };
      expect(outOf(opened, SYN)).toBe("policy");
      expect(into(opened, SYN_ACK, NONE)).toBe("established");
    }
    expect(entries()).toBe(1);
  });

  it("there is an entry where conntrack has not seen the packets", () => {
    const of = talk(a);
    know(of);
    const reasons = [into(of, SYN, NONE), outOf(of, SYN_ACK), into(of, ACK, NONE), outOf(of, ACK)];
    expect(reasons).toEqual(["policy", "established", "established", "established"]);
    expect(entries()).toBe(1);
  });

  it("a SYN that is no first one for conntrack makes an entry", () => {
    for (const how of [OPEN, ENDED, ERROR]) {
      const of = talk(a, { client: CLIENT + how });
      know(of);
      expect(into(of, SYN, how)).toBe("policy");
    }
    expect(entries()).toBe(3);
  });

  it("there is an entry as long as no socket is known at the port", () => {
    const of = talk(a);
    know(of, false);
    expect(into(of, SYN, OPENING)).toBe("policy");
    expect(entries()).toBe(1);
    expect([outOf(of, SYN_ACK), into(of, ACK, OPEN | WITHOUT_SOCKET), outOf(of, ACK)]).toEqual([
      "established",
      "established",
      "established",
    ]);
    expect(entries()).toBe(1);
  });

  it("a socket known at one port says nothing of another, of another pod's, nor of the other family's", () => {
    const [v4, v6] = BOTH_FAMILIES;
    know(talk(a, { port: EITHER }));
    know(talk(a, { pod: "both" }));
    know(talk(a.family === 4 ? v6 : v4));
    expect(into(talk(a), SYN, OPENING)).toBe("policy");
    expect(entries()).toBe(1);
  });

  it("a known socket is known for a second; then a connection of its own shows it again", async () => {
    const of = talk(a);
    know(of);
    await setSecond(1);
    await world.outwait(10);
    expect(into(of, SYN, OPENING)).toBe("policy");
    expect(entries()).toBe(1);
    const other = talk(a, { client: CLIENT + 1 });
    expect(into(other, ACK, OPEN)).toBe("established");
    expect(entries()).toBe(1);
  });

  it("evidence that goes is replaced by an entry, made by the next segment that lacks it", async () => {
    const of = talk(a);
    know(of);
    expect(converse(of)).toEqual(STATELESS);
    await world.outwait(0);
    expect(into(of, ACK, NONE)).toBe("policy");
    expect(entries()).toBe(1);
    expect([outOf(of, ACK), into(of, ACK, NONE)]).toEqual(["established", "established"]);
    // Now the pod may send its peer nothing but what belongs to such a connection.
    await enforce(undefined, { clusterPolicies: [egressDenied] });
    expect([outOf(of, ACK), into(of, ACK, NONE)]).toEqual(["established", "established"]);
  });

  it("so is a socket that the pod does not have", async () => {
    const of = talk(a);
    know(of);
    expect(converse(of)).toEqual(STATELESS);
    await setSecond(1);
    await world.outwait(10);
    expect(into(of, ACK, OPEN | WITHOUT_SOCKET)).toBe("policy");
    expect(entries()).toBe(1);
  });

  it("revocation is immediate, and neither side brings the connection back", async () => {
    const of = talk(a);
    know(of);
    expect(converse(of)).toEqual(STATELESS);
    await enforce([{ peers: [block("10.8.0.0/24"), block("fd08::/64")], ports: "all" }]);
    expect([
      into(of, ACK, OPEN),
      into(of, ACK, NONE),
      outOf(of, ACK),
      into(of, ACK, OPEN),
      into(of, FIN_ACK, OPEN),
      into(of, ACK, ENDED),
      into(of, SYN, OPENING),
    ]).toEqual(["untracked", "untracked", "not-isolated", "untracked", "untracked", "untracked", "denied"]);
    expect(entries()).toBe(0);
    await enforce();
    know(of);
    expect(into(of, ACK, OPEN)).toBe("established");
  });

  it("what audit mode lets pass has an entry, and is reported once", async () => {
    const of = talk(a, { peer: "stranger" });
    await enforce(undefined, { mode: "audit" });
    expect(into(talk(a, { peer: "friend" }), ACK, OPEN)).toBe("established");
    expect(converse(of)).toEqual(["audit", ...WITH_ENTRY.slice(1)]);
    expect(entries()).toBe(1);
  });

  it("a connection that the pod has opened keeps its entry, whatever ingress allows", () => {
    const of = talk(a, { peer: "trusted", port: CLIENT, client: 443 });
    know(of);
    // Conntrack assigns what comes to the pod to the reply's direction: to nothing here.
    expect([outOf(of, SYN), into(of, SYN_ACK, NONE), outOf(of, ACK), into(of, ACK, NONE)]).toEqual([
      "not-isolated",
      "established",
      "established",
      "established",
    ]);
    expect(entries()).toBe(1);
  });

  it("the pod's answer to a SYN ends the entry of its own earlier connection between these ports", async () => {
    const of = talk(a, { port: EITHER, client: EITHER });
    know(of);
    const own = [outOf(of, SYN), into(of, SYN_ACK, NONE), outOf(of, ACK)];
    expect(own).toEqual(["not-isolated", "established", "established"]);
    expect(converse(of)).toEqual(STATELESS);
    expect(world.flows().filter(({ flow }) => flow.expires > 0n)).toEqual([]);
    await enforce([]);
    expect([into(of, ACK, OPEN), into(of, ACK, NONE)]).toEqual(["untracked", "untracked"]);
  });

  it("so it does with the entry of one that has ended, but not with that of the connection itself", () => {
    const of = talk(a);
    know(of, false);
    expect(into(of, SYN, NONE)).toBe("policy");
    expect([outOf(of, SYN_ACK), outOf(of, SYN_ACK)]).toEqual(["established", "established"]);
    expect([into(of, ACK, NONE), outOf(of, FIN_ACK)]).toEqual(["established", "established"]);
    expect(outOf(of, SYN_ACK)).toBe("not-isolated");
  });

  it("what leaves freely says nothing of what comes back", () => {
    const of = talk(a, { peer: "stranger" });
    for (let tries = 0; tries < 20; tries += 1)
      expect([outOf(of, ACK), outOf(of, ACK), into(of, ACK, NONE)]).toEqual([
        "not-isolated",
        "not-isolated",
        "untracked",
      ]);
  });

  it("an entry's answers wait for its opener, which confirms it", () => {
    const of = talk(a);
    expect([into(of, SYN, NONE), outOf(of, SYN_ACK), outOf(of, ACK), outOf(of, ACK)]).toEqual([
      "policy",
      "established",
      "established",
      "established",
    ]);
    expect(world.flows().map(({ flow }) => flow.state & FlowState.CONFIRMED)).toEqual([0]);
    expect(into(of, ACK, NONE)).toBe("established");
    expect(world.flows().map(({ flow }) => flow.state & FlowState.CONFIRMED)).toEqual([FlowState.CONFIRMED]);
  });

  it("an entry that a connection has takes part in its end", () => {
    const of = talk(a);
    expect([into(of, SYN, NONE), outOf(of, SYN_ACK), into(of, ACK, NONE)]).toEqual([
      "policy",
      "established",
      "established",
    ]);
    know(of);
    expect(into(of, FIN_ACK, OPEN)).toBe("established");
    expect(world.flows().map(({ flow }) => flow.state & FlowState.FIN_OPENER)).toEqual([
      FlowState.FIN_OPENER,
    ]);
  });

  it("UDP keeps its entries", () => {
    const segment = udpSegment(CLIENT, 53);
    for (const priority of [OPENING, OPEN])
      expect(
        world.ask({ pod: "in", direction: "ingress", frame: frame(a.friend, a.pods.in, segment), priority }),
      ).toBe(priority === OPENING ? "policy" : "established");
    expect(entries()).toBe(1);
  });

  it("a fragment, which is not on the fast path, gets its connection an entry", async () => {
    const of = talk(a);
    know(of);
    expect(converse(of)).toEqual(STATELESS);
    await world.outwait(0);
    const segment = tcpSegment(CLIENT, PORT, ACK);
    expect(
      world.ask({
        pod: "in",
        direction: "ingress",
        frame: fragment(a.friend, a.pods.in, segment, { id: 1, offset: 0, more: true }),
        priority: OPEN,
      }),
    ).toBe("policy");
    expect(entries()).toBe(1);
  });

  it("the node's own connections have entries, and are never judged", () => {
    const of = talk(a, { peer: "stranger", port: 9 });
    expect([into(of, SYN, OPENING, THIS_NODE), outOf(of, SYN_ACK), into(of, ACK, OPEN, THIS_NODE)]).toEqual([
      "node",
      "established",
      "node",
    ]);
    expect(entries()).toBe(1);
  });

  it("where policy denies single peers only, connections have entries", async () => {
    await enforce(undefined, { clusterPolicies: [ingressDenied] });
    const of = talk(a, { pod: "open" });
    expect(into({ ...of, peer: "stranger" }, ACK, OPEN)).toBe("untracked");
    expect(converse(of)).toEqual(WITH_ENTRY);
    expect(entries()).toBe(1);
  });

  describe("an ICMP error about a connection without an entry", () => {
    const errors = Object.keys(ICMP_ERROR) as IcmpError[];
    const quoting = (of: Talk, segment: Segment = tcpSegment(of.port, of.client, ACK)) =>
      ip(of.a.pods[of.pod], of.a[of.peer], segment);
    const tell = (of: Talk, error: IcmpError, quote: Uint8Array, priority: number, to = of.a.pods[of.pod]) =>
      world.ask({
        pod: of.pod,
        direction: "ingress",
        frame: icmpError(of.a.stranger, to, error, quote),
        priority,
      });

    it.each(errors)("passes if conntrack relates it, and policy allows the connection: %s", (error) => {
      const of = talk(a);
      know(of);
      expect(converse(of)).toEqual(STATELESS);
      expect(tell(of, error, quoting(of), ERROR)).toBe("related");
    });

    it("is denied otherwise", async () => {
      const of = talk(a);
      know(of);
      expect(converse(of)).toEqual(STATELESS);
      const [error] = errors as [IcmpError];
      const stranger = talk(a, { peer: "stranger" });
      expect([
        tell(of, error, quoting(of), NONE),
        tell(of, error, quoting(of), OPEN),
        tell(stranger, error, quoting(stranger), ERROR),
        tell(of, error, quoting({ ...of, port: 81 }), ERROR),
        tell(of, error, quoting(of, udpSegment(53, CLIENT)), ERROR),
        // Quotes what another has sent.
        tell(of, error, ip(a.friend, a.pods.in, tcpSegment(CLIENT, PORT, ACK)), ERROR),
      ]).toEqual(Array.from({ length: 6 }, () => "denied"));
      await enforce([]);
      expect(tell(of, error, quoting(of), ERROR)).toBe("denied");
    });
  });
});
