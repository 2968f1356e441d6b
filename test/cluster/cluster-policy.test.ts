// ClusterNetworkPolicy at a real API server: its CustomResourceDefinition comes and goes while the agent runs.

import { afterAll, beforeAll, expect, it, vi } from "vitest";
import { mismatchesOf } from "../netns/reach.ts";
import type { Manifest } from "./api.ts";
import { namespaceOf } from "./objects.ts";
import { type LocalPod, openWorld, type World } from "./world.ts";

const GROUP = "policy.networking.k8s.io";

const pod = (name: string, number: number, labels: Readonly<Record<string, string>>): LocalPod => ({
  name,
  labels,
  addresses: [`10.63.72.${number}`, `fd63:72::${number}`],
  tcp: [80, 81],
});

/** What the standard one's schema says of tier and priority; the rest of an object is stored as it is. */
const CRD: Manifest = {
  apiVersion: "apiextensions.k8s.io/v1",
  kind: "CustomResourceDefinition",
  metadata: {
    name: `clusternetworkpolicies.${GROUP}`,
    // Groups below k8s.io need it; the value is the one of the published definition.
    annotations: {
      "api-approved.kubernetes.io": "https://github.com/kubernetes-sigs/network-policy-api/pull/300",
    },
  },
  spec: {
    group: GROUP,
    scope: "Cluster",
    names: {
      kind: "ClusterNetworkPolicy",
      listKind: "ClusterNetworkPolicyList",
      plural: "clusternetworkpolicies",
      singular: "clusternetworkpolicy",
    },
    versions: [
      {
        name: "v1alpha2",
        served: true,
        storage: true,
        schema: {
          openAPIV3Schema: {
            type: "object",
            required: ["spec"],
            properties: {
              spec: {
                type: "object",
                "x-kubernetes-preserve-unknown-fields": true,
                required: ["tier", "priority", "subject"],
                properties: {
                  tier: { type: "string", enum: ["Admin", "Baseline"] },
                  priority: { type: "integer", minimum: 0, maximum: 1_000 },
                },
              },
            },
          },
        },
      },
    ],
  },
};

const DENY: Manifest = {
  apiVersion: `${GROUP}/v1alpha2`,
  kind: "ClusterNetworkPolicy",
  metadata: { name: "no-strangers" },
  spec: {
    tier: "Admin",
    priority: 10,
    subject: { pods: { podSelector: { matchLabels: { role: "server" } } } },
    ingress: [
      {
        name: "strangers",
        action: "Deny",
        from: [{ pods: { podSelector: { matchLabels: { role: "stranger" } } } }],
        protocols: [{ tcp: { destinationPort: { number: 80 } } }],
      },
    ],
  },
};

let world: World;

beforeAll(async () => {
  world = await openWorld("wc-cnp");
  await world.api.create(namespaceOf("shop"));
  await world.addPods([
    pod("shop/server", 1, { role: "server" }),
    pod("shop/friend", 2, { role: "friend" }),
    pod("shop/stranger", 3, { role: "stranger" }),
  ]);
  await world.start();
});

afterAll(() => world?.close());

const WAIT = { timeout: 240_000, interval: 500 };
const reaches = (table: string) =>
  vi.waitFor(async () => expect(await mismatchesOf(world.lab, table)).toEqual([]), WAIT);
const status = async (): Promise<string> => (await world.weir("status")).stdout;

const OPEN = "shop/stranger -> shop/server tcp/80 tcp/81 : 46";
const DENIED = `
  shop/stranger -> shop/server tcp/80 : --
  shop/stranger -> shop/server tcp/81 : 46
  shop/friend   -> shop/server tcp/80 tcp/81 : 46
  shop/server   -> shop/stranger tcp/80 : 46
`;

it("without the definition the agent enforces everything else, and says so", async () => {
  await reaches(OPEN);
  expect(await status()).toContain("not installed: ClusterNetworkPolicy");
});

it("it is picked up when it appears", async () => {
  await world.api.create(CRD);
  await vi.waitFor(() => world.api.create(DENY), WAIT);
  await reaches(DENIED);
  expect(await status()).not.toContain("not installed");
  const { stdout } = await world.weir("get", "policies");
  expect(stdout).toMatch(/<Admin 10> +no-strangers +pods role=server +Ingress +1 +enforced/);
});

it("a policy changes and goes with its object", async () => {
  await world.api.patch(DENY, { spec: { ingress: [] } });
  await reaches(OPEN);
  await world.api.patch(DENY, { spec: DENY["spec"] });
  await reaches(DENIED);
  await world.api.remove(DENY);
  await reaches(OPEN);
});

interface KubernetesEvent {
  readonly reason: string;
  readonly type: string;
  readonly note: string;
  readonly regarding: { readonly kind: string; readonly name: string; readonly uid: string };
}

const eventsOf = async (name: string): Promise<readonly KubernetesEvent[]> => {
  const path = "/apis/events.k8s.io/v1/namespaces/kube-system/events";
  const { items } = await world.api.must<{ items: readonly KubernetesEvent[] }>("GET", path);
  return items.filter(({ regarding }) => regarding.name === name);
};

it("one that cannot be read in full has an Event, and another one when it is corrected", async () => {
  const moody = { ...DENY, metadata: { name: "moody", annotations: { "weir.dev/mode": "audit" } } };
  const { metadata } = await world.api.create(moody);
  await vi.waitFor(async () => {
    const events = await eventsOf("moody");
    expect(events).toMatchObject([
      {
        ...{ reason: "PolicyInvalid", type: "Warning" },
        regarding: { kind: "ClusterNetworkPolicy", uid: metadata["uid"] },
      },
    ]);
    expect(events[0]?.note).toContain('metadata.annotations["weir.dev/mode"]');
  }, WAIT);
  // It is enforced all the same.
  await reaches(DENIED);
  await world.api.patch(moody, { metadata: { annotations: null } });
  await vi.waitFor(async () => {
    const reasons = (await eventsOf("moody")).map(({ reason }) => reason);
    expect(reasons.toSorted()).toEqual(["PolicyInvalid", "ProblemSolved"]);
  }, WAIT);
  await world.api.remove(moody);
  await reaches(OPEN);
});
