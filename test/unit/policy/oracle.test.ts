// The oracle: what the table of cases cannot express (reasons, finished pods, unreadable policies, odd labels and ports).
import { describe, expect, it } from "vitest";
import { NAMESPACE_NAME_LABEL, type Pod } from "../../../src/model/cluster.ts";
import { evaluate, type Party, type Probe, sideVerdict } from "../../../src/policy/oracle.ts";
import * as m from "../../support/model.ts";

const server = m.pod("shop/server", ["10.0.0.1", "fd00::1"], {
  labels: { app: "server" },
  ports: [{ name: "http", port: 8080, protocol: "TCP" }],
});
const client = m.pod("shop/client", ["10.0.0.2", "fd00::2"], { labels: { app: "client" } });
const guest = m.pod("guest/client", ["10.0.1.2"], { labels: { app: "client" } });
const world = m.outside("192.0.2.1");

const probe = (from: Pod | Party, to: Pod | Party, traffic: Partial<Probe> = {}): Probe => ({
  from: "kind" in from ? from : m.party(from),
  to: "kind" in to ? to : m.party(to),
  protocol: "TCP",
  port: 80,
  ...traffic,
});

describe("the verdict of one end", () => {
  const deny = m.policy("shop/deny", { egress: [] });
  const host = m.pod("shop/host", ["192.168.0.1"], { hostNetwork: true });
  const finished = m.pod("shop/finished", ["10.0.0.9"], { finished: true });

  it.each([
    ["an address", probe(world, client), "egress"],
    ["an address", probe(client, world), "ingress"],
    ["a host-network pod", probe(client, host), "ingress"],
    ["a host-network pod", probe(host, client), "egress"],
    ["a finished pod", probe(client, finished), "ingress"],
    ["a finished pod", probe(finished, client), "egress"],
  ] as const)("does not apply to %s (%#)", (_name, asked, direction) => {
    const cluster = m.cluster({ pods: [host, finished, client], policies: [deny] });
    expect(sideVerdict(cluster, asked, direction)).toEqual({ kind: "not-applicable" });
  });

  it("is loopback for a pod and itself, in both directions and families", () => {
    const cluster = m.cluster({ pods: [server], policies: [deny] });
    for (const family of [4, 6] as const) {
      const verdict = evaluate(cluster, probe(m.party(server, family), m.party(server, family)));
      expect(verdict).toMatchObject({
        allowed: true,
        egress: { kind: "loopback" },
        ingress: { kind: "loopback" },
      });
    }
  });

  it("is not isolated if no policy selects the pod, or none in that direction, or none of its namespace", () => {
    const policies = [
      m.policy("shop/other", { subject: m.selector({ app: "other" }) }),
      m.policy("shop/out", { isolates: { ingress: false, egress: true }, ingress: [] }),
      m.policy("guest/deny"),
    ];
    const cluster = m.cluster({ policies });
    expect(sideVerdict(cluster, probe(client, server), "ingress")).toEqual({ kind: "not-isolated" });
    expect(sideVerdict(cluster, probe(client, server), "egress")).toMatchObject({ kind: "denied" });
  });

  it("has every allowance, by policy, rule, peer and port", () => {
    const policies = [
      m.policy("shop/a", {
        ingress: [
          { peers: [m.pods({ app: "other" })], ports: "all" },
          {
            peers: [m.block("10.0.0.0/8", "10.0.0.0/24"), m.pods({ app: "client" }), m.block("10.0.0.2/32")],
            ports: m.ports("UDP", "TCP/80", "TCP/1-100"),
          },
        ],
      }),
      m.policy("shop/b", { ingress: [{ peers: "anyone", ports: "all" }] }),
      m.policy("shop/c"),
    ];
    expect(sideVerdict(m.cluster({ policies }), probe(client, server), "ingress")).toEqual({
      kind: "allowed",
      by: [
        { policy: "shop/a", rule: 1, peer: 1, port: 1 },
        { policy: "shop/a", rule: 1, peer: 1, port: 2 },
        { policy: "shop/a", rule: 1, peer: 2, port: 1 },
        { policy: "shop/a", rule: 1, peer: 2, port: 2 },
        { policy: "shop/b", rule: 0, peer: undefined, port: undefined },
      ],
    });
  });

  it("is denied by every policy that isolates, and by what cannot be read", () => {
    const unreadable = m.policy("shop/broken", {
      unreadable: "spec.ingress: must be a list, not a string",
      ingress: [{ peers: "anyone", ports: "all" }],
    });
    const policies = [m.policy("shop/deny"), unreadable, m.policy("guest/deny")];
    const verdict = evaluate(m.cluster({ policies }), probe(client, server));
    expect(verdict.allowed).toBe(false);
    expect(verdict.ingress).toEqual({
      kind: "denied",
      isolatedBy: [
        { policy: "shop/deny", unreadable: undefined },
        { policy: "shop/broken", unreadable: "spec.ingress: must be a list, not a string" },
      ],
    });
  });

  it("needs addresses of one family", () => {
    const mixed = probe(m.party(client, 4), m.party(server, 6));
    expect(() => evaluate(m.cluster({}), mixed)).toThrow("one family");
  });
});

