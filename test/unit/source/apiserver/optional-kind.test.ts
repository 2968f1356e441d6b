// A kind that the API server need not have: without its CustomResourceDefinition nothing waits for it, and it is picked up when it
// appears; in a version that is not known it is a problem, and what was last known stays.

import { setTimeout as sleep } from "node:timers/promises";
import { expect, test, vi } from "vitest";
import { problemText } from "../../../../src/model/problem.ts";
import { refuse } from "./server.ts";
import { openWorld } from "./world.ts";

const GROUP = "policy.networking.k8s.io";
const WAIT = { timeout: 60_000, interval: 20 };
const TIMING = { absentMs: [20, 40], goneMs: 1_500, firstGoneMs: 300 } as const;

const deny = (name: string) => ({
  metadata: { name },
  spec: {
    tier: "Admin",
    priority: 1,
    subject: { namespaces: {} },
    ingress: [{ action: "Deny", from: [{ namespaces: {} }] }],
  },
});

type World = Awaited<ReturnType<typeof openWorld>>;

/** The server has the kind in these versions of its group; with none it does not have the group. */
function serve(world: World, versions: readonly string[]): void {
  world.server.script(({ kind }, response) =>
    kind === "ClusterNetworkPolicy" && !versions.includes("v1alpha2")
      ? refuse(response, 404, "the server could not find the requested resource")
      : false,
  );
  world.server.scriptUnknown((path, response) => {
    const answer = (body: unknown): true => {
      response.writeHead(200, { "content-type": "application/json" });
      response.end(JSON.stringify(body));
      return true;
    };
    if (path === `/apis/${GROUP}` && versions.length > 0)
      return answer({ versions: versions.map((version) => ({ groupVersion: `${GROUP}/${version}` })) });
    const version = versions.find((each) => path === `/apis/${GROUP}/${each}`);
    return version === undefined
      ? false
      : answer({
          resources: [{ name: "clusternetworkpolicies" }, { name: "clusternetworkpolicies/status" }],
        });
  });
}

const policiesOf = ({ last }: World) => [...(last()?.cluster.clusterPolicies?.keys() ?? [])];
const stateOf = (world: World) => world.kind("ClusterNetworkPolicy");
const problemsOf = ({ last }: World) => (last()?.problems ?? []).map(problemText);

/** A server without the kind from the first request on. */
async function openWithout(versions: readonly string[] = []): Promise<World> {
  const world = await openWorld({ down: true, timing: TIMING });
  await world.start();
  serve(world, versions);
  return world;
}

test("without it everything else is followed, and it is picked up when it appears", async () => {
  const world = await openWithout();
  await vi.waitFor(() => expect(world.last()?.readable).toBe(true), WAIT);
  await vi.waitFor(() => expect(stateOf(world).state).toBe("absent"), WAIT);
  expect(stateOf(world).failure).toBeUndefined();
  expect(problemsOf(world)).toEqual([]);
  world.server.put("ClusterNetworkPolicy", deny("first"));
  serve(world, ["v1alpha2"]);
  await vi.waitFor(() => expect(policiesOf(world)).toEqual(["first"]), WAIT);
  expect(stateOf(world).state).toBe("following");
  world.server.put("ClusterNetworkPolicy", deny("second"));
  await vi.waitFor(() => expect(policiesOf(world)).toEqual(["first", "second"]), WAIT);
});

test("when it goes, its objects count as deleted only after a while", async () => {
  const world = await openWithout(["v1alpha2"]);
  world.server.put("ClusterNetworkPolicy", deny("first"));
  await vi.waitFor(() => expect(policiesOf(world)).toEqual(["first"]), WAIT);
  serve(world, []);
  const from = performance.now();
  world.server.end("ClusterNetworkPolicy");
  await vi.waitFor(() => expect(policiesOf(world)).toEqual([]), WAIT);
  expect(performance.now() - from).toBeGreaterThanOrEqual(TIMING.goneMs);
  expect(stateOf(world).state).toBe("absent");
});

test("a server that does not have it for a moment changes nothing", async () => {
  const world = await openWithout(["v1alpha2"]);
  world.server.put("ClusterNetworkPolicy", deny("first"));
  await vi.waitFor(() => expect(policiesOf(world)).toEqual(["first"]), WAIT);
  serve(world, []);
  world.server.end("ClusterNetworkPolicy");
  await vi.waitFor(() => expect(stateOf(world).failure?.reason).toMatch("404"), WAIT);
  serve(world, ["v1alpha2"]);
  await vi.waitFor(() => expect(stateOf(world).state).toBe("following"), WAIT);
  for (const { cluster } of world.readings.slice(-3))
    expect([...(cluster.clusterPolicies?.keys() ?? [])]).toEqual(["first"]);
});

