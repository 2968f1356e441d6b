// Lint rules about DNS: which rules reach it, which policies count together, and which one is reported.

import { describe, expect, it } from "vitest";
import type { Policy, Rule } from "../../../../src/model/network-policy.ts";
import { EVERYTHING, type Selector } from "../../../../src/model/selector.ts";
import { lint, told } from "../../../support/lint.ts";
import {
  block,
  cluster,
  clusterPolicy,
  clusterRule,
  pod,
  pods,
  policy,
  ports,
  selector,
} from "../../../support/model.ts";

const OUT = { ingress: false, egress: true };
const egress = (name: string, app: string | undefined, ...rules: readonly Rule[]): Policy =>
  policy(`shop/${name}`, {
    subject: app === undefined ? EVERYTHING : selector({ app }),
    isolates: OUT,
    egress: rules,
  });

const DNS = ports("UDP/53", "TCP/53");
const KUBE_DNS = pods({ "k8s-app": "kube-dns" }, selector({ "kubernetes.io/metadata.name": "kube-system" }));
const WEB = pod("shop/web", ["10.0.0.1"], { labels: { app: "web" } });
const DB = pod("shop/db", ["10.0.0.2"], { labels: { app: "db" } });
const toDb: Rule = { peers: [pods({ app: "db" })], ports: "all" };

