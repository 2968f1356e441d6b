// Lint rules over small clusters: extra dashes, rules that open everything, redundant elements and missing objects.

import { describe, expect, it } from "vitest";
import type { Cluster, Pod } from "../../../../src/model/cluster.ts";
import type { Rule } from "../../../../src/model/network-policy.ts";
import type { WarningCode } from "../../../../src/model/problem.ts";
import { EVERYTHING } from "../../../../src/model/selector.ts";
import { lint, told } from "../../../support/lint.ts";
import {
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
  selector,
} from "../../../support/model.ts";

const DNS = ports("UDP/53", "TCP/53");
const WEB = pod("shop/web", ["10.0.0.1"], { labels: { app: "web" } });
const DB = pod("shop/db", ["10.0.0.2"], { labels: { app: "db" } });

describe("one dash too many", () => {
  const prod = selector({ env: "prod" });
  const namespaces = [namespace("shop"), namespace("prod", { env: "prod" })];
  const inProd = pod("prod/client", [], { labels: { app: "client" } });
  const inShop = pod("shop/client", [], { labels: { app: "client" } });
  const otherInProd = pod("prod/job", [], { labels: { app: "job" } });
  const NS = pods({}, prod);
  const POD = pods({ app: "client" });
  const BOTH = pods({ app: "client" }, prod);
  const found = (peers: Rule["peers"], given: readonly Pod[] = []) =>
    told(
      {
        cluster: cluster({
          namespaces,
          pods: given,
          policies: [policy("shop/web", { ingress: [{ peers, ports: "all" }] })],
        }),
      },
      "and-or",
    );
  const second = (index: number) => [`web and-or spec.ingress.0.from.${index}`];

  it.each<[string, Rule["peers"], readonly Pod[], readonly string[]]>([
    ["a pair alone", [NS, POD], [], second(1)],
    ["two pairs", [NS, POD, NS, POD], [], [...second(1), ...second(3)]],
    ["one element with both", [BOTH], [], []],
    ["a pair beside one with both: the author uses the other form", [NS, POD, BOTH], [], []],
    ["a pair beside a block", [block("10.0.0.0/8"), NS, POD], [], []],
    ["the other way round", [POD, NS], [], []],
    ["all pods of the own namespace", [NS, pods({})], [], []],
    ["two namespaces", [NS, NS], [], []],
    ["pods of both, where both are given", [NS, POD], [inProd, inShop, WEB], second(1)],
    ["pods only there: they were meant", [block("10.0.0.0/8"), NS, POD], [inProd, WEB], second(2)],
    ["pods only there, the other way round", [POD, NS], [inProd, WEB], second(1)],
    ["pods only here: either was meant", [NS, POD], [otherInProd, inShop], []],
    ["pods only there, where nothing is known of here", [block("10.0.0.0/8"), NS, POD], [inProd], []],
    ["pods only here, where nothing is known of there", [NS, POD], [inShop], second(1)],
  ])("%s", (_, peers, given, expected) => expect(found(peers, given)).toEqual(expected));

  it("a pair in one rule and both in another: the author can write it the other way", () => {
    const rules: readonly Rule[] = [
      { peers: [NS, POD], ports: ports("TCP/80") },
      { peers: [BOTH], ports: ports("TCP/81") },
    ];
    const given = cluster({ namespaces, policies: [policy("shop/web", { ingress: rules })] });
    expect(told({ cluster: given }, "and-or")).toEqual([]);
  });

  const world: Cluster = cluster({
    namespaces,
    pods: [inProd, WEB],
    policies: [policy("shop/web", { ingress: [{ peers: [NS, POD], ports: "all" }] })],
  });

  it("is reported in place of no-pod-matched, unless it is silenced", () => {
    expect(told({ cluster: world }, "and-or", "no-pod-matched")).toEqual(second(1));
    expect(told({ cluster: world, ignored: "and-or" }, "and-or", "no-pod-matched")).toEqual([
      "web no-pod-matched spec.ingress.0.from.1.podSelector",
    ]);
  });

  const FROM: Rule = { peers: [POD], ports: "all" };
  const PORTS: Rule = { peers: "anyone", ports: ports("TCP/8080") };
  it.each<[string, "ingress" | "egress", readonly Rule[], readonly string[]]>([
    ["peers, then ports", "ingress", [FROM, PORTS], ["web rule-split spec.ingress.1"]],
    ["ports, then peers", "egress", [PORTS, FROM], ["web rule-split spec.egress.0"]],
    ["ports alone", "ingress", [PORTS], []],
    ["ports beside a whole rule", "ingress", [{ peers: [POD], ports: ports("TCP/1") }, PORTS], []],
    ["ports apart from the peers", "ingress", [FROM, { peers: [POD], ports: ports("TCP/1") }, PORTS], []],
    [
      "ports of DNS servers",
      "ingress",
      [FROM, { peers: "anyone", ports: DNS }],
      ["web rule-split spec.ingress.1"],
    ],
    ["ports of DNS", "egress", [FROM, { peers: "anyone", ports: DNS }], []],
    [
      "ports of DNS and others",
      "egress",
      [FROM, { peers: "anyone", ports: ports("UDP/53", "TCP/80") }],
      ["web rule-split spec.egress.1"],
    ],
    [
      "ports that are all",
      "ingress",
      [FROM, { peers: "anyone", ports: ports("TCP", "UDP") }],
      ["web opens-all spec.ingress.1"],
    ],
  ])("rules: %s", (_, direction, rules, expected) => {
    const of = policy("shop/web", { isolates: { ingress: true, egress: true }, [direction]: rules });
    expect(told({ cluster: cluster({ policies: [of] }) }, "rule-split", "opens-all")).toEqual(expected);
  });
});

