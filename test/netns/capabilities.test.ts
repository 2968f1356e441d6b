// The agent with only the capabilities that the Helm chart gives its container, enforcing on real sockets; and with one less.

import { chownSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { EXIT } from "../../src/cli/environment.ts";
import { Agent, type ProductPaths, weir } from "../../src/lab/weir-process.ts";
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

/** Reports addresses in pods' namespaces to the agent; without it, the agent polls for them. */
const SPARED = "NET_BROADCAST";
const needed = (): readonly string[] => chartCapabilities().filter((each) => each !== SPARED);

it("enforces without immediate notice of pods' addresses", async () => {
  expect(chartCapabilities()).toContain(SPARED);
  await enforces(needed());
});

it("and needs each of the others", async () => {
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
      status: EXIT.forbidden,
      denied: true,
    });
  }
});

interface Finding {
  readonly check: string;
  readonly state: string;
  readonly detail: string;
}

async function checkNode(
  capabilities: readonly string[],
  ...args: readonly string[]
): Promise<{ readonly status: number; readonly findings: readonly Finding[] }> {
  const { status, stdout } = await weir(pathsWith(capabilities), ["check", "node", "-o", "json", ...args]);
  return { status, findings: JSON.parse(stdout) as Finding[] };
}

const notOk = (findings: readonly Finding[]): readonly Finding[] =>
  findings.filter(({ state }) => state === "missing" || state === "unknown");

/** Devices and pins that a check creates for itself. */
const leftovers = (): readonly string[] => [
  ...readdirSync("/sys/class/net").filter((name) => name.startsWith("weir-check")),
  ...readdirSync("/sys/fs/bpf").filter((name) => name.startsWith("weir-check")),
];

it("check node does every operation with the chart's capabilities, and leaves nothing", async () => {
  const { status, findings } = await checkNode(chartCapabilities());
  expect(notOk(findings)).toEqual([]);
  expect(status).toBe(0);
  const operations = ["map creation", "pins", "programs", "ring buffer", "rtnetlink", "interface", "links"];
  for (const operation of operations)
    expect(findings).toContainEqual(expect.objectContaining({ check: operation, state: "ok" }));
  expect(leftovers()).toEqual([]);
});

it.each([
  ["BPF", ["map creation", "programs", "xdp"]],
  ["NET_ADMIN", ["programs", "rtnetlink", "interface", "xdp"]],
  ["PERFMON", ["programs", "xdp"]],
])("check node names CAP_%s if it is missing, and what fails", async (missing, operations) => {
  expect(chartCapabilities()).toContain(missing);
  const { status, findings } = await checkNode(chartCapabilities().filter((each) => each !== missing));
  expect(status).toBe(1);
  const failed = notOk(findings).filter(({ state }) => state === "missing");
  expect(failed.map(({ check }) => check).sort()).toEqual(["privilege", ...operations].sort());
  for (const { detail } of failed) expect(detail).toContain(`this process lacks CAP_${missing}`);
  expect(leftovers()).toEqual([]);
});

it("check node reports what happens without CAP_NET_BROADCAST", async () => {
  const { status, findings } = await checkNode(needed());
  expect(status).toBe(0);
  expect(findings.filter(({ state }) => state !== "ok")).toEqual([
    {
      check: "rtnetlink",
      state: "fallback",
      detail: "without changes of addresses in pods' namespaces: this process lacks CAP_NET_BROADCAST",
    },
  ]);
});

it("check node tries the CNI directories and the API server that the configuration names", async () => {
  const directory = dirname(world.paths.socket);
  const [own, others, config] = ["own", "others", "config.yaml"].map((name) => join(directory, name)) as [
    string,
    string,
    string,
  ];
  for (const path of [own, others]) mkdirSync(path);
  chownSync(others, 4711, 4711);
  const kubeconfig = join(directory, "kubeconfig");
  const cluster = { server: "http://127.0.0.1:9", "insecure-skip-tls-verify": true };
  writeFileSync(
    kubeconfig,
    JSON.stringify({
      apiVersion: "v1",
      kind: "Config",
      "current-context": "here",
      clusters: [{ name: "here", cluster }],
      users: [{ name: "here", user: {} }],
      contexts: [{ name: "here", context: { cluster: "here", user: "here" } }],
    }),
  );
  writeFileSync(config, JSON.stringify({ cniConfDir: own, cniBinDir: others, kubeconfig }));
  const { status, findings } = await checkNode(chartCapabilities(), "--config", config);
  expect(status).toBe(1);
  expect(findings.filter(({ check }) => check === "cni directory")).toEqual([
    { check: "cni directory", state: "ok", detail: `${own} can be written to` },
    {
      check: "cni directory",
      state: "missing",
      detail: expect.stringMatching(/EACCES.*: this process lacks CAP_DAC_OVERRIDE$/),
    },
  ]);
  const api = findings.filter(({ check }) => check === "api server");
  expect(api.length).toBeGreaterThan(3);
  for (const { state, detail } of api)
    expect({ state, detail }).toEqual({ state: "missing", detail: expect.stringContaining("ECONNREFUSED") });
  const withCni = await checkNode(chartCapabilities(["cni.enabled=true"]), "--config", config);
  expect(withCni.findings.filter(({ check, state }) => check === "cni directory" && state !== "ok")).toEqual(
    [],
  );
  expect([...readdirSync(own), ...readdirSync(others)]).toEqual([]);
});

it("installs weir-cni into another user's directory and removes it, with the capabilities of the chart's clean-up", async () => {
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
