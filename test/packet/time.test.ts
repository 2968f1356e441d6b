// How time and changes of policy affect flows: expiry, resets and ends, revoked and restored rules, generations.

import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, describe, expect, it } from "vitest";
import type { TableFlow } from "../../src/datapath/flow-reader.ts";
import { addition, type FlowKey, runRequests } from "../../src/datapath/flow-requests.ts";
import { TCP_FLAG } from "../../src/engines/frame-builder.ts";
import { FLOW_EPOCH, FLOW_STAMP_BITS, FlowResult, FlowState, type Timeout } from "../../src/gen/layout.ts";
import { address, block, ports } from "../support/model.ts";
import {
  echo,
  echoReply,
  FIN_ACK,
  frame,
  otherSegment,
  RST_ACK,
  type Segment,
  SYN_ACK,
  sctpData,
  sctpSegment,
  tcpSegment,
  udpSegment,
} from "./frames.ts";
import { expectSteps, into, outOf, type Step, useWorld } from "./table.ts";
import { type Addresses, BOTH_FAMILIES, RULES } from "./world.ts";

const { ACK, PSH, RST, SYN } = TCP_FLAG;
const world = useWorld();
afterEach(async () => {
  await world().setTimeouts({});
  await world().enforce();
});

const to = (a: Addresses, segment: Segment, peer: "friend" | "trusted" = "friend") =>
  frame(a[peer], a.pods.both, segment);
const back = (a: Addresses, segment: Segment, peer: "friend" | "trusted" = "friend") =>
  frame(a.pods.both, a[peer], segment);

/** The only flow. */
function onlyFlow(): TableFlow {
  const flows = world().flows();
  expect(flows).toHaveLength(1);
  return flows[0] as TableFlow;
}

interface Expiry {
  readonly timeout: keyof typeof Timeout;
  /** Until the flow is in the state that has this timeout. */
  readonly packets: (a: Addresses) => readonly Step[];
  /** Passes as part of the flow while that exists, afterwards with `reason`. */
  readonly late: (a: Addresses) => Step;
}

const EXPIRIES: readonly Expiry[] = [
  {
    timeout: "UDP_NEW",
    packets: (a) => [
      into("both", to(a, udpSegment(40_000, 53)), "policy"),
      outOf("both", back(a, udpSegment(53, 40_000)), "established"),
    ],
    late: (a) => outOf("both", back(a, udpSegment(53, 40_000)), "denied"),
  },
  {
    timeout: "UDP_STREAM",
    packets: (a) => [
      into("both", to(a, udpSegment(40_000, 53)), "policy"),
      outOf("both", back(a, udpSegment(53, 40_000)), "established"),
      into("both", to(a, udpSegment(40_000, 53)), "established"),
    ],
    late: (a) => outOf("both", back(a, udpSegment(53, 40_000)), "denied"),
  },
  {
    timeout: "SCTP",
    packets: (a) => [into("both", to(a, sctpSegment(40_000, 5_000)), "policy")],
    late: (a) => outOf("both", back(a, sctpData(5_000, 40_000)), "denied"),
  },
  {
    timeout: "ICMP",
    packets: (a) => [into("in", frame(a.trusted, a.pods.in, echo(a.family, 5)), "policy")],
    late: (a) => outOf("in", frame(a.pods.in, a.trusted, echoReply(a.family, 5)), "not-isolated"),
  },
  {
    timeout: "OTHER",
    packets: (a) => [into("in", frame(a.trusted, a.pods.in, otherSegment(47)), "policy")],
    late: (a) => outOf("in", frame(a.pods.in, a.trusted, otherSegment(47)), "not-isolated"),
  },
];

