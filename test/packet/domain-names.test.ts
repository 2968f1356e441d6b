// Rules by domain names through the loaded programs: which answers are believed, for how long, and what an address by name may open.

import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { type Address, addressOf } from "../../src/base/ip.ts";
import {
  domainNameKeyOf,
  domainNumberOf,
  inheritedBy,
  namedAddressKeyOf,
  openNameSweeper,
} from "../../src/datapath/domain-names.ts";
import { IP_PROTOCOL, packet, TCP_FLAG, udp } from "../../src/engines/frame-builder.ts";
import { NAME_TTL_MAX, NAME_TTL_MIN, NAMES_EACH, type NamedAddress } from "../../src/gen/layout.ts";
import {
  DNS_TYPE,
  type DnsAnswer,
  type DnsRecord,
  dnsAnswer,
  dnsQuestion,
  encodeName,
} from "../../src/lab/dns-message.ts";
import type { ClusterPolicy } from "../../src/model/cluster-network-policy.ts";
import { NO_NAME } from "../../src/state/desired-state.ts";
import { diff } from "../../src/state/state-diff.ts";
import { address, block, clusterPolicy, clusterRule, domainRule, ports } from "../support/model.ts";
import { frame } from "./frames.ts";
import { connectTo, countedNames, forgetNames, outside, record } from "./names.ts";
import {
  type Addresses,
  BOTH_FAMILIES,
  ITSELF,
  openWorld,
  type PodName,
  RULES,
  V4,
  V6,
  type World,
} from "./world.ts";

const WWW = "www.example.com";

let world: World;
let id = 100;
beforeAll(async () => {
  world = await openWorld();
});
beforeEach(async () => {
  await world.forget();
  await forgetNames(world);
  await enforce();
});
afterAll(() => world.close());

const NAMES = clusterPolicy("names", {
  egress: [domainRule([WWW, "*.cdn.example.net"], ports("TCP/443"))],
});

const enforce = (policies: readonly ClusterPolicy[] = [NAMES]) =>
  world.enforce(RULES, [], { clusterPolicies: policies });

const tables = () => world.bench.maps.tables;

const counted = (run: () => void, name: PodName = "out") => countedNames(world, run, name);

let from = 41_000;
function connect(to: Address, port = 443, pod: PodName = "out", hook: "tc" | "xdp" = "tc"): string {
  from += 1;
  return connectTo(world, to, { pod, hook, from, port });
}

interface Exchange {
  readonly a?: Addresses;
  readonly pod?: PodName;
  readonly port?: number;
  readonly hook?: "tc" | "xdp";
}

function ask(
  question: Parameters<typeof dnsQuestion>[0] | Uint8Array,
  { a = V4, pod = "out", port = 40_000, hook = "tc" }: Exchange = {},
  to: Address = a.trusted,
): string {
  const message = question instanceof Uint8Array ? question : dnsQuestion(question);
  const datagram = { number: IP_PROTOCOL.UDP, payload: udp(port, 53, [...message]) };
  return world.ask({ pod, direction: "egress", frame: frame(a.pods[pod], to, datagram), hook });
}

function reply(
  message: Uint8Array,
  { a = V4, pod = "out", port = 40_000 }: Exchange = {},
  from: Address = a.trusted,
  more: Partial<Parameters<World["ask"]>[0]> = {},
): string {
  const datagram = { number: IP_PROTOCOL.UDP, payload: udp(53, port, [...message]) };
  return world.ask({ pod, direction: "ingress", frame: frame(from, a.pods[pod], datagram), ...more });
}

const cname = (to: string, more: Partial<DnsRecord> = {}): DnsRecord => ({
  type: DNS_TYPE.CNAME,
  ttl: 300,
  data: encodeName(to),
  ...more,
});

/** The pod asks for a name, and the resolver answers. */
function resolve(
  name: string,
  records: readonly DnsRecord[],
  exchange: Exchange = {},
  more: Partial<DnsAnswer> = {},
): void {
  id += 1;
  const question = { id, name, type: records[0]?.type === DNS_TYPE.AAAA ? DNS_TYPE.AAAA : DNS_TYPE.A };
  expect(ask(question, exchange)).toMatch(/policy|established/);
  expect(reply(dnsAnswer({ ...question, records, ...more }), exchange)).toBe("established");
}

describe.each(BOTH_FAMILIES)("over IPv$family", (a) => {
  const { family } = a;

  it("the answer opens the rule's ports at that address, for that pod, at once", () => {
    expect(connect(outside(1, family))).toBe("denied");
    expect(counted(() => resolve(WWW, [record(outside(1, family))], { a }))).toEqual({
      ...{ questions: 1, answers: 1, learned: 1 },
    });
    expect(connect(outside(1, family))).toBe("policy");
    expect(connect(outside(1, family), 80)).toBe("denied");
    expect(connect(outside(2, family))).toBe("denied");
    expect(connect(outside(1, family), 443, "both")).toBe("denied");
  });

  it("questions seen by XDP too", () => {
    resolve(WWW, [record(outside(3, family))], { a, hook: "xdp" });
    expect(connect(outside(3, family), 443, "out", "xdp")).toBe("policy");
  });
});

