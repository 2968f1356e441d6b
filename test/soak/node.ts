// The node under test: pods in network namespaces, the scripted API server, the agent, and the probes between the pods with what the
// oracle says of them.

import { execFileSync, spawn, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { pick, type Random } from "../../bench/common/random.ts";
import { present } from "../../src/base/assert.ts";
import { messageOf } from "../../src/base/errors.ts";
import { forwardNodeWide, stopForwardingNodeWide } from "../../src/lab/forwarding.ts";
import { ipBatch, ipJson } from "../../src/lab/iproute.ts";
import {
  addressesOf,
  GATEWAY_V4,
  GATEWAY_V6,
  linkName,
  makeWires,
  netnsName,
  POD_LINK,
  removeWires,
  unmakeWires,
  type Wire,
} from "../../src/lab/netns-links.ts";
import { rewrite } from "../../src/lab/service-nat.ts";
import type { Teardown } from "../../src/lab/teardown.ts";
import { Agent, cleanUp, type ProductPaths, weir } from "../../src/lab/weir-process.ts";
import { type Cluster, clusterFromWire, keyOf } from "../../src/model/cluster.ts";
import type { ClusterView, EndpointView, StatusView } from "../../src/observe/api-views.ts";
import { ask } from "../../src/observe/socket-client.ts";
import { chartCapabilities } from "../support/capabilities.ts";
import { type ApiServer, keyIn, openApiServer } from "./api-process.ts";
import {
  addressesOfService,
  addressesOfSlot,
  clusterOf,
  differencesOf,
  isIsolated,
  type LocalPod,
  NAMESPACES,
  NODE,
  namespaceObject,
  podObject,
  randomLabels,
  randomPolicy,
  SERVICE_PORT,
  serviceObjects,
  teamLabels,
  updateRetained,
  verdictOf,
  verdictText,
} from "./cluster-state.ts";
import { type KernelFaults, openKernelFaults } from "./kernel-faults.ts";
import {
  type Expected,
  openProber,
  type ProbeKind,
  type Prober,
  type ProbeSpec,
  SERVED_PORTS,
  type Wrong,
} from "./prober.ts";

export const PREFIX = "wt-soak";
const DIRECTORY = `/run/${PREFIX}`;
const BPFFS = `/sys/fs/bpf/${PREFIX}`;
const SOURCES = fileURLToPath(new URL(".", import.meta.url));
export const DEFAULT_BIN = fileURLToPath(new URL("../../bin/weir", import.meta.url));
/** What the agent keeps in files fits easily. */
const DISK = "4m";
/** A start takes some seconds where others take the processors; what takes longer than this does not come. */
const IN_FORCE_MS_MAX = 60_000;
const POLL_MS = 15;
const CHANGES_SHOWN = 8;
const HOT_US = 1_000;
const HOT_PROBES = 4;
/** Some 100 pods' probes take half of the places for IPv6, which are half as many; what floods can fill those for IPv4. */
const FLOWS = 65_536;
const PLUGIN = fileURLToPath(new URL("../../cni/build/weir-cni", import.meta.url));
/** What a runtime gives a pod, at least. */
const ADD_MS_MAX = 60_000;
/** Of each of two lists of connections: a probe that passes may have thousands. */
const EXAMINED_LINES_MAX = 50;
const NAT_TABLE = "wt-soak-services";
export const SERVICES = 6;
const LASTING_TRIES = 100_000;

export interface NodeSpec {
  readonly pods: number;
  readonly random: Random;
  readonly seed: number;
  /** Packets a second of all probes but the few hot ones, about. */
  readonly rate: number;
  /** Not all kinds of probes, but connections that have to last, one for each pod, beside a few denied probes. */
  readonly lasting?: boolean;
  readonly bin: string;
  readonly onWrong: (wrong: Wrong) => void;
}

interface Placed {
  readonly pod: LocalPod;
  readonly wire: Wire;
}

export type SoakNode = Awaited<ReturnType<typeof openNode>>;

function compile(source: string, output: string, ...flags: readonly string[]): string {
  execFileSync("cc", ["-O2", "-Wall", "-Wextra", "-Werror", "-o", output, join(SOURCES, source), ...flags]);
  return output;
}

/**
 * The machine's namespaces have one table of neighbours, of 1,024 entries: where other programs fill it, packets to a neighbour that
 * is not known are lost, and entries that are known are removed. Not permanent ones.
 */
function fixNeighbours(wires: readonly Wire[]): void {
  const macs = new Map(ipJson(["link", "show"]).map((link) => [link["ifname"], String(link["address"])]));
  for (const { netns, link, addresses } of wires) {
    const mac = present(macs.get(link), `the address of ${link}`);
    const [inside] = ipJson(["-n", netns, "link", "show", "dev", POD_LINK]);
    const permanent = (address: string, lladdr: string, device: string): string =>
      `neigh replace ${address} lladdr ${lladdr} dev ${device} nud permanent`;
    ipBatch(addresses.map(({ text }) => permanent(text, String(inside?.["address"]), link)));
    ipBatch(
      [GATEWAY_V4, GATEWAY_V6].map((gateway) => permanent(gateway, mac, POD_LINK)),
      netns,
    );
  }
}

/** Runs weir-cni. Resolves to why it failed, if it did. */
function runPlugin(
  variables: Readonly<Record<string, string>>,
  input: string | Buffer,
): Promise<string | undefined> {
  return new Promise((resolve) => {
    const child = spawn(PLUGIN, [], { env: { CNI_PATH: "/", CNI_IFNAME: "eth0", ...variables } });
    let output = "";
    for (const stream of [child.stdout, child.stderr])
      stream.on("data", (chunk: Buffer) => {
        output += chunk.toString();
      });
    child.stdin.on("error", () => undefined);
    child.on("error", ({ message }) => resolve(message));
    child.on("close", (code) => resolve(code === 0 ? undefined : output));
    child.stdin.end(input);
  });
}

/** The teardown undoes all of it. */
export async function openNode(spec: NodeSpec, teardown: Teardown) {
  const { random } = spec;
  removeWires(PREFIX);
  rmSync(DIRECTORY, { recursive: true, force: true });
  mkdirSync(DIRECTORY);
  teardown.defer(() => rmSync(DIRECTORY, { recursive: true, force: true }));
  const state = join(DIRECTORY, "state");
  mkdirSync(state);
  execFileSync("mount", ["-t", "tmpfs", "-o", `size=${DISK}`, "tmpfs", state]);
  teardown.defer(() => execFileSync("umount", ["-l", state]));
  teardown.defer(() => stopForwardingNodeWide(PREFIX));
  forwardNodeWide(PREFIX);
  teardown.defer(() => removeWires(PREFIX));

  const faults: KernelFaults = openKernelFaults(join(DIRECTORY, "control"));
  teardown.defer(() => faults.close());
  const preload = compile("kernel-faults.c", join(DIRECTORY, "kernel-faults.so"), "-shared", "-fPIC", "-ldl");
  const wrapper = join(DIRECTORY, "weir");
  let bin = spec.bin;
  const use = (next: string): void => {
    bin = next;
    writeFileSync(
      wrapper,
      `#!/bin/sh\nexport LD_PRELOAD=${preload} WEIR_SOAK_CONTROL=${faults.path}\nexec ${bin} "$@"\n`,
      { mode: 0o755 },
    );
  };
  use(spec.bin);
  const socket = join(state, "agent.sock");
  const cniSocket = join(state, "cni.sock");
  const paths: ProductPaths = { bin: wrapper, bpffs: BPFFS, socket, capabilities: chartCapabilities() };
  const commands: ProductPaths = { ...paths, bin: spec.bin };
  if (existsSync(BPFFS)) cleanUp(commands);
  teardown.defer(() => cleanUp(commands));

  const prober: Prober = openProber(compile("prober.c", join(DIRECTORY, "prober")), spec.onWrong);
  teardown.defer(() => prober.close());
  const api: ApiServer = await openApiServer();
  teardown.defer(() => api.close());
  const kubeconfig = join(DIRECTORY, "kubeconfig");
  const config = {
    apiVersion: "v1",
    kind: "Config",
    "current-context": "soak",
    clusters: [
      {
        name: "soak",
        cluster: { server: `http://127.0.0.1:${api.port()}`, "insecure-skip-tls-verify": true },
      },
    ],
    users: [{ name: "soak", user: {} }],
    contexts: [{ name: "soak", context: { cluster: "soak", user: "soak" } }],
  };
  writeFileSync(kubeconfig, JSON.stringify(config));

  let other: string | undefined;
  const placed = new Map<number, Placed>();
  const probes = new Map<number, ProbeSpec>();
  const expected = new Map<number, Expected>();
  let lastProbe = -1;
  const freeProbes: number[] = [];
  /** The last ones, for people. */
  const changes: string[] = [];
  /** Probes whose flows began when nobody knew them. */
  const renewals = new Set<number>();
  let lastUid = 0;
  let agent: Agent | undefined;
  let known: Cluster | undefined;
  /** What agents wrote that have ended. */
  const logs: string[] = [];
  /** What they wrote of the flows that they took over. */
  const migrations: string[] = [];

  const pods = (): LocalPod[] => [...placed.values()].map(({ pod }) => pod);
  const podAt = (slot: number): LocalPod => present(placed.get(slot), `pod ${slot}`).pod;
  const bySlot = (): Map<number, LocalPod> => new Map([...placed].map(([slot, { pod }]) => [slot, pod]));
  const cluster = (): Cluster => {
    known ??= clusterOf(api.objects.values());
    return known;
  };

  function makePod(
    slot: number,
    more: Partial<Pick<LocalPod, "namespace" | "labels" | "name">> = {},
  ): LocalPod {
    lastUid += 1;
    return {
      slot,
      namespace: pick(random, NAMESPACES),
      name: `pod${slot}-${lastUid}`,
      uid: `uid-of-pod-${lastUid}`,
      labels: randomLabels(random),
      object: "running",
      isolated: { ingress: false, egress: false },
      sealed: false,
      ...addressesOfSlot(slot),
      ...more,
    };
  }

  /** Its interface, and its sockets; not its object. With `isProbed`, its neighbours are known for good. */
  function place(pods_: readonly LocalPod[], isProbed = true): void {
    const made = pods_.map((pod): Placed => {
      lastUid += 1;
      const netns = netnsName(PREFIX, lastUid, `${pod.namespace}-${pod.name}`);
      return {
        pod,
        wire: { netns, link: linkName(PREFIX, lastUid), addresses: addressesOf([pod.v4, pod.v6]) },
      };
    });
    makeWires(made.map(({ wire }) => wire));
    if (isProbed) fixNeighbours(made.map(({ wire }) => wire));
    for (const each of made) {
      placed.set(each.pod.slot, each);
      prober.addPod(each.pod.slot, `/run/netns/${each.wire.netns}`, each.pod.v4, each.pod.v6);
    }
  }

  function endProbe(id: number): void {
    prober.endProbe(id);
    probes.delete(id);
    expected.delete(id);
    freeProbes.push(id);
  }

  function endProbes(slot: number): void {
    for (const { id, from, to } of [...probes.values()]) if (from === slot || to === slot) endProbe(id);
  }

  /** weir-cni, as a runtime runs it at the end of a chain. Resolves to why it failed, if it did. */
  function cni(command: "ADD" | "DEL" | "CHECK", { pod, wire }: Placed): Promise<string | undefined> {
    const sandbox = `/run/netns/${wire.netns}`;
    const prevResult = {
      cniVersion: "1.0.0",
      interfaces: [{ name: wire.link }, { name: "eth0", sandbox }],
      ips: [
        { address: `${pod.v4}/32`, interface: 1 },
        { address: `${pod.v6}/128`, interface: 1 },
      ],
    };
    const config = { cniVersion: "1.0.0", name: "soak", type: "weir-cni", socket: cniSocket, prevResult };
    const names = { K8S_POD_NAMESPACE: pod.namespace, K8S_POD_NAME: pod.name, K8S_POD_UID: pod.uid };
    return runPlugin(
      {
        CNI_COMMAND: command,
        CNI_CONTAINERID: present(pod.container, "a container"),
        CNI_NETNS: sandbox,
        CNI_ARGS: Object.entries(names)
          .map((pair) => pair.join("="))
          .join(";"),
      },
      JSON.stringify(config),
    );
  }

  /** As a runtime does: again, until it succeeds. From then on the pod's policies are in force. */
  async function addByCni(slot: number): Promise<void> {
    for (const deadline = Date.now() + ADD_MS_MAX; ; await sleep(50)) {
      const why = await cni("ADD", present(placed.get(slot), `pod ${slot}`));
      if (why === undefined) return;
      if (Date.now() > deadline) throw new Error(`weir-cni ADD: ${why}`);
    }
  }

  /** Takes interfaces away; the objects are the caller's. */
  async function unplace(...slots: readonly number[]): Promise<void> {
    for (const slot of slots) {
      endProbes(slot);
      prober.removePod(slot);
    }
    await prober.sync();
    const gone = slots.map((slot) => present(placed.get(slot), `pod ${slot}`));
    for (const each of gone) {
      if (each.pod.container === undefined) continue;
      const why = await cni("DEL", each);
      if (why !== undefined) throw new Error(`weir-cni DEL: ${why}`);
    }
    unmakeWires(gone.map(({ wire }) => wire));
    for (const slot of slots) placed.delete(slot);
  }

  function addProbe(probe: Omit<ProbeSpec, "id">, first: Expected): void {
    const id = freeProbes.shift() ?? ++lastProbe;
    const made = { ...probe, id };
    probes.set(id, made);
    expected.set(id, first);
    if (spec.lasting !== true) renewals.add(id);
    prober.addProbe(made, first);
  }

  const everyUs = Math.round((1_000_000 * spec.pods * 3) / spec.rate);

  /** Probes between this pod and others, in both directions. */
  function probePod(slot: number, first: Expected): void {
    const others = [...placed.keys()].filter((each) => each !== slot);
    if (others.length === 0) return;
    const kinds: readonly ProbeKind[] = ["udp answered", "udp from new ports", "ping"];
    for (let index = 0; index < 3; index += 1) {
      const other = pick(random, others);
      const [from, to] = random.below(2) === 0 ? [slot, other] : [other, slot];
      const common = { from, to, family: pick(random, [4, 6] as const), port: pick(random, SERVED_PORTS) };
      addProbe({ ...common, kind: pick(random, kinds), everyUs }, first);
      if (index === 0) addProbe({ ...common, kind: "transfer", everyUs: 40_000 }, first);
      if (index === 1 && slot % 2 === 0) addProbe({ ...common, kind: "connect", everyUs: 500_000 }, first);
    }
  }

  /** Where the Services lead, as kube-proxy does it: which may be to a pod that is gone. */
  const services = new Map<number, LocalPod>();

  function writeRewrites(): void {
    const rewrites = [...services].flatMap(([number, pod]) =>
      (["v4", "v6"] as const).flatMap((of) => {
        const rest = { address: addressesOfService(number)[of], port: SERVICE_PORT, masquerade: false };
        return (["tcp", "udp"] as const).map((protocol, index) => ({
          ...rest,
          protocol,
          to: { address: pod[of], port: SERVED_PORTS[index] ?? 0 },
        }));
      }),
    );
    rewrite(NAT_TABLE, rewrites);
  }

  /** Has a Service lead to another pod, with probes to it of each kind. */
  async function serve(number: number, pod: LocalPod): Promise<void> {
    const addresses = addressesOfService(number);
    const own = [addresses.v4, addresses.v6];
    for (const { id, frontend } of [...probes.values()])
      if (frontend !== undefined && own.includes(frontend.address)) endProbe(id);
    const objects = serviceObjects(number, pod);
    const names = new Set(objects.map(({ object }) => object.metadata.name));
    const olds = [...api.objects.values()].filter(
      ({ kind, object }) =>
        (kind === "Service" || kind === "EndpointSlice") && names.has(object.metadata.name),
    );
    await change([
      ...olds.map(({ kind, object }) => ({ kind, remove: keyIn(object) })),
      ...objects.map(({ kind, object }) => ({ kind, put: object })),
    ]);
    services.set(number, pod);
    writeRewrites();
    // What is on the way to the pod before goes on there otherwise, as does a datagram from a port that is used again.
    for (const [family, address] of [
      ["ipv4", addresses.v4],
      ["ipv6", addresses.v6],
    ] as const)
      spawnSync("conntrack", ["-D", "-f", family, "-d", address], { stdio: "ignore" });
    const others = [...placed.keys()].filter((each) => each !== pod.slot);
    for (const kind of ["connect", "transfer", "udp from new ports"] as const) {
      const family = pick(random, [4, 6] as const);
      const ends = { from: pick(random, others), to: pod.slot, family };
      const port = SERVED_PORTS[kind === "udp from new ports" ? 1 : 0];
      const frontend = { address: family === 4 ? addresses.v4 : addresses.v6, port: SERVICE_PORT };
      const every = kind === "connect" ? 500_000 : kind === "transfer" ? 40_000 : everyUs;
      addProbe({ ...ends, kind, port, frontend, everyUs: every }, "either");
    }
  }

  /** As many transfers as pods, each allowed to a pod or from one that is isolated; and as many denied probes as half of them. */
  function probeLasting(): void {
    const [current, by] = [cluster(), bySlot()];
    const wanted = { allowed: spec.pods, denied: Math.ceil(spec.pods / 2) };
    for (let tries = 0; tries < LASTING_TRIES && wanted.allowed + wanted.denied > 0; tries += 1) {
      const [from, to] = [pick(random, [...by.values()]), pick(random, [...by.values()])];
      if (from === to || !(isIsolated(current, from) || isIsolated(current, to))) continue;
      const ends = { from: from.slot, to: to.slot, family: pick(random, [4, 6] as const) };
      const probe = { ...ends, port: pick(random, SERVED_PORTS) };
      const transfer = { ...probe, kind: "transfer", everyUs: 40_000 } as const;
      const verdict = verdictOf(current, { ...transfer, id: 0 }, by);
      if (verdict === "either" || wanted[verdict] === 0) continue;
      wanted[verdict] -= 1;
      if (verdict === "allowed") addProbe(transfer, "either");
      else addProbe({ ...probe, kind: "udp from new ports", everyUs }, "either");
    }
    if (wanted.allowed > 0) throw new Error(`${wanted.allowed} connections too few: try another seed`);
  }

  const verdicts = (): Map<number, Expected> => {
    const [current, by] = [cluster(), bySlot()];
    return new Map([...probes.values()].map((probe) => [probe.id, verdictOf(current, probe, by)]));
  };

  async function setExpected(next: ReadonlyMap<number, Expected>): Promise<void> {
    const groups = Map.groupBy(
      [...next].filter(([id, value]) => probes.has(id) && expected.get(id) !== value),
      ([, value]) => value,
    );
    for (const [value, ids] of groups) {
      prober.expect(
        value,
        ids.map(([id]) => id),
      );
      for (const [id] of ids) expected.set(id, value);
    }
    await prober.sync();
  }

  /** From now on either may happen to these. */
  const loosen = (which: (probe: ProbeSpec) => boolean): Promise<void> =>
    setExpected(new Map([...probes.values()].filter(which).map(({ id }) => [id, "either" as const])));

  const put = async (object: Parameters<ApiServer["put"]>[1], kind: Parameters<ApiServer["put"]>[0]) => {
    known = undefined;
    await api.put(kind, object);
  };

  /**
   * Changes objects: `model` as the test holds them, at once, then the API server. Probes whose verdict differs after any of them
   * may have either from before the change until `settle`.
   */
  async function change(
    objects: readonly (
      | { readonly put: Parameters<ApiServer["put"]>[1]; readonly kind: Parameters<ApiServer["put"]>[0] }
      | { readonly remove: string; readonly kind: Parameters<ApiServer["put"]>[0] }
    )[],
    model: () => void = () => undefined,
  ): Promise<void> {
    const before = verdicts();
    for (const each of objects)
      changes.push(
        "put" in each
          ? `${each.kind} ${keyIn(each.put)} ${JSON.stringify(each.put["spec"] ?? each.put.metadata["labels"])}`
          : `no ${each.kind} ${each.remove}`,
      );
    changes.splice(0, changes.length - CHANGES_SHOWN);
    const open = pods().filter((pod) => !isIsolated(cluster(), pod));
    // The objects as they will be, judged before anybody gets them.
    const next = new Map(api.objects);
    model();
    // They come one by one, and an update may have only the first of them. Pods come and go by themselves.
    const between: ReadonlyMap<number, Expected>[] = [];
    for (const each of objects) {
      if ("put" in each) {
        const { namespace, name } = each.put.metadata;
        next.set(`${each.kind} ${namespace === undefined ? name : `${namespace}/${name}`}`, {
          kind: each.kind,
          object: each.put,
        });
      } else next.delete(`${each.kind} ${each.remove}`);
      known = clusterOf(next.values());
      if (each.kind !== "Pod") between.push(verdicts());
    }
    updateRetained(cluster(), pods());
    const after = verdicts();
    const isolated = new Set(open.filter((pod) => isIsolated(cluster(), pod)).map(({ slot }) => slot));
    /**
     * Of what a pod has open when it is isolated for the first time nobody knows who opened it (docs/limits.md): TCP may
     * break, and the rest may go on.
     */
    const isOlder = ({ from, to }: ProbeSpec): boolean => isolated.has(from) || isolated.has(to);
    for (const probe of probes.values()) if (isOlder(probe)) renewals.add(probe.id);
    await loosen(
      (probe) =>
        [...between, after].some((verdict) => before.get(probe.id) !== verdict.get(probe.id)) ||
        expected.get(probe.id) === "either" ||
        (probe.kind === "transfer" && isOlder(probe)),
    );
    const kept = known;
    for (const each of objects) {
      if ("put" in each) await api.put(each.kind, each.put);
      else await api.remove(each.kind, each.remove);
    }
    known = kept;
  }

  const putPod = (pod: LocalPod, next: Partial<LocalPod>): Promise<void> =>
    change([{ kind: "Pod", put: podObject({ ...pod, ...next }) }], () => Object.assign(pod, next));

  const isRunning = (): boolean =>
    agent?.pid !== undefined && existsSync(`/proc/${agent.pid}`) && !hasEnded(agent.pid);

  function startAgent(): void {
    const options = ["--kubeconfig", kubeconfig, "--node-name", NODE, "--no-kubernetes-events"];
    const off = ["--metrics-listen", "off", "--probe-listen", "off"];
    const made = Agent.run(paths, [...options, ...off, "--conntrack-flows", String(FLOWS)]);
    agent = made;
    teardown.defer(() => made.killNow());
  }

  async function endAgent(how: "kill" | "stop"): Promise<void> {
    const ended = agent;
    agent = undefined;
    if (ended === undefined) return;
    await ended[how]();
    logs.push(ended.stderr);
    migrations.push(...ended.stderr.split("\n").filter((line) => line.includes("flows of another layout")));
    if (logs.length > 20) logs.shift();
  }

  const status = (): Promise<StatusView | undefined> =>
    ask<StatusView>(socket, "/v1/status", { timeoutMs: 5_000 });

  /** Why what the test wants is not in force; undefined if the agent says that it is. */
  async function notInForce(): Promise<string | undefined> {
    const now = await status();
    if (now === undefined) return "no agent answers";
    if (now.appliedAt === undefined) return "nothing is applied yet";
    if (now.generation.wanted !== now.generation.applied) return "a generation is not applied";
    const errors = now.problems.filter(({ severity }) => severity === "error");
    if (errors.length > 0) return errors.map(({ reason }) => reason).join("; ");
    const view = await ask<ClusterView>(socket, "/v1/cluster", { timeoutMs: 5_000 });
    if (view === undefined) return "no agent answers";
    const differences = differencesOf(cluster(), clusterFromWire(view.cluster));
    if (differences.length > 0)
      return `${differences.length} differences: ${differences.slice(0, 3).join("; ")}`;
    const endpoints =
      (await ask<readonly EndpointView[]>(socket, "/v1/endpoints", { timeoutMs: 5_000 })) ?? [];
    for (const { pod, wire } of placed.values()) {
      const own = endpoints.find((each) => each.interface === wire.link);
      if (own === undefined) return `${keyOf(pod)} has no endpoint`;
      if (own.state !== "enforced" && own.state !== "retained") return `${keyOf(pod)} is ${own.state}`;
      if (own.name !== pod.name) return `${wire.link} is that of ${own.name}`;
    }
    // A generation that came meanwhile may have changed what was just read.
    const later = await status();
    return later?.generation.applied === now.generation.applied &&
      later.generation.wanted === now.generation.wanted
      ? undefined
      : "a generation came meanwhile";
  }

  /** Resolves when the agent says that what the test wants is in force. An agent that has ended is started again, as a kubelet does. */
  async function untilInForce(onEnd: (log: string) => void): Promise<void> {
    for (const deadline = Date.now() + IN_FORCE_MS_MAX; ; await sleep(POLL_MS)) {
      if (!isRunning()) {
        if (agent !== undefined) {
          onEnd(agent.stderr);
          await endAgent("kill");
        }
        startAgent();
      }
      const why = await notInForce().catch(messageOf);
      if (why === undefined) return;
      if (Date.now() > deadline) throw new Error(`not in force after ${IN_FORCE_MS_MAX / 1_000} s: ${why}`);
    }
  }

  /** What is expected of a pod's probes from now on. */
  const tightenPod = (slot: number): Promise<void> =>
    setExpected(
      new Map(
        [...verdicts()].filter(([id]) => {
          const probe = probes.get(id);
          return probe?.from === slot || probe?.to === slot;
        }),
      ),
    );

  /** What the objects and the oracle say is expected of every probe from now on. */
  async function tighten(): Promise<void> {
    prober.renew([...renewals].filter((id) => probes.has(id)));
    renewals.clear();
    await setExpected(verdicts());
  }

  // The cluster at the start.
  const locals = Array.from({ length: spec.pods }, (_, slot) => makePod(slot));
  for (const name of NAMESPACES) await put(namespaceObject(name, teamLabels(random)), "Namespace");
  await put({ apiVersion: "v1", kind: "Node", metadata: { name: NODE, uid: "uid-of-node" } }, "Node");
  for (let number = 0; number < Math.max(4, spec.pods / 6); number += 1)
    await put(randomPolicy(random, number), "NetworkPolicy");
  place(locals);
  for (const pod of locals) await put(podObject(pod), "Pod");
  updateRetained(cluster(), pods());
  await prober.sync();
  if (spec.lasting === true) probeLasting();
  else {
    teardown.defer(() => rewrite(NAT_TABLE, []));
    for (const { slot } of locals) probePod(slot, "either");
    for (let number = 0; number < SERVICES; number += 1) await serve(number, pick(random, locals));
  }
  // Denied packets of a few are sent all the time.
  const denied = [...verdicts()].filter(
    ([id, verdict]) => verdict === "denied" && (probes.get(id)?.everyUs ?? 0) === everyUs,
  );
  for (const [id] of denied.slice(0, HOT_PROBES)) {
    const { id: _, ...probe } = present(probes.get(id), "a probe");
    addProbe({ ...probe, everyUs: HOT_US }, "either");
  }

  return {
    spec,
    directory: DIRECTORY,
    state,
    bpffs: BPFFS,
    socket,
    cniSocket,
    commands,
    api,
    prober,
    faults,
    random: random,
    pods,
    podAt,
    probes,
    cluster,
    makePod,
    addByCni,
    /** weir-cni with this input, for a pod that does not exist; whether it succeeds. */
    async runPlugin(command: string, input: Buffer): Promise<boolean> {
      const variables = {
        CNI_COMMAND: command,
        CNI_CONTAINERID: "c",
        CNI_NETNS: "/proc/self/ns/net",
        CNI_ARGS: "K8S_POD_NAMESPACE=n;K8S_POD_NAME=a",
      };
      return (await runPlugin(variables, input)) === undefined;
    },
    tightenPod,
    serve,
    place,
    unplace,
    probePod,
    endProbes,
    loosen,
    tighten,
    change,
    putPod,
    use,
    bin: () => bin,
    /** The command of another build, which is made once. */
    otherBuild(make: (tree: string) => void): string {
      if (other === undefined) {
        const tree = mkdtempSync(join(tmpdir(), "weir-soak-"));
        teardown.defer(() => rmSync(tree, { recursive: true, force: true }));
        make(tree);
        other = join(tree, "bin/weir");
      }
      return other;
    },
    isRunning,
    startAgent,
    endAgent,
    status,
    untilInForce,
    wire: (slot: number): Wire => present(placed.get(slot), `pod ${slot}`).wire,
    has: (slot: number): boolean => placed.has(slot),
    agent: () => agent,
    migrations,
    log: () => [...logs, agent?.stderr ?? ""].join("\n--- the next agent\n"),
    /** For a person: the pods of a probe, and how it is judged. */
    describe(probe: ProbeSpec | undefined): string {
      if (probe === undefined) return "";
      const text = (slot: number): string => {
        const pod = placed.get(slot)?.pod;
        return pod === undefined
          ? "gone"
          : `${keyOf(pod)} ${pod.v4} ${pod.object} ${JSON.stringify(pod.labels)}`;
      };
      return `${text(probe.from)} -> ${text(probe.to)}, ${expected.get(probe.id)}: ${verdictText(cluster(), probe, bySlot())}`;
    },
    /** What the agent itself and the kernel's conntrack say of a probe, and the last changes. */
    async examine(probe: ProbeSpec): Promise<string> {
      const [from, to] = [probe.from, probe.to].map((slot) => placed.get(slot)?.pod);
      if (from === undefined || to === undefined) return "";
      const protocol = probe.kind === "ping" ? "ICMP" : probe.kind.startsWith("udp") ? "UDP" : "TCP";
      const [source, backend] = [from, to].map((pod) => (probe.family === 4 ? pod.v4 : pod.v6)) as [
        string,
        string,
      ];
      const reached = probe.frontend?.address ?? backend;
      const port =
        protocol === "ICMP"
          ? []
          : ["--port", String(probe.frontend === undefined ? probe.port : SERVICE_PORT)];
      // First, since its entries of connections that did not open go soonest.
      const tracked = spawnSync(
        "conntrack",
        ["-L", "-f", probe.family === 4 ? "ipv4" : "ipv6", "-s", source],
        {
          encoding: "utf8",
        },
      );
      const flows = await weir(commands, ["conntrack", "list"]);
      const trace = await weir(commands, [
        "trace",
        "--from",
        source,
        "--to",
        reached,
        "--protocol",
        protocol,
        ...port,
      ]);
      const own = [tracked.stdout, flows.stdout].flatMap((text) =>
        text
          .split("\n")
          .filter((line) => line.includes(source) && (line.includes(reached) || line.includes(backend)))
          .slice(0, EXAMINED_LINES_MAX),
      );
      return [trace.stdout, trace.stderr, ...own, ...changes].join("\n");
    },
    isIsolated: (pod: LocalPod): boolean => isIsolated(cluster(), pod),
    /** What the oracle says of such a probe. */
    verdictOf: (probe: Omit<ProbeSpec, "id" | "everyUs">): Expected =>
      verdictOf(cluster(), { ...probe, id: 0, everyUs: 0 }, bySlot()),
    /** All that the cluster is again as another snapshot of its objects was. */
    reread() {
      known = undefined;
    },
  };
}

function hasEnded(pid: number): boolean {
  const text = readFileSync(`/proc/${pid}/stat`, "latin1");
  return /\) [ZX]/.test(text);
}