describe("a flow without packets", () => {
  const rows = EXPIRIES.flatMap((each) =>
    BOTH_FAMILIES.map((a) => ({ ...each, a, name: `${each.timeout} in IPv${a.family}` })),
  );

  it.each(rows)("is forgotten after its timeout: $name", async ({ a, timeout, packets, late }) => {
    await world().setTimeouts({ [timeout]: 150 });
    expectSteps(world(), [...packets(a), { ...late(a), reason: "established" }]);
    await world().outwait(150);
    expectSteps(world(), [late(a)]);
  });

  it.each(BOTH_FAMILIES)("is kept by each packet: IPv$family", async (a) => {
    await world().setTimeouts({ UDP_NEW: 200, UDP_STREAM: 200 });
    expectSteps(world(), [into("both", to(a, udpSegment(40_000, 53)), "policy")]);
    for (let round = 0; round < 4; round += 1) {
      await sleep(80);
      expectSteps(world(), [outOf("both", back(a, udpSegment(53, 40_000)), "established")]);
    }
    await world().outwait(200);
    expectSteps(world(), [outOf("both", back(a, udpSegment(53, 40_000)), "denied")]);
  });

  it.each(BOTH_FAMILIES)("does not come back, however long it has expired: IPv$family", async (a) => {
    expectSteps(world(), [into("both", to(a, udpSegment(40_000, 53)), "policy")]);
    const { flow, ...key } = onlyFlow();
    // The first moment but one of flow time: the kernel's clock has never been that early.
    const expires = BigInt(FLOW_EPOCH) + 4n;
    await world().putFlow({ ...key, flow: { ...flow, expires } } as TableFlow);
    expect(onlyFlow().flow.expires).toBe(expires);
    expectSteps(world(), [outOf("both", back(a, udpSegment(53, 40_000)), "denied")]);
  });
});