describe("names", () => {
  it.each([
    ["WwW.eXample.COM", true],
    ["example.com", false],
    ["a.www.example.com", false],
    ["wwww.example.com", false],
    ["a.cdn.example.net", true],
    ["a.b.c.cdn.example.net", true],
    ["a_b-c.cdn.example.net", true],
    ["cdn.example.net", false],
    ["acdn.example.net", false],
    [`${"a".repeat(63)}.${"b".repeat(63)}.${"c".repeat(63)}.${"d".repeat(40)}.cdn.example.net`, true],
  ])("%s: %s", (name, isLearned) => {
    resolve(name, [record(outside(9))]);
    expect(connect(outside(9))).toBe(isLearned ? "policy" : "denied");
  });

  it("a label with a dot in it is not two labels", () => {
    const odd = Buffer.concat([
      Buffer.of(11),
      Buffer.from("www.example"),
      Buffer.of(3),
      Buffer.from("com"),
      Buffer.of(0),
    ]);
    const header = (flags: number, answers: number) =>
      Buffer.from([0, 77, flags, 0, 0, 1, 0, answers, 0, 0, 0, 0]);
    const tail = Buffer.from([0, 1, 0, 1]);
    ask(Buffer.concat([header(1, 0), odd, tail]));
    const answer = dnsAnswer({ id: 77, name: WWW, type: 1, records: [record(outside(10))] });
    reply(Buffer.concat([header(0x80, 1), odd, tail, answer.subarray(12 + encodeName(WWW).length + 4)]));
    expect(connect(outside(10))).toBe("denied");
    expect(counted(() => reply(answer))).toEqual({ unasked: 1 });
  });

  it.each([
    ["lengths with a bit of a pointer", [0x43, "www", 0x47, "example", 0x43, "com", 0]],
    ["no end", [3, "www", 7, "example", 4, "com!"]],
    ["a length as in a pointer at its end", [3, "www", 7, "example", 3, "com", 0xc0]],
  ])("of a question has %s: it is none", (_, parts) => {
    const name = Buffer.concat(
      parts.map((part) => (typeof part === "number" ? Buffer.of(part) : Buffer.from(part))),
    );
    const named = (message: Buffer): Buffer =>
      Buffer.concat([message.subarray(0, 12), name, message.subarray(12 + encodeName(WWW).length)]);
    const question = { id: 11, name: WWW, type: DNS_TYPE.A };
    const done = counted(() => {
      ask(named(dnsQuestion(question)));
      reply(named(dnsAnswer({ ...question, records: [record(outside(16))] })));
    });
    expect(done).toEqual({});
    expect(connect(outside(16))).toBe("denied");
  });

  it("the most specific name has the rules of all that have it", async () => {
    await enforce([
      clusterPolicy("wide", { priority: 1, egress: [domainRule(["*.example.com"], ports("TCP/443"))] }),
      clusterPolicy("exact", { priority: 2, egress: [domainRule([WWW], ports("TCP/80"))] }),
    ]);
    resolve(WWW, [record(outside(11))]);
    resolve("other.example.com", [record(outside(12))]);
    expect([connect(outside(11), 443), connect(outside(11), 80)]).toEqual(["policy", "policy"]);
    expect([connect(outside(12), 443), connect(outside(12), 80)]).toEqual(["policy", "denied"]);
  });

  describe("if a more specific name is removed, its addresses are known by the next less specific one", () => {
    const wild = clusterPolicy("wild", {
      priority: 1,
      egress: [domainRule(["*.example.com"], ports("TCP/443"))],
    });
    const specific = clusterPolicy("specific", {
      priority: 2,
      egress: [domainRule([WWW], ports("TCP/8443"))],
    });

    it("so connections that the wildcard has allowed go on, and new ones open", async () => {
      await enforce([wild, specific]);
      resolve(WWW, [record(outside(60)), record(outside(61))]);
      resolve("a.example.com", [record(outside(61))]);
      const opened = (tcpFlags: number) =>
        world.ask({
          ...{ pod: "out", direction: "egress" },
          frame: packet({
            ...{ source: V4.pods.out, destination: outside(60), protocol: "TCP", tcpFlags },
            ...{ sourcePort: 50_100, destinationPort: 443 },
          }),
        });
      expect([opened(TCP_FLAG.SYN), connect(outside(60), 8_443)]).toEqual(["policy", "policy"]);
      // An edit of another policy, about port 8443 only.
      await enforce([wild]);
      expect(opened(TCP_FLAG.ACK)).toBe("established");
      expect([60, 61].map((each) => connect(outside(each), 443))).toEqual(["policy", "policy"]);
      expect(connect(outside(60), 8_443)).toBe("denied");
      const slots = (await tables().names.read()).map(([, value]) =>
        value.slots.filter((each) => each.pattern),
      );
      expect(slots.map(({ length }) => length)).toEqual([1, 1]);
    });

    it("also by the next update, after an interruption", async () => {
      await enforce([wild, specific]);
      resolve(WWW, [record(outside(62))]);
      const before = await tables().names.read();
      await enforce([wild]);
      // As before what is known was written: nothing more is learned by the removed name.
      const removed = [domainNameKeyOf(WWW), { pattern: domainNumberOf("*.example.com") }] as const;
      await tables().domainNames.writeBatch([removed]);
      await tables().names.writeBatch(before);
      expect(connect(outside(62))).toBe("denied");
      const { maps } = world.bench;
      const held = await maps.read();
      const { prepare, cleanup } = diff(held, held.state);
      await maps.write(prepare);
      await maps.flip();
      await maps.write(cleanup);
      expect(connect(outside(62))).toBe("policy");
      expect(diff(await maps.read(), held.state).empty).toBe(true);
    });

    it("which expires when the last of both does", () => {
      const [gone, heir, other] = [1n, 2n, 3n];
      const slot = (pattern: bigint, expires: bigint) => ({ pattern, expires });
      const value = {
        entered: 7n,
        slots: [slot(gone, 50n), slot(other, 40n), slot(heir, 30n), slot(0n, 0n)],
      };
      expect(inheritedBy(value as unknown as NamedAddress, new Map([[gone, heir]]))).toEqual({
        entered: 7n,
        slots: [slot(heir, 50n), slot(other, 40n), slot(0n, 0n), slot(0n, 0n)],
      });
    });
  });

  it("an address of several names has what each of them has", async () => {
    await enforce([
      clusterPolicy("names", {
        egress: [
          domainRule(["a.example.com"], ports("TCP/1")),
          domainRule(["b.example.com"], ports("TCP/2")),
          domainRule(["c.example.com"], ports("TCP/3")),
        ],
      }),
    ]);
    for (const name of ["a", "b"]) resolve(`${name}.example.com`, [record(outside(13))]);
    expect([1, 2, 3].map((port) => connect(outside(13), port))).toEqual(["policy", "policy", "denied"]);
  });
});

