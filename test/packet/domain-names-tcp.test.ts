// Rules by domain names and DNS over TCP through the loaded programs: which messages of a stream are read, and that nothing else is taken for one.

import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { randomFrom } from "../../bench/common/random.ts";
import type { Address } from "../../src/base/ip.ts";
import { IP_PROTOCOL, TCP_FLAG, tcp, udp } from "../../src/engines/frame-builder.ts";
import { CONNECTION_SECONDS, NAMES_EACH } from "../../src/gen/layout.ts";
import {
  DNS_TYPE,
  type DnsAnswer,
  type DnsRecord,
  dnsAnswer,
  dnsOverTcp,
  dnsQuestion,
} from "../../src/lab/dns-message.ts";
import type { ClusterPolicy } from "../../src/model/cluster-network-policy.ts";
import { block, clusterPolicy, clusterRule, domainRule, ports } from "../support/model.ts";
import { FIN_ACK, frame, type IpFields, RST_ACK, SYN_ACK } from "./frames.ts";
import { connectTo, countedNames, forgetNames, outside, record } from "./names.ts";
import {
  type Addresses,
  BOTH_FAMILIES,
  ITSELF,
  openWorld,
  type PodName,
  RULES,
  V4,
  type World,
} from "./world.ts";

const WWW = "www.example.com";
const NAMES = clusterPolicy("names", {
  egress: [domainRule([WWW, "*.cdn.example.net"], ports("TCP/443"))],
});

let world: World;
let local = 40_000;
let id = 100;
function nextPort(): number {
  local += 1;
  return local;
}
beforeAll(async () => {
  world = await openWorld();
});
const enforce = (policies: readonly ClusterPolicy[] = [NAMES]) =>
  world.enforce(RULES, [], { clusterPolicies: policies });
beforeEach(async () => {
  await world.forget();
  await forgetNames(world);
  await enforce();
});
afterAll(() => world.close());

const counted = (run: () => void) => countedNames(world, run);

function connect(to: Address, port = 443): string {
  return connectTo(world, to, { pod: "out", hook: "tc", from: nextPort(), port });
}

const isKnown = (host: number, family: 4 | 6 = 4): boolean => connect(outside(host, family)) === "policy";

const { SYN, ACK, FIN, RST } = TCP_FLAG;

/** Initial sequence numbers: the resolver's wraps around in its first answer. */
const POD_FIRST = 1_000;
const RESOLVER_FIRST = 0xffff_fff0;

interface Stream {
  readonly a?: Addresses;
  readonly pod?: PodName;
  readonly peer?: Address;
  readonly port?: number;
  readonly hook?: "tc" | "xdp";
}

interface Segment {
  readonly flags?: number;
  /** Relative to the first byte of the sender's stream; by default the next one. */
  readonly at?: number;
  /** The same of the other's. */
  readonly acknowledges?: number;
  readonly fields?: IpFields;
  readonly from?: number;
}

