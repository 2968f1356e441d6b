// Lint rules about domain names: whom pods may ask, and what names add to what is open anyway.

import { describe, expect, it } from "vitest";
import type { Cluster } from "../../../../src/model/cluster.ts";
import type { ClusterPolicy, ClusterRule } from "../../../../src/model/cluster-network-policy.ts";
import { EVERYTHING } from "../../../../src/model/selector.ts";
import { told } from "../../../support/lint.ts";
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

const EVERYWHERE = [block("0.0.0.0/0"), block("::/0")];
const HTTPS = ports("TCP/443");
const QUESTIONS = ports("UDP/53", "TCP/53");
const KUBE_DNS = [
  pods({ "k8s-app": "kube-dns" }, selector({ "kubernetes.io/metadata.name": "kube-system" })),
];

const names = domainRule(["api.example.com"], HTTPS);
const dns = clusterRule("Accept", KUBE_DNS, QUESTIONS);
const rest = clusterRule("Deny", EVERYWHERE);
const noTcp = clusterRule("Deny", EVERYWHERE, ports("TCP/1-65535"));
const noQuestions = clusterRule("Deny", EVERYWHERE, ports("UDP/53"));

const own = (...egress: readonly ClusterRule[]): ClusterPolicy => clusterPolicy("names", { egress });

const found = (
  of: ClusterPolicy | readonly ClusterPolicy[],
  more: Partial<Cluster> = {},
): readonly string[] => {
  const policies = Array.isArray(of) ? of : [of];
  const world: Cluster = {
    ...cluster({ namespaces: [namespace("shop")] }),
    clusterPolicies: new Map(policies.map((each: ClusterPolicy) => [each.name, each])),
    ...more,
  };
  return told({ cluster: world }, "names-unresolved", "names-any-resolver", "names-unneeded");
};

const [UNRESOLVED, ANY, UNNEEDED] = ["unresolved", "any-resolver", "unneeded"].map(
  (what) => (index: number) => [`names names-${what} spec.egress.${index}`],
) as [(index: number) => string[], (index: number) => string[], (index: number) => string[]];

const isolated = cluster({
  policies: [policy("shop/web", { isolates: { ingress: false, egress: true } })],
}).policies;

const at = (name: string, priority: number, ...egress: readonly ClusterRule[]): ClusterPolicy =>
  clusterPolicy(name, { priority, egress });