/** Two names of a rule whose hashes, FNV-1a of 64 bits, differ only in the upper half: found among some 80,000. */
function namesAlike(): readonly [string, string] {
  const known = new Map<number, string>();
  for (let number = 0; ; number += 1) {
    const label = `n${number}`;
    let low = 0x8422_2325;
    for (const byte of Buffer.from(label)) low = Math.imul(low ^ byte, 0x1b3) >>> 0;
    const other = known.get(low);
    if (other !== undefined) return [`${other}.cdn.example.net`, `${label}.cdn.example.net`];
    known.set(low, label);
  }
}

describe("answers without a question, or of another resolver", () => {
  const question = { name: WWW, type: DNS_TYPE.A };
  const forged = (more: Partial<DnsAnswer> = {}) =>
    dnsAnswer({ id: 500, ...question, records: [record(outside(20))], ...more });

  const asked = { id: 500, ...question };
  type Case = readonly [what: string, ask: (() => void) | undefined, reply: () => void];
  const cases: readonly Case[] = [
    ["no question", undefined, () => reply(forged())],
    ["another number", () => ask({ ...asked, id: 501 }), () => reply(forged())],
    ["another name", () => ask({ ...asked, name: "a.cdn.example.net" }), () => reply(forged())],
    ["another type", () => ask({ ...asked, type: DNS_TYPE.AAAA }), () => reply(forged())],
    ["another port", () => ask(asked), () => reply(forged(), { port: 40_001 })],
    ["another resolver", () => ask(asked), () => reply(forged(), {}, V4.friend)],
    ["another pod's", () => ask(asked, { pod: "both" }), () => reply(forged())],
    ["not a response", () => ask(asked), () => reply(forged({ flags: 0 }))],
    ["an error", () => ask(asked), () => reply(forged({ flags: 0x8003 }))],
    ["another operation", () => ask(asked), () => reply(forged({ flags: 0xa800 }))],
    ["another class", () => ask(asked), () => reply(forged({ class: 3 }))],
    [
      "records of another class",
      () => ask(asked),
      () => reply(forged({ records: [record(outside(20), { class: 3 })] })),
    ],
    [
      "a question that policy stopped",
      () => ask(asked, {}, V4.stranger),
      () => reply(forged(), {}, V4.stranger),
    ],
  ];
  it("another name whose hash has the same lower half", () => {
    const [one, other] = namesAlike();
    ask({ ...asked, name: one });
    expect(counted(() => reply(forged({ name: other })))).toEqual({ unasked: 1 });
    expect(connect(outside(20))).toBe("denied");
    expect(counted(() => reply(forged({ name: one })))).toMatchObject({ learned: 1 });
  });

  it("a question that has expired", async () => {
    ask(asked);
    const { questions } = tables();
    const all = await questions.read();
    await questions.writeBatch(all.map(([key, value]) => [key, { ...value, expires: 1n }]));
    expect(counted(() => reply(forged()))).toEqual({ unasked: 1 });
    expect(connect(outside(20))).toBe("denied");
  });

  it.each(cases)("%s", (_, first, second) => {
    first?.();
    second();
    expect(connect(outside(20))).toBe("denied");
  });

  it("only the first answer counts", () => {
    resolve(WWW, [record(outside(21))]);
    const again = dnsAnswer({ id, ...question, records: [record(outside(22))] });
    expect(counted(() => reply(again))).toEqual({ unasked: 1 });
    expect([connect(outside(21)), connect(outside(22))]).toEqual(["policy", "denied"]);
  });

  it("a pod without rules by names learns nothing", async () => {
    await enforce([clusterPolicy("plain", { egress: [clusterRule("Deny", [block("192.0.2.0/24")])] })]);
    resolve(WWW, [record(outside(23))]);
    expect([await tables().names.read(), await tables().questions.read()]).toEqual([[], []]);
  });
});

