// The parsed form of valid NetworkPolicies: the seed documents' own policies, and the API's defaults.

import { describe, expect, test } from "vitest";
import { selectorText } from "../../../../src/model/selector.ts";
import { cleanPolicy, outcomeOf, policyYaml, ruleText } from "../support.ts";

function summary(text: string) {
  const { namespace, name, subject, isolates, rules, unreadable } = cleanPolicy(text);
  expect(unreadable).toBeUndefined();
  return {
    policy: `${namespace}/${name} {${selectorText(subject)}}`,
    isolates: [...(isolates.ingress ? ["ingress"] : []), ...(isolates.egress ? ["egress"] : [])].join(" "),
    ingress: rules.ingress.map(ruleText),
    egress: rules.egress.map(ruleText),
  };
}

const document = (metadata: string, spec: string): string => policyYaml(spec, metadata);

describe("the policies of the seed documents", () => {
  test.each([
    {
      title: "every peer kind in one rule",
      text: document(
        "{ namespace: alpha, name: test-network-policy }",
        `
  egress: [{ ports: [{ port: 80, protocol: TCP }], to: [{ ipBlock: { cidr: 10.0.0.0/8 } }] }]
  ingress:
    - ports:
        - port: 80
          protocol: TCP
      from:
        - ipBlock:
            cidr: 10.63.48.0/22
            except:
              - 10.63.48.4/32
        - namespaceSelector:
            matchLabels:
              ns: a
        - podSelector:
            matchLabels:
              run: nginx
        - podSelector:
            matchLabels:
              app: hammer
          namespaceSelector:
            matchLabels:
              ns: b
  podSelector:
    matchLabels:
      run: nginx
  policyTypes: [Egress, Ingress]`,
      ),
      policy: "alpha/test-network-policy {run=nginx}",
      isolates: "ingress egress",
      ingress: [
        "10.63.48.0/22 not 10.63.48.4/32 | ns {ns=a} pods {} | ns own pods {run=nginx} | ns {ns=b} pods {app=hammer} on TCP 80-80",
      ],
      egress: ["10.0.0.0/8 on TCP 80-80"],
    },
    {
      title: "no policyTypes, empty matchLabels",
      text: document("{ name: alpha-deny, namespace: alpha }", "\n  podSelector:\n    matchLabels: {}"),
      policy: "alpha/alpha-deny {}",
      isolates: "ingress",
      ingress: [],
      egress: [],
    },
    {
      title: "one client",
      text: document(
        "{ name: access-nginx, namespace: alpha }",
        `{ ingress: [{ from: [{ podSelector: { matchLabels: { run: access } } }] }], podSelector: { matchLabels: { run: nginx } } }`,
      ),
      policy: "alpha/access-nginx {run=nginx}",
      isolates: "ingress",
      ingress: ["ns own pods {run=access} on all"],
      egress: [],
    },
    {
      title: "the reference's example, in the default namespace",
      text: document(
        "{ name: test-network-policy }",
        `
  podSelector: { matchLabels: { role: db } }
  policyTypes:
    - Ingress
    - Egress
  ingress:
    - from:
        - ipBlock: { except: [172.17.1.0/24], cidr: 172.17.0.0/16 }
        - namespaceSelector: { matchLabels: { project: myproject } }
        - podSelector: { matchLabels: { role: frontend } }
      ports: [{ port: 6379 }]
  egress:
    - to: [{ ipBlock: { cidr: 10.0.0.0/24 } }]
      ports: [{ protocol: TCP, port: 5978 }]`,
      ),
      policy: "default/test-network-policy {role=db}",
      isolates: "ingress egress",
      ingress: [
        "172.17.0.0/16 not 172.17.1.0/24 | ns {project=myproject} pods {} | ns own pods {role=frontend} on TCP 6379-6379",
      ],
      egress: ["10.0.0.0/24 on TCP 5978-5978"],
    },
    ...[
      { spec: "policyTypes: [Ingress]", isolates: "ingress", ingress: [], egress: [] },
      {
        spec: "policyTypes: [Ingress], ingress: [{}]",
        isolates: "ingress",
        ingress: ["anyone on all"],
        egress: [],
      },
      { spec: "policyTypes: [Egress]", isolates: "egress", ingress: [], egress: [] },
      {
        spec: "policyTypes: [Egress], egress: [{}]",
        isolates: "egress",
        ingress: [],
        egress: ["anyone on all"],
      },
      { spec: "policyTypes: [Ingress, Egress]", isolates: "ingress egress", ingress: [], egress: [] },
    ].map(({ spec, ...rest }) => ({
      title: `default: ${spec}`,
      text: document("{ name: default, namespace: d }", `{ podSelector: {}, ${spec} }`),
      policy: "d/default {}",
      ...rest,
    })),
    {
      title: "peers and ports in two rules: DNS to anywhere, hello on every port",
      text: document(
        "{ name: foo-allow-to-hello, namespace: default }",
        `
  podSelector: { matchLabels: { app: foo } }
  policyTypes: [Egress]
  egress:
    - to: [{ podSelector: { matchLabels: { app: hello } } }]
    - ports: [{ port: 53, protocol: TCP }, { port: 53, protocol: UDP }]`,
      ),
      policy: "default/foo-allow-to-hello {app=foo}",
      isolates: "egress",
      ingress: [],
      egress: ["ns own pods {app=hello} on all", "anyone on TCP 53-53, UDP 53-53"],
    },
    {
      title: "isolated both ways with rules for one",
      text: document(
        "{ name: demo-db, namespace: default }",
        `{ podSelector: { matchLabels: { app: demo-db } }, policyTypes: [Ingress, Egress],
  ingress: [{ from: [{ podSelector: { matchLabels: { app: demo } } }] }] }`,
      ),
      policy: "default/demo-db {app=demo-db}",
      isolates: "ingress egress",
      ingress: ["ns own pods {app=demo} on all"],
      egress: [],
    },
    {
      title: "both selectors in each element",
      text: document(
        "{ name: store-api, namespace: store }",
        `
  podSelector: {}
  policyTypes: [Ingress, Egress]
  ingress:
    - from: [{ podSelector: &f { matchLabels: { app: frontend } }, namespaceSelector: *f }]
      ports: &http [{ protocol: TCP, port: 8080 }]
  egress:
    - to:
        - { podSelector: &one { matchLabels: { app: downstream-1 } }, namespaceSelector: *one }
        - { podSelector: &two { matchLabels: { app: downstream-2 } }, namespaceSelector: *two }
      ports: *http`,
      ),
      policy: "store/store-api {}",
      isolates: "ingress egress",
      ingress: ["ns {app=frontend} pods {app=frontend} on TCP 8080-8080"],
      egress: [
        "ns {app=downstream-1} pods {app=downstream-1} | ns {app=downstream-2} pods {app=downstream-2} on TCP 8080-8080",
      ],
    },
  ])("$title", ({ text, title: _, ...expected }) => {
    expect(summary(text)).toEqual(expected);
  });
});

