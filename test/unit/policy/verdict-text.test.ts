// Verdicts as sentences.
import { describe, expect, it } from "vitest";
import { evaluate } from "../../../src/policy/oracle.ts";
import { verdictText } from "../../../src/policy/verdict-text.ts";
import * as m from "../../support/model.ts";

const nginx = m.pod("alpha/nginx-1", ["10.0.0.1"], { labels: { run: "nginx" } });
const client = m.pod("beta/client", ["10.0.1.1"]);
const host = m.pod("beta/host", ["192.168.0.1"], { hostNetwork: true });
const finished = m.pod("beta/finished", ["10.0.1.2"], { finished: true });

const text = (
  policies: Parameters<typeof m.cluster>[0]["policies"],
  from = m.party(client),
  to = m.party(nginx),
) => verdictText(evaluate(m.cluster({ policies: policies ?? [] }), { from, to, protocol: "TCP", port: 80 }));

const deny = m.policy("alpha/alpha-deny");
const out = m.policy("beta/out", { isolates: { ingress: false, egress: true } });
const broken = m.policy("alpha/broken", { unreadable: "spec.ingress: must be a list" });
const allow = m.policy("alpha/web", {
  ingress: [{ peers: "anyone", ports: m.ports("TCP/80") }],
});
const detailed = m.policy("alpha/detailed", {
  ingress: [
    { peers: [], ports: "all" },
    { peers: [m.block("192.0.2.0/24"), m.block("10.0.1.0/24")], ports: m.ports("UDP", "TCP") },
  ],
});

describe("a verdict", () => {
  it.each([
    [
      text([deny]),
      "denied: ingress of alpha/nginx-1 is isolated by alpha/alpha-deny, nothing allows TCP/80 from beta/client",
    ],
    [
      text([out, allow]),
      "denied: egress of beta/client is isolated by beta/out, nothing allows TCP/80 to alpha/nginx-1",
    ],
    [
      text([out, deny, broken]),
      "denied: egress of beta/client is isolated by beta/out, nothing allows TCP/80 to alpha/nginx-1; " +
        "ingress of alpha/nginx-1 is isolated by alpha/alpha-deny, alpha/broken (which cannot be read: " +
        "spec.ingress: must be a list), nothing allows TCP/80 from beta/client",
    ],
    [text([]), "allowed: egress of beta/client is not isolated; ingress of alpha/nginx-1 is not isolated"],
    [
      text([deny, allow, detailed]),
      "allowed: egress of beta/client is not isolated; ingress of alpha/nginx-1: TCP/80 from beta/client is " +
        "allowed by alpha/web ingress[0].ports[0], alpha/detailed ingress[1].from[1].ports[1]",
    ],
    [text([deny], m.party(nginx)), "allowed: alpha/nginx-1 always reaches itself"],
    [
      text([deny], m.outside("192.0.2.1")),
      "denied: ingress of alpha/nginx-1 is isolated by alpha/alpha-deny, nothing allows TCP/80 from 192.0.2.1",
    ],
    [
      text([deny], m.outside("192.0.2.1"), m.party(host)),
      "allowed: egress of 192.0.2.1 is not subject to policies; " +
        "ingress of beta/host is not subject to policies (a host-network pod)",
    ],
    [
      text([deny], m.party(client), m.party(finished)),
      "allowed: egress of beta/client is not isolated; " +
        "ingress of beta/finished is not subject to policies (a finished pod)",
    ],
  ])("%#", (actual, expected) => {
    expect(actual).toBe(expected);
  });

  it("names a protocol without ports", () => {
    const asked = { from: m.party(client), to: m.party(nginx), protocol: "ICMP", port: 0 } as const;
    expect(verdictText(evaluate(m.cluster({ policies: [deny] }), asked))).toBe(
      "denied: ingress of alpha/nginx-1 is isolated by alpha/alpha-deny, nothing allows ICMP from beta/client",
    );
  });
});