describe("only a resolver that the pod's own rules for egress allow teaches names", () => {
  const asked = { id: 600, name: WWW, type: DNS_TYPE.A };
  const answer = dnsAnswer({ ...asked, records: [record(outside(25))] });

  it("not a peer that may open flows to the pod, which answers in its own flow", () => {
    const done = counted(() => {
      // The first answers of the pod's may pass only because the peer has opened the flow.
      expect(reply(Buffer.from("hello"), {}, V4.stranger)).toBe("not-isolated");
      expect(ask(asked, {}, V4.stranger)).toBe("established");
      expect(reply(answer, {}, V4.stranger)).toBe("established");
    });
    expect(done).toEqual({ unasked: 1 });
    expect(connect(outside(25))).toBe("denied");
  });

  it("but a peer that its rules allow, whichever end opened the flow", () => {
    reply(Buffer.from("hello"));
    expect(ask(asked)).toMatch(/policy|established/);
    reply(answer);
    expect(connect(outside(25))).toBe("policy");
  });

  it("not the pod itself, even where a rule has its address, and not what it has sent itself", async () => {
    const own = V4.pods.out;
    await world.enforce([...RULES, { peers: [block(`${own.text}/32`)], ports: "all" }], [], {
      clusterPolicies: [NAMES],
    });
    const done = counted(() => {
      expect(ask(asked, {}, own)).toBe("policy");
      world.ask({
        ...{ pod: "out", direction: "egress" },
        frame: frame(own, own, { number: IP_PROTOCOL.UDP, payload: udp(53, 40_000, [...answer]) }),
      });
      reply(answer, {}, own, { from: ITSELF });
      // To a resolver that is allowed, with an answer that the pod has sent itself.
      ask({ ...asked, id: 601 });
      expect(
        reply(dnsAnswer({ ...asked, id: 601, records: [record(outside(25))] }), {}, V4.trusted, {
          from: ITSELF,
        }),
      ).toBe("own");
    });
    expect(done).toEqual({ questions: 1 });
    expect(connect(outside(25))).toBe("denied");
  });

  it("not one to which only audit mode lets the question pass", async () => {
    await world.enforce(RULES, [], { mode: "audit", clusterPolicies: [NAMES] });
    const done = counted(() => {
      expect(ask(asked, {}, V4.stranger)).toBe("audit");
      reply(answer, {}, V4.stranger);
    });
    expect(done).toEqual({ unasked: 1 });
    expect(connect(outside(25))).toBe("audit");
  });

  it("not one that only a name allows", async () => {
    await enforce([clusterPolicy("names", { egress: [domainRule([WWW])] })]);
    resolve(WWW, [record(outside(26))]);
    const done = counted(() => {
      expect(ask(asked, { port: 40_002 }, outside(26))).toBe("policy");
      reply(answer, { port: 40_002 }, outside(26));
    });
    expect(done).toEqual({ unasked: 1 });
    expect(connect(outside(25))).toBe("denied");
  });
});

