// The live world: namespaces and links as a case has them, and Weir brought to every step as the agent does it.

import { openKernel } from "../agent/datapath-handle.ts";
import { readInterfaces } from "../agent/interface-tracking.ts";
import { firstProgress, reconcile } from "../agent/reconcile.ts";
import type { FromPodHook } from "../base/direction.ts";
import { OperationError } from "../base/errors.ts";
import { type Log, openLog } from "../base/log.ts";
import { lockRoot } from "../datapath/agent-lock.ts";
import type { ForwardingPaths } from "../lab/forwarding.ts";
import { type Lab, openLab } from "../lab/netns-lab.ts";
import { type Attachment, type Cluster, keyOf, type Pod } from "../model/cluster.ts";
import { problemText } from "../model/problem.ts";
import type { Case, Cell, Step } from "../source/conformance/case-types.ts";
import { learnNames, resolvedByAll } from "./known-names.ts";
import { type Host, type Hosts, hostsOf } from "./live-hosts.ts";
import { type Flows, probe, roundsOf } from "./live-probes.ts";
import type { Verdict } from "./live-protocol.ts";

export interface WorldOptions {
  /** The built BPF object. */
  readonly object: string;
  /** Pin root on a BPF filesystem. */
  readonly bpffs: string;
  readonly fromPodHook: FromPodHook;
  readonly forwarding: ForwardingPaths;
}

export interface World {
  /** Updates links and policies to the step and probes its cells. @throws OperationError, BpfError */
  judge(step: Step, of: Case): Promise<Verdict[]>;
  close(): void;
}

const PREFIX = "wlive";

/** Every host is a process of some 20 MB of its own, so their number is limited. */
export const HOSTS_MAX = 100;

/** @throws OperationError, BpfError */
export async function openWorld(options: WorldOptions): Promise<World> {
  const lab = await openLab({ prefix: PREFIX, endpoints: [], forwarding: options.forwarding });
  const enforcement = await openEnforcement(options);
  lab.defer(() => enforcement.close());
  const flows: Flows = new Map();
  /** What the lab holds, as text that is equal where nothing has to change. */
  const held = new Map<string, string>();
  let current: Case | undefined;
  return {
    async judge(step, of) {
      // Connections die with their process at the latest; ids are those of one case.
      if (current !== of) flows.clear();
      current = of;
      const hosts = hostsOf(of, step);
      if (hosts.list.length > HOSTS_MAX) {
        throw new OperationError(`it has ${hosts.list.length} of them; the limit of live is ${HOSTS_MAX}`, {
          operation: "make",
          object: "the case's pods and addresses",
        });
      }
      await bringHosts(lab, held, hosts.list);
      await enforcement.bring(attached(step.cluster, hosts, lab), of.dns);
      return judged(step.cells, { lab, hosts, flows });
    },
    close: () => lab.close(),
  };
}

/** One verdict for every cell, in their order. */
export async function judged(cells: readonly Cell[], world: Parameters<typeof probe>[1]): Promise<Verdict[]> {
  const verdicts: Verdict[] = [];
  for (const { cells: indices, rewrites } of roundsOf(cells)) {
    world.lab.rewrite(rewrites);
    const found = await probe(
      indices.map((index) => cells[index] as Cell),
      world,
    );
    for (const [place, index] of indices.entries()) verdicts[index] = found[place] as Verdict;
  }
  return verdicts;
}

/** Removes hosts before others get their addresses. Unchanged hosts keep running, with their servers. */
export async function bringHosts(lab: Lab, held: Map<string, string>, hosts: readonly Host[]): Promise<void> {
  const wanted = new Map(hosts.map((host) => [host.name, JSON.stringify(host)]));
  const gone = [...held].filter(([name, text]) => wanted.get(name) !== text).map(([name]) => name);
  lab.remove(gone);
  for (const name of gone) held.delete(name);
  await lab.add(hosts.filter(({ name }) => !held.has(name)));
  for (const [name, text] of wanted) held.set(name, text);
}

/** The cluster with interface annotations on its pods; pods without a cell are on other nodes. */
function attached(cluster: Cluster, hosts: Hosts, lab: Lab): Cluster {
  const links = new Map(hosts.list.map(({ name }) => [name, lab.wire(name).link]));
  const pods = [...cluster.pods].map(([key, pod]): [string, Pod] => {
    const name = pod.hostNetwork ? undefined : links.get(keyOf(pod));
    const attachment: Attachment | undefined = name === undefined ? undefined : { kind: "link", name };
    return [key, attachment === undefined ? pod : { ...pod, attachment }];
  });
  return { ...cluster, pods: new Map(pods) };
}

interface Enforcement {
  /** Then all pods have resolved these. */
  bring(cluster: Cluster, dns: Case["dns"]): Promise<void>;
  close(): void;
}

/** Reconciles as the agent does, at every step: interfaces, compilation, diff, kernel. */
async function openEnforcement(options: WorldOptions): Promise<Enforcement> {
  const kernel = await openKernel(await lockRoot(options.bpffs), options);
  const progress = await firstProgress(kernel);
  return {
    async bring(cluster, dns) {
      const reading = { cluster, problems: [], files: 1, readable: true };
      const interfaces = await readInterfaces({});
      const input = { reading, interfaces, resync: false };
      const settled = await reconcile(kernel, progress, input, { log: SILENT, now: NOW });
      if (!settled || progress.problems.length > 0 || progress.force === undefined)
        throw new OperationError(progress.problems.map(problemText).join("; ") || "an interface went away", {
          operation: "enforce",
          object: "the step's policies",
        });
      const { state } = progress.force.compiled;
      await learnNames(kernel.maps.tables, state, resolvedByAll(state, dns));
    },
    close: () => kernel.close(),
  };
}

const NOW = (): Date => new Date();
/** Problems are thrown, so there is nothing to log. */
const SILENT: Log = openLog({ level: "error", format: "text", write: () => undefined, now: NOW });