/** A connection to a resolver: each side's next segment, unless `at` says which one. */
function openStream({ a = V4, pod = "out", peer = a.trusted, port = nextPort(), hook = "tc" }: Stream = {}) {
  const next = { egress: 0, ingress: 0 };
  const first = { egress: POD_FIRST + 1, ingress: RESOLVER_FIRST + 1 };
  const other = { egress: "ingress", ingress: "egress" } as const;
  const ours = a.pods[pod];
  function send(
    direction: "egress" | "ingress",
    payload: Uint8Array = Buffer.alloc(0),
    {
      flags = ACK,
      at = next[direction],
      acknowledges = next[other[direction]],
      fields,
      ...more
    }: Segment = {},
  ): string {
    const out = direction === "egress";
    next[direction] = Math.max(next[direction], at + payload.length);
    const isOpening = (flags & SYN) !== 0;
    const options = {
      sequence: (first[direction] + at - (isOpening ? 1 : 0)) >>> 0,
      acknowledged: flags & ACK ? (first[other[direction]] + acknowledges) >>> 0 : 0,
    };
    const segment = {
      number: IP_PROTOCOL.TCP,
      payload: tcp(out ? port : 53, out ? 53 : port, flags, payload, options),
    };
    return world.ask({
      ...{ pod, direction, ...(out && { hook }), ...more },
      frame: frame(out ? ours : peer, out ? peer : ours, segment, fields),
    });
  }
  const ask = (payload: Uint8Array, more?: Segment) => send("egress", payload, more);
  const answer = (payload: Uint8Array, more?: Segment) => send("ingress", payload, more);
  const none = Buffer.alloc(0);
  return {
    ask,
    answer,
    port,
    syn: (more: Segment = {}, payload: Uint8Array = none) => ask(payload, { flags: SYN, at: 0, ...more }),
    synAck: (more: Segment = {}) => answer(none, { flags: SYN_ACK, at: 0, acknowledges: 0, ...more }),
    open(): void {
      expect(this.syn()).toBe("policy");
      expect(this.synAck()).toBe("established");
      expect(ask(none)).toBe("established");
    },
  };
}

function opened(stream: Stream = {}) {
  const connection = openStream(stream);
  connection.open();
  return connection;
}

/** A question and its answer, each with its length. */
function exchange(name: string, records: readonly DnsRecord[], more: Partial<DnsAnswer> = {}) {
  id += 1;
  const question = { id, name, type: records[0]?.type === DNS_TYPE.AAAA ? DNS_TYPE.AAAA : DNS_TYPE.A };
  return {
    question: dnsOverTcp(dnsQuestion(question)),
    answer: dnsOverTcp(dnsAnswer({ ...question, records, ...more })),
  };
}

const to = (host: number, family: 4 | 6 = 4) => exchange(WWW, [record(outside(host, family))]);

describe.each(BOTH_FAMILIES)("over IPv$family", (a) => {
  it.each(["tc", "xdp"] as const)("the answer opens the rule's ports, for that pod, at once (%s)", (hook) => {
    const { question, answer } = to(1, a.family);
    expect(isKnown(1, a.family)).toBe(false);
    const done = counted(() => {
      const stream = opened({ a, hook });
      expect(stream.ask(question)).toBe("established");
      expect(stream.answer(answer)).toBe("established");
    });
    expect(done).toEqual({ questions: 1, answers: 1, learned: 1 });
    expect(isKnown(1, a.family)).toBe(true);
    expect(connect(outside(1, a.family), 80)).toBe("denied");
    const other = connectTo(world, outside(1, a.family), {
      ...{ pod: "both", hook: "tc", from: 1, port: 443 },
    });
    expect(other).toBe("denied");
  });
});

const cut = (stream: Uint8Array, ...ends: readonly number[]): readonly Uint8Array[] =>
  [...ends, stream.length].map((end, at) => stream.subarray(at === 0 ? 0 : ends[at - 1], end));

