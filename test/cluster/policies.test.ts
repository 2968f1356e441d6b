// Policies, pods, namespaces and Services as they come and go at the API server, with their verdicts over real sockets.

import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { mismatchesOf } from "../netns/reach.ts";
import type { Manifest } from "./api.ts";
import { namespaceOf, podNamed, removeNamespace, servedSlice, setLabels } from "./objects.ts";
import { type LocalPod, openWorld, type World } from "./world.ts";

const SERVES = { tcp: [80, 81], udp: [80] } as const;

const pod = (name: string, number: number, labels: Readonly<Record<string, string>>): LocalPod => ({
  name,
  labels,
  addresses: [`10.63.71.${number}`, `fd63:71::${number}`],
  ports: [
    { name: "web", containerPort: 80, protocol: "TCP" },
    { name: "name", containerPort: 80, protocol: "UDP" },
  ],
  ...SERVES,
});

const SERVER = pod("shop/server", 1, { role: "server" });
const FRIEND = pod("shop/friend", 2, { role: "friend" });
const STRANGER = pod("shop/stranger", 3, { role: "stranger" });
const NEIGHBOUR = pod("garden/neighbour", 4, { role: "friend" });

const policy = (name: string, spec: object): Manifest => ({
  apiVersion: "networking.k8s.io/v1",
  kind: "NetworkPolicy",
  metadata: { name, namespace: "shop" },
  spec: { podSelector: { matchLabels: { role: "server" } }, ...spec },
});

const friend = { podSelector: { matchLabels: { role: "friend" } } };
const FRIENDS = policy("friends", { ingress: [{ from: [friend] }] });

let world: World;

beforeAll(async () => {
  world = await openWorld("wc-pol");
  const { api } = world;
  for (const name of ["shop", "garden"]) await api.create(namespaceOf(name));
  await world.addPods([SERVER, FRIEND, STRANGER, NEIGHBOUR]);
  await world.start();
});

afterAll(() => world?.close());

/** After everything that was done at the API server so far. */
async function expectReach(table: string): Promise<void> {
  await world.settled();
  expect(await mismatchesOf(world.lab, table)).toEqual([]);
}

describe("a policy", () => {
  it("is enforced once it is created, in both families", async () => {
    await expectReach("shop/stranger -> shop/server tcp/80 udp/80 : 46");
    await world.api.create(FRIENDS);
    await expectReach(`
      shop/friend      -> shop/server tcp/80 tcp/81 udp/80 icmp : 46
      shop/stranger    -> shop/server tcp/80 udp/80 icmp : --
      garden/neighbour -> shop/server tcp/80 udp/80 icmp : --
      shop/server      -> shop/stranger tcp/80 udp/80 icmp : 46
    `);
  });

  it("changes with its object", async () => {
    const ports = [{ protocol: "TCP", port: 81 }];
    await world.api.replace(policy("friends", { ingress: [{ from: [friend], ports }] }));
    await expectReach(`
      shop/friend -> shop/server tcp/81 : 46
      shop/friend -> shop/server tcp/80 udp/80 : --
    `);
    await world.api.replace(FRIENDS);
    await expectReach("shop/friend -> shop/server tcp/80 tcp/81 udp/80 : 46");
  });

  it("resolves a named port by the pod's own port name", async () => {
    await world.api.replace(policy("friends", { ingress: [{ from: [friend], ports: [{ port: "web" }] }] }));
    await expectReach(`
      shop/friend -> shop/server tcp/80 : 46
      shop/friend -> shop/server tcp/81 udp/80 : --
    `);
    await world.api.replace(FRIENDS);
  });

  it("with a range of ports allows the range, if the server keeps endPort (1.22 on)", async () => {
    const ports = [{ protocol: "TCP", port: 80, endPort: 81 }];
    const kept = await world.api.replace(policy("friends", { ingress: [{ from: [friend], ports }] }));
    const [rule] = (kept["spec"] as { ingress: { ports: { endPort?: number }[] }[] }).ingress;
    const hasRange = rule?.ports[0]?.endPort === 81;
    expect(hasRange).toBe(world.servers.version[1] >= 22);
    await expectReach(`
      shop/friend -> shop/server tcp/80 : 46
      shop/friend -> shop/server tcp/81 : ${hasRange ? "46" : "--"}
    `);
    await world.api.replace(FRIENDS);
  });
});

