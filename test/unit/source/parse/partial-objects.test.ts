// A partly unreadable policy: the unreadable part is lost and nothing else, and whatever is lost only denies more.

import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { parseAddress } from "../../../../src/base/ip.ts";
import { type Cluster, keyOf, type Namespace, type Pod } from "../../../../src/model/cluster.ts";
import type { Policy } from "../../../../src/model/network-policy.ts";
import { evaluate, type Party } from "../../../../src/policy/oracle.ts";
import { type ParsedDocument, parseDocument } from "../../../../src/source/parse/parse-document.ts";
import { must } from "../../../support/worlds.ts";
import { anyJson, FULL, type Json, type Place, placesIn } from "../arbitrary.ts";
import { outcomeOf, policyYaml, ruleText } from "../support.ts";

/** The policy of a spec in flow style, in one line, and the problems reported. */
function readOf(spec: string) {
  const { values, lines } = outcomeOf(policyYaml(spec));
  const policy = values.get("NetworkPolicy shop/web");
  if (policy === undefined || !("isolates" in policy)) throw new Error("there is no policy");
  return {
    policy,
    lines,
    rules: { ingress: policy.rules.ingress.map(ruleText), egress: policy.rules.egress.map(ruleText) },
  };
}

const OTHER = "{ podSelector: {} }";

describe("one peer that cannot be read loses only itself", () => {
  test.each([
    ["null", ""],
    ["7", ""],
    ["[]", ""],
    ["{}", "is empty"],
    ["{ podSelectr: {} }", "unknown field"],
    ["{ podSelector: null }", "must be a map"],
    ["{ podSelector: { app: web } }", "unknown field"],
    ["{ podSelector: { matchLabels: null } }", "must be a map"],
    ["{ podSelector: { matchLabels: { app: 1 } } }", "must be a string"],
    ["{ podSelector: { matchLabels: { app: null } } }", "must be a string"],
    ["{ podSelector: { matchExpressions: {} } }", "must be a list"],
    ["{ podSelector: { matchExpressions: [{ key: app, operator: In }] } }", "needs at least one value"],
    [
      "{ podSelector: { matchExpressions: [{ key: app, operator: NotIn, values: [] }] } }",
      "needs at least one value",
    ],
    [
      "{ podSelector: { matchExpressions: [{ key: app, operator: Exists, values: [a] }] } }",
      "takes no values",
    ],
    ["{ podSelector: { matchExpressions: [{ key: app, operator: Has }] } }", "is not an operator"],
    ["{ podSelector: { matchExpressions: [{ operator: Exists }] } }", "is missing"],
    ["{ podSelector: { matchExpressions: [{ key: 'a b', operator: Exists }] } }", "is not a label's key"],
    [
      "{ podSelector: { matchExpressions: [{ key: app, operator: NotIn, values: [null] }] } }",
      "must be a string",
    ],
    ["{ namespaceSelector: [] }", "must be a map"],
    ["{ podSelector: {}, namespaceSelector: 7 }", "must be a map"],
    ["{ podSelector: {}, ipBlock: { cidr: 10.0.0.0/8 } }", "ipBlock excludes"],
    ["{ ipBlock: {} }", "is missing"],
    ["{ ipBlock: { cidr: 10.0.0.0 } }", "is missing"],
    ["{ ipBlock: { cidr: 10.0.0.0/33 } }", "is more than 32"],
    ["{ ipBlock: { cidr: 10.0.0/8 } }", "is not a valid CIDR"],
    ["{ ipBlock: { cidr: null } }", "must be a string"],
    ["{ ipBlock: { cidr: 10.0.0.0/8, cidr: 10.0.0.0/8 } }", "duplicate key"],
    ["{ ipBlock: { cidr: 10.0.0.0/8, excpt: [10.1.0.0/16] } }", "unknown field"],
    // Without the exception the block would allow more, so the block is lost with it.
    ["{ ipBlock: { cidr: 10.0.0.0/8, except: 10.1.0.0/16 } }", "must be a list"],
    ["{ ipBlock: { cidr: 10.0.0.0/8, except: null } }", "must be a list"],
    ["{ ipBlock: { cidr: 10.0.0.0/8, except: [10.1.0.0/16, 10.2.0.0] } }", "is missing"],
    ["{ ipBlock: { cidr: 10.0.0.0/8, except: [null] } }", "must be a string"],
    ["{ ipBlock: { cidr: 10.0.0.0/8, except: [192.168.0.0/16] } }", "must lie inside"],
    ['{ ipBlock: { cidr: 10.0.0.0/8, except: ["2001:db8::/32"] } }', "must lie inside"],
    ["{ ipBlock: { cidr: 10.0.0.0/8, except: [*none] } }", "no anchor"],
  ])("%s", (peer, reason) => {
    for (const [direction, field] of [
      ["ingress", "from"],
      ["egress", "to"],
    ] as const) {
      const rest = `${field}: [${peer}, ${OTHER}]`;
      const { policy, rules, lines } = readOf(
        `{ podSelector: { matchLabels: { app: web } }, policyTypes: [Ingress, Egress], ${direction}: [{ ${rest} }, { ${field}: [${peer}] }] }`,
      );
      expect(rules[direction]).toEqual(["nothing | ns own pods {} on all", "nothing on all"]);
      expect(policy.unreadable).toBeUndefined();
      expect(policy.omitted).toContain(`spec.${direction}[0].${field}[0]`);
      expect(lines.length).toBeGreaterThan(0);
      for (const line of lines) expect(line).toMatch(/; the peer is left out$/);
      expect(lines[0]).toContain(reason);
    }
  });
});