describe("a TCP connection", () => {
  const established = (a: Addresses) => [
    into("both", to(a, tcpSegment(40_000, 80)), "policy"),
    outOf("both", back(a, tcpSegment(80, 40_000, SYN_ACK)), "established"),
    into("both", to(a, tcpSegment(40_000, 80, ACK)), "established"),
  ];

  it.each(BOTH_FAMILIES)("has a state for each phase: IPv$family", async (a) => {
    const { REPLIED, CONFIRMED, FIN_OPENER, FIN_OTHER } = FlowState;
    const steps: [Step, number][] = [
      [into("both", to(a, tcpSegment(40_000, 80)), "policy"), 0],
      [into("both", to(a, tcpSegment(40_000, 80)), "policy"), 0],
      [outOf("both", back(a, tcpSegment(80, 40_000, SYN_ACK)), "established"), REPLIED],
      [into("both", to(a, tcpSegment(40_000, 80, ACK)), "established"), REPLIED | CONFIRMED],
      [
        outOf("both", back(a, tcpSegment(80, 40_000, FIN_ACK)), "established"),
        REPLIED | CONFIRMED | FIN_OTHER,
      ],
      [
        into("both", to(a, tcpSegment(40_000, 80, FIN_ACK)), "established"),
        REPLIED | CONFIRMED | FIN_OTHER | FIN_OPENER,
      ],
      [into("both", to(a, tcpSegment(40_000, 80)), "policy"), 0],
    ];
    for (const [step, state] of steps) {
      expectSteps(world(), [step]);
      expect(onlyFlow().flow.state).toBe(state);
    }
  });

  it.each(BOTH_FAMILIES)(
    "seen in its middle is confirmed by both sides, not by resets: IPv$family",
    async (a) => {
      const { REPLIED, CONFIRMED } = FlowState;
      const steps: [Step, number][] = [
        [into("both", to(a, tcpSegment(41_000, 80, ACK)), "policy"), 0],
        [into("both", to(a, tcpSegment(41_000, 80, ACK)), "established"), 0],
        [outOf("both", back(a, tcpSegment(80, 41_000, RST)), "established"), 0],
        [into("both", to(a, tcpSegment(41_000, 80, ACK)), "established"), 0],
        [outOf("both", back(a, tcpSegment(80, 41_000, RST_ACK)), "established"), 0],
        [outOf("both", back(a, tcpSegment(80, 41_000, ACK)), "established"), REPLIED],
        [into("both", to(a, tcpSegment(41_000, 80, RST)), "established"), REPLIED],
        [into("both", to(a, tcpSegment(41_000, 80, ACK)), "established"), REPLIED | CONFIRMED],
      ];
      for (const [step, state] of steps) {
        expectSteps(world(), [step]);
        expect(onlyFlow().flow.state).toBe(state);
      }
    },
  );

  const ages: { name: string; timeout: keyof typeof Timeout; packets: (a: Addresses) => readonly Step[] }[] =
    [
      { name: "half-open", timeout: "TCP_NEW", packets: (a) => established(a).slice(0, 1) },
      {
        name: "seen in its middle",
        timeout: "TCP_NEW",
        packets: (a) => [
          into("both", to(a, tcpSegment(40_000, 80, ACK)), "policy"),
          into("both", to(a, tcpSegment(40_000, 80, PSH | ACK)), "established"),
        ],
      },
      { name: "established", timeout: "TCP_ESTABLISHED", packets: established },
      {
        name: "closing",
        timeout: "TCP_CLOSING",
        packets: (a) => [
          ...established(a),
          outOf("both", back(a, tcpSegment(80, 40_000, FIN_ACK)), "established"),
        ],
      },
      {
        name: "reset",
        timeout: "TCP_RESET",
        packets: (a) => [
          ...established(a),
          outOf("both", back(a, tcpSegment(80, 40_000, RST_ACK)), "established"),
        ],
      },
    ];
  const aged = ages.flatMap((age) =>
    BOTH_FAMILIES.map((a) => ({ ...age, a, title: `${age.name}, IPv${a.family}` })),
  );

  it.each(aged)("that is $title is forgotten after its timeout", async ({ a, timeout, packets }) => {
    await world().setTimeouts({ [timeout]: 150 });
    expectSteps(world(), packets(a));
    await world().outwait(150);
    // A SYN would be judged in any case; a mid-connection segment is judged only if it has no entry.
    expectSteps(world(), [into("both", to(a, tcpSegment(40_000, 80, ACK)), "policy")]);
  });

  it.each(BOTH_FAMILIES)("outlives a forged reset: the next segment restores it: IPv$family", async (a) => {
    await world().setTimeouts({ TCP_RESET: 150 });
    expectSteps(world(), [
      ...established(a),
      into("both", to(a, tcpSegment(40_000, 80, RST_ACK)), "established"),
      outOf("both", back(a, tcpSegment(80, 40_000, ACK)), "established"),
    ]);
    await world().outwait(150);
    // Were the entry gone, this would be a new flow of the friend's.
    expectSteps(world(), [into("both", to(a, tcpSegment(40_000, 80, ACK)), "established")]);
  });
});

/** What a flow is in each pod: of a peer that the pod answers, or of the pod. */
const REVOKED: readonly {
  readonly name: string;
  readonly asks: (a: Addresses, segment: Segment, reason: string) => Step;
  readonly answers: (a: Addresses, segment: Segment, reason: string) => Step;
}[] = [
  {
    name: "a peer opened to a pod that sends freely",
    asks: (a, segment, reason) => into("in", frame(a.friend, a.pods.in, segment), reason),
    answers: (a, segment, reason) => outOf("in", frame(a.pods.in, a.friend, segment), reason),
  },
  {
    name: "a pod opened to which anybody sends freely",
    asks: (a, segment, reason) => outOf("out", frame(a.pods.out, a.friend, segment), reason),
    answers: (a, segment, reason) => into("out", frame(a.friend, a.pods.out, segment), reason),
  },
];

