// What the CNI tests share: the runtime's part of a chain (real plugins, then weir-cni), pods that it creates, and the agent.

import { spawn } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { ipBatch, ipJson } from "../../src/lab/iproute.ts";
import { type ManifestDirectory, manifestDirectory } from "../../src/lab/lab-manifests.ts";
import { PodProcess } from "../../src/lab/pod-process-client.ts";
import type { Outcome, Probe } from "../../src/lab/pod-protocol.ts";
import { Teardown } from "../../src/lab/teardown.ts";
import { Agent, type CommandResult, cleanUp, type ProductPaths, weir } from "../../src/lab/weir-process.ts";
import { chartCapabilities } from "../support/capabilities.ts";

const BIN = fileURLToPath(new URL("../../bin/weir", import.meta.url));
const PLUGIN = fileURLToPath(new URL("../../cni/build/weir-cni", import.meta.url));
/** Path of Debian's containernetworking-plugins. */
const PLUGINS = "/usr/lib/cni";

export type Json = Readonly<Record<string, unknown>>;

/** A plugin's result. */
export interface Ran {
  readonly status: number;
  /** What it printed; undefined if nothing. */
  readonly output: Json | undefined;
  readonly stderr: string;
  readonly ms: number;
}

/** A container's sandbox, as a runtime describes it. */
export interface Sandbox {
  readonly containerId: string;
  readonly netns: string;
  /** NAMESPACE/NAME. */
  readonly pod: string;
  readonly uid?: string;
}

export interface Added extends Ran {
  readonly addresses: readonly string[];
}

type Runtime = Pick<CniWorld, "network" | "call" | "add" | "del">;

export interface CniWorld {
  readonly manifests: ManifestDirectory;
  readonly paths: ProductPaths;
  start(...args: readonly string[]): Promise<Agent>;
  /** As start, with all arguments of `weir run`. */
  run(...args: readonly string[]): Promise<Agent>;
  weir(...args: readonly string[]): Promise<CommandResult>;
  /** Creates a network namespace, as a runtime does before it calls plugins. */
  sandbox(pod: string, uid?: string): Sandbox;
  /** The plugin before weir-cni alone. */
  network(command: "ADD" | "DEL", sandbox: Sandbox): Promise<Ran>;
  /** The whole chain: ADD in order, with each result for the next one. */
  add(sandbox: Sandbox, config?: Json): Promise<Added>;
  /** The whole chain, backwards. */
  del(sandbox: Sandbox, config?: Json): Promise<Ran>;
  /** weir-cni alone. */
  call(command: string, sandbox: Sandbox | undefined, config: Json): Promise<Ran>;
  /** A process in the sandbox that probes on command. */
  process(
    sandbox: Sandbox,
    udp?: { readonly addresses: readonly string[]; readonly port: number },
  ): Promise<PodProcess>;
  close(): void;
}

export interface CniWorldSpec {
  /** Prefix of the names of all that the world creates. */
  readonly prefix: string;
  /** Which plugin creates the interfaces. */
  readonly network: "ptp" | "bridge";
  /** The pods' prefixes are 10.N.0.0/16 and fdN::/64. */
  readonly net: number;
  /** More of that plugin's configuration. */
  readonly config?: Json;
  /** Without IPv6 a plugin does not have to wait until addresses are no longer tentative. */
  readonly ipv6?: false;
}

/** Runs a plugin as a runtime does. Does not throw if the plugin reports an error. */
function run(path: string, variables: Readonly<Record<string, string>>, input: string): Promise<Ran> {
  const begun = performance.now();
  return new Promise((resolve, reject) => {
    const child = spawn(path, [], { env: { ...variables, PATH: process.env["PATH"] ?? "" } });
    let stdout = "";
    let stderr = "";
    child.stdout.on("data", (chunk: Buffer) => {
      stdout += chunk.toString();
    });
    child.stderr.on("data", (chunk: Buffer) => {
      stderr += chunk.toString();
    });
    child.on("error", reject);
    // It may refuse before it has read everything.
    child.stdin.on("error", () => undefined);
    child.on("close", (status) => {
      const output = stdout.trim() === "" ? undefined : (JSON.parse(stdout) as Json);
      resolve({ status: status ?? -1, output, stderr, ms: performance.now() - begun });
    });
    child.stdin.end(input);
  });
}

function variablesOf(command: string, sandbox: Sandbox | undefined): Record<string, string> {
  const common = { CNI_COMMAND: command, CNI_PATH: PLUGINS };
  if (sandbox === undefined) return common;
  const [namespace = "", name = ""] = sandbox.pod.split("/");
  const pod = {
    IgnoreUnknown: "1",
    K8S_POD_NAMESPACE: namespace,
    K8S_POD_NAME: name,
    K8S_POD_INFRA_CONTAINER_ID: sandbox.containerId,
    ...(sandbox.uid === undefined ? {} : { K8S_POD_UID: sandbox.uid }),
  };
  return {
    ...common,
    CNI_CONTAINERID: sandbox.containerId,
    CNI_NETNS: `/run/netns/${sandbox.netns}`,
    CNI_IFNAME: "eth0",
    CNI_ARGS: Object.entries(pod)
      .map((pair) => pair.join("="))
      .join(";"),
  };
}

