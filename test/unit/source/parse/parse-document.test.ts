// Pods, Namespaces, lists and all other kinds of documents.

import { describe, expect, test } from "vitest";
import type { Pod } from "../../../../src/model/cluster.ts";
import { linesOf, outcomeOf, policyYaml, problemsIn, readingOf } from "../support.ts";

const podYaml = (rest: string, metadata = ""): string =>
  `apiVersion: v1\nkind: Pod\nmetadata: { name: web-1, namespace: shop, ${metadata} }\n${rest}\n`;

/** The pod of a text that must read without any problem, its addresses as text. */
function cleanPod(text: string) {
  const reading = readingOf(text);
  expect(linesOf(problemsIn(reading))).toEqual([]);
  const pod = reading.objects[0]?.value as Pod;
  return { ...pod, ips: pod.ips.map((ip) => ip.text), labels: Object.fromEntries(pod.labels) };
}

const PLAIN = {
  namespace: "shop",
  name: "web-1",
  labels: {},
  ips: [],
  hostNetwork: false,
  finished: false,
  ports: [],
};

describe("pods", () => {
  test("as kubectl get -o yaml prints them, with hundreds of fields that are ignored", () => {
    const text = `
apiVersion: v1
kind: Pod
metadata:
  annotations:
    kubectl.kubernetes.io/last-applied-configuration: |
      {"apiVersion":"v1","kind":"Pod"}
    weir.dev/netns: web-1
  creationTimestamp: "2026-01-02T03:04:05Z"
  generateName: web-
  labels:
    app: web
    pod-template-hash: 6d4b75cb6d
  name: web-6d4b75cb6d-x2x4k
  namespace: shop
  ownerReferences:
  - { apiVersion: apps/v1, blockOwnerDeletion: true, controller: true, kind: ReplicaSet, name: web-6d4b75cb6d, uid: 1-2 }
  resourceVersion: "1234"
  uid: 00000000-0000-0000-0000-000000000000
spec:
  containers:
  - image: nginx
    name: web
    ports:
    - { containerPort: 8080, name: http, protocol: TCP }
    - { containerPort: 8080, name: http3, protocol: UDP, hostPort: 80 }
    resources: {}
    volumeMounts:
    - { mountPath: /x, name: x, readOnly: true }
  - name: sidecar
    ports:
  initContainers:
  - { name: once, ports: [{ containerPort: 1, name: never }] }
  - { name: proxy, restartPolicy: Always, ports: [{ containerPort: 9 }] }
  nodeName: node-1
  tolerations:
  - { effect: NoExecute, key: node.kubernetes.io/not-ready, operator: Exists, tolerationSeconds: 300 }
  volumes:
  - { name: x, configMap: { defaultMode: 0644, name: x } }
status:
  conditions:
  - { lastProbeTime: null, lastTransitionTime: "2026-01-02T03:04:05Z", status: "True", type: Ready }
  hostIP: 192.0.2.1
  phase: Running
  podIP: 10.0.0.7
  podIPs:
  - ip: 10.0.0.7
  - ip: 2001:DB8::7
  qosClass: BestEffort
`;
    expect(cleanPod(text)).toEqual({
      namespace: "shop",
      name: "web-6d4b75cb6d-x2x4k",
      labels: { app: "web", "pod-template-hash": "6d4b75cb6d" },
      ips: ["10.0.0.7", "2001:db8::7"],
      hostNetwork: false,
      node: "node-1",
      finished: false,
      ports: [
        { name: "http", port: 8080, protocol: "TCP" },
        { name: "http3", port: 8080, protocol: "UDP" },
        { port: 9, protocol: "TCP" },
      ],
      attachment: { kind: "netns", name: "web-1" },
    });
  });

  test.each([
    ["", PLAIN],
    ["status: { podIP: 10.0.0.7 }", { ...PLAIN, ips: ["10.0.0.7"] }],
    ['status: { podIP: "", podIPs: [] }', PLAIN],
    ["status: { podIPs: null, podIP: 10.0.0.7, phase: Pending }", { ...PLAIN, ips: ["10.0.0.7"] }],
    ["status: { podIPs: [{ ip: 10.0.0.7 }, { ip: 10.0.0.7 }] }", { ...PLAIN, ips: ["10.0.0.7"] }],
    ["status: { phase: Succeeded }", { ...PLAIN, finished: true }],
    ["status: { phase: Failed }", { ...PLAIN, finished: true }],
    ["spec: { hostNetwork: true }", { ...PLAIN, hostNetwork: true }],
    ["spec: { hostNetwork: null, nodeName: null, containers: null }\nstatus: null", PLAIN],
    [
      "spec: { containers: [{ ports: [{ containerPort: 53, name: '' }] }] }",
      { ...PLAIN, ports: [{ port: 53, protocol: "TCP" }] },
    ],
  ])("%s", (rest, expected) => {
    expect(cleanPod(podYaml(rest))).toEqual(expected);
  });

  test("a deleting pod is not a finished one", () => {
    const text = podYaml("status: { phase: Running }", 'deletionTimestamp: "2026-01-02T03:04:05Z"');
    expect(cleanPod(text).finished).toBe(false);
  });

  test.each([
    ["weir.dev/interface: veth-1_a.b", { kind: "link", name: "veth-1_a.b" }],
    [
      "weir.dev/netns: cni-00000000-0000-0000-0000-000000000000",
      { kind: "netns", name: "cni-00000000-0000-0000-0000-000000000000" },
    ],
  ])("annotation %s", (annotation, attachment) => {
    expect(cleanPod(podYaml("", `annotations: { ${annotation} }`)).attachment).toEqual(attachment);
  });

  test.each([
    "weir.dev/interface: ../veth",
    "weir.dev/interface: ''",
    "weir.dev/interface: sixteen-letters-",
    "weir.dev/interface: 'a b'",
    "weir.dev/interface: 7",
    "weir.dev/netns: ..",
    "weir.dev/netns: a/b",
  ])("annotation %s is refused", (annotation) => {
    const { values, lines } = outcomeOf(podYaml("", `annotations: { ${annotation} }`));
    expect(values.get("Pod shop/web-1")).not.toHaveProperty("attachment");
    expect(lines).toHaveLength(1);
    expect(lines[0]).toMatch(/the pod's interface is looked up by its addresses$/);
  });
});

describe("namespaces", () => {
  test("always have the label of their name", () => {
    const { values, lines } = outcomeOf(
      "apiVersion: v1\nkind: Namespace\nmetadata: { name: shop, labels: { team: a } }",
    );
    expect(lines).toEqual([]);
    expect(values.get("Namespace shop")).toEqual({
      name: "shop",
      labels: new Map([
        ["team", "a"],
        ["kubernetes.io/metadata.name", "shop"],
      ]),
    });
  });
});

describe("lists", () => {
  const items = `items:\n- ${policyYaml("{ podSelector: {} }").trim().replaceAll("\n", "\n  ")}\n`;

  test.each([
    ["kind: List\napiVersion: v1\nmetadata: { resourceVersion: '' }\n", items, ["NetworkPolicy shop/web"]],
    ["kind: NetworkPolicyList\napiVersion: networking.k8s.io/v1\n", items, ["NetworkPolicy shop/web"]],
    [
      "kind: NetworkPolicyList\napiVersion: networking.k8s.io/v1\n",
      "items: [{ metadata: { name: bare }, spec: { podSelector: {} } }]",
      ["NetworkPolicy default/bare"],
    ],
    ["kind: PodList\napiVersion: v1\n", "items: [{ metadata: { name: a } }]", ["Pod default/a"]],
    ["kind: NamespaceList\napiVersion: v1\n", "items: [{ metadata: { name: a } }]", ["Namespace a"]],
    ["kind: SecretList\napiVersion: v1\n", "items: [{ metadata: 7 }]", []],
    ["kind: List\napiVersion: v1\n", "items: null", []],
    ["kind: List\napiVersion: v1\n", "items: [{ apiVersion: v1, kind: Secret, metadata: { name: a } }]", []],
  ])("%s%s", (head, body, expected) => {
    const { values, lines } = outcomeOf(head + body);
    expect(lines).toEqual([]);
    expect([...values.keys()]).toEqual(expected);
  });

  test("each element has its own problems, with its place and path in the list", () => {
    const { values, lines } = outcomeOf(`
apiVersion: networking.k8s.io/v1
kind: NetworkPolicyList
items:
  - { metadata: { name: a }, spec: { podSelector: {}, podSelectors: {} } }
  - { metadata: { name: b }, spec: { podSelector: {} } }
  - { metadata: { name: c }, spec: { podSelector: {}, ingress: [], ingress: [{}] } }
  - 7
  -
  - { apiVersion: v1, kind: List, items: [] }
`);
    const isolatedBoth = "its pods are isolated (ingress and egress) and nothing is allowed by it";
    expect([...values.keys()]).toEqual([
      "NetworkPolicy default/a",
      "NetworkPolicy default/b",
      "NetworkPolicy default/c",
    ]);
    expect(lines).toEqual([
      `x.yaml:5:55: NetworkPolicy default/a: items[0].spec.podSelectors: unknown field; expected podSelector, policyTypes, ingress or egress; ${isolatedBoth}`,
      `x.yaml:7:68: NetworkPolicy default/c: items[2].spec.ingress: duplicate key; the first one is in line 7; no ingress rule of the policy is used`,
      "x.yaml:8:5: items[3]: must be a map, not a number; the document is ignored",
      "x.yaml:9:4: items[4]: must be a map, not null (no value); the document is ignored",
      "x.yaml:10:23: items[5].kind: a list inside a list is not read; the document is ignored",
    ]);
  });
});

describe("other documents", () => {
  test.each([
    "",
    "# nothing but a comment\n---\n---\n",
    "apiVersion: v1\nkind: ConfigMap\nmetadata: { name: 7 }\ndata: { type: on, type: off }",
    "apiVersion: apps/v1\nkind: Deployment",
    "apiVersion: metrics.k8s.io/v1beta1\nkind: PodMetrics",
    "apiVersion: example.com/v1\nkind: Pod",
    "apiVersion: networking.k8s.io/v1\nkind: Ingress",
    "apiVersion: networking.k8s.io/v1\nkind: IngressClassList\nitems: []",
  ])("ignored: %j", (text) => {
    expect(outcomeOf(text)).toEqual({ values: new Map(), lines: [] });
  });

  test.each([
    ["7", "x.yaml:1:1: must be a map, not a number"],
    ["a: 1", "x.yaml:1:1: kind: is missing; expected a kind such as NetworkPolicy"],
    ["kind: 7\napiVersion: v1", "x.yaml:1:1: kind: must be a string, not a number (quote it)"],
    ["kind: Pod", "x.yaml:1:1: apiVersion: is missing; expected v1"],
    ["kind: Pod\napiVersion: v2", "x.yaml:2:1: apiVersion: v2 is not read; expected v1"],
    ["kind: Secret\napiVersion: a/b/c", 'x.yaml:2:1: apiVersion: "a/b/c" is not an apiVersion'],
    ["kind: some thing\napiVersion: v1", 'x.yaml:1:1: kind: "some thing" is not a kind'],
    ["kind: pod\napiVersion: v1", 'x.yaml:1:1: kind: "pod" is not a kind that Weir reads; did you mean Pod?'],
    [
      "kind: NetworkPolicyList\napiVersion: extensions/v1beta1",
      "x.yaml:2:1: apiVersion: extensions/v1beta1 is not read; expected networking.k8s.io/v1",
    ],
    ["kind: List\napiVersion: v1", "x.yaml:1:1: items: is missing"],
    ["kind: List\napiVersion: v1\nitems: {}", "x.yaml:3:1: items: must be a list, not a map"],
    [
      "kind: List\napiVersion: v1\nitems: []\nitems: []",
      "x.yaml:4:1: items: duplicate key; the first one is in line 3",
    ],
  ])("refused: %j", (text, line) => {
    expect(outcomeOf(text)).toEqual({ values: new Map(), lines: [`${line}; the document is ignored`] });
  });

  test.each(["NetworkPolicies", "networkpolicy", "Network-Policy", "NetworkPolicys"])(
    "a policy whose kind is misspelt as %s still isolates its pods",
    (kind) => {
      const text = policyYaml("{ podSelector: {}, policyTypes: [Egress], ingress: 7 }").replace(
        "NetworkPolicy",
        kind,
      );
      const { values, lines } = outcomeOf(text);
      expect(values.get("NetworkPolicy shop/web")).toMatchObject({
        isolates: { ingress: false, egress: true },
        rules: { ingress: [], egress: [] },
      });
      expect(lines).toEqual([
        `x.yaml:2:1: NetworkPolicy shop/web: kind: "${kind}" is not a kind that Weir reads; did you mean NetworkPolicy?; its pods are isolated (egress) and nothing is allowed by it`,
      ]);
    },
  );

  test("so does one of a kind that does not exist in networking.k8s.io", () => {
    const text = policyYaml("{ podSelector: {} }").replace("NetworkPolicy", "NetworkPolcy");
    expect(outcomeOf(text).lines).toEqual([
      "x.yaml:2:1: NetworkPolicy shop/web: kind: NetworkPolcy is not a kind of networking.k8s.io/v1; expected NetworkPolicy; its pods are isolated (ingress) and nothing is allowed by it",
    ]);
  });
});