describe("a revoked flow that", () => {
  const rows = REVOKED.flatMap((each) =>
    BOTH_FAMILIES.map((a) => ({ ...each, a, title: `${each.name}, IPv${a.family}` })),
  );

  it.each(rows)("$title, has its answers pass, and is never reassigned by an answer", async (row) => {
    const { a, asks, answers } = row;
    const flows = [
      { ask: udpSegment(41_000, 53), answer: udpSegment(53, 41_000), opens: udpSegment(41_000, 53) },
      {
        ask: sctpData(41_000, 5_000),
        answer: sctpData(5_000, 41_000),
        opens: sctpSegment(41_000, 5_000),
      },
      {
        ask: tcpSegment(41_000, 80, ACK),
        answer: tcpSegment(80, 41_000, ACK),
        opens: tcpSegment(41_000, 80),
      },
    ];
    for (const { ask, answer, opens } of flows) {
      await world().enforce();
      expectSteps(world(), [asks(a, opens, "policy"), answers(a, answer, "established")]);
      await world().enforce([]);
      expectSteps(world(), [
        answers(a, answer, "not-isolated"),
        asks(a, ask, "revoked"),
        answers(a, answer, "not-isolated"),
        asks(a, ask, "revoked"),
      ]);
    }
  });

  it.each(rows)("$title, is forgotten after a UDP flow's timeout without answers", async (row) => {
    const { a, asks, answers } = row;
    const [ask, answer] = [udpSegment(41_000, 53), udpSegment(53, 41_000)];
    await world().setTimeouts({ UDP_STREAM: 300 });
    expectSteps(world(), [asks(a, ask, "policy"), answers(a, answer, "established")]);
    await world().enforce([]);
    // Each answer keeps the entry.
    for (let round = 0; round < 4; round += 1) {
      expectSteps(world(), [answers(a, answer, "not-isolated"), asks(a, ask, "revoked")]);
      await sleep(100);
    }
    // What is denied does not.
    const { expires } = onlyFlow().flow;
    for (let round = 0; round < 3; round += 1) expectSteps(world(), [asks(a, ask, "revoked")]);
    expect(onlyFlow().flow.expires).toBe(expires);
    await world().outwait(300);
    expectSteps(world(), [
      asks(a, ask, "denied"),
      answers(a, answer, "not-isolated"),
      asks(a, ask, "established"),
    ]);
  });

  it.each(rows)("$title, was TCP's is as short, and its answers then open nothing", async (row) => {
    const { a, asks, answers } = row;
    const [ask, answer] = [tcpSegment(41_000, 80, ACK), tcpSegment(80, 41_000, PSH | ACK)];
    await world().setTimeouts({ UDP_STREAM: 150 });
    expectSteps(world(), [
      asks(a, tcpSegment(41_000, 80), "policy"),
      answers(a, tcpSegment(80, 41_000, SYN_ACK), "established"),
      asks(a, ask, "established"),
    ]);
    await world().enforce([]);
    expectSteps(world(), [answers(a, answer, "not-isolated"), asks(a, ask, "revoked")]);
    await world().outwait(150);
    expectSteps(world(), [
      asks(a, ask, "untracked"),
      answers(a, answer, "not-isolated"),
      asks(a, ask, "untracked"),
    ]);
  });

  it.each(BOTH_FAMILIES)("a rule of the other direction answers, keeps its opener: IPv$family", async (a) => {
    expectSteps(world(), [
      into("both", to(a, tcpSegment(40_000, 80)), "policy"),
      outOf("both", back(a, tcpSegment(80, 40_000, SYN_ACK)), "established"),
    ]);
    await world().enforce([{ peers: RULES[0]?.peers ?? [], ports: ports("TCP/40000-40009") }]);
    expectSteps(world(), [
      outOf("both", back(a, tcpSegment(80, 40_000, ACK)), "policy"),
      into("both", to(a, tcpSegment(40_000, 80, ACK)), "revoked"),
      outOf("both", back(a, tcpSegment(80, 40_000, ACK)), "policy"),
      into("both", to(a, tcpSegment(40_000, 80, ACK)), "revoked"),
    ]);
    await world().enforce();
    expectSteps(world(), [
      into("both", to(a, tcpSegment(40_000, 80, ACK)), "established"),
      outOf("both", back(a, tcpSegment(80, 40_000, ACK)), "established"),
    ]);
  });
});