describe("records", () => {
  it("all addresses of an answer, behind CNAMEs and names that are written out", () => {
    resolve(WWW, [
      cname("edge.cdn.example.org"),
      record(outside(30), { name: "edge.cdn.example.org" }),
      record(outside(31), { name: Buffer.from([4, ...Buffer.from("edge"), 0xc0, 12]) }),
      { type: DNS_TYPE.TXT, ttl: 1, data: Buffer.from("x") },
      record(outside(32)),
    ]);
    expect([30, 31, 32].map((host) => connect(outside(host)))).toEqual(["policy", "policy", "policy"]);
  });

  it("as many as are read: 64", () => {
    const many = Array.from({ length: 80 }, (_, host) => record(outside(100 + host)));
    expect(counted(() => resolve(WWW, many))).toEqual({
      ...{ questions: 1, answers: 1, learned: 64, unread: 1 },
    });
  });

  it.each<[string, Partial<DnsAnswer>]>([
    ["a count beyond the end", { count: 3 }],
    [
      "a length beyond the end",
      { records: [record(outside(40)), { ...record(outside(41)), data: Buffer.alloc(4) }], count: 4 },
    ],
    [
      "a label that is too long",
      { records: [record(outside(40)), record(outside(41), { name: Buffer.from([0x7f, 0]) })] },
    ],
  ])("%s: what comes before it counts", (_, more) => {
    const done = counted(() => resolve(WWW, [record(outside(40))], {}, more));
    expect(done).toMatchObject({ answers: 1, malformed: 1 });
    expect(connect(outside(40))).toBe("policy");
  });

  it("a record whose data is missing has not what an earlier message had there", async () => {
    const question = { id: 12, name: WWW, type: DNS_TYPE.A };
    const whole = dnsAnswer({ ...question, records: [record(outside(44))] });
    ask(question);
    reply(whole);
    await forgetNames(world);
    ask(question);
    const done = counted(() => reply(whole.subarray(0, -4)));
    expect(done).toEqual({ answers: 1, malformed: 1 });
    expect(connect(outside(44))).toBe("denied");
  });

  it.each([
    ["A", DNS_TYPE.A, [198, 51, 100, 45, 0, 0]],
    ["AAAA", DNS_TYPE.AAAA, [0x20, 0x01, 0x0d, 0xb8, ...new Array<number>(11).fill(0), 45, 0]],
  ])("an address of another length is none (%s), and the next one counts", (_, type, data) => {
    const next = outside(46, type === DNS_TYPE.A ? 4 : 6);
    resolve(
      WWW,
      [{ type, ttl: 300, data: Buffer.from(data) }, record(next)],
      type === DNS_TYPE.A ? {} : { a: V6 },
    );
    expect(connect(outside(45, next.family))).toBe("denied");
    expect(connect(next)).toBe("policy");
  });

  it("a name that points at itself is skipped, not followed", () => {
    const loop = record(outside(43), { name: Buffer.from([0xc0, 12 + encodeName(WWW).length + 4]) });
    resolve(WWW, [loop]);
    expect(connect(outside(43))).toBe("policy");
  });

  it.each(["127.0.0.1", "0.0.0.0", "169.254.169.254", "224.0.0.1", "255.255.255.255"])("not %s", (text) => {
    expect(counted(() => resolve(WWW, [record(address(text))]))).toMatchObject({ refused: 1 });
    expect(connect(address(text))).toBe("denied");
  });

  it.each([
    "::1",
    "::c633:6401",
    "fe80::1",
    "ff02::1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b::7f00:1",
    "64:ff9b::e000:1",
  ])("nor %s", (text) => {
    expect(counted(() => resolve(WWW, [record(address(text))]))).toMatchObject({ refused: 1 });
  });
});

describe("time", () => {
  const slotOf = (host: number) => {
    const key = namedAddressKeyOf(world.incarnationOf("out"), outside(host));
    const slot = tables()
      .names.get(key)
      ?.slots.find(({ pattern }) => pattern !== 0n);
    if (slot === undefined) throw new Error(`198.51.100.${host} is not known`);
    return { key, slot };
  };

  it.each([
    [0, NAME_TTL_MIN],
    [NAME_TTL_MIN + 40, NAME_TTL_MIN + 40],
    [2 ** 31 - 1, NAME_TTL_MAX],
    [2 ** 32 - 1, NAME_TTL_MIN],
  ])("a TTL of %i s counts as %i s", (ttl, seconds) => {
    resolve(WWW, [record(outside(50), { ttl: 1 })]);
    const before = slotOf(50).slot.expires;
    resolve(WWW, [record(outside(51), { ttl })]);
    const ticks = Number(slotOf(51).slot.expires - before) / world.bench.datapath.ticksPerSecond;
    expect(Math.abs(ticks - (seconds - NAME_TTL_MIN))).toBeLessThan(10);
  });

  it("a shorter TTL does not end a longer one", () => {
    resolve(WWW, [record(outside(51), { ttl: NAME_TTL_MAX })]);
    const before = slotOf(51).slot.expires;
    resolve(WWW, [record(outside(51), { ttl: NAME_TTL_MIN })]);
    expect(slotOf(51).slot.expires).toBe(before);
  });

  it("what has expired opens nothing, and the flows that it opened go on, until no rule has the name", async () => {
    resolve(WWW, [record(outside(52))]);
    const open = from + 1;
    expect(connect(outside(52))).toBe("policy");
    const { key, slot } = slotOf(52);
    await tables().names.writeBatch([
      [
        key,
        {
          slots: [
            { ...slot, expires: 1n },
            ...Array.from({ length: 3 }, () => ({ pattern: 0n, expires: 0n })),
          ],
          entered: 0n,
        } as never,
      ],
    ]);
    expect(connect(outside(52))).toBe("denied");
    const on = () =>
      world.ask({
        ...{ pod: "out", direction: "egress" },
        frame: packet({
          ...{ source: V4.pods.out, destination: outside(52), protocol: "TCP" },
          ...{ sourcePort: open, destinationPort: 443, tcpFlags: TCP_FLAG.ACK },
        }),
      });
    // Every change of policies has each flow judged again.
    await enforce([
      NAMES,
      clusterPolicy("other", { egress: [clusterRule("Deny", [block("192.0.2.0/24")])] }),
    ]);
    expect(on()).toBe("established");
    await enforce([clusterPolicy("names", { egress: [domainRule(["a.example.com"])] })]);
    expect(on()).toBe("revoked");
  });
});

