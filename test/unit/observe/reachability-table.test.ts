// `weir get reachability`: peers to which nothing is allowed are named where the others may do something.

import { expect, it } from "vitest";
import type { ReachabilityView, ReachSide } from "../../../src/model/reachability-view.ts";
import { reachabilityTable } from "../../../src/observe/reachability-table.ts";

const workload = (namespace: string, name: string) => ({
  namespace,
  name,
  pods: 1,
  example: `${namespace}/${name}`,
});
const [NOTHING, ALL] = [0, 1];

const rows = (side: Pick<ReachSide, "peers" | "others">): readonly (readonly string[])[] => {
  const view: ReachabilityView = {
    generation: 1,
    workloads: [
      { namespace: "", name: "outside the cluster", pods: 0, example: "" },
      workload("shop", "web"),
      workload("shop", "db"),
    ],
    ports: [[], [[0, 196_608]]],
    sides: [{ workload: 1, direction: "egress", pods: 1, ...side }],
  };
  return reachabilityTable(view, (ports) => (ports === NOTHING ? "nothing" : "all"), false).rows.map((row) =>
    row.slice(4),
  );
};

it("names what is denied where all others are allowed", () => {
  expect(rows({ peers: [[0, NOTHING, NOTHING]], others: [ALL, ALL] })).toEqual([
    ["outside the cluster", "nothing"],
    ["any other", "all"],
  ]);
});

it("does not where nobody else is", () => {
  const peers: ReachSide["peers"] = [
    [0, NOTHING, NOTHING],
    [2, ALL, ALL],
  ];
  expect(rows({ peers, others: [NOTHING, NOTHING] })).toEqual([["shop/db", "all"]]);
  expect(rows({ peers: [], others: [NOTHING, NOTHING] })).toEqual([["none", "nothing"]]);
});
