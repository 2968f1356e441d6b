// The CNI plugin under load: many pods at once, an agent that freezes or crashes meanwhile, and what an ADD costs.

import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import type { Agent } from "../../src/lab/weir-process.ts";
import { type CniWorld, newPod, openCniWorld, probeFrom, type Sandbox } from "./cni-world.ts";

const PARALLEL = 50;
const MEASURED = 25;
const PORT = 5000;

const CLUSTER = [
  { apiVersion: "v1", kind: "Namespace", metadata: { name: "alpha" } },
  {
    apiVersion: "networking.k8s.io/v1",
    kind: "NetworkPolicy",
    metadata: { namespace: "alpha", name: "mute" },
    spec: { podSelector: { matchLabels: { role: "mute" } }, policyTypes: ["Egress"] },
  },
];

let world: CniWorld;
let agent: Agent;
let serverAddress: string;
/** The configuration of a node, and its plugins. */
let conf: string;
let bin: string;

const LIST = '{ "cniVersion": "1.0.0", "name": "net", "plugins": [ { "type": "ptp" } ] }\n';

let next = 0;
const mute = (uid?: string): Sandbox => {
  next += 1;
  return world.sandbox(`alpha/mute-${next}`, uid);
};
const enforced = async (): Promise<number> => {
  const endpoints = JSON.parse((await world.weir("get", "endpoints", "-o", "json")).stdout);
  return endpoints.filter(({ state }: { state: string }) => state === "enforced").length;
};
const median = (values: readonly number[]): number =>
  [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0;

beforeAll(async () => {
  world = openCniWorld({ prefix: "wt-cnil", network: "ptp", net: 96, ipv6: false });
  const root = dirname(world.paths.socket);
  [conf, bin] = [join(root, "conf"), join(root, "bin")];
  for (const directory of [conf, bin]) mkdirSync(directory);
  world.manifests.put("cluster.yaml", CLUSTER);
  world.manifests.put("pods.yaml", [
    newPod("alpha/server"),
    ...Array.from({ length: PARALLEL + MEASURED + 10 }, (_, at) =>
      newPod(`alpha/mute-${at + 1}`, { role: "mute" }),
    ),
  ]);
  agent = await world.start("--cni-conf-dir", conf, "--cni-bin-dir", bin);
  const server = world.sandbox("alpha/server");
  const { addresses } = await world.add(server);
  serverAddress = addresses[0] ?? "";
  await world.process(server, { addresses: addresses.slice(0, 1), port: PORT });
});

afterAll(() => world?.close());

it(`${MEASURED} ADDs, one after the other: what the plugin adds to each`, async () => {
  const times: number[] = [];
  for (let at = 0; at < MEASURED; at += 1) {
    const sandbox = mute();
    const { output: prevResult } = await world.network("ADD", sandbox);
    const added = await world.call("ADD", sandbox, { prevResult });
    expect(added.status).toBe(0);
    times.push(added.ms);
  }
  const idle = mute();
  const asks = await Promise.all([1, 2, 3].map(() => world.call("VERSION", idle, {})));
  const [middle, most, process] = [median(times), Math.max(...times), median(asks.map(({ ms }) => ms))];
  const text = `median ${middle.toFixed(1)} ms, most ${most.toFixed(1)} ms, of it ${process.toFixed(1)} ms for a process`;
  console.log(`ADD of weir-cni: ${text}`);
});

it(`${PARALLEL} ADDs at once: each ends with its policy enforced`, async () => {
  const sandboxes = Array.from({ length: PARALLEL }, () => mute());
  const results: unknown[] = [];
  // Only the calls to the agent are concurrent.
  for (const sandbox of sandboxes) results.push((await world.network("ADD", sandbox)).output);
  const before = await enforced();
  const begun = performance.now();
  const added = await Promise.all(
    sandboxes.map((sandbox, at) => world.call("ADD", sandbox, { prevResult: results[at] })),
  );
  console.log(`${PARALLEL} ADDs at once: ${(performance.now() - begun).toFixed(0)} ms for all`);
  expect(added.map(({ status }) => status)).toEqual(sandboxes.map(() => 0));
  expect(await enforced()).toBe(before + PARALLEL);
  const process = await world.process(sandboxes.at(-1) as Sandbox);
  const shot = { kind: "udp", address: serverAddress, port: PORT, timeoutMs: 300, once: true } as const;
  expect((await probeFrom(process, shot)).result).toBe("silent");
  const deleted = await Promise.all(sandboxes.map((sandbox) => world.call("DEL", sandbox, {})));
  expect(deleted.map(({ status }) => status)).toEqual(sandboxes.map(() => 0));
});

it("a frozen agent holds no pod for longer than the plugin waits", async () => {
  const sandbox = mute();
  const { output: prevResult } = await world.network("ADD", sandbox);
  process.kill(agent.pid ?? 0, "SIGSTOP");
  try {
    const refused = await world.call("ADD", sandbox, { prevResult, timeoutMs: 500 });
    expect(refused).toMatchObject({
      status: 1,
      output: { code: 11, msg: "the agent gave no answer in time" },
    });
    const open = await world.call("ADD", sandbox, { prevResult, timeoutMs: 500, failOpen: true });
    expect(open).toMatchObject({ status: 0, stderr: expect.stringContaining("without its policy") });
    expect(open.output).toEqual(prevResult);
    expect(await world.call("DEL", sandbox, { timeoutMs: 500 })).toMatchObject({ status: 0 });
  } finally {
    process.kill(agent.pid ?? 0, "SIGCONT");
  }
});

it("an agent that dies during a request fails the ADD at once", async () => {
  const sandbox = world.sandbox("alpha/nobody");
  const { output: prevResult } = await world.network("ADD", sandbox);
  const adding = world.call("ADD", sandbox, { prevResult, timeoutMs: 60_000 });
  const claims = async (): Promise<string> => (await world.weir("status")).stdout;
  await expect.poll(claims, { timeout: 20_000 }).toContain("1 not in force yet");
  await agent.kill();
  expect(await adding).toMatchObject({ status: 1, output: { code: 11 } });
  agent = await world.start("--cni-conf-dir", conf, "--cni-bin-dir", bin);
});

it("the agent keeps the plugin in the node's configuration, and uninstall removes all of it", async () => {
  const file = join(conf, "10-net.conflist");
  const text = (): string => readFileSync(file, "utf8");
  writeFileSync(file, LIST);
  await expect.poll(text, { timeout: 30_000 }).toContain("weir-cni");
  expect(JSON.parse(text()).plugins[1]).toEqual({
    type: "weir-cni",
    socket: join(dirname(world.paths.socket), "cni.sock"),
  });
  writeFileSync(file, LIST);
  await expect.poll(text, { timeout: 30_000 }).toContain("weir-cni");
  const places = ["--conf-dir", conf, "--bin-dir", bin];
  expect((await world.weir("cni", "status", ...places)).status).toBe(0);
  await agent.stop();
  expect((await world.weir("cni", "uninstall", ...places)).status).toBe(0);
  expect(text()).toBe(LIST);
  expect((await world.weir("cni", "status", ...places)).status).toBe(5);
  rmSync(file);
});