/** As if it had been long ago. */
async function expireNames(): Promise<void> {
  const all = await tables().names.read();
  await tables().names.writeBatch(
    all.map(([key, value]) => [
      key,
      {
        ...value,
        slots: value.slots.map((slot) => ({ ...slot, expires: slot.pattern === 0n ? 0n : 1n })),
      } as never,
    ]),
  );
}

describe("an expired name and flows that it has not opened", () => {
  const both = (direction: "egress" | "ingress", [theirs, ours]: [number, number], flags: number) => {
    const out = direction === "egress";
    const [pod, peer] = [V4.pods.both, V4.friend];
    return world.ask({
      ...{ pod: "both", direction },
      frame: packet({
        ...{ source: out ? pod : peer, destination: out ? peer : pod, protocol: "TCP", tcpFlags: flags },
        ...(out
          ? { sourcePort: ours, destinationPort: theirs }
          : { sourcePort: theirs, destinationPort: ours }),
      }),
    });
  };
  const ALL_PORTS = clusterPolicy("names", { egress: [domainRule([WWW])] });

  it("flows that rules by address had allowed end with them, whichever end opened them", async () => {
    await enforce([ALL_PORTS]);
    resolve(WWW, [record(V4.friend)], { pod: "both" });
    expect(both("egress", [80, 41_000], TCP_FLAG.SYN)).toBe("policy");
    expect(both("ingress", [33_333, 80], TCP_FLAG.SYN)).toBe("policy");
    await expireNames();
    await world.enforce([], [], { clusterPolicies: [ALL_PORTS] });
    expect(both("egress", [80, 41_500], TCP_FLAG.SYN)).toBe("denied");
    expect(both("egress", [80, 41_000], TCP_FLAG.ACK)).toBe("revoked");
    expect(both("ingress", [80, 41_000], TCP_FLAG.ACK)).toBe("revoked");
    expect(both("egress", [33_333, 80], TCP_FLAG.ACK)).toBe("revoked");
  });

  it("but goes on to allow what it has opened, or kept when rules by address went, and no new connection between the same ports", async () => {
    await world.enforce([], [], { clusterPolicies: [ALL_PORTS] });
    // No rule allows a resolver now: as if it had been known before.
    await enforce([ALL_PORTS]);
    resolve(WWW, [record(V4.friend)], { pod: "both" });
    expect(both("egress", [80, 42_000], TCP_FLAG.SYN)).toBe("policy");
    await world.enforce([], [], { clusterPolicies: [ALL_PORTS] });
    expect(both("egress", [80, 42_000], TCP_FLAG.ACK)).toBe("established");
    expect(both("egress", [81, 42_001], TCP_FLAG.SYN)).toBe("policy");
    expect(both("ingress", [81, 42_001], TCP_FLAG.SYN | TCP_FLAG.ACK)).toBe("established");
    await expireNames();
    await world.enforce([], [], {
      clusterPolicies: [
        ALL_PORTS,
        clusterPolicy("more", { egress: [clusterRule("Deny", [block("192.0.2.0/24")])] }),
      ],
    });
    expect(both("egress", [80, 42_000], TCP_FLAG.ACK)).toBe("established");
    expect(both("ingress", [81, 42_001], TCP_FLAG.ACK)).toBe("established");
    expect(both("egress", [81, 42_001], TCP_FLAG.ACK)).toBe("established");
    expect(both("egress", [81, 42_001], TCP_FLAG.SYN)).toBe("denied");
  });
});