describe("DNS", () => {
  const reach = (rule: Rule) =>
    told(
      { cluster: cluster({ pods: [WEB], policies: [egress("web", "web", rule)] }) },
      "dns-missing",
      "dns-udp-only",
    );

  it.each<[string, Rule]>([
    ["port 53 of everyone", { peers: "anyone", ports: DNS }],
    ["port 53 of whatever peers: who names it means it", { peers: [pods({ app: "dnsmasq" })], ports: DNS }],
    ["port 5353, where OpenShift's DNS listens", { peers: [KUBE_DNS], ports: ports("UDP/5353", "TCP/5353") }],
    ["named ports of DNS", { peers: [KUBE_DNS], ports: ports("UDP/dns", "TCP/dns-tcp") }],
    ["all ports of the cluster's DNS", { peers: [KUBE_DNS], ports: "all" }],
    [
      "all ports of all namespaces",
      { peers: [{ kind: "pods", namespaces: EVERYTHING, pods: EVERYTHING }], ports: "all" },
    ],
    [
      "all ports of a namespace labelled with its name",
      { peers: [pods({}, selector({ name: "kube-system" }))], ports: "all" },
    ],
    ["all ports of a block", { peers: [block("10.96.0.0/12")], ports: "all" }],
    ["a wide range of a block", { peers: [block("10.96.0.0/12")], ports: ports("UDP/1-65535", "TCP") }],
    ["everything", { peers: "anyone", ports: "all" }],
  ])("is reached through %s", (_, rule) => expect(reach(rule)).toEqual([]));

  it.each<[string, Rule]>([
    ["other ports", { peers: "anyone", ports: ports("UDP/54", "TCP/443") }],
    ["all ports of pods that are not DNS", toDb],
    [
      "all ports of DNS in a namespace where it is not",
      { peers: [pods({ "k8s-app": "kube-dns" })], ports: "all" },
    ],
    ["all ports of another namespace", { peers: [pods({}, selector({ team: "data" }))], ports: "all" }],
    ["a wide range of pods that are not DNS", { peers: [pods({ app: "db" })], ports: ports("UDP", "TCP") }],
    ["TCP alone", { peers: "anyone", ports: ports("TCP/53") }],
  ])("is not reached through %s", (_, rule) => expect(reach(rule)).toEqual(["web dns-missing spec.egress"]));

  it("is reached halfway through UDP alone", () => {
    expect(reach({ peers: "anyone", ports: ports("UDP/53") })).toEqual(["web dns-udp-only spec.egress"]);
  });

  it("is looked for among the given pods", () => {
    const resolver = pod("infra/resolver", ["10.0.9.1"], {
      labels: { app: "resolver" },
      ports: [{ port: 53, protocol: "UDP" }],
    });
    const web = egress("web", "web", { peers: [pods({ app: "resolver" }, EVERYTHING)], ports: "all" });
    expect(told({ cluster: cluster({ pods: [WEB, resolver], policies: [web] }) }, "dns-missing")).toEqual([]);
    expect(told({ cluster: cluster({ pods: [WEB], policies: [web] }) }, "dns-missing")).toHaveLength(1);
  });

  const accepting = (subject: Selector) =>
    clusterPolicy("dns", {
      subject: { namespaces: EVERYTHING, pods: subject },
      egress: [clusterRule("Accept", [KUBE_DNS], DNS)],
    });
  it.each([
    ["the pods", accepting(EVERYTHING), []],
    ["these pods", accepting(selector({ app: "web" })), []],
    ["other pods", accepting(selector({ app: "db" })), ["web dns-missing spec.egress"]],
    [
      "nobody, in the Baseline tier",
      { ...accepting(EVERYTHING), tier: "Baseline" as const },
      ["web dns-missing spec.egress"],
    ],
  ])("is given by an Admin policy to %s", (_, dns, expected) => {
    const clusterPolicies = [dns];
    const policies = [egress("web", "web", toDb)];
    expect(told({ cluster: cluster({ pods: [WEB], policies, clusterPolicies }) }, "dns-missing")).toEqual(
      expected,
    );
    expect(told({ cluster: cluster({ policies, clusterPolicies }) }, "dns-missing")).toEqual(expected);
  });

  const dns: Rule = { peers: "anyone", ports: DNS };
  it.each<[string, readonly Policy[], readonly string[]]>([
    [
      "once for pods that several policies select, of the widest",
      [egress("web", "web", toDb), egress("floor", undefined), egress("db", "db", toDb)],
      ["floor dns-missing spec.policyTypes"],
    ],
    [
      "not of pods to which any policy gives it",
      [egress("web", "web", toDb), egress("floor", undefined), egress("names", undefined, dns)],
      [],
    ],
    [
      "of those pods alone to which none gives it",
      [egress("floor", undefined), egress("names", "web", dns)],
      ["floor dns-missing spec.policyTypes"],
    ],
    [
      "not where one cannot be read, which may give it",
      [egress("web", "web", toDb), { ...egress("odd", undefined), unreadable: "spec: wrong" }],
      [],
    ],
    ["not of ingress", [policy("shop/web")], []],
  ])("is missed %s", (_, policies, expected) => {
    expect(told({ cluster: cluster({ pods: [WEB, DB], policies }) }, "dns-missing")).toEqual(expected);
  });

  it.each<[string, readonly Policy[], readonly string[]]>([
    ["of a policy alone", [egress("web", "web", toDb)], ["web dns-missing spec.egress"]],
    [
      "not where another surely selects the same pods",
      [egress("web", "web", toDb), egress("names", undefined, dns)],
      [],
    ],
    [
      "where another need not select them",
      [egress("web", "web", toDb), egress("names", "db", dns)],
      ["web dns-missing spec.egress"],
    ],
    [
      "once, of the widest",
      [egress("web", "web", toDb), egress("all", undefined, toDb)],
      ["all dns-missing spec.egress"],
    ],
    ["not of a floor on which others build", [egress("floor", undefined), egress("web", "web", dns)], []],
    ["of a floor alone", [egress("floor", undefined)], ["floor dns-missing spec.policyTypes"]],
  ])("is missed without pods: %s", (_, policies, expected) => {
    expect(told({ cluster: cluster({ policies }) }, "dns-missing")).toEqual(expected);
  });

  it("names the pods that lack it, a few of them", () => {
    const many = ["a", "b", "c", "d"].map((name) => pod(`shop/${name}`, [], { labels: { app: "web" } }));
    const [only] = lint({ cluster: cluster({ pods: many, policies: [egress("web", "web", toDb)] }) }).filter(
      ({ code }) => code === "dns-missing",
    );
    expect(only?.reason).toContain("shop/a, shop/b and 2 more may open connections but cannot look up names");
  });
});