describe("messages and segments", () => {
  const TWO = () => [exchange(WWW, [record(outside(2))]), exchange(WWW, [record(outside(3, 6))])] as const;

  it("two questions in one segment, and their answers in one, in either order", () => {
    const [first, second] = TWO();
    const stream = opened();
    const done = counted(() => {
      stream.ask(Buffer.concat([first.question, second.question]));
      stream.answer(Buffer.concat([second.answer, first.answer]));
    });
    expect(done).toEqual({ questions: 2, answers: 2, learned: 2 });
  });

  it("one exchange after the other, as often as there are questions", () => {
    const stream = opened();
    const many = 3 * NAMES_EACH;
    const done = counted(() => {
      for (let each = 0; each < many; each += 1) {
        const { question, answer } = exchange(`n${each}.cdn.example.net`, [record(outside(4))]);
        stream.ask(question);
        stream.answer(answer);
      }
    });
    expect(done).toEqual({ questions: many, answers: many, learned: 1 });
  });

  it("lengths in segments of their own", () => {
    const stream = opened();
    const done = counted(() => {
      for (const host of [5, 6]) {
        const { question, answer } = to(host);
        for (const part of cut(question, 2)) stream.ask(part);
        for (const part of cut(answer, 2)) stream.answer(part);
      }
    });
    expect(done).toEqual({ questions: 2, answers: 2, learned: 2 });
  });

  it("a length at the end of the segment with the answer before", () => {
    const [first, second] = TWO();
    const stream = opened();
    const done = counted(() => {
      stream.ask(first.question);
      stream.ask(second.question);
      for (const part of cut(Buffer.concat([first.answer, second.answer]), first.answer.length + 2))
        stream.answer(part);
    });
    expect(done).toEqual({ questions: 2, answers: 2, learned: 2 });
  });

  it.each([
    ["takes", 0],
    ["does not take", 1],
  ])("a question with the SYN (TCP Fast Open), which the resolver %s", (_, isRefused) => {
    const { question, answer } = to(7);
    const stream = openStream();
    stream.syn({}, question);
    stream.synAck({ acknowledges: isRefused ? 0 : question.length });
    if (isRefused) stream.ask(question, { at: 0 });
    stream.answer(answer);
    expect(isKnown(7)).toBe(true);
  });

  it("an answer in several segments: the records in the first one, and then the next answer", () => {
    const many = Array.from({ length: 60 }, (_, host) => record(outside(host)));
    const [long, next] = [exchange(WWW, many), to(100)];
    const stream = opened();
    stream.ask(long.question);
    stream.ask(next.question);
    const both = Buffer.concat([long.answer, next.answer]);
    const done = counted(() => {
      for (const part of cut(both, 536, long.answer.length - 1)) stream.answer(part);
    });
    expect(done).toMatchObject({ answers: 2, unread: 1 });
    expect([0, 20, 59, 100].map((host) => isKnown(host))).toEqual([true, true, false, true]);
  });

  it("the first eight of one segment", () => {
    const nine = Array.from({ length: 9 }, (_, host) => to(20 + host));
    const stream = opened();
    for (const { question } of nine) stream.ask(question);
    const done = counted(() => stream.answer(Buffer.concat(nine.map(({ answer }) => answer))));
    expect(done).toEqual({ answers: 8, learned: 8, unread: 1 });
    expect([27, 28].map((host) => isKnown(host))).toEqual([true, false]);
  });

  it("half a length is not followed", () => {
    const [first, second] = TWO();
    const stream = opened();
    stream.ask(first.question);
    stream.ask(second.question);
    const done = counted(() => {
      for (const part of cut(Buffer.concat([first.answer, second.answer]), first.answer.length + 1))
        stream.answer(part);
    });
    expect(done).toEqual({ answers: 1, learned: 1, unread: 2 });
  });
});