it.each<[string, ReturnType<typeof found>, readonly string[]]>([
  ["with the cluster's DNS before the Deny", found(own(dns, names, rest)), []],
  [
    "with a resolver by its address",
    found(own(clusterRule("Accept", [block("10.0.0.10/32")]), names, rest)),
    [],
  ],
  ["with DNS after the Deny", found(own(names, rest, dns)), UNRESOLVED(0)],
  [
    "with DNS over TCP alone",
    found(own(clusterRule("Accept", KUBE_DNS, ports("TCP/53")), names, rest)),
    UNRESOLVED(1),
  ],
  [
    "with a resolver by its name alone",
    found(own(domainRule(["dns.example.com"]), names, rest)),
    UNRESOLVED(0),
  ],
  ["with DNS by a policy before it", found([own(names, rest), at("dns", 1, dns)]), []],
  ["with DNS by a policy after it", found([own(names, rest), at("dns", 11, dns)]), UNRESOLVED(0)],
  [
    "with DNS denied by a policy before it",
    found([own(dns, names, rest), at("offline", 1, noQuestions)]),
    UNRESOLVED(1),
  ],
  [
    "with the resolver denied by a policy before it",
    found([own(dns, names, rest), at("offline", 1, clusterRule("Deny", KUBE_DNS))]),
    UNRESOLVED(1),
  ],
  [
    "with DNS denied to some of its pods",
    found([
      own(dns, names, rest),
      clusterPolicy("offline", {
        priority: 1,
        subject: { namespaces: selector({ offline: "true" }), pods: EVERYTHING },
        egress: [noQuestions],
      }),
    ]),
    [],
  ],
  [
    "with DNS passed to the next tier",
    found(own(clusterRule("Pass", EVERYWHERE, QUESTIONS), names, rest)),
    [],
  ],
  [
    "with a range of ports that has DNS",
    found(own(clusterRule("Accept", KUBE_DNS, ports("UDP/1-100")), names, rest)),
    [],
  ],
  [
    "with a port name that may be DNS",
    found(own(clusterRule("Accept", KUBE_DNS, ports("UDP/dns")), names, rest)),
    [],
  ],
  ["with UDP left to the default", found(own(dns, names, noTcp)), ANY(1)],
  ["with UDP left to NetworkPolicies", found(own(dns, names, noTcp), { policies: isolated }), []],
  [
    "with UDP denied in the Baseline tier",
    found([own(dns, names, noTcp), clusterPolicy("last", { tier: "Baseline", egress: [rest] })]),
    [],
  ],
  [
    "with one family of UDP denied, which may be the only one",
    found(own(dns, names, noTcp, clusterRule("Deny", [block("0.0.0.0/0")], ports("UDP")))),
    [],
  ],
  ["with DNS of everyone", found(own(clusterRule("Accept", EVERYWHERE, QUESTIONS), names, rest)), ANY(1)],
  [
    "with DNS of everyone, and a Deny of equal priority",
    found([own(clusterRule("Accept", EVERYWHERE, QUESTIONS), names, noTcp), at("offline", 10, noQuestions)]),
    [],
  ],
  [
    "with a Deny of IPv4 alone, where nothing mentions IPv6",
    found(own(names, clusterRule("Deny", [block("0.0.0.0/0")]))),
    UNRESOLVED(0),
  ],
  ["with nothing denied", found(own(dns, names)), UNNEEDED(1)],
  [
    "with the metadata service denied",
    found(own(names, clusterRule("Deny", [block("169.254.169.254/32")]))),
    UNNEEDED(0),
  ],
  ["with other ports denied", found(own(names, noQuestions)), UNNEEDED(0)],
  [
    "with a network denied that names may lead to",
    found(own(dns, names, clusterRule("Deny", [block("10.0.0.0/8")]), noQuestions)),
    [],
  ],
  [
    "with everything accepted after it",
    found(own(dns, names, clusterRule("Accept", EVERYWHERE, HTTPS), rest)),
    UNNEEDED(1),
  ],
  [
    "with other ports accepted after it",
    found(own(dns, names, clusterRule("Accept", EVERYWHERE, ports("TCP/80")), rest)),
    [],
  ],
  [
    "with everything accepted to some after it",
    found([
      own(dns, names),
      clusterPolicy("some", {
        priority: 11,
        subject: { namespaces: selector({ a: "b" }), pods: EVERYTHING },
        egress: [clusterRule("Accept", EVERYWHERE)],
      }),
      at("rest", 12, rest),
    ]),
    [],
  ],
  ["with nothing denied, and NetworkPolicies to decide", found(own(dns, names), { policies: isolated }), []],
  [
    "in the Baseline tier, where NetworkPolicies have not decided",
    found(clusterPolicy("names", { tier: "Baseline", egress: [names] }), { policies: isolated }),
    UNNEEDED(0),
  ],
  [
    "with everything denied at the same priority",
    found([own(dns, names), at("another", 10, clusterRule("Accept", EVERYWHERE)), at("third", 10, rest)]),
    [],
  ],
  [
    "beside a policy that cannot be read",
    found([own(names, rest), { ...at("broken", 1), unreadable: "spec.tier" }]),
    [],
  ],
])("names %s", (_, codes, expected) => expect(codes).toEqual(expected));

describe("a warning about names that cannot be resolved", () => {
  const both = (ignored?: "names-unresolved"): readonly string[] => {
    const world = {
      ...cluster({ namespaces: [namespace("shop")], pods: [pod("shop/web", ["10.0.0.1"])] }),
      clusterPolicies: new Map([["names", own(names, rest)]]),
    };
    return told({ cluster: world, ...(ignored && { ignored }) }, "names-unresolved", "dns-denied");
  };
  it("takes the place of that about DNS", () => expect(both()).toEqual(UNRESOLVED(0)));
  it("and silenced it does not", () =>
    expect(both("names-unresolved")).toEqual(["names dns-denied spec.egress.1"]));
});
