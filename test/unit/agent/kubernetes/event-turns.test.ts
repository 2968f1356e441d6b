// The order in which nodes emit: one for all of them, another for each notice, and steady while nodes come and go.
import { expect, it } from "vitest";
import { openTurns } from "../../../../src/agent/kubernetes/event-rate-limit.ts";
import type { Pod } from "../../../../src/model/cluster.ts";

const namesOf = (count: number) => Array.from({ length: count }, (_, index) => `node-${index}`);
const plain = {
  namespace: "shop",
  labels: new Map(),
  ips: [],
  hostNetwork: false,
  finished: false,
  ports: [],
};
/** Two pods on each node, and one on none. */
const podsOn = (nodes: readonly string[]): ReadonlyMap<string, Pod> =>
  new Map([
    ...nodes.flatMap((node) =>
      ["a", "b"].map((letter): [string, Pod] => {
        const name = `${letter}-${node}`;
        return [`shop/${name}`, { ...plain, name, node }];
      }),
    ),
    ["shop/pending", { ...plain, name: "pending" }],
  ]);
/** The nodes in the order in which they emit. */
function orderOf(key: string, nodes: readonly string[]): string[] {
  const pods = podsOn(nodes);
  const order: string[] = [];
  for (const node of nodes) order[openTurns(pods, node)(key)] = node;
  return order;
}

it("gives each node a position of its own", () => {
  const nodes = namesOf(50);
  expect(orderOf("PolicyInvalid shop/web", nodes).sort()).toEqual([...nodes].sort());
});

it("has another order for each notice, so that no node is always first", () => {
  const nodes = namesOf(10);
  const first = new Map<string, number>();
  for (let index = 0; index < 1_000; index += 1) {
    const node = orderOf(`PolicyInvalid shop/web-${index}`, nodes)[0] ?? "";
    first.set(node, (first.get(node) ?? 0) + 1);
  }
  // 100 each on average; the keys are fixed, so these are always the same.
  expect(first.size).toBe(10);
  expect(Math.max(...first.values())).toBeLessThan(150);
});

it("changes the order of no two nodes when another one goes", () => {
  const nodes = namesOf(20);
  const key = "PolicyInvalid shop/web";
  const without = nodes.filter((node) => node !== "node-7");
  expect(orderOf(key, without)).toEqual(orderOf(key, nodes).filter((node) => node !== "node-7"));
});

it("counts only other nodes before one that has no pods yet", () => {
  const pods = podsOn(namesOf(5));
  expect(openTurns(pods, "new")("PolicyInvalid shop/web")).toBeLessThanOrEqual(5);
  expect(openTurns(new Map(), "new")("PolicyInvalid shop/web")).toBe(0);
});
