// Values for the random tests of the parsers, and the places of a value where a fault can be.

import fc from "fast-check";

export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };

/** Keys and texts that the parsers recognize, and some that break careless code. */
const words = fc.constantFrom(
  ...[
    "apiVersion",
    "kind",
    "metadata",
    "spec",
    "status",
    "items",
    "name",
    "namespace",
    "labels",
    "annotations",
  ],
  ...[
    "podSelector",
    "namespaceSelector",
    "ipBlock",
    "cidr",
    "except",
    "matchLabels",
    "matchExpressions",
    "key",
    "operator",
  ],
  ...[
    "values",
    "In",
    "Exists",
    "policyTypes",
    "Ingress",
    "Egress",
    "ingress",
    "egress",
    "from",
    "to",
    "ports",
    "port",
  ],
  ...[
    "endPort",
    "protocol",
    "TCP",
    "podIPs",
    "ip",
    "10.0.0.1",
    "10.0.0.0/8",
    "containers",
    "hostNetwork",
    "phase",
    "v1",
  ],
  ...[
    "NetworkPolicy",
    "Pod",
    "Namespace",
    "List",
    "NetworkPolicyList",
    "networking.k8s.io/v1",
    "weir.dev/interface",
    "weir.dev/allowed-sources",
    "a",
  ],
  ...[
    "__proto__",
    "constructor",
    "prototype",
    "toString",
    "hasOwnProperty",
    "",
    "\n",
    "\u2028",
    "\u001b[2J",
    "\ud800",
  ],
);
export const { anyJson } = fc.letrec<{ anyJson: Json }>((tie) => ({
  anyJson: fc.oneof(
    { maxDepth: 8, withCrossShrink: true },
    fc.oneof(
      words,
      fc.constant(null),
      fc.boolean(),
      fc.integer(),
      fc.double(),
      fc.string(),
    ) as fc.Arbitrary<Json>,
    fc.array(tie("anyJson"), { maxLength: 4 }),
    fc.dictionary(fc.oneof(words, fc.string()), tie("anyJson"), { maxKeys: 6 }) as fc.Arbitrary<Json>,
  ),
}));
export const documents = fc
  .record({
    apiVersion: fc.constantFrom("networking.k8s.io/v1", "v1", "discovery.k8s.io/v1"),
    kind: fc.constantFrom(
      ...["NetworkPolicy", "Pod", "Namespace", "Service", "EndpointSlice"],
      ...["List", "NetworkPolicyList", "PodList"],
    ),
    addressType: anyJson,
    endpoints: anyJson,
    ports: anyJson,
    metadata: fc.oneof(fc.constant({ name: "a" }), anyJson),
    spec: fc.oneof(fc.record({ podSelector: fc.constant({}), ingress: anyJson, egress: anyJson }), anyJson),
    status: anyJson,
    items: anyJson,
  })
  .map((document) => document as Json);

/** One policy that uses everything. */
export const FULL = {
  apiVersion: "networking.k8s.io/v1",
  kind: "NetworkPolicy",
  metadata: { name: "full", namespace: "shop" },
  spec: {
    podSelector: { matchLabels: { app: "web" }, matchExpressions: [{ key: "tier", operator: "Exists" }] },
    policyTypes: ["Ingress", "Egress"],
    ingress: [
      {
        from: [
          { podSelector: { matchExpressions: [{ key: "app", operator: "NotIn", values: ["api", "db"] }] } },
          {
            namespaceSelector: { matchLabels: { team: "blue" } },
            podSelector: { matchLabels: { app: "cart" } },
          },
          { ipBlock: { cidr: "10.0.0.0/8", except: ["10.1.0.0/16", "10.2.0.0/16"] } },
        ],
        ports: [{ protocol: "TCP", port: 80, endPort: 90 }, { port: "http" }],
      },
    ],
    egress: [{ to: [{ ipBlock: { cidr: "2001:db8::/32" } }], ports: [{ protocol: "UDP", port: 53 }] }],
  },
} satisfies Json;

/** Every place in a value, as the function that inserts another value there (or, with `key`, renames the field). */
export function placesIn(value: Json, put: (value: Json) => Json = (changed) => changed): Place[] {
  const own: Place = { value, put };
  if (value === null || typeof value !== "object") return [own];
  const entries: [string | number, Json][] = Array.isArray(value)
    ? [...value.entries()]
    : Object.entries(value);
  return [
    own,
    ...entries.flatMap(([key, item]) => {
      const putItem = (changed: Json): Json =>
        put(Array.isArray(value) ? value.with(Number(key), changed) : { ...value, [key]: changed });
      const rename = (to: string): Json =>
        put(
          Object.fromEntries(Object.entries(value).map(([name, field]) => [name === key ? to : name, field])),
        );
      return placesIn(item, putItem).map((place, index) =>
        index === 0 && !Array.isArray(value) ? { ...place, rename } : place,
      );
    }),
  ];
}

export interface Place {
  readonly value: Json;
  readonly put: (value: Json) => Json;
  readonly rename?: (to: string) => Json;
}
