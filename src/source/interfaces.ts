// Which host-side interface is whose: pods to links of this node, by annotation, network namespace, or the pod's address.

import { assertNever } from "../base/assert.ts";
import { messageOf } from "../base/errors.ts";
import { isSelectable, keyOf, type Pod } from "../model/cluster.ts";
import type { Problem } from "../model/problem.ts";
import { type Link, type NodeTables, readNodeTables } from "./node-tables.ts";

export interface PodInterface {
  readonly pod: Pod;
  readonly ifindex: number;
  readonly name: string;
}

export interface Resolved {
  readonly found: readonly PodInterface[];
  /** Keys of pods that should have an interface here and have none. */
  readonly missing: readonly string[];
  readonly problems: readonly Problem[];
}

type Answer = { readonly link: Link } | { readonly reason: string } | "elsewhere";

/** How many network namespaces are read at once: each reading is a process. */
const PARALLEL_MAX = 8;

/**
 * Finds the interface of every pod. A pod whose address leads to no veth of this node and that names none is taken for a
 * pod of another node. Where two pods claim one interface the first in key order has it. Errors: OperationError where
 * the tables of the kernel cannot be read at all.
 */
export async function resolveInterfaces(pods: Iterable<Pod>): Promise<Resolved> {
  const tables = await readNodeTables();
  const sorted = [...pods].filter(isSelectable).sort((a, b) => (keyOf(a) < keyOf(b) ? -1 : 1));
  const answers = await inParallel(sorted, (pod) => resolve(pod, tables));
  const found = new Map<number, PodInterface>();
  const missing: string[] = [];
  const problems: Problem[] = [];
  for (const { item: pod, result: answer } of answers) {
    if (answer === "elsewhere") continue;
    const owner = "link" in answer ? found.get(answer.link.ifindex) : undefined;
    if ("link" in answer && owner === undefined) {
      found.set(answer.link.ifindex, { pod, ifindex: answer.link.ifindex, name: answer.link.ifname });
      continue;
    }
    const reason =
      "reason" in answer
        ? answer.reason
        : `interface ${answer.link.ifname} is already that of pod ${keyOf((owner as PodInterface).pod)}`;
    missing.push(keyOf(pod));
    problems.push(problemOf(pod, reason));
  }
  return { found: [...found.values()], missing, problems };
}

async function inParallel<T, R>(
  items: readonly T[],
  work: (item: T) => Promise<R>,
): Promise<{ item: T; result: R }[]> {
  const done: { item: T; result: R }[] = [];
  const queue = items.entries();
  const worker = async () => {
    for (const [index, item] of queue) done[index] = { item, result: await work(item) };
  };
  await Promise.all(Array.from({ length: PARALLEL_MAX }, worker));
  return done;
}

async function resolve(pod: Pod, tables: NodeTables): Promise<Answer> {
  const { attachment } = pod;
  if (attachment === undefined) return byAddress(pod, tables);
  switch (attachment.kind) {
    case "link": {
      const link = tables.links.find((each) => each.ifname === attachment.name);
      if (link === undefined) return { reason: `interface ${attachment.name} does not exist` };
      const why = unsuitable(link);
      return why === undefined ? { link } : { reason: `interface ${attachment.name} ${why}` };
    }
    case "netns":
      return inNamespace(attachment.name, pod, tables);
    default:
      return assertNever(attachment, "attachment");
  }
}

/** Interfaces that may be a pod's: anything but the loopback device and bridges, which carry the traffic of others. */
function unsuitable(link: Link): string | undefined {
  if (link.link_type === "loopback") return "is the loopback device";
  if (link.linkinfo?.info_kind === "bridge") return "is a bridge, which carries the traffic of others too";
  return undefined;
}

/** The host side of the veth into a namespace: the one that carries an address of the pod, else the only one. */
async function inNamespace(name: string, pod: Pod, tables: NodeTables): Promise<Answer> {
  let inner: Awaited<ReturnType<NodeTables["inNamespace"]>>;
  try {
    inner = await tables.inNamespace(name);
  } catch (error) {
    return { reason: `network namespace ${name} cannot be read: ${messageOf(error)}` };
  }
  const own = new Set(pod.ips.map((address) => address.text));
  const pairs = inner.flatMap((end) => {
    const link = tables.links.find(
      (each) => each.ifindex === end.link_index && each.link_index === end.ifindex,
    );
    return link === undefined ? [] : [{ end, link }];
  });
  const carries = (local: string | undefined) => local !== undefined && own.has(local);
  const withAddress = pairs.filter(({ end }) => end.addr_info?.some(({ local }) => carries(local)));
  const [only, second] = withAddress.length > 0 ? withAddress : pairs;
  if (only === undefined)
    return { reason: `network namespace ${name} has no veth whose other end is on this node` };
  if (second !== undefined && withAddress.length === 0) {
    return { reason: `network namespace ${name} has several veths, and none carries an address of the pod` };
  }
  return { link: only.link };
}

/** The interface that the node reaches the pod's address through: a route's device, or the port of a bridge. */
async function byAddress(pod: Pod, tables: NodeTables): Promise<Answer> {
  for (const address of pod.ips) {
    const device = await tables.routeDevice(address);
    const link = tables.links.find((each) => each.ifname === device);
    if (link?.linkinfo?.info_kind === "veth") return { link };
    if (link?.linkinfo?.info_kind === "bridge") {
      const name = await tables.bridgePort(link.ifname, address);
      const port = tables.links.find((each) => each.ifname === name && each.linkinfo?.info_kind === "veth");
      if (port !== undefined) return { link: port };
    }
  }
  return "elsewhere";
}

const ANNOTATION = { link: "weir.dev/interface", netns: "weir.dev/netns" } as const;

/** What to say where a pod's interface is not to be had. */
function problemOf(pod: Pod, reason: string): Problem {
  const path =
    pod.attachment === undefined
      ? {}
      : { path: `metadata.annotations["${ANNOTATION[pod.attachment.kind]}"]` };
  return {
    severity: "error",
    object: `Pod ${keyOf(pod)}`,
    ...path,
    reason,
    effect: "the pod is not enforced",
  };
}