describe("everything", () => {
  const found = (peers: Rule["peers"], given: Rule["ports"] = "all") =>
    lint({ cluster: cluster({ policies: [policy("shop/web", { ingress: [{ peers, ports: given }] })] }) })
      .filter(({ code }) => code === "opens-all")
      .map(({ reason }) => reason.replace("allows traffic from ", ""));

  it.each<[string, Rule["peers"], Rule["ports"], string | undefined]>([
    ["no peers, no ports", "anyone", "all", "everyone on every port, so the policy restricts no ingress"],
    ["all ports of both protocols", "anyone", ports("TCP/1-65535", "UDP"), "everyone on every port"],
    ["both families", [block("0.0.0.0/0"), block("::/0")], "all", "every address on every port"],
    ["one family", [pods({ app: "x" }), block("::/0")], "all", "every IPv6 address on every port"],
    [
      "one family in parts",
      [block("0.0.0.0/1"), block("128.0.0.0/2"), block("192.0.0.0/2")],
      "all",
      "every IPv4 address on every port",
    ],
    ["all ports of one protocol", "anyone", ports("TCP"), undefined],
    ["all but one port", "anyone", ports("TCP/1-79", "TCP/81-65535", "UDP"), undefined],
    ["all but an exception", [block("0.0.0.0/0", "10.0.0.0/8")], "all", undefined],
    ["parts that leave some", [block("0.0.0.0/1"), block("128.0.0.0/2")], "all", undefined],
    ["all pods", [{ kind: "pods", namespaces: EVERYTHING, pods: EVERYTHING }], "all", undefined],
  ])("%s", (_, peers, given, expected) => {
    expect(found(peers, given)).toEqual(expected === undefined ? [] : [expected]);
  });
});

describe("elements", () => {
  const found = (rule: Rule, given: readonly Pod[] = [], ...codes: readonly WarningCode[]) =>
    told(
      { cluster: cluster({ pods: given, policies: [policy("shop/web", { ingress: [rule] })] }) },
      ...codes,
    );

  it("that are equal are reported once, the later one", () => {
    const rule: Rule = { peers: [pods({ app: "a" }), pods({ app: "a" })], ports: "all" };
    expect(found(rule, [], "peer-redundant")).toEqual(["web peer-redundant spec.ingress.0.from.1"]);
    const twice = policy("shop/web", { ingress: [rule, rule] });
    const again = { ...twice, name: "again" };
    const all = told(
      { cluster: cluster({ policies: [twice, again] }) },
      "rule-redundant",
      "policy-redundant",
    );
    expect(all).toEqual([
      "web rule-redundant spec.ingress.1",
      "again rule-redundant spec.ingress.1",
      "again policy-redundant spec",
    ]);
  });

  it("of a direction that is not isolated are reported as such only", () => {
    const isolates = { ingress: true, egress: false };
    const unused = policy("shop/web", { isolates, egress: [{ peers: "anyone", ports: "all" }] });
    expect(lint({ cluster: cluster({ policies: [unused] }) }).map(({ code }) => code)).toEqual([
      "rules-unused",
    ]);
  });

  it.each<[string, string, readonly string[]]>([
    ["a pod's address", "10.0.0.2/32", ["web block-of-pod spec.ingress.0.from.0.ipBlock.cidr"]],
    ["a prefix that begins with it", "10.0.0.2/31", []],
    ["another address", "10.0.0.3/32", []],
  ])("blocks: %s", (_, cidr, expected) => {
    expect(found({ peers: [block(cidr)], ports: "all" }, [WEB, DB], "block-of-pod")).toEqual(expected);
  });

  const named = pod("shop/web", [], { ports: [{ name: "http", port: 80, protocol: "TCP" }] });
  it.each<[string, string, readonly Pod[], string | undefined]>([
    ["declared", "TCP/http", [named], undefined],
    ["declared for another protocol", "UDP/http", [named], "write protocol: TCP"],
    ["not declared", "TCP/htpp", [named], "write http, or the port's number"],
    ["not declared, nor any other", "TCP/http", [DB], "write the port's number"],
    ["of no pod that is given", "TCP/http", [pod("other/web", [])], undefined],
  ])("port names: %s", (_, text, given, fix) => {
    const rule: Rule = { peers: "anyone", ports: ports(text) };
    const world = cluster({ pods: given, policies: [policy("shop/web", { ingress: [rule] })] });
    const fixes = lint({ cluster: world })
      .filter(({ code }) => code === "port-name-unknown")
      .map((each) => each.fix);
    expect(fixes).toEqual(fix === undefined ? [] : [fix]);
  });
});

