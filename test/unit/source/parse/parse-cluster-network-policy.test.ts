// ClusterNetworkPolicy: what is read, what the API server would refuse, and that whatever cannot be read only denies more.

import { readFileSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { parseAddress } from "../../../../src/base/ip.ts";
import { type Cluster, type ClusterNode, keyOf, type Pod } from "../../../../src/model/cluster.ts";
import type { ClusterPolicy } from "../../../../src/model/cluster-network-policy.ts";
import { selectorText } from "../../../../src/model/selector.ts";
import { evaluate, type Party } from "../../../../src/policy/oracle.ts";
import { parseDocument } from "../../../../src/source/parse/parse-document.ts";
import { clusterPolicy, clusterRule, namespace, pod, pods, ports, selector } from "../../../support/model.ts";
import { must } from "../../../support/worlds.ts";
import { anyJson, type Json, placesIn } from "../arbitrary.ts";
import { outcomeOf, ruleText } from "../support.ts";

const yamlOf = (spec: string): string =>
  `apiVersion: policy.networking.k8s.io/v1alpha2\nkind: ClusterNetworkPolicy\nmetadata: { name: web }\nspec: ${spec}\n`;

function readOf(spec: string) {
  const { values, lines } = outcomeOf(yamlOf(spec));
  const policy = values.get("ClusterNetworkPolicy web");
  if (policy === undefined || !("tier" in policy)) throw new Error("there is no policy");
  const texts = (direction: "ingress" | "egress"): string[] =>
    policy.rules[direction].map((rule) => `${rule.action} ${ruleText(rule)}`);
  return { policy, lines, ingress: texts("ingress"), egress: texts("egress") };
}

const HEAD = "tier: Admin, priority: 10, subject: { namespaces: {} }";

test("everything that there is", () => {
  const { policy, lines, ingress, egress } = readOf(`
  tier: Baseline
  priority: 1000
  subject: { pods: { namespaceSelector: { matchLabels: { team: a } }, podSelector: { matchLabels: { app: web } } } }
  ingress:
    - { name: one, action: Pass, from: [{ namespaces: { matchLabels: { team: b } } }, { pods: { podSelector: {} } }] }
  egress:
    - action: Accept
      to: [{ nodes: { matchLabels: { os: linux } } }, { networks: [10.0.0.1/8, "fd00::/8"] }]
      protocols:
        - { tcp: { destinationPort: { number: 80 } } }
        - { udp: { destinationPort: { range: { start: 1, end: 65535 } } } }
        - { destinationNamedPort: http }`);
  expect(lines).toEqual([]);
  const { tier, priority, subject, rules } = policy;
  expect({ tier, priority, name: rules.ingress[0]?.name }).toEqual({
    tier: "Baseline",
    priority: 1_000,
    name: "one",
  });
  expect([subject.namespaces, subject.pods].map(selectorText)).toEqual(["team=a", "app=web"]);
  expect(ingress).toEqual(["Pass ns {team=b} pods {} | ns {} pods {} on all"]);
  expect(egress).toEqual([
    "Accept nodes {os=linux} | 10.0.0.0/8 | fd00::/8 on TCP 80-80, UDP 1-65535, TCP http, UDP http, SCTP http",
  ]);
});

const rule = (text: string): string => `{ ${HEAD}, egress: [${text}] }`;

describe("one of another version, or misspelt, denies before all others what it would deny or pass", () => {
  const spec = `{ tier: Baseline, priority: 7, subject: { namespaces: { matchLabels: { team: a } } }, ingress: [{ action: Accept, from: [{ namespaces: {} }] }], egress: [{ action: Pass, to: [{ namespaces: {} }] }] }`;
  const VERSION = "policy.networking.k8s.io/v1alpha2";
  test.each([
    ["policy.networking.k8s.io/v1beta1", "ClusterNetworkPolicy", /apiVersion: .*v1beta1 is not read/],
    ["policy.networking.k8s.io", "ClusterNetworkPolicy", /apiVersion: /],
    ["", "ClusterNetworkPolicy", /apiVersion: /],
    [VERSION, "clusterNetworkPolicy", /kind: .*did you mean ClusterNetworkPolicy/],
    [VERSION, "ClusterNetworkPolicies", /kind: .*did you mean ClusterNetworkPolicy/],
  ])("%s %s", (version, kind, reason) => {
    const text = yamlOf(spec)
      .replace(VERSION, JSON.stringify(version))
      .replace("kind: ClusterNetworkPolicy", `kind: ${kind}`);
    const { values, lines } = outcomeOf(text);
    expect(lines).toEqual([expect.stringMatching(reason)]);
    expect(lines[0]).toMatch(/it applies before all other policies/);
    expect(values.get("ClusterNetworkPolicy web")).toMatchObject({
      ...{ tier: "Admin", priority: 0, unreadable: expect.stringMatching(reason) },
      rules: { ingress: [{ action: "Accept", peers: [] }], egress: [{ action: "Deny", ports: "all" }] },
    });
  });

  test("but not one of another group, which somebody else enforces", () => {
    const { values, lines } = outcomeOf(yamlOf(spec).replace(VERSION, "policy.example.com/v1"));
    expect(values.size).toBe(0);
    expect(lines.join()).toMatch(/is not enforced by Weir/);
  });
});

describe("one rule that cannot be read accepts nothing, or denies everything", () => {
  test.each([
    ["to: []", "to: is empty"],
    ["to: [{}]", "is empty; expected namespaces, pods, nodes, networks or domainNames"],
    ["to: [{ namespaces: {}, pods: { podSelector: {} } }]", "has namespaces and pods; expected one of them"],
    ["to: [{ planets: {} }]", "planets: unknown field"],
    ["to: [{ domainNames: [] }]", "domainNames: is empty; expected domain names"],
    ['to: [{ domainNames: ["*"] }]', '"*" is not a domain name: expected a name of at least two labels'],
    ["to: [{ domainNames: [com] }]", '"com" is not a domain name'],
    ["to: [{ domainNames: [www.*.com] }]", '"www.*.com" is not a domain name'],
    ["to: [{ domainNames: [-a.example.com] }]", '"-a.example.com" is not a domain name'],
    ["to: [{ domainNames: [a..example.com] }]", '"a..example.com" is not a domain name'],
    [`to: [{ domainNames: [${"a".repeat(64)}.com] }]`, "a label is longer than 63 characters"],
    [`to: [{ domainNames: [${"a.".repeat(127)}com] }]`, "it is longer than 253 characters"],
    [
      "to: [{ domainNames: [example.com] }], protocols: [{ destinationNamedPort: web }]",
      "to: has domain names, which have no named ports",
    ],
    ["to: [{ pods: { namespaceSelector: {} } }]", "podSelector: is missing"],
    ["to: [{ networks: [] }]", "networks: is empty"],
    ["to: [{ networks: [10.0.0.0] }]", '"10.0.0.0" is not a valid CIDR'],
    ["to: [{ networks: [010.0.0.0/8] }]", "is not a valid CIDR"],
    ["to: [{ namespaces: { matchLabels: { team: 1 } } }]", "must be a string"],
    ["to: [{ namespaces: {} }], protocols: []", "protocols: is empty"],
    ["to: [{ namespaces: {} }], protocols: [{}]", "is empty; expected tcp, udp, sctp or"],
    ["to: [{ namespaces: {} }], protocols: [{ tcp: {} }]", "destinationPort: is missing"],
    [
      "to: [{ namespaces: {} }], protocols: [{ tcp: { destinationPort: { number: 0 } } }]",
      "0 is not a number from 1",
    ],
    [
      "to: [{ namespaces: {} }], protocols: [{ udp: { destinationPort: { range: { start: 5, end: 5 } } } }]",
      "start 5 must be less than end 5",
    ],
    [
      "to: [{ namespaces: {} }], protocols: [{ udp: { destinationPort: { range: { start: 5 } } } }]",
      "end: is missing",
    ],
    ["to: [{ namespaces: {} }], protocols: [{ icmp: {} }]", "icmp: unknown field"],
    [`to: [${"{ namespaces: {} }, ".repeat(26)}]`, "to: has 26 elements; at most 25 are allowed"],
    [`to: [{ namespaces: {} }], name: ${"x".repeat(101)}`, "name: has 101 characters"],
    ["to: [{ namespaces: {} }], sources: []", "sources: unknown field"],
    ["from: [{ namespaces: {} }]", "from: unknown field"],
  ])("%s", (text, reason) => {
    const other = "{ action: Deny, to: [{ networks: [192.0.2.0/24] }] }";
    const accept = readOf(rule(`{ action: Accept, ${text} }, ${other}`));
    expect(accept.lines.join("\n")).toContain(reason);
    expect(accept.lines.join("\n")).toContain("spec.egress[0]");
    expect(accept.lines.join("\n")).toContain("; the rule accepts nothing");
    expect(accept.egress).toEqual(["Accept nothing on nothing", "Deny 192.0.2.0/24 on all"]);
    expect(accept.policy.omitted).toContain("spec.egress[0]");
    expect(accept.policy.unreadable).toBeUndefined();
    for (const action of ["action: Deny", "action: Pass", "action: accept"]) {
      const closed = readOf(rule(`{ ${action}, ${text} }, ${other}`));
      expect(closed.egress).toEqual(["Deny anyone on all", "Deny 192.0.2.0/24 on all"]);
      expect(closed.policy.unreadable).toContain("spec.egress[0]");
    }
  });

  test("an ingress rule has no networks and nodes as peers", () => {
    for (const peer of ["networks: [10.0.0.0/8]", "nodes: {}"])
      expect(readOf(`{ ${HEAD}, ingress: [{ action: Deny, from: [{ ${peer} }] }] }`).lines.join()).toContain(
        "unknown field; expected namespaces or pods; the rule denies everything",
      );
  });
});

describe("a policy whose place is not known comes before all others, and accepts nothing", () => {
  const RULES =
    "egress: [{ action: Accept, to: [{ namespaces: {} }] }, { action: Pass, to: [{ networks: [10.0.0.0/8] }] }, { action: Deny, to: [{ networks: [192.0.2.0/24] }] }]";
  test.each([
    ["tier: admin, priority: 10, subject: { namespaces: {} }", '"admin" is not a tier'],
    ["priority: 10, subject: { namespaces: {} }", "spec.tier: is missing; expected Admin or Baseline"],
    ["tier: Admin, subject: { namespaces: {} }", "spec.priority: is missing"],
    ["tier: Admin, priority: 1001, subject: { namespaces: {} }", "1001 is not a number from 0 to 1000"],
    ["tier: Admin, priority: 1.5, subject: { namespaces: {} }", "1.5 is not a number"],
    ['tier: Admin, priority: "1", subject: { namespaces: {} }', "must be a number from 0 to 1000"],
    ["tier: Admin, priority: 1, subject: {}", "spec.subject: is empty"],
    ["tier: Admin, priority: 1", "spec.subject: is missing"],
    ["tier: Admin, priority: 1, subject: { pods: {} }", "podSelector: is missing"],
    ["tier: Admin, priority: 1, subject: { services: {} }", "services: unknown field"],
    [`${HEAD}, until: tomorrow`, "spec.until: unknown field"],
  ])("%s", (head, reason) => {
    const { policy, egress, lines } = readOf(`{ ${head}, ${RULES} }`);
    expect(lines.join("\n")).toContain(reason);
    expect(policy).toMatchObject({
      tier: "Admin",
      priority: 0,
      unreadable: expect.stringContaining("spec."),
    });
    expect(egress).toEqual([
      "Accept nothing on nothing",
      "Deny 10.0.0.0/8 on all",
      "Deny 192.0.2.0/24 on all",
    ]);
    if (head.includes("subject: { namespaces: {} }")) return;
    expect([policy.subject.namespaces, policy.subject.pods].map(selectorText)).toEqual(["", ""]);
  });

  test("without a spec, or with a list that cannot be read, everything is denied", () => {
    for (const spec of ["null", "7", `{ ${HEAD}, egress: 7, ingress: null }`]) {
      const { ingress, egress, policy } = readOf(spec);
      expect({ ingress, egress }).toEqual({
        ingress: ["Deny anyone on all"],
        egress: ["Deny anyone on all"],
      });
      expect(policy.unreadable).toBeDefined();
    }
  });

  test("a list of more than 25 rules denies everything", () => {
    const many = "{ action: Accept, from: [{ namespaces: {} }] }, ".repeat(26);
    expect(readOf(`{ ${HEAD}, ingress: [${many}] }`).ingress).toEqual(["Deny anyone on all"]);
  });
});

test("a mode of its own is refused, and the policy is enforced", () => {
  const { values, lines } = outcomeOf(
    yamlOf(`{ ${HEAD} }`).replace("{ name: web }", "{ name: web, annotations: { weir.dev/mode: audit } }"),
  );
  expect(lines.join()).toMatch(/a ClusterNetworkPolicy has no mode of its own.*; the policy is enforced$/);
  expect(values.get("ClusterNetworkPolicy web")).not.toHaveProperty("unreadable");
});

const FULL = {
  apiVersion: "policy.networking.k8s.io/v1alpha2",
  kind: "ClusterNetworkPolicy",
  metadata: { name: "full" },
  spec: {
    tier: "Admin",
    priority: 10,
    subject: { pods: { namespaceSelector: { matchLabels: { team: "red" } }, podSelector: {} } },
    ingress: [
      { action: "Pass", from: [{ pods: { podSelector: { matchLabels: { app: "api" } } } }] },
      { action: "Deny", from: [{ namespaces: { matchLabels: { team: "blue" } } }] },
      { action: "Accept", from: [{ namespaces: {} }] },
    ],
    egress: [
      {
        action: "Accept",
        to: [{ nodes: {} }, { networks: ["10.3.0.0/16", "203.0.113.0/24"] }],
        protocols: [{ tcp: { destinationPort: { range: { start: 80, end: 90 } } } }],
      },
      {
        action: "Pass",
        to: [{ networks: ["10.0.0.0/8"] }],
        protocols: [{ destinationNamedPort: "http" }, { udp: { destinationPort: { number: 53 } } }],
      },
      { action: "Deny", to: [{ networks: ["0.0.0.0/0"] }] },
    ],
  },
} satisfies Json;

/** Beside policies before, after and between that accept, so that every rule that is lost shows. */
const OTHERS: readonly ClusterPolicy[] = [
  clusterPolicy("later", {
    priority: 20,
    ingress: [clusterRule("Accept", [pods({})], ports("TCP/80"))],
    egress: [clusterRule("Deny", [pods({ app: "cart" })])],
  }),
  clusterPolicy("last", { tier: "Baseline", ingress: [clusterRule("Deny", [pods({ app: "other" })])] }),
];

describe("whatever one fault does, it only denies more", () => {
  const HTTP = [{ name: "http", port: 8080, protocol: "TCP" as const }];
  const all: readonly Pod[] = [
    pod("shop/web", ["10.9.0.1"], { labels: { app: "web" }, ports: HTTP }),
    pod("shop/api", ["10.9.0.3"], { labels: { app: "api" }, ports: HTTP }),
    pod("blue/cart", ["10.1.0.4"], { labels: { app: "cart" }, ports: HTTP }),
    pod("blue/other", ["192.0.2.5"], { labels: { app: "other" }, ports: HTTP }),
  ];
  const node: ClusterNode = {
    name: "n",
    labels: new Map([["os", "linux"]]),
    addresses: [must(parseAddress("198.51.100.1"))],
    podCidrs: [],
  };
  const ends: readonly Party[] = [
    ...all.map((each): Party => ({ kind: "pod", pod: each, address: each.ips[0] as Pod["ips"][number] })),
    ...["10.3.2.1", "203.0.113.1", "198.51.100.1", "8.8.8.8"].map(
      (text): Party => ({ kind: "address", address: must(parseAddress(text)) }),
    ),
  ];

  function allowedBy(policy: ClusterPolicy | undefined): ReadonlySet<string> {
    const policies = [...OTHERS, ...(policy === undefined ? [] : [policy])];
    const world: Cluster = {
      namespaces: new Map(
        [namespace("shop", { team: "red" }), namespace("blue", { team: "blue" })].map((each) => [
          each.name,
          each,
        ]),
      ),
      pods: new Map(all.map((each) => [keyOf(each), each])),
      policies: new Map(),
      clusterPolicies: new Map(policies.map((each) => [each.name, each])),
      services: new Map(),
      slices: new Map(),
      nodes: new Map([["n", node]]),
    };
    const allowed = new Set<string>();
    for (const from of ends)
      for (const to of ends)
        for (const [protocol, port] of [
          ...([
            ["TCP", 80],
            ["TCP", 85],
            ["TCP", 8080],
          ] as const),
          ...([
            ["UDP", 53],
            ["ICMP", 0],
          ] as const),
        ])
          if (evaluate(world, { from, to, protocol, port }).allowed)
            allowed.add(`${from.address.text} ${to.address.text} ${protocol} ${port}`);
    return allowed;
  }

  const parse = (value: Json) => parseDocument(value, { where: () => ({}) });
  const policyIn = ({ objects }: ReturnType<typeof parse>): ClusterPolicy | undefined => {
    const [object] = objects;
    return object?.kind === "ClusterNetworkPolicy" ? object.value : undefined;
  };
  const base = allowedBy(policyIn(parse(FULL)));
  /** Of another name or kind, it is another object. */
  const identity = new Set<Json>([FULL.apiVersion, FULL.kind, FULL.metadata, FULL, "full"]);
  const places = placesIn(FULL).filter(({ value }) => !identity.has(value));

  const expectClosed = (value: Json): boolean => {
    const parsed = parse(value);
    const [object] = parsed.objects;
    // Without a problem it says something else.
    if (object?.complete !== false) return false;
    const opened = allowedBy(policyIn(parsed)).difference(base);
    expect([...opened], JSON.stringify(value)).toEqual([]);
    return true;
  };

  /** Another list or map of the same kind is another policy, or is not known to be part of this one. */
  const isOther = (before: Json, after: Json): boolean =>
    typeof before === "object" &&
    typeof after === "object" &&
    after !== null &&
    Array.isArray(before) === Array.isArray(after);

  test("the policy decides something in every rule", () => {
    expect(base.size).toBeGreaterThan(20);
    expect(allowedBy(undefined)).not.toEqual(base);
  });

  test("a value of another kind, anywhere", () => {
    let faults = 0;
    fc.assert(
      fc.property(fc.constantFrom(...places), anyJson, (place, value) => {
        if (!isOther(place.value, value) && expectClosed(place.put(value))) faults += 1;
      }),
      { numRuns: 2_000 },
    );
    expect(faults).toBeGreaterThan(1_000);
  });

  test("a misspelt field, anywhere", () => {
    for (const place of places) if (place.rename !== undefined) expectClosed(place.rename("misspelt"));
  });
});

test("selectors are those of NetworkPolicies", () => {
  expect(selectorText(selector({ app: "web" }))).toBe("app=web");
  expect(
    readOf(
      `{ ${HEAD}, ingress: [{ action: Deny, from: [{ pods: { podSelector: { matchExpressions: [{ key: a, operator: NotIn, values: [b] }] } } }] }] }`,
    ).ingress,
  ).toEqual(["Deny ns {} pods {a notin (b)} on all"]);
});

test("the examples of docs/cluster-policy.md are read without a problem", () => {
  const text = readFileSync("docs/cluster-policy.md", "utf8");
  const blocks = [...text.matchAll(/```yaml\n([^`]*)```/g)].map(([, yaml = ""]) => yaml);
  const read = blocks.map((yaml) => outcomeOf(yaml));
  expect(read.flatMap(({ lines }) => lines)).toEqual([]);
  expect(read.flatMap(({ values }) => [...values.keys()])).toEqual(
    ["shop-egress", "allow-dns", "default-deny", "tenant-red", "block-metadata"].map(
      (name) => `ClusterNetworkPolicy ${name}`,
    ),
  );
});