describe("segments that are sent again, or come late", () => {
  it("a repeated question and a repeated answer are no matter", () => {
    const { question, answer } = to(30);
    const stream = opened();
    const done = counted(() => {
      stream.ask(question);
      stream.ask(question, { at: 0 });
      stream.answer(answer);
      stream.answer(answer, { at: 0 });
    });
    expect(done).toEqual({ questions: 2, answers: 1, learned: 1 });
  });

  it("a repeated answer together with the next one", () => {
    const [first, second] = [to(31), to(32)];
    const stream = opened();
    stream.ask(first.question);
    stream.ask(second.question);
    stream.answer(first.answer);
    const done = counted(() => stream.answer(Buffer.concat([first.answer, second.answer]), { at: 0 }));
    expect(done).toEqual({ answers: 1, learned: 1 });
  });

  it("after a gap nothing is read until what was missing comes", () => {
    const [first, second, third] = [to(33), to(34), to(35)];
    const stream = opened();
    for (const { question } of [first, second, third]) stream.ask(question);
    stream.answer(first.answer);
    const done = counted(() => {
      stream.answer(third.answer, { at: first.answer.length + second.answer.length });
      stream.answer(second.answer, { at: first.answer.length });
    });
    expect(done).toEqual({ answers: 1, learned: 1, unread: 1 });
    stream.answer(Buffer.concat([second.answer, third.answer]), { at: first.answer.length });
    expect([33, 34, 35].map((host) => isKnown(host))).toEqual([true, true, true]);
  });

  it("a SYN and its answer that are sent again", () => {
    const { question, answer } = to(36);
    const stream = openStream();
    stream.syn();
    stream.syn();
    stream.synAck();
    stream.synAck();
    stream.ask(question);
    stream.answer(answer);
    expect(isKnown(36)).toBe(true);
  });

  it("the last segments of a connection, and the next one between the same ports", () => {
    const port = 39_999;
    const [first, second] = [to(37), to(38)];
    const done = counted(() => {
      for (const { question, answer } of [first, second]) {
        const stream = opened({ port });
        stream.ask(question);
        stream.answer(answer, { flags: FIN_ACK });
        stream.ask(Buffer.alloc(0), { flags: FIN_ACK });
        stream.answer(Buffer.alloc(0));
      }
    });
    expect(done).toEqual({ questions: 2, answers: 2, learned: 2 });
  });
});

/** A record that holds a message; the stream of its answer, cut where that one begins, with its length or without. */
function smuggled(forged: Uint8Array) {
  const evil = { id: 10, name: "evil.attacker.org", type: DNS_TYPE.TXT };
  const text = Buffer.concat([Buffer.of(255), Buffer.alloc(255), Buffer.of(forged.length), forged]);
  const answer = dnsOverTcp(dnsAnswer({ ...evil, records: [{ type: DNS_TYPE.TXT, ttl: 1, data: text }] }));
  return { question: dnsOverTcp(dnsQuestion(evil)), parts: cut(answer, answer.length - forged.length) };
}