/** Removes the namespaces and bridge of a world, which a killed run may have left. The veths go with the namespaces. */
function removeNetwork(prefix: string): void {
  const mine = ipJson(["netns", "list"]).filter(({ name }) => String(name).startsWith(`${prefix}-`));
  ipBatch(mine.map(({ name }) => `netns del ${String(name)}`));
  const bridges = ipJson(["link", "show", "type", "bridge"]).filter(
    ({ ifname }) => ifname === `${prefix}-br`,
  );
  ipBatch(bridges.map(({ ifname }) => `link del ${String(ifname)}`));
}

/** The plugins, called as a runtime calls them. */
function runtimeOf({ prefix, network: type, net, config: more, ipv6 }: CniWorldSpec): Runtime {
  const directory = `/run/${prefix}`;
  const common = { cniVersion: "1.0.0", name: prefix };
  const subnets = [`10.${net}.0.0/16`, ...(ipv6 === false ? [] : [`fd${net}::/64`])];
  const ranges = subnets.map((subnet) => [{ subnet }]);
  const routes = [{ dst: "0.0.0.0/0" }, ...(ipv6 === false ? [] : [{ dst: "::/0" }])];
  const ipam = { type: "host-local", ranges, routes, dataDir: join(directory, "ipam") };
  const first =
    type === "ptp"
      ? { ...common, type, ipam, ...more }
      : { ...common, type, ipam, ...more, bridge: `${prefix}-br`, isGateway: true };
  const runtime: Runtime = {
    network: (command, sandbox) =>
      run(join(PLUGINS, type), variablesOf(command, sandbox), JSON.stringify(first)),
    call: (command, sandbox, config) => {
      const whole = { ...common, type: "weir-cni", socket: join(directory, "cni.sock"), ...config };
      return run(PLUGIN, variablesOf(command, sandbox), JSON.stringify(whole));
    },
    async add(sandbox, config = {}) {
      const { output, ...ran } = await runtime.network("ADD", sandbox);
      if (ran.status !== 0) throw new Error(`${type}: ${JSON.stringify(output)}`);
      const ips = (output as { ips: { address: string }[] }).ips;
      const addresses = ips.map(({ address }) => address.replace(/\/.*/, ""));
      return { ...(await runtime.call("ADD", sandbox, { prevResult: output, ...config })), addresses };
    },
    async del(sandbox, config = {}) {
      const ran = await runtime.call("DEL", sandbox, config);
      await runtime.network("DEL", sandbox);
      return ran;
    },
  };
  return runtime;
}

/** The plugins turn on forwarding for the whole node, and DEL leaves it on. The returned function restores the previous setting. */
function restorerOfForwarding(): () => void {
  const files = ["ipv4", "ipv6"].map((family) => `/proc/sys/net/${family}/conf/all/forwarding`);
  const before = files.map((file) => [file, readFileSync(file)] as const);
  return () => {
    for (const [file, value] of before) writeFileSync(file, value);
  };
}

export function openCniWorld(spec: CniWorldSpec): CniWorld {
  const { prefix } = spec;
  const teardown = new Teardown();
  const directory = `/run/${prefix}`;
  rmSync(directory, { recursive: true, force: true });
  mkdirSync(directory);
  teardown.defer(() => rmSync(directory, { recursive: true }));
  teardown.defer(restorerOfForwarding());
  removeNetwork(prefix);
  teardown.defer(() => removeNetwork(prefix));
  const paths = {
    bin: BIN,
    bpffs: `/sys/fs/bpf/${prefix}`,
    socket: join(directory, "agent.sock"),
    capabilities: chartCapabilities(["cni.enabled=true"]),
  };
  if (existsSync(paths.bpffs)) cleanUp(paths);
  teardown.defer(() => cleanUp(paths));
  const manifests = manifestDirectory(join(directory, "manifests"));
  const run = async (...args: readonly string[]): Promise<Agent> => {
    const agent = Agent.run(paths, ["--metrics-listen", "off", ...args]);
    teardown.defer(() => agent.killNow());
    await agent.ready();
    return agent;
  };
  let made = 0;
  return {
    manifests,
    paths,
    run,
    start: (...args) => run("--manifests", manifests.path, ...args),
    weir: (...args) => weir(paths, args),
    sandbox(pod, uid) {
      made += 1;
      const netns = `${prefix}-${made}`;
      ipBatch([`netns add ${netns}`]);
      return {
        containerId: `${prefix}-container-${made}`,
        netns,
        pod,
        ...(uid === undefined ? {} : { uid }),
      };
    },
    ...runtimeOf(spec),
    async process({ netns, pod }, udp) {
      const servers =
        udp === undefined ? { addresses: [], udp: [] } : { addresses: udp.addresses, udp: [udp.port] };
      const child = PodProcess.spawn(netns, { name: pod, http: [], tcp: [], ...servers });
      teardown.defer(() => child.close());
      await child.ready();
      return child;
    },
    close: () => teardown.close(),
  };
}

/** One probe from a process. */
export async function probeFrom(from: PodProcess, probe: Probe): Promise<Outcome> {
  const reply = await from.command({ command: "probe", probe });
  if (reply.reply !== "outcome") throw new Error(`a probe was answered with ${reply.reply}`);
  return reply.outcome;
}

/** A Pod as it is before its node has reported its address. */
export const newPod = (key: string, labels: Readonly<Record<string, string>> = {}, uid?: string): object => {
  const [namespace = "", name = ""] = key.split("/");
  return {
    apiVersion: "v1",
    kind: "Pod",
    metadata: { namespace, name, labels, ...(uid === undefined ? {} : { uid }) },
    spec: { containers: [{ name: "main", image: "registry.example/main:1" }] },
  };
};
