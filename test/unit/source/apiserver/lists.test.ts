// Lists that fail half-way, and servers that come and go: nothing of half a list ever counts.

import { setTimeout as sleep } from "node:timers/promises";
import { expect, test, vi } from "vitest";
import { KINDS } from "../../../../src/source/apiserver/resource-kinds.ts";
import { type Fault, refuse } from "./server.ts";
import { openWorld, pod, policy, someObjects } from "./world.ts";

/** Does something to the second page of the list of pods, a number of times. */
const onSecondPage = (times: number, act: Fault): Fault => {
  let left = times;
  return (asked, response) => {
    if (asked.kind !== "Pod" || !asked.query.has("continue") || left === 0) return false;
    left -= 1;
    return act(asked, response);
  };
};

test("pages whose continue expires are requested again, then all at once", async () => {
  const objects = someObjects();
  const world = await openWorld({ streams: false, objects, down: true });
  await world.start();
  world.server.script(
    onSecondPage(1, (_, response) => refuse(response, 410, "the provided continue parameter is too old")),
  );
  await world.converged("a continue that expired");
  const asked = world.server.asked.filter(({ kind, type }) => kind === "Pod" && type === "list");
  expect(asked.at(-1)?.query.get("limit")).toBeNull();
  expect(world.kind("Pod").lists["expired"]).toBe(1);
});

const PAGES: readonly (readonly [string, Fault])[] = [
  ["is refused", (_, response) => refuse(response, 500, "etcd")],
  ["is cut off", (_, response) => cutOff(response, '{"metadata":{"resourceVersion":"9"},"items":[')],
  ["is no JSON", (_, response) => whole(response, "<html>")],
  ["has no version", (_, response) => whole(response, '{"items":[]}')],
  [
    "has items that are no list",
    (_, response) => whole(response, '{"metadata":{"resourceVersion":"9"},"items":{}}'),
  ],
  ["never comes", () => true],
  ["never ends", (_, response) => started(response)],
  ["is too large", (_, response) => whole(response, JSON.stringify("x".repeat(300_000)))],
  [
    "holds an object without a name",
    (_, response) => whole(response, '{"metadata":{"resourceVersion":"9"},"items":[{}]}'),
  ],
];

function whole(response: Parameters<Fault>[1], text: string): true {
  response.writeHead(200).end(text);
  return true;
}

function started(response: Parameters<Fault>[1]): true {
  response.writeHead(200).write('{"items":[');
  return true;
}

function cutOff(response: Parameters<Fault>[1], text: string): true {
  response.writeHead(200, { "content-length": "100000" }).write(text, () => response.destroy());
  return true;
}

test.each(PAGES)("a second page that %s removes nothing", async (what, act) => {
  const timing = { bytesMax: 200_000, answerMs: 400, pageMs: 400 };
  const world = await openWorld({ streams: false, timing });
  await world.converged("the first list");
  world.server.script(onSecondPage(2, act));
  const seen = world.readings.length;
  world.objects.put("Pod", pod("late", "10.0.0.50"));
  world.objects.compact();
  world.server.end("Pod");
  await world.converged(`a second page that ${what}`);
  // From eight pods to nine, and nothing between.
  const sizes = new Set(world.readings.slice(seen).map(({ cluster }) => cluster.pods.size));
  expect([...sizes].sort()).toEqual(sizes.has(8) ? [8, 9] : [9]);
});

test("pages that lead in a circle come to an end", async () => {
  const world = await openWorld({ streams: false, timing: { listMs: 1_000 } });
  await world.converged("the first list");
  let circles = true;
  world.server.script(({ kind, query }) => {
    if (circles && kind === "Pod" && query.has("continue"))
      query.set("continue", `${world.objects.version()}:3`);
    return false;
  });
  world.objects.put("Pod", pod("late", "10.0.0.50"));
  world.objects.compact();
  world.server.end("Pod");
  await vi.waitFor(
    () => expect(world.kind("Pod").failure?.reason).toBe("the list took more than 1000 ms"),
    20_000,
  );
  circles = false;
  await world.converged("pages in a circle");
});

test("a streaming list without an end is replaced by pages", async () => {
  const world = await openWorld({ down: true, timing: { initialMs: 300 } });
  await world.start();
  world.server.script(({ type }, response) => {
    if (type !== "stream") return false;
    response.writeHead(200).flushHeaders();
    return true;
  });
  await world.converged("a streaming list without an end");
  expect(world.log.join("\n")).toContain("lists are read by pages");
  expect(world.server.asked.filter(({ type }) => type === "list").length).toBeGreaterThan(KINDS.length);
});