describe("one port that cannot be read loses only itself", () => {
  test.each([
    ["null"],
    ["80"],
    ["{ port: 0 }"],
    ["{ port: 65536 }"],
    ["{ port: -1 }"],
    ["{ port: 1.5 }"],
    ["{ port: '80' }"],
    ["{ port: HTTP }"],
    ["{ port: a-name-that-is-too-long }"],
    ["{ port: [80] }"],
    ["{ port: null }"],
    ["{ port: 80, endPort: 79 }"],
    ["{ port: http, endPort: 90 }"],
    ["{ endPort: 90 }"],
    ["{ port: 80, endPort: '90' }"],
    ["{ port: 80, protocol: tcp }"],
    ["{ port: 80, protocol: ICMP }"],
    ["{ port: 80, protocol: null }"],
    ["{ port: 80, endport: 90 }"],
  ])("%s", (port) => {
    const { policy, rules, lines } = readOf(
      `{ podSelector: {}, ingress: [{ ports: [${port}, { port: 443 }] }, { ports: [${port}] }] }`,
    );
    expect(rules.ingress).toEqual(["anyone on nothing, TCP 443-443", "anyone on nothing"]);
    expect(policy.omitted).toContain("spec.ingress[0].ports[0]");
    for (const line of lines) expect(line).toMatch(/; the port is left out$/);
  });
});

describe("one rule that cannot be read loses only itself", () => {
  test.each([
    ["null"],
    ["7"],
    ["[]"],
    ["{ form: [] }"],
    ["{ from: null }"],
    ["{ from: {} }"],
    ["{ ports: null }"],
    ["{ ports: 80 }"],
    ["{ to: [{ podSelector: {} }] }"],
    ["{ from: [], from: [] }"],
    ["{ from: *none }"],
    ["{ from: !!map2 [] }"],
    ["{ from: [{ podSelector: {} }], tier: 1 }"],
  ])("%s", (rule) => {
    const { policy, rules, lines } = readOf(`{ podSelector: {}, ingress: [${rule}, { from: [${OTHER}] }] }`);
    expect(rules.ingress).toEqual(["nothing on all", "ns own pods {} on all"]);
    expect(policy.omitted).toContain("spec.ingress[0]");
    for (const line of lines) expect(line).toMatch(/; the rule allows nothing$/);
  });

  test("and so do the rules of one direction, and policyTypes", () => {
    const direction = readOf(`{ podSelector: {}, ingress: 7, egress: [{ to: [${OTHER}] }] }`);
    expect(direction.rules).toEqual({ ingress: [], egress: ["ns own pods {} on all"] });
    expect(direction.policy.isolates).toEqual({ ingress: true, egress: true });
    const types = readOf(`{ podSelector: {}, policyTypes: [Ingres], ingress: [{ from: [${OTHER}] }] }`);
    expect(types.policy.isolates).toEqual({ ingress: true, egress: true });
    expect(types.rules.ingress).toEqual(["ns own pods {} on all"]);
    expect(types.lines[0]).toMatch(/; the policy isolates its pods in both directions$/);
  });

  test("labels and annotations of the policy cost it nothing", () => {
    const { values, lines } = outcomeOf(
      policyYaml(`{ podSelector: {}, ingress: [{}] }`, "{ name: web, namespace: shop, labels: { app: 7 } }"),
    );
    expect(values.get("NetworkPolicy shop/web")).toMatchObject({ rules: { ingress: [{ peers: "anyone" }] } });
    expect(lines).toHaveLength(1);
  });
});

