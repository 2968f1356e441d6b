// What the netns tests share: a lab with Kubernetes manifests for it, the real agent on those, and the clean-up.

import { existsSync, mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import {
  type LabelMap,
  type ManifestDirectory,
  manifestDirectory,
  namespaceManifest,
  type PodSpec,
  podManifest,
} from "../../src/lab/lab-manifests.ts";
import { type EndpointSpec, type Lab, openLab } from "../../src/lab/netns-lab.ts";
import { Agent, type CommandResult, cleanUp, type ProductPaths, weir } from "../../src/lab/weir-process.ts";
import { chartCapabilities } from "../support/capabilities.ts";

export interface WorldSpec {
  /** The lab's; also the name of the directory of pins. */
  readonly prefix: string;
  readonly namespaces: Readonly<Record<string, LabelMap>>;
  readonly pods: readonly PodSpec[];
  /** Endpoints that are not pods. */
  readonly machines?: readonly EndpointSpec[];
  /** More files of the manifests directory, by name. */
  readonly files?: Readonly<Record<string, string>>;
}

export interface World {
  readonly lab: Lab;
  readonly manifests: ManifestDirectory;
  /** With the chart's capabilities. */
  readonly paths: ProductPaths;
  /** Starts an agent on the manifests, with more arguments, and waits until all is applied. */
  start(...args: readonly string[]): Promise<Agent>;
  weir(...args: readonly string[]): Promise<CommandResult>;
  /** Ends agents, removes pins and the lab; throws if the product left something. */
  close(): void;
}

const BIN = fileURLToPath(new URL("../../bin/weir", import.meta.url));

export async function openWorld(spec: WorldSpec): Promise<World> {
  const lab = await openLab({ prefix: spec.prefix, endpoints: [...spec.pods, ...(spec.machines ?? [])] });
  try {
    // A fixed name, as for everything the lab creates, so that the next run removes what a killed one left.
    const directory = `/run/${spec.prefix}`;
    rmSync(directory, { recursive: true, force: true });
    mkdirSync(directory);
    lab.defer(() => rmSync(directory, { recursive: true }));
    const paths = {
      bin: BIN,
      bpffs: `/sys/fs/bpf/${spec.prefix}`,
      socket: join(directory, "agent.sock"),
      capabilities: chartCapabilities(),
    };
    if (existsSync(paths.bpffs)) cleanUp(paths);
    lab.defer(() => cleanUp(paths));
    const manifests = manifestDirectory(join(directory, "manifests"));
    const namespaces = Object.entries(spec.namespaces);
    manifests.put(
      "namespaces.yaml",
      namespaces.map(([name, labels]) => namespaceManifest(name, labels)),
    );
    manifests.put(
      "pods.yaml",
      spec.pods.map((pod) => podManifest(pod, lab.wire(pod.name))),
    );
    for (const [file, content] of Object.entries(spec.files ?? {})) manifests.put(file, content);
    return {
      lab,
      manifests,
      paths,
      async start(...args) {
        const agent = Agent.spawn(paths, manifests.path, args);
        lab.defer(() => agent.killNow());
        await agent.ready();
        return agent;
      },
      weir: (...args) => weir(paths, args),
      close: () => lab.close(),
    };
  } catch (thrown) {
    lab.close();
    throw thrown;
  }
}