it("a flood of addresses pushes out the pod's own, and no other pod's", () => {
  resolve(WWW, [record(outside(60))], { pod: "both" });
  resolve(WWW, [record(outside(61))]);
  const wide = (host: number) => addressOf(4, 0x0b000000n + BigInt(host));
  const done = counted(() => {
    for (let first = 0; first < NAMES_EACH; first += 64)
      resolve(
        `a${first}.cdn.example.net`,
        Array.from({ length: 64 }, (_, at) => record(wide(first + at))),
      );
  });
  expect(done).toEqual({ questions: 8, answers: 8, learned: 512, evicted: 1 });
  expect([connect(outside(61)), connect(wide(0)), connect(wide(511))]).toEqual([
    "denied",
    "policy",
    "policy",
  ]);
  expect(connect(outside(60), 443, "both")).toBe("policy");
});

it("a flood of questions pushes out the pod's own, and no other pod's", async () => {
  ask({ id: 1, name: WWW, type: DNS_TYPE.A }, { pod: "both" });
  for (let each = 1; each <= NAMES_EACH + 1; each += 1) ask({ id: each, name: WWW, type: DNS_TYPE.A });
  expect(await tables().questions.read()).toHaveLength(NAMES_EACH + 1);
  const answer = (to: Address, number: number) =>
    dnsAnswer({ id: number, name: WWW, type: DNS_TYPE.A, records: [record(to)] });
  reply(answer(outside(70), 1));
  reply(answer(outside(71), 2));
  reply(answer(outside(72), 1), { pod: "both" });
  expect([connect(outside(70)), connect(outside(71)), connect(outside(72), 443, "both")]).toEqual([
    ...["denied", "policy", "policy"],
  ]);
});

it("an address that is resolved again and again outlives any number of others", () => {
  const hot = outside(73);
  let next = 0;
  const others = (count: number) =>
    resolve(
      `a${next}.cdn.example.net`,
      Array.from({ length: count }, () => record(addressOf(4, 0x0b000000n + BigInt(next++)))),
    );
  resolve(WWW, [record(hot)]);
  for (let round = 0; round < (4 * NAMES_EACH) / 64; round += 1) {
    others(63);
    resolve(WWW, [record(hot)]);
    expect(connect(hot), `round ${round}`).toBe("policy");
  }
});

it.each([NAMES_EACH / 2 + 1, NAMES_EACH - 2, NAMES_EACH - 1])(
  "an address that is resolved again after %i others is known, and stays so for as many",
  (count) => {
    const hot = outside(73);
    let next = 0;
    const others = () => {
      for (let left = count; left > 0; left -= 64)
        resolve(
          `a${next}.cdn.example.net`,
          Array.from({ length: Math.min(left, 64) }, () =>
            record(addressOf(4, 0x0b000000n + BigInt(next++))),
          ),
        );
    };
    resolve(WWW, [record(hot)]);
    for (let round = 0; round < 3; round += 1) {
      others();
      resolve(WWW, [record(hot)]);
      expect(connect(hot), `round ${round}`).toBe("policy");
    }
  },
);

it("nor does a question that has been answered push out a later one under the same number", async () => {
  const question = { id: 7, name: WWW, type: DNS_TYPE.A };
  for (let round = 0; round < NAMES_EACH; round += 1) {
    ask(question);
    reply(dnsAnswer({ ...question, records: [record(outside(52))] }));
  }
  const { names } = tables();
  await names.deleteBatch((await names.read()).map(([key]) => key));
  ask(question);
  // Its entry takes the place of the first one under that number.
  ask({ id: 8, name: WWW, type: DNS_TYPE.AAAA });
  reply(dnsAnswer({ ...question, records: [record(outside(53))] }));
  expect(connect(outside(53))).toBe("policy");
});

it("two names under one number, port and type are two questions", () => {
  const [one, other] = [WWW, "a.cdn.example.net"].map((name) => ({ id: 9, name, type: DNS_TYPE.A }));
  if (one === undefined || other === undefined) throw new Error("two questions");
  ask(one);
  ask(other);
  reply(dnsAnswer({ ...one, records: [record(outside(54))] }));
  reply(dnsAnswer({ ...other, records: [record(outside(55))] }));
  expect([54, 55].map((host) => connect(outside(host)))).toEqual(["policy", "policy"]);
});

describe("the datagram is as long as its header says", () => {
  const question = { id: 10, name: WWW, type: DNS_TYPE.A };
  const answer = (host: number) => dnsAnswer({ ...question, records: [record(outside(host))] });
  const sent = (message: Uint8Array, length: number) => {
    const payload = Buffer.from(udp(53, 40_000, [...message]));
    payload.writeUInt16BE(length, 4);
    return world.ask({
      ...{ pod: "out", direction: "ingress" },
      frame: frame(V4.trusted, V4.pods.out, { number: IP_PROTOCOL.UDP, payload }),
    });
  };

  it.each([
    { is: "all of it", host: 56, length: (bytes: number) => bytes, verdict: "policy" },
    {
      is: "its last record behind the end",
      host: 57,
      length: (bytes: number) => bytes - 16,
      verdict: "denied",
    },
    { is: "longer than its packet", host: 58, length: (bytes: number) => bytes + 1, verdict: "denied" },
    { is: "no length", host: 59, length: () => 0, verdict: "denied" },
    { is: "shorter than its header", host: 70, length: () => 7, verdict: "denied" },
  ])("$is: $verdict", ({ host, length, verdict }) => {
    ask(question);
    sent(answer(host), length(8 + answer(host).length));
    expect(connect(outside(host))).toBe(verdict);
  });
});

