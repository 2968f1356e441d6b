// Random changes over a long time with only the chart's capabilities: policies, labels, pods, agents that are killed, replaced and
// upgraded, every command beside them. After each step sockets and the oracle agree, all is ok, and nothing was refused.
//
// WEIR_LIFE_SECONDS sets the duration (default 60), WEIR_LIFE_SEED the random changes; both are in the test's name.

import { existsSync, mkdirSync, readdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, expect, it } from "vitest";
import { type Random, randomFrom } from "../../bench/common/random.ts";
import { type LabelMap, namespaceManifest, type PodSpec, podManifest } from "../../src/lab/lab-manifests.ts";
import {
  type ExpectedShot,
  isAsExpected,
  measure,
  measuredText,
  measureExpected,
} from "../../src/lab/measure-reachability.ts";
import type { Agent, CommandResult } from "../../src/lab/weir-process.ts";
import type { Cluster, Pod } from "../../src/model/cluster.ts";
import { TABLE_NAMES } from "../../src/observe/dump/map-tables.ts";
import { evaluate } from "../../src/policy/oracle.ts";
import { readManifests } from "../../src/source/manifests/manifest-watch.ts";
import { openWorld, type World } from "./world.ts";

const SECONDS = Number(process.env["WEIR_LIFE_SECONDS"] ?? 60);
const SEED = Number(process.env["WEIR_LIFE_SEED"] ?? Date.now() % 2 ** 32);
const AGREED_MS_MAX = 60_000;
const SHOTS = 60;
const REFUSED = /EPERM|EACCES|Operation not permitted|Permission denied/;

const ROLES = ["web", "db", "job"] as const;
const TIERS = ["gold", "tin"] as const;
const NAMESPACES = ["shop", "bank"] as const;
const PORTS = [80, 81] as const;
const POLICIES = 5;

const pick = <T>(random: Random, from: readonly T[]): T => from[random.below(from.length)] as T;

const specOf = (namespace: string, number: number): PodSpec => ({
  name: `${namespace}/p${number}`,
  labels: { role: "web", tier: "tin" },
  addresses: [`10.63.64.${number}`, `fd63:64::${number}`],
  tcp: PORTS,
  udp: PORTS,
});

const PODS: readonly PodSpec[] = [1, 2, 3, 4, 5, 6].map((number) =>
  specOf(NAMESPACES[number % 2] ?? "shop", number),
);

let world: World;
let agent: Agent;
/** What every agent and command wrote to stderr. */
const written: string[] = [];
/** The current content of the manifests. */
const labels = new Map<string, LabelMap>(PODS.map(({ name, labels: own }) => [name, own]));
const teams = new Map<string, LabelMap>(NAMESPACES.map((name) => [name, {}]));
const policies = new Set<number>();

beforeAll(async () => {
  world = await openWorld({ prefix: "wt-life", namespaces: { shop: {}, bank: {} }, pods: PODS });
  agent = await world.start();
});

afterAll(() => world?.close());

const podsThere = (): PodSpec[] => PODS.filter(({ name }) => labels.has(name));

function putPods(): void {
  const manifests = podsThere().map((pod) =>
    podManifest({ ...pod, labels: labels.get(pod.name) ?? {} }, world.lab.wire(pod.name)),
  );
  world.manifests.put("pods.yaml", manifests);
}

const fileOf = (number: number): string => `policy-${number}.yaml`;

async function weir(...args: readonly string[]): Promise<CommandResult> {
  const done = await world.weir(...args);
  written.push(done.stderr);
  return done;
}

/** A command that must succeed. */
async function succeeds(...args: readonly string[]): Promise<string> {
  const { status, stdout, stderr } = await weir(...args);
  expect(status, `weir ${args.join(" ")}: ${stderr}`).toBe(0);
  return stdout;
}

async function until(isSo: () => Promise<boolean>): Promise<void> {
  for (const deadline = Date.now() + AGREED_MS_MAX; !(await isSo()); await sleep(30))
    if (Date.now() > deadline) throw new Error(`not within ${AGREED_MS_MAX} ms`);
}

async function statesOf(pod: string): Promise<string[]> {
  const rows = JSON.parse(await succeeds("get", "endpoints", "-o", "json")) as {
    readonly namespace: string;
    readonly name: string;
    readonly state: string;
  }[];
  return rows.filter((row) => `${row.namespace}/${row.name}` === pod).map(({ state }) => state);
}

function peerOf(random: Random): object {
  const role = { podSelector: { matchLabels: { role: pick(random, ROLES) } } };
  const tier = {
    podSelector: { matchExpressions: [{ key: "tier", operator: "In", values: [pick(random, TIERS)] }] },
  };
  const team = { namespaceSelector: { matchLabels: { team: pick(random, TIERS) } } };
  const block = {
    ipBlock: { cidr: pick(random, ["10.63.64.0/30", "10.63.64.4/31", "fd63:64::/126"]) },
  };
  return pick(random, [role, tier, team, { ...team, ...role }, block]);
}

