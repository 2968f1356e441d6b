// A server that is slow, silent, forgetful or failing: afterwards the state is right, and nothing was missed.

import { expect, test, vi } from "vitest";
import { problemText } from "../../../../src/model/problem.ts";
import { type Fault, line, refuse } from "./server.ts";
import { NODE, openWorld, pod, policy } from "./world.ts";

const PODS = 8;

test("an event that is sent bit by bit, within its time", async () => {
  const world = await openWorld();
  await world.converged("the first list");
  const { object } = world.objects.put("Pod", pod("slow", "10.0.0.60"));
  for (const part of line({ type: "ADDED", object }).match(/.{1,80}\n?/gs) ?? [])
    world.server.write("Pod", part);
  await world.converged("an event in bits");
  expect(world.kind("Pod").watches).toEqual({});
});

test("a connection that drips, and never comes to the end of an event", async () => {
  const world = await openWorld({ timing: { lineMs: 300 } });
  await world.converged("the first list");
  const text = line({ type: "DELETED", object: pod("web-1", "10.0.0.1") });
  let at = 0;
  const drip = setInterval(() => world.server.write("Pod", text[at++ % 40] ?? ""), 20);
  await vi.waitFor(() => expect(world.kind("Pod").watches["silent"]).toBe(1), 20_000);
  clearInterval(drip);
  await world.converged("an event that never ended");
});

test("a frozen connection", async () => {
  const world = await openWorld({ timing: { idleMs: 400 } });
  await world.converged("the first list");
  world.server.freeze();
  world.server.put("Pod", pod("unheard", "10.0.0.61"));
  world.server.remove("NetworkPolicy", "shop/deny");
  await world.converged("a server that fell silent");
  expect(world.kind("Pod").watches["silent"]).toBeGreaterThan(0);
});

test("bookmarks keep a quiet watch alive", async () => {
  const world = await openWorld({ timing: { idleMs: 1_500 } });
  await world.converged("the first list");
  const beat = setInterval(() => world.server.bookmark("Pod"), 100);
  await vi.waitFor(() => expect(world.kind("Service").watches["silent"]).toBeGreaterThan(0), 20_000);
  clearInterval(beat);
  expect(world.kind("Pod").watches).toEqual({});
});

test("an event that got lost is found by the next list, and logged", async () => {
  const world = await openWorld({ timing: { relistMs: [600, 700] } });
  await world.converged("the first list");
  world.objects.remove("Pod", "shop/web-1");
  world.objects.put("Pod", pod("lost", "10.0.0.62"));
  // The watch passes both.
  world.server.bookmark("Pod");
  await world.converged("two events that got lost");
  expect(world.kind("Pod").differences).toBe(2);
  expect(world.log.join("\n")).toMatch(
    /warn +a list has changes that no event brought kind=Pod cause=periodic objects=8 added=1 changed=0 gone=1 recreated=0 missed=2/,
  );
});

test("what changes while a list replaces a watch is no difference", async () => {
  const world = await openWorld({ timing: { relistMs: [300, 400] } });
  await world.converged("the first list");
  // No event reports it: as when the watch has ended, and the list has not begun.
  world.objects.remove("Pod", "shop/web-1");
  world.objects.put("Pod", pod("new", "10.0.0.62"));
  await world.converged("two changes in between");
  expect(world.kind("Pod").differences).toBe(0);
  expect(world.log.join("\n")).not.toContain("no event brought");
});

test("an object of 50 MB", async () => {
  const world = await openWorld({ timing: { pageMs: 20_000, lineMs: 20_000 } });
  await world.converged("the first list");
  const object = pod("big", "10.0.0.63");
  const annotations = { note: "x".repeat(50_000_000) };
  world.server.put("Pod", { ...object, metadata: { ...object.metadata, annotations } });
  await world.converged("an object of 50 MB");
  expect(world.kind("Pod").watches).toEqual({});
});

test("an event beyond the limit is refused, and counts when it has become smaller", async () => {
  const world = await openWorld({ timing: { bytesMax: 100_000 } });
  await world.converged("the first list");
  const object = pod("big", "10.0.0.64");
  const annotations = { note: "x".repeat(200_000) };
  world.server.put("Pod", { ...object, metadata: { ...object.metadata, annotations } });
  await vi.waitFor(() => expect(world.kind("Pod").lists["unreadable"]).toBeGreaterThan(1), 20_000);
  expect(world.kind("Pod").failure?.reason).toMatch(/has more than 100000 bytes$/);
  expect(world.last()?.cluster.pods.size).toBe(PODS);
  await vi.waitFor(() => {
    const [problem] = world.last()?.problems ?? [];
    expect(problem && problemText(problem)).toMatch(
      /Pod cannot be followed: .*; the last known good state stays in force$/,
    );
  }, 20_000);
  world.server.put("Pod", object);
  await world.converged("an event that was too large");
});

