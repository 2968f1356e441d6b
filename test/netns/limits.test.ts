// One namespace exceeds its share of the tables: the rest of the node is unaffected, and goes on. Needs root.

import { afterAll, beforeAll, expect, it } from "vitest";
import { podManifest } from "../../src/lab/lab-manifests.ts";
import { type Agent, statusOf } from "../../src/lab/weir-process.ts";
import { mismatchesOf } from "./reach.ts";
import { BYSTANDER_DENY, FRIENDS_ONLY, FRIENDS_ONLY_HOLDS, smallWorld } from "./small-world.ts";
import { openWorld, type World } from "./world.ts";

const RULES = 4_500;

const GREEDY = {
  name: "greedy/pod",
  labels: {},
  addresses: ["10.63.61.21", "fd63:61::21"],
  tcp: [80, 2_000],
  udp: [80],
} as const;

const NEW = {
  name: "closed/new",
  labels: {},
  addresses: ["10.63.61.22", "fd63:61::22"],
  tcp: [80],
  udp: [80],
} as const;

/** The first rule allows the unknown peer, each of the others one address on a port of its own; then one allows everything to the friend. */
const greedy = JSON.stringify({
  apiVersion: "networking.k8s.io/v1",
  kind: "NetworkPolicy",
  metadata: { name: "many", namespace: "greedy" },
  spec: {
    podSelector: {},
    ingress: [
      { from: [{ ipBlock: { cidr: "10.63.61.3/32" } }], ports: [{ port: 2_000 }] },
      ...Array.from({ length: RULES }, (_, index) => ({
        from: [{ ipBlock: { cidr: `30.0.${index >> 8}.${index & 255}/32` } }],
        ports: [{ port: 2_002 + 2 * index }],
      })),
    ],
  },
});

const DENY_ALL = (namespace: string): string =>
  JSON.stringify({
    apiVersion: "networking.k8s.io/v1",
    kind: "NetworkPolicy",
    metadata: { name: "deny", namespace },
    spec: { podSelector: {}, policyTypes: ["Ingress"] },
  });

let world: World;
let agent: Agent;

beforeAll(async () => {
  const small = smallWorld("wt-limits", { "friends-only.yaml": FRIENDS_ONLY });
  world = await openWorld({
    ...small,
    namespaces: { ...small.namespaces, greedy: {}, closed: {} },
    pods: [...small.pods, GREEDY],
  });
  agent = await world.start();
});

afterAll(() => world?.close());

it("the update is applied, without the rules beyond the share", async () => {
  await agent.change(() => world.manifests.put("greedy.yaml", greedy));
  const { problems } = await statusOf(world.paths);
  expect(problems.map(({ text }) => text)).toEqual([
    expect.stringMatching(
      /NetworkPolicy greedy\/many: spec\.ingress\[\d+\] and \d+ more: namespace greedy needs 4501 port sets on this node; 4093 fit \(the node has 4093\); let more rules and peers have the same ports; the rules named here allow nothing on this node; pods stay isolated, and all other rules apply$/,
    ),
  ]);
  const table = `${FRIENDS_ONLY_HOLDS}
    shop/stranger -> greedy/pod tcp/2000 : 4-
    shop/stranger -> greedy/pod tcp/80 udp/80 icmp : --
    shop/friend   -> greedy/pod tcp/2000 tcp/80 icmp : --`;
  expect(await mismatchesOf(world.lab, table)).toEqual([]);
});

it("others change their policies, and isolate what was not isolated", async () => {
  await agent.change(() => world.manifests.put("bystander-deny.yaml", BYSTANDER_DENY));
  expect(await mismatchesOf(world.lab, "shop/friend -> shop/bystander tcp/80 udp/80 icmp : --")).toEqual([]);
});

it("a new pod has its policy", async () => {
  world.manifests.put("closed.yaml", DENY_ALL("closed"));
  await world.lab.add([NEW]);
  await agent.change(() => world.manifests.put("new.yaml", [podManifest(NEW, world.lab.wire(NEW.name))]));
  const table =
    "shop/friend -> closed/new tcp/80 udp/80 icmp : --\n node -> closed/new tcp/80 udp/80 icmp : 46";
  expect(await mismatchesOf(world.lab, table)).toEqual([]);
});

it("it is the same with a new agent, without an open moment in between", async () => {
  await agent.stop();
  agent = await world.start();
  const { problems } = await statusOf(world.paths);
  expect(problems).toHaveLength(1);
  const table = `
    shop/friend   -> closed/new tcp/80 : --
    shop/friend   -> shop/bystander tcp/80 : --
    shop/stranger -> greedy/pod tcp/2000 : 4-
    shop/stranger -> greedy/pod tcp/80 : --`;
  expect(await mismatchesOf(world.lab, table)).toEqual([]);
});

it("its own emergency deny takes effect, and within its share everything is enforced", async () => {
  await agent.change(() => world.manifests.put("greedy.yaml", DENY_ALL("greedy")));
  expect((await statusOf(world.paths)).problems).toEqual([]);
  expect(await mismatchesOf(world.lab, "shop/stranger -> greedy/pod tcp/2000 tcp/80 : --")).toEqual([]);
});