function rulesOf(random: Random, peers: "from" | "to"): object[] {
  return Array.from({ length: random.below(3) }, () => ({
    ...(random.below(4) === 0
      ? {}
      : { [peers]: Array.from({ length: 1 + random.below(2) }, () => peerOf(random)) }),
    ...(random.below(2) === 0
      ? {}
      : { ports: [{ protocol: pick(random, ["TCP", "UDP"]), port: pick(random, PORTS) }] }),
  }));
}

function policyOf(random: Random, number: number): object {
  const types = pick(random, [["Ingress"], ["Egress"], ["Ingress", "Egress"]]);
  return {
    apiVersion: "networking.k8s.io/v1",
    kind: "NetworkPolicy",
    metadata: { name: `p${number}`, namespace: pick(random, NAMESPACES) },
    spec: {
      podSelector: random.below(3) === 0 ? {} : { matchLabels: { role: pick(random, ROLES) } },
      policyTypes: types,
      ...(types.includes("Ingress") ? { ingress: rulesOf(random, "from") } : {}),
      ...(types.includes("Egress") ? { egress: rulesOf(random, "to") } : {}),
    },
  };
}

async function endAgent(how: "kill" | "stop"): Promise<void> {
  await agent[how]();
  written.push(agent.stderr);
}

async function restart(how: "kill" | "stop", meanwhile?: () => void): Promise<void> {
  await endAgent(how);
  meanwhile?.();
  agent = await world.start();
}

/** To the next agent, the pins look like those of another build. */
function renameLayout(): void {
  const digest = readdirSync(world.paths.bpffs).find((name) => /^[0-9a-f]{16}$/.test(name)) ?? "";
  renameSync(join(world.paths.bpffs, digest), join(world.paths.bpffs, "0123456789abcdef"));
}

const pathOf = (name: string): string => join(dirname(world.paths.socket), name);

interface Step {
  readonly name: string;
  readonly weight: number;
  readonly run: (random: Random) => Promise<void> | void;
}

const STEPS: readonly Step[] = [
  {
    name: "a policy",
    weight: 6,
    run(random) {
      const number = random.below(POLICIES);
      policies.add(number);
      world.manifests.put(fileOf(number), [policyOf(random, number)]);
    },
  },
  {
    name: "a policy less",
    weight: 2,
    run(random) {
      const number = random.below(POLICIES);
      if (policies.delete(number)) world.manifests.remove(fileOf(number));
    },
  },
  {
    name: "a pod's labels",
    weight: 4,
    run(random) {
      const { name } = pick(random, podsThere());
      labels.set(name, { role: pick(random, ROLES), tier: pick(random, TIERS) });
      putPods();
    },
  },
  {
    name: "a namespace's labels",
    weight: 2,
    run(random) {
      teams.set(pick(random, NAMESPACES), { team: pick(random, TIERS) });
      world.manifests.put(
        "namespaces.yaml",
        [...teams].map(([name, own]) => namespaceManifest(name, own)),
      );
    },
  },
  {
    name: "a pod goes or comes",
    weight: 4,
    async run(random) {
      const pod = pick(random, PODS);
      if (!labels.has(pod.name)) {
        await world.lab.add([pod]);
        labels.set(pod.name, { role: pick(random, ROLES), tier: pick(random, TIERS) });
        putPods();
      } else if (labels.size > 3) {
        labels.delete(pod.name);
        putPods();
        // While a namespace is being deleted its path is a file that cannot be read.
        await until(async () => !(await statesOf(pod.name)).includes("enforced"));
        world.lab.remove([pod.name]);
      }
    },
  },
  { name: "kill -9", weight: 2, run: () => restart("kill") },
  { name: "a restart", weight: 1, run: () => restart("stop") },
  { name: "another layout, after kill -9", weight: 1, run: () => restart("kill", renameLayout) },
  { name: "another layout", weight: 1, run: () => restart("stop", renameLayout) },
  { name: "a resync", weight: 2, run: async () => void (await succeeds("resync")) },
  {
    name: "every table",
    weight: 1,
    async run() {
      for (const table of TABLE_NAMES) await succeeds("maps", "dump", table, "-o", "json");
      await succeeds("maps", "list");
    },
  },
  { name: "all differences", weight: 2, run: async () => void (await succeeds("maps", "dump", "--diff")) },
  {
    name: "a snapshot",
    weight: 1,
    async run() {
      rmSync(pathOf("snapshot.gz"), { force: true });
      await succeeds("snapshot", "-o", pathOf("snapshot.gz"));
    },
  },
  {
    name: "a trace",
    weight: 2,
    async run(random) {
      const ends = ["--from", pick(random, podsThere()).name, "--to", pick(random, podsThere()).name];
      const { status, stderr } = await weir("trace", ...ends, "--port", String(pick(random, PORTS)));
      // 3: denied.
      expect([0, 3], stderr).toContain(status);
    },
  },
  {
    name: "a support bundle",
    weight: 1,
    async run() {
      rmSync(pathOf("dump.tar.gz"), { force: true });
      await succeeds("sysdump", "-o", pathOf("dump.tar.gz"));
    },
  },
  { name: "a check of the node", weight: 1, run: async () => void (await succeeds("check", "node")) },
  {
    name: "weir-cni",
    weight: 1,
    async run() {
      for (const name of ["conf", "bin"]) mkdirSync(pathOf(name), { recursive: true });
      writeFileSync(join(pathOf("conf"), "10-net.conflist"), CONFLIST);
      const at = ["--conf-dir", pathOf("conf"), "--bin-dir", pathOf("bin")];
      await succeeds("cni", "install", ...at);
      await succeeds("cni", "status", ...at);
      await succeeds("cni", "uninstall", ...at);
    },
  },
  {
    name: "weir cleanup",
    weight: 1,
    async run() {
      await endAgent("stop");
      await succeeds("cleanup");
      expect(existsSync(world.paths.bpffs)).toBe(false);
      agent = await world.start();
    },
  },
];