describe("a policy that changes", () => {
  const flows = (a: Addresses) => [
    into("both", to(a, tcpSegment(40_000, 80)), "policy"),
    into("both", to(a, udpSegment(40_000, 53)), "policy"),
    into("both", to(a, echo(a.family, 5), "trusted"), "policy"),
    outOf("both", back(a, tcpSegment(41_000, 80)), "policy"),
    outOf("both", back(a, otherSegment(47), "trusted"), "policy"),
  ];
  const next = (a: Addresses, reasons: readonly string[]) => {
    const packets = [
      outOf("both", back(a, tcpSegment(80, 40_000, SYN_ACK)), ""),
      outOf("both", back(a, udpSegment(53, 40_000)), ""),
      outOf("both", back(a, echoReply(a.family, 5), "trusted"), ""),
      into("both", to(a, tcpSegment(80, 41_000, SYN_ACK)), ""),
      into("both", to(a, otherSegment(47), "trusted"), ""),
    ];
    return packets.map((packet, at) => ({ ...packet, reason: reasons[at] ?? reasons[0] ?? "" }));
  };

  it.each(BOTH_FAMILIES)("revokes flows at their next packet, in either direction: IPv$family", async (a) => {
    expectSteps(world(), flows(a));
    await world().enforce([]);
    expectSteps(world(), [...next(a, ["revoked"]), ...next(a, ["revoked"])]);
    expectSteps(world(), [into("both", to(a, tcpSegment(40_000, 80, ACK)), "revoked")]);
    expectSteps(world(), [into("both", to(a, tcpSegment(40_000, 80, SYN)), "denied")]);
  });

  it.each(BOTH_FAMILIES)("leaves allowed flows unchanged, and judges each once: IPv$family", async (a) => {
    expectSteps(world(), flows(a).slice(0, 1));
    const before = onlyFlow().flow;
    await world().enforce([{ peers: [block("10.9.0.1/32"), block("fd09::1/128")], ports: ports("TCP/80") }]);
    expect(onlyFlow().flow.generation).toBe(before.generation);
    expectSteps(world(), next(a, ["established"]).slice(0, 1));
    expect(onlyFlow().flow.generation).toBe(before.generation + 1);
    await world().forget();
    await world().enforce();
    expectSteps(world(), flows(a));
    await world().enforce([{ peers: [block("10.9.0.1/32"), block("fd09::1/128")], ports: ports("TCP/80") }]);
    expectSteps(world(), next(a, ["established", "revoked", "revoked", "established", "revoked"]));
  });

  it.each(BOTH_FAMILIES)("restarts a flow that it restores: IPv$family", async (a) => {
    expectSteps(world(), flows(a));
    await world().enforce([]);
    expectSteps(world(), next(a, ["revoked"]));
    await world().enforce();
    expectSteps(world(), [
      into("both", to(a, tcpSegment(40_000, 80)), "policy"),
      into("both", to(a, tcpSegment(40_001, 80)), "policy"),
      ...next(a, ["established"]),
    ]);
  });

  it.each(BOTH_FAMILIES)(
    "that revoked and restored a flow between two packets, ends nothing: IPv$family",
    async (a) => {
      expectSteps(world(), flows(a));
      await world().enforce([]);
      await world().enforce();
      expectSteps(world(), next(a, ["established"]));
    },
  );

  it.each(BOTH_FAMILIES)(
    "keeps a revoked flow revoked, whatever another CPU still writes to it: IPv$family",
    async (a) => {
      expectSteps(world(), flows(a).slice(0, 1));
      const { state } = onlyFlow().flow;
      await world().enforce([]);
      expectSteps(world(), next(a, ["revoked"]).slice(0, 1));
      // A run that began before the change writes the state that it had read then; nothing else.
      const after = onlyFlow();
      await world().putFlow({ ...after, flow: { ...after.flow, state } });
      expectSteps(world(), next(a, ["revoked"]).slice(0, 1));
    },
  );

  it.each(
    BOTH_FAMILIES.flatMap((a) => [2 ** FLOW_STAMP_BITS - 2, 2 ** 32 - 2].map((start) => ({ a, start }))),
  )(
    "renews and revokes flows where stamps and generations begin again, from $start on: IPv$a.family",
    async ({ a, start }) => {
      const generationNow = () => world().bench.maps.generation();
      const peers = [block("10.9.0.0/24"), block("fd09::/64")];
      // Of the same version as now: the other one is not filled.
      const first = start - (generationNow() % 2);
      // Of a peer that no other round has: what a CPU remembers of one is valid for a generation, and these come more than once.
      const peer = (round: number): Addresses => {
        const host = (start === 2 ** 32 - 2 ? 100 : 110) + round;
        return { ...a, friend: address(a.family === 4 ? `10.9.0.${host}` : `fd09::${host}`) };
      };
      let b = peer(1);
      world().bench.datapath.activate(first);
      expectSteps(world(), flows(b).slice(0, 1));
      for (let flips = 1; flips <= 4; flips++) {
        await world().enforce([{ peers, ports: ports(flips % 2 === 0 ? "TCP/80" : "TCP/80-81") }]);
        expect(generationNow()).toBe((first + flips) % 2 ** 32);
        expect(onlyFlow().flow.generation).not.toBe(generationNow());
        expectSteps(world(), next(b, ["established"]).slice(0, 1));
        expect(onlyFlow().flow.generation).toBe(generationNow());
      }
      world().bench.datapath.activate(first);
      await world().forget();
      b = peer(2);
      expectSteps(world(), flows(b).slice(0, 1));
      for (let flips = 0; flips < 4; flips++) {
        await world().enforce(flips % 2 === 0 ? [] : [{ peers, ports: ports("TCP/82") }]);
        expectSteps(world(), next(b, ["revoked"]).slice(0, 1));
      }
    },
  );

  it.each(BOTH_FAMILIES)(
    "refuses new flows at once, and its own rules allow them at once: IPv$family",
    async (a) => {
      await world().enforce([]);
      expectSteps(
        world(),
        flows(a).map((step) => ({ ...step, reason: "denied" })),
      );
      await world().enforce(RULES);
      expectSteps(world(), flows(a));
    },
  );
});

