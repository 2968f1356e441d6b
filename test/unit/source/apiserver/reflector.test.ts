// The API server followed without faults: every kind, by streamed lists and by pages, and the requests on the way.

import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, test, vi } from "vitest";
import { problemText } from "../../../../src/model/problem.ts";
import { refuse } from "./server.ts";
import { NODE, openWorld, pod, policy, someObjects } from "./world.ts";

const problems = ({ last }: Awaited<ReturnType<typeof openWorld>>) =>
  (last()?.problems ?? []).map(problemText);

describe.each([
  ["by streamed lists", true],
  ["by pages", false],
])("%s", (_, streams) => {
  test("objects come, change and go", async () => {
    const world = await openWorld({ streams });
    await world.converged("the first list");
    const { server } = world;
    server.put("Pod", pod("web-9", "10.0.0.9"));
    server.put("Pod", pod("web-1", "10.0.0.1", { app: "other" }));
    server.remove("Pod", "shop/web-2");
    server.put("NetworkPolicy", policy("second", "web-3"));
    server.put("Namespace", { metadata: { name: "new", labels: { team: "b" } } });
    server.remove("Service", "shop/web");
    await world.converged("events of several kinds");
    expect(world.kind("Pod")).toMatchObject({ objects: 8, state: "following", differences: 0 });
    expect(problems(world)).toEqual([]);
  });

  test("one change changes one object, and keeps the others identical", async () => {
    const world = await openWorld({ streams });
    await world.converged("the first list");
    const before = world.last()?.cluster;
    world.server.put("Pod", pod("web-1", "10.0.0.77"));
    await world.converged("one event");
    const after = world.last()?.cluster;
    expect(after?.pods.get("shop/web-2")).toBe(before?.pods.get("shop/web-2"));
    expect(after?.services).toBe(before?.services);
    expect(before?.pods.get("shop/web-1")?.ips.map(({ text }) => text)).toEqual(["10.0.0.1"]);
  });

  test("a periodic relist finds nothing new, and reports nothing", async () => {
    const world = await openWorld({ streams, timing: { relistMs: [150, 200] } });
    await world.converged("the first list");
    await vi.waitFor(() => expect(world.readings.length).toBeGreaterThan(0));
    const told = world.readings.length;
    await vi.waitFor(() => expect(world.kind("Pod").lists["periodic"]).toBeGreaterThan(2), 20_000);
    expect(world.readings).toHaveLength(told);
    expect(world.kind("Pod").differences).toBe(0);
  });

  test("it requests only what it may, with its name and token, and all of each kind", async () => {
    const world = await openWorld({ streams });
    await world.converged("the first list");
    const { asked } = world.server;
    for (const { headers, query } of asked) {
      expect(headers.authorization).toBe("Bearer token-1");
      expect(headers["user-agent"]).toBe("weir/test");
      expect(query.get("fieldSelector")).toBeNull();
    }
    const watches = asked.filter(({ type }) => type !== "list");
    for (const { query } of watches) {
      expect(query.get("allowWatchBookmarks")).toBe("true");
      expect(Number(query.get("timeoutSeconds"))).toBeGreaterThanOrEqual(60);
      expect(Number(query.get("timeoutSeconds"))).toBeLessThanOrEqual(120);
    }
    expect(world.kind("Node").objects).toBe(2);
  });
});

test("a list by pages reads page after page of one version", async () => {
  const world = await openWorld({ streams: false });
  await world.converged("the first list");
  const pages = world.server.asked.filter(({ kind, type }) => kind === "Pod" && type === "list");
  expect(pages.map(({ query }) => query.get("limit"))).toEqual(["3", "3", "3"]);
  expect(pages.map(({ query }) => query.get("continue"))).toEqual([
    null,
    `${world.objects.version()}:3`,
    `${world.objects.version()}:6`,
  ]);
});

test("bookmarks alone carry a watch on, and where it ended it begins again", async () => {
  const world = await openWorld();
  await world.converged("the first list");
  // Another kind's objects increase the version.
  for (let index = 0; index < 20; index += 1) world.server.put("Service", someService(index));
  const version = String(world.objects.version());
  world.server.bookmark("Pod");
  await sleep(1_200);
  world.objects.compact();
  world.server.end("Pod");
  await vi.waitFor(() => expect(world.kind("Pod").watches["ended"]).toBe(1), 20_000);
  await world.converged("a watch that ended after nothing but bookmarks");
  const again = world.server.asked.filter(({ kind, type }) => kind === "Pod" && type === "watch");
  expect(again.map(({ query }) => query.get("resourceVersion"))).toEqual([version]);
  expect(world.kind("Pod").lists).toEqual({ first: 1 });
});

const someService = (index: number) => ({
  metadata: { name: `s-${index}`, namespace: "shop" },
  spec: { clusterIP: `10.96.1.${index}`, clusterIPs: [`10.96.1.${index}`], ports: [{ port: 80 }] },
});

test("nothing is reported as known before every kind has been listed", async () => {
  const world = await openWorld();
  world.server.script(({ kind }, response) =>
    kind === "Namespace" ? refuse(response, 403, 'namespaces is forbidden: User "x" cannot list') : false,
  );
  await vi.waitFor(() => expect(world.kind("Pod").objects).toBe(8), 20_000);
  await vi.waitFor(() => expect(problems(world)).toHaveLength(1), 20_000);
  expect(world.last()).toMatchObject({ readable: false });
  expect(problems(world)[0]).toMatch(
    /^API server http:.*: Namespace cannot be followed: HTTP 403: namespaces is forbidden: .*; the kernel keeps/,
  );
  expect(world.source.health().synced).toBe(false);
  world.server.script(() => false);
  await world.converged("a kind that was forbidden at first");
  expect(problems(world)).toEqual([]);
});

test("a node that is unknown to the server is a problem", async () => {
  const world = await openWorld();
  await world.converged("the first list");
  world.server.remove("Node", NODE);
  await vi.waitFor(() => expect(problems(world)).toHaveLength(1), 20_000);
  expect(problems(world)[0]).toMatch(/^Node node-1: is unknown to the API server; expected --node-name/);
  expect(world.last()).toMatchObject({ readable: true });
  world.server.put("Node", { metadata: { name: NODE } });
  await vi.waitFor(() => expect(problems(world)).toEqual([]), 20_000);
});

test("a node that the server has never had leaves the kernel as it is", async () => {
  const objects = someObjects();
  objects.remove("Node", NODE);
  const world = await openWorld({ objects });
  await vi.waitFor(() => expect(problems(world)).toHaveLength(1), 20_000);
  expect(world.last()).toMatchObject({ readable: false });
  expect(problems(world)[0]).toMatch(/^Node node-1: is unknown .*; the kernel keeps the last applied/);
  world.server.put("Node", { metadata: { name: NODE } });
  await world.converged("a node that came later");
  expect(problems(world)).toEqual([]);
});

test("reading once waits for everything, and ends", async () => {
  const world = await openWorld();
  const reading = await world.source.read(new AbortController().signal);
  expect(reading.readable).toBe(true);
  expect(reading.cluster.pods.size).toBe(8);
});

test("an abort ends it at once, with every connection", async () => {
  const world = await openWorld();
  await world.converged("the first list");
  expect(world.server.sockets.size).toBeGreaterThan(0);
  const begun = performance.now();
  await world.close();
  expect(performance.now() - begun).toBeLessThan(30_000);
  expect(world.server.sockets.size).toBe(0);
});
