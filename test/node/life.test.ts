// The life of Weir in a cluster with real kubelets: installed, restarted, upgraded and removed, while pods talk to each other.
// node-1's pods are wired by the CNI plugin ptp, node-2's by bridge. The tests build on each other, in their order.

import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Cluster, openCluster } from "./cluster.ts";
import { type Addresses, addressesOf, apply, podOf, policyOf, reach, SERVE, waitReady } from "./pods.ts";
import { agentOf, install, mustWeir } from "./weir.ts";

let cluster: Cluster;
let addresses: Addresses;

const ROLES = ["web", "client", "guest"] as const;
const NODE_OF = { 1: "node-1", 2: "node-2" } as const;
const everywhere = <T>(make: (role: (typeof ROLES)[number], node: 1 | 2) => T): T[] =>
  ROLES.flatMap((role) => ([1, 2] as const).map((node) => make(role, node)));

beforeAll(async () => {
  cluster = await openCluster();
  await cluster.must(["create", "namespace", "shop"]);
  await apply(
    cluster,
    ...everywhere((role, node) =>
      podOf({ name: `${role}-${node}`, node: NODE_OF[node], labels: { role }, args: SERVE }),
    ),
  );
  await waitReady(
    cluster,
    everywhere((role, node) => `${role}-${node}`),
  );
  addresses = await addressesOf(cluster);
});

afterAll(() => cluster?.close());

const PORTS = ["tcp:80", "udp:80", "tcp:8080"] as const;

/** What a pod asks: every other pod, by both families, on every port. */
const targetsOf = (
  from: string,
  known: Addresses,
): readonly { readonly to: string; readonly port: string; readonly target: string }[] =>
  Object.entries(known)
    .filter(([to]) => to !== from)
    .flatMap(([to, both]) =>
      both.flatMap((address) =>
        PORTS.map((each) => {
          const [protocol, port] = each.split(":");
          return { to, port: each, target: `${protocol}:[${address}]:${port}` };
        }),
      ),
    );

type Allowed = (from: string, to: string, port: string) => boolean;

/** Asks from all pods to all pods until it is as wanted, and says what is not. */
async function expectMatrix(allowed: Allowed): Promise<void> {
  const wrong = async (): Promise<readonly string[]> => {
    const of = await Promise.all(
      Object.keys(addresses).map(async (from) => {
        const targets = targetsOf(from, addresses);
        const answers = await reach(
          cluster,
          from,
          targets.map(({ target }) => target),
        );
        return targets.flatMap(({ to, port, target }) => {
          const want = allowed(from, to, port) ? to : "timeout";
          return answers[target] === want
            ? []
            : [`${from} → ${to} ${target}: ${answers[target]}, expected ${want}`];
        });
      }),
    );
    return of.flat();
  };
  let last: readonly string[] = [];
  await cluster
    .until(
      "the verdicts",
      async () => {
        last = await wrong();
        return last.length === 0 ? true : undefined;
      },
      30_000,
    )
    .catch(() => undefined);
  expect(last).toEqual([]);
}

const role = (pod: string): string => pod.replace(/-\d$/, "");

const POLICIES = [
  policyOf("web", {
    podSelector: { matchLabels: { role: "web" } },
    policyTypes: ["Ingress"],
    ingress: [
      {
        from: [{ podSelector: { matchLabels: { role: "client" } } }],
        ports: [
          { protocol: "TCP", port: 80 },
          { protocol: "UDP", port: 80 },
        ],
      },
    ],
  }),
  policyOf("client", {
    podSelector: { matchLabels: { role: "client" } },
    policyTypes: ["Egress"],
    egress: [{ to: [{ podSelector: { matchLabels: { role: "web" } } }] }],
  }),
];

const byPolicy: Allowed = (from, to, port) => {
  if (role(from) === "client") return role(to) === "web" && port !== "tcp:8080";
  return role(to) !== "web";
};

describe("installed", () => {
  it("pods reach each other before", () => expectMatrix(() => true));

  it("as docs/install.md says, every agent becomes ready", async () => {
    await install(cluster);
    for (const node of cluster.nodes) {
      expect(await mustWeir(cluster, node, "status")).toMatch(/^ok: /);
      expect(await mustWeir(cluster, node, "check", "node")).not.toMatch(/fail/i);
      expect(await mustWeir(cluster, node, "get", "endpoints")).toContain("enforced");
      expect(await agentOf(cluster, node)).toMatch(/^weir-/);
    }
  });

  it("and pods reach each other still", () => expectMatrix(() => true));
});

describe("policies", () => {
  it("are enforced within each node and between them, in both wirings and families", async () => {
    await apply(cluster, ...POLICIES);
    await expectMatrix(byPolicy);
  });
});
