// What users can do who may write pods, and no more: their claims about the node's interfaces and about addresses are ignored.

import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { mismatchesOf } from "../netns/reach.ts";
import type { Manifest } from "./api.ts";
import { createPod, namespaceOf, podNamed, podOf, setLabels } from "./objects.ts";
import { type LocalPod, NODE, OTHER_NODE, openWorld, type World } from "./world.ts";

const pod = (name: string, number: number): LocalPod => ({
  name,
  labels: {},
  addresses: [`10.63.76.${number}`, `fd63:76::${number}`],
  tcp: [80],
});

const CLOSED: Manifest = {
  apiVersion: "networking.k8s.io/v1",
  kind: "NetworkPolicy",
  metadata: { name: "closed", namespace: "shop" },
  spec: { podSelector: {} },
};

const STILL_CLOSED = "tenant/caller -> shop/victim tcp/80 : --";

let world: World;

beforeAll(async () => {
  world = await openWorld("wc-ten");
  for (const name of ["shop", "tenant"]) await world.api.create(namespaceOf(name));
  await world.addPods([pod("shop/victim", 1), pod("tenant/caller", 2)]);
  await world.api.create(CLOSED);
  await world.start();
});

afterAll(() => world?.close());

interface Shown {
  readonly namespace: string;
  readonly name: string;
  readonly interface: string;
}

async function endpoints(): Promise<Map<string, string>> {
  await world.settled();
  const { stdout } = await world.weir("get", "endpoints", "-o", "json");
  const shown = JSON.parse(stdout) as Shown[];
  return new Map(shown.map((each) => [`${each.namespace}/${each.name}`, each.interface]));
}

/** A pod that names the victim's interface as its own, and every address of the cluster as an allowed source. */
async function claimant(name: string, node: string): Promise<Manifest> {
  const object = podOf({ name, labels: {}, addresses: [], node });
  const annotations = {
    "weir.dev/interface": (await endpoints()).get("shop/victim") ?? "",
    "weir.dev/allowed-sources": "10.63.0.0/16",
  };
  return { ...object, metadata: { ...object.metadata, annotations } };
}

describe("a tenant's pod that names another pod's interface", () => {
  it.each([
    ["waits for a node", "tenant/a-waiting", ""],
    ["is on another node", "tenant/a-there", OTHER_NODE],
    ["is on this node", "tenant/a-here", NODE],
  ])("and %s does not get it", async (_, name, node) => {
    const before = (await endpoints()).get("shop/victim");
    expect(before).toBeTypeOf("string");
    await world.api.create(await claimant(name, node));
    expect((await endpoints()).get("shop/victim")).toBe(before);
    expect(await mismatchesOf(world.lab, STILL_CLOSED)).toEqual([]);
  });

  it("is reported, once for its namespace", async () => {
    await world.settled();
    const { problems } = JSON.parse((await world.weir("status", "-o", "json")).stdout);
    expect(problems).toEqual([
      expect.objectContaining({
        severity: "warning",
        object: "Namespace tenant",
        reason: expect.stringContaining("weir.dev/pod-annotations"),
      }),
    ]);
  });

  it("shares it, with the policies of both, if the namespace is labelled as trusted", async () => {
    const rivals = async (): Promise<readonly string[]> => {
      const { stdout } = await world.weir("get", "endpoints", "-o", "json");
      const shown = JSON.parse(stdout) as (Shown & { readonly rivals?: readonly string[] })[];
      return shown.find(({ name }) => name === "victim")?.rivals ?? [];
    };
    await setLabels(world.api, namespaceOf("tenant"), { "weir.dev/pod-annotations": "trusted" });
    await expect.poll(rivals, { timeout: 20_000 }).toEqual(["tenant/a-here"]);
    expect(await mismatchesOf(world.lab, STILL_CLOSED)).toEqual([]);
    await setLabels(world.api, namespaceOf("tenant"), {});
    await world.settled();
    // An annotation that counted is evidence that the interface may be the pod's, for as long as the link lives.
    expect(await rivals()).toEqual(["tenant/a-here"]);
    expect(await mismatchesOf(world.lab, STILL_CLOSED)).toEqual([]);
  });
});

it("a pod of another node has no interface here, though its address is behind one", async () => {
  const there = pod("shop/there", 9);
  await world.lab.add([there]);
  await createPod(world.api, { ...there, node: OTHER_NODE });
  expect([...(await endpoints()).keys()].sort()).toEqual(["shop/victim", "tenant/caller"]);
});

it("annotations and labels of a pod request neither a bypass nor audit mode", async () => {
  const asking = {
    "weir.dev/mode": "audit",
    "weir.dev/bypass": "24h",
    "weir.dev/bypass-until": "2999-01-01T00:00:00Z",
    "weir.dev/bypass-reason": "INC-4711",
  };
  const victim = podNamed("shop/victim");
  await world.api.patch(victim, { metadata: { annotations: asking, labels: { "weir.dev/mode": "audit" } } });
  await world.settled();
  expect(await mismatchesOf(world.lab, STILL_CLOSED)).toEqual([]);
  expect(JSON.parse((await world.weir("bypass", "list", "-o", "json")).stdout)).toEqual([]);
  const { stdout } = await world.weir("get", "endpoints", "shop/victim", "-o", "json");
  const [{ state, ingress }] = JSON.parse(stdout);
  expect(["audit", "off"]).not.toContain(state);
  expect(ingress).toMatchObject({ isolatedBy: ["shop/closed"] });
  expect(ingress.audit ?? false).toBe(false);
});
