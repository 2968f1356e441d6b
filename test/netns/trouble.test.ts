// Bad input and a node that changes under the agent: each problem is one line that names it, and everything else stays enforced.

import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type PodSpec, podManifest } from "../../src/lab/lab-manifests.ts";
import { type Agent, type Status, statusOf } from "../../src/lab/weir-process.ts";
import { mismatchesOf } from "./reach.ts";
import { FRIENDS_ONLY, FRIENDS_ONLY_HOLDS, smallWorld } from "./small-world.ts";
import { openWorld, type World } from "./world.ts";

const NOTICED_MS_MAX = 60_000;

/** Found through its address alone: its manifest names neither interface nor namespace. */
const UNANNOTATED: PodSpec = {
  name: "shop/unannotated",
  labels: { role: "server" },
  addresses: ["10.63.61.11", "fd63:61::11"],
  tcp: [80],
  udp: [80],
  found: "route",
};

/** Found through the name of its host-side link. */
const BY_LINK: PodSpec = {
  name: "shop/by-link",
  labels: { role: "server" },
  addresses: ["10.63.61.12", "fd63:61::12"],
  tcp: [80],
  udp: [80],
  found: "interface",
};

let world: World;
let agent: Agent;

beforeAll(async () => {
  const small = smallWorld("wt-trouble", { "friends-only.yaml": FRIENDS_ONLY });
  world = await openWorld({ ...small, pods: [...small.pods, UNANNOTATED, BY_LINK] });
  agent = await world.start();
});

afterAll(() => world?.close());

/** Waits until the agent's status is as expected, and returns it; the last one, if it never is. */
async function statusOnce(wanted: (status: Status) => boolean): Promise<Status> {
  const deadline = Date.now() + NOTICED_MS_MAX;
  for (;;) {
    const status = await statusOf(world.paths);
    if (wanted(status) || Date.now() > deadline) return status;
    await sleep(50);
  }
}

const textsOf = (status: Status): string[] => status.problems.map(({ text }) => text);

/**
 * Waits for a problem in `weir status` that has all these words, in one line, and the same line on stderr. There may be
 * more than one, but all must be about the first word: the file or the pod that is in trouble.
 */
async function expectProblem(about: string, ...words: readonly string[]): Promise<void> {
  const isIt = (text: string): boolean => [about, ...words].every((word) => text.includes(word));
  const texts = textsOf(await statusOnce((status) => textsOf(status).some(isIt)));
  const text = texts.find(isIt);
  expect(text, `${[about, ...words].join(", ")} in ${JSON.stringify(texts)}`).toBeDefined();
  expect(texts.filter((each) => !each.includes(about) || each.includes("\n"))).toEqual([]);
  expect(agent.stderr.split("\n").some((line) => line.includes(text ?? ""))).toBe(true);
}

const expectNoProblem = async (): Promise<void> =>
  expect(textsOf(await statusOnce(({ problems }) => problems.length === 0))).toEqual([]);

const holds = async (): Promise<void> =>
  expect(await mismatchesOf(world.lab, FRIENDS_ONLY_HOLDS)).toEqual([]);

