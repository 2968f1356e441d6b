// Clusters over the agent's socket: what is received is what was sent, whatever its content.
import fc from "fast-check";
import { expect, it } from "vitest";
import { overlaid, patched } from "../../../src/base/versioned-map.ts";
import { clusterFromWire, toWire } from "../../../src/model/cluster.ts";
import { endOf } from "../../../src/policy/trace/traced-ends.ts";
import { block, cluster, pod, policy } from "../../support/model.ts";
import { cluster as anyCluster } from "../../support/worlds.ts";

it("comes back as it was from JSON", () => {
  fc.assert(
    fc.property(anyCluster, (world) => {
      expect(clusterFromWire(JSON.parse(JSON.stringify(toWire(world))))).toEqual(world);
    }),
  );
});

it("keeps the versions of maps that an agent's source has", () => {
  const world = cluster({ pods: [pod("a/b", ["10.0.0.1"])] });
  const added = pod("a/c", ["10.0.0.2"]);
  const pods = patched(world.pods, new Map([["a/c", added]]));
  const older = overlaid(pods, new Map([["a/b", undefined]]));
  for (const each of [pods, older]) {
    const back = clusterFromWire(JSON.parse(JSON.stringify(toWire({ ...world, pods: each }))));
    expect(back).toEqual({ ...world, pods: new Map(each) });
  }
});

it("keeps rare fields", () => {
  const world = cluster({
    pods: [
      {
        ...pod("a/b", ["fd00::1"], { labels: { constructor: "", "#map": "x" } }),
        node: "n",
        attachment: { kind: "netns", name: "ns" },
      },
    ],
    policies: [
      policy("a/p", {
        unreadable: "spec: odd",
        ingress: [{ peers: [block("::/0", "fd00::/8")], ports: "all" }],
      }),
    ],
  });
  const back = clusterFromWire(JSON.parse(JSON.stringify(toWire(world))));
  expect(back).toEqual(world);
  expect(endOf(back, "fd00::1")).toMatchObject({ ok: true });
});