test("before the first list one 404 is not enough: an earlier agent may have read policies", async () => {
  const world = await openWorld({ down: true, timing: { ...TIMING, firstGoneMs: 2_000 } });
  world.objects.put("ClusterNetworkPolicy", deny("first"));
  await world.start();
  serve(world, []);
  await vi.waitFor(() => expect(stateOf(world).failure?.reason).toMatch("404"), WAIT);
  expect(world.last()?.readable).not.toBe(true);
  serve(world, ["v1alpha2"]);
  await vi.waitFor(() => expect(policiesOf(world)).toEqual(["first"]), WAIT);
  for (const { readable, cluster } of world.readings)
    if (readable) expect([...(cluster.clusterPolicies?.keys() ?? [])]).toEqual(["first"]);
});

test("where nothing of an earlier agent is in force, nothing waits for it, and a server that starts is asked again soon", async () => {
  const world = await openWorld({
    down: true,
    fresh: true,
    timing: { ...TIMING, absentMs: [60_000, 60_000], firstGoneMs: 30_000 },
  });
  const from = performance.now();
  await world.start();
  serve(world, []);
  await vi.waitFor(() => expect(world.last()?.readable).toBe(true), WAIT);
  expect(performance.now() - from).toBeLessThan(30_000);
  expect(stateOf(world).state).toBe("absent");
  world.objects.put("ClusterNetworkPolicy", deny("first"));
  serve(world, ["v1alpha2"]);
  await vi.waitFor(() => expect(policiesOf(world)).toEqual(["first"]), WAIT);
  expect(performance.now() - from).toBeLessThan(60_000);
});

test("only an absence without interruption counts: not an old 404 and one of now", async () => {
  const world = await openWithout(["v1alpha2"]);
  world.server.put("ClusterNetworkPolicy", deny("first"));
  await vi.waitFor(() => expect(policiesOf(world)).toEqual(["first"]), WAIT);
  serve(world, []);
  world.server.end("ClusterNetworkPolicy");
  await vi.waitFor(() => expect(stateOf(world).failure?.reason).toMatch("404"), WAIT);
  // Something else fails for longer than goneMs, and then there is one more 404.
  const busy = { is: true };
  world.server.script(({ kind }, response) =>
    kind === "ClusterNetworkPolicy" ? refuse(response, busy.is ? 503 : 404, "not now") : false,
  );
  await vi.waitFor(() => expect(stateOf(world).failure?.reason).toMatch("503"), WAIT);
  await sleep(TIMING.goneMs);
  busy.is = false;
  const from = performance.now();
  await vi.waitFor(() => expect(policiesOf(world)).toEqual([]), WAIT);
  expect(performance.now() - from).toBeGreaterThanOrEqual(TIMING.goneMs);
});

test("a version that is not known is a problem for which nothing waits", async () => {
  const world = await openWithout(["v1beta7"]);
  await vi.waitFor(() => expect(world.last()?.readable).toBe(true), WAIT);
  await vi.waitFor(
    () =>
      expect(problemsOf(world).join()).toMatch(
        /ClusterNetworkPolicy cannot be followed: the API server has it as policy\.networking\.k8s\.io\/v1beta7 only; expected policy\.networking\.k8s\.io\/v1alpha2/,
      ),
    WAIT,
  );
});

test("and then what was last known stays", async () => {
  const world = await openWithout(["v1alpha2", "v1beta7"]);
  world.server.put("ClusterNetworkPolicy", deny("first"));
  await vi.waitFor(() => expect(policiesOf(world)).toEqual(["first"]), WAIT);
  serve(world, ["v1beta7"]);
  world.server.end("ClusterNetworkPolicy");
  await vi.waitFor(() => expect(problemsOf(world).join()).toMatch(/v1beta7 only/), WAIT);
  expect(policiesOf(world)).toEqual(["first"]);
});

test("a new version that cannot be read does not replace the last good one, unless only an Accept rule is lost", async () => {
  const world = await openWithout(["v1alpha2"]);
  world.server.put("ClusterNetworkPolicy", deny("first"));
  await vi.waitFor(() => expect(policiesOf(world)).toEqual(["first"]), WAIT);
  const { spec } = deny("first");
  world.server.put("ClusterNetworkPolicy", {
    metadata: { name: "first" },
    spec: { ...spec, ingress: [{ action: "Deny", from: [{ planets: {} }] }] },
  });
  await vi.waitFor(
    () => expect(problemsOf(world).join()).toMatch(/planets: unknown field.*last known good/),
    WAIT,
  );
  const kept = world.last()?.cluster.clusterPolicies?.get("first");
  expect(kept?.unreadable).toBeUndefined();
  expect(kept?.rules.ingress).toHaveLength(1);
  const accept = { action: "Accept", from: [{ planets: {} }] };
  world.server.put("ClusterNetworkPolicy", {
    metadata: { name: "first" },
    spec: { ...spec, ingress: [accept, ...spec.ingress] },
  });
  await vi.waitFor(
    () => expect(world.last()?.cluster.clusterPolicies?.get("first")?.rules.ingress).toHaveLength(2),
    WAIT,
  );
  const now = world.last()?.cluster.clusterPolicies?.get("first");
  expect(now?.rules.ingress[0]).toEqual({ action: "Accept", peers: [], ports: [] });
  expect(now?.omitted).toMatch(/planets/);
});
