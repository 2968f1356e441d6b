// What the tests of the cluster share: servers, a lab for the pods of one node, and the agent, run as an operator runs it.

import { existsSync, mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { type EndpointSpec, type Lab, openLab } from "../../src/lab/netns-lab.ts";
import { Agent, type CommandResult, cleanUp, type ProductPaths, weir } from "../../src/lab/weir-process.ts";
import { chartCapabilities } from "../support/capabilities.ts";
import { type Access, openAccess } from "./access.ts";
import type { Api } from "./api.ts";
import { settled } from "./known.ts";
import { createPod, type PodObject, podNamed } from "./objects.ts";
import { openServers, type Servers } from "./servers.ts";

/** The node that the agent runs on. */
export const NODE = "node-1";
/** A node that exists only as a name for the agent. */
export const OTHER_NODE = "node-2";

/** A pod of this node: object and namespace. */
export type LocalPod = Omit<PodObject, "node"> & Pick<EndpointSpec, "tcp" | "udp" | "http">;

export interface World {
  readonly servers: Servers;
  readonly api: Api;
  readonly access: Access;
  readonly lab: Lab;
  readonly paths: ProductPaths;
  /** Starts the agent, with more arguments. */
  run(...args: readonly string[]): Agent;
  /** As `run`, and waits until it enforces something. */
  start(...args: readonly string[]): Promise<Agent>;
  /** See known.ts. */
  settled(waitMsMax?: number): Promise<number>;
  /** Their namespaces and links, as the CNI plugin creates them, and then the objects. */
  addPods(pods: readonly LocalPod[]): Promise<void>;
  removePod(name: string): Promise<void>;
  weir(...args: readonly string[]): Promise<CommandResult>;
  close(): void;
}

const BIN = fileURLToPath(new URL("../../bin/weir", import.meta.url));

/** `prefix` is in all names that are created in the kernel; see `openLab`. */
export async function openWorld(prefix: string): Promise<World> {
  const servers = await openServers();
  let lab: Lab | undefined;
  try {
    lab = await openLab({ prefix, endpoints: [] });
    return await worldOf(servers, lab, prefix);
  } catch (thrown) {
    lab?.close();
    servers.close();
    throw thrown;
  }
}

async function worldOf(servers: Servers, lab: Lab, prefix: string): Promise<World> {
  const { api } = servers;
  // A fixed name, so that the next run removes what a killed one left.
  const directory = `/run/${prefix}`;
  rmSync(directory, { recursive: true, force: true });
  mkdirSync(directory);
  lab.defer(() => rmSync(directory, { recursive: true }));
  const paths = {
    bin: BIN,
    bpffs: `/sys/fs/bpf/${prefix}`,
    socket: join(directory, "agent.sock"),
    capabilities: chartCapabilities(),
  };
  if (existsSync(paths.bpffs)) cleanUp(paths);
  lab.defer(() => cleanUp(paths));
  const access = await openAccess(servers, directory);
  for (const name of [NODE, OTHER_NODE])
    await api.create({ apiVersion: "v1", kind: "Node", metadata: { name } });
  const run = (...args: readonly string[]): Agent => {
    const agent = Agent.run(paths, ["--kubeconfig", access.kubeconfig, "--node-name", NODE, ...args]);
    lab.defer(() => agent.killNow());
    return agent;
  };
  return {
    servers,
    api,
    access,
    lab,
    paths,
    run,
    async start(...args) {
      const agent = run(...args);
      await agent.ready();
      return agent;
    },
    settled: (waitMsMax) => settled(api, paths.socket, waitMsMax),
    async addPods(pods) {
      await lab.add(pods);
      for (const pod of pods) await createPod(api, { ...pod, node: NODE });
    },
    async removePod(name) {
      await api.remove(podNamed(name));
      lab.remove([name]);
    },
    weir: (...args) => weir(paths, args),
    close() {
      lab.close();
      servers.close();
    },
  };
}