describe("the API's rules for missing, empty or boundary values", () => {
  test.each([
    ["ingress: []", "ingress", [], []],
    ["egress: [{ to: [{ podSelector: {} }] }]", "ingress egress", [], ["ns own pods {} on all"]],
    ["policyTypes: [], egress: [{}]", "ingress egress", [], ["anyone on all"]],
    ["policyTypes: [Egress, Egress]", "egress", [], []],
    ["policyTypes: [Ingress], egress: [{}]", "ingress", [], ["anyone on all"]],
    ["ingress: [{ from: [], ports: [] }]", "ingress", ["anyone on all"], []],
    ["ingress: [{ ports: [{}] }]", "ingress", ["anyone on TCP 0-65535"], []],
    ["ingress: [{ ports: [{ protocol: SCTP }] }]", "ingress", ["anyone on SCTP 0-65535"], []],
    [
      "ingress: [{ ports: [{ port: 1 }, { port: 65535 }] }]",
      "ingress",
      ["anyone on TCP 1-1, TCP 65535-65535"],
      [],
    ],
    ["ingress: [{ ports: [{ port: 5, endPort: 5 }] }]", "ingress", ["anyone on TCP 5-5"], []],
    [
      "ingress: [{ ports: [{ port: 1, endPort: 65535, protocol: UDP }] }]",
      "ingress",
      ["anyone on UDP 1-65535"],
      [],
    ],
    ["ingress: [{ ports: [{ port: http }, { port: 3-a }] }]", "ingress", ["anyone on TCP http, TCP 3-a"], []],
    [
      "ingress: [{ ports: [{ port: 80.0 }, { port: 0x50 }] }]",
      "ingress",
      ["anyone on TCP 80-80, TCP 80-80"],
      [],
    ],
    ["ingress: [{ from: [{ namespaceSelector: {} }] }]", "ingress", ["ns {} pods {} on all"], []],
    ["ingress: [{ from: [{ ipBlock: { cidr: 10.10.1.12/24 } }] }]", "ingress", ["10.10.1.0/24 on all"], []],
    [
      "ingress: [{ from: [{ ipBlock: { cidr: 0.0.0.0/0, except: [] } }] }]",
      "ingress",
      ["0.0.0.0/0 on all"],
      [],
    ],
    [
      'ingress: [{ from: [{ ipBlock: { cidr: "2001:DB8:0::/32", except: ["2001:db8::1/33"] } }] }]',
      "ingress",
      ["2001:db8::/32 not 2001:db8::/33 on all"],
      [],
    ],
    [
      "ingress: [{ from: [{ ipBlock: { cidr: 10.0.0.0/24, except: [10.0.0.9/25, 10.0.0.9/32] } }] }]",
      "ingress",
      ["10.0.0.0/24 not 10.0.0.0/25 not 10.0.0.9/32 on all"],
      [],
    ],
  ])("%s", (spec, isolates, ingress, egress) => {
    const text = policyYaml(`{ podSelector: {}, ${spec} }`);
    expect(summary(text)).toEqual({ policy: "shop/web {}", isolates, ingress, egress });
  });

  test("an empty egress without policyTypes does not isolate egress, as in the API server, and is reported", () => {
    const { values, lines } = outcomeOf(policyYaml("{ podSelector: {}, egress: [] }"));
    expect(values.get("NetworkPolicy shop/web")).toMatchObject({
      isolates: { ingress: true, egress: false },
    });
    expect(lines).toEqual([
      "x.yaml:4:26: NetworkPolicy shop/web: spec.egress: is empty and policyTypes is missing, so egress is not isolated; if it should be, write policyTypes: [Ingress, Egress]",
    ]);
  });

  test("fields that the API server adds to an object are accepted", () => {
    const metadata = `{ name: web, namespace: shop, uid: 1-2, resourceVersion: "7", generation: 1, creationTimestamp: null,
  labels: { app.kubernetes.io/name: web }, annotations: { any/thing: "at all" }, managedFields: [{ manager: kubectl }],
  ownerReferences: [], finalizers: [], selfLink: /x }`;
    expect(cleanPolicy(`${policyYaml("{ podSelector: {} }", metadata)}status: {}\n`).name).toBe("web");
  });
});