it("resolving one name often pushes out nothing", () => {
  resolve("a.cdn.example.net", [record(outside(74))]);
  expect(
    counted(() => {
      for (let round = 0; round < 2 * NAMES_EACH; round += 1) resolve(WWW, [record(outside(75))]);
    }),
  ).toEqual({ questions: 2 * NAMES_EACH, answers: 2 * NAMES_EACH, learned: 1 });
  expect([connect(outside(74)), connect(outside(75))]).toEqual(["policy", "policy"]);
});

it("an address has the names of its last four answers; what they have pushed out is counted", async () => {
  const names = ["a", "b", "c", "d", "e"].map((each) => `${each}.example.com`);
  await enforce([
    clusterPolicy("names", { egress: names.map((name, at) => domainRule([name], ports(`TCP/${443 + at}`))) }),
  ]);
  const done = counted(() => {
    for (const [at, name] of names.entries()) resolve(name, [record(outside(76), { ttl: 300 + 100 * at })]);
  });
  expect(done).toMatchObject({ learned: 5, displaced: 1 });
  expect(names.map((_, at) => connect(outside(76), 443 + at))).toEqual([
    ...["denied", "policy", "policy", "policy", "policy"],
  ]);
});

describe("other rules", () => {
  it("what comes before a name still comes before it, for addresses of pods too", async () => {
    const denied = [block("10.9.0.0/24"), block(`${V4.pods.in.text}/32`), block("198.51.100.0/28")];
    await enforce([
      clusterPolicy("before", { priority: 1, egress: [clusterRule("Deny", denied)] }),
      clusterPolicy("names", { priority: 2, egress: [domainRule([WWW])] }),
    ]);
    resolve(
      WWW,
      [V4.friend, V4.pods.in, outside(1), outside(20)].map((to) => record(to)),
    );
    expect([V4.friend, V4.pods.in, outside(1), outside(20)].map((to) => connect(to, 80))).toEqual([
      ...["denied", "denied", "denied", "policy"],
    ]);
  });

  it("a name before a Deny, a Pass to NetworkPolicies, and the Baseline tier", async () => {
    await enforce([
      clusterPolicy("admin", {
        egress: [
          domainRule([WWW], ports("TCP/443")),
          clusterRule("Deny", [block("0.0.0.0/0")], ports("TCP")),
        ],
      }),
    ]);
    resolve(WWW, [record(outside(80))], { pod: "open" });
    expect([connect(outside(80), 443, "open"), connect(outside(80), 80, "open")]).toEqual([
      "policy",
      "denied",
    ]);
    await enforce([
      clusterPolicy("base", {
        tier: "Baseline",
        egress: [domainRule([WWW], ports("TCP/80")), clusterRule("Deny", [block("0.0.0.0/0")], ports("TCP"))],
      }),
    ]);
    expect([connect(outside(80), 443, "open"), connect(outside(80), 80, "open")]).toEqual([
      "denied",
      "policy",
    ]);
    // NetworkPolicies isolate this one, so that the Baseline tier does not apply.
    resolve(WWW, [record(outside(81))]);
    expect(connect(outside(81), 80)).toBe("denied");
  });

  it("audit mode learns, and drops nothing", async () => {
    await world.enforce(RULES, [], { mode: "audit", clusterPolicies: [NAMES] });
    resolve(WWW, [record(outside(90))]);
    expect([connect(outside(90)), connect(outside(91))]).toEqual(["policy", "audit"]);
  });
});

it("when its pod has gone, all that the programs have written for it is removed", async () => {
  resolve(WWW, [record(outside(77)), record(outside(77, 6))]);
  ask({ id: 1, name: WWW, type: DNS_TYPE.AAAA }, { a: V6 });
  const { names, questions, nameRings, endpoints } = tables();
  expect(await names.read()).toHaveLength(2);
  const gone = { ...endpoints, read: async () => [] };
  await openNameSweeper({ names, questions, nameRings, endpoints: gone }).sweep();
  expect([await names.read(), await questions.read(), await nameRings.read()]).toEqual([[], [], []]);
});

it("the kernel holds what the compiler says, and gives it back", async () => {
  const { state } = await world.bench.maps.read();
  const names = [...state.names.keys()].map((key) => key.split(" ")[1]);
  expect([...new Set(names)].sort()).toEqual([NO_NAME, "*.cdn.example.net", WWW]);
  await enforce([]);
  expect((await world.bench.maps.read()).state.names.size).toBe(0);
  expect([await tables().domainNames.read(), await tables().namePolicies.read()]).toEqual([[], []]);
});
