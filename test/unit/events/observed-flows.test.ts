// Events to flows: what counts, who the opener is, answers, and lines that are not events.

import { expect, it } from "vitest";
import { collectFlows, flowText, parseEventLine } from "../../../src/events/observed-flows.ts";

const EVENT = {
  time: "2026-11-30T00:00:00.000Z",
  verdict: "audit",
  reason: "audit",
  direction: "egress",
  opener: "egress",
  endpoint: "shop/web",
  from: { address: "10.0.0.1", port: 50_000, pod: "shop/web" },
  to: { address: "10.0.0.3", port: 5432, pod: "shop/db" },
  protocol: "TCP",
  opens: true,
};

/** "shop/web to shop/db TCP/5432 egress x1" of each flow; then why the other events are none. */
function collected(events: readonly object[], options: { since?: number; denied?: boolean } = {}) {
  const collector = collectFlows({ since: 0, denied: false, ...options });
  for (const event of events) {
    const parsed = parseEventLine(JSON.stringify(event));
    if (!parsed.ok) throw new Error(parsed.reason);
    collector.add(parsed.value);
  }
  return {
    flows: collector.flows().map((flow) => `${flowText(flow)} ${flow.seenAt} x${flow.count}`),
    unused: Object.fromEntries(collector.unused()),
  };
}

it("equal connections are one flow, with its first and last time", () => {
  const collector = collectFlows({ since: 0, denied: false });
  for (const time of ["2026-11-30T00:00:02.000Z", "2026-11-30T00:00:01.000Z", "2026-11-30T00:00:03.000Z"]) {
    const parsed = parseEventLine(JSON.stringify({ ...EVENT, time }));
    if (parsed.ok) collector.add(parsed.value);
  }
  expect(collector.flows()).toMatchObject([
    { count: 3, first: "2026-11-30T00:00:01.000Z", last: "2026-11-30T00:00:03.000Z", port: 5432 },
  ]);
});

it("a packet of the other end shows the connection reversed", () => {
  const answer = { ...EVENT, opens: undefined, direction: "ingress", from: EVENT.to, to: EVENT.from };
  expect(collected([EVENT, answer]).flows).toEqual(["shop/web to shop/db TCP/5432 egress x2"]);
});

it("segments of older connections do not show who opened them", () => {
  const older = {
    ...EVENT,
    opens: undefined,
    from: { ...EVENT.from, port: 80 },
    to: { ...EVENT.to, port: 50_000 },
  };
  expect(collected([older, { ...older, protocol: "SCTP" }])).toEqual({ flows: [], unused: { older: 2 } });
});

it("a datagram to a higher port is an answer if its receiver was seen to send to its source port", () => {
  const asks = {
    ...EVENT,
    opener: "ingress",
    direction: "ingress",
    endpoint: "shop/db",
    opens: undefined,
    protocol: "UDP",
  };
  const question = { ...asks, to: { ...EVENT.to, port: 53 } };
  const answer = {
    ...asks,
    opener: "egress",
    direction: "egress",
    from: { ...EVENT.to, port: 53 },
    to: { ...EVENT.from, port: 40_000 },
  };
  expect(collected([answer, question])).toEqual({
    flows: ["shop/web to shop/db UDP/53 ingress x1"],
    unused: { answer: 1 },
  });
  expect(collected([answer]).flows).toEqual(["shop/db to shop/web UDP/40000 egress x1"]);
  // Both ends use one port: either may have begun.
  const peer = (from: object, to: object, endpoint: string) => ({
    ...answer,
    endpoint,
    from: { ...from, port: 7946 },
    to: { ...to, port: 7946 },
  });
  expect(
    collected([peer(EVENT.from, EVENT.to, "shop/web"), peer(EVENT.to, EVENT.from, "shop/db")]).flows,
  ).toHaveLength(2);
});

it("what was dropped counts only on request, and ICMP and what is older than --since never", () => {
  const dropped = { ...EVENT, verdict: "dropped", reason: "denied" };
  const ping = {
    ...EVENT,
    protocol: "ICMP",
    opens: undefined,
    from: { address: "10.0.0.1" },
    to: { address: "10.0.0.3" },
  };
  expect(collected([dropped, ping])).toEqual({ flows: [], unused: { dropped: 1, protocol: 1 } });
  expect(collected([dropped], { denied: true }).flows).toEqual(["shop/web to shop/db TCP/5432 egress x1"]);
  expect(collected([EVENT], { since: Date.parse(EVENT.time) + 1 })).toEqual({ flows: [], unused: {} });
  expect(collected([{ ...EVENT, endpoint: undefined }])).toEqual({ flows: [], unused: { unread: 1 } });
});

it.each([
  ["{", "not a line of JSON"],
  ["[]", "not a JSON object"],
  ["null", "not a JSON object"],
  [JSON.stringify({ time: EVENT.time, pod: "shop/web", packets: 3 }), "a line of the history (--since)"],
  [JSON.stringify({ ...EVENT, time: "yesterday" }), "`time` is not a time"],
  [JSON.stringify({ ...EVENT, time: "2026-13-30T00:00:00Z" }), "`time` is not a time"],
  [JSON.stringify({ ...EVENT, verdict: "maybe" }), "`verdict` is not one of"],
  [JSON.stringify({ ...EVENT, reason: 3 }), "`reason` is not a text"],
  [JSON.stringify({ ...EVENT, direction: "up" }), "`direction` is not one of"],
  [JSON.stringify({ ...EVENT, opener: undefined }), "`opener` is not one of"],
  [JSON.stringify({ ...EVENT, endpoint: "web" }), "`endpoint` is not NAMESPACE/NAME"],
  [JSON.stringify({ ...EVENT, protocol: 6 }), "`protocol` is not a text"],
  [JSON.stringify({ ...EVENT, opens: "yes" }), "`opens` is not true"],
  [JSON.stringify({ ...EVENT, from: "10.0.0.1" }), "`from` is not an object"],
  [JSON.stringify({ ...EVENT, to: { address: "10.0.0.300" } }), "`to.address` is not an IP address"],
  [JSON.stringify({ ...EVENT, to: { port: 70_000 } }), "`to.port` is not a number"],
  [JSON.stringify({ ...EVENT, to: { pod: "shop/db\n# injected: x" } }), "`to.pod` is not NAMESPACE/NAME"],
])("%s is refused: %s", (line, reason) => {
  const parsed = parseEventLine(line);
  expect(parsed.ok ? "accepted" : parsed.reason).toContain(reason);
});
