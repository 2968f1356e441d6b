// `weir get reachability`: what it prints, and its exit codes.

import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { ReachabilityView } from "../../../../src/model/reachability-view.ts";
import { viewsWith } from "../views.ts";
import { type CommandWorld, openCommandWorld } from "../world.ts";

const VIEW: ReachabilityView = {
  generation: 3,
  workloads: [
    { namespace: "", name: "outside the cluster", pods: 0, example: "" },
    { namespace: "shop", name: "db", pods: 2, example: "shop/db-0" },
    { namespace: "shop", name: "web", pods: 2, example: "shop/web-1" },
  ],
  ports: [[], [[0, 196_608]], [[5_432, 5_432]]],
  sides: [
    { workload: 1, direction: "ingress", pods: 2, others: [0, 0], peers: [[2, 0, 2]] },
    { workload: 1, direction: "egress", pods: 2, audit: true, others: [0, 0], peers: [] },
    { workload: 2, direction: "ingress", pods: 1, open: true, others: [1, 1], peers: [] },
  ],
};

describe("get reachability", () => {
  let world: CommandWorld;
  beforeEach(() => {
    world = openCommandWorld();
  });
  afterEach(() => world.close());
  const serve = () =>
    world.serve(viewsWith({}), [{ method: "GET", path: "reachability", answer: () => VIEW }]);

  it("has a line for each side and set of ports", async () => {
    await serve();
    const { exitCode, stdout, stderr } = await world.weir("get", "reach", "-o", "wide");
    expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: "" });
    expect(stdout.split("\n").map((line) => line.split(/ {2,}/).join("|").trim())).toEqual([
      "NAMESPACE|WORKLOAD|PODS|DIRECTION|PEERS|PORTS",
      expect.stringMatching(/^shop\|db\|2\|ingress\|shop\/web\|TCP\/5432 \(some pods\)$/),
      expect.stringMatching(/^shop\|db\|2\|egress \(audit\)\|none\|nothing$/),
      expect.stringMatching(/^shop\|web\|1\|ingress\|any \(not isolated\)\|all$/),
      "",
    ]);
  });

  it("has one namespace, or says that none of its pods is here", async () => {
    await serve();
    const none = await world.weir("get", "reachability", "-n", "bank");
    expect(none).toEqual({ exitCode: 0, stdout: "", stderr: "weir: no pods of namespace bank here\n" });
    const all = await world.weir("get", "reachability", "-n", "shop", "-o", "json");
    expect(JSON.parse(all.stdout)).toEqual(VIEW);
  });

  it("needs an agent", async () => {
    const { exitCode, stderr } = await world.weir("get", "reachability");
    expect(exitCode).toBe(1);
    expect(stderr).toMatch(/^weir: no agent answers at .*; only it has compiled policies\n$/);
    expect((await world.weir("get", "reachability", "-o", "name")).exitCode).toBe(2);
  });
});
