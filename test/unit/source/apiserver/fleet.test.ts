// What many agents together do to an API server: requests are spread after an outage, large lists are rare, and no more is watched than needed.

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, it, onTestFinished } from "vitest";
import { openLog } from "../../../../src/base/log.ts";
import { openApiServer } from "../../../../src/source/apiserver/apiserver-source.ts";
import { openObserver } from "../../../../src/source/apiserver/reflector.ts";
import { Failure } from "../../../../src/source/apiserver/request-failure.ts";
import { relistSpan, spreadMs, TIMING } from "../../../../src/source/apiserver/request-timing.ts";
import { KINDS } from "../../../../src/source/apiserver/resource-kinds.ts";
import { type Asked, type Fault, line, openServer, type TestServer } from "./server.ts";
import { kubeconfigText, NODE, openWorld, someObjects } from "./world.ts";

const AGENTS = 25;
const NODES = 1_000;
const SPREAD_MS = 3_000;
const DEADLINE_MS = 60_000;
const WINDOWS = 10;
/** Of the requests in one tenth of the time: a tenth is expected, and the standard deviation is below 3 %. */
const SHARE_MAX = 0.3;

async function until(what: string, condition: () => boolean): Promise<void> {
  const deadline = Date.now() + DEADLINE_MS;
  while (!condition()) {
    if (Date.now() > deadline) throw new Error(`not within ${DEADLINE_MS} ms: ${what}`);
    await sleep(20);
  }
}

/** Agents of a cluster with many nodes, all of which follow one server. */
async function openFleet(spread = SPREAD_MS) {
  const objects = someObjects();
  for (let index = 3; index <= NODES; index += 1)
    objects.put("Node", { metadata: { name: `node-${index}` } });
  let server: TestServer = await openServer(objects);
  const { port } = server;
  const directory = mkdtempSync(join(tmpdir(), "weir-fleet-"));
  const kubeconfig = join(directory, "kubeconfig");
  writeFileSync(
    kubeconfig,
    kubeconfigText({ server: server.url, "insecure-skip-tls-verify": true }, { token: "of-the-test" }),
  );
  const stop = new AbortController();
  const timing = {
    retryMs: [20, 40] as const,
    fleetRequests: (NODES * KINDS.length) / (spread / 1_000),
    // Lists of pods, of which there are few here, are spread like the other requests.
    fleetBytes: Number.MAX_SAFE_INTEGER,
  };
  const agents = Array.from({ length: AGENTS }, () => {
    const source = openApiServer(
      { credentials: { from: "kubeconfig", path: kubeconfig }, node: NODE, timing },
      {
        log: openLog({ level: "error", format: "text", write: () => undefined, now: () => new Date() }),
        now: () => new Date(),
        version: "test",
      },
    );
    return { source, done: source.watch(() => undefined, stop.signal) };
  });
  onTestFinished(async () => {
    stop.abort();
    await Promise.all(agents.map(({ done }) => done));
    await server.close();
    rmSync(directory, { recursive: true });
  });
  const areWatching = () =>
    agents.every(({ source }) => source.health().kinds.every(({ state }) => state === "following"));
  await until("everything is followed", areWatching);
  const times: number[] = [];
  const note: Fault = ({ type }: Asked) => {
    if (type === "watch") times.push(performance.now());
    return false;
  };
  return {
    objects,
    agents: agents.map(({ source }) => source),
    get server() {
      return server;
    },
    /** Notes when watches are requested from now on. */
    note: () => server.script(note),
    async restart() {
      await server.close();
      server = await openServer(objects, { port });
      server.script(note);
    },
    /** The requests of all agents, once they are there. */
    async requests(): Promise<readonly number[]> {
      await until("all watches are requested again", () => times.length >= AGENTS * KINDS.length);
      return times;
    },
  };
}

function expectSpread(times: readonly number[]): void {
  const first = Math.min(...times);
  const counts = Array.from({ length: WINDOWS }, (_, window) => {
    const from = first + (window * SPREAD_MS) / WINDOWS;
    return times.filter((time) => time >= from && time < from + SPREAD_MS / WINDOWS).length;
  });
  for (const count of counts) expect(count, counts.join(" ")).toBeLessThan(SHARE_MAX * times.length);
  // And they are not just late.
  expect(Math.max(...times) - first).toBeGreaterThan(SPREAD_MS / 2);
}