describe("peers", () => {
  const allows = (peer: ReturnType<typeof m.pods>, from: Pod | Party, namespaces = [m.namespace("shop")]) => {
    const policies = [m.policy("shop/p", { ingress: [{ peers: [peer], ports: "all" }] })];
    return evaluate(m.cluster({ namespaces, policies }), probe(from, server)).allowed;
  };
  const everywhere = m.selector({});

  it.each([
    ["own namespace", m.pods({ app: "client" }), client, true],
    ["another namespace", m.pods({ app: "client" }), guest, false],
    ["another namespace that a selector selects", m.pods({ app: "client" }, everywhere), guest, true],
    ["every pod everywhere, and an address outside", m.pods({}, everywhere), world, false],
    [
      "the name of a namespace that is not declared",
      m.pods({}, m.selector({ [NAMESPACE_NAME_LABEL]: "guest" })),
      guest,
      true,
    ],
    ["labels of a namespace that is not declared", m.pods({}, m.selector({ team: "x" })), guest, false],
    ["an absent label of a namespace that is not declared", m.pods({}, absent("team")), guest, true],
    ["a block that covers a pod", m.block("10.0.1.0/24"), guest, true],
    ["a block that excepts a pod", m.block("10.0.0.0/16", "10.0.1.0/24"), guest, false],
    ["a block of the other family", m.block("::/0"), guest, false],
  ] as const)("%s", (_name, peer, from, allowed) => {
    expect(allows(peer, from)).toBe(allowed);
  });

  it.each(["hostNetwork", "finished"] as const)("a pod that is %s: by its address alone", (state) => {
    const odd = m.pod("shop/odd", ["10.0.0.7"], { labels: { app: "client" }, [state]: true });
    expect(allows(m.pods({ app: "client" }), odd)).toBe(false);
    expect(allows(m.pods({}, everywhere), odd)).toBe(false);
    expect(allows(m.block("10.0.0.7/32"), odd)).toBe(true);
  });

  it("the address of a finished pod counts for the pod that has it now", () => {
    const finished = m.pod("shop/old", ["10.0.0.7"], { labels: { app: "client" }, finished: true });
    const next = m.pod("shop/next", ["10.0.0.7"], { labels: { app: "other" } });
    expect(allows(m.pods({ app: "other" }), next)).toBe(true);
    expect(allows(m.pods({ app: "client" }), next)).toBe(false);
    expect(allows(m.pods({ app: "client" }), finished)).toBe(false);
  });

  it.each(["__proto__", "constructor", "toString"])("a label called %s is a label like any other", (key) => {
    const labels = new Map([[key, "x"]]);
    const peer = { kind: "pods", namespaces: undefined, pods: { requirements: [exists(key)] } } as const;
    expect(allows(peer, client)).toBe(false);
    expect(allows(peer, { ...client, labels })).toBe(true);
  });
});

describe("ports", () => {
  const allows = (port: string, traffic: Partial<Probe>, to: Pod | Party = server) => {
    const rule = { peers: "anyone", ports: m.ports(port) } as const;
    const policies = [m.policy("shop/p", { ingress: [rule], egress: [rule] })];
    return sideVerdict(m.cluster({ policies }), probe(client, to, traffic), "egress").kind === "allowed";
  };
  const twice = m.pod("guest/twice", ["10.0.1.3"], {
    ports: [
      { name: "http", port: 80, protocol: "TCP" },
      { name: "http", port: 81, protocol: "TCP" },
      { name: "http", port: 82, protocol: "UDP" },
    ],
  });
  const onHost = m.pod("shop/host", ["192.168.0.1"], { ports: twice.ports, hostNetwork: true });

  it.each([
    ["TCP", { port: 0 }, server, true],
    ["TCP", { port: 65_535 }, server, true],
    ["TCP", { protocol: "UDP" }, server, false],
    ["TCP", { protocol: "ICMP", port: 0 }, server, false],
    ["TCP/80-90", { port: 79 }, server, false],
    ["TCP/80-90", { port: 80 }, server, true],
    ["TCP/80-90", { port: 90 }, server, true],
    ["TCP/80-90", { port: 91 }, server, false],
    ["TCP/http", { port: 8080 }, server, true],
    ["TCP/http", { port: 80 }, server, false],
    ["UDP/http", { protocol: "UDP", port: 8080 }, server, false],
    ["TCP/http", { port: 8080 }, world, false],
    ["TCP/http", { port: 80 }, twice, true],
    ["TCP/http", { port: 81 }, twice, true],
    ["TCP/http", { port: 82 }, twice, false],
    ["UDP/http", { protocol: "UDP", port: 82 }, twice, true],
    ["TCP/http", { port: 80 }, onHost, false],
    ["TCP/other", { port: 80 }, twice, false],
  ] as const)("%s for %o (%#)", (port, traffic, to, allowed) => {
    expect(allows(port, traffic, to)).toBe(allowed);
  });
});

function exists(key: string) {
  return { operator: "Exists", key } as const;
}

function absent(key: string) {
  return { requirements: [{ operator: "DoesNotExist", key }] } as const;
}