test.each([400, 422])("a streaming list that is refused with %i is never requested again", async (status) => {
  const world = await openWorld({ down: true, timing: { relistMs: [200, 300] } });
  await world.start();
  world.server.script(({ type }, response) =>
    type === "stream" ? refuse(response, status, "sendInitialEvents: Forbidden") : false,
  );
  await world.converged(`a streaming list refused with ${status}`);
  await vi.waitFor(() => expect(world.kind("Pod").lists["periodic"]).toBeGreaterThan(1), 20_000);
  const streams = world.server.asked.filter(({ type }) => type === "stream");
  expect(streams.length).toBeLessThanOrEqual(KINDS.length);
});

test("a streaming list that breaks half-way counts for nothing", async () => {
  const world = await openWorld({ down: true });
  await world.start();
  let broken = 0;
  world.server.script(({ kind, type }, response) => {
    if (kind !== "Pod" || type !== "stream" || broken >= 3) return false;
    broken += 1;
    const object = { ...pod("ghost", "10.0.0.99"), kind: "Pod" };
    response.writeHead(200).write(`${JSON.stringify({ type: "ADDED", object })}\n`, () => response.destroy());
    return true;
  });
  await world.converged("three streaming lists that broke");
  expect(broken).toBe(3);
  expect(world.readings.some(({ cluster }) => cluster.pods.has("shop/ghost"))).toBe(false);
});

test("a server that only has the beta of EndpointSlice", async () => {
  const objects = someObjects();
  const world = await openWorld({ objects, down: true });
  await world.start();
  // The scripted server serves v1 only; the beta is answered here.
  const slice = {
    metadata: { name: "web-x", namespace: "shop", uid: "u", labels: { "kubernetes.io/service-name": "web" } },
    addressType: "IPv4",
    endpoints: [{ addresses: ["10.0.0.1"], topology: { "kubernetes.io/hostname": "node-7" } }],
    ports: [{ port: 80, name: "" }],
  };
  const metadata = { resourceVersion: String(objects.version()) };
  world.server.scriptUnknown((path, response) => {
    if (!path.startsWith("/apis/discovery.k8s.io/v1beta1/endpointslices?")) return false;
    if (path.includes("sendInitialEvents")) return refuse(response, 422, "forbidden");
    if (!path.includes("watch=1")) return whole(response, JSON.stringify({ metadata, items: [slice] }));
    response.writeHead(200).flushHeaders();
    return true;
  });
  world.server.script(({ kind }, response) =>
    kind === "EndpointSlice"
      ? refuse(response, 404, "the server could not find the requested resource")
      : false,
  );
  await world.converged("slices of the beta");
  expect(world.last()?.cluster.slices.get("shop/web-x")?.endpoints[0]?.node).toBe("node-7");
});

test("a server that is absent at first, then goes, and comes back with other objects", async () => {
  const world = await openWorld({ down: true });
  await vi.waitFor(() => expect(world.last()?.problems[0]?.reason).toMatch(/ECONNREFUSED/), 20_000);
  expect(world.last()?.readable).toBe(false);
  await world.start();
  await world.converged("a server that was not there");
  await world.server.close();
  world.objects.remove("Pod", "shop/web-4");
  world.objects.remove("NetworkPolicy", "shop/deny");
  world.objects.put("NetworkPolicy", policy("other", "web-5"));
  await sleep(300);
  expect(world.last()?.cluster.pods.size).toBe(8);
  await world.start();
  await world.converged("a server that was away");
  // The history was still there, so nothing had to be listed.
  expect(world.kind("Pod").lists).toMatchObject({ first: 1 });
  await world.server.close();
  world.objects.remove("Pod", "shop/web-5");
  world.objects.compact();
  await world.start();
  await world.converged("a server that was away, and has forgotten");
});

test("a store that was restored while the server was away is noticed at once", async () => {
  const objects = someObjects();
  const world = await openWorld({ objects });
  await world.converged("the first list");
  for (let index = 0; index < 50; index += 1) world.server.put("Pod", pod("busy", `10.0.1.${index}`));
  await world.converged("fifty events");
  await world.server.close();
  objects.remove("Pod", "shop/busy");
  objects.remove("Pod", "shop/web-1");
  // A restored etcd counts from where its backup was made.
  objects.restoreAt(120);
  await world.start();
  await world.converged("a store that was set back");
  expect(world.kind("Pod").lists["rewound"]).toBe(1);
  expect(world.log.join("\n")).toMatch(/warn +the API server has gone back to an older state kind=Pod/);
  world.server.put("Pod", pod("after", "10.0.2.1"));
  await world.converged("an event after that");
});