describe("the watches of a thousand nodes are spread", () => {
  it("after the server has crashed", async () => {
    const fleet = await openFleet();
    await fleet.restart();
    expectSpread(await fleet.requests());
  });

  it("after the server has ended all watches in good order", async () => {
    const fleet = await openFleet();
    // Watches that are younger than a second are retried as failures are.
    await sleep(1_100);
    fleet.note();
    for (const kind of KINDS) fleet.server.end(kind);
    expectSpread(await fleet.requests());
  });
});

it("a version that has expired for one agent while it was followed is listed again at once", async () => {
  // Spread over a minute, all would be back within half of it once in 2^25 times.
  const fleet = await openFleet(60_000);
  const status = { kind: "Status", code: 410, message: "too old resource version" };
  fleet.objects.put("Pod", { metadata: { name: "more", namespace: "shop" } });
  const kindsOf = (kind: string) =>
    fleet.agents.map((source) => source.health().kinds.find((each) => each.kind === kind));
  await until("the event", () => kindsOf("Pod").every((each) => (each?.objects ?? 0) > 0));
  const begun = performance.now();
  fleet.server.write("Pod", line({ type: "ERROR", object: status }));
  await until("listed again", () =>
    kindsOf("Pod").every((each) => each?.lists["expired"] === 1 && each.state === "following"),
  );
  expect(performance.now() - begun).toBeLessThan(30_000);
});

describe("times", () => {
  it("a small cluster does not wait, a large one is spread, to a limit", () => {
    const of = (nodes: number, listBytes: number) =>
      spreadMs(TIMING, { requests: nodes * KINDS.length, bytes: nodes * listBytes });
    expect(of(3, 1_000_000)).toBeLessThan(15);
    expect(of(100, 0)).toBe(350);
    expect(of(5_000, 0)).toBe(17_500);
    expect(of(100, 90_000_000)).toBe(9_000);
    expect(of(5_000, 450_000_000)).toBe(60_000);
  });

  it("what has not been followed for ten seconds is reported, in a large cluster after all nodes have had their turn", () => {
    const reportedAfter = (...spreads: readonly number[]): number => {
      let now = 0;
      const observer = openObserver(
        "Pod",
        () => new Date(now),
        () => undefined,
      );
      observer.listed(0);
      for (const spread of spreads)
        observer.failed(new Failure("no connection", "/api/v1/pods", { why: "broken" }), spread);
      while (observer.trouble(TIMING.troubleMs) === undefined) now += 1_000;
      observer.following();
      expect(observer.trouble(TIMING.troubleMs)).toBeUndefined();
      return now;
    };
    expect(reportedAfter(0)).toBe(10_000);
    // The list of a kind is spread over more time than a watch.
    expect(reportedAfter(15_000, 60_000, 15_000)).toBe(70_000);
  });

  it("a list of a small cluster is relisted every 5 to 10 minutes, a large one takes 20 kB a second at most", () => {
    expect(relistSpan(TIMING, 1_000_000)).toEqual([300_000, 600_000]);
    const [least, most] = relistSpan(TIMING, 450_000_000);
    expect(450_000_000 / ((least + most) / 2_000)).toBeLessThanOrEqual(20_000);
    expect(least).toBeLessThan(most / 2);
    expect(relistSpan(TIMING, 1e12)).toEqual([43_200_000, 86_400_000]);
  });
});

it("Services that kube-proxy leaves out, and their slices, are not requested", async () => {
  const objects = someObjects();
  const labels = { "service.kubernetes.io/headless": "" };
  objects.put("EndpointSlice", {
    metadata: {
      name: "none-x",
      namespace: "shop",
      labels: { ...labels, "kubernetes.io/service-name": "none" },
    },
    addressType: "IPv4",
    endpoints: [{ addresses: ["10.0.0.2"] }],
    ports: [],
  });
  const world = await openWorld({ objects });
  await until("listed", () => world.source.health().synced);
  expect(world.kind("EndpointSlice").objects).toBe(1);
  const selectors = new Map(world.server.asked.map(({ kind, query }) => [kind, query.get("labelSelector")]));
  const selector = "!service.kubernetes.io/service-proxy-name,!service.kubernetes.io/headless";
  expect(Object.fromEntries(selectors)).toEqual({
    ...{ Namespace: null, NetworkPolicy: null, ClusterNetworkPolicy: null, Pod: null, Node: null },
    ...{ Service: selector, EndpointSlice: selector },
  });
});