describe("selectors", () => {
  test.each([
    ["{ matchLabels: { b: x, a: w } }", "a=w,b=x"],
    ["{ matchExpressions: [{ key: a, operator: In, values: [x, v, x] }] }", "a in (v,x)"],
    ["{ matchExpressions: [{ key: a, operator: NotIn, values: [x] }] }", "a notin (x)"],
    ["{ matchExpressions: [{ key: a, operator: Exists }] }", "a"],
    ["{ matchExpressions: [{ key: a, operator: DoesNotExist, values: [] }] }", "!a"],
    ["{ matchLabels: { a: x }, matchExpressions: [{ key: a, operator: In, values: [''] }] }", "a=,a=x"],
    [
      "{ matchLabels: { constructor: x, toString: v, hasOwnProperty: z } }",
      "constructor=x,hasOwnProperty=z,toString=v",
    ],
    [`{ matchLabels: { ${"k".repeat(63)}: ${"v".repeat(63)} } }`, `${"k".repeat(63)}=${"v".repeat(63)}`],
    ['{ matchLabels: { example.com/A_b.c-9: "", "1": "2" } }', "1=2,example.com/A_b.c-9="],
  ])("%s", (selector, expected) => {
    expect(selectorText(cleanPolicy(policyYaml(`{ podSelector: ${selector} }`)).subject)).toBe(expected);
  });
});
