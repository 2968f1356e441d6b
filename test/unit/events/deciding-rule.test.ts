// The rule of a cluster policy that decided a packet, in its event.

import { describe, expect, it } from "vitest";
import { type NamingState, namerOf } from "../../../src/events/packet-event-names.ts";
import { Direction, type Event, Reason } from "../../../src/gen/layout.ts";
import { IP_PROTOCOL } from "../../../src/model/protocol.ts";
import { compile } from "../../../src/policy/compile.ts";
import { NOTHING_NUMBERED } from "../../../src/policy/identity-allocation.ts";
import {
  address,
  block,
  cluster,
  clusterPolicy,
  clusterRule,
  domainRule,
  namespace,
  pod,
  pods,
  policy,
  ports,
} from "../../support/model.ts";

const web = pod("shop/web", ["10.0.0.1"], { labels: { app: "web" } });
const db = pod("shop/db", ["10.0.0.2"], { labels: { app: "db" } });
const world = cluster({
  namespaces: [namespace("shop")],
  pods: [web, db],
  policies: [
    policy("shop/db", { subject: { requirements: [{ operator: "In", key: "app", values: ["db"] }] } }),
  ],
  clusterPolicies: [
    clusterPolicy("first", {
      priority: 3,
      ingress: [clusterRule("Pass", [pods({ app: "web" })]), clusterRule("Deny", [block("192.0.2.0/24")])],
      egress: [
        { ...clusterRule("Accept", [block("198.51.100.0/24")], ports("TCP/443")), name: "partner" },
        { ...clusterRule("Deny", [block("198.51.100.0/24")]), name: "others" },
      ],
    }),
    clusterPolicy("base", { tier: "Baseline", priority: 7, ingress: [clusterRule("Deny", [pods({})])] }),
  ],
});
const NAMES = clusterPolicy("names", {
  priority: 1,
  egress: [domainRule(["www.example.com"], ports("TCP/443")), clusterRule("Deny", [block("0.0.0.0/0")])],
});
const locals = [web, db].map((each, index) => ({ pod: each, ifindex: 10 + index }));
const state: NamingState = {
  compiled: compile(world, locals, NOTHING_NUMBERED),
  interfaces: new Map([
    [10, { name: "veth-web" }],
    [11, { name: "veth-db" }],
  ]),
};

function eventOf(
  ifindex: number,
  direction: Direction,
  [from, to]: [string, string],
  more: Partial<Event>,
  namer = namerOf(state),
) {
  const end = (text: string) => ({ high: 0n, low: address(text).value << 32n });
  const event: Event = {
    ...{
      time: 0n,
      ifindex,
      endpoint: 1,
      generation: 1,
      identity: 0,
      bytes: 60,
      direction,
      opener: direction,
    },
    ...{ source: end(from), destination: end(to), sourcePort: 40_000, destinationPort: 443 },
    ...{ reason: Reason.DENIED, protocol: IP_PROTOCOL.TCP, family: 1, icmpType: 0, icmpCode: 0, opens: 0 },
    ...more,
  };
  return namer(event, new Date(0));
}

describe("an event names the rule", () => {
  it("that denies, with its policy, tier, priority and name", () => {
    const { decidedBy, policies, text } = eventOf(10, Direction.EGRESS, ["10.0.0.1", "198.51.100.7"], {
      destinationPort: 80,
    });
    expect(decidedBy).toMatchObject({
      ...{ policy: "first", tier: "Admin", priority: 3, action: "Deny", rule: "egress[1]", name: "others" },
    });
    expect(policies).toEqual([]);
    expect(text).toBe(
      'egress of shop/web: TCP/80 to 198.51.100.7 is denied by first (Admin, priority 3) egress[1] "others"',
    );
  });

  it("that accepts", () => {
    expect(eventOf(10, Direction.EGRESS, ["10.0.0.1", "198.51.100.7"], { reason: Reason.POLICY }).text).toBe(
      'egress of shop/web: TCP/443 to 198.51.100.7 is accepted by first (Admin, priority 3) egress[0] "partner"',
    );
  });

  it("of an answer, by the connection that it belongs to", () => {
    const { decidedBy } = eventOf(10, Direction.INGRESS, ["198.51.100.7", "10.0.0.1"], {
      ...{ opener: Direction.EGRESS, sourcePort: 80, destinationPort: 40_000, reason: Reason.REVOKED },
    });
    expect(decidedBy?.rule).toBe("egress[1]");
  });

  it("of the Baseline tier only where no NetworkPolicy isolates the pod", () => {
    const onWeb = eventOf(10, Direction.INGRESS, ["10.0.0.2", "10.0.0.1"], {});
    expect(onWeb.text).toBe(
      "ingress of shop/web: TCP/443 from shop/db is denied by base (Baseline, priority 7) ingress[0]",
    );
    // A Pass leaves it to the NetworkPolicy.
    const onDb = eventOf(11, Direction.INGRESS, ["10.0.0.1", "10.0.0.2"], {});
    expect(onDb.decidedBy).toBeUndefined();
    expect(onDb.text).toBe("ingress of shop/db is isolated by shop/db, nothing allows TCP/443 from shop/web");
  });

  it.each([
    [Reason.POLICY, "is accepted by names (Admin, priority 1) egress[0]"],
    [Reason.ESTABLISHED, undefined],
    [Reason.DENIED, "is denied by names (Admin, priority 1) egress[1]"],
    [Reason.REVOKED, "is denied by names (Admin, priority 1) egress[1]"],
    [Reason.AUDIT, "is denied by names (Admin, priority 1) egress[1] (audit)"],
  ])("by a name that is known only where it has let pass: reason %i", (reason, text) => {
    const named = { ...world, clusterPolicies: new Map([[NAMES.name, NAMES]]) };
    const namer = namerOf(
      { ...state, compiled: compile(named, locals, NOTHING_NUMBERED) },
      // As it is after it has expired, too.
      ({ domains }) => domains,
    );
    const { decidedBy, ...event } = eventOf(
      10,
      Direction.EGRESS,
      ["10.0.0.1", "203.0.113.7"],
      { reason },
      namer,
    );
    if (text === undefined) expect(decidedBy).toBeUndefined();
    else expect(event.text).toContain(text);
  });
});
