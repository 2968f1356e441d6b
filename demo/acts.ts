// The demo's acts: which policy comes on stage, and who must then reach whom. The tables are written by hand, from the API's
// definition of NetworkPolicy and ClusterNetworkPolicy; nothing of Weir computes them.

/** The columns: whose web server, and on which port. */
export const TARGETS = [
  { name: "alpha/nginx-1", port: 80 },
  { name: "alpha/nginx-1", port: 8080 },
  { name: "alpha/reader", port: 80 },
  { name: "beta/hammer", port: 80 },
  { name: "far", port: 80 },
] as const;

export interface Act {
  readonly title: string;
  /** What a person should see in the table. */
  readonly story: readonly string[];
  /** File of demo/policies that is added; the earlier ones stay. */
  readonly policy?: string;
  /** Names that pods resolve before, to go to a target, over each family. */
  readonly lookups?: readonly { readonly pod: string; readonly name: string; readonly target: string }[];
  /**
   * By sender, one word for each target: "46" both families reach it, "4-" only IPv4 does, "--" neither; "self" is the
   * sender's own server, which no packet on a wire is needed for.
   */
  readonly expected: Readonly<Record<string, string>>;
}

export const ACTS: readonly Act[] = [
  {
    title: "open",
    story: ["No policy selects anybody, so nobody is isolated: everyone reaches everyone."],
    expected: {
      //                nginx:80  :8080  reader  hammer  far
      "alpha/nginx-2": "   46      46      46      46     46 ",
      "alpha/access": "    46      46      46      46     46 ",
      "alpha/reader": "    46      46     self     46     46 ",
      "beta/hammer": "     46      46      46     self    46 ",
      "beta/anvil": "      46      46      46      46     46 ",
      "gamma/hammer": "    46      46      46      46     46 ",
      inside: "            46      46      46      46     46 ",
      excepted: "          46      46      46      46     46 ",
      beyond: "            46      46      46      46     46 ",
      far: "               46      46      46      46    self",
      node: "              46      46      46      46     46 ",
    },
  },
  {
    title: "alpha-deny",
    story: [
      "Every pod of alpha is isolated for ingress. Their own connections to others, and the replies, still pass;",
      "so does what the pods' own node sends (the kubelet's probes).",
    ],
    policy: "alpha-deny.yaml",
    expected: {
      //                nginx:80  :8080  reader  hammer  far
      "alpha/nginx-2": "   --      --      --      46     46 ",
      "alpha/access": "    --      --      --      46     46 ",
      "alpha/reader": "    --      --     self     46     46 ",
      "beta/hammer": "     --      --      --     self    46 ",
      "beta/anvil": "      --      --      --      46     46 ",
      "gamma/hammer": "    --      --      --      46     46 ",
      inside: "            --      --      --      46     46 ",
      excepted: "          --      --      --      46     46 ",
      beyond: "            --      --      --      46     46 ",
      far: "               --      --      --      46    self",
      node: "              46      46      46      46     46 ",
    },
  },
  {
    title: "access-nginx",
    story: [
      "Policies add up: alpha/access (run=access) now reaches nginx, on every port. The rest of alpha stays shut.",
    ],
    policy: "access-nginx.yaml",
    expected: {
      //                nginx:80  :8080  reader  hammer  far
      "alpha/nginx-2": "   --      --      --      46     46 ",
      "alpha/access": "    46      46      --      46     46 ",
      "alpha/reader": "    --      --     self     46     46 ",
      "beta/hammer": "     --      --      --     self    46 ",
      "beta/anvil": "      --      --      --      46     46 ",
      "gamma/hammer": "    --      --      --      46     46 ",
      inside: "            --      --      --      46     46 ",
      excepted: "          --      --      --      46     46 ",
      beyond: "            --      --      --      46     46 ",
      far: "               --      --      --      46    self",
      node: "              46      46      46      46     46 ",
    },
  },
  {
    title: "test-network-policy",
    story: [
      "TCP 80 of nginx opens to 10.63.48.0/22 except 10.63.48.4, to namespaces with ns=a (alpha), and to pods that are",
      "app=hammer AND in a namespace with ns=b: beta/hammer, but neither beta/anvil nor gamma/hammer. And nginx itself is",
      "isolated for egress: TCP 80 in 10.0.0.0/8 and no more, so nginx-2 no longer reaches anything over IPv6.",
    ],
    policy: "test-network-policy.yaml",
    expected: {
      //                nginx:80  :8080  reader  hammer  far
      "alpha/nginx-2": "   4-      --      --      4-     -- ",
      "alpha/access": "    46      46      --      46     46 ",
      "alpha/reader": "    46      --     self     46     46 ",
      "beta/hammer": "     46      --      --     self    46 ",
      "beta/anvil": "      --      --      --      46     46 ",
      "gamma/hammer": "    --      --      --      46     46 ",
      inside: "            4-      --      --      46     46 ",
      excepted: "          --      --      --      46     46 ",
      beyond: "            --      --      --      46     46 ",
      far: "               --      --      --      46    self",
      node: "              46      46      46      46     46 ",
    },
  },
  {
    title: "beta-wall",
    story: [
      "A ClusterNetworkPolicy of the Admin tier, before all NetworkPolicies: to beta, Pass what comes from alpha (no",
      "NetworkPolicy isolates beta, so it passes), and Deny what comes from the pods of all other namespaces, beta's own",
      "included. Machines that are no pods are not among those peers.",
    ],
    policy: "beta-wall.yaml",
    expected: {
      //                nginx:80  :8080  reader  hammer  far
      "alpha/nginx-2": "   4-      --      --      4-     -- ",
      "alpha/access": "    46      46      --      46     46 ",
      "alpha/reader": "    46      --     self     46     46 ",
      "beta/hammer": "     46      --      --     self    46 ",
      "beta/anvil": "      --      --      --      --     46 ",
      "gamma/hammer": "    --      --      --      --     46 ",
      inside: "            4-      --      --      46     46 ",
      excepted: "          --      --      --      46     46 ",
      beyond: "            --      --      --      46     46 ",
      far: "               --      --      --      46    self",
      node: "              46      46      46      46     46 ",
    },
  },
  {
    title: "gamma-names",
    story: [
      "Gamma may ask a resolver, and go to *.far.example by name. Far away has such a name, but gamma/hammer has not",
      "resolved it: an address alone opens nothing.",
    ],
    policy: "gamma-names.yaml",
    expected: {
      //                nginx:80  :8080  reader  hammer  far
      "alpha/nginx-2": "   4-      --      --      4-     -- ",
      "alpha/access": "    46      46      --      46     46 ",
      "alpha/reader": "    46      --     self     46     46 ",
      "beta/hammer": "     46      --      --     self    46 ",
      "beta/anvil": "      --      --      --      --     46 ",
      "gamma/hammer": "    --      --      --      --     -- ",
      inside: "            4-      --      --      46     46 ",
      excepted: "          --      --      --      46     46 ",
      beyond: "            --      --      --      46     46 ",
      far: "               --      --      --      46    self",
      node: "              46      46      46      46     46 ",
    },
  },
  {
    title: "gamma-names, resolved",
    story: [
      "gamma/hammer resolves www.far.example. The programs at its veth read the answer on its way to the pod, so that the",
      "first connection after it passes. Nobody else's is affected.",
    ],
    lookups: [{ pod: "gamma/hammer", name: "www.far.example", target: "far" }],
    expected: {
      //                nginx:80  :8080  reader  hammer  far
      "alpha/nginx-2": "   4-      --      --      4-     -- ",
      "alpha/access": "    46      46      --      46     46 ",
      "alpha/reader": "    46      --     self     46     46 ",
      "beta/hammer": "     46      --      --     self    46 ",
      "beta/anvil": "      --      --      --      --     46 ",
      "gamma/hammer": "    --      --      --      --     46 ",
      inside: "            4-      --      --      46     46 ",
      excepted: "          --      --      --      46     46 ",
      beyond: "            --      --      --      46     46 ",
      far: "               --      --      --      46    self",
      node: "              46      46      46      46     46 ",
    },
  },
];