describe("what API servers have stored is read as they read it", () => {
  const blockOf = (block: string) => {
    const { policy, rules, lines } = readOf(
      `{ podSelector: {}, ingress: [{ from: [{ ipBlock: ${block} }] }] }`,
    );
    expect(policy).not.toHaveProperty("omitted");
    return { rule: rules.ingress[0], lines };
  };

  test.each([
    ["{ cidr: 010.020.000.000/16 }", "10.20.0.0/16 on all"],
    ["{ cidr: 10.0.0.0/08 }", "10.0.0.0/8 on all"],
    ["{ cidr: 192.168.001.1/0024 }", "192.168.1.0/24 on all"],
    ['{ cidr: "::ffff:10.30.0.0/112" }', "10.30.0.0/16 on all"],
    ['{ cidr: "::FFFF:0a1e:0/112" }', "10.30.0.0/16 on all"],
    ['{ cidr: "::ffff:0:0/96" }', "0.0.0.0/0 on all"],
    ['{ cidr: "00001::/16" }', "1::/16 on all"],
    ["{ cidr: 10.0.0.0/8, except: [010.1.0.0/16] }", "10.0.0.0/8 not 10.1.0.0/16 on all"],
    ['{ cidr: 10.0.0.0/8, except: ["::ffff:10.1.0.0/112"] }', "10.0.0.0/8 not 10.1.0.0/16 on all"],
    ["{ cidr: 10.0.0.0/24, except: [10.0.0.0/24] }", "nothing on all"],
    ["{ cidr: 10.0.0.0/24, except: [10.0.0.0/16, 10.0.0.128/25] }", "nothing on all"],
  ])("%s, with a warning", (block, expected) => {
    const { rule, lines } = blockOf(block);
    expect(rule).toBe(expected);
    expect(lines).toHaveLength(1);
  });

  test.each([
    ["{ cidr: 192.168.1.1/24 }", "192.168.1.0/24 on all"],
    ["{ cidr: 10.0.0.0/0 }", "0.0.0.0/0 on all"],
    ['{ cidr: "::1.2.3.4/128" }', "::102:304/128 on all"],
    ['{ cidr: "1:2:3:4:5:6:1.2.3.4/96" }', "1:2:3:4:5:6::/96 on all"],
    ['{ cidr: "FE80::0001/64" }', "fe80::/64 on all"],
  ])("%s, without a warning", (block, expected) => {
    expect(blockOf(block)).toEqual({ rule: expected, lines: [] });
  });

  const LONG = "v".repeat(64);
  test.each([
    ["matchLabels: { app: 'we b' }", "app in ()"],
    [`matchLabels: { app: ${LONG} }`, "app in ()"],
    ["matchLabels: { app: web, tier: -x }", "app=web,tier in ()"],
    ["matchExpressions: [{ key: app, operator: In, values: ['we b'] }]", "app in ()"],
    ["matchExpressions: [{ key: app, operator: In, values: ['we b', web] }]", "app=web"],
    ["matchExpressions: [{ key: app, operator: In, values: ['a,b', a, b] }]", "app in (a,b)"],
    ["matchExpressions: [{ key: app, operator: NotIn, values: ['we b'] }]", "app notin ()"],
    ["matchExpressions: [{ key: app, operator: NotIn, values: ['we b', web] }]", "app notin (web)"],
  ])("values that no label can have: %s", (selector, expected) => {
    const peer = readOf(`{ podSelector: {}, ingress: [{ from: [{ podSelector: { ${selector} } }] }] }`);
    expect(peer.rules.ingress).toEqual([`ns own pods {${expected}} on all`]);
    const namespaces = readOf(
      `{ podSelector: {}, ingress: [{ from: [{ namespaceSelector: { ${selector} } }] }] }`,
    );
    expect(namespaces.rules.ingress).toEqual([`ns {${expected}} pods {} on all`]);
    for (const { policy, lines } of [peer, namespaces, readOf(`{ podSelector: { ${selector} } }`)]) {
      expect(policy).not.toHaveProperty("omitted");
      expect(policy.unreadable).toBeUndefined();
      expect(lines).toHaveLength(1);
      expect(lines[0]).toMatch(/so no label has it; write a value that labels have$/);
    }
  });

  test("an empty value is one that labels can have", () => {
    const { rules, lines } = readOf(
      "{ podSelector: {}, ingress: [{ from: [{ podSelector: { matchLabels: { app: '' } } }] }] }",
    );
    expect({ rules: rules.ingress, lines }).toEqual({ rules: ["ns own pods {app=} on all"], lines: [] });
  });
});