describe("what teaches nothing", () => {
  type Connection = ReturnType<typeof openStream>;
  const HOST = 50;
  const asked = { id: 7, name: WWW, type: DNS_TYPE.A };
  const question = dnsOverTcp(dnsQuestion(asked));
  const answerWith = (more: Partial<DnsAnswer> = {}) =>
    dnsOverTcp(dnsAnswer({ ...asked, records: [record(outside(HOST))], ...more }));
  const answer = answerWith();
  const datagram = (port: number, message: Uint8Array, out: boolean) =>
    world.ask({
      ...{ pod: "out", direction: out ? "egress" : "ingress" },
      frame: frame(out ? V4.pods.out : V4.trusted, out ? V4.trusted : V4.pods.out, {
        number: IP_PROTOCOL.UDP,
        payload: udp(out ? port : 53, out ? 53 : port, message),
      }),
    });
  const fragment = (moreFragments: boolean, id = 9): IpFields => ({ v4: { id, moreFragments } });
  const evil = smuggled(answer);
  const evilLength = evil.parts[0]?.length ?? 0;
  const asks = (stream: Connection): void => {
    stream.open();
    stream.ask(question);
  };

  const cases: readonly (readonly [what: string, run: (stream: Connection) => void])[] = [
    [
      "an answer without a question",
      (stream) => {
        stream.open();
        stream.answer(answer);
      },
    ],
    [
      "a question that was asked over another connection",
      (stream) => {
        asks(stream);
        const other = opened();
        other.answer(answer);
      },
    ],
    [
      "one that was asked over UDP",
      (stream) => {
        stream.open();
        datagram(stream.port, dnsQuestion(asked), true);
        stream.answer(answer);
      },
    ],
    [
      "an answer over UDP to one over TCP",
      (stream) => {
        asks(stream);
        datagram(stream.port, answer.subarray(2), false);
      },
    ],
    [
      "another number",
      (stream) => {
        asks(stream);
        stream.answer(answerWith({ id: 8 }));
      },
    ],
    [
      "another name",
      (stream) => {
        asks(stream);
        stream.answer(answerWith({ name: "a.cdn.example.net" }));
      },
    ],
    [
      "another type",
      (stream) => {
        asks(stream);
        stream.answer(answerWith({ type: DNS_TYPE.AAAA }));
      },
    ],
    [
      "a connection whose beginning was not seen",
      (stream) => {
        stream.ask(question);
        stream.answer(answer);
      },
    ],
    [
      "one without the resolver's SYN-ACK",
      (stream) => {
        stream.syn();
        stream.ask(question);
        stream.answer(answer);
      },
    ],
    [
      "a SYN-ACK to another SYN",
      (stream) => {
        stream.syn();
        stream.synAck({ acknowledges: 1 });
        stream.ask(question);
        stream.answer(answer);
      },
    ],
    [
      "a second SYN-ACK, with another beginning",
      (stream) => {
        stream.syn();
        stream.synAck();
        stream.synAck({ at: 100 });
        stream.ask(question, { acknowledges: 100 });
        stream.answer(answer, { at: 100 });
      },
    ],
    [
      "what others have put into a record, at the beginning of a segment",
      (stream) => {
        stream.open();
        stream.ask(Buffer.concat([evil.question, question]));
        for (const part of evil.parts) stream.answer(part);
      },
    ],
    [
      "the same, if the segment before it is lost",
      (stream) => {
        stream.open();
        stream.ask(Buffer.concat([evil.question, question]));
        stream.answer(evil.parts[1] as Uint8Array, { at: evilLength });
      },
    ],
    [
      "the same, if it comes before the other",
      (stream) => {
        stream.open();
        stream.ask(Buffer.concat([evil.question, question]));
        stream.answer(evil.parts[1] as Uint8Array, { at: evilLength });
        stream.answer(evil.parts[0] as Uint8Array, { at: 0 });
        stream.answer(evil.parts[1] as Uint8Array, { at: evilLength });
      },
    ],
    [
      // A resolver that sends SYN cookies takes it for the acknowledgement of a SYN-ACK that it never sent.
      "a stream that the pod has begun elsewhere than the SYN-ACK, by its acknowledgement",
      (stream) => {
        stream.syn();
        stream.synAck();
        stream.ask(Buffer.concat([evil.question, question]), { acknowledges: -evilLength, at: -evilLength });
        stream.answer(evil.parts[1] as Uint8Array, { at: 0 });
      },
    ],
    [
      "the same, with the segment in fragments",
      (stream) => {
        stream.open();
        stream.ask(question);
        stream.ask(question, { fields: fragment(true) });
        stream.answer(answer);
      },
    ],
    [
      "the same, with the last fragment after the SYN",
      (stream) => {
        stream.ask(question, { fields: fragment(true) });
        stream.syn();
        stream.synAck();
        stream.ask(question);
        world.ask({
          ...{ pod: "out", direction: "egress" },
          frame: frame(
            V4.pods.out,
            V4.trusted,
            { number: IP_PROTOCOL.TCP, payload: Buffer.alloc(8) },
            { v4: { id: 9, fragmentOffset: 10 } },
          ),
        });
        stream.answer(answer);
      },
    ],
    [
      "the same, by what the resolver has sent before",
      (stream) => {
        stream.open();
        stream.ask(Buffer.concat([evil.question, question]));
        stream.answer(evil.parts[0] as Uint8Array, { at: -evilLength });
        stream.answer(evil.parts[1] as Uint8Array, { at: 0 });
      },
    ],
    [
      "what the pod has sent before the SYN-ACK",
      (stream) => {
        stream.syn();
        stream.ask(question);
        stream.synAck();
        stream.ask(question);
        stream.answer(answer);
      },
    ],
    [
      "after a reset by the pod",
      (stream) => {
        asks(stream);
        stream.ask(Buffer.alloc(0), { flags: RST_ACK });
        stream.answer(answer);
      },
    ],
    [
      "after a reset by the resolver",
      (stream) => {
        asks(stream);
        stream.answer(Buffer.alloc(0), { flags: RST });
        stream.answer(answer);
      },
    ],
    [
      "after the end of the resolver's stream",
      (stream) => {
        asks(stream);
        stream.answer(Buffer.alloc(0), { flags: FIN_ACK });
        stream.answer(answer);
      },
    ],
    [
      "after the end of the resolver's stream, with an answer",
      (stream) => {
        asks(stream);
        stream.answer(dnsOverTcp(Buffer.alloc(20)), { flags: FIN | ACK });
        stream.answer(answer);
      },
    ],
    [
      "segments ahead of the stream, or behind it",
      (stream) => {
        asks(stream);
        stream.answer(dnsOverTcp(Buffer.alloc(20)));
        for (const at of [23, 1_000, 2 ** 30, -100, -(2 ** 30), 2 ** 31]) stream.answer(answer, { at });
      },
    ],
    [
      "an answer that the pod has sent itself",
      (stream) => {
        asks(stream);
        stream.answer(answer, { from: ITSELF });
      },
    ],
    [
      "a segment in a fragment",
      (stream) => {
        asks(stream);
        stream.answer(answer, { fields: fragment(true) });
      },
    ],
    [
      "an error",
      (stream) => {
        asks(stream);
        stream.answer(answerWith({ flags: 0x8003 }));
      },
    ],
  ];
  it.each(cases)("%s", (_, run) => {
    run(openStream());
    expect(isKnown(HOST)).toBe(false);
  });

  it("the same exchange without the fault does", () => {
    const stream = openStream();
    asks(stream);
    stream.answer(answer);
    expect(isKnown(HOST)).toBe(true);
  });

  it("a connection that has been idle for too long", async () => {
    const stream = opened();
    stream.ask(question);
    const { questions } = world.bench.maps.tables;
    const streams = (await questions.read()).filter(([{ type }]) => type === 0);
    expect(streams).toHaveLength(1);
    const now = Number(streams[0]?.[1].expires) / world.bench.datapath.ticksPerSecond;
    expect(now).toBeGreaterThan(CONNECTION_SECONDS);
    await questions.writeBatch(streams.map(([key, value]) => [key, { ...value, expires: 1n }]));
    stream.answer(answer);
    expect(isKnown(HOST)).toBe(false);
  });

  it("a resolver that only audit mode allows", async () => {
    await world.enforce(RULES, [], { mode: "audit", clusterPolicies: [NAMES] });
    const stream = openStream({ peer: V4.stranger });
    stream.syn();
    stream.synAck();
    stream.ask(question);
    stream.answer(answer);
    expect(connect(outside(HOST))).toBe("audit");
  });

  it.each(["UDP", "TCP"] as const)("a resolver to which rules deny port 53 of %s", async (protocol) => {
    const denied = clusterPolicy("no-dns", {
      priority: 1,
      egress: [clusterRule("Deny", [block("0.0.0.0/0")], ports(`${protocol}/53`))],
    });
    const stream = opened();
    await enforce([denied, NAMES]);
    stream.ask(question);
    stream.answer(answer);
    const second = openStream();
    second.syn();
    second.synAck();
    second.ask(question);
    second.answer(answer);
    expect(isKnown(HOST)).toBe(false);
  });
});