describe("missing objects", () => {
  const rule = (peers: Rule["peers"]): Rule => ({ peers, ports: "all" });
  const codes = (given: Parameters<typeof cluster>[0], peers: Rule["peers"]) =>
    lint({ cluster: cluster({ ...given, policies: [policy("shop/web", { ingress: [rule(peers)] })] }) }).map(
      ({ code }) => code,
    );
  const labelled = pods({}, selector({ team: "data" }));
  const called = pods({ app: "x" }, selector({ "kubernetes.io/metadata.name": "data" }));

  it.each<[string, Parameters<typeof cluster>[0], Rule["peers"], readonly WarningCode[]]>([
    ["is not missed: namespaces", { pods: [WEB] }, [labelled], []],
    [
      "is missed where there are some: namespaces",
      { pods: [WEB], namespaces: [namespace("shop")] },
      [labelled],
      ["no-namespace-matched"],
    ],
    ["is not missed: pods", { namespaces: [namespace("data")] }, [called], []],
    [
      "is missed where there are some: pods",
      { pods: [WEB], namespaces: [namespace("data")] },
      [called],
      ["no-pod-matched"],
    ],
    [
      "is not missed: pods of a usual namespace",
      { pods: [WEB] },
      [pods({ app: "x" }, selector({ "kubernetes.io/metadata.name": "kube-system" }))],
      [],
    ],
    [
      "is reported once: pods of the policy's own namespace",
      { pods: [pod("data/x", [], { labels: { app: "y" } })], namespaces: [namespace("shop")] },
      [pods({ app: "x" })],
      ["no-pod-selected"],
    ],
    ["may be described only: pods of workloads", {}, [pods({ app: "x" })], []],
  ])("%s", (_, given, peers, expected) => expect(codes(given, peers)).toEqual(expected));

  it("is checked against the pods of workloads too", () => {
    const world = cluster({ policies: [policy("shop/web", { subject: selector({ app: "wbe" }) })] });
    expect(told({ cluster: world, templates: [WEB] }, "no-pod-selected")).toEqual([
      "web no-pod-selected spec.podSelector",
    ]);
  });
});

describe("a rule by domain names is never reached", () => {
  const names = domainRule(["www.example.com"]);
  const everywhere = [block("0.0.0.0/0"), block("::/0")];
  it.each([
    { after: "a Deny of all addresses", rules: [clusterRule("Deny", everywhere)], is: true },
    { after: "a Deny of those of one family", rules: [clusterRule("Deny", [block("0.0.0.0/0")])], is: false },
    {
      after: "a Deny of all addresses at another port",
      rules: [clusterRule("Deny", everywhere, ports("UDP/53"))],
      is: false,
    },
    { after: "a wildcard that has its names", rules: [domainRule(["*.example.com"])], is: true },
    { after: "other names", rules: [domainRule(["*.www.example.com"])], is: false },
  ])("after $after: $is", ({ rules, is }) => {
    const found = lint({
      cluster: {
        ...cluster({ namespaces: [namespace("shop")], pods: [WEB] }),
        clusterPolicies: new Map([["names", clusterPolicy("names", { egress: [...rules, names] })]]),
      },
    });
    expect(found.some(({ code }) => code === "tier-rule-shadowed")).toBe(is);
  });
});