describe("whatever one fault does, it only denies more", () => {
  const namespaces: ReadonlyMap<string, Namespace> = new Map(
    [
      ["shop", "red"],
      ["blue", "blue"],
    ].map(([name = "", team = ""]) => [
      name,
      {
        name,
        labels: new Map([
          ["team", team],
          ["kubernetes.io/metadata.name", name],
        ]),
      },
    ]),
  );
  const podOf = (
    namespace: string,
    name: string,
    ip: string,
    labels: Readonly<Record<string, string>>,
  ): Pod => ({
    namespace,
    name,
    labels: new Map(Object.entries(labels)),
    ips: [must(parseAddress(ip))],
    hostNetwork: false,
    finished: false,
    ports: [{ name: "http", port: 8080, protocol: "TCP" }],
  });
  const pods = [
    podOf("shop", "web", "10.9.0.1", { app: "web", tier: "1" }),
    podOf("shop", "plain", "10.9.0.2", { app: "plain" }),
    podOf("shop", "api", "10.9.0.3", { app: "api" }),
    podOf("blue", "cart", "10.1.0.4", { app: "cart" }),
    podOf("blue", "other", "192.0.2.5", { app: "other" }),
  ];
  /** Another policy of the namespace, which a faulty one must not open. */
  const strict = policyIn(
    parse({
      ...FULL,
      metadata: { name: "strict", namespace: "shop" },
      spec: { podSelector: { matchLabels: { app: "plain" } }, policyTypes: ["Ingress", "Egress"] },
    }),
  );
  const ends: readonly Party[] = [
    ...pods.map((pod): Party => ({ kind: "pod", pod, address: pod.ips[0] as Pod["ips"][number] })),
    ...["10.1.2.3", "10.3.2.1", "203.0.113.1"].map(
      (text): Party => ({ kind: "address", address: must(parseAddress(text)) }),
    ),
  ];

  /** "from to protocol port" of all that is allowed. */
  function allowedBy(policy: Policy | undefined): ReadonlySet<string> {
    const policies = [strict, policy].flatMap((each) => each ?? []);
    const cluster: Cluster = {
      namespaces,
      pods: new Map(pods.map((pod) => [keyOf(pod), pod])),
      policies: new Map(policies.map((each) => [keyOf(each), each])),
      services: new Map(),
      slices: new Map(),
    };
    const allowed = new Set<string>();
    for (const from of ends)
      for (const to of ends)
        for (const [protocol, port] of [
          ["TCP", 80],
          ["TCP", 85],
          ["TCP", 8080],
          ["UDP", 53],
          ["ICMP", 0],
        ] as const)
          if (evaluate(cluster, { from, to, protocol, port }).allowed)
            allowed.add(`${from.address.text} ${to.address.text} ${protocol} ${port}`);
    return allowed;
  }

  const base = allowedBy(policyIn(parse(FULL)));

  /** If it is not known any more which pods are meant, or if another list is another policy. */
  const isOther = ({ value }: Place, changed: Json): boolean => {
    const typeOf = (each: Json): string =>
      Array.isArray(each) ? "list" : each === null ? "null" : typeof each;
    return typeof value === "object" && typeOf(value) === typeOf(changed);
  };

  /** Which pods and which kind of object it is about. */
  const identity = new Set<Json>(["networking.k8s.io/v1", "NetworkPolicy", "shop", FULL.metadata, FULL]);
  const places = placesIn(FULL).filter(({ value }) => !identity.has(value));

  test("a value of another kind, anywhere", () => {
    const faults = fc
      .tuple(fc.constantFrom(...places), anyJson)
      .filter(([place, value]) => !isOther(place, value))
      .map(([place, value]) => parse(place.put(value)));
    fc.assert(
      fc.property(faults, (document) => {
        if (!hasErrors(document)) return;
        expect([...allowedBy(policyIn(document))].filter((each) => !base.has(each))).toEqual([]);
      }),
      { numRuns: 3_000 },
    );
  });

  test("a field that is misspelt, or added, anywhere", () => {
    for (const { value, rename, put } of places) {
      const changes: Json[] =
        rename === undefined ? [] : ["x", "Spec", "matchlabels", "form"].map((to) => rename(to));
      if (typeof value === "object" && value !== null && !Array.isArray(value))
        changes.push(put({ ...value, extra: 1 }));
      for (const changed of changes) {
        const document = parse(changed);
        if (!hasErrors(document)) continue;
        expect([...allowedBy(policyIn(document))].filter((each) => !base.has(each))).toEqual([]);
      }
    }
  });

  test("the base allows and denies something, so that this can fail", () => {
    expect(base.size).toBeGreaterThan(20);
    expect(base.size).toBeLessThan(ends.length * ends.length * 5 - 20);
    const open = policyIn(parse({ ...FULL, spec: { podSelector: FULL.spec.podSelector, ingress: [{}] } }));
    expect([...allowedBy(open)].every((each) => base.has(each))).toBe(false);
  });
});

function parse(value: Json): ParsedDocument {
  return parseDocument(value, { where: () => ({ file: "x" }) });
}

function policyIn({ objects }: ParsedDocument): Policy | undefined {
  const [object] = objects;
  return object?.kind === "NetworkPolicy" ? object.value : undefined;
}

const hasErrors = ({ objects, problems }: ParsedDocument): boolean =>
  [...problems, ...objects.flatMap((object) => object.problems)].some(({ severity }) => severity === "error");