test("objects that are deleted and recreated between watches", async () => {
  const world = await openWorld();
  await world.converged("the first list");
  const before = world.last()?.cluster.pods.get("shop/web-1")?.uid;
  world.objects.remove("Pod", "shop/web-1");
  world.objects.put("Pod", pod("web-1", "10.0.0.1"));
  world.objects.compact();
  world.server.end("Pod");
  await world.converged("an object of the same name");
  expect(world.last()?.cluster.pods.get("shop/web-1")?.uid).not.toBe(before);
  expect(world.log.join("\n")).toMatch(/listed kind=Pod .* recreated=1/);
});

test("a policy that cannot be read keeps its last good version, and a new one of its name does not", async () => {
  const world = await openWorld();
  await world.converged("the first list");
  const bad = { ...policy("deny", "web-1"), spec: { podSelector: {}, shields: "up" } };
  world.server.put("NetworkPolicy", bad);
  const inForce = () => world.last()?.cluster.policies.get("shop/deny");
  await vi.waitFor(() => expect(world.last()?.problems).toHaveLength(1), 20_000);
  expect(problemText(world.last()?.problems[0] ?? { severity: "error", reason: "none" })).toMatch(
    /^NetworkPolicy shop\/deny: spec.shields: unknown field; .*; its last known good version stays in force$/,
  );
  expect(inForce()?.unreadable).toBeUndefined();
  expect(inForce()?.subject.requirements).toHaveLength(1);
  world.objects.remove("NetworkPolicy", "shop/deny");
  world.objects.put("NetworkPolicy", bad);
  world.objects.compact();
  world.server.end("NetworkPolicy");
  await vi.waitFor(() => expect(inForce()?.unreadable).toMatch(/shields/), 20_000);
  world.server.put("NetworkPolicy", policy("deny", "web-2"));
  await world.converged("a policy that can be read again");
  expect(world.last()?.problems).toEqual([]);
});

/** Answers of a status for a while, when the watch of pods is requested again. */
const REFUSALS: readonly (readonly [number, string, Readonly<Record<string, string>>])[] = [
  [401, "Unauthorized", {}],
  [403, "pods is forbidden", {}],
  [404, "not found", {}],
  [429, "Too many requests", { "retry-after": "1" }],
  [500, "etcdserver: request timed out", {}],
  [503, "apiserver is shutting down", { "retry-after": "1" }],
  [504, "Too large resource version", {}],
];

test.each(REFUSALS)("status %i for a while", async (status, message, headers) => {
  const world = await openWorld();
  await world.converged("the first list");
  let refused = 0;
  let lastAt = 0;
  const refuses: Fault = ({ kind }, response) => {
    if (kind !== "Pod" || refused >= 3) return false;
    refused += 1;
    lastAt = performance.now();
    return refuse(response, status, message, headers);
  };
  world.server.script(refuses);
  const begun = performance.now();
  world.objects.put("Pod", pod("late", "10.0.0.50"));
  world.server.end("Pod", "breaks");
  await world.converged(`status ${status} three times`);
  expect(refused).toBe(3);
  // Three waits of a second, as the server requested, the last of them before the answer.
  if ("retry-after" in headers) expect(lastAt - begun).toBeGreaterThan(1_950);
  const { lists, watches } = world.kind("Pod");
  expect((lists["refused"] ?? 0) + (watches["refused"] ?? 0)).toBeGreaterThan(0);
});

test("a server that ends every watch at once is not queried without a pause", async () => {
  const world = await openWorld();
  await world.converged("the first list");
  let ends = 0;
  world.server.script(({ kind, type }, response) => {
    if (kind !== "Pod" || type === "list" || ends >= 6) return false;
    ends += 1;
    response.writeHead(200).end();
    return true;
  });
  const begun = performance.now();
  world.server.end("Pod");
  await vi.waitFor(() => expect(ends).toBe(6), 20_000);
  // Half of 20, 40, 80, 160 and 200 ms at the least.
  expect(performance.now() - begun).toBeGreaterThan(200);
  await world.converged("six watches that ended at once");
});

test("trouble that lasts is reported with its reason, and the last known state stays", async () => {
  const world = await openWorld();
  await world.converged("the first list");
  world.server.script((_, response) => refuse(response, 500, "etcd is not there"));
  for (const kind of ["Pod", "Namespace", "NetworkPolicy", "Service", "EndpointSlice", "Node"] as const)
    world.server.end(kind, "breaks");
  // The kinds get there one after the other.
  const reason =
    "Namespace, NetworkPolicy, Pod, Service, EndpointSlice, Node cannot be followed: HTTP 500: etcd is not there";
  await vi.waitFor(() => expect(world.last()?.problems.map((each) => each.reason)).toEqual([reason]), 20_000);
  expect(world.last()).toMatchObject({ readable: true, problems: [{ severity: "error" }] });
  expect(world.last()?.cluster.pods.size).toBe(PODS);
  expect(world.kind("Pod")).toMatchObject({
    state: "waiting",
    failure: { reason: "HTTP 500: etcd is not there" },
  });
  world.server.script(() => false);
  world.server.put("Pod", pod("back", "10.0.0.70"));
  await world.converged("every kind in trouble");
  await vi.waitFor(() => expect(world.last()?.problems).toEqual([]), 20_000);
  expect(world.last()?.cluster.pods.get("shop/web-1")?.node).toBe(NODE);
});
