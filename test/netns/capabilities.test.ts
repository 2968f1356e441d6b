// The agent with no more than the capabilities that the Helm chart gives its container, enforcing on real sockets; and with one less.

import { chownSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { Agent, type ProductPaths, weir } from "../../src/lab/product.ts";
import { findObject, objectsOf, podOf, renderChart } from "../../tools/chart/render.ts";
import { chartCapabilities } from "../support/capabilities.ts";
import { mismatchesOf } from "./reach.ts";
import { FRIENDS_ONLY, FRIENDS_ONLY_HOLDS, smallWorld } from "./small-world.ts";
import { openWorld, type World } from "./world.ts";

let world: World;

beforeAll(async () => {
  world = await openWorld(smallWorld("wt-caps", { "friends-only.yaml": FRIENDS_ONLY }));
});

afterAll(() => world?.close());

const pathsWith = (capabilities: readonly string[]): ProductPaths => ({ ...world.paths, capabilities });

async function enforces(capabilities: readonly string[], ...args: readonly string[]): Promise<void> {
  const paths = pathsWith(capabilities);
  const agent = Agent.spawn(paths, world.manifests.path, args);
  try {
    await agent.ready();
    expect(await mismatchesOf(world.lab, FRIENDS_ONLY_HOLDS)).toEqual([]);
  } finally {
    await agent.stop();
  }
  const { status, stderr } = await weir(paths, ["cleanup"]);
  expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
}

it("enforces and cleans up with the chart's capabilities", async () => {
  await enforces(chartCapabilities());
});

it("gives its socket to a group", async () => {
  await enforces(chartCapabilities(["config.socketGroup=4711"]), "--socket-group", "4711");
});

/** Of addresses in pods' namespaces the agent is told by it; without, it looks for them itself now and then. */
const SPARED = "NET_BROADCAST";
const needed = (): readonly string[] => chartCapabilities().filter((each) => each !== SPARED);

it("enforces without being told of pods' addresses at once", async () => {
  expect(chartCapabilities()).toContain(SPARED);
  await enforces(needed());
});

it("and needs every one of the others", async () => {
  const all = needed();
  for (const missing of all) {
    const { status, stderr } = await weir(pathsWith(all.filter((each) => each !== missing)), [
      "run",
      "--once",
      "--manifests",
      world.manifests.path,
      "--metrics-listen",
      "off",
    ]);
    expect({ missing, status, denied: /EPERM|EACCES|Operation not permitted/.test(stderr) }, stderr).toEqual({
      missing,
      status: 1,
      denied: true,
    });
  }
});

it("puts weir-cni into another user's directory and takes it away again, with the capabilities of the chart's clean-up", async () => {
  const [conf, bin] = ["conf", "bin"].map((name) => join(dirname(world.paths.socket), name)) as [
    string,
    string,
  ];
  const list = join(conf, "10-net.conflist");
  const text = '{"cniVersion": "1.0.0", "name": "net", "plugins": [{"type": "ptp"}]}\n';
  for (const directory of [conf, bin]) mkdirSync(directory);
  writeFileSync(list, text, { mode: 0o600 });
  const STRANGER = 4711;
  for (const path of [conf, bin, list]) chownSync(path, STRANGER, STRANGER);

  const cleanup = objectsOf(renderChart({ set: ["cni.enabled=true"] })).filter(
    ({ kind }) => kind === "DaemonSet",
  );
  const [cni] = podOf(findObject(cleanup, "DaemonSet", "weir-cleanup")).initContainers ?? [];
  const capabilities = cni?.securityContext.capabilities?.add ?? [];
  for (const each of capabilities) expect(chartCapabilities(["cni.enabled=true"])).toContain(each);
  const paths = pathsWith(capabilities);
  const at = ["--conf-dir", conf, "--bin-dir", bin];
  const installed = await weir(paths, ["cni", "install", ...at]);
  expect({ status: installed.status, stderr: installed.stderr }).toEqual({ status: 0, stderr: "" });
  expect(readFileSync(list, "utf8")).toContain("weir-cni");
  const { uid, gid, mode } = statSync(list);
  expect({ uid, gid, mode: mode & 0o777 }).toEqual({ uid: STRANGER, gid: STRANGER, mode: 0o600 });
  const removed = await weir(paths, ["cni", "uninstall", ...at]);
  expect({ status: removed.status, stderr: removed.stderr }).toEqual({ status: 0, stderr: "" });
  expect(readFileSync(list, "utf8")).toBe(text);
  expect(readdirSync(bin)).toEqual([]);
});
