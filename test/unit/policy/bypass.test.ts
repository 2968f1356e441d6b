// An emergency bypass by the oracle and by the compiled plan: all of a pod's policies are audited, in both directions, and no
// other pod's are.

import { expect, it } from "vitest";
import { compile } from "../../../src/policy/compile.ts";
import { NOTHING_NUMBERED } from "../../../src/policy/identity-allocation.ts";
import { sideVerdict } from "../../../src/policy/oracle.ts";
import { isAudited } from "../../../src/state/desired-state.ts";
import { cluster, party, pod, policy, selector } from "../../support/model.ts";

const WEB = pod("shop/web", ["10.0.0.1"], { labels: { app: "web" } });
const OTHER = pod("shop/other", ["10.0.0.2"], { labels: { app: "web" } });
const CLIENT = pod("shop/client", ["10.0.0.3"]);

const CLOSED = cluster({
  pods: [WEB, OTHER, CLIENT],
  policies: [policy("shop/deny", { subject: selector({ app: "web" }), ingress: [], egress: [] })],
});
const BYPASSED = { ...CLOSED, bypassed: new Map([["shop/web", "2025-06-01T12:00:00.000Z"]]) };
const LOCALS = [
  { pod: WEB, ifindex: 1 },
  { pod: OTHER, ifindex: 2 },
  { pod: CLIENT, ifindex: 3 },
];

const ingressOf = (world: typeof CLOSED, to: typeof WEB) =>
  sideVerdict(world, { from: party(CLIENT), to: party(to), protocol: "TCP", port: 80 }, "ingress").kind;

it("is audit mode of the pod alone", () => {
  expect([ingressOf(CLOSED, WEB), ingressOf(CLOSED, OTHER)]).toEqual(["denied", "denied"]);
  expect([ingressOf(BYPASSED, WEB), ingressOf(BYPASSED, OTHER)]).toEqual(["audit", "denied"]);
});

it("is compiled so, in both directions, though the pods share their policies", () => {
  const { endpoints } = compile(BYPASSED, LOCALS, NOTHING_NUMBERED).state;
  const audited = (ifindex: number) => {
    const { ingress = 0, egress = 0 } = endpoints.get(ifindex)?.policy ?? {};
    return [isAudited(ingress), isAudited(egress)];
  };
  expect([audited(1), audited(2), audited(3)]).toEqual([
    [true, true],
    [false, false],
    [false, false],
  ]);
});

it("opens what is closed without a policy", () => {
  const retained = {
    isolated: { ingress: true, egress: true },
    sealed: true,
    since: "then",
    why: "gone",
  } as const;
  const gone = { ...WEB, retained };
  const probe = { from: party(CLIENT), to: party(gone), protocol: "TCP", port: 80 } as const;
  expect(sideVerdict(CLOSED, probe, "ingress").kind).toBe("denied");
  expect(sideVerdict(BYPASSED, probe, "ingress").kind).toBe("audit");
});