describe("labels", () => {
  it("of a pod decide which policies select it", async () => {
    await setLabels(world.api, podNamed("shop/stranger"), { role: "friend" });
    await expectReach("shop/stranger -> shop/server tcp/80 udp/80 : 46");
    await setLabels(world.api, podNamed("shop/stranger"), { role: "stranger" });
    await expectReach("shop/stranger -> shop/server tcp/80 udp/80 : --");
  });

  it("of a namespace decide which policies select its pods", async () => {
    const from = [{ ...friend, namespaceSelector: { matchLabels: { kind: "green" } } }];
    await world.api.create(policy("green", { ingress: [{ from }] }));
    await expectReach("garden/neighbour -> shop/server tcp/80 : --");
    await setLabels(world.api, namespaceOf("garden"), { kind: "green" });
    await expectReach("garden/neighbour -> shop/server tcp/80 : 46");
    await setLabels(world.api, namespaceOf("garden"), {});
    await expectReach("garden/neighbour -> shop/server tcp/80 : --");
    await world.api.remove(policy("green", {}));
  });
});

describe("a pod", () => {
  it("deleted and recreated with other addresses is identified by these, and its old ones are no pod's", async () => {
    await world.removePod("shop/friend");
    const again = { ...FRIEND, addresses: ["10.63.71.12", "fd63:71::12"] };
    const heir = pod("shop/heir", 2, { role: "heir" });
    await world.addPods([again, heir]);
    await expectReach(`
      shop/friend -> shop/server tcp/80 udp/80 : 46
      shop/heir   -> shop/server tcp/80 udp/80 : --
    `);
    await world.removePod("shop/heir");
    await world.removePod("shop/friend");
    await world.addPods([FRIEND]);
    await expectReach("shop/friend -> shop/server tcp/80 udp/80 : 46");
  });

  it("that has finished has no addresses any more", async () => {
    await world.api.patch(podNamed("shop/friend"), { status: { phase: "Succeeded" } }, "/status");
    await expectReach("shop/friend -> shop/server tcp/80 : --");
    await world.removePod("shop/friend");
    await world.addPods([FRIEND]);
    await expectReach("shop/friend -> shop/server tcp/80 : 46");
  });
});

describe("a Service", () => {
  const CLUSTER_IPS = ["10.96.71.1", "fd00:10:96::7101"] as const;
  const service: Manifest = {
    apiVersion: "v1",
    kind: "Service",
    metadata: { name: "server", namespace: "shop" },
    spec: {
      ipFamilyPolicy: "RequireDualStack",
      clusterIP: CLUSTER_IPS[0],
      clusterIPs: CLUSTER_IPS,
      ports: [{ port: 8080, targetPort: 80 }],
    },
  };
  const slice = (family: 4 | 6): Manifest => ({
    apiVersion: "discovery.k8s.io/v1",
    kind: "EndpointSlice",
    metadata: {
      name: `server-${family}`,
      namespace: "shop",
      labels: { "kubernetes.io/service-name": "server" },
    },
    addressType: `IPv${family}`,
    endpoints: [{ addresses: [SERVER.addresses[family === 4 ? 0 : 1]], conditions: { ready: true } }],
    ports: [{ name: "", port: 80, protocol: "TCP" }],
  });

  it("is judged by the pods behind it", async () => {
    await world.api.create(service);
    for (const family of [4, 6] as const) await world.api.create(await servedSlice(world.api, slice(family)));
    world.lab.rewrite(
      CLUSTER_IPS.map((address, index) => ({
        address,
        protocol: "tcp",
        port: 8080,
        to: { address: SERVER.addresses[index] ?? "", port: 80 },
        masquerade: false,
      })),
    );
    const out = (role: string): Manifest =>
      policy("out", {
        podSelector: { matchLabels: { role: "friend" } },
        policyTypes: ["Egress"],
        egress: [{ to: [{ podSelector: { matchLabels: { role } } }], ports: [{ port: 80 }] }],
      });
    const reach = (families: string) =>
      CLUSTER_IPS.map(
        (address, index) =>
          `shop/friend -> shop/server@${address} tcp/8080 : ${index === 0 ? `${families[0]}-` : `-${families[1]}`}`,
      ).join("\n");
    await expectReach(reach("46"));
    await world.api.create(out("server"));
    await expectReach(reach("46"));
    await world.api.replace(out("stranger"));
    await expectReach(reach("--"));
    await world.api.remove(out("nobody"));
    await expectReach(reach("46"));
    world.lab.rewrite([]);
  });
});

describe("at the end", () => {
  it("a policy that is deleted no longer closes anything", async () => {
    await world.api.remove(FRIENDS);
    await expectReach("shop/stranger -> shop/server tcp/80 udp/80 : 46");
  });

  it("a namespace that is deleted takes its policies with it", async () => {
    await world.api.create({
      ...FRIENDS,
      metadata: { name: "none", namespace: "garden" },
      spec: { podSelector: {} },
    });
    await expectReach("shop/friend -> garden/neighbour tcp/80 : --");
    await world.removePod("garden/neighbour");
    await removeNamespace(world.api, "garden");
    await world.settled();
    const { stdout } = await world.weir("status", "-o", "json");
    expect(JSON.parse(stdout)).toMatchObject({ policies: 0, problems: [] });
  });
});