describe("floods", () => {
  it("of connections push out the pod's own, and no other pod's", () => {
    const [first, second, other] = [to(60), to(61), to(62)];
    const early = opened();
    const bystander = opened({ pod: "both" });
    bystander.ask(other.question);
    for (let each = 1; each < NAMES_EACH; each += 1) openStream({ port: 1_000 + each }).syn();
    early.ask(first.question);
    early.answer(first.answer);
    expect(isKnown(60)).toBe(true);
    for (let each = 0; each < NAMES_EACH; each += 1) openStream({ port: 1_000 + each }).syn();
    early.ask(second.question);
    const done = counted(() => early.answer(second.answer));
    expect(done).toEqual({ unread: 1 });
    bystander.answer(other.answer);
    const reached = connectTo(world, outside(62), { pod: "both", hook: "tc", from: 2, port: 443 });
    expect(reached).toBe("policy");
  });
});

/** Streams of honest answers, some of which have a message in a record that answers a question of the pod. */
it.each(Array.from({ length: 150 }, (_, seed) => seed))(
  "nothing that is inside a record is read, however a stream is cut into segments: seed %i",
  (seed) => {
    const random = randomFrom(seed);
    const upTo = (limit: number) => random.below(limit);
    const oneIn = (many: number) => random.below(many) === 0;
    const forged = dnsAnswer({ id: 7, name: WWW, type: DNS_TYPE.A, records: [record(outside(250))] });
    const stream = opened();
    const messages: { readonly host?: number; readonly bytes: Buffer }[] = [];
    stream.ask(dnsOverTcp(dnsQuestion({ id: 7, name: WWW, type: DNS_TYPE.A })));
    for (let each = 0; each < 1 + upTo(6); each += 1) {
      const isEvil = oneIn(2);
      const { question, answer } = to(each + 1);
      const { question: evilQuestion, parts } = smuggled(oneIn(2) ? forged : dnsOverTcp(forged));
      stream.ask(isEvil ? evilQuestion : question);
      messages.push(
        isEvil ? { bytes: Buffer.concat(parts) } : { host: each + 1, bytes: Buffer.from(answer) },
      );
    }
    const whole = Buffer.concat(messages.map(({ bytes }) => bytes));
    // Where messages begin, and where forged ones do, is as likely as any other place.
    const places: number[] = [];
    let begin = 0;
    for (const { host, bytes } of messages) {
      places.push(begin, begin + 2, begin + bytes.length);
      if (host === undefined)
        places.push(begin + bytes.length - forged.length, begin + bytes.length - forged.length - 2);
      begin += bytes.length;
    }
    const place = () => (!oneIn(3) ? (places[upTo(places.length)] as number) : upTo(whole.length));
    for (let at = 0; at < whole.length; ) {
      const end = Math.max(place(), at + 1);
      if (oneIn(6)) {
        // Again, from anywhere before; or ahead.
        const again = Math.min(place(), whole.length - 1);
        stream.answer(whole.subarray(again, again + 1 + upTo(whole.length - again)), { at: again });
      }
      stream.answer(whole.subarray(at, end), { at });
      at = end;
    }
    expect(isKnown(250)).toBe(false);
  },
);

it("random segments in order: every answer that is whole in one is read", () => {
  const seed = Math.floor(Math.random() * 2 ** 31);
  const random = randomFrom(seed);
  for (let round = 0; round < 40; round += 1) {
    const stream = opened();
    const hosts = Array.from({ length: 1 + random.below(6) }, (_, at) => 1 + round * 6 + at);
    const exchanges = hosts.map((host) => to(host));
    for (const { question } of exchanges) stream.ask(question);
    let rest: Buffer = Buffer.alloc(0);
    for (const { answer } of exchanges) {
      rest = Buffer.concat([rest, answer]);
      if (random.below(3) === 0) continue;
      const length = random.below(3) === 0;
      stream.answer(length ? rest.subarray(0, 2) : rest);
      if (length) stream.answer(rest.subarray(2));
      rest = Buffer.alloc(0);
    }
    if (rest.length > 0) stream.answer(rest);
    expect(
      hosts.filter((host) => !isKnown(host)),
      `seed ${seed}, round ${round}`,
    ).toEqual([]);
  }
});