const CONFLIST = '{"cniVersion": "1.0.0", "name": "net", "plugins": [{"type": "ptp"}]}\n';

function stepOf(random: Random): Step {
  const total = STEPS.reduce((sum, { weight }) => sum + weight, 0);
  let left = random.below(total);
  const found = STEPS.find(({ weight }) => {
    left -= weight;
    return left < 0;
  });
  return found ?? (STEPS[0] as Step);
}

const partyOf = (pod: Pod, family: 4 | 6) => {
  const address = pod.ips.find((each) => each.family === family);
  if (address === undefined) throw new Error(`no address of family ${family}`);
  return { kind: "pod", pod, address } as const;
};

function shotOf(random: Random, cluster: Cluster): ExpectedShot {
  const [from, to] = [pick(random, podsThere()).name, pick(random, podsThere()).name].map((name) => {
    const pod = cluster.pods.get(name);
    if (pod === undefined) throw new Error(`no pod ${name}`);
    return pod;
  }) as [Pod, Pod];
  const family = pick(random, [4, 6] as const);
  const [protocol, port] = [pick(random, ["TCP", "UDP"] as const), pick(random, PORTS)];
  const ends = { from: partyOf(from, family), to: partyOf(to, family) };
  return {
    from: `${from.namespace}/${from.name}`,
    probe: { kind: protocol === "TCP" ? "tcp" : "udp", address: ends.to.address.text, port },
    expected: evaluate(cluster, { ...ends, protocol, port }).allowed,
  };
}

/** Waits until sockets and the oracle agree, and the agent reports that all is ok. Returns the remaining differences. */
async function disagreements(random: Random): Promise<string[]> {
  const { cluster, problems } = await readManifests(world.manifests.path);
  expect(problems).toEqual([]);
  const shots = Array.from({ length: SHOTS }, () => shotOf(random, cluster));
  for (const deadline = Date.now() + AGREED_MS_MAX; ; ) {
    const outcomes = await measure(world.lab, shots);
    const isAgreed = shots.every((shot, at) => {
      const outcome = outcomes[at];
      return outcome !== undefined && isAsExpected({ shot, outcome, again: false });
    });
    const { status, stdout } = await weir("status");
    if (isAgreed && status === 0) return [];
    if (Date.now() < deadline) continue;
    const measured = await measureExpected(world.lab, shots);
    return [...measured.filter((each) => !isAsExpected(each)).map(measuredText), stdout];
  }
}

it(`${SECONDS} s (WEIR_LIFE_SECONDS), seed ${SEED} (WEIR_LIFE_SEED)`, {
  timeout: SECONDS * 1_000 + 300_000,
}, async () => {
  const random = randomFrom(SEED);
  const taken: string[] = [];
  const counts = new Map<string, number>();
  for (const until = Date.now() + SECONDS * 1_000; Date.now() < until; await sleep(0)) {
    const step = stepOf(random);
    taken.push(step.name);
    counts.set(step.name, (counts.get(step.name) ?? 0) + 1);
    await step.run(random);
    const history = `step ${taken.length} of seed ${SEED}: ${taken.slice(-5).join(", ")}\n${agent.stderr}`;
    expect(await disagreements(random), history).toEqual([]);
    const log = [...written, agent.stderr].join("");
    expect(
      log.split("\n").filter((line) => REFUSED.test(line)),
      history,
    ).toEqual([]);
  }
  console.log(`${taken.length} steps: ${[...counts].map(([name, count]) => `${count} ${name}`).join(", ")}`);
  expect(taken.length).toBeGreaterThan(5);
});