describe("the opener of a flow that is carried over", () => {
  const carry = async ({ flow, ...key }: TableFlow, opener: 0 | 1) => {
    const request = addition(key as FlowKey, { ...flow, opener, tenant: 0 });
    return [...(await runRequests(world().bench.datapath.flowRequests, [request]))];
  };

  it.each(BOTH_FAMILIES)("replaces that of an answer that came first: IPv$family", async (a) => {
    await world().enforce();
    expectSteps(world(), [into("both", to(a, udpSegment(40_000, 53)), "policy")]);
    const flow = onlyFlow();
    const other = flow.flow.opener === 0 ? 1 : 0;
    expect(await carry(flow, flow.flow.opener as 0 | 1)).toEqual([FlowResult.EXISTS]);
    expect(await carry(flow, other)).toEqual([FlowResult.DONE]);
    expect(onlyFlow().flow.opener).toBe(other);
    expect(await carry(flow, other)).toEqual([FlowResult.EXISTS]);
  });

  it.each(BOTH_FAMILIES)("leaves that of a TCP connection: IPv$family", async (a) => {
    await world().enforce();
    expectSteps(world(), [into("both", to(a, tcpSegment(40_000, 80, SYN)), "policy")]);
    const flow = onlyFlow();
    const other = flow.flow.opener === 0 ? 1 : 0;
    expect(await carry(flow, other)).toEqual([FlowResult.EXISTS]);
    expect(onlyFlow().flow.opener).toBe(flow.flow.opener);
  });
});

it("changes of the flow table have a scratch that packets do not use", () => {
  const { datapath } = world().bench;
  const { id } = datapath.map("scratch").info;
  const hasIt = Object.values(datapath.programs).map(({ info }) => info.mapIds.includes(id));
  expect(hasIt).toEqual([true, true]);
  const mapIds = datapath.flowRequests.info.mapIds;
  expect(mapIds).not.toContain(id);
  expect(mapIds).toContain(datapath.map("conntrack_v4").info.id);
});