describe("an interface", () => {
  it.each([UNANNOTATED.name, BY_LINK.name])("of %s is found, and enforced", async (name) => {
    const table = `
      shop/friend   -> ${name} tcp/80 udp/80 icmp : 46
      shop/stranger -> ${name} tcp/80 udp/80 icmp : --
      ${name}       -> shop/stranger tcp/80 udp/80 icmp : --`;
    expect(await mismatchesOf(world.lab, table)).toEqual([]);
    await expectNoProblem();
  });

  it("that does not exist is a problem of that pod alone", async () => {
    const pod: PodSpec = {
      name: "shop/ghost",
      labels: { role: "server" },
      addresses: ["10.63.61.21"],
      found: "interface",
    };
    const nowhere = { link: "wt-no-link", netns: "wt-no-netns", addresses: [] };
    world.manifests.put("ghost.yaml", [podManifest(pod, nowhere)]);
    await expectProblem("shop/ghost", "wt-no-link");
    await holds();
    world.manifests.put("ghost.yaml", [podManifest({ ...pod, found: "netns" }, nowhere)]);
    await expectProblem("shop/ghost", "wt-no-netns");
    await holds();
    world.manifests.remove("ghost.yaml");
    await expectNoProblem();
  });

  it("that disappears is a problem of that pod alone, and none once its manifest is gone", async () => {
    const pod: PodSpec = {
      name: "shop/leaver",
      labels: { role: "server" },
      addresses: ["10.63.61.22"],
      tcp: [80],
    };
    await world.lab.add([pod]);
    await agent.change(() =>
      world.manifests.put("leaver.yaml", [podManifest(pod, world.lab.wire(pod.name))]),
    );
    expect(await mismatchesOf(world.lab, "shop/stranger -> shop/leaver tcp/80 : --")).toEqual([]);
    await expectNoProblem();
    world.lab.cut(pod.name);
    await expectProblem("shop/leaver");
    await holds();
    world.manifests.remove("leaver.yaml");
    await expectNoProblem();
    await holds();
  });
});

describe("a bad file", () => {
  async function withFile(content: string, words: readonly string[]): Promise<void> {
    world.manifests.put("bad.yaml", content);
    await expectProblem("bad.yaml", ...words);
    await holds();
    world.manifests.remove("bad.yaml");
    await expectNoProblem();
    await holds();
  }

  it("with invalid YAML is one problem with file and line", () =>
    withFile("apiVersion: v1\nkind: [Pod\nmetadata: {name: x}\n", ["bad.yaml:"]));

  it("with an invalid CIDR is one problem with the field's path", () =>
    withFile(badPolicy("role: nobody", "ingress: [{ from: [{ ipBlock: { cidr: 10.0.0.1/33 } }] }]"), [
      "spec.ingress[0].from[0].ipBlock.cidr",
      "33",
    ]));

  it("with an unknown field in the selector isolates every pod of its namespace", async () => {
    world.manifests.put("bad.yaml", badPolicy("", "podSelector: { app: server }", ""));
    await expectProblem("bad.yaml", "spec.podSelector.app");
    expect(await mismatchesOf(world.lab, "shop/stranger -> shop/bystander tcp/80 udp/80 icmp : --")).toEqual(
      [],
    );
    expect(await mismatchesOf(world.lab, "shop/stranger -> shop/friend tcp/80 udp/80 icmp : --")).toEqual([]);
    world.manifests.remove("bad.yaml");
    await expectNoProblem();
    await holds();
  });

  it("whose pods are known isolates them until it is repaired", async () => {
    expect(await mismatchesOf(world.lab, "shop/stranger -> shop/bystander tcp/80 : 46")).toEqual([]);
    world.manifests.put("bad.yaml", badPolicy("role: bystander", "ingress: [{ ports: [{ port: 70000 }] }]"));
    await expectProblem("bad.yaml", "spec.ingress[0].ports[0].port", "70000");
    expect(await mismatchesOf(world.lab, "shop/stranger -> shop/bystander tcp/80 udp/80 icmp : --")).toEqual(
      [],
    );
    world.manifests.put("bad.yaml", badPolicy("role: bystander", "ingress: [{ ports: [{ port: 80 }] }]"));
    await expectNoProblem();
    expect(await mismatchesOf(world.lab, "shop/stranger -> shop/bystander tcp/80 : 46")).toEqual([]);
    expect(await mismatchesOf(world.lab, "shop/stranger -> shop/bystander tcp/81 udp/80 : --")).toEqual([]);
    world.manifests.remove("bad.yaml");
    await expectNoProblem();
  });
});

function badPolicy(
  label: string,
  rest: string,
  selector = `podSelector: { matchLabels: { ${label} } }`,
): string {
  return [
    "apiVersion: networking.k8s.io/v1",
    "kind: NetworkPolicy",
    "metadata: { name: bad, namespace: shop }",
    "spec:",
    ...[selector, rest].filter((line) => line !== "").map((line) => `  ${line}`),
    "",
  ].join("\n");
}
