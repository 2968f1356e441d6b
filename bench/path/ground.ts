// What stands while variants come and go on the pods' links: a lab, its manifests, and the paths of an installation of Weir.

import { mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import {
  manifestDirectory,
  namespaceManifest,
  type PodSpec,
  podManifest,
} from "../../src/lab/lab-manifests.ts";
import { type Lab, openLab } from "../../src/lab/netns-lab.ts";
import { cleanUp, type ProductPaths } from "../../src/lab/weir-process.ts";
import { type Driver, openDriver } from "../packet/driver.ts";

export interface Ground {
  readonly lab: Lab;
  /** The pods' names in the lab. */
  readonly pods: readonly string[];
  readonly driver: Driver;
  readonly paths: ProductPaths;
  /** The directory with the pods' manifests. */
  readonly manifests: string;
  /** Replaces the policies: of the next agent, not of one that has ended. */
  setPolicies(policies: readonly object[]): void;
}

const BIN = fileURLToPath(new URL("../../bin/weir", import.meta.url));

export interface GroundOptions {
  readonly prefix: string;
  readonly pods: readonly PodSpec[];
  /** Manifests of the namespace "bench". */
  readonly policies: readonly object[];
}

/** The lab's teardown closes all. @throws OperationError, BpfError */
export async function openGround({ prefix, pods, policies }: GroundOptions): Promise<Ground> {
  const directory = `/run/${prefix}`;
  const lab = await openLab({ prefix, endpoints: pods });
  try {
    rmSync(directory, { recursive: true, force: true });
    mkdirSync(directory);
    lab.defer(() => rmSync(directory, { recursive: true }));
    const manifests = manifestDirectory(join(directory, "manifests"));
    manifests.put("all.yaml", [
      namespaceManifest("bench", {}),
      ...pods.map((pod) => podManifest(pod, lab.wire(pod.name))),
    ]);
    const setPolicies = (next: readonly object[]) => manifests.put("policies.yaml", next);
    setPolicies(policies);
    const paths = { bin: BIN, bpffs: `/sys/fs/bpf/${prefix}`, socket: join(directory, "agent.sock") };
    cleanUp(paths);
    lab.defer(() => cleanUp(paths));
    const driver = await openDriver();
    lab.defer(() => driver.close());
    return { lab, pods: pods.map(({ name }) => name), driver, paths, manifests: manifests.path, setPolicies };
  } catch (thrown) {
    lab.close();
    throw thrown;
  }
}
